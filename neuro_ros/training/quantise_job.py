# SPDX-License-Identifier: Apache-2.0
"""From a network in floating point to the integers that fly: quantise, fine-tune if asked to, judge both, guard.

Training in integers from the start (`neuro_ros.training.dataset_job`) needs none of this. It is for networks that were
trained in floating point, and it tells what the step costs, on the same recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from neuro_ros.gestures.datasets import Dataset, MemoryCache, TensorCache
from neuro_ros.snn import Model
from neuro_ros.training.dataset_job import crops_for, finished, settings_for
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.float_model import FloatModel, float_answers
from neuro_ros.training.judge.dataset_evaluation import DatasetEvaluation
from neuro_ros.training.judge.statistics import PairedDifference, paired_difference
from neuro_ros.training.network.conversion import LayerReport, quantise
from neuro_ros.training.recordings import RecordingCrops, survey
from neuro_ros.training.run.control import RunControl
from neuro_ros.training.run.loop import Progress

__all__ = ["Quantised", "quantise_on_dataset"]

# Recordings of the batch that thresholds are chosen on.
_CALIBRATION = 32
# Fine-tuning goes on where training ended: with small steps.
_TUNING_RATE = 0.2


@dataclass(frozen=True)
class Quantised:
    """What quantising gave.

    Attributes
    ----------
    model : Model
    evaluation : DatasetEvaluation
        Of the integers on the validation split.
    layers : tuple of LayerReport
        What it did to each layer, before any fine-tuning.
    float_accuracy : float
        Of the given network on the same recordings.
    difference : PairedDifference
        Integers minus floating point, recording by recording.
    tuned_updates : int
        Of fine-tuning.
    """

    model: Model
    evaluation: DatasetEvaluation
    layers: tuple[LayerReport, ...]
    float_accuracy: float
    difference: PairedDifference
    tuned_updates: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.evaluation.as_dict(),
            "float_accuracy": self.float_accuracy,
            "difference": self.difference.as_dict(),
            "tuned_updates": self.tuned_updates,
            "layers": [asdict(layer) for layer in self.layers],
        }


def quantise_on_dataset(
    source: FloatModel,
    dataset: Dataset,
    clock_s: Callable[[], float],
    name: str,
    split_seed: int = 0,
    tune_updates: int = 0,
    learning_rate: float | None = None,
    cache: TensorCache | None = None,
    on_data: Callable[[int, int], None] | None = None,
    on_update: Callable[[Progress], None] | None = None,
    control: RunControl | None = None,
) -> Quantised:
    """Quantise a network on the training split, and judge it before and after on the validation split.

    Parameters
    ----------
    source : FloatModel
        Its network is changed.
    dataset : Dataset
        What it was trained on, or one with the same classes.
    clock_s : callable
        Monotonic time in seconds.
    name : str
        Of the model.
    split_seed : int
        For the record.
    tune_updates : int
        Updates of fine-tuning in integers; 0 = none.
    learning_rate : float, optional
        Peak of fine-tuning; by default a fifth of the training's.
    cache, on_data, on_update, control
        As for `neuro_ros.training.dataset_job.train_on_dataset`.

    Returns
    -------
    Quantised

    Raises
    ------
    TrainingError
        If the classes are others, a layer is silent, or no threshold keeps a layer's sums in the accumulator.
    ExportError
        If a layer is dead, saturated or collapsed.
    """
    if dataset.labels != source.labels:
        raise TrainingError(
            f"{dataset.path} has the classes {', '.join(dataset.labels)}; the network {', '.join(source.labels)}"
        )
    cache = MemoryCache() if cache is None else cache
    control = control or RunControl()
    network = source.network
    job = replace(source.job, name=name)
    found = survey(dataset, "train", job.shape, cache, on_data)
    depth = len(network.populations)
    typical = RecordingCrops(
        dataset, found, job.shape, job.crop_windows, min(_CALIBRATION, len(found.entries)), job.seed,
        cache=cache, judged=job.judged, tail_steps=depth,
    )  # fmt: skip
    answers, labels = float_answers(network, dataset, "validation", job.shape, cache)
    reports = quantise(network, typical.draw()[0])
    if tune_updates:
        crops = crops_for(job, dataset, found, depth, cache, control)
        rate = _TUNING_RATE * job.learning_rate if learning_rate is None else learning_rate
        settings = replace(settings_for(job, crops, found), updates=tune_updates, learning_rate=rate)
        control.train(network, crops, settings, clock_s, on_update, calibrated=True)
    right = answers == labels
    record = {
        **source.record,
        "quantised": {
            "tuned_updates": tune_updates,
            "float_accuracy": float(right.mean()),
            "layers": [asdict(report) for report in reports],
        },
    }
    model, evaluation = finished(network, job, dataset, record, split_seed, cache)
    clips = np.arange(len(labels))
    difference = paired_difference(evaluation.recording.answers == labels, right, clips)
    return Quantised(model, evaluation, tuple(reports), float(right.mean()), difference, tune_updates)
