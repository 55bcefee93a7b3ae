# SPDX-License-Identifier: Apache-2.0
"""Labelled recordings on disk: DvsGesture, N-MNIST, and any folder of class folders; as events or as spike tensors.

A new data set is one module here and one line in `DATASETS`. NumPy only, no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuro_ros.gestures.datasets import dvsgesture, folder, nmnist
from neuro_ros.gestures.datasets.base import (
    SPLIT_NAMES,
    Dataset,
    DatasetError,
    DatasetOptions,
    Entry,
    Sample,
    TensorSample,
)
from neuro_ros.gestures.datasets.cache import MemoryCache, SampleCache, TensorCache
from neuro_ros.gestures.datasets.simulated import SimulatedGestures
from neuro_ros.gestures.datasets.steps import StepStream, WindowShape, to_steps

__all__ = [
    "DATASETS",
    "SPLIT_NAMES",
    "Dataset",
    "DatasetError",
    "DatasetKind",
    "DatasetOptions",
    "Entry",
    "MemoryCache",
    "Sample",
    "SampleCache",
    "SimulatedGestures",
    "StepStream",
    "TensorCache",
    "TensorSample",
    "WindowShape",
    "open_dataset",
    "to_steps",
]


@dataclass(frozen=True)
class DatasetKind:
    """One kind of data set.

    Attributes
    ----------
    name : str
        By which the user can ask for it.
    matches : callable
        Tells by a look at a path, whether it is one.
    open : callable
        ``(path, DatasetOptions)`` to a `Dataset`.
    """

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, DatasetOptions], Dataset]


#: In the order in which they are tried; the folder, which nearly everything is, comes last.
DATASETS = (
    DatasetKind("dvsgesture", dvsgesture.matches, dvsgesture.DvsGesture),
    DatasetKind("nmnist", nmnist.matches, nmnist.open_nmnist),
    DatasetKind("folder", folder.matches, folder.ClassFolders),
)


def open_dataset(
    path: str | os.PathLike[str], kind: str | None = None, options: DatasetOptions | None = None
) -> Dataset:
    """Open a data set, whatever its kind; nothing is read yet but names and labels.

    Parameters
    ----------
    path : path-like
        A folder, or a packed file.
    kind : str, optional
        A name in `DATASETS`; by default found by what is there.
    options : DatasetOptions, optional
        What the data set does not say of itself.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        One line: what is missing, empty or contradictory.
    """
    path = Path(path)
    options = options or DatasetOptions()
    kinds = [entry for entry in DATASETS if kind is None or entry.name == kind]
    if not kinds:
        raise DatasetError(f"unknown kind of data set {kind!r}; known are {', '.join(k.name for k in DATASETS)}")
    if not path.exists():
        raise DatasetError(f"{path}: there is no such file or folder")
    try:
        for entry in kinds:
            if kind is not None or entry.matches(path):
                return entry.open(path, options)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    raise DatasetError(f"{path}: no data set is recognised; known are {', '.join(k.name for k in DATASETS)}")
