# SPDX-License-Identifier: Apache-2.0
"""Training data: simulated streams cut by the node's own windower, kept as packed bits, drawn as random crops.

Recordings on disk, and what a step is, are `neuro_ros.gestures.datasets`. One network step is one bin. A stream holds
the gestures of one subject in a row, so a crop that begins anywhere has a random phase and often contains the switch
from one gesture to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.gestures import LABELS, GestureSimulator
from neuro_ros.gestures.augmentation import flip_steps, shift_steps
from neuro_ros.gestures.datasets import StepStream, WindowShape, to_steps
from neuro_ros.snn import Model
from neuro_ros.training.errors import TrainingError

__all__ = [
    "Batches",
    "Crops",
    "StepStream",
    "WindowShape",
    "augment",
    "simulate_streams",
    "to_steps",
    "window_shape",
]


class Batches(Protocol):
    """Where the loop gets its batches from."""

    @property
    def shape(self) -> WindowShape:
        """Cells, and in `bins` the steps of what is judged as one decision."""

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return spikes (steps, batch, c, h, w), labels (steps, batch) and age (steps, batch), as `Crops.draw`."""


def window_shape(model: Model) -> WindowShape:
    """Return the tensor geometry that a model asks for."""
    channels, height, width = model.network.input_shape
    return WindowShape(model.window_length_ns, model.bins, channels, height, width)


def simulate_streams(
    subjects: Sequence[int],
    gesture_duration_s: float,
    seed: int,
    shape: WindowShape | None = None,
    progress: Callable[[int, int], None] | None = None,
    split: str = "",
    gestures: int = len(LABELS),
) -> list[StepStream]:
    """Let each subject act gestures in a random order: all eleven, or some of them.

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
    split : str
        Whose ranges of bodies and conditions are drawn from (`neuro_ros.gestures.SPLIT_TABLE`); empty = the plain look.
    gestures : int
        How many each subject acts; which, is up to the order.

    Returns
    -------
    list of StepStream
        One a subject.
    """
    streams = []
    for done, subject in enumerate(subjects):
        order = np.argsort(np.random.default_rng([0x0DE2, seed, subject]).random(len(LABELS)), kind="stable")
        # The background activity of sensors differs; a fixed rate would be learnt. Light makes it, where there is any.
        noise_hz = None if split else 0.1 + 0.9 * float(np.random.default_rng([0x2015E, seed, subject]).random())
        simulator = GestureSimulator(seed=seed, noise_hz=noise_hz, split=split)
        events, intervals = simulator.sequence([int(i) for i in order[:gestures]], gesture_duration_s, subject)
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
        spikes, labels = flip_steps(spikes, labels)
    dy, dx = (int(n) for n in rng.integers(-max_shift_px, max_shift_px + 1, 2))
    spikes = shift_steps(spikes, dx, dy)
    if rng.random() < 0.5:
        chances = rng.random(spikes.shape, np.float32)  # drawn before the share: equal seeds, equal crops as ever
        spikes = spikes * (chances >= np.float32(max_drop * rng.random()))
    return spikes, labels


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

    def random_state(self) -> dict[str, Any]:
        """Return what decides the batches to come, as plain values."""
        return dict(self._rng.bit_generator.state)

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on from what `random_state` returned."""
        self._rng.bit_generator.state = state

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
