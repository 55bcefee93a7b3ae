# SPDX-License-Identifier: Apache-2.0
"""Time counters of which words hold the lower bits only."""

from __future__ import annotations

from typing import no_type_check

import numba

__all__ = ["counter_step", "packet_step"]


@numba.njit(cache=True, nogil=True)
@no_type_check
def counter_step(value, lower, size):
    """Return by how much a counter went on to have these lower bits: the shorter way round, not to below zero.

    Parameters
    ----------
    value : int64
        The whole counter before, at least 0.
    lower : int64
        Its lower bits now, below `size`.
    size : int64
        A power of two.
    """
    step = (lower - value) & (size - 1)
    if step >= size // 2 and value + step - size >= 0:
        step -= size
    return step


@numba.njit(cache=True, nogil=True)
@no_type_check
def packet_step(value, lower, size, lowest):
    """Return by how much the counter of a packet went on to have these lower bits.

    They are taken as they stand. Only a step down by more than three quarters of
    the range is a counter that started over, and a step up by as much a time from
    before that: packets are short, and with half the range, as in `counter_step`,
    a damaged word could move all that follow it.

    Parameters
    ----------
    value : int64
        The whole counter before.
    lower : int64
        Its lower bits now, below `size`.
    size : int64
        A power of two. A step below a quarter of it is always read right.
    lowest : int64
        The counter does not fall below this, 0 or less.
    """
    step = lower - (value & (size - 1))
    if step < size // -4 * 3 or value + step < lowest:
        step += size
    elif step > size // 4 * 3 and value + step - size >= lowest:
        step -= size
    return step
