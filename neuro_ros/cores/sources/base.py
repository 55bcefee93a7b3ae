# SPDX-License-Identifier: Apache-2.0
"""What a source is: something that yields slices of sensor time, and can be stopped and closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from neuro_ros.events.types import DecodeCounters, EventBatch

__all__ = ["Label", "Slice", "Source", "StopEvent", "slice_length_ns"]

#: What is shown at a time, where it is known: class index and label.
Label = tuple[int, str]

#: Slices shorter than this cost more in wake-ups than they save in latency [ns].
_SHORTEST_SLICE_NS = 1_000_000


class StopEvent(Protocol):
    """What is needed of `threading.Event`."""

    def is_set(self) -> bool:
        """Return True when the player shall stop."""

    def wait(self, timeout: float) -> bool:
        """Wait so long [s] at most; return True when the player shall stop."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of a stream.

    Parameters
    ----------
    batch : EventBatch
        Perhaps without events; valid until the next slice is asked for.
    until_ns : int
        All events before this sensor time have been given.
    label : (int, str), optional
        Class index and name of the gesture shown, where it is known.
    """

    batch: EventBatch
    until_ns: int
    label: Label | None = None


class Source(Protocol):
    """Something to play.

    Attributes
    ----------
    width, height : int
        Of the sensor [px].
    slice_ns : int
        Length of a slice [ns of sensor time].
    live : bool
        True for a camera: slices come when they happen, and are not paced.
    """

    width: int
    height: int
    slice_ns: int
    live: bool

    def counters(self) -> DecodeCounters:
        """Return what the reader has met beside good events in this pass."""

    def slices(self) -> Iterator[Slice | None]:
        """Play once from the start; None = nothing has come since.

        Raises
        ------
        NeuroRosError
            While it plays, when it cannot go on.
        """

    def close(self) -> None:
        """Release everything; safe twice."""


def slice_length_ns(window_length_ns: int, bins: int) -> int:
    """Return how long a slice is: one bin, so that a window is closed at its very end; longer if bins are short."""
    for parts in range(bins, 1, -1):
        if window_length_ns % parts == 0 and window_length_ns // parts >= _SHORTEST_SLICE_NS:
            return window_length_ns // parts
    return window_length_ns
