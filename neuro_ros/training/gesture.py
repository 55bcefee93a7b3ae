# SPDX-License-Identifier: Apache-2.0
"""The recipe of the gesture network: layers, crops, and the simulated people that it is trained and judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.gestures import LABELS, GestureSimulator
from neuro_ros.gestures.augmentation import flip_steps, shift_steps
from neuro_ros.training.coarse import coarse_specs
from neuro_ros.training.data import Crops, StepStream, WindowShape, simulate_streams, to_steps
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork

__all__ = ["GESTURE_LAYERS", "GestureCrops", "gesture_network", "simulate_recordings", "simulate_training"]

# Decays per 5 ms step, of 4096. Currents are short (10 ms), potentials long (40 to 100 ms): a limb needs some 30 ms to
# cross a cell, and the direction in which it crosses shows only where inhibition of one cell outlasts the step to the
# next: excitation before inhibition fires, inhibition before excitation does not.
GESTURE_LAYERS: tuple[ConvSpec | DenseSpec, ...] = (
    ConvSpec("conv1", 16, 5, 2, 2, du=2000, dv=500),
    ConvSpec("conv2", 32, 3, 2, 1, du=2000, dv=300),
    ConvSpec("conv3", 64, 3, 2, 1, du=2000, dv=250),
    DenseSpec("dense", 128, du=1500, dv=250),
    DenseSpec("output", len(LABELS), du=800, dv=200),
)


def gesture_network(shape: WindowShape | None = None, beta: float = 4.0, coarse: int = 1) -> IntegerNetwork:
    """Return an untrained gesture network; torch's global seed decides its weights.

    Parameters
    ----------
    shape : WindowShape, optional
        Window and tensor.
    beta : float
        Of the surrogate.
    coarse : int
        How many times longer than a bin of 5 ms its steps are, see `neuro_ros.training.coarse`.
    """
    shape = shape or WindowShape()
    specs = coarse_specs(GESTURE_LAYERS, coarse)
    return IntegerNetwork(specs, (shape.channels, shape.height, shape.width), beta, sparse_gradient=True)


# A process needs some seconds to begin, a subject about one.
_SUBJECTS_WORTH_A_PROCESS = 10


class GestureCrops(Crops):
    """Random crops as `Crops` draws them, made on packed and sparse cells, the next batch while one is trained on.

    Mirrored, shifted by up to two cells, and, every second one, robbed of up to three tenths of its spikes. Parameters
    as for `Crops`; `close` ends the thread that prepares.
    """

    max_shift_px = 2
    max_drop = 0.3

    def __init__(
        self, streams: Sequence[StepStream], steps: int, batch: int, seed: int, shape: WindowShape | None = None
    ) -> None:
        super().__init__(streams, steps, batch, seed, shape)
        self._maker = ThreadPoolExecutor(1, "neuro_ros_crops")
        self._before = super().random_state()
        self._next: Future[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = self._maker.submit(self._make)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return one batch, see `Crops.draw`."""
        batch = self._next.result()
        self._before = super().random_state()
        self._next = self._maker.submit(self._make)
        return batch

    def random_state(self) -> dict[str, Any]:
        """Return what decides the batches to come: chance as it was before the one that is being made."""
        return self._before

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on from what `random_state` returned."""
        self._next.result()
        super().set_random_state(state)
        self._before = super().random_state()
        self._next = self._maker.submit(self._make)

    def close(self) -> None:
        """End the thread."""
        self._maker.shutdown(cancel_futures=True)

    def _make(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        s, rng = self.shape, self._rng
        spikes = np.empty((self.steps, self.batch, s.channels, s.height, s.width), np.float32)
        labels = np.empty((self.steps, self.batch), np.int64)
        age = np.empty((self.steps, self.batch), np.int64)
        for k in range(self.batch):
            stream = self.streams[int(rng.integers(len(self.streams)))]
            begin = int(rng.integers(len(stream.labels) - self.steps + 1))
            window = slice(begin, begin + self.steps)
            cells = np.unpackbits(stream.bits[window], axis=1)
            if rng.random() < 0.5:  # of the set cells alone, which are some per cent
                share = self.max_drop * rng.random()
                flat = cells.reshape(-1)
                found = np.flatnonzero(flat)
                flat[found[rng.random(found.size) < share]] = 0
            crop: npt.NDArray[Any] = cells.reshape(self.steps, s.channels, s.height, s.width)
            crop_labels = stream.labels[window]
            if rng.random() < 0.5:
                crop, crop_labels = flip_steps(crop, crop_labels)
            dy, dx = (int(n) for n in rng.integers(-self.max_shift_px, self.max_shift_px + 1, 2))
            spikes[:, k], labels[:, k], age[:, k] = shift_steps(crop, dx, dy), crop_labels, stream.age_steps[window]
        return torch.from_numpy(spikes), torch.from_numpy(labels), torch.from_numpy(age)


def simulate_training(
    subjects: Sequence[int],
    gesture_duration_s: float,
    seed: int,
    shape: WindowShape | None = None,
    progress: Callable[[int, int], None] | None = None,
    split: str = "train",
    gestures: int = len(LABELS),
) -> list[StepStream]:
    """Return what `simulate_streams` returns, made by as many processes as torch has threads.

    Parameters
    ----------
    subjects, gesture_duration_s, seed, shape, progress, split, gestures
        As for `simulate_streams`.
    """
    one = partial(
        _simulate_one, gesture_duration_s=gesture_duration_s, seed=seed, shape=shape, split=split, gestures=gestures
    )
    workers = min(torch.get_num_threads(), len(subjects) // _SUBJECTS_WORTH_A_PROCESS)
    if workers < 2:
        return simulate_streams(subjects, gesture_duration_s, seed, shape, progress, split, gestures)
    streams = []
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for stream in pool.map(one, subjects):
            streams.append(stream)
            if progress is not None:
                progress(len(streams), len(subjects))
    return streams


def _simulate_one(
    subject: int, gesture_duration_s: float, seed: int, shape: WindowShape | None, split: str, gestures: int
) -> StepStream:
    return simulate_streams([subject], gesture_duration_s, seed, shape, split=split, gestures=gestures)[0]


def simulate_recordings(
    subjects: Sequence[int], duration_s: float, seed: int, shape: WindowShape | None = None, split: str = ""
) -> list[tuple[StepStream, int]]:
    """Return one recording of each gesture by each subject, acted from its first instant.

    Parameters
    ----------
    subjects : sequence of int
        Subject seeds.
    duration_s : float
        Length of each.
    seed : int
        Sensor and performances.
    shape : WindowShape, optional
        Window and tensor.
    split : str
        Whose ranges are drawn from, see `simulate_streams`.

    Returns
    -------
    list of (StepStream, int)
        Input and class index.
    """
    simulator = GestureSimulator(seed=seed, split=split)
    recordings = []
    for subject in subjects:
        for label in range(len(LABELS)):
            events, intervals = simulator.sequence([label], duration_s, subject)
            recordings.append((to_steps(events, intervals, simulator.width, simulator.height, shape), label))
    return recordings
