# SPDX-License-Identifier: Apache-2.0
"""Batches from recordings of any data set: looked through once, then streamed crop by crop, in a seeded order.

Memory holds one batch and what the cache keeps. Every crop is decided by the seed and its number alone (which
recording, from where, how it is varied), so a run that goes on in the middle draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.errors import NeuroRosError
from neuro_ros.gestures import LABELS, MIRROR
from neuro_ros.gestures.augmentation import Augmentation, augment_steps
from neuro_ros.gestures.datasets import Dataset, Entry, StepStream, TensorCache, WindowShape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.run.distributed import ALONE, World

__all__ = ["JUDGED", "RecordingCrops", "Survey", "mirror_of", "survey", "usable_tensors"]

#: What one decision of the loss is made of.
JUDGED = ("windows", "recording")


@dataclass(frozen=True)
class Survey:
    """What a split holds that can be used.

    Attributes
    ----------
    split : str
    entries : tuple of Entry
        Usable ones, in the data set's order.
    per_class : tuple of int
        Their number by class.
    skipped : int
        Recordings that cannot be used; their names and reasons stand in `Dataset.skipped`.
    longest_steps, median_steps : int
        Of a recording.
    """

    split: str
    entries: tuple[Entry, ...]
    per_class: tuple[int, ...]
    skipped: int
    longest_steps: int
    median_steps: int


def _too_short(steps: StepStream, shape: WindowShape) -> str:
    """Say why a recording is too short to be judged; empty when it is not."""
    active = np.flatnonzero(steps.bits.any(axis=1))
    span = int(active[-1] - active[0]) + 1 if len(active) else 0
    if 2 * span >= shape.bins:
        return ""
    bin_ms = shape.length_ns * 1e-6 / shape.bins
    return (
        f"its events span {span * bin_ms:.3g} ms, less than half of a window of {shape.length_ns * 1e-6:g} ms; "
        "choose shorter windows, or leave it out"
    )


def usable_tensors(
    dataset: Dataset, split: str, shape: WindowShape, cache: TensorCache | None = None
) -> Iterator[tuple[Entry, StepStream]]:
    """Read a split in its fixed order, without what is unreadable or shorter than half a window.

    Parameters
    ----------
    dataset : Dataset
        Its `skipped` is told what is left out.
    split : str
    shape : WindowShape
    cache : TensorCache, optional

    Raises
    ------
    DatasetError
        If the split is empty, or nothing of it can be read.
    """
    for sample in dataset.tensors(split, shape, cache=cache):
        reason = _too_short(sample.steps, shape)
        if reason:
            dataset.skip(sample.entry.name, reason)
        else:
            yield sample.entry, sample.steps


def survey(
    dataset: Dataset,
    split: str,
    shape: WindowShape,
    cache: TensorCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look through a split once: find what is usable, and that some of each class is.

    Parameters
    ----------
    dataset, split, shape, cache
        As for `usable_tensors`.
    progress : callable, optional
        Called with (recordings done, of); the unreadable ones count when the next one is done.

    Raises
    ------
    TrainingError
        If nothing usable is left of a class that has entries in the split.
    DatasetError
        As for `usable_tensors`.
    """
    listed = dataset.of_split(split)
    number = {entry.name: k + 1 for k, entry in enumerate(listed)}
    entries: list[Entry] = []
    lengths: list[int] = []
    for entry, steps in usable_tensors(dataset, split, shape, cache):
        entries.append(entry)
        lengths.append(len(steps.labels))
        if progress is not None:
            progress(number[entry.name], len(listed))
    per_class = np.bincount([entry.label for entry in entries], minlength=len(dataset.labels))
    gone = sorted({entry.label for entry in listed if not per_class[entry.label]})
    if gone:
        names = ", ".join(dataset.labels[label] for label in gone)
        example = next(dataset.skipped[e.name] for e in listed if e.label == gone[0] and e.name in dataset.skipped)
        raise TrainingError(f"{dataset.path}: no usable {split} recording of class {names}; the first: {example}")
    return Survey(
        split,
        tuple(entries),
        tuple(per_class.tolist()),
        len(listed) - len(entries),
        max(lengths),
        int(np.median(lengths)),
    )


def mirror_of(labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return which class each becomes in a mirror, where all are gestures of this package; else None.

    Labels whose mirror image is not among them have none either.
    """
    if not all(label in LABELS for label in labels):
        return None
    images = [LABELS[MIRROR[LABELS.index(label)]] for label in labels]
    if not all(image in labels for image in images):
        return None
    return tuple(labels.index(image) for image in images)


class RecordingCrops:
    """Crops of recordings in batches, one a recording and epoch.

    Parameters
    ----------
    dataset : Dataset
    found : Survey
        Of its training split.
    shape : WindowShape
        Window and tensor.
    windows : int
        Length of a crop in windows; a shorter recording is filled up with empty steps of unknown label.
    batch : int
        Crops a batch; they run on over the end of an epoch.
    seed : int
        Order, places and augmentation.
    augmentation : Augmentation, optional
        How crops are varied; None = not at all.
    cache : TensorCache, optional
    judged : str
        'windows': each window decides; 'recording': a crop decides as a whole, after `tail_steps` empty steps.
    tail_steps : int
        Empty steps that evaluation appends to a recording, the depth of the network; only for 'recording'.
    world : World
        The processes that draw: together, each `batch` crops, they draw what one would with as many at once.

    Attributes
    ----------
    drawn : int
        Batches so far.
    shape : WindowShape
        Its `bins` are the steps of a decision.
    updates_per_epoch : int
        Batches that see about as many crops as there are recordings.

    Raises
    ------
    TrainingError
        If a value does not fit.
    """

    def __init__(
        self,
        dataset: Dataset,
        found: Survey,
        shape: WindowShape,
        windows: int,
        batch: int,
        seed: int,
        augmentation: Augmentation | None = None,
        cache: TensorCache | None = None,
        judged: str = "windows",
        tail_steps: int = 0,
        world: World = ALONE,
    ) -> None:
        if windows < 1 or batch < 1:
            raise TrainingError(f"crops of {windows} windows in batches of {batch}; both must be at least 1")
        if judged not in JUDGED:
            raise TrainingError(f"judged is {judged!r}; choose {' or '.join(JUDGED)}")
        self._dataset, self._entries, self._cache = dataset, found.entries, cache
        self._window_shape, self._seed, self._augmentation = shape, seed, augmentation
        self._crop_steps = windows * shape.bins
        self._tail_steps = tail_steps if judged == "recording" else 0
        self.batch, self.drawn, self._world = batch, 0, world
        self.shape = replace(shape, bins=self.steps) if judged == "recording" else shape
        self.updates_per_epoch = max(1, round(len(self._entries) / (batch * world.size)))
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def steps(self) -> int:
        """Steps of a batch."""
        return self._crop_steps + self._tail_steps

    def random_state(self) -> dict[str, Any]:
        """Return what decides the batches to come, as plain values."""
        names = "\n".join(entry.name for entry in self._entries)
        return {"drawn": self.drawn, "seed": self._seed, "recordings": hashlib.sha256(names.encode()).hexdigest()}

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on from what `random_state` returned.

        Raises
        ------
        TrainingError
            If it is of another seed, or of other recordings.
        """
        mine = self.random_state()
        other = [name for name in ("seed", "recordings") if state.get(name) != mine[name]]
        if other:
            raise TrainingError(f"the checkpoint is of a run with another {' and other '.join(other)}; start anew")
        self.drawn = int(state["drawn"])

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the next batch.

        Returns
        -------
        spikes : (steps, batch, c, h, w) float32
        labels : (steps, batch) int64
            -1 = unknown.
        age_steps : (steps, batch) int64
            Steps since the start of the recording.

        Raises
        ------
        TrainingError
            If not one recording can be read any more.
        """
        s = self._window_shape
        spikes = np.zeros((self.steps, self.batch, s.channels, s.height, s.width), np.float32)
        labels = np.full((self.steps, self.batch), -1, np.int64)
        age = np.zeros((self.steps, self.batch), np.int64)
        for k in range(self.batch):
            number = (self.drawn * self._world.size + self._world.rank) * self.batch + k
            rng = np.random.default_rng([0x2EC0, self._seed, number])
            entry, stream = self._load(number)
            begin = int(rng.integers(max(len(stream.labels) - self._crop_steps, 0) + 1))
            bits = stream.bits[begin : begin + self._crop_steps]
            cells = np.unpackbits(bits, axis=1).astype(np.float32)
            crop = cells.reshape(len(bits), s.channels, s.height, s.width)
            crop_labels = np.full(len(bits), entry.label, np.int64)
            if self._augmentation is not None:
                step_s = s.length_ns * 1e-9 / s.bins
                crop, crop_labels = augment_steps(crop, crop_labels, rng, self._augmentation, step_s)
            spikes[: len(bits), k], labels[: len(bits), k] = crop, crop_labels
            age[:, k] = begin + np.arange(self.steps)
            if self._tail_steps:
                labels[len(bits) :, k] = crop_labels[0]
        self.drawn += 1
        return torch.from_numpy(spikes), torch.from_numpy(labels), torch.from_numpy(age)

    def _load(self, number: int) -> tuple[Entry, StepStream]:
        """Return the recording of a crop; the next one where it has become unreadable since the survey."""
        count = len(self._entries)
        epoch, place = divmod(number, count)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([0x0DE2, self._seed, epoch]).permutation(count))
        order = self._order[1]
        for later in range(count):
            entry = self._entries[int(order[(place + later) % count])]
            try:
                return entry, self._dataset.tensor(entry, self._window_shape, self._cache).steps
            except NeuroRosError as error:
                self._dataset.skip(entry.name, str(error))
        raise TrainingError(f"{self._dataset.path}: none of the {count} training recordings can be read any more")
