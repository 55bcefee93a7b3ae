# SPDX-License-Identifier: Apache-2.0
"""What a node of a NIR graph sends, followed back to the populations it comes from.

Linear nodes in a row become one map, ways that meet become several parts, a bias on
the way a constant. Delays stay with the source: in front of weights each neuron has
its own, behind them there can be but one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro_ros.snn.limits import Shape
from neuro_ros.snn.network import INPUT

from .base import ExchangeError, ImportOptions
from .linear import DenseMap, Floats, LinearMap, compose, identity
from .nir_graph import NEURONS, Graph, Node, linear_of, per_neuron
from .physical import uniform

__all__ = ["Part", "Reader", "Signal"]

_MAX_PARTS = 64  # as many projections as a layer has
_MAX_COMPOSED = 1 << 26  # weights of all maps that were made out of several, 512 MiB


@dataclass
class Part:
    """One way from a population to where a signal is looked at; `linear` is None where nothing has changed it yet."""

    source: str
    linear: LinearMap | None = None
    delays: Any = 0.0


@dataclass
class Signal:
    """What a node sends: the sum of its parts and a constant."""

    parts: list[Part]
    constant: Floats


@dataclass
class Reader:
    """Follows signals back to the populations they come from."""

    graph: Graph
    options: ImportOptions
    step_s: float
    names: dict[str, str] = field(default_factory=dict)
    signals: dict[str, Signal] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    composed: int = 0

    def shape(self, name: str) -> Shape:
        """Return the shape of what a node sends."""
        shape = self.graph.nodes[name].shape
        if shape is None:
            raise ExchangeError(f"node '{name}' is not reached from the input")
        return shape

    def source_shape(self, source: str) -> Shape:
        """Return the shape of the input or of a layer, by the name that layers have."""
        node = self.graph.source if source == INPUT else next(n for n, own in self.names.items() if own == source)
        return self.shape(node)

    def sent(self, name: str) -> Signal:
        """Return what a node sends."""
        node = self.graph.nodes[name]
        if name == self.graph.source:
            return Signal([Part(INPUT)], np.zeros(self.shape(name)))
        if node.kind in NEURONS:
            return Signal([Part(self.names[name])], np.zeros(self.shape(name)))
        if name not in self.signals:
            if name in self.active:
                raise ExchangeError(f"the circle {' -> '.join([*self.active, name])} has no neurons in it")
            self.active.append(name)
            self.signals[name] = self._changed(node, self.received(node))
            self.active.pop()
        return self.signals[name]

    def received(self, node: Node) -> Signal:
        """Return the sum of what the nodes before send."""
        parts: list[Part] = []
        constant: Any = 0.0
        for name in node.before:
            signal = self.sent(name)
            parts += signal.parts
            constant = constant + signal.constant.reshape(-1)
        if not parts:
            raise ExchangeError(f"node '{node.name}' is fed by nothing")
        if len(parts) > _MAX_PARTS:
            raise ExchangeError(f"node '{node.name}' is fed on {len(parts)} ways, {_MAX_PARTS} are understood")
        return Signal(parts, constant.reshape(self.shape(node.before[0])))

    def _changed(self, node: Node, signal: Signal) -> Signal:
        """Return what a linear node makes of a signal."""
        fields = node.fields
        shape = signal.constant.shape
        if node.kind == "Delay":
            return Signal([self._delayed(node, part, shape) for part in signal.parts], signal.constant)
        if node.kind == "Scale":
            factor = per_neuron(fields, "scale", shape)
            return Signal([self._scaled(node, part, factor, shape) for part in signal.parts], signal.constant * factor)
        linear = linear_of(node, shape)
        if linear is None:
            return signal
        parts = [Part(part.source, self._composed(part, linear), part.delays) for part in signal.parts]
        constant = np.zeros(linear.output_shape(shape))
        if signal.constant.any():
            constant = linear.apply(signal.constant[None])[0]
        if "bias" in fields:
            bias = fields.array("bias").ravel()
            if bias.size not in (1, constant.shape[0]):
                raise ExchangeError(f"{fields.place}/bias has {bias.size} values for {constant.shape[0]} channels")
            constant = constant + bias.reshape(-1, 1, 1)
        return Signal(parts, constant)

    def _composed(self, part: Part, linear: LinearMap) -> LinearMap:
        """Return what a part becomes behind one more map."""
        if part.linear is None:
            return linear
        made = compose(part.linear, linear, self.source_shape(part.source))
        self.composed += made.weight.size
        if self.composed > _MAX_COMPOSED:
            raise ExchangeError(f"the graph has maps in a row that become more than {_MAX_COMPOSED} weights")
        return made

    def _delayed(self, node: Node, part: Part, shape: Shape) -> Part:
        steps = per_neuron(node.fields, "delay", shape) / self.step_s
        if part.linear is None:
            return Part(part.source, None, np.broadcast_to(steps, shape) + part.delays)
        common = uniform(steps)
        if common is None:
            raise ExchangeError(f"node '{node.name}': delays that differ between neurons behind weights")
        return Part(part.source, part.linear, part.delays + common)

    @staticmethod
    def _scaled(node: Node, part: Part, factor: Any, shape: Shape) -> Part:
        planes = np.broadcast_to(factor, shape).reshape(shape[0], -1)
        is_dense = isinstance(part.linear, DenseMap)
        if not is_dense and not (planes == planes[:, :1]).all():
            raise ExchangeError(f"node '{node.name}': a scale that differs within a channel")
        factors = planes[:, 0] if planes.size and uniform(planes) is None else planes.flat[0]
        if part.linear is None:
            return Part(part.source, identity(shape, factors), part.delays)
        return Part(part.source, part.linear.scaled(np.reshape(factors, (-1, 1, 1))), part.delays)
