# SPDX-License-Identifier: Apache-2.0
"""The network description: integers with declared widths, checked when they are built.

A layer is one population of neurons with the projections that feed it: from the
layer before, from an earlier one (a skip connection), from itself or a later one
(recurrence), or from the input. Everything here is in register units; physical
units live on the other side of `neuro_ros.snn.quantisation`.

What a step does, ``>>`` being an arithmetic shift and ``trunc`` rounding toward zero::

    a  = sum over projections and delays d of
         (sum of weight x payload over the sources of delay d that spiked 1 + d steps ago) << weight_exp
    u  = trunc(u * (4096 - (du + 1)) / 4096) + (a << 6)
    u  = u - 2^24 where u > 2^23,  u + 2^24 where u <= -2^23      (wraps, once)
    where r == 0:
        v  = trunc(v * (4096 - dv) / 4096) + u + bias
        v  = clip(v, -(2^23 - 1), 2^23 - 1)                        (saturates)
    s  = v > (vth << 6)                                            (strict)
    v  = 0 where s                                                 (u is kept)
    r  = refractory where s,  max(r - 1, 0) elsewhere

with ``bias = bias_mant << bias_exp``, which is not shifted by 6. The payload is 1,
but for the input of a network with `input_bits`. A negative weight_exp shifts
right with floor, each delay of each projection by itself: sources of different
delays are never summed before the shift.

``r`` counts the steps that a neuron still rests. After a spike in step t, v is
frozen at 0 through step t + refractory, while u goes on; as v does not exceed a
threshold of at least 0, no spike comes earlier than in step t + refractory + 1.

`neuro_ros.snn.reference` runs these lines as they stand; the back ends must agree
with it in every bit.

References
----------
The equations are those of the bit-accurate LIF, Dense and DelayDense processes of
Lava 0.10.0 (`lava/proc/lif/models.py`, `lava/proc/dense/models.py`). Lava's
refractory LIF exists in floating point only: the lines with r restate its
``refractory_period_end`` in integers. A test compares them where its arithmetic is
exact; there is no integer twin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .connections import Connection, Conv2d, Dense, SumPool2d
from .errors import NetworkError, naming_layer
from .limits import (
    ACCUMULATOR_LIMIT,
    ACTIVATION_SHIFT,
    DELAY_RANGE,
    INPUT_BITS_RANGE,
    MAX_CELLS,
    MAX_IN_FLIGHT,
    MAX_LAYERS,
    MAX_PROJECTIONS,
    Shape,
    cells_of,
    check_range,
    frozen_array,
)
from .neurons import Lif

__all__ = ["INPUT", "Connection", "Conv2d", "Dense", "Layer", "Lif", "Network", "Projection", "Shape", "SumPool2d"]

INPUT = "input"  # the source that is no layer


@dataclass(frozen=True, eq=False)
class Projection:
    """A connection with where it comes from and how late it arrives.

    Parameters
    ----------
    connection : Connection
    source : str
        Name of the layer whose spikes it carries, or ``input``; "" = the layer before, of the first layer the input.
    delays : int or array of int
        Axonal delay in steps on top of the one step that every connection takes; 0..62.
        One for all, or one a source cell (c, y, x). Kept as uint8.
    """

    connection: Connection
    source: str = ""
    delays: Any = 0

    def __post_init__(self) -> None:
        if not isinstance(self.connection, Connection):
            raise NetworkError(f"{self.connection!r} is not a connection; give a Dense, a Conv2d or a SumPool2d")
        if not isinstance(self.source, str):
            raise NetworkError(f"source is {self.source!r}; give the name of a layer, '{INPUT}', or ''")
        delays = np.asarray(self.delays)
        if delays.ndim not in (0, 3):
            raise NetworkError(f"delays have shape {delays.shape}; give a scalar or one a source cell (c, y, x)")
        object.__setattr__(self, "delays", frozen_array("delays", delays, delays.ndim, np.uint8, DELAY_RANGE))

    @property
    def max_delay(self) -> int:
        """Longest axonal delay in steps."""
        return int(self.delays.max())

    def source_delays(self, shape: Shape) -> NDArray[np.uint8]:
        """Return the delay of every cell of a source of `shape`."""
        if self.delays.ndim and self.delays.shape != shape:
            raise NetworkError(f"delays have shape {self.delays.shape} for a source of {shape}")
        return np.broadcast_to(self.delays, shape)

    def bounds(self, payload: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return per output channel the least and the greatest activation, sources carrying up to `payload`."""
        lowest, highest = (total * payload for total in self.connection.extremes())
        exponent = self.connection.weight_exp
        if exponent >= 0:
            return lowest << exponent, highest << exponent
        # each delay is floored by itself, which costs at most 1 each
        floors = np.unique(self.delays).size - 1
        return (lowest >> -exponent) - np.where(lowest < 0, floors, 0), highest >> -exponent


@dataclass(frozen=True, eq=False, init=False)
class Layer:
    """A named population with what feeds it.

    Parameters
    ----------
    name : str
        Letters, digits and underscores.
    projections : Connection, Projection or sequence of Projection
        A connection alone comes from the layer before, without delay.
    neuron : Lif
    """

    name: str
    projections: tuple[Projection, ...]
    neuron: Lif

    def __init__(self, name: str, projections: Connection | Projection | Sequence[Projection], neuron: Lif) -> None:
        if not isinstance(name, str) or not name or not name.replace("_", "").isalnum():
            raise NetworkError(f"layer name {name!r} must be letters, digits and underscores")
        if isinstance(projections, Projection):
            projections = (projections,)
        elif not isinstance(projections, (list, tuple)):
            projections = (Projection(projections),)  # type: ignore[arg-type]  # refused there if it is none
        if not 1 <= len(projections) <= MAX_PROJECTIONS:
            raise NetworkError(f"layer '{name}' has {len(projections)} projections, outside 1..{MAX_PROJECTIONS}")
        if not all(isinstance(each, Projection) for each in projections):
            raise NetworkError(f"layer '{name}': several connections are given as Projection objects")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "projections", tuple(projections))
        object.__setattr__(self, "neuron", neuron)

    @property
    def connection(self) -> Connection:
        """The one connection of a layer that has one; `NetworkError` where there are several."""
        if len(self.projections) != 1:
            raise NetworkError(f"layer '{self.name}' has {len(self.projections)} projections; ask for each")
        return self.projections[0].connection


@dataclass(frozen=True, eq=False)
class Network:
    """Layers over a (c, y, x) input.

    Parameters
    ----------
    layers : sequence of Layer
        In order of the flow; the last population has one neuron a class. Every layer needs a
        projection from the input or from a layer before it, which gives it its shape.
    input_shape : (int, int, int)
        Channels, height, width of the input; channel 0 is OFF, 1 is ON.
    input_bits : int
        0 = binary input; else the width of the unsigned payload that an input cell carries, up to 8.

    Attributes
    ----------
    shapes : tuple of (int, int, int)
        Of the populations, in the order of the layers.
    sources : tuple of tuple of int
        Per layer and projection the index of the source layer, -1 = the input.
    slots : tuple of int
        Per layer how many steps ahead input is in flight: 1 + the longest delay of its projections.

    Raises
    ------
    NetworkError
        When a register, a shape or the accumulator bound is broken. The text
        names the layer, the value, the limit and the remedy.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    input_bits: int = 0
    shapes: tuple[Shape, ...] = field(init=False)
    sources: tuple[tuple[int, ...], ...] = field(init=False)
    slots: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        shape = tuple(self.input_shape)
        if len(shape) != 3:
            raise NetworkError(f"input_shape is {shape}; give (channels, height, width)")
        checked = tuple(check_range("input_shape", number, (1, MAX_CELLS)) for number in shape)
        object.__setattr__(self, "input_shape", checked)
        object.__setattr__(self, "input_bits", check_range("input_bits", self.input_bits, INPUT_BITS_RANGE))
        self._check_cells("input", self.input_shape)
        if not self.layers:
            raise NetworkError("the network has no layers; give at least one")
        if len(self.layers) > MAX_LAYERS:
            raise NetworkError(f"the network has {len(self.layers)} layers, the limit is {MAX_LAYERS}")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise NetworkError(f"layer names {names} are not unique; rename the double ones")
        object.__setattr__(self, "slots", tuple(1 + max(p.max_delay for p in each.projections) for each in self.layers))
        self._in_each_layer("sources", lambda index: self._resolve(index, names))
        self._in_each_layer("shapes", self._forward_shape)
        in_flight = sum(cells_of(shape) * slots for shape, slots in zip(self.shapes, self.slots, strict=True))
        if in_flight > MAX_IN_FLIGHT:
            raise NetworkError(
                f"the populations keep {in_flight} values in flight (cells x (1 + longest delay)), "
                f"the limit is {MAX_IN_FLIGHT}; use shorter delays or smaller layers"
            )
        for index, layer in enumerate(self.layers):
            with naming_layer(layer.name):
                self._check_layer(index)

    def _in_each_layer(self, attribute: str, find: Callable[[int], Any]) -> None:
        """Set a tuple attribute layer by layer, so that what was found for those before can be looked at."""
        object.__setattr__(self, attribute, ())
        for index, layer in enumerate(self.layers):
            with naming_layer(layer.name):
                object.__setattr__(self, attribute, (*getattr(self, attribute), find(index)))

    def _resolve(self, index: int, names: list[str]) -> tuple[int, ...]:
        """Return the index of the source of each projection of a layer."""
        resolved = []
        for projection in self.layers[index].projections:
            if projection.source == "":
                resolved.append(index - 1)
            elif projection.source == INPUT:
                if INPUT in names:
                    raise NetworkError(f"source '{INPUT}' is ambiguous: a layer has this name; rename the layer")
                resolved.append(-1)
            elif projection.source in names:
                resolved.append(names.index(projection.source))
            else:
                raise NetworkError(f"unknown source '{projection.source}'; known are {INPUT}, {', '.join(names)}")
        if min(resolved) >= index:
            raise NetworkError("fed by itself or later layers only; add a projection from the input or an earlier one")
        return tuple(resolved)

    def source_shape(self, source: int) -> Shape:
        """Return the shape of a layer by its index, or of the input for -1."""
        return self.shapes[source] if source >= 0 else self.input_shape

    def _forward_shape(self, index: int) -> Shape:
        """Return the shape that the first projection from the input or an earlier layer gives."""
        layer = self.layers[index]
        forward = (
            projection.connection.output_shape(self.source_shape(source))
            for projection, source in zip(layer.projections, self.sources[index], strict=True)
            if source < index
        )
        shape = next(forward)
        self._check_cells("the population", shape)
        layer.neuron.bias_mantissas(shape)
        return shape

    def _check_layer(self, index: int) -> None:
        """Check that all projections fit the population, and that their sum fits the accumulator."""
        shape, layer = self.shapes[index], self.layers[index]
        lowest, highest = np.zeros((shape[0], 2), np.int64).T
        for projection, source in zip(layer.projections, self.sources[index], strict=True):
            given = projection.connection.output_shape(self.source_shape(source))
            if given != shape:
                name = self.layers[source].name if source >= 0 else INPUT
                raise NetworkError(f"the projection from '{name}' gives {given}, the population is {shape}")
            projection.source_delays(self.source_shape(source))
            low, high = projection.bounds(self.largest_payload if source < 0 else 1)
            lowest, highest = lowest + low, highest + high
        worst = max(-int(lowest.min()), int(highest.max())) << ACTIVATION_SHIFT
        if worst > ACCUMULATOR_LIMIT:
            raise NetworkError(
                "the worst-case accumulator sum of same-sign weights << weight_exp << 6 "
                f"of one neuron is {worst}, {worst - ACCUMULATOR_LIMIT} above 2^24 = {ACCUMULATOR_LIMIT}; "
                "lower the weights, weight_exp, input_bits or the fan-in"
            )

    @staticmethod
    def _check_cells(what: str, shape: Shape) -> None:
        cells = cells_of(shape)
        if cells > MAX_CELLS:
            raise NetworkError(
                f"{what}: shape {shape} has {cells} cells, the limit is {MAX_CELLS}; use a larger stride"
            )

    @property
    def largest_payload(self) -> int:
        """The greatest value that an input cell can carry; 1 for binary input."""
        return max((1 << self.input_bits) - 1, 1)

    @property
    def depth(self) -> int:
        """Steps from the input to the last layer along the slowest way without recurrence: 1 + delay a projection."""
        steps: list[int] = []
        for index, layer in enumerate(self.layers):
            steps.append(
                max(
                    1 + projection.max_delay + (steps[source] if source >= 0 else 0)
                    for projection, source in zip(layer.projections, self.sources[index], strict=True)
                    if source < index
                )
            )
        return steps[-1]

    @property
    def classes(self) -> int:
        """Number of output neurons."""
        return int(np.prod(self.shapes[-1]))

    def layer_index(self, name: str) -> int:
        """Return the position of the layer called `name`, or raise `NetworkError`."""
        for index, layer in enumerate(self.layers):
            if layer.name == name:
                return index
        raise NetworkError(f"no layer '{name}'; the layers are {', '.join(layer.name for layer in self.layers)}")

    def topology(self) -> dict[str, Any]:
        """Return what decides whether a state fits: input shape, names, kinds, shapes and what is kept in between.

        Keys of what a plain chain of binary layers has no use for are left out, so that its digest never changes.
        """
        topology: dict[str, Any] = {"input_shape": list(self.input_shape), "layers": []}
        if self.input_bits:
            topology["input_bits"] = self.input_bits
        for index, (layer, shape) in enumerate(zip(self.layers, self.shapes, strict=True)):
            entry: dict[str, Any] = {"name": layer.name, "neuron": layer.neuron.kind, "shape": list(shape)}
            if self.sources[index] == (index - 1,):
                entry["connection"] = layer.connection.kind
            else:
                entry["projections"] = [
                    {
                        "connection": projection.connection.kind,
                        "source": self.layers[source].name if source >= 0 else "",
                    }
                    for projection, source in zip(layer.projections, self.sources[index], strict=True)
                ]
            if self.slots[index] > 1:
                entry["slots"] = self.slots[index]
            if layer.neuron.refractory:
                entry["refractory"] = layer.neuron.refractory
            topology["layers"].append(entry)
        return topology

    def topology_digest(self) -> str:
        """Return the SHA-256 of the topology, in hexadecimal."""
        text = json.dumps(self.topology(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()
