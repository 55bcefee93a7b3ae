# SPDX-License-Identifier: Apache-2.0
"""libcaer_cmp: 16-bit little-endian words that change a state, some of which emit events, in packets.

The code is in bits 15-12. 0 time bits 23-12 and 1 time bits 11-0 in
microseconds, relative to the base of the packet and 0 at its start; 2 column
(x in bits 10-0); 3 row (y in bits 10-0, polarity in 11; emits one event); 4
base row and polarity of vectors; 5 a vector of 8 pixels, which adds 8 to the
base row. Code 6 is named, a vector of 12, but nothing says what it means and
nothing writes it: it counts as an error, as the reserved codes 7-F do.

In a packet longer than 16.8 s the time starts over: a step down by more than
three quarters of the range is taken for that (see
`neuro_ros.events.encodings.libcaer`). Columns and rows are kept from packet to
packet, and forgotten after a loss: events whose column or row was lost count
as errors.

The time in nanoseconds is the packet's base plus a thousand times the
microseconds. event_camera_codecs, since its version of February 2024, adds the
base first and multiplies both. Bags that libcaer_driver has recorded can hold
wrong rows: its encoder writes the row of an earlier event where only the row
changes within one block of eight.

References
----------
event_camera_codecs, ``libcaer_cmp_types.h``, ``libcaer_cmp_decoder.h``; libcaer_driver, ``message_converter.cpp``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._bits import count_ones, trailing_zeros
from neuro_ros.events.encodings._counters import packet_step
from neuro_ros.events.encodings.base import (
    ERRORS,
    OUT_OF_AREA,
    TIME_WRAPS,
    PacketEncoder,
    PacketWordDecoder,
)
from neuro_ros.events.types import as_words

__all__ = ["LibcaerCmpDecoder", "LibcaerCmpEncoder"]

_HIGH, _LOW, _X, _BASE, _POLARITY = range(5)
_UNKNOWN = -1
_HIGH_RANGE = 1 << 12


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers, base_ns):  # noqa: ARG001 - as all loops
    high = state[_HIGH]
    low = state[_LOW]
    x = state[_X]
    base = state[_BASE]
    polarity = state[_POLARITY]
    time_ns = base_ns + ((high << 12) | low) * 1000
    event_room = len(events) - 8
    event_count = 0
    missed = 0
    lost = 0
    used = len(words)
    for index in range(len(words)):
        if event_count > event_room:
            used = index
            break
        word = np.int64(words[np.uintp(index)])
        code = word >> 12
        payload = word & 0xFFF
        if code == 3:
            y = word & 0x7FF
            if x < 0:
                lost += 1
            elif x < width and y < height:
                events[np.uintp(event_count), 0] = time_ns
                events[np.uintp(event_count), 1] = x | (y << 16) | ((payload >> 11) << 32)
                event_count += 1
            else:
                missed += 1
        elif code == 2:
            x = word & 0x7FF
        elif code == 1:
            low = payload
            time_ns = base_ns + ((high << 12) | low) * 1000
        elif code == 5:
            mask = word & 0xFF
            if x < 0 or base < 0:
                lost += np.int64(count_ones(np.uint64(mask)))
            else:
                # As many rows of the vector as lie within the sensor.
                inside = min(max((height if x < width else 0) - base, 0), 8)
                allowed = (np.int64(1) << inside) - 1
                missed += np.int64(count_ones(np.uint64(mask & ~allowed)))
                mask &= allowed
                tail = x | (base << 16) | (polarity << 32)
                while mask != 0:
                    events[np.uintp(event_count), 0] = time_ns
                    events[np.uintp(event_count), 1] = tail + (trailing_zeros(mask) << 16)
                    event_count += 1
                    mask &= mask - 1
                base += 8
        elif code == 4:
            base = word & 0x7FF
            polarity = payload >> 11
        elif code == 0:
            step = packet_step(high, payload, _HIGH_RANGE, 0)
            if step > 0 and (high & (_HIGH_RANGE - 1)) + step >= _HIGH_RANGE:
                counts[TIME_WRAPS] += 1
            high += step
            # The lower bits stand until they change: the encoder writes only what differs.
            time_ns = base_ns + ((high << 12) | low) * 1000
        else:
            counts[ERRORS] += 1
    counts[OUT_OF_AREA] += missed
    counts[ERRORS] += lost
    state[_HIGH] = high
    state[_LOW] = low
    state[_X] = x
    state[_BASE] = base
    state[_POLARITY] = polarity
    return used, event_count, 0


class LibcaerCmpDecoder(PacketWordDecoder):
    """Decodes libcaer_cmp.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 2
    burst = 8
    word_dtype = np.dtype("<u2")
    initial_state = (0, 0, _UNKNOWN, _UNKNOWN, 0)
    packet_slots = (_HIGH, _LOW)
    synchronised_slots = (_X, _BASE, _POLARITY)
    kernel = staticmethod(_decode)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _encode(events, base_ns, state, out):
    """Write words into `out` until it is nearly full; return words and events done."""
    high = state[_HIGH]
    low = state[_LOW]
    x = state[_X]
    count = 0
    index = 0
    total = len(events)
    while index < total and count < len(out) - 5:
        time_us = (events[index, 0] - base_ns) // 1000
        new_high = time_us >> 12
        if high != new_high:
            # What goes farther takes several steps, each short enough to be read right.
            high += min(max(new_high - high, 1 - _HIGH_RANGE // 4), _HIGH_RANGE // 4 - 1)
            out[count] = high & (_HIGH_RANGE - 1)
            count += 1
            continue
        if low != time_us & 0xFFF:
            low = time_us & 0xFFF
            out[count] = 0x1000 | low
            count += 1
        first = events[index, 1]
        if x != first & 0xFFFF:
            x = first & 0xFFFF
            out[count] = 0x2000 | x
            count += 1
        y = (first >> 16) & 0xFFFF
        polarity = (first >> 32) & 1
        # A vector keeps the order only while y grows within one column, one polarity, one microsecond.
        end = index + 1
        last = np.int64(0)
        mask = np.int64(1)
        while end < total:
            packed = events[end, 1]
            row = ((packed >> 16) & 0xFFFF) - y
            if (
                (events[end, 0] - base_ns) // 1000 != time_us
                or ((packed ^ first) & 0x10000FFFF) != 0
                or row <= last
                or row >= 8
            ):
                break
            mask |= np.int64(1) << row
            last = row
            end += 1
        if end - index >= 3:
            out[count] = 0x4000 | (polarity << 11) | y
            out[count + 1] = 0x5000 | mask
            count += 2
            index = end
        else:
            out[count] = 0x3000 | (polarity << 11) | y
            count += 1
            index += 1
    state[_HIGH] = high
    state[_LOW] = low
    state[_X] = x
    return count, index


class LibcaerCmpEncoder(PacketEncoder):
    """Encodes libcaer_cmp, with vectors where they are shorter; a packet's base is its earliest event's microsecond.

    Each event's row is written as it is, unlike in libcaer_driver.
    """

    name = "libcaer_cmp"
    max_x = 0x7FF
    max_y = 0x7FF

    def __init__(self) -> None:
        self._state = np.array(LibcaerCmpDecoder.initial_state, np.int64)
        self._out = np.empty(1 << 16, np.uint16)

    def _begin_packet(self) -> None:
        self._state[:] = LibcaerCmpDecoder.initial_state

    def _time_base_ns(self, times: npt.NDArray[np.int64]) -> int:
        return int(times.min()) // 1000 * 1000

    def _encode(self, events: npt.NDArray[np.void], base_ns: int) -> bytes:
        event_words = as_words(events)
        parts = []
        while len(event_words):
            count, event_count = _encode(event_words, base_ns, self._state, self._out)
            parts.append(self._out[:count].astype("<u2").tobytes())
            event_words = event_words[event_count:]
        return b"".join(parts)
