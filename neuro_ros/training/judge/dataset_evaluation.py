# SPDX-License-Identifier: Apache-2.0
"""Judging a model on a split of any data set, with the engine that flies; one recording in memory at a time.

As in `neuro_ros.training.judge.evaluation`, but that the answer to a recording is the class with the most output spikes
in it, whatever the windows, which is what training on recordings sharpens; and that a recording holds one class from
its start to its end: its windows carry state and evidence from rest, as the node's do when it wakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.datasets import Dataset, TensorCache
from neuro_ros.snn import Model, create_engine
from neuro_ros.snn.decision import Evidence, sharpen
from neuro_ros.training.data import window_shape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.evaluation import (
    HALF_LIFE_S,
    NO_DECISION,
    THRESHOLD,
    RecordingScore,
    best_exponent,
    window_counts,
)
from neuro_ros.training.recordings import usable_tensors

__all__ = ["DatasetEvaluation", "evaluate_on_dataset", "require_labels"]


@dataclass(frozen=True)
class DatasetEvaluation:
    """What a model reached on a split of a data set.

    Attributes
    ----------
    kind, split : str
        The data.
    labels : tuple of str
        Of the model.
    split_seed : int
        Of what is carved out; it decides nothing where the data set divides itself.
    recording : RecordingScore
        Per recording.
    skipped : int
        Recordings that could not be used.
    windows, decided, right : int
        Windows of all recordings; those whose confidence reached the threshold; of these, those rightly decided.
    time_to_decision_ms : tuple of float
        For each recording: from its first window's start to the end of the first window that decided rightly; inf if
        none did.
    exponent : float
        By which shares were sharpened.
    """

    kind: str
    split: str
    labels: tuple[str, ...]
    split_seed: int
    recording: RecordingScore
    skipped: int
    windows: int
    decided: int
    right: int
    time_to_decision_ms: tuple[float, ...]
    exponent: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        median_ms = float(np.median(self.time_to_decision_ms))
        return {
            "accuracy": self.recording.accuracy,
            "per_class": {
                label: None if np.isnan(share) else share
                for label, share in zip(self.labels, self.recording.per_class, strict=True)
            },
            "split": self.split,
            "seed": self.split_seed,
            "data": self.kind,
            "recordings": int(self.recording.confusion.sum()),
            "skipped": self.skipped,
            "confusion": self.recording.confusion.tolist(),
            "rates": list(self.recording.layer_rates),
            "dead": list(self.recording.dead),
            "saturated": list(self.recording.saturated),
            "windows": self.windows,
            "windows_decided": self.decided / self.windows,
            "windows_decided_right": self.right / max(self.decided, 1),
            "decision_ms_median": median_ms if np.isfinite(median_ms) else None,
        }


def require_labels(model: Model, dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the model's class index of each class of a data set.

    Raises
    ------
    TrainingError
        If the data set has a class that the model has not.
    """
    foreign = [label for label in dataset.labels if label not in model.labels]
    if foreign:
        raise TrainingError(
            f"{dataset.path}: class {', '.join(foreign)} is none of the model's: {', '.join(model.labels)}"
        )
    return np.array([model.labels.index(label) for label in dataset.labels], np.int64)


def evaluate_on_dataset(
    model: Model,
    dataset: Dataset,
    split: str = "test",
    split_seed: int = 0,
    threshold: float = THRESHOLD,
    cache: TensorCache | None = None,
    fits_exponent: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetEvaluation:
    """Judge a model on a split, per recording and per window.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        Each of its classes is one of the model's, by name.
    split : str
    split_seed : int
        For the report.
    threshold : float
        Confidence that a window's decision needs.
    cache : TensorCache, optional
    fits_exponent : bool
        Sharpen by what makes shares the best probabilities on this split, where any window has evidence, and not by
        the model's exponent; for validation only.
    progress : callable, optional
        Called with (recordings done, of).

    Raises
    ------
    TrainingError
        If the classes do not fit the model.
    DatasetError
        If nothing of the split can be read.
    """
    model.require_binary_windows()
    classes, depth = model.network.classes, model.network.depth
    index = require_labels(model, dataset)
    shape = window_shape(model)
    of = len(dataset.of_split(split))
    confusion = np.zeros((classes, classes + 1), np.int64)
    evidences: list[npt.NDArray[np.float64]] = []
    truths: list[int] = []
    answers: list[int] = []
    steps = 0
    engine = create_engine(model, "fixed")
    try:
        engine.clear_neuron_spikes()
        for entry, stream in usable_tensors(dataset, split, shape, cache):
            label = int(index[entry.label])
            engine.reset()
            counts = window_counts(engine, stream.bits, model.bins)
            total = counts.sum(0) + engine.run_window(np.empty(0, np.uint32), depth).spike_counts
            answers.append(int(total.argmax()) if total.any() else NO_DECISION)
            confusion[label, answers[-1]] += 1  # the last column, too, is -1
            steps += len(stream.bits) + depth
            evidence = Evidence(classes)
            rows = []
            for row in counts:
                evidence.add(row.astype(np.int32), model.window_length_ns * 1e-9, HALF_LIFE_S)
                rows.append(evidence.values)
            evidences.append(np.stack(rows))
            truths.append(label)
            if progress is not None:
                progress(len(truths), of)
        fired = [np.asarray(spikes).reshape(-1).astype(np.int64) for spikes in engine.neuron_spikes()]
    finally:
        engine.close()
    if not truths:
        raise TrainingError(f"{dataset.path}: every recording of {split} is shorter than half a window of the model")
    score = RecordingScore(
        confusion,
        tuple(float(spikes.mean() / steps) for spikes in fired),
        tuple(float((spikes == 0).mean()) for spikes in fired),
        tuple(float((spikes > 0.9 * steps).mean()) for spikes in fired),
        np.array(answers, np.int64),
    )
    labels = np.repeat(truths, [len(values) for values in evidences])
    exponent = best_exponent(np.concatenate(evidences), labels) if fits_exponent else math.nan
    exponent = model.confidence_exponent if math.isnan(exponent) else exponent
    window_ms = model.window_length_ns * 1e-6
    decided = right = 0
    times = []
    for label, values in zip(truths, evidences, strict=True):
        sure = values.any(1) & (sharpen(values, exponent).max(1) >= threshold)
        hits = np.flatnonzero(sure & (values.argmax(1) == label))
        decided += int(sure.sum())
        right += len(hits)
        times.append((int(hits[0]) + 1) * window_ms if len(hits) else float("inf"))
    return DatasetEvaluation(
        dataset.kind, split, model.labels, split_seed, score, of - len(truths), len(labels), decided, right,
        tuple(times), exponent,
    )  # fmt: skip
