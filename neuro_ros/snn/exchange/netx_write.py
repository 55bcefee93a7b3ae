# SPDX-License-Identifier: Apache-2.0
"""From a model to the HDF5 layout of lava-dl, as integers; what netx cannot say exactly is refused by name.

Netx knows a chain of layers, 8 bit weights without an exponent, biases shifted by 6
and delays of the spikes of a layer. An exponent that still fits is multiplied into
the weights; everything else that differs is refused, since a rounded network would
not be the same one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro_ros.snn.limits import WEIGHT_RANGE, Shape
from neuro_ros.snn.model import Model
from neuro_ros.snn.network import Conv2d, Dense, Layer, Projection, SumPool2d

from .base import ExchangeError, refuse_all
from .fields import write_tree

__all__ = ["write_netx"]

_BIAS_SHIFT = 6


def _kind(text: str) -> Any:
    return np.array([text.encode("ascii")], "S10")


def _weight(connection: Any) -> Any:
    """Return the weights with their exponent multiplied in."""
    weight = np.asarray(connection.weight, np.int64)
    if connection.weight_exp < 0:
        raise ExchangeError(f"weight_exp is {connection.weight_exp}, netx has no exponent")
    weight = weight << connection.weight_exp
    if weight.min() < WEIGHT_RANGE[0] or weight.max() > WEIGHT_RANGE[1]:
        raise ExchangeError(f"weights << weight_exp span {weight.min()}..{weight.max()}, outside {WEIGHT_RANGE}")
    return weight.astype(np.float32)


def _bias(layer: Layer, shape: Shape) -> Any:
    """Return the bias a channel, or None where there is none."""
    bias = layer.neuron.bias(shape)
    if not bias.any():
        return None
    if (bias & ((1 << _BIAS_SHIFT) - 1)).any():
        raise ExchangeError("biases that are no multiple of 64, which is the unit of netx")
    if (bias != bias[:, :1, :1]).any():
        raise ExchangeError("biases that differ within a channel")
    return (bias[:, 0, 0] >> _BIAS_SHIFT).astype(np.float32)


def _split(layer: Layer, sources: tuple[int, ...], index: int) -> tuple[Projection, Projection | None]:
    """Return the projection from the layer before, and the recurrent one where there is one."""
    forward = [p for p, source in zip(layer.projections, sources, strict=True) if source == index - 1]
    recurrent = [p for p, source in zip(layer.projections, sources, strict=True) if source == index]
    if len(forward) != 1 or len(recurrent) > 1 or len(forward) + len(recurrent) != len(layer.projections):
        raise ExchangeError("it is fed by more than the layer before and itself")
    if recurrent and not (isinstance(forward[0].connection, Dense) and isinstance(recurrent[0].connection, Dense)):
        raise ExchangeError("netx has recurrence in dense layers only")
    if recurrent and recurrent[0].max_delay:
        raise ExchangeError("a recurrent projection with delays")
    return forward[0], recurrent[0] if recurrent else None


def _connection(forward: Projection, recurrent: Projection | None, shape_in: Shape) -> dict[str, Any]:
    """Return what the connections of a layer add to its group."""
    connection = forward.connection
    weight = _weight(connection)
    if isinstance(connection, Dense):
        group = {"type": _kind("dense_rec" if recurrent else "dense"), "weight": weight}
        group |= {"inFeatures": weight.shape[1], "outFeatures": weight.shape[0]}
        return group | ({"weight_rec": _weight(recurrent.connection)} if recurrent else {})
    if isinstance(connection, Conv2d):
        return {
            "type": _kind("conv"),
            "weight": weight,
            "inChannels": shape_in[0],
            "outChannels": len(weight),
            "kernelSize": np.array(weight.shape[2:]),
            "stride": np.array(connection.stride),
            "padding": np.array(connection.padding),
            "dilation": np.array(connection.dilation),
            "groups": connection.groups,
        }
    if isinstance(connection, SumPool2d):
        tiles = all(side % window == 0 for side, window in zip(shape_in[1:], connection.kernel, strict=True))
        if connection.stride != connection.kernel or connection.padding != (0, 0) or not tiles:
            raise ExchangeError("a pool whose windows do not tile the plane")
        return {
            "type": _kind("pool"),
            "weight": np.full((1, 1, *connection.kernel), weight),
            "kernelSize": np.array(connection.kernel),
            "stride": np.array(connection.stride),
            "padding": np.array([0, 0]),
            "dilation": np.array([1, 1]),
        }
    raise ExchangeError(f"a connection of kind {connection.kind!r}")


def _delays(projection: Projection, shape: Shape) -> Any:
    """Return the delays that belong to the layer in front: one a channel, or one a neuron of a flat one."""
    delays = projection.source_delays(shape)
    if (delays != delays[:, :1, :1]).any():
        raise ExchangeError("delays that differ within a channel of the layer before")
    return delays[:, 0, 0].astype(np.float32)


def netx_tree(model: Model) -> Mapping[str, Any]:
    """Return what a netx file of a model holds, as nested groups.

    Raises
    ------
    ExchangeError
        When something cannot be said exactly; all such layers are named.
    """
    network = model.network
    faults = [] if not network.input_bits else ["an input that is graded"]
    groups: list[dict[str, Any]] = [{"type": _kind("input"), "shape": np.array(network.input_shape)}]
    for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
        shape_in = network.source_shape(index - 1)
        neuron = layer.neuron
        try:
            forward, recurrent = _split(layer, network.sources[index], index)
            group = _connection(forward, recurrent, shape_in)
            bias = _bias(layer, shape)
            if forward.max_delay and index == 0:
                raise ExchangeError("delays of the input")
            if forward.max_delay:
                groups[-1]["delay"] = _delays(forward, shape_in)
            if neuron.refractory:
                raise ExchangeError(f"a refractory period of {neuron.refractory} steps, which lava-dl does not compute")
        except ExchangeError as error:
            faults.append(f"layer '{layer.name}': {error}")
            continue
        if isinstance(forward.connection, Dense) and shape_in[1:] != (1, 1):
            groups.append({"type": _kind("flatten"), "shape": np.array([int(np.prod(shape_in)), 1, 1])})
        group |= {"shape": np.array(shape if shape[1:] != (1, 1) else shape[:1])} | (
            {} if bias is None else {"bias": bias}
        )
        group["neuron"] = {
            "type": "CUBA",
            "iDecay": neuron.du + 1,
            "vDecay": neuron.dv,
            "vThMant": neuron.vth,
            "refDelay": 1,
            "gradedSpike": np.False_,
        }
        groups.append(group)
    refuse_all(faults)
    return {"layer": {str(index): group for index, group in enumerate(groups)}}


def write_netx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model as a netx file.

    Raises
    ------
    ExchangeError
        When something cannot be said exactly, or the file cannot be written.
    """
    write_tree(netx_tree(model), path)
