# SPDX-License-Identifier: Apache-2.0
"""Loops that follow a stream's state without giving its events, several times as fast as the decoders.

Each leaves the state of its decoder (`neuro_ros.events.encodings.evt2`, ``evt3``)
as decoding the same words would, so that decoding can go on after any word.
Nothing is counted.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

__all__ = ["skip_evt2", "skip_evt3"]

# Slots of the states, as in the decoders.
_HAVE_TIME, _HIGH, _TIME_NS, _Y, _BASE, _POLARITY = range(6)

_EVT2_HIGH_RANGE = 1 << 28
_EVT2_HIGH_UNIT_NS = (1 << 6) * 1000
_EVT3_HIGH_RANGE = 1 << 12
_EVT3_HIGH_UNIT_NS = (1 << 12) * 1000
_EVT3_RARE = (1 << 3) | (1 << 4) | (1 << 5) | (1 << 8)  # vectors and upper time bits


@numba.njit(cache=True, nogil=True)
@no_type_check
def skip_evt2(words, state):
    """Follow EVT2; return a time that no event of these words reaches."""
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    last = high if have_time != 0 else np.int64(-1)
    for index in range(len(words)):
        word = np.int64(words[np.uintp(index)])
        if word >> 28 != 8:
            continue
        payload = word & (_EVT2_HIGH_RANGE - 1)
        have_time = 1
        if high < 0:
            high = payload
        step = (payload - high) & (_EVT2_HIGH_RANGE - 1)
        if step >= _EVT2_HIGH_RANGE // 2 and high + step - _EVT2_HIGH_RANGE >= 0:
            step -= _EVT2_HIGH_RANGE
        high += step
        last = max(last, high)
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    return (last + 1) * _EVT2_HIGH_UNIT_NS


@numba.njit(cache=True, nogil=True)
@no_type_check
def skip_evt3(words, state):
    """Follow EVT3; return a time that no event of these words reaches."""
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    base = state[_BASE]
    polarity = state[_POLARITY]
    last = high if have_time != 0 else np.int64(-1)
    stepped = np.int64(-1)  # the last word that changed the upper time bits, which lets the lower ones be zero
    for index in range(len(words)):
        word = np.int64(words[np.uintp(index)])
        code = word >> 12
        if not (_EVT3_RARE >> code) & 1:
            continue
        payload = word & 0xFFF
        if code == 3:
            base = payload & 0x7FF
            polarity = payload >> 11
        elif code == 4:
            base += 12
        elif code == 5:
            base += 8
        else:
            if have_time == 0:
                have_time = 1
                stepped = index
                if high < 0:
                    high = payload
            step = (payload - high) & (_EVT3_HIGH_RANGE - 1)
            if step >= _EVT3_HIGH_RANGE // 2 and high + step - _EVT3_HIGH_RANGE >= 0:
                step -= _EVT3_HIGH_RANGE
            if step != 0:
                high += step
                stepped = index
            last = max(last, high)
    # Of rows and lower time bits only the last ones matter, and those are not far from the end.
    if stepped >= 0:
        state[_TIME_NS] = high * _EVT3_HIGH_UNIT_NS
    want_low = True
    want_row = True
    for index in range(len(words) - 1, -1, -1):
        word = np.int64(words[np.uintp(index)])
        code = word >> 12
        want_low &= index != stepped
        if code == 6 and want_low:
            state[_TIME_NS] = high * _EVT3_HIGH_UNIT_NS + (word & 0xFFF) * 1000
            want_low = False
        elif code == 0 and want_row:
            state[_Y] = word & 0x7FF
            want_row = False
        if not want_low and not want_row:
            break
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    state[_BASE] = base
    state[_POLARITY] = polarity
    return (last + 1) * _EVT3_HIGH_UNIT_NS
