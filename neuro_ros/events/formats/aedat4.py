# SPDX-License-Identifier: Apache-2.0
"""AEDAT4 of iniVation cameras, read by dv-processing.

Times are microseconds since the Unix epoch by the camera's clock, here in
nanoseconds. Of the triggers only the edges of external signals are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats._dv_shim import require
from neuro_ros.events.formats.base import OpenOptions, Recording, split_batch
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, empty_triggers

__all__ = ["Aedat4Recording", "matches", "open_aedat4"]

_LOGGER = logging.getLogger(__name__)
_MAGIC = b"#!AER-DAT4"
_NS_PER_US = 1000
# dv.TriggerType of external signals, to the edge; a pulse is taken for its rising edge.
_EDGES = {1: 1, 2: 0, 3: 1}
# What the reader raises on damage.
_DAMAGE = (RuntimeError, ValueError, IndexError, OverflowError, MemoryError, OSError, TypeError)


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def _first_line(error: BaseException) -> str:
    """Reduce the reader's stack trace to what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if "Error info:" in line]
    text = lines[0].rpartition("Error info:")[2].strip() if lines else (str(error).splitlines() or [""])[0].strip()
    return text or type(error).__name__


class Aedat4Recording(Recording):
    """The event stream of an AEDAT4 file."""

    def __init__(self, path: Path, reader: Any, width: int, height: int) -> None:
        super().__init__(path, "aedat4", width, height)
        self._reader: Any = reader
        self._has_triggers = bool(reader.isTriggerStreamAvailable())

    def batches(self, max_events: int = 65536) -> Iterator[EventBatch]:
        """See `Recording.batches`."""
        if self._reader is None:
            raise RecordingError(f"{self.path}: the recording is closed")
        self.counters.clear()
        self._reader.resetSequentialRead()
        return self._read(max_events)

    def _read(self, max_events: int) -> Iterator[EventBatch]:
        buffer = np.empty(0, EVENT_DTYPE)
        backwards = BackwardsCounter()
        triggers = self._triggers()
        pending = next(triggers, None)
        while True:
            packet = self._next(self._reader.getNextEventBatch)
            if packet is None:
                break
            source = packet.numpy()
            if len(source) > len(buffer):
                buffer = np.empty(max(len(source), 2 * len(buffer)), EVENT_DTYPE)
            inside = (source["x"] >= 0) & (source["x"] < self.width) & (source["y"] >= 0) & (source["y"] < self.height)
            if not inside.all():
                source = source[inside]
                self.counters.out_of_area += len(inside) - len(source)
            events = buffer[: len(source)]
            np.multiply(source["timestamp"], _NS_PER_US, out=events["t"])
            events["x"] = source["x"]
            events["y"] = source["y"]
            events["p"] = source["polarity"]
            self.counters.non_monotonic += backwards.count(events)
            ready = []
            while pending is not None and len(events) and pending["t"][0] <= events["t"][-1]:
                ready.append(pending)
                pending = next(triggers, None)
            yield from split_batch(EventBatch(events, np.concatenate(ready) if ready else empty_triggers()), max_events)
        while pending is not None:
            yield EventBatch(buffer[:0], pending)
            pending = next(triggers, None)

    def _next(self, read: Any) -> Any:
        """Read the next packet; None at the end and at the first packet that cannot be read."""
        try:
            return read()
        except _DAMAGE as error:
            self.counters.errors += 1
            _LOGGER.warning("%s: the rest of a stream cannot be read: %s", self.path, _first_line(error))
            return None

    def _triggers(self) -> Iterator[npt.NDArray[np.void]]:
        """Read the external triggers, packet by packet, in order of time."""
        while self._has_triggers:
            packet = self._next(self._reader.getNextTriggerBatch)
            if packet is None:
                return
            rows = [
                (item.timestamp * _NS_PER_US, 0, _EDGES[int(item.type)]) for item in packet if int(item.type) in _EDGES
            ]
            if rows:
                yield np.array(rows, TRIGGER_DTYPE)

    def close(self) -> None:
        """See `Recording.close`."""
        self._reader = None


def open_aedat4(path: Path, options: OpenOptions) -> Aedat4Recording:
    """Open an AEDAT4 file.

    Raises
    ------
    RecordingError
        When dv-processing is not installed, cannot read the file, or finds no events in it.
    """
    options.refuse_encoding(path, "aedat4")
    dv = require()
    try:
        reader = dv.io.MonoCameraRecording(str(path))
        if not reader.isEventStreamAvailable():
            raise RecordingError(f"{path}: no event stream in this file, it holds {', '.join(reader.getStreamNames())}")
        size = reader.getEventResolution()
    except _DAMAGE as error:
        raise RecordingError(f"{path}: not readable as AEDAT4: {_first_line(error)}") from error
    if size is None:
        raise RecordingError(f"{path}: the event stream names no sensor size")
    return Aedat4Recording(path, reader, int(size[0]), int(size[1]))
