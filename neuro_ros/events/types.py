# SPDX-License-Identifier: Apache-2.0
"""The one event type of the library, the batch that carries it, and the counters of a decoder.

An event is 16 bytes: ``t`` (int64, sensor time in nanoseconds), ``x``, ``y``
(uint16, pixels) and ``p`` (uint8, 1 = ON, 0 = OFF), with three bytes of padding.
The compiled loops see the same memory as two 64-bit words an event, the time
and ``x | y << 16 | p << 32``, because two aligned stores are what a decoder can
afford. That makes the library little-endian, as every machine of ROS 2 is.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError

__all__ = [
    "EVENT_DTYPE",
    "MARK_DROPPED",
    "MARK_FILTERED",
    "TRIGGER_DTYPE",
    "DecodeCounters",
    "EventBatch",
    "RecordingError",
    "as_events",
    "as_words",
    "empty_triggers",
]

if sys.byteorder != "little":
    raise ImportError("neuro_ros.events packs events as little-endian words; this machine is big-endian")

#: t [ns, sensor clock], x, y [px], p (1 = ON, 0 = OFF); 16 bytes.
EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")], align=True)

#: t [ns, sensor clock], id of the trigger line, edge (1 = rising, 0 = falling); 16 bytes.
TRIGGER_DTYPE = np.dtype([("t", "<i8"), ("id", "u1"), ("edge", "u1")], align=True)


# A filter leaves an event where it is and marks it, so that it is counted in the window in which it fell. The marks
# stand in the padding, beside the polarity in bit 32 of an event's second word.
#: Removed on purpose.
MARK_FILTERED = 1 << 40
#: Lost, by overload.
MARK_DROPPED = 1 << 41


class RecordingError(NeuroRosError):
    """A recording cannot be read or written; the text is one line for the user."""


@dataclass
class DecodeCounters:
    """What a decoder met beside good events. Everything lost is in here.

    Parameters
    ----------
    errors : int
        Reserved codes, incomplete words, packets or blocks that could not be read.
    out_of_area : int
        Events beyond the sensor's width or height; dropped.
    non_monotonic : int
        Delivered events whose time lies before that of the event delivered just before.
    dropped_before_time : int
        Events before the stream's first absolute time word; dropped.
    triggers_dropped : int
        Triggers before the stream's first absolute time word; dropped.
    lost_packets : int
        Packets missing according to the sequence numbers.
    padding : int
        Filler words that mean nothing.
    time_wraps : int
        Times that the sensor's counter started over; unwrapped, nothing is lost.
    """

    errors: int = 0
    out_of_area: int = 0
    non_monotonic: int = 0
    dropped_before_time: int = 0
    triggers_dropped: int = 0
    lost_packets: int = 0
    padding: int = 0
    time_wraps: int = 0

    def clear(self) -> None:
        """Set every counter to zero."""
        for item in fields(self):
            setattr(self, item.name, 0)

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return {item.name: int(getattr(self, item.name)) for item in fields(self)}


def empty_triggers() -> npt.NDArray[np.void]:
    """Return an array of no triggers."""
    return np.empty(0, TRIGGER_DTYPE)


@dataclass
class EventBatch:
    """A run of events of one stream, in the order in which the sensor sent them.

    Parameters
    ----------
    events : ndarray of EVENT_DTYPE
        Valid until the next batch is asked of the same source, which reuses the memory.
    triggers : ndarray of TRIGGER_DTYPE
        The same holds.
    complete : bool
        False when data is known to be missing between the previous batch and the end of this one.
    lost_packets : int
        Packets missing just before this batch.
    marked : bool
        True when bits of the events' padding say which of them were filtered or dropped on the way
        (`MARK_FILTERED`, `MARK_DROPPED`); without it the padding means nothing.
    """

    events: npt.NDArray[np.void]
    triggers: npt.NDArray[np.void] = field(default_factory=empty_triggers)
    complete: bool = True
    lost_packets: int = 0
    marked: bool = False


def as_events(events: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return the events as contiguous `EVENT_DTYPE`, copying only when they are not."""
    return np.ascontiguousarray(events, EVENT_DTYPE)


def as_words(array: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """View contiguous events or triggers as (n, 2) int64 without a copy."""
    # The same as array.view(np.int64).reshape(len(array), 2) in a third of the time, which counts for each batch.
    return np.ndarray((len(array), 2), np.int64, array)
