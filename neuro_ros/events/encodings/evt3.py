# SPDX-License-Identifier: Apache-2.0
"""EVT 3.0: 16-bit little-endian words that change a state, some of which emit events.

The code is in bits 15-12. 0 row (y), 2 column (x, polarity; emits one event),
3 base column of vectors, 4 and 5 vectors of 12 and 8 pixels, 6 time bits 11-0
and 8 time bits 23-12 in microseconds, A external trigger; 7, D, E, F carry
nothing that is kept; 1, 9, B, C are reserved. The word 9999h is padding.

The 24-bit time starts over each 16.8 s. A step of the upper 12 bits is read as
the shorter way round (half-range rule), so that both a wrap and a word slightly
out of order come out right; a step back to before zero is read as forward.

References
----------
Prophesee, "EVT 3.0 format" (docs.prophesee.ai), and the type definitions of OpenEB.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._bits import count_ones, trailing_zeros
from neuro_ros.events.encodings._skipping import follow_evt3
from neuro_ros.events.encodings.base import (
    BEFORE_TIME,
    ERRORS,
    OUT_OF_AREA,
    PADDING,
    TIME_WRAPS,
    TRIGGERS_BEFORE_TIME,
    BytesEncoder,
    WordDecoder,
)
from neuro_ros.events.types import RecordingError, as_events, as_words

__all__ = ["Evt3Decoder", "Evt3Encoder"]

_HAVE_TIME, _HIGH, _TIME_NS, _Y, _BASE, _POLARITY = range(6)
_HIGH_RANGE = 1 << 12
_HIGH_UNIT_NS = (1 << 12) * 1000
_PADDING_WORD = 0x9999
_FREQUENT_CODES = (1 << 0) | (1 << 2) | (1 << 6)
_MAX_COORDINATE = 2047
# Beyond any sensor, see MAX_SIDE_PX.
_UNKNOWN_COORDINATE = 65535


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    time_ns = state[_TIME_NS]
    y = state[_Y]
    base = state[_BASE]
    polarity = state[_POLARITY]
    high_ns = high * _HIGH_UNIT_NS
    y_bits = y << 16
    # One comparison decides whether an event counts: before the first time, and in rows beyond the sensor, no x is
    # small enough.
    enabled_width = width if have_time != 0 else 0
    x_limit = enabled_width if y < height else 0
    event_room = len(events) - 12
    trigger_room = len(triggers) - 1
    event_count = 0
    trigger_count = 0
    missed = 0
    used = len(words)
    for index in range(len(words)):
        if event_count > event_room or trigger_count > trigger_room:
            used = index
            break
        word = np.int64(words[np.uintp(index)])
        code = word >> 12
        payload = word & 0xFFF
        if (_FREQUENT_CODES >> code) & 1:
            # Rows, columns and lower time bits follow each other in no pattern that a branch predictor could learn,
            # so there are no branches here: all ones or all zeros select.
            is_row = -np.int64(code == 0)
            is_time = -np.int64(code == 6)
            emits = np.int64(code == 2)
            address = word & 0x7FF
            y_bits ^= ((address << 16) ^ y_bits) & is_row
            row_limit = enabled_width & -np.int64(address < height)
            x_limit ^= (row_limit ^ x_limit) & is_row
            time_ns ^= ((high_ns + payload * 1000) ^ time_ns) & is_time
            events[np.uintp(event_count), 0] = time_ns
            events[np.uintp(event_count), 1] = address | y_bits | ((word & 0x800) << 21)
            good = emits & np.int64(address < x_limit)
            event_count += good
            missed += emits - good
        elif code == 4 or code == 5:
            mask = payload if code == 4 else payload & 0xFF
            tail = (y_bits | (polarity << 32)) + base
            # As many columns of the vector as lie within the sensor.
            allowed = np.int64(0xFFF) >> min(max(base + 12 - x_limit, 0), 12)
            missed += np.int64(count_ones(np.uint64(mask & ~allowed)))
            mask &= allowed
            while mask != 0:
                events[np.uintp(event_count), 0] = time_ns
                events[np.uintp(event_count), 1] = tail + trailing_zeros(mask)
                event_count += 1
                mask &= mask - 1
            base += 12 if code == 4 else 8
        elif code == 3:
            base = word & 0x7FF
            polarity = (word >> 11) & 1
        elif code == 8:
            if have_time == 0:
                counts[BEFORE_TIME] += missed
                missed = 0
                have_time = 1
                enabled_width = width
                x_limit = width if (y_bits >> 16) < height else 0
                if high < 0:
                    high = payload
                # Lower bits from before are another moment's.
                high_ns = high * _HIGH_UNIT_NS
                time_ns = high_ns
            step = (payload - high) & (_HIGH_RANGE - 1)
            if step >= _HIGH_RANGE // 2 and high + step - _HIGH_RANGE >= 0:
                step -= _HIGH_RANGE
            if step != 0:
                if step > 0 and (high & (_HIGH_RANGE - 1)) + step >= _HIGH_RANGE:
                    counts[TIME_WRAPS] += 1
                high += step
                high_ns = high * _HIGH_UNIT_NS
                # The old lower bits belong to the old upper bits.
                time_ns = high_ns
        elif code == 0xA:
            if have_time != 0:
                triggers[trigger_count, 0] = time_ns
                triggers[trigger_count, 1] = ((word >> 8) & 0xF) | ((word & 1) << 8)
                trigger_count += 1
            else:
                counts[TRIGGERS_BEFORE_TIME] += 1
        elif word == _PADDING_WORD:
            counts[PADDING] += 1
        elif code == 1 or code == 9 or code == 0xB or code == 0xC:
            counts[ERRORS] += 1
    if have_time != 0:
        counts[OUT_OF_AREA] += missed
    else:
        counts[BEFORE_TIME] += missed
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    state[_TIME_NS] = time_ns
    state[_Y] = y_bits >> 16
    state[_BASE] = base
    state[_POLARITY] = polarity
    return used, event_count, trigger_count


class Evt3Decoder(WordDecoder):
    """Decodes EVT 3.0.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 2
    burst = 12
    word_dtype = np.dtype("<u2")
    initial_state = (0, -1, 0, 0, 0, 0)
    synchronised_slots = (_HAVE_TIME, _Y, _BASE, _POLARITY)
    kernel = staticmethod(_decode)

    def start_at(self, time_ns: int) -> None:
        """Say roughly when the stream begins, for absolute times beyond the 16.8 s that the words can tell."""
        self._state[_HIGH] = time_ns // _HIGH_UNIT_NS

    def resync(self) -> None:
        """See `BytesDecoder.resync`; until a row and a base are told anew, events count as out of the area."""
        super().resync()
        self._state[_Y] = self._state[_BASE] = _UNKNOWN_COORDINATE

    def skip(self, data: npt.NDArray[np.uint8], time_base_ns: int = 0) -> int:  # noqa: ARG002 - of the interface
        """See `BytesDecoder.skip`."""
        high, first = follow_evt3(data.view(self.word_dtype), self._state)
        self._pass_over(data[self.word_bytes * first :])
        return int(high) * _HIGH_UNIT_NS


@numba.njit(cache=True, nogil=True)
@no_type_check
def _encode(events, triggers, state, out):
    """Write words into `out` until it is nearly full; return words, events and triggers done."""
    high = state[0]
    low = state[1]
    row = state[2]
    count = 0
    index = 0
    trigger = 0
    total = len(events)
    trigger_total = len(triggers)
    while index < total or trigger < trigger_total:
        take_trigger = trigger < trigger_total and (index >= total or triggers[trigger, 0] <= events[index, 0])
        time_us = (triggers[trigger, 0] if take_trigger else events[index, 0]) // 1000
        new_high = time_us >> 12
        new_low = time_us & 0xFFF
        if new_high != high:
            row = -1  # who has lost what came before learns the row together with the time
            if high < 0:
                high = new_high
                out[count] = 0x8000 | (high & 0xFFF)
                count += 1
            while high != new_high:
                # A decoder goes the shorter way round, so a long way is walked in steps shorter than half the range.
                step = min(max(new_high - high, -2047), 2047)
                high += step
                out[count] = 0x8000 | (high & 0xFFF)
                count += 1
                if count >= len(out) - 16:
                    break
            if high != new_high:
                state[0] = high
                state[1] = -1
                state[2] = row
                return count, index, trigger
            low = -1
        if new_low != low:
            low = new_low
            out[count] = 0x6000 | low
            count += 1
        if take_trigger:
            packed = triggers[trigger, 1]
            out[count] = 0xA000 | ((packed & 0xF) << 8) | ((packed >> 8) & 1)
            count += 1
            trigger += 1
        else:
            packed = events[index, 1]
            x = packed & 0xFFFF
            y = (packed >> 16) & 0xFFFF
            polarity = (packed >> 32) & 1
            if y != row:
                row = y
                out[count] = y
                count += 1
            # A vector keeps the order only while x grows within one row, one polarity, one microsecond.
            end = index + 1
            mask = 1
            previous = x
            while end < total:
                following = events[end, 1]
                following_x = following & 0xFFFF
                if (
                    events[end, 0] // 1000 != time_us
                    or (following >> 16) & 0xFFFF != y
                    or (following >> 32) & 1 != polarity
                    or following_x <= previous
                    or following_x >= x + 12
                ):
                    break
                mask |= 1 << (following_x - x)
                previous = following_x
                end += 1
            if end - index >= 3:
                out[count] = 0x3000 | (polarity << 11) | x
                out[count + 1] = 0x4000 | mask
                count += 2
                index = end
            else:
                out[count] = 0x2000 | (polarity << 11) | x
                count += 1
                index += 1
        if count >= len(out) - 16:
            break
    state[0] = high
    state[1] = low
    state[2] = row
    return count, index, trigger


class Evt3Encoder(BytesEncoder):
    """Encodes EVT 3.0, with vectors where they are shorter.

    Times of the first batch beyond 16.8 s lose their upper part in the words;
    the file header keeps it (see `neuro_ros.events.formats.raw`).
    """

    def __init__(self) -> None:
        self._state = np.array([-1, -1, -1], np.int64)
        self._out = np.empty(1 << 16, np.uint16)

    def encode(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> bytes:
        """See `BytesEncoder.encode`."""
        check_range(events, triggers, trigger_ids=16, name="EVT3")
        event_words = as_words(as_events(events))
        trigger_words = as_words(np.ascontiguousarray(triggers))
        parts = []
        while len(event_words) or len(trigger_words):
            count, event_count, trigger_count = _encode(event_words, trigger_words, self._state, self._out)
            parts.append(self._out[:count].astype("<u2").tobytes())
            event_words = event_words[event_count:]
            trigger_words = trigger_words[trigger_count:]
        return b"".join(parts)


def check_range(events: npt.NDArray[np.void], triggers: npt.NDArray[np.void], trigger_ids: int, name: str) -> None:
    """Refuse what 11 bits a coordinate and an unsigned time cannot hold.

    Raises
    ------
    RecordingError
        With the value and the limit.
    """
    for axis in ("x", "y"):
        if len(events) and int(events[axis].max()) > _MAX_COORDINATE:
            raise RecordingError(f"{name} holds {axis} up to {_MAX_COORDINATE}, an event has {int(events[axis].max())}")
    for times in (events["t"], triggers["t"]):
        if len(times) and int(times.min()) < 0:
            raise RecordingError(f"{name} holds no negative times, found {int(times.min())} ns")
    if len(triggers) and int(triggers["id"].max()) >= trigger_ids:
        raise RecordingError(f"{name} holds trigger ids below {trigger_ids}, found {int(triggers['id'].max())}")
