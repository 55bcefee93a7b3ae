# SPDX-License-Identifier: Apache-2.0
"""The real-valued weights behind the integers: what training moves, kept so that both can be compared afterwards.

One compressed NumPy archive beside the model, float32 in units of each layer's threshold, by the layer's name. The
threshold mantissas belong to the model.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork

__all__ = ["MASTER_SUFFIX", "load_master_weights", "save_master_weights"]

MASTER_SUFFIX = ".master.npz"


def save_master_weights(network: IntegerNetwork, path: Path) -> None:
    """Write the master weights of a network.

    Parameters
    ----------
    network : IntegerNetwork
        Trained.
    path : Path
        File to write, with the ending .npz.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    weights: dict[str, Any] = {layer.spec.name: layer.weight.detach().numpy() for layer in network.populations}
    try:
        np.savez_compressed(path, **weights)
    except OSError as error:
        raise TrainingError(f"{path}: the master weights cannot be written: {error.strerror}") from None


def load_master_weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read what `save_master_weights` wrote.

    Raises
    ------
    TrainingError
        If the file is missing, no such archive, or holds anything but float32.
    """
    try:
        # Opened here: numpy leaves a file that is no archive to the search for garbage.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: these are no master weights: {error}") from None
    wrong = [name for name, array in weights.items() if array.dtype != np.float32]
    if wrong or not weights:
        raise TrainingError(f"{path}: float32 weights by layer are needed; {', '.join(wrong) or 'nothing'} is there")
    return weights
