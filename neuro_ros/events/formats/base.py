# SPDX-License-Identifier: Apache-2.0
"""What a recording is, whatever its format, and what writes one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from neuro_ros.events.types import (
    DecodeCounters,
    EventBatch,
    RecordingError,
    as_events,
    empty_triggers,
)

__all__ = ["MAX_SIDE_PX", "FileWriter", "OpenOptions", "Recording", "RecordingWriter", "check_sensor_size"]

#: No event camera comes near; a larger number is damage.
MAX_SIDE_PX = 65535


def check_sensor_size(path: Path, width: int, height: int) -> None:
    """Refuse a sensor that cannot be.

    Raises
    ------
    RecordingError
        When a side is not within 1 and `MAX_SIDE_PX`.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise RecordingError(f"{path}: a sensor of {width}x{height} px cannot be; sides are 1 to {MAX_SIDE_PX} px")


@dataclass(frozen=True)
class OpenOptions:
    """What the user says about a recording that does not say it itself.

    Parameters
    ----------
    encoding : str, optional
    width, height : int, optional
        Of the sensor [px].
    topic : str, optional
        Which one, where a bag holds several.
    """

    encoding: str | None = None
    width: int | None = None
    height: int | None = None
    topic: str | None = None

    def refuse_encoding(self, path: Path, form: str) -> None:
        """Refuse an encoding for a format that has its own.

        Raises
        ------
        RecordingError
            When another one was given.
        """
        if self.encoding is not None and self.encoding.lower() != form:
            raise RecordingError(f"{path}: this is {form}, not {self.encoding}; leave the encoding out")


class Recording(ABC):
    """An open recording; a context manager.

    Attributes
    ----------
    path : pathlib.Path
    format : str
        For instance ``evt3``, ``aedat4``, ``rosbag2/evt3``.
    width, height : int
        Of the sensor [px].
    seekable : bool
        True when a pass from a later time on does not decode what lies far before. The first such pass may have to
        look through the times up to there, which takes less than a full pass, or as much where they are packed.
    counters : DecodeCounters
        Of the latest pass over the events.
    """

    seekable: bool = False

    def __init__(self, path: Path, form: str, width: int, height: int) -> None:
        check_sensor_size(path, width, height)
        self.path = path
        self.format = form
        self.width = int(width)
        self.height = int(height)
        self.counters = DecodeCounters()
        self._closed = False

    def batches(self, max_events: int = 65536, start_ns: int | None = None) -> Iterator[EventBatch]:
        """Read the events; each call is a new pass, with fresh counters.

        Parameters
        ----------
        max_events : int
            Most events of a batch, at least 1.
        start_ns : int, optional
            Sensor time; events and triggers before it are left out. A format that is `seekable` does not decode
            what lies far before, so that counters tell of the rest only.

        Returns
        -------
        iterator of EventBatch
            In recorded order; its arrays are valid until the next one is asked for. Only one pass
            may be under way at a time.

        Raises
        ------
        RecordingError
            When the recording is closed.
        """
        if self._closed:
            raise RecordingError(f"{self.path}: the recording is closed")
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}, it must be at least 1")
        self.counters.clear()
        batches = self._batches(max_events, start_ns)
        return batches if start_ns is None else _from(batches, start_ns)

    @abstractmethod
    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        """Read, from the start or from any place at which no event of `start_ns` or later is missed."""

    def close(self) -> None:
        """Let go of the file; safe twice."""
        if not self._closed:
            self._closed = True
            self._release()

    @abstractmethod
    def _release(self) -> None:
        """Close what is open; called once."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _from(batches: Iterator[EventBatch], start_ns: int) -> Iterator[EventBatch]:
    """Leave out what lies before a time; a loss among it is still told."""
    for batch in batches:
        late = batch.events["t"] >= start_ns
        if not late.all():
            batch.events = batch.events[late]
        if len(batch.triggers):
            batch.triggers = batch.triggers[batch.triggers["t"] >= start_ns]
        if len(batch.events) or len(batch.triggers) or not batch.complete:
            yield batch


def split_batch(batch: EventBatch, max_events: int) -> Iterator[EventBatch]:
    """Cut a batch into ones of at most `max_events`; triggers and losses come with the first."""
    if max_events < 1:
        raise ValueError(f"max_events is {max_events}, it must be at least 1")
    if len(batch.events) <= max_events:
        yield batch
        return
    for start in range(0, len(batch.events), max_events):
        part = batch.events[start : start + max_events]
        if start == 0:
            yield EventBatch(part, batch.triggers, batch.complete, batch.lost_packets)
        else:
            yield EventBatch(part)


class RecordingWriter(ABC):
    """Writes a recording; a context manager. An error or an abandoned write leaves an older file as it was.

    Parameters
    ----------
    path : pathlib.Path
        What appears, whole, when `close` is done.
    width, height : int
        Of the sensor [px].
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        check_sensor_size(path, width, height)
        self.path = path
        self.width = int(width)
        self.height = int(height)
        self.events = 0
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void] | None = None) -> None:
        """Append events and triggers.

        Parameters
        ----------
        events : ndarray of EVENT_DTYPE
        triggers : ndarray of TRIGGER_DTYPE, optional

        Raises
        ------
        RecordingError
            When an event lies beyond the sensor or does not fit the format.
        """
        if len(events) and (int(events["x"].max()) >= self.width or int(events["y"].max()) >= self.height):
            raise RecordingError(
                f"{self.path}: an event at x={int(events['x'].max())}, y={int(events['y'].max())} "
                f"lies beyond the sensor of {self.width}x{self.height} px"
            )
        self._write(as_events(events), empty_triggers() if triggers is None else triggers)
        self.events += len(events)

    @abstractmethod
    def _write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        """Append checked events."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file and put it in place."""

    @abstractmethod
    def abandon(self) -> None:
        """Remove what was written; an older file at `path` stays."""

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self.close()
            except BaseException:
                self.abandon()
                raise
        else:
            self.abandon()


class FileWriter(RecordingWriter):
    """A recording in one file, which is written beside its place and put there when it is whole.

    Parameters
    ----------
    path : pathlib.Path
    width, height : int
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(path, width, height)
        self._stream: BinaryIO | None = self._partial.open("wb")

    @property
    def _file(self) -> BinaryIO:
        """The file under way.

        Raises
        ------
        RecordingError
            When the recording is closed.
        """
        if self._stream is None:
            raise RecordingError(f"{self.path}: the recording is closed")
        return self._stream

    def write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void] | None = None) -> None:
        """See `RecordingWriter.write`; also refuses when the recording is closed."""
        _ = self._file
        super().write(events, triggers)

    @abstractmethod
    def _finish(self) -> None:
        """Write what is still to be written."""

    def close(self) -> None:
        """See `RecordingWriter.close`."""
        if self._stream is None:
            return
        self._finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None
        self._partial.replace(self.path)

    def abandon(self) -> None:
        """See `RecordingWriter.abandon`."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._partial.unlink(missing_ok=True)
