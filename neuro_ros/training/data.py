# SPDX-License-Identifier: Apache-2.0
"""Training data: simulated streams cut by the node's own windower, kept as packed bits, drawn as random crops.

One network step is one bin. A stream holds the gestures of one subject in a row, so a crop that begins anywhere has
a random phase and often contains the switch from one gesture to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.events import EventBatch, Geometry, Windower
from neuro_ros.gestures import LABELS, MIRROR, GestureSimulator
from neuro_ros.gestures.simulator import LabelInterval
from neuro_ros.training.errors import TrainingError

__all__ = ["Crops", "StepStream", "WindowShape", "augment", "simulate_streams", "to_steps"]


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
    TrainingError
        If there is not one window, or the cells of a bin do not fill whole bytes.
    """
    shape = shape or WindowShape()
    if shape.cells % 8:
        raise TrainingError(f"{shape.cells} cells a bin do not fill whole bytes; choose sizes that do")
    geometry = Geometry.fit(sensor_width, sensor_height, shape.width, shape.height)
    windower = Windower(shape.length_ns, shape.bins, geometry, sensor_width, sensor_height)
    windows = [*windower.push(EventBatch(events)), *windower.flush()]
    if not windows:
        raise TrainingError("the recording makes no window; it has no events inside the crop")
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


def simulate_streams(
    subjects: Sequence[int],
    gesture_duration_s: float,
    seed: int,
    shape: WindowShape | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[StepStream]:
    """Let each subject act all eleven gestures in a random order.

    Parameters
    ----------
    subjects : sequence of int
        Subject seeds.
    gesture_duration_s : float
        Length of each gesture.
    seed : int
        Order of the gestures, sensors and performances.
    shape : WindowShape, optional
        Window and tensor.
    progress : callable, optional
        Called with (done, of).

    Returns
    -------
    list of StepStream
        One a subject.
    """
    streams = []
    for done, subject in enumerate(subjects):
        order = np.argsort(np.random.default_rng([0x0DE2, seed, subject]).random(len(LABELS)), kind="stable")
        # The background activity of sensors differs; a fixed rate would be learnt.
        noise_hz = 0.1 + 0.9 * float(np.random.default_rng([0x2015E, seed, subject]).random())
        simulator = GestureSimulator(seed=seed, noise_hz=noise_hz)
        events, intervals = simulator.sequence([int(i) for i in order], gesture_duration_s, subject)
        streams.append(to_steps(events, intervals, simulator.width, simulator.height, shape))
        if progress is not None:
            progress(done + 1, len(subjects))
    return streams


def augment(
    spikes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    rng: np.random.Generator,
    max_shift_px: int = 2,
    max_drop: float = 0.3,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Mirror (with the labels), shift, and drop spikes of one crop.

    Parameters
    ----------
    spikes : (steps, c, h, w) float32
        Input.
    labels : (steps,) int64
        Class indices, -1 = unknown.
    rng : numpy Generator
        Source of chance.
    max_shift_px : int
        Largest shift per axis in cells; what leaves is lost, what comes in is empty.
    max_drop : float
        Largest fraction of spikes dropped; half of the crops lose none.

    Returns
    -------
    spikes, labels
        New arrays or views of the given ones.
    """
    if rng.random() < 0.5:
        spikes = spikes[..., ::-1]
        labels = np.where(labels >= 0, np.asarray(MIRROR)[labels], labels)
    dy, dx = (int(n) for n in rng.integers(-max_shift_px, max_shift_px + 1, 2))
    shifted = np.zeros_like(spikes)
    height, width = spikes.shape[-2:]
    shifted[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = spikes[
        ..., max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    if rng.random() < 0.5:
        shifted *= rng.random(shifted.shape, np.float32) >= np.float32(max_drop * rng.random())
    return shifted, labels


class Crops:
    """Random crops of equal length from streams, in batches.

    Parameters
    ----------
    streams : sequence of StepStream
        At least one, each at least `steps` long.
    steps : int
        Length of a crop; a multiple of the bins of a window.
    batch : int
        Crops a batch.
    seed : int
        Order and augmentation.
    shape : WindowShape, optional
        Tensor.
    augmented : bool
        Whether `augment` is applied.

    Raises
    ------
    TrainingError
        If a value does not fit.
    """

    def __init__(
        self,
        streams: Sequence[StepStream],
        steps: int,
        batch: int,
        seed: int,
        shape: WindowShape | None = None,
        augmented: bool = True,
    ) -> None:
        self.shape = shape or WindowShape()
        if not streams:
            raise TrainingError("no training streams; give at least one recording")
        shortest = min(len(stream.labels) for stream in streams)
        if steps < self.shape.bins or steps % self.shape.bins or steps > shortest:
            raise TrainingError(
                f"crops of {steps} steps must be a multiple of {self.shape.bins} up to {shortest}, the shortest stream"
            )
        if batch < 1:
            raise TrainingError(f"batch is {batch}; it must be at least 1")
        self.streams, self.steps, self.batch, self.augmented = list(streams), steps, batch, augmented
        self._rng = np.random.default_rng([0xC20B, seed])

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return one batch.

        Returns
        -------
        spikes : (steps, batch, c, h, w) float32
        labels : (steps, batch) int64
        age_steps : (steps, batch) int64
            Steps since the label changed.
        """
        s = self.shape
        spikes = np.empty((self.steps, self.batch, s.channels, s.height, s.width), np.float32)
        labels = np.empty((self.steps, self.batch), np.int64)
        age = np.empty((self.steps, self.batch), np.int64)
        for k in range(self.batch):
            stream = self.streams[int(self._rng.integers(len(self.streams)))]
            begin = int(self._rng.integers(len(stream.labels) - self.steps + 1))
            window = slice(begin, begin + self.steps)
            cells = np.unpackbits(stream.bits[window], axis=1).astype(np.float32)
            crop, crop_labels = cells.reshape(self.steps, s.channels, s.height, s.width), stream.labels[window]
            if self.augmented:
                crop, crop_labels = augment(crop, crop_labels, self._rng)
            spikes[:, k], labels[:, k], age[:, k] = crop, crop_labels, stream.age_steps[window]
        return torch.from_numpy(spikes), torch.from_numpy(labels), torch.from_numpy(age)
