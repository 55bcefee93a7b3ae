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

from neuro_ros.events._bits import count_ones
from neuro_ros.events.encodings._blocks import EVENTS, WORDS, convert_columns, count_plain_evt3, write_vector
from neuro_ros.events.encodings._skipping import follow_evt3
from neuro_ros.events.encodings.base import (
    BACKWARDS,
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

# The state that rows, columns, vectors and lower time bits change is one 64-bit number of four lanes:
#
#   bits 15-0   the last column or vector, as it is
#   bits 27-16  row; polarity of the vectors in bit 27
#   bits 43-32  lower time bits
#   bits 63-48  where the next vector begins
#
# A word times _SPREAD stands in every lane, and a table by the word's code says which bits of it the state takes over.
# So all these words are treated alike, without a branch: they follow each other in no pattern that a branch predictor
# could learn. After a word that makes events, the state is all that there is to know of them: a record.
_HAVE_TIME, _HIGH, _LANES, _PREVIOUS_NS = range(4)
_SPREAD = np.uint64(0x0001_0001_0001_0001)
_ROW_SHIFT, _POLARITY_SHIFT, _LOW_SHIFT, _BASE_SHIFT = 16, 27, 32, 48
_ROW_BITS = 0x7FF << _ROW_SHIFT
_LOW_BITS = 0xFFF << _LOW_SHIFT


def _by_code(entries: dict[int, int]) -> npt.NDArray[np.uint64]:
    table = np.zeros(16, np.uint64)
    for code, entry in entries.items():
        table[code] = entry
    return table


_TAKEN = _by_code(
    {0: _ROW_BITS, 2: 0xFFFF, 3: 0x7FF << _BASE_SHIFT | 1 << _POLARITY_SHIFT, 4: 0xFFFF, 5: 0xFFFF, 6: _LOW_BITS}
)
# A new base also clears what steps have carried beyond its eleven bits.
_KEPT = ~(_TAKEN | _by_code({3: 0xFFFF << _BASE_SHIFT}))
_STEP = _by_code({4: 12 << _BASE_SHIFT, 5: 8 << _BASE_SHIFT})
_IS_RECORD = _by_code({2: 1, 4: 1, 5: 1}).astype(np.int64)
_X_SHIFT = _by_code({2: 0, 4: _BASE_SHIFT, 5: _BASE_SHIFT}).astype(np.int64)
_X_BITS = _by_code({2: 0x7FF, 4: 0xFFFF, 5: 0xFFFF}).astype(np.int64)
_P_SHIFT = _by_code({2: 11, 4: _POLARITY_SHIFT, 5: _POLARITY_SHIFT}).astype(np.int64)
_MASK_BITS = _by_code({4: 0xFFF, 5: 0xFF}).astype(np.int64)
_ONE = _by_code({2: 1}).astype(np.int64)
# Columns of a vector: the places of up to twelve ones in 4 bits each, and how many they are from bit 48 on.
_COLUMNS = np.array(
    [
        sum(column << (4 * place) for place, column in enumerate(columns)) | len(columns) << 48
        for columns in ([column for column in range(12) if mask >> column & 1] for mask in range(1 << 12))
    ],
    np.int64,
)

_HIGH_RANGE = 1 << 12
_HIGH_UNIT_NS = (1 << 12) * 1000
_PADDING_WORD = 0x9999
_MAX_COORDINATE = 2047
# A row and a base of vectors beyond any sensor that the format can tell of.
_UNKNOWN_LANES = _ROW_BITS | (_MAX_COORDINATE + 1) << _BASE_SHIFT
_VECTOR = 12
# Words that are turned into records at a time; these stay in the innermost cache, and the base below 2^16.
_RUN = 512


@numba.njit(cache=True, nogil=True)
@no_type_check
def _end_of_run(words, begin, limit, high_word):
    """Return the place of the first word that is more than a row, a column, a vector or lower time, or the limit."""
    index = begin
    while index + WORDS <= limit:
        plain = count_plain_evt3(words, index, high_word)
        if plain < WORDS:
            return index + plain
        index += WORDS
    while index < limit:
        word = np.int64(words[np.uintp(index)])
        if word != high_word and (word >> 12 > 7 or word >> 12 == 1):
            break
        index += 1
    return index


@numba.njit(cache=True, nogil=True)
@no_type_check
def _write_columns(records, record_count, high_ns, width, height, previous_ns, events, event_count):
    """Make the events of records that are all of columns.

    Returns the number of events, of those beyond the sensor and of those before their predecessor, and the last time.
    """
    missed = 0
    backwards = 0
    follows = False
    index = 0
    while index < record_count:
        if follows:
            while index + EVENTS <= record_count:
                if convert_columns(records, index, high_ns, width, height, events, event_count) < EVENTS:
                    break
                # By constants, so that the next block need not wait for this one.
                index += EVENTS
                event_count += EVENTS
            good = convert_columns(records, index, high_ns, width, height, events, event_count)
            good = min(good, record_count - index)
            index += good
            event_count += good
            previous_ns = events[event_count - 1, 0]
            if index == record_count:
                break
        # The first one, and those that are beyond the sensor or step back.
        record = np.int64(records[np.uintp(index)])
        index += 1
        x = record & 0x7FF
        row = record & _ROW_BITS
        follows = x < width and row < height << _ROW_SHIFT
        if not follows:
            missed += 1
            continue
        time_ns = high_ns + ((record >> _LOW_SHIFT) & 0xFFF) * 1000
        events[np.uintp(event_count), 0] = time_ns
        events[np.uintp(event_count), 1] = x | row | ((record & 0x800) << 21)
        event_count += 1
        backwards += time_ns < previous_ns
        previous_ns = time_ns
    return event_count, missed, backwards, previous_ns


@numba.njit(cache=True, nogil=True)
@no_type_check
def _write_vectors(records, record_count, high_ns, width, height, previous_ns, events, event_count):
    """Do as `_write_columns` with records of columns and of vectors."""
    missed = 0
    backwards = 0
    for index in range(record_count):
        record = np.int64(records[np.uintp(index)])
        code = (record >> 12) & 0xF
        x = (record >> _X_SHIFT[code]) & _X_BITS[code]
        polarity = (record >> _P_SHIFT[code]) & 1
        mask = (record & _MASK_BITS[code]) | _ONE[code]
        row = record & _ROW_BITS
        x_limit = width if row < height << _ROW_SHIFT else 0
        if x + _VECTOR > x_limit:
            # As many columns as lie within the sensor.
            allowed = np.int64(0xFFF) >> min(x + _VECTOR - x_limit, _VECTOR)
            missed += np.int64(count_ones(np.uint64(mask & ~allowed)))
            mask &= allowed
        columns = _COLUMNS[np.uintp(mask)]
        time_ns = high_ns + ((record >> _LOW_SHIFT) & 0xFFF) * 1000
        tail = x | row | (polarity << 32)
        # How many there are is hard to predict: mostly not more than eight.
        write_vector(columns, time_ns, tail, events, event_count)
        write_vector(columns >> 16, time_ns, tail, events, event_count + 4)
        total = columns >> 48
        if total > 8:
            write_vector(columns >> 32, time_ns, tail, events, event_count + 8)
        event_count += total
        if total != 0:
            backwards += time_ns < previous_ns
            previous_ns = time_ns
    return event_count, missed, backwards, previous_ns


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    have_time = state[_HAVE_TIME]
    high = state[_HIGH]
    lanes = np.uint64(state[_LANES])
    previous_ns = state[_PREVIOUS_NS]
    high_ns = high * _HIGH_UNIT_NS
    records = np.empty(_RUN + EVENTS, np.uint64)
    event_count = 0
    trigger_count = 0
    missed = 0
    index = 0
    while index < len(words):
        # Beyond the sensor it does not matter how far; so the lane never overflows.
        if lanes >> np.uint64(_BASE_SHIFT) > _MAX_COORDINATE:
            lanes = (lanes & np.uint64((1 << _BASE_SHIFT) - 1)) | np.uint64((_MAX_COORDINATE + 1) << _BASE_SHIFT)
        room = (len(events) - event_count) // _VECTOR
        if room == 0 or trigger_count == len(triggers):
            break
        high_word = 0x8000 | (high & (_HIGH_RANGE - 1)) if have_time != 0 else 0
        end = _end_of_run(words, index, min(len(words), index + min(room, _RUN)), high_word)
        record_count = 0
        steps = np.uint64(0)
        for place in range(index, end):
            word = np.uint64(words[np.uintp(place)])
            code = word >> np.uint64(12)
            lanes = (lanes & _KEPT[code]) | (word * _SPREAD & _TAKEN[code])
            records[np.uintp(record_count)] = lanes
            record_count += _IS_RECORD[code]
            lanes += _STEP[code]
            steps |= _STEP[code]
        # Before the first time no column is within the sensor.
        enabled_width = width if have_time != 0 else 0
        if steps == 0:
            event_count, beyond, stepped_back, previous_ns = _write_columns(
                records, record_count, high_ns, enabled_width, height, previous_ns, events, event_count
            )
        else:
            event_count, beyond, stepped_back, previous_ns = _write_vectors(
                records, record_count, high_ns, enabled_width, height, previous_ns, events, event_count
            )
        missed += beyond
        counts[BACKWARDS] += stepped_back
        index = end
        if index == len(words):
            break
        word = np.int64(words[np.uintp(index)])
        code = word >> 12
        payload = word & 0xFFF
        if code < 8 and code != 1:
            continue  # the run ended for want of room
        index += 1
        if code == 8:
            if have_time == 0:
                counts[BEFORE_TIME] += missed
                missed = 0
                have_time = 1
                if high < 0:
                    high = payload
                # Lower bits from before are another moment's.
                lanes &= ~np.uint64(_LOW_BITS)
            step = (payload - high) & (_HIGH_RANGE - 1)
            if step >= _HIGH_RANGE // 2 and high + step - _HIGH_RANGE >= 0:
                step -= _HIGH_RANGE
            if step != 0:
                if step > 0 and (high & (_HIGH_RANGE - 1)) + step >= _HIGH_RANGE:
                    counts[TIME_WRAPS] += 1
                high += step
                # The old lower bits belong to the old upper bits.
                lanes &= ~np.uint64(_LOW_BITS)
            high_ns = high * _HIGH_UNIT_NS
        elif code == 0xA:
            if have_time != 0:
                triggers[trigger_count, 0] = high_ns + np.int64((lanes & np.uint64(_LOW_BITS)) >> np.uint64(32)) * 1000
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
    state[_LANES] = np.int64(lanes)
    state[_PREVIOUS_NS] = previous_ns
    return index, event_count, trigger_count


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
    initial_state = (0, -1, 0, np.iinfo(np.int64).min)
    counts_backwards = True
    synchronised_slots = (_HAVE_TIME, _LANES)
    kernel = staticmethod(_decode)

    def start_at(self, time_ns: int) -> None:
        """Say roughly when the stream begins, for absolute times beyond the 16.8 s that the words can tell."""
        self._state[_HIGH] = time_ns // _HIGH_UNIT_NS

    def resync(self) -> None:
        """See `BytesDecoder.resync`; until a row and a base are told anew, events count as out of the area."""
        super().resync()
        self._state[_LANES] = _UNKNOWN_LANES

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
