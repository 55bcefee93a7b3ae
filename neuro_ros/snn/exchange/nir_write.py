# SPDX-License-Identifier: Apache-2.0
"""From a model to a NIR file that says the same in continuous time, and comes back as the same integers.

The unit of the weights is a power of two near the threshold, so that weights,
thresholds and biases are exact in float32. Time constants are those of the euler
step, ``tau = step * 4096 / dv`` and ``step * 4096 / (du + 1)``; ``r = tau_mem / step``
and ``w_in = tau_syn / step`` make every gain 1. What NIR has no place for stands as
JSON in the metadata of the nodes: scale, exponents, widths of the weights,
refractory period; labels, window and record of the model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro_ros.snn.limits import Shape
from neuro_ros.snn.model import Model
from neuro_ros.snn.network import Conv2d, Dense, Layer, SumPool2d

from .base import ExchangeError, refuse_all
from .fields import write_tree

__all__ = ["write_nir"]

#: Version of the layout of NIR that is written.
NIR_VERSION = "1.0.8"
_UNITY = 4096
_NEVER_STEPS = float(1 << 24)  # a time constant of so many steps rounds to a decay of 0
_FORGETS = 4095  # du of a current that lasts one step


def _scale(layer: Layer) -> float:
    """Return the power of two near the threshold in units of the first projection's weights."""
    unit = 2.0 ** layer.projections[0].connection.weight_exp
    return 2.0 ** round(math.log2(max(layer.neuron.vth, 1) / unit))


def _nir_shape(shape: Shape) -> tuple[int, ...]:
    return shape[:1] if shape[1:] == (1, 1) else shape


def _floats(value: Any) -> Any:
    return np.asarray(value, np.float32)


def _neuron(layer: Layer, shape: Shape, step_s: float, scale: float) -> dict[str, Any]:
    """Return the node of a population."""
    neuron = layer.neuron
    exponent = layer.projections[0].connection.weight_exp
    ones = np.ones(_nir_shape(shape))
    tau_mem = step_s * (_UNITY / neuron.dv if neuron.dv else _NEVER_STEPS)
    unit = scale * 2.0**exponent
    bias = neuron.bias(shape).reshape(ones.shape) / (unit * 64.0)
    node: dict[str, Any] = {
        "type": "LIF" if neuron.du == _FORGETS else "CubaLIF",
        "r": _floats(ones * (tau_mem / step_s)),
        "v_leak": _floats(bias * (tau_mem / step_s)),
        "v_threshold": _floats(ones * (neuron.vth / unit)),
        "v_reset": _floats(ones * 0.0),
    }
    if neuron.du == _FORGETS:
        node["tau"] = _floats(ones * tau_mem)
    else:
        tau_syn = step_s * _UNITY / (neuron.du + 1)
        node |= {
            "tau_mem": _floats(ones * tau_mem),
            "tau_syn": _floats(ones * tau_syn),
            "w_in": _floats(ones * (tau_syn / step_s)),
        }
    connections = [projection.connection for projection in layer.projections]
    remark = {
        "scale": scale,
        "weight_exps": [connection.weight_exp for connection in connections],
        "grids": [[connection.weight_bits, connection.sign_mode] for connection in connections],  # type: ignore[attr-defined]
        "bias_exp": neuron.bias_exp,
        "bias_ndim": int(np.ndim(neuron.bias_mant)),
        "refractory": neuron.refractory,
    }
    return node | {"metadata": {"neuro_ros": json.dumps(remark)}}


def _weights(connection: Any, scale: float, shape_in: Shape, shape: Shape) -> list[tuple[str, dict[str, Any]]]:
    """Return the nodes of a connection, (suffix, node), in order of the flow."""
    weight = np.asarray(connection.weight, np.float64) / scale
    if isinstance(connection, Dense):
        flat = {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(shape_in)}
        nodes = [("weight", {"type": "Linear", "weight": _floats(weight)})]
        return nodes if len(_nir_shape(shape_in)) == 1 else [("flat", flat), *nodes]
    if isinstance(connection, Conv2d):
        node = {
            "type": "Conv2d",
            "input_shape": np.array(shape_in[1:]),
            "weight": _floats(weight),
            "stride": np.array(connection.stride),
            "padding": np.array(connection.padding),
            "dilation": np.array(connection.dilation),
            "groups": connection.groups,
            "bias": np.zeros(len(weight), np.float32),
        }
        return [("weight", node)]
    if isinstance(connection, SumPool2d):
        node = {
            "type": "SumPool2d",
            "kernel_size": np.array(connection.kernel),
            "stride": np.array(connection.stride),
            "padding": np.array(connection.padding),
        }
        return [("pool", node), ("weight", {"type": "Scale", "scale": _floats(np.full(_nir_shape(shape), weight))})]
    raise ExchangeError(f"a connection of kind {connection.kind!r} has no counterpart in NIR")


def _free(name: str, taken: set[str]) -> str:
    """Return a name for an end of the graph that no layer has."""
    while name in taken:
        name += "_"
    return name


def _nodes(model: Model, step_s: float) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the nodes and edges of a model."""
    network = model.network
    names = {layer.name for layer in network.layers}
    source, sink = (_free(name, names) for name in ("input", "output"))
    nodes: dict[str, Any] = {source: {"type": "Input", "shape": np.array(_nir_shape(network.input_shape))}}
    edges = []
    faults = []
    for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
        scale = _scale(layer)
        first = layer.projections[0].connection.weight_exp
        for number, (projection, origin) in enumerate(zip(layer.projections, network.sources[index], strict=True)):
            connection = projection.connection
            shape_in = network.source_shape(origin)
            own_scale = scale * 2.0 ** (first - connection.weight_exp)
            try:
                chain = _weights(connection, own_scale, shape_in, shape)
            except ExchangeError as error:
                faults.append(f"layer '{layer.name}': {error}")
                continue
            if projection.max_delay:
                delays = projection.source_delays(shape_in).reshape(_nir_shape(shape_in))
                chain.insert(0, ("delay", {"type": "Delay", "delay": _floats(delays * step_s)}))
            before = network.layers[origin].name if origin >= 0 else source
            mark = "" if number == 0 else f"_{number}"
            for suffix, node in chain:
                name = f"{layer.name}.{suffix}{mark}"
                nodes[name] = node
                edges.append((before, name))
                before = name
            edges.append((before, layer.name))
        nodes[layer.name] = _neuron(layer, shape, step_s, scale)
    refuse_all(faults)
    nodes[sink] = {"type": "Output", "shape": np.array(_nir_shape(network.shapes[-1]))}
    edges.append((network.layers[-1].name, sink))
    return nodes, edges


def nir_tree(model: Model) -> Mapping[str, Any]:
    """Return what a NIR file of a model holds, as nested groups.

    Raises
    ------
    ExchangeError
        When a layer has no counterpart; all such layers are named.
    """
    step_s = model.window_length_ns / model.bins * 1e-9
    nodes, edges = _nodes(model, step_s)
    remark = {
        "step_s": step_s,
        "name": model.name,
        "labels": list(model.labels),
        "window_length_ns": model.window_length_ns,
        "bins": model.bins,
        "normalisation": model.normalisation,
        "input_bits": model.network.input_bits,
        "layers": [layer.name for layer in model.network.layers],
        "record": dict(model.record),
    }
    return {
        "version": NIR_VERSION,
        "node": {
            "type": "NIRGraph",
            "nodes": nodes,
            "edges": np.array(edges, dtype=object),
            "metadata": {"neuro_ros": json.dumps(remark)},
        },
    }


def write_nir(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model as a NIR file.

    Raises
    ------
    ExchangeError
        When a layer has no counterpart, or the file cannot be written.
    """
    write_tree(nir_tree(model), path)
