# SPDX-License-Identifier: Apache-2.0
"""A recording as network input: cut by the node's own windower, one network step a bin, kept as packed bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events import EventBatch, Geometry, SpikeWindow, Windower
from neuro_ros.gestures.simulator import LabelInterval

__all__ = ["MAX_STEPS", "StepStream", "StepsError", "WindowShape", "to_steps"]

#: Of one recording: 22 minutes at 5 ms. Beyond it time has jumped, or somebody forgot to cut.
MAX_STEPS = 1 << 18
_PIECE_EVENTS = 1 << 20


class StepsError(NeuroRosError, ValueError):
    """A recording cannot be cut into steps."""


@dataclass(frozen=True)
class WindowShape:
    """The tensor geometry that training, evaluation and the node share.

    Attributes
    ----------
    length_ns : int
        Window.
    bins : int
        Network steps in a window.
    channels, height, width : int
        Cells of a bin.
    """

    length_ns: int = 50_000_000
    bins: int = 10
    channels: int = 2
    height: int = 32
    width: int = 32

    @property
    def cells(self) -> int:
        """Cells of one bin."""
        return self.channels * self.height * self.width


@dataclass(frozen=True)
class StepStream:
    """A recording as network input.

    Attributes
    ----------
    bits : (steps, cells / 8) uint8
        Packed cells of each step, most significant bit first.
    labels : (steps,) int64
        Class index; -1 = unknown.
    age_steps : (steps,) int64
        Steps since the label last changed.
    """

    bits: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    age_steps: npt.NDArray[np.int64]

    def to_bytes(self) -> bytes:
        """Return the cells, without labels, for a file."""
        return np.ascontiguousarray(self.bits).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, shape: WindowShape, label: int) -> StepStream | None:
        """Return the stream of one label that `to_bytes` was made of; None when the size cannot be of this shape."""
        row = shape.cells // 8
        if not data or shape.cells % 8 or len(data) % (row * shape.bins):
            return None
        bits = np.frombuffer(data, np.uint8).reshape(-1, row)
        return cls(bits, np.full(len(bits), label, np.int64), np.arange(len(bits), dtype=np.int64))


def to_steps(
    events: npt.NDArray[np.void],
    intervals: Sequence[LabelInterval],
    sensor_width: int,
    sensor_height: int,
    shape: WindowShape | None = None,
) -> StepStream:
    """Window events as the node does and label each step.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
        One recording.
    intervals : sequence of LabelInterval
        Truth, in ascending time. A step belongs to the interval that holds its start.
    sensor_width, sensor_height : int
        In pixels.
    shape : WindowShape, optional
        Window and tensor.

    Returns
    -------
    StepStream

    Raises
    ------
    StepsError
        If there is not one window, there are more than `MAX_STEPS` steps, or the cells of a bin do not fill whole
        bytes.
    """
    shape = shape or WindowShape()
    if shape.cells % 8:
        raise StepsError(f"{shape.cells} cells a bin do not fill whole bytes; choose sizes that do")
    geometry = Geometry.fit(sensor_width, sensor_height, shape.width, shape.height)
    windower = Windower(shape.length_ns, shape.bins, geometry, sensor_width, sensor_height)
    windows: list[SpikeWindow] = []
    for start in range(0, len(events), _PIECE_EVENTS):
        windows += windower.push(EventBatch(events[start : start + _PIECE_EVENTS]))
        if len(windows) * shape.bins > MAX_STEPS:
            raise StepsError(f"the recording makes more than {MAX_STEPS} steps; cut it")
    windows += windower.flush()
    if not windows:
        raise StepsError("the recording makes no window; it has no events inside the crop")
    bits = np.concatenate([window.bitmap.reshape(shape.bins, shape.cells // 8) for window in windows])
    starts = np.concatenate(
        [window.start_ns + (np.arange(shape.bins) * shape.length_ns) // shape.bins for window in windows]
    )
    labels = np.full(len(starts), -1, np.int64)
    for interval in intervals:
        labels[(starts >= interval.start_ns) & (starts < interval.end_ns)] = interval.label
    changed = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    age = np.arange(len(labels)) - np.repeat(changed, np.diff(changed, append=len(labels)))
    return StepStream(bits, labels, age)
