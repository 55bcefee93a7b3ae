# SPDX-License-Identifier: Apache-2.0
"""libcaer: the 8-byte polarity events of iniVation cameras as libcaer_driver publishes them in packets.

First 32 bits of data, little-endian: polarity in bit 1, y in 16-2, x in 31-17;
bit 0, libcaer's mark of a valid event, is always set there and is not looked
at. Then 32 bits with the time in microseconds, of which 31 are used, relative
to the base of the packet.

The time starts over after 35 min 47 s. From packet to packet the driver moves
the base on by those 2^31 us, and libcaer ends a packet of its own there, so
that times mostly start over between two packets and nothing is to be carried
from one to the next. The driver does put several packets of libcaer into a
message: within one, and in bare words of base 0, a step down by more than three
quarters of the range is a time that started over, and a step up by as much one
that comes late, from before that, unless it would be below zero.

References
----------
libcaer, ``events/polarity.h``; libcaer_driver, ``message_converter.cpp``; event_camera_codecs, ``libcaer_decoder.h``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings._counters import packet_step
from neuro_ros.events.encodings.base import (
    ERRORS,
    OUT_OF_AREA,
    TIME_WRAPS,
    PacketEncoder,
    PacketWordDecoder,
)
from neuro_ros.events.types import RecordingError

__all__ = ["LibcaerDecoder", "LibcaerEncoder"]

_HAVE_TIME, _TIME_US = range(2)
_RANGE_BITS = 31
_RANGE_US = 1 << _RANGE_BITS
# What is less is always read right, see `packet_step`.
_LONGEST_STEP_US = _RANGE_US // 4


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers, base_ns):  # noqa: ARG001 - as all loops
    have_time = state[_HAVE_TIME]
    time_us = state[_TIME_US]
    event_count = 0
    missed = 0
    # A word makes one event at most, so there is room for those of this many words.
    used = min(len(words), len(events))
    for index in range(used):
        word = np.int64(words[np.uintp(index)])
        if word < 0:
            counts[ERRORS] += 1  # no time of libcaer is negative
            continue
        lower_us = word >> 32
        if have_time == 0:
            have_time = 1
            time_us = lower_us
        else:
            step = packet_step(time_us, lower_us, _RANGE_US, -(base_ns // 1000))
            counts[TIME_WRAPS] += max(((time_us + step) >> _RANGE_BITS) - (time_us >> _RANGE_BITS), 0)
            time_us += step
        x = (word >> 17) & 0x7FFF
        y = (word >> 2) & 0x7FFF
        events[np.uintp(event_count), 0] = base_ns + time_us * 1000
        events[np.uintp(event_count), 1] = x | (y << 16) | (((word >> 1) & 1) << 32)
        good = np.int64(x < width) & np.int64(y < height)
        event_count += good
        missed += 1 - good
    counts[OUT_OF_AREA] += missed
    state[_HAVE_TIME] = have_time
    state[_TIME_US] = time_us
    return used, event_count, 0


class LibcaerDecoder(PacketWordDecoder):
    """Decodes libcaer.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 8
    word_dtype = np.dtype("<u8")
    initial_state = (0, 0)
    packet_slots = (_HAVE_TIME,)
    synchronised_slots = ()  # each word has its time, and each packet its base
    kernel = staticmethod(_decode)


class LibcaerEncoder(PacketEncoder):
    """Encodes libcaer; a packet's base is the multiple of 2^31 us before its first event."""

    name = "libcaer"
    max_x = 0x7FFF
    max_y = 0x7FFF

    def __init__(self) -> None:
        self._last_us: int | None = None

    def _begin_packet(self) -> None:
        self._last_us = None

    def _time_base_ns(self, times: npt.NDArray[np.int64]) -> int:
        return int(times[0]) // 1000 // _RANGE_US * _RANGE_US * 1000

    def _encode(self, events: npt.NDArray[np.void], base_ns: int) -> bytes:
        times_us = (events["t"] - base_ns) // 1000
        if not len(times_us):
            return b""
        first_us = int(times_us[0])
        before_us = first_us if self._last_us is None else self._last_us
        if self._last_us is None and first_us >= _RANGE_US:
            raise RecordingError(
                f"{self.name} without the base of a packet begins before {_RANGE_US} us, not at {first_us}"
            )
        longest_us = int(np.abs(np.diff(times_us, prepend=before_us)).max())
        if longest_us >= _LONGEST_STEP_US:
            raise RecordingError(
                f"{self.name} holds steps in time below {_LONGEST_STEP_US} us within a packet, found {longest_us}"
            )
        self._last_us = int(times_us[-1])
        words = np.empty((len(events), 2), "<u4")
        data = (events["x"].astype(np.uint32) << 17) | (events["y"].astype(np.uint32) << 2)
        words[:, 0] = data | (events["p"].astype(np.uint32) << 1) | 1
        words[:, 1] = times_us & (_RANGE_US - 1)
        return words.tobytes()
