# SPDX-License-Identifier: Apache-2.0
"""Plays the gesture simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources.base import Slice, slice_length_ns
from neuro_ros.events.types import DecodeCounters, EventBatch

if TYPE_CHECKING:
    from neuro_ros.gestures import GestureStream

__all__ = ["SimulatorSource"]

_SIMULATOR_SIDE_PX = 128
#: Whose ranges each look draws from; the plain look has none.
_LOOKS = {"full": "test", "plain": ""}


class SimulatorSource:
    """The gestures of `neuro_ros.gestures`, acted in a row, with their labels.

    Raises
    ------
    ParameterRangeError
        When the simulator cannot act what is asked for.
    """

    live = False

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
                split=_LOOKS[simulator.look],
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
