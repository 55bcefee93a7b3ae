# SPDX-License-Identifier: Apache-2.0
"""Time counters of which words hold the lower bits only."""

from __future__ import annotations

from typing import no_type_check

import numba

__all__ = ["counter_step"]


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
