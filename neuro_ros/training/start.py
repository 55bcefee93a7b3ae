# SPDX-License-Identifier: Apache-2.0
"""Where a training run begins, if not from chance: at a trained model and the real-valued weights behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.snn import Conv2d, Dense, Model, load_model
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.agreement import network_of
from neuro_ros.training.network.layer_text import layer_text
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.network.master import MASTER_SUFFIX, load_master_weights

__all__ = ["Start", "load_start"]


@dataclass(frozen=True, eq=False)
class Start:
    """A trained model that another run goes on from.

    Attributes
    ----------
    model : Model
        Its thresholds are kept.
    weights : mapping of str to float32 array
        Behind its integers, or these; see `neuro_ros.training.network.master`.
    """

    model: Model
    weights: Mapping[str, npt.NDArray[np.float32]]

    def put_into(self, network: IntegerNetwork) -> None:
        """Give a network these weights and thresholds.

        Raises
        ------
        TrainingError
            If it has other layers, or the weights are not those of the model.
        """
        network_of(self.model, network, self.weights)

    def layers(self) -> str:
        """Return the text of the layers, see `neuro_ros.training.network.layer_text`.

        Raises
        ------
        TrainingError
            If a layer is of a kind that has no text.
        """
        specs: list[ConvSpec | DenseSpec] = []
        for layer in self.model.network.layers:
            made, neuron = layer.connection, layer.neuron
            if isinstance(made, Dense):
                specs.append(DenseSpec(layer.name, made.weight.shape[0], neuron.du, neuron.dv))
            elif isinstance(made, Conv2d):
                channels, _, kernel, _ = made.weight.shape
                specs.append(
                    ConvSpec(layer.name, channels, kernel, made.stride[0], made.padding[0], neuron.du, neuron.dv)
                )
            else:
                raise TrainingError(
                    f"layer '{layer.name}' of {self.model.name} cannot be trained from a text of layers"
                )
        return layer_text(tuple(specs))

    def as_dict(self) -> dict[str, Any]:
        """Return what the record of the next model says of this one."""
        record = self.model.record
        return {
            "model_id": self.model.digest,
            **{name: record[name] for name in ("job", "updates", "start") if name in record},
        }


def load_start(path: Path) -> Start:
    """Read a model and, where training left them beside it, the real-valued weights.

    Without them the integers are the weights; what is lost is less than half a step of the grid.

    Raises
    ------
    ModelError
        If there is no such model.
    TrainingError
        If its weights are neither dense nor a convolution, or what lies beside it are no such weights.
    """
    model, kept = load_model(path), path.with_suffix(MASTER_SUFFIX)
    return Start(model, load_master_weights(kept) if kept.exists() else _integers(model))


def _integers(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights of a model in units of its thresholds, by layer."""
    weights = {}
    for layer in model.network.layers:
        made = layer.connection
        if not isinstance(made, Dense | Conv2d):
            raise TrainingError(f"layer '{layer.name}' of {model.name} is of a kind that training does not know")
        unit = np.float32(2.0**made.weight_exp / layer.neuron.vth)
        weights[layer.name] = made.weight.astype(np.float32) * unit
    return weights
