# SPDX-License-Identifier: Apache-2.0
"""mono and trigger: the 64-bit little-endian words of older drivers, in packets; both are deprecated there.

Both have nanoseconds since the packet's base in bits 31-0. mono: polarity in
bit 63, y in 62-48, x in 47-32. trigger: edge in bit 63, id in 62-48; an id
beyond 255 counts as an error.

The 32 bits are not a counter that starts over: a packet does not last 4.29 s,
and the base of the next one goes on. So each word stands by itself, and no
damage reaches beyond its word.

References
----------
event_camera_msgs, README; event_camera_codecs, ``mono_decoder.h`` and ``trigger_decoder.h``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings.base import ERRORS, OUT_OF_AREA, PacketEncoder, PacketWordDecoder
from neuro_ros.events.types import RecordingError

__all__ = ["MonoDecoder", "MonoEncoder", "TriggerDecoder"]

_LONGEST_NS = (1 << 32) - 1
_LARGEST_ID = 255


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers, base_ns):  # noqa: ARG001 - as all loops
    event_count = 0
    # A word makes one event at most, so there is room for those of this many words.
    used = min(len(words), len(events))
    for index in range(used):
        word = np.int64(words[np.uintp(index)])
        x = (word >> 32) & 0xFFFF
        y = (word >> 48) & 0x7FFF
        events[np.uintp(event_count), 0] = base_ns + (word & 0xFFFFFFFF)
        events[np.uintp(event_count), 1] = x | (y << 16) | (((word >> 63) & 1) << 32)
        event_count += np.int64(x < width) & np.int64(y < height)
    counts[OUT_OF_AREA] += used - event_count
    return used, event_count, 0


class MonoDecoder(PacketWordDecoder):
    """Decodes mono.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = 8
    word_dtype = np.dtype("<u8")
    initial_state = ()
    synchronised_slots = ()
    kernel = staticmethod(_decode)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode_triggers(words, state, counts, width, height, events, triggers, base_ns):  # noqa: ARG001 - as all loops
    trigger_count = 0
    used = min(len(words), len(triggers))
    for index in range(used):
        word = np.int64(words[np.uintp(index)])
        number = (word >> 48) & 0x7FFF
        triggers[np.uintp(trigger_count), 0] = base_ns + (word & 0xFFFFFFFF)
        triggers[np.uintp(trigger_count), 1] = (number & _LARGEST_ID) | (((word >> 63) & 1) << 8)
        trigger_count += np.int64(number <= _LARGEST_ID)
    counts[ERRORS] += used - trigger_count
    return used, 0, trigger_count


class TriggerDecoder(MonoDecoder):
    """Decodes trigger, which holds no events; the sensor's size is of no account."""

    kernel = staticmethod(_decode_triggers)


class MonoEncoder(PacketEncoder):
    """Encodes mono, to the nanosecond; a packet's base is the time of its earliest event."""

    name = "mono"
    max_x = 0xFFFF
    max_y = 0x7FFF

    def _time_base_ns(self, times: npt.NDArray[np.int64]) -> int:
        return int(times.min())

    def _encode(self, events: npt.NDArray[np.void], base_ns: int) -> bytes:
        times_ns = events["t"] - base_ns
        last_ns = int(times_ns.max()) if len(times_ns) else 0
        if last_ns > _LONGEST_NS:
            raise RecordingError(
                f"{self.name} holds times up to {_LONGEST_NS} ns after a packet's base, found {last_ns}"
            )
        words = np.empty((len(events), 4), "<u2")
        words[:, :2] = times_ns.astype("<u4").view("<u2").reshape(-1, 2)
        words[:, 2] = events["x"]
        words[:, 3] = events["y"] | (events["p"].astype(np.uint16) << 15)
        return words.tobytes()
