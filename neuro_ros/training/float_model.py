# SPDX-License-Identifier: Apache-2.0
"""A network that was trained in floating point, on its way to integers.

No engine runs it and no node loads it: it is what `neuro_ros.training.network.conversion` is given. One safetensors
file with a JSON head (`neuro_ros.snn.container`) holds the real-valued weights, the thresholds and the job that made
them, so that quantising and fine-tuning need nothing else but the data set.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.errors import NeuroRosError
from neuro_ros.gestures.augmentation import Augmentation
from neuro_ros.gestures.datasets import Dataset, StepStream, TensorCache, WindowShape
from neuro_ros.snn import container
from neuro_ros.training.dataset_job import DatasetJob, network_for
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.recordings import usable_tensors

__all__ = [
    "FloatModel",
    "float_answers",
    "float_result",
    "job_from_dict",
    "job_to_dict",
    "load_float_model",
    "save_float_model",
]

_FORMAT = "neuro_ros.float"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A network in floating point with what it was trained by.

    Attributes
    ----------
    network : IntegerNetwork
        With ``arithmetic="float"``.
    job : DatasetJob
        Its layers, windows and augmentation.
    labels : tuple of str
        In class-index order.
    record : dict
        What a model's record says of data and training.
    """

    network: IntegerNetwork
    job: DatasetJob
    labels: tuple[str, ...]
    record: dict[str, Any]


def job_to_dict(job: DatasetJob) -> dict[str, Any]:
    """Return a job as plain values; the inverse of `job_from_dict`."""
    return {name: value for name, value in asdict(job).items() if value not in (None, math.inf)}


def job_from_dict(values: dict[str, Any]) -> DatasetJob:
    """Return the job that `job_to_dict` wrote.

    Raises
    ------
    TrainingError
        If a value is missing, unknown or outside its range.
    """
    try:
        augmentation = dict(values["augmentation"])
        if augmentation.get("mirror") is not None:
            augmentation["mirror"] = tuple(augmentation["mirror"])
        made = {"shape": WindowShape(**values["shape"]), "augmentation": Augmentation(**augmentation)}
        return DatasetJob(**{**values, **made})
    except TrainingError:
        raise
    except (KeyError, TypeError, ValueError, NeuroRosError) as error:
        raise TrainingError(f"this is no training job: {error}") from None


def save_float_model(model: FloatModel, path: Path) -> None:
    """Write a float network; what was at the path stays whole when it cannot be.

    Raises
    ------
    TrainingError
        If the file cannot be written.
    """
    tensors = {name: value.detach().cpu().numpy() for name, value in model.network.state_dict().items()}
    head = {
        "version": _VERSION,
        "labels": list(model.labels),
        "job": job_to_dict(model.job),
        "record": model.record,
    }
    try:
        container.write(path, _FORMAT, head, tensors)
    except container.ContainerError as error:
        raise TrainingError(str(error)) from None


def load_float_model(path: Path) -> FloatModel:
    """Read what `save_float_model` wrote.

    Raises
    ------
    TrainingError
        If the file is missing, damaged, of another kind, or its parts do not fit together.
    """
    try:
        head, tensors = container.read(path, _FORMAT)
    except container.ContainerError as error:
        raise TrainingError(f"no network in floating point: {error}") from None
    if head.get("version") != _VERSION:
        raise TrainingError(f"{path}: float network of version {head.get('version')}; this is {_VERSION}")
    try:
        labels, record = tuple(str(label) for label in head["labels"]), dict(head["record"])
        job = job_from_dict(dict(head["job"]))
        network = network_for(job, len(labels))
        state = {
            name: torch.from_numpy(np.array(tensors[name])).reshape(value.shape)
            for name, value in network.state_dict().items()
        }
        network.load_state_dict(state)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} does not hold such a network: {error}") from None
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise TrainingError(f"{path}: weights are not finite; the training diverged")
    network.arithmetic = "float"
    return FloatModel(network, job, labels, record)


def _answer(network: IntegerNetwork, stream: StepStream) -> int:
    """Return the class with most output spikes over a recording and its empty tail; -1 = none."""
    depth = len(network.populations)
    cells = np.unpackbits(stream.bits, axis=1)
    flow = np.zeros((len(cells) + depth, 1, *network.input_shape), np.float32)
    flow[: len(cells)] = cells.reshape(len(cells), 1, *network.input_shape)
    counts = network(torch.from_numpy(flow)).sum(0)[0]
    return int(counts.argmax()) if bool(counts.any()) else -1


@torch.no_grad()
def float_answers(
    network: IntegerNetwork, dataset: Dataset, split: str, shape: WindowShape, cache: TensorCache | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what a network answers to each recording of a split in floating point, and the truth.

    Parameters
    ----------
    network : IntegerNetwork
        Its arithmetic is used as it is set.
    dataset, split, shape, cache
        As for `neuro_ros.training.recordings.usable_tensors`.

    Returns
    -------
    answers, labels : (recordings,) int64
        Class indices of the data set; -1 = no output spike.
    """
    rows = [(_answer(network, stream), entry.label) for entry, stream in usable_tensors(dataset, split, shape, cache)]
    if not rows:
        raise TrainingError(f"{dataset.path}: every recording of {split} is shorter than half a window")
    both = np.array(rows, np.int64)
    return both[:, 0], both[:, 1]


def float_result(
    network: IntegerNetwork, dataset: Dataset, split: str, shape: WindowShape, cache: TensorCache | None = None
) -> dict[str, Any]:
    """Return what a network reaches on a split in floating point, as plain values; parameters as of `float_answers`."""
    answers, labels = float_answers(network, dataset, split, shape, cache)
    classes = len(dataset.labels)
    confusion = np.zeros((classes, classes + 1), np.int64)
    np.add.at(confusion, (labels, answers), 1)  # the last column, no answer, is -1
    totals = confusion.sum(1)
    per_class = {
        name: float(confusion[k, k] / totals[k]) if totals[k] else None for k, name in enumerate(dataset.labels)
    }
    return {
        "accuracy": float((answers == labels).mean()),
        "per_class": per_class,
        "split": split,
        "data": dataset.kind,
        "arithmetic": "float",
        "recordings": len(labels),
        "confusion": confusion.tolist(),
    }
