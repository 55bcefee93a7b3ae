# SPDX-License-Identifier: Apache-2.0
"""What ``event_camera`` plays by itself: a recording or the simulator, slice by slice, at the pace of sensor time.

A source yields slices of sensor time; `Player` hands them out when they are due and can be stopped while it waits. A
new source is a module and one call of `register_source`. This module refuses to know about ROS, threads and windows.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from neuro_ros.cores.event_camera import Label
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import DecodeCounters, EventBatch, Recording, RecordingError, open_recording, time_slices
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE

__all__ = [
    "SOURCES",
    "FileSource",
    "Player",
    "SimulatorSource",
    "Slice",
    "Source",
    "SourceError",
    "StopEvent",
    "open_source",
    "register_source",
]

_NS_PER_S = 1_000_000_000
#: Slices shorter than this cost more in wake-ups than they save in latency [ns].
_SHORTEST_SLICE_NS = 1_000_000
_SIMULATOR_SIDE_PX = 128


class SourceError(NeuroRosError):
    """A source is unknown, or has nothing to play."""


class StopEvent(Protocol):
    """What is needed of `threading.Event`."""

    def is_set(self) -> bool:
        """Return True when the player shall stop."""

    def wait(self, timeout: float) -> bool:
        """Wait so long [s] at most; return True when the player shall stop."""


@dataclasses.dataclass(frozen=True, slots=True)
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
    """

    width: int
    height: int
    slice_ns: int

    def counters(self) -> DecodeCounters:
        """Return what the reader has met beside good events in this pass."""

    def slices(self) -> Iterator[Slice]:
        """Play once from the start; raises `RecordingError` when it cannot go on."""

    def close(self) -> None:
        """Release everything; safe twice."""


def slice_length_ns(window_length_ns: int, bins: int) -> int:
    """Return how long a slice is: one bin, so that a window is closed at its very end; longer if bins are short."""
    for parts in range(bins, 1, -1):
        if window_length_ns % parts == 0 and window_length_ns // parts >= _SHORTEST_SLICE_NS:
            return window_length_ns // parts
    return window_length_ns


class FileSource:
    """A recording of any format that `neuro_ros.events.open_recording` reads.

    Raises
    ------
    RecordingError
        When the file is missing, foreign, not readable or without a single event.
    """

    def __init__(self, parameters: EventCameraParameters) -> None:
        self._parameters = parameters
        self._recording: Recording | None = None
        self.slice_ns = slice_length_ns(parameters.window_length_ns, parameters.bins)
        with self._open() as recording:
            self.width, self.height = recording.width, recording.height
            # A recording that breaks off before its first event is found out now, not when the graph runs.
            if next((batch for batch in recording.batches() if len(batch.events)), None) is None:
                raise RecordingError(f"{parameters.path}: holds no event")
        self._counters = DecodeCounters()

    def _open(self) -> Recording:
        parameters = self._parameters
        return open_recording(
            parameters.path,
            parameters.encoding or None,
            parameters.sensor_width or None,
            parameters.sensor_height or None,
        )

    def slices(self) -> Iterator[Slice]:
        """Play the recording from its start."""
        self.close()
        with self._open() as recording:
            self._recording = recording
            for batch, until_ns in time_slices(
                recording, self.slice_ns, max_gap_ns=round(self._parameters.max_gap_s * _NS_PER_S)
            ):
                yield Slice(batch, until_ns)
        self.close()

    def counters(self) -> DecodeCounters:
        """Return what the reader has met beside good events in this pass."""
        return self._counters if self._recording is None else self._recording.counters

    def close(self) -> None:
        """Close the file; safe twice."""
        recording, self._recording = self._recording, None
        if recording is not None:
            self._counters = recording.counters
            recording.close()


class SimulatorSource:
    """The gestures of `neuro_ros.gestures`, acted in a row, with their labels.

    Raises
    ------
    ParameterRangeError
        When the simulator cannot act what is asked for.
    """

    def __init__(self, parameters: EventCameraParameters) -> None:
        from neuro_ros.gestures import LABELS, STEP_NS, GestureStream

        self._labels = LABELS
        self.width = parameters.sensor_width or _SIMULATOR_SIDE_PX
        self.height = parameters.sensor_height or _SIMULATOR_SIDE_PX
        wanted_ns = slice_length_ns(parameters.window_length_ns, parameters.bins)
        self.slice_ns = wanted_ns if wanted_ns % STEP_NS == 0 else STEP_NS
        simulator = parameters.simulator

        def stream() -> GestureStream:
            return GestureStream(
                seed=simulator.seed,
                subject_seed=simulator.subject_seed,
                gesture_duration_s=simulator.gesture_duration_s,
                gestures_per_subject=simulator.gestures_per_subject,
                gestures=simulator.gestures,
                width=self.width,
                height=self.height,
                slice_ns=self.slice_ns,
            )

        self._stream = stream
        next(stream(), None)  # compiles, and refuses what cannot be acted

    def slices(self) -> Iterator[Slice]:
        """Act from the start."""
        for piece in self._stream():
            label = (piece.label, self._labels[piece.label])
            yield Slice(EventBatch(piece.events), piece.until_ns, label)

    def counters(self) -> DecodeCounters:
        """Return zeros: nothing is decoded."""
        return DecodeCounters()

    def close(self) -> None:
        """Release nothing: a stream is its own memory."""


#: Source name to its opener; None = events come from outside.
SOURCES: dict[str, Callable[[EventCameraParameters], Source] | None] = {"topic": None}


def register_source(name: str, opener: Callable[[EventCameraParameters], Source]) -> None:
    """Add a source: ``opener(parameters)`` returns a `Source` or raises `NeuroRosError` with what is missing."""
    if name in SOURCES:
        raise SourceError(f"source {name!r} is registered already")
    SOURCES[name] = opener


register_source("file", FileSource)
register_source("simulator", SimulatorSource)


def open_source(parameters: EventCameraParameters) -> Source | None:
    """Open the source that the parameters name; None when events come from outside.

    Raises
    ------
    NeuroRosError
        What is missing or wrong, in one line.
    """
    if parameters.source not in SOURCES:
        raise SourceError(f"unknown source {parameters.source!r}; known are {', '.join(SOURCES)}")
    opener = SOURCES[parameters.source]
    return None if opener is None else opener(parameters)


class Player:
    """Hands out the slices of a source when they are due.

    Parameters
    ----------
    source : Source
        Played, not closed.
    parameters : EventCameraParameters
        ``rate``, ``loop``, ``max_gap_s``, ``window_length_ns``.
    clock_ns : Callable[[], int]
        Monotonic host clock [ns].

    Attributes
    ----------
    lag_s : float
        How far the last slice came behind its time [s].
    max_lag_s : float
        The worst of them.
    passes : int
        Times that the source was played to its end.
    """

    def __init__(
        self,
        source: Source,
        parameters: EventCameraParameters,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._parameters = parameters
        self._clock_ns = clock_ns
        self._origin: tuple[int, int] | None = None
        self._last_until_ns = 0
        self.lag_s = self.max_lag_s = 0.0
        self.passes = 0

    def play(self, stop: StopEvent) -> Iterator[Slice]:
        """Yield slices, each not before it is due, until the source ends or `stop` is set.

        Yields
        ------
        Slice
            With ``loop`` sensor time goes on growing from pass to pass, by whole windows.

        Raises
        ------
        RecordingError
            When the source cannot go on.
        """
        shift_ns = 0
        while not stop.is_set():
            first_ns: int | None = None
            until_ns = 0
            for piece in self._source.slices():
                if first_ns is None:
                    first_ns = self._window_start(piece.until_ns - 1)
                shifted = _shifted(piece, shift_ns)
                if not self._wait(shifted.until_ns, stop):
                    return
                yield shifted
                until_ns = max(until_ns, piece.until_ns)
            self.passes += 1
            if not self._parameters.loop or first_ns is None:
                return
            length_ns = self._parameters.window_length_ns
            shift_ns += self._window_start(until_ns - 1) + length_ns - first_ns

    def _window_start(self, time_ns: int) -> int:
        length_ns = self._parameters.window_length_ns
        return time_ns // length_ns * length_ns

    def _wait(self, until_ns: int, stop: StopEvent) -> bool:
        """Wait until sensor time `until_ns` is due; False when stopped."""
        rate = self._parameters.rate
        if rate <= 0.0:
            return not stop.is_set()
        now_ns = self._clock_ns()
        step_ns = until_ns - self._last_until_ns
        self._last_until_ns = until_ns
        if self._origin is None or step_ns < 0 or step_ns > self._parameters.max_gap_s * _NS_PER_S:
            # The first slice, or a jump in time: it is due when it would have been full.
            self._origin = (until_ns - self._source.slice_ns, now_ns)
        origin_sensor_ns, origin_host_ns = self._origin
        due_ns = origin_host_ns + round((until_ns - origin_sensor_ns) / rate)
        while due_ns > now_ns:
            if stop.wait((due_ns - now_ns) / _NS_PER_S):
                return False
            now_ns = self._clock_ns()
        self.lag_s = (now_ns - due_ns) / _NS_PER_S
        self.max_lag_s = max(self.max_lag_s, self.lag_s)
        return not stop.is_set()


def _shifted(piece: Slice, shift_ns: int) -> Slice:
    """Return a slice with all its times moved; the source's own memory is left alone."""
    if not shift_ns:
        return piece
    batch = piece.batch
    events = np.array(batch.events, EVENT_DTYPE)
    triggers = np.array(batch.triggers, TRIGGER_DTYPE)
    events["t"] += shift_ns
    triggers["t"] += shift_ns
    moved = dataclasses.replace(batch, events=events, triggers=triggers)
    return Slice(moved, piece.until_ns + shift_ns, piece.label)
