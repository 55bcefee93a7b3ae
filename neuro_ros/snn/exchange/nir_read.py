# SPDX-License-Identifier: Apache-2.0
"""From a NIR graph to layers: linear nodes in a row become one map, neurons become kept shares, gains and thresholds.

NIR's equations are in continuous time. With a step dt, ``k = dt / tau`` (euler) or
``1 - exp(-dt / tau)`` (exponential)::

    LIF      v += k (v_leak - v + r I)                       kept_v = 1 - k, gain = k r, bias = k v_leak
    IF       v += dt r I                                     kept_v = 1, gain = dt r
    CubaLIF  i += k_s (w_in S - i);  v += k (v_leak - v + r i)
                                     kept_u = 1 - k_s, gain = k_s w_in k r; of norse: gain = w_in k r

A reset to v_reset rather than to 0 is a shift of v: threshold and leak are taken
from there on. The bias of an Affine or Conv2d in front of a CubaLIF drives the
current; ours drives the voltage, so what it adds in the long run is taken, and what
it does in the first steps is lost (reported). A connection takes a step here and none
there, so spikes of the n-th population come n steps later, after n steps more of bias.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from neuro_ros.snn.limits import INPUT_BITS_RANGE, SIGN_MODES, WEIGHT_BITS_RANGE, WEIGHT_EXP_RANGE, Shape
from neuro_ros.snn.network import INPUT

from .base import ExchangeError, ImportOptions, noting, refuse_all
from .fields import Fields, read_fields
from .kinds import Grid
from .linear import ConvMap, LinearMap, identity
from .nir_graph import NEURONS, Graph, Node, layer_name, per_neuron, read_graph, remark
from .nir_signals import Part, Reader
from .physical import FloatLayer, FloatNetwork, FloatProjection, Hints, uniform

__all__ = ["read_nir"]

_ROUNDING = 1e-5  # of a float32 time constant of one step


def _order(graph: Graph) -> list[Node]:
    """Return the populations in order of the flow from the input: after one that feeds them, the last one last."""
    done: list[str] = []
    seen = {graph.source}
    stack: list[tuple[str, list[str]]] = [(graph.source, list(graph.nodes[graph.source].after))]
    while stack:  # reverse postorder of a depth first search
        name, left = stack[-1]
        if left:
            following = left.pop()
            if following not in seen:
                seen.add(following)
                stack.append((following, list(graph.nodes[following].after)))
        else:
            stack.pop()
            done.append(name)
    return [graph.nodes[name] for name in reversed(done) if graph.nodes[name].kind in NEURONS]


def _own_order(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Return the populations in the order that a file of ours keeps, where it names just these."""
    kept = graph.remarks.get("layers")
    names = {node.name: node for node in nodes}
    if not isinstance(kept, list) or len(kept) != len(nodes) or not all(isinstance(name, str) for name in kept):
        return nodes
    return [names[name] for name in kept] if set(kept) == set(names) and kept[-1] == nodes[-1].name else nodes


def _lost(tau: Any, step_s: float, discretisation: str) -> Any:
    """Return the share that a step takes away."""
    with np.errstate(divide="ignore"):
        ratio = step_s / np.asarray(tau, np.float64)
    return ratio if discretisation == "euler" else -np.expm1(-ratio)


def _kept(node: Node, what: str, lost: Any, options: ImportOptions) -> tuple[float, list[str]]:
    """Return the one share that is left after a step, with remarks."""
    kept = 1.0 - np.asarray(lost, np.float64)
    kept = np.where((kept < 0.0) & (kept > -_ROUNDING), 0.0, kept)  # a time constant of one step, in float32
    if not (np.isfinite(kept).all() and kept.min() >= 0.0 and kept.max() <= 1.0):
        raise ExchangeError(
            f"node '{node.name}': {what} leaves {kept.min():g}..{kept.max():g} after a step, outside 0..1; "
            "is the step longer than the time constant?"
        )
    common = uniform(lost)
    if common is not None:
        return max(1.0 - common, 0.0), []
    if not options.merge_decays:
        raise ExchangeError(
            f"node '{node.name}': {what} leaves from {kept.min():g} to {kept.max():g} after a step: a layer has one "
            "decay (--merge-decays takes the mean)"
        )
    return float(kept.mean()), [f"{what} left {kept.min():g}..{kept.max():g} after a step; the mean was taken"]


def _hints(fields: Fields, count: int) -> tuple[Hints | None, int]:
    """Return the choices that a file of ours keeps with a population, and its refractory period."""
    kept = remark(fields)
    try:
        rest = int(kept.get("refractory", 0))
        hints = Hints(
            float(kept["scale"]),
            tuple(int(value) for value in kept["weight_exps"]),
            tuple(Grid(int(bits), str(sign)) for bits, sign in kept["grids"]),
            int(kept["bias_exp"]),
            int(kept["bias_ndim"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None, 0
    low, high = WEIGHT_EXP_RANGE
    sound = (
        0.0 < hints.scale < math.inf
        and len(hints.weight_exps) == len(hints.grids) == count
        and all(low <= exponent <= high for exponent in hints.weight_exps)
        and all(
            grid.sign_mode in SIGN_MODES and WEIGHT_BITS_RANGE[0] <= grid.weight_bits <= WEIGHT_BITS_RANGE[1]
            for grid in hints.grids
        )
        and 0 <= hints.bias_exp <= 7
        and hints.bias_ndim in (0, 1, 3)
        and 0 <= rest <= 1 << 16
    )
    return (hints, rest) if sound else (None, 0)


def _layer(reader: Reader, node: Node) -> FloatLayer:
    """Return the layer of a population."""
    fields, options, step_s = node.fields, reader.options, reader.step_s
    shape = reader.shape(node.name)
    signal = reader.received(node)
    threshold = per_neuron(fields, "v_threshold", shape)
    reset = per_neuron(fields, "v_reset", shape, 0.0)
    leak = per_neuron(fields, "v_leak", shape, 0.0) - reset
    r = per_neuron(fields, "r", shape)
    notes: list[str] = []
    kept_u, drive = 0.0, 1.0
    if node.kind == "IF":
        kept_v, gain, bias = 1.0, step_s * r, np.zeros(())
    else:
        lost = _lost(
            per_neuron(fields, "tau" if node.kind == "LIF" else "tau_mem", shape), step_s, options.discretisation
        )
        kept_v, remarks = _kept(node, "the membrane", lost, options)
        gain, bias = lost * r, lost * leak
        notes += remarks
    if node.kind == "CubaLIF":
        lost = _lost(per_neuron(fields, "tau_syn", shape), step_s, options.discretisation)
        kept_u, remarks = _kept(node, "the synapse", lost, options)
        gain = gain * per_neuron(fields, "w_in", shape, 1.0) * (lost if options.synapse_gain == "equation" else 1.0)
        drive = 1.0 / (1.0 - kept_u) if kept_u < 1.0 else math.inf
        notes += remarks
    constant = signal.constant.reshape(shape)
    if constant.any():
        if not math.isfinite(drive):
            raise ExchangeError(f"node '{node.name}': a bias drives a current that never decays")
        if kept_u > 0.0:
            notes.append("the bias in front drives the current; its steady state was put on the voltage")
        bias = bias + constant * gain * drive
    if (reset != 0.0).any():
        notes.append("the reset is not to 0; threshold and leak are counted from it")
    parts = [FloatProjection(_with_gain(node, part, gain, shape), part.source, part.delays) for part in signal.parts]
    made = {part.linear.output_shape(reader.source_shape(part.source)) for part in parts}
    if made != {shape}:
        raise ExchangeError(f"node '{node.name}' gets signals of {shape} and of {', '.join(map(str, made - {shape}))}")
    hints, rest = _hints(fields, len(parts))
    return FloatLayer(
        reader.names[node.name],
        tuple(parts),
        shape,
        kept_u,
        kept_v,
        threshold - reset,
        bias,
        rest,
        hints,
        notes=tuple(notes),
    )


def _with_gain(node: Node, part: Part, gain: Any, shape: Shape) -> LinearMap:
    """Return the map of a part times the gain of the neurons that it feeds."""
    linear = identity(shape) if part.linear is None else part.linear
    common = uniform(gain)
    if common is not None:
        return linear.scaled(np.asarray(common))
    gains = np.broadcast_to(gain, shape)
    if isinstance(linear, ConvMap):
        if not np.allclose(gains, gains[:, :1, :1], rtol=1e-6):
            raise ExchangeError(f"node '{node.name}': its gain differs within a channel")
        return linear.scaled(gains[:, :1, :1])
    return linear.scaled(gains.reshape(-1, 1, 1))


def _check_end(reader: Reader, last: Node) -> list[str]:
    """Return remarks about what lies between the last population and the output."""
    signal = reader.received(reader.graph.nodes[reader.graph.sink])
    name = reader.names[last.name]
    if len(signal.parts) != 1 or signal.parts[0].linear is not None or signal.constant.any():
        raise ExchangeError("the graph ends in weights, or in several populations, rather than in one that spikes")
    if signal.parts[0].source != name:
        raise ExchangeError("the output is fed by the input")
    if np.any(signal.parts[0].delays):
        return ["delays in front of the output were dropped: they only shift what leaves the network"]
    return []


def _unique_names(nodes: list[Node]) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in nodes:
        base = wanted = node.name if remark(node.fields) and "." not in node.name else layer_name(node.name)
        count = 1
        while wanted in names.values() or wanted == INPUT:
            count += 1
            wanted = f"{base}_{count}"
        names[node.name] = wanted
    return names


def _last(graph: Graph, nodes: list[Node]) -> Node:
    """Return the population that the output is fed by, through nodes that change nothing."""
    seen = set()
    ready = [graph.sink]
    while ready:
        name = ready.pop()
        if name in seen:
            continue
        seen.add(name)
        for before in graph.nodes[name].before:
            if graph.nodes[before].kind in NEURONS:
                return graph.nodes[before]
            ready.append(before)
    raise ExchangeError("no population feeds the output" if nodes else "the graph has no neurons that spike")


def read_nir(path: str | os.PathLike[str], options: ImportOptions) -> FloatNetwork:
    """Read a NIR file.

    Raises
    ------
    ExchangeError
        When it cannot be read, or holds what has no counterpart; everything of that kind is named.
    """
    graph = read_graph(read_fields(path), options.input_shape)
    own_step = graph.remarks.get("step_s")
    is_ours = isinstance(own_step, float) and 0.0 < own_step < math.inf
    step_s = options.step_s if options.step_s is not None else own_step if is_ours else None
    if step_s is None:
        raise ExchangeError(
            f"{path}: NIR does not say how long a step is; give the one that the network was trained with (--step: "
            "1e-4 from snntorch and spikingjelly, 1e-6 from norse 1.1, 1 from sinabs)"
        )
    nodes = _order(graph)
    last = _last(graph, nodes)
    nodes = _own_order(graph, [node for node in nodes if node is not last] + [last])
    reader = Reader(graph, options, step_s, _unique_names(nodes))
    layers: list[FloatLayer] = []
    faults: list[str] = []
    notes: list[str] = []
    for node in nodes:
        reader.active.clear()
        with noting(faults, f"node '{node.name}'"):
            layers.append(_layer(reader, node))
    with noting(faults, "the output"):
        notes = _check_end(reader, last)
    refuse_all(faults)
    bits = graph.remarks.get("input_bits", 0)
    return FloatNetwork(
        tuple(layers),
        reader.shape(graph.source),
        step_s,
        options.discretisation,
        tuple(notes),
        graph.remarks,
        bits if isinstance(bits, int) and INPUT_BITS_RANGE[0] <= bits <= INPUT_BITS_RANGE[1] else 0,
    )
