# SPDX-License-Identifier: Apache-2.0
"""Makes models to try a roll-out with, out of one that works: one as good as it, and one with a fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn import Layer, Model, Network, save_model

__all__ = ["write_faulty", "write_sound"]

#: Share of the weights that the sound one is pruned by, the smallest first.
_PRUNED = 0.01
#: What is left of every weight in the faulty one.
_LEFT = 0.25


def write_sound(model: Model, path: Path) -> Model:
    """Write `model` without the smallest hundredth of the weights of each layer, and return it.

    Raises
    ------
    ModelError
        The file cannot be written.
    """

    def prune(weight: NDArray[Any]) -> NDArray[Any]:
        sizes = np.sort(np.abs(weight[weight != 0]), axis=None)
        if not len(sizes):
            return weight
        least = sizes[min(len(sizes) - 1, int(_PRUNED * len(sizes)))]
        small = np.flatnonzero((weight != 0) & (np.abs(weight) <= least))[: max(1, int(_PRUNED * len(sizes)))]
        pruned = weight.copy()
        pruned.reshape(-1)[small] = 0
        return pruned

    return _write(model, prune, path)


def write_faulty(model: Model, path: Path) -> Model:
    """Write `model` with a quarter of every weight, as a wrong exponent would leave it, and return it.

    Raises
    ------
    ModelError
        The file cannot be written.
    """

    def shrink(weight: NDArray[Any]) -> NDArray[Any]:
        shrunk: NDArray[Any] = (2 * np.round(_LEFT * weight / 2)).astype(weight.dtype)  # weights are even
        return shrunk

    return _write(model, shrink, path)


def _write(model: Model, change: Any, path: Path) -> Model:
    layers = []
    for part in model.network.layers:
        connection: Any = part.connection
        weight = getattr(connection, "weight", None)
        if weight is not None:
            part = Layer(part.name, replace(connection, weight=change(weight)), part.neuron)
        layers.append(part)
    changed = replace(model, network=Network(tuple(layers), model.network.input_shape))
    save_model(changed, path)
    return changed
