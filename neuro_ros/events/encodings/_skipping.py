# SPDX-License-Identifier: Apache-2.0
"""Loops that follow the time of a stream without giving its events, several times as fast as the decoders.

They know of a decoder's state only that its first two slots are whether there
was a time word yet, and the upper part of the time, unwrapped. Nothing is
counted.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

__all__ = ["follow_evt3", "follow_time"]

_HAVE_TIME, _HIGH = range(2)
_TIME_CODE = 8
_EVT3_HIGH_RANGE = 1 << 12
_EVT3_RARE = (1 << 3) | (1 << 4) | (1 << 5) | (1 << _TIME_CODE)  # vectors and upper time bits
_MARK_WORDS = 1024


@numba.njit(cache=True, nogil=True)
@no_type_check
def follow_time(words, state, code_shift, payload_shift, bits):
    """Follow words of which none but those of the upper time bits changes the state.

    `code_shift`, `payload_shift` and `bits` say where in such a word its code and those bits stand. Returns the first
    upper part that is not reached.
    """
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    last = high if have_time != 0 else np.int64(-1)
    reach = np.int64(1) << bits
    for index in range(len(words)):
        word = np.int64(words[np.uintp(index)])
        if (word >> code_shift) & 0xF != _TIME_CODE:
            continue
        payload = (word >> payload_shift) & (reach - 1)
        have_time = 1
        if high < 0:
            high = payload
        step = (payload - high) & (reach - 1)
        if step >= reach // 2 and high + step - reach >= 0:
            step -= reach
        high += step
        last = max(last, high)
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    return last + 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def follow_evt3(words, state):
    """Follow EVT3 up to a word from which on decoding leaves the same state as decoding all.

    That is before the last row, the last lower time bits and the last base of vectors, whatever they were before.
    Returns the first upper part that is not reached, up to the end, and the place of that word.
    """
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    last = high if have_time != 0 else np.int64(-1)
    total = len(words)
    marks = np.empty((total // _MARK_WORDS + 1, 2), np.int64)
    place = total
    base = np.int64(-1)
    orphans = False
    times = False
    for mark in range(len(marks)):
        marks[mark, 0] = have_time
        marks[mark, 1] = high
        for index in range(mark * _MARK_WORDS, min(total, (mark + 1) * _MARK_WORDS)):
            word = np.int64(words[np.uintp(index)])
            code = word >> 12
            if not (_EVT3_RARE >> code) & 1:
                continue
            if code == 3:
                base = index
            elif code != _TIME_CODE:
                orphans |= base < 0
            else:
                times = True
                payload = word & 0xFFF
                have_time = 1
                if high < 0:
                    high = payload
                step = (payload - high) & (_EVT3_HIGH_RANGE - 1)
                if step >= _EVT3_HIGH_RANGE // 2 and high + step - _EVT3_HIGH_RANGE >= 0:
                    step -= _EVT3_HIGH_RANGE
                high += step
                last = max(last, high)
    if base >= 0:
        place = base
    elif orphans:
        place = 0  # they move on a base that was set before
    want_low = True
    want_row = True
    for index in range(total - 1, -1, -1):
        code = np.int64(words[np.uintp(index)]) >> 12
        if (code == 6 and want_low) or (code == 0 and want_row):
            place = min(place, index)
            want_low &= code != 6
            want_row &= code != 0
            if not want_low and not want_row:
                break
    if want_low and times:
        place = 0  # upper bits that change set the lower ones to zero
    mark = place // _MARK_WORDS
    state[_HAVE_TIME] = marks[mark, 0]
    state[_HIGH] = marks[mark, 1]
    return last + 1, mark * _MARK_WORDS
