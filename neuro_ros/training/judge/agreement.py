# SPDX-License-Identifier: Apache-2.0
"""Spike for spike: the forward pass of training, the engine that flies, and Lava, on the same recordings.

What is compared are all spikes of all layers, each as its step and its flat (c, y, x) index; a mismatch is a spike
that only one of two has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuro_ros.snn import Layer, Model
from neuro_ros.snn.engine import Engine
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.network.population import SpikingLayer

__all__ = ["engine_spikes", "mismatches", "network_of", "network_spikes"]

Spikes = list[npt.NDArray[np.int64]]


def network_of(model: Model, network: IntegerNetwork, weights: Mapping[str, npt.NDArray[np.float32]]) -> IntegerNetwork:
    """Put a model's thresholds and the real-valued weights behind it into a network of the same structure.

    Parameters
    ----------
    model : Model
        What training exported.
    network : IntegerNetwork
        Of the same layers; changed in place.
    weights : mapping of str to float32 array
        See `neuro_ros.training.network.master`.

    Returns
    -------
    IntegerNetwork
        The one given.

    Raises
    ------
    TrainingError
        If the two do not have the same layers, or the weights do not come to the model's integers.
    """
    if [layer.spec.name for layer in network.populations] != [layer.name for layer in model.network.layers]:
        raise TrainingError("the model has other layers than the network that it is compared with")
    for population, layer in zip(network.populations, model.network.layers, strict=True):
        master = weights.get(layer.name)
        if master is None or master.shape != tuple(population.weight.shape):
            raise TrainingError(f"there are no weights of {tuple(population.weight.shape)} for layer '{layer.name}'")
        with torch.no_grad():
            population.weight.copy_(torch.from_numpy(np.ascontiguousarray(master)))
            population.vth.fill_(layer.neuron.vth)
        differs = _difference(population, layer)
        if differs == "weight":
            raise TrainingError(f"the weights of layer '{layer.name}' are not those that the model was made of")
        if differs:
            raise TrainingError(f"layer '{layer.name}' of {model.name} has another {differs} than training gives it")
    return network


def _difference(population: SpikingLayer, theirs: Layer) -> str:
    """Return the name of what a layer has otherwise than training would export it; empty = nothing."""
    ours, source, target = population.export(), population.input_shape, population.output_shape
    if [type(part.connection) for part in ours.projections] != [type(part.connection) for part in theirs.projections]:
        return "kind of connection"
    pairs: list[tuple[str, Any, Any]] = []
    for mine, other in zip(ours.projections, theirs.projections, strict=True):
        for values, others in (
            (mine.connection.parameters(), other.connection.parameters()),
            (mine.connection.tensors(), other.connection.tensors()),
        ):
            pairs += [(name, value, others[name]) for name, value in values.items()]
    registers = theirs.neuron.parameters()
    pairs += [(name, value, registers[name]) for name, value in ours.neuron.parameters().items() if name != "bias_exp"]
    pairs.append(("bias", ours.neuron.bias(target), theirs.neuron.bias(target)))
    first, second = (part.projections[0].source_delays(source) for part in (ours, theirs))
    pairs.append(("delays", first, second))
    return next((name for name, value, other in pairs if not np.array_equal(value, other)), "")


def engine_spikes(engine: Engine, stream: StepStream, bins: int, depth: int) -> Spikes:
    """Return each layer's spikes (step * neurons + index, ascending) of a recording run from rest, with its tail.

    Parameters
    ----------
    engine : Engine
        Of any back end that records.
    stream : StepStream
        Input.
    bins : int
        Steps of a window.
    depth : int
        Empty steps afterwards.
    """
    engine.reset()
    sizes = [int(np.prod(shape)) for shape in engine.model.network.shapes]
    found: list[list[npt.NDArray[np.int64]]] = [[] for _ in sizes]
    step = 0
    pieces = [stream.bits[begin : begin + bins] for begin in range(0, len(stream.bits), bins)]
    for piece in [*pieces, np.zeros((depth, stream.bits.shape[1]), np.uint8)]:
        indices = np.flatnonzero(np.unpackbits(piece)).astype(np.uint32)
        for layers in engine.run_window(indices, len(piece), record=True).steps or ():
            for layer, flat in enumerate(layers):
                found[layer].append(flat.astype(np.int64) + step * sizes[layer])
            step += 1
    return [np.concatenate(parts) for parts in found]


@torch.no_grad()
def network_spikes(network: IntegerNetwork, stream: StepStream, depth: int) -> Spikes:
    """Return what `engine_spikes` returns, by the forward pass of training on the network's own device."""
    cells = np.unpackbits(stream.bits, axis=1).astype(np.float32)
    flow = np.zeros((len(cells) + depth, 1, *network.input_shape), np.float32)
    flow[: len(cells)] = cells.reshape(len(cells), 1, *network.input_shape)
    layers = network.all_spikes(torch.from_numpy(flow).to(network.device))
    return [np.flatnonzero(spikes.cpu().numpy()).astype(np.int64) for spikes in layers]


def mismatches(first: Sequence[npt.NDArray[np.int64]], second: Sequence[npt.NDArray[np.int64]]) -> int:
    """Return how many spikes only one of two has, over all layers."""
    return sum(int(np.setxor1d(a, b, assume_unique=True).size) for a, b in zip(first, second, strict=True))
