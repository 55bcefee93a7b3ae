# SPDX-License-Identifier: Apache-2.0
"""Plays a recording of any format."""

from __future__ import annotations

from collections.abc import Iterator

from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources.base import Slice, slice_length_ns
from neuro_ros.events import DecodeCounters, Recording, RecordingError, open_recording, time_slices

__all__ = ["FileSource"]

_NS_PER_S = 1_000_000_000


class FileSource:
    """A recording of any format that `neuro_ros.events.open_recording` reads.

    Raises
    ------
    RecordingError
        When the file is missing, foreign, not readable or without a single event.
    """

    live = False

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
