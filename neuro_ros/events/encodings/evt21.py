# SPDX-License-Identifier: Apache-2.0
"""EVT 2.1: 64-bit words, each with the events of up to 32 pixels beside each other, in both byte orders.

The code is in bits 63-60. 0 OFF and 1 ON events: time bits 5-0 in bits 59-54,
the first x in 53-43, y in 42-32, and in 31-0 a mask of which bit i stands for
an event at x + i; 8 time bits 33-6 in microseconds, in 59-32; A external
trigger (time as above, id in 44-40, edge in 32); E, F carry nothing that is
kept, be it monitoring or filler; the rest is reserved. The 34-bit time starts
over after 4 h 46 min and is unwrapped by the half-range rule (see
`neuro_ros.events.encodings.evt3`).

GenX320 sends a word with its lowest byte first (``evt21``). IMX636, IMX646 and
Gen4.1 send the upper 32 bits first, and then the lower ones, each with its
lowest byte first (``evt21_legacy``, after the header's ``endianness=legacy``).

References
----------
Prophesee, "EVT 2.1 format" (docs.prophesee.ai), and the type definitions of OpenEB.
"""

from __future__ import annotations

from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._bits import count_ones, trailing_zeros
from neuro_ros.events.encodings._counters import counter_step
from neuro_ros.events.encodings._skipping import follow_time
from neuro_ros.events.encodings.base import (
    BEFORE_TIME,
    ERRORS,
    OUT_OF_AREA,
    TIME_WRAPS,
    TRIGGERS_BEFORE_TIME,
    BytesEncoder,
    WordDecoder,
)
from neuro_ros.events.encodings.evt3 import check_range
from neuro_ros.events.types import as_events, as_words

__all__ = ["Evt21Decoder", "Evt21Encoder", "Evt21LegacyDecoder", "Evt21LegacyEncoder", "looks_legacy"]

_HAVE_TIME, _HIGH, _LEGACY = range(3)
_HIGH_RANGE = 1 << 28
_HIGH_UNIT_NS = (1 << 6) * 1000
_LOWER = 0xFFFFFFFF
_MASK_BITS = 32
_KNOWN_CODES = (1 << 0) | (1 << 1) | (1 << 8) | (1 << 0xA) | (1 << 0xE) | (1 << 0xF)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    legacy = state[_LEGACY]
    high_ns = high * _HIGH_UNIT_NS
    # Before the first time no x is small enough.
    enabled_width = width if have_time != 0 else 0
    event_room = len(events) - _MASK_BITS
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
        upper = (word >> 32) & _LOWER
        lower = word & _LOWER
        if legacy != 0:
            upper, lower = lower, upper
        code = upper >> 28
        if code <= 1:
            x = (upper >> 11) & 0x7FF
            y = upper & 0x7FF
            # As many columns of the mask as lie within the sensor.
            inside = min(max((enabled_width if y < height else 0) - x, 0), _MASK_BITS)
            allowed = (np.int64(1) << inside) - 1
            missed += np.int64(count_ones(np.uint64(lower & ~allowed)))
            mask = lower & allowed
            time_ns = high_ns + ((upper >> 22) & 0x3F) * 1000
            tail = x | (y << 16) | (code << 32)
            while mask != 0:
                events[np.uintp(event_count), 0] = time_ns
                events[np.uintp(event_count), 1] = tail + trailing_zeros(mask)
                event_count += 1
                mask &= mask - 1
        elif code == 8:
            payload = upper & (_HIGH_RANGE - 1)
            if have_time == 0:
                counts[BEFORE_TIME] += missed
                missed = 0
                have_time = 1
                enabled_width = width
                if high < 0:
                    high = payload
            step = counter_step(high, payload, _HIGH_RANGE)
            if step > 0 and (high & (_HIGH_RANGE - 1)) + step >= _HIGH_RANGE:
                counts[TIME_WRAPS] += 1
            high += step
            high_ns = high * _HIGH_UNIT_NS
        elif code == 0xA:
            if have_time != 0:
                triggers[trigger_count, 0] = high_ns + ((upper >> 22) & 0x3F) * 1000
                triggers[trigger_count, 1] = ((upper >> 8) & 0x1F) | ((upper & 1) << 8)
                trigger_count += 1
            else:
                counts[TRIGGERS_BEFORE_TIME] += 1
        elif code < 0xE:
            counts[ERRORS] += 1
    counts[OUT_OF_AREA if have_time != 0 else BEFORE_TIME] += missed
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    return used, event_count, trigger_count


class Evt21Decoder(WordDecoder):
    """Decodes EVT 2.1 with the lowest byte of each word first.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 8
    burst = _MASK_BITS
    word_dtype = np.dtype("<u8")
    initial_state = (0, -1, 0)
    synchronised_slots = (_HAVE_TIME,)
    kernel = staticmethod(_decode)

    def start_at(self, time_ns: int) -> None:
        """Say roughly when the stream begins, for absolute times beyond the 4 h 46 min that the words can tell."""
        self._state[_HIGH] = time_ns // _HIGH_UNIT_NS

    def skip(self, data: npt.NDArray[np.uint8], time_base_ns: int = 0) -> int:  # noqa: ARG002 - of the interface
        """See `BytesDecoder.skip`."""
        code_shift, payload_shift = (28, 0) if self._state[_LEGACY] else (60, 32)
        high = follow_time(data.view(self.word_dtype), self._state, code_shift, payload_shift, 28)
        return int(high) * _HIGH_UNIT_NS


class Evt21LegacyDecoder(Evt21Decoder):
    """Decodes EVT 2.1 with the upper half of each word first; else as `Evt21Decoder`."""

    initial_state = (0, -1, 1)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _encode(events, triggers, state, out):
    """Write the halves of words into `out`, upper half first, until it is full; return words, events, triggers done."""
    high = state[0]
    count = 0
    index = 0
    trigger = 0
    total = len(events)
    trigger_total = len(triggers)
    while (index < total or trigger < trigger_total) and count < len(out) - 1:
        take_trigger = trigger < trigger_total and (index >= total or triggers[trigger, 0] <= events[index, 0])
        time_us = (triggers[trigger, 0] if take_trigger else events[index, 0]) // 1000
        new_high = time_us >> 6
        if high != new_high:
            # As in EVT3: a decoder goes the shorter way round.
            limit = _HIGH_RANGE // 2 - 1
            high = new_high if high < 0 else high + min(max(new_high - high, -limit), limit)
            out[count, 0] = (8 << 28) | (high & (_HIGH_RANGE - 1))
            out[count, 1] = 0
            count += 1
            continue
        time_bits = (time_us & 0x3F) << 22
        if take_trigger:
            packed = triggers[trigger, 1]
            out[count, 0] = (0xA << 28) | time_bits | ((packed & 0x1F) << 8) | ((packed >> 8) & 1)
            out[count, 1] = 0
            trigger += 1
        else:
            # A mask keeps the order only while x grows within one row, one polarity, one microsecond.
            first = events[index, 1]
            base = first & 0x7E0
            last = np.int64(-1)
            mask = np.int64(0)
            while index < total:
                packed = events[index, 1]
                column = (packed & 0xFFFF) - base
                if (
                    events[index, 0] // 1000 != time_us
                    or ((packed ^ first) & 0x1FFFF0000) != 0
                    or column <= last
                    or column >= _MASK_BITS
                ):
                    break
                mask |= np.int64(1) << column
                last = column
                index += 1
            out[count, 0] = ((first >> 4) & (1 << 28)) | time_bits | (base << 11) | ((first >> 16) & 0x7FF)
            out[count, 1] = mask
        count += 1
    state[0] = high
    return count, index, trigger


class Evt21Encoder(BytesEncoder):
    """Encodes EVT 2.1, with the columns of a mask at multiples of 32 as a sensor has them."""

    #: Places of the upper and the lower half in a word's bytes.
    halves: ClassVar[tuple[int, int]] = (1, 0)

    def __init__(self) -> None:
        self._state = np.array([-1], np.int64)
        self._out = np.empty((1 << 15, 2), np.uint32)

    def encode(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> bytes:
        """See `BytesEncoder.encode`."""
        check_range(events, triggers, trigger_ids=32, name="EVT21")
        event_words = as_words(as_events(events))
        trigger_words = as_words(np.ascontiguousarray(triggers))
        parts = []
        while len(event_words) or len(trigger_words):
            count, event_count, trigger_count = _encode(event_words, trigger_words, self._state, self._out)
            parts.append(self._out[:count, self.halves].astype("<u4").tobytes())
            event_words = event_words[event_count:]
            trigger_words = trigger_words[trigger_count:]
        return b"".join(parts)


class Evt21LegacyEncoder(Evt21Encoder):
    """Encodes EVT 2.1 with the upper half of each word first."""

    halves = (0, 1)


def looks_legacy(data: bytes) -> bool:
    """Tell from some words which half comes first.

    The half with the code holds none of the ten reserved codes; in the other
    half a mask soon does. What decides is which reading has fewer of them.

    Parameters
    ----------
    data : bytes
        The first words of a recording; the more, the surer.

    Returns
    -------
    bool
        False where both readings are as good.
    """
    halves = np.frombuffer(data[: len(data) // 8 * 8], "<u4").reshape(-1, 2)
    reserved = (_KNOWN_CODES >> (halves >> 28) & 1) == 0
    first, second = reserved.sum(axis=0)
    return bool(first < second)
