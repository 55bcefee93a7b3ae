# SPDX-License-Identifier: Apache-2.0
"""EVT 2.0: 32-bit little-endian words, one event a word.

The code is in bits 31-28. 0 OFF and 1 ON events: time bits 5-0 in bits 27-22,
x in 21-11, y in 10-0; 8 time bits 33-6 in microseconds; A external trigger
(time as above, id in 12-8, edge in 0); D, E, F carry nothing that is kept;
the rest is reserved. The 34-bit time starts over after 4 h 46 min and is
unwrapped by the half-range rule (see `neuro_ros.events.encodings.evt3`).

References
----------
Prophesee, "EVT 2.0 format" (docs.prophesee.ai), and the type definitions of OpenEB.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings._blocks import EVENTS, convert_evt2
from neuro_ros.events.encodings._skipping import follow_time
from neuro_ros.events.encodings.base import (
    BACKWARDS,
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

__all__ = ["Evt2Decoder", "Evt2Encoder"]

_HAVE_TIME, _HIGH, _PREVIOUS_NS = range(3)
_HIGH_RANGE = 1 << 28
_HIGH_UNIT_NS = (1 << 6) * 1000


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    high_ns = high * _HIGH_UNIT_NS
    x_limit = width if have_time != 0 else 0
    event_count = 0
    trigger_count = 0
    previous_ns = state[_PREVIOUS_NS]
    backwards = 0
    # Whether the word before is an event that was delivered, under the same upper time bits.
    follows = False
    # Events that miss are not counted one by one: they are the words that are neither delivered nor something else.
    others = 0
    missed_before = 0
    # A word makes one event at most, so there is room for those of this many words.
    used = min(len(words), len(events))
    index = 0
    while index < used:
        # Blocks, up to the first word that is not just one more event; that one and what is left go one by one.
        while follows and index + EVENTS <= used and event_count + EVENTS <= len(events):
            good = convert_evt2(words, index, high_ns, x_limit, height, events, event_count)
            if good < EVENTS:
                index += good
                event_count += good
                break
            # By constants, so that the next block need not wait for this one.
            index += EVENTS
            event_count += EVENTS
        if follows:
            previous_ns = events[event_count - 1, 0]
        if index == used:
            break
        word = np.int64(words[np.uintp(index)])
        index += 1
        code = word >> 28
        if code <= 1:
            x = (word >> 11) & 0x7FF
            y = word & 0x7FF
            time_ns = high_ns + ((word >> 22) & 0x3F) * 1000
            events[np.uintp(event_count), 0] = time_ns
            events[np.uintp(event_count), 1] = x | (y << 16) | (code << 32)
            follows = x < x_limit and y < height
            if follows:
                event_count += 1
                backwards += time_ns < previous_ns
                previous_ns = time_ns
            continue
        follows = False
        if code == 8:
            payload = word & (_HIGH_RANGE - 1)
            if have_time == 0:
                missed_before = index - 1 - others
                counts[BEFORE_TIME] += missed_before
                have_time = 1
                x_limit = width
                if high < 0:
                    high = payload
            step = (payload - high) & (_HIGH_RANGE - 1)
            if step >= _HIGH_RANGE // 2 and high + step - _HIGH_RANGE >= 0:
                step -= _HIGH_RANGE
            if step > 0 and (high & (_HIGH_RANGE - 1)) + step >= _HIGH_RANGE:
                counts[TIME_WRAPS] += 1
            high += step
            high_ns = high * _HIGH_UNIT_NS
        elif code == 0xA:
            if trigger_count == len(triggers):
                used = index - 1
                break
            if have_time != 0:
                triggers[trigger_count, 0] = high_ns + ((word >> 22) & 0x3F) * 1000
                triggers[trigger_count, 1] = ((word >> 8) & 0x1F) | ((word & 1) << 8)
                trigger_count += 1
            else:
                counts[TRIGGERS_BEFORE_TIME] += 1
        elif code < 0xD:
            counts[ERRORS] += 1
        others += 1
    missed = used - others - event_count - missed_before
    if have_time != 0:
        counts[OUT_OF_AREA] += missed
    else:
        counts[BEFORE_TIME] += missed
    counts[BACKWARDS] += backwards
    state[_PREVIOUS_NS] = previous_ns
    state[_HAVE_TIME] = have_time
    state[_HIGH] = high
    return used, event_count, trigger_count


class Evt2Decoder(WordDecoder):
    """Decodes EVT 2.0.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 4
    word_dtype = np.dtype("<u4")
    initial_state = (0, -1, np.iinfo(np.int64).min)
    counts_backwards = True
    synchronised_slots = (_HAVE_TIME,)
    kernel = staticmethod(_decode)

    def start_at(self, time_ns: int) -> None:
        """Say roughly when the stream begins, for absolute times beyond the 4 h 46 min that the words can tell."""
        self._state[_HIGH] = time_ns // _HIGH_UNIT_NS

    def skip(self, data: npt.NDArray[np.uint8], time_base_ns: int = 0) -> int:  # noqa: ARG002 - of the interface
        """See `BytesDecoder.skip`."""
        return int(follow_time(data.view(self.word_dtype), self._state, 28, 0, 28)) * _HIGH_UNIT_NS


@numba.njit(cache=True, nogil=True)
@no_type_check
def _encode(events, triggers, state, out):
    high = state[0]
    count = 0
    index = 0
    trigger = 0
    total = len(events)
    trigger_total = len(triggers)
    while (index < total or trigger < trigger_total) and count < len(out) - 4:
        take_trigger = trigger < trigger_total and (index >= total or triggers[trigger, 0] <= events[index, 0])
        time_us = (triggers[trigger, 0] if take_trigger else events[index, 0]) // 1000
        new_high = time_us >> 6
        if high < 0:
            high = new_high
            out[count] = (8 << 28) | (high & (_HIGH_RANGE - 1))
            count += 1
        if high != new_high:
            # As in EVT3: a decoder goes the shorter way round.
            high += min(max(new_high - high, 1 - _HIGH_RANGE // 2), _HIGH_RANGE // 2 - 1)
            out[count] = (8 << 28) | (high & (_HIGH_RANGE - 1))
            count += 1
            continue
        time_bits = (time_us & 0x3F) << 22
        if take_trigger:
            packed = triggers[trigger, 1]
            out[count] = (0xA << 28) | time_bits | ((packed & 0x1F) << 8) | ((packed >> 8) & 1)
            trigger += 1
        else:
            packed = events[index, 1]
            out[count] = ((packed >> 4) & (1 << 28)) | time_bits | ((packed & 0x7FF) << 11) | ((packed >> 16) & 0x7FF)
            index += 1
        count += 1
    state[0] = high
    return count, index, trigger


class Evt2Encoder(BytesEncoder):
    """Encodes EVT 2.0."""

    def __init__(self) -> None:
        self._state = np.array([-1], np.int64)
        self._out = np.empty(1 << 16, np.uint32)

    def encode(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> bytes:
        """See `BytesEncoder.encode`."""
        check_range(events, triggers, trigger_ids=32, name="EVT2")
        event_words = as_words(as_events(events))
        trigger_words = as_words(np.ascontiguousarray(triggers))
        parts = []
        while len(event_words) or len(trigger_words):
            count, event_count, trigger_count = _encode(event_words, trigger_words, self._state, self._out)
            parts.append(self._out[:count].astype("<u4").tobytes())
            event_words = event_words[event_count:]
            trigger_words = trigger_words[trigger_count:]
        return b"".join(parts)
