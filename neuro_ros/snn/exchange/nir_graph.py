# SPDX-License-Identifier: Apache-2.0
"""The graph of a NIR file: nodes, edges, subgraphs taken apart, shapes found, everything unknown named at once.

References
----------
NIR 1.0.8 (BSD-3-Clause): `nir/ir/` for the primitives and their equations, `nir/serialization.py` for the layout of the
file. J. E. Pedersen et al., Nature Communications 15, 8122 (2024), doi:10.1038/s41467-024-52259-9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro_ros.snn.limits import MAX_CELLS, Shape, cells_of

from .base import ExchangeError, refuse_all
from .fields import Fields
from .linear import ConvMap, DenseMap, LinearMap, pool

__all__ = ["LINEAR", "NEURONS", "Graph", "Node", "layer_name", "linear_of", "per_neuron", "read_graph", "remark"]

#: Populations that spike.
NEURONS = ("CubaLIF", "LIF", "IF")
#: What passes a signal on, changed linearly or not at all.
LINEAR = ("Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d", "Scale", "Flatten", "Delay", "Identity")
_ENDS = ("Input", "Output")
_MAX_NODES = 4096
_METADATA = "neuro_ros"


@dataclass(eq=False)
class Node:
    """One node of the flattened graph.

    Parameters
    ----------
    name : str
        Of the file, subgraphs in front, joined by dots.
    kind : str
        As NIR calls it; ends of subgraphs are of kind ``Identity``.
    fields : Fields
    before, after : list of str
        Names of the nodes that feed it and that it feeds.
    shape : (int, int, int), optional
        Of what it sends, once it is known.
    """

    name: str
    kind: str
    fields: Fields
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    shape: Shape | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A flattened graph: `nodes` by name, the name of the one input, and what the file's own remarks say."""

    nodes: dict[str, Node]
    source: str
    sink: str
    remarks: dict[str, Any]

    def of_kind(self, *kinds: str) -> Iterator[Node]:
        """Yield the nodes of some kinds in the order of the file."""
        return (node for node in self.nodes.values() if node.kind in kinds)


def layer_name(name: str) -> str:
    """Return a name of letters, digits and underscores that begins with a letter."""
    plain = re.sub(r"[^0-9A-Za-z_]", "_", name).strip("_")
    return plain if plain[:1].isalpha() else f"layer{plain}"


def remark(fields: Fields) -> dict[str, Any]:
    """Return what a file of ours keeps in the metadata of a node; nothing where there is none, or it is not JSON."""
    if "metadata" not in fields or _METADATA not in fields.group("metadata"):
        return {}
    try:
        value = json.loads(fields.group("metadata").text(_METADATA))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass
class _Part:
    """A graph or subgraph on its way into the flattened one."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def _edges(fields: Fields) -> list[tuple[str, str]]:
    if "edges" not in fields:
        raise ExchangeError(f"{fields.place}/edges is missing")
    pairs = fields.texts("edges")
    if pairs.size == 0:
        return []
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ExchangeError(f"{fields.place}/edges has the shape {pairs.shape}, pairs of names are expected")
    return [(str(a), str(b)) for a, b in pairs]


def _take_apart(fields: Fields, prefix: str) -> _Part:
    """Return a graph with its subgraphs replaced by what is in them."""
    part = _Part()
    inner: dict[str, _Part] = {}
    nodes = fields.group("nodes")
    for name in nodes.names():
        node = nodes.group(name)
        kind = node.text("type")
        full = prefix + name
        if kind == "NIRGraph":
            inner[name] = below = _take_apart(node, full + ".")
            part.nodes |= below.nodes
            part.edges += below.edges
            continue
        if kind in _ENDS:
            (part.inputs if kind == "Input" else part.outputs).append(full)
        part.nodes[full] = Node(full, "Identity" if kind in _ENDS and prefix else kind, node)
        if len(part.nodes) > _MAX_NODES:
            raise ExchangeError(f"the graph has more than {_MAX_NODES} nodes")
    for a, b in _edges(fields):
        for name in (a, b):
            if name not in nodes:
                raise ExchangeError(f"{fields.place}: an edge names the node {name!r}, which does not exist")
        starts = inner[a].outputs if a in inner else [prefix + a]
        ends = inner[b].inputs if b in inner else [prefix + b]
        if len(starts) != 1 or len(ends) != 1:
            raise ExchangeError(f"{fields.place}: of a subgraph with one input and one output alone: {a!r} to {b!r}")
        part.edges.append((starts[0], ends[0]))
    return part


def read_graph(file: Fields, shape: Shape | None = None) -> Graph:
    """Return the flattened graph of a NIR file.

    Parameters
    ----------
    file : Fields
    shape : (int, int, int), optional
        Of the input, where the file has it flattened already.

    Raises
    ------
    ExchangeError
        When the file is no NIR graph, or has nodes or ends that have no counterpart; all of them are named.
    """
    if "node" not in file:
        raise ExchangeError(f"no group 'node', so this is no NIR graph; there are {', '.join(file.names())}")
    top = file.group("node")
    if top.text("type") != "NIRGraph":
        raise ExchangeError(f"the file holds a single {top.text('type')}, not a graph")
    part = _take_apart(top, "")
    faults = [
        f"node '{node.name}' is of type {node.kind}, which has no counterpart"
        for node in part.nodes.values()
        if node.kind not in (*NEURONS, *LINEAR, *_ENDS)
    ]
    for what, found in (("Input", part.inputs), ("Output", part.outputs)):
        if len(found) != 1:
            faults.append(f"the graph has {len(found)} nodes of type {what}, one is expected")
    refuse_all(faults)
    for start, end in dict.fromkeys(part.edges):
        part.nodes[start].after.append(end)
        part.nodes[end].before.append(start)
    graph = Graph(part.nodes, part.inputs[0], part.outputs[0], remark(top))
    own = input_shape(graph.nodes[graph.source])
    if shape is not None and cells_of(shape) != cells_of(own):
        raise ExchangeError(f"the input has the shape {own}, another number of cells than {shape}")
    _find_shapes(graph, own if shape is None else shape)
    return graph


def input_shape(node: Node) -> Shape:
    """Return (c, h, w) of an input, dropping leading axes of length 1."""
    sizes = node.fields.wholes("shape")
    while len(sizes) > 1 and sizes[0] == 1 and (len(sizes) > 3 or len(sizes) == 2):
        sizes = sizes[1:]
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1 or max(sizes) > MAX_CELLS:
        raise ExchangeError(f"{node.fields.place}/shape is {list(sizes)}; one to three positive sizes are expected")
    if len(sizes) == 2:
        return sizes[0], 1, sizes[1]
    return (sizes[0], 1, 1) if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])


def _padding(fields: Fields, weight: Any, dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the padding of a convolution, which may be a word."""
    try:
        word = fields.text("padding")
    except ExchangeError:
        return fields.pair("padding", 0)
    extents = [(weight.shape[2 + axis] - 1) * dilation[axis] for axis in (0, 1)]
    if word == "valid":
        return 0, 0
    if word == "same" and not any(extent % 2 for extent in extents) and fields.pair("stride", 1) == (1, 1):
        return extents[0] // 2, extents[1] // 2
    raise ExchangeError(f"{fields.place}/padding is {word!r}, which is not the same at both ends")


def linear_of(node: Node, shape: Shape) -> LinearMap | None:
    """Return the map of a node that takes a signal of `shape`; None for what changes no value."""
    fields = node.fields
    if node.kind in ("Affine", "Linear"):
        return DenseMap(fields.array("weight", 2))
    if node.kind == "Conv2d":
        weight = fields.array("weight", 4)
        dilation = fields.pair("dilation", 1, 1)
        groups = fields.whole("groups", 1)
        if groups < 1 or weight.shape[0] % groups:
            raise ExchangeError(f"{fields.place}: {weight.shape[0]} channels do not divide into {groups} groups")
        padding = _padding(fields, weight, dilation)
        return ConvMap(weight, fields.pair("stride", 1, 1), padding, dilation, groups)
    if node.kind in ("SumPool2d", "AvgPool2d"):
        kernel = fields.pair("kernel_size", 1)
        share = 1.0 / (kernel[0] * kernel[1]) if node.kind == "AvgPool2d" else 1.0
        if kernel[0] * kernel[1] * shape[0] > MAX_CELLS:
            raise ExchangeError(f"{fields.place}: a window of {kernel} over {shape[0]} channels")
        return pool(shape[0], kernel, fields.pair("stride", 1), fields.pair("padding", 0, 0), share)
    return None


def _find_shapes(graph: Graph, source: Shape) -> None:
    """Find the shape of what every node sends, from the input on; flattening keeps (c, h, w), the order is the same."""
    start = graph.nodes[graph.source]
    start.shape = source
    ready = [start.name]
    faults = []
    while ready:
        node = graph.nodes[ready.pop(0)]
        sent = node.shape or source
        for name in node.after:
            successor = graph.nodes[name]
            try:
                linear = linear_of(successor, sent)
                shape = sent if linear is None else linear.output_shape(sent)
            except ExchangeError as error:
                faults.append(f"node '{name}': {error}")
                continue
            if cells_of(shape) > MAX_CELLS:
                faults.append(f"node '{name}': a shape of {shape} has more than {MAX_CELLS} cells")
            elif successor.shape is None:
                successor.shape = shape
                ready.append(name)
            elif cells_of(successor.shape) != cells_of(shape):
                faults.append(f"node '{name}' gets signals of {successor.shape} and of {shape}")
    faults += [
        f"node '{node.name}' is not reached from the input"
        for node in graph.nodes.values()
        if node.shape is None and not faults
    ]
    refuse_all(faults)


def per_neuron(fields: Fields, name: str, shape: Shape, default: float | None = None) -> Any:
    """Return a parameter as one number, one a channel (c, 1, 1), or one a neuron (c, h, w)."""
    if name not in fields and default is not None:
        return np.asarray(default)
    values = fields.array(name)
    if values.size == 1:
        return np.asarray(values.flat[0])
    if values.size == cells_of(shape):
        return values.reshape(shape)
    if values.size == shape[0]:
        return values.reshape(-1, 1, 1)
    raise ExchangeError(f"{fields.place}/{name} has {values.size} values for a population of {shape}")
