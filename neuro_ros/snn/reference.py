# SPDX-License-Identifier: Apache-2.0
"""The step of the network description in plain NumPy: slow, and right at a glance.

Everybody's oracle: tests of the engines, of Lava and of training compare with it.
It knows every kind of connection, works in 64 bit integers, so that nothing wraps
but where the equations say so, and keeps the arrays in the (c, y, x) order of the
description. It looks like any other engine, but is not registered as one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .connections import Connection, Conv2d, Dense, SumPool2d
from .engine import WindowResult, check_indices, check_registers, check_values
from .errors import EngineError, UnsupportedLayerError
from .limits import ACTIVATION_SHIFT, Shape
from .model import Model
from .network import Projection
from .state import LayerState, NetworkState, model_registers

__all__ = ["LayerStep", "ReferenceEngine", "accumulate"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerStep:
    """What one step did to one population, (c, h, w) each.

    Parameters
    ----------
    spikes : bool
    u, v : int64
        After the step.
    wrapped, saturated : int
        Neurons whose u wrapped and whose v was clipped in this step.
    """

    spikes: NDArray[np.bool_]
    u: Integers
    v: Integers
    wrapped: int
    saturated: int


def _decay(value: Integers, factor: int) -> Integers:
    """Multiply by factor / 4096 and round toward zero."""
    return np.sign(value) * ((np.abs(value) * factor) >> 12)


def _under(connection: Conv2d | SumPool2d, padded: Integers, plane: tuple[int, int], tap: tuple[int, ...]) -> Integers:
    """Return for every target of the plane the source that lies under one tap of the kernel: (c, h, w)."""
    dilation = getattr(connection, "dilation", (1, 1))
    rows, columns = (slice(tap[axis] * dilation[axis], None, connection.stride[axis]) for axis in (0, 1))
    return padded[:, rows, columns][:, : plane[0], : plane[1]]


def accumulate(connection: Connection, values: Integers) -> Integers:
    """Return the sum of weight x value for every target, before the shift.

    Parameters
    ----------
    connection : Connection
    values : (c, h, w) int64
        Payload of every source; 0 where it does not spike.

    Raises
    ------
    UnsupportedLayerError
        When the kind is unknown.
    """
    weight = np.asarray(connection.weight, np.int64)
    shape = values.shape
    channels, height, width = connection.output_shape((shape[0], shape[1], shape[2]))
    if isinstance(connection, Dense):
        return (weight @ values.ravel()).reshape(channels, height, width)
    if not isinstance(connection, (Conv2d, SumPool2d)):
        raise UnsupportedLayerError("reference", "?", f"connection kind {connection.kind!r} is unknown to it")
    padding = [(0, 0), *((each, each) for each in connection.padding)]
    padded = np.pad(values, padding)
    total = np.zeros((channels, height, width), np.int64)
    if isinstance(connection, SumPool2d):
        for tap in np.ndindex(*connection.kernel):
            total += int(weight) * _under(connection, padded, (height, width), tap)
        return total
    c_out, c_in = channels // connection.groups, weight.shape[1]
    for tap in np.ndindex(*weight.shape[2:]):
        under = _under(connection, padded, (height, width), tap)
        for group in range(connection.groups):
            own = slice(group * c_out, (group + 1) * c_out)
            sources = under[group * c_in : (group + 1) * c_in]
            total[own] += np.einsum("oc,chw->ohw", weight[own, :, tap[0], tap[1]], sources)
    return total


def _shift(total: Integers, exponent: int) -> Integers:
    return total << exponent if exponent >= 0 else total >> -exponent  # a right shift of int64 is a floor


class ReferenceEngine:
    """Run a model step by step; see `neuro_ros.snn.engine.Engine` for the contract.

    Parameters
    ----------
    model : Model
    """

    backend = "reference"

    def __init__(self, model: Model) -> None:
        self.model = model
        network = model.network
        self._fan_out = [
            [
                projection.connection.fan_out(network.source_shape(source))
                for projection, source in zip(layer.projections, sources, strict=True)
            ]
            for layer, sources in zip(network.layers, network.sources, strict=True)
        ]
        self._registers = model_registers(network)
        self._neuron_spikes = [np.zeros(shape, np.int64) for shape in network.shapes]
        self._operations = np.zeros(len(network.layers), np.int64)
        self._closed = False
        self.reset()

    def reset(self) -> None:
        """Put u, v, all that is in flight and the refractory counters to zero; registers stay."""
        network = self.model.network
        self._u = [np.zeros(shape, np.int64) for shape in network.shapes]
        self._v = [np.zeros(shape, np.int64) for shape in network.shapes]
        self._resting = [np.zeros(shape, np.int64) for shape in network.shapes]
        self._flight = [
            np.zeros((slots, *shape), np.int64) for slots, shape in zip(network.slots, network.shapes, strict=True)
        ]

    def _arrivals(self, projection: Projection, shape: Shape, values: Integers) -> list[tuple[int, Integers]]:
        """Return (delay, activation) for each delay that occurs: shifted by itself, as the hardware does."""
        connection, delays = projection.connection, projection.source_delays(shape)
        return [
            (int(d), _shift(accumulate(connection, np.where(delays == d, values, 0)), connection.weight_exp))
            for d in np.unique(projection.delays)
        ]

    def step(self, values: NDArray[Any]) -> list[LayerStep]:
        """Advance all populations by one step.

        Parameters
        ----------
        values : (c, h, w) integers
            Payload of every input cell: 0 = silent, 1 = a binary spike.

        Returns
        -------
        list of LayerStep
            One a layer. What they send arrives in a later step, so their order does not matter.
        """
        network = self.model.network
        done = [self._update(index) for index in range(len(network.layers))]
        sent = {-1: np.asarray(values, np.int64).reshape(network.input_shape)}
        sent |= {index: step.spikes.astype(np.int64) for index, step in enumerate(done)}
        for index, layer in enumerate(network.layers):
            flight = np.roll(self._flight[index], -1, axis=0)  # what was next has just been used
            flight[-1] = 0
            for k, (projection, source) in enumerate(zip(layer.projections, network.sources[index], strict=True)):
                for delay, activation in self._arrivals(projection, network.source_shape(source), sent[source]):
                    flight[delay] += activation
                self._operations[index] += int(self._fan_out[index][k][sent[source] != 0].sum())
            self._flight[index] = flight
        return done

    def _update(self, index: int) -> LayerStep:
        """Advance one population by the equations of the description, with what arrives now."""
        layer, shape = self.model.network.layers[index], self.model.network.shapes[index]
        neuron = replace(layer.neuron, **self._registers[index])
        u = _decay(self._u[index], 4096 - (neuron.du + 1)) + (self._flight[index][0] << ACTIVATION_SHIFT)
        above, below = u > 1 << 23, u <= -(1 << 23)
        u = u - (1 << 24) * above + (1 << 24) * below
        v = _decay(self._v[index], 4096 - neuron.dv) + u + neuron.bias(shape)
        limit = (1 << 23) - 1
        saturated = np.abs(v) > limit
        v = np.clip(v, -limit, limit)
        resting = self._resting[index] > 0
        v = np.where(resting, self._v[index], v)
        spikes = v > neuron.vth << ACTIVATION_SHIFT
        v = np.where(spikes, 0, v)
        self._resting[index] = np.where(spikes, neuron.refractory, np.maximum(self._resting[index] - 1, 0))
        self._u[index], self._v[index] = u, v
        self._neuron_spikes[index] += spikes
        return LayerStep(spikes, u, v, int((above | below).sum()), int((saturated & ~resting).sum()))

    def run_window(
        self, indices: NDArray[Any], bins: int, record: bool = False, values: NDArray[Any] | None = None
    ) -> WindowResult:
        """Run `bins` steps on the ascending flat (bin, c, y, x) cells `indices` with their payloads `values`.

        Raises
        ------
        EngineError
            When the engine is closed, or an index or a value is out of range or order.
        """
        self._check_open()
        network = self.model.network
        indices = check_indices(indices, bins, self.model.cells)
        frames = np.zeros(bins * self.model.cells, np.int64)
        frames[indices] = check_values(values, indices, network.input_bits)
        self._operations[:] = 0
        steps = [
            [np.flatnonzero(layer.spikes).astype(np.uint32) for layer in self.step(frame)]
            for frame in frames.reshape(bins, *network.input_shape)
        ]
        counts = np.zeros(network.classes, np.int32)
        for step in steps:
            counts[step[-1]] += 1
        layer_spikes = np.array([[layer.size for layer in step] for step in steps], np.int64).sum(axis=0)
        return WindowResult(
            counts, layer_spikes, self._operations.copy(), int(indices.size), int(bins), steps if record else None
        )

    def state(self) -> NetworkState:
        """Return a copy of the state."""
        self._check_open()
        layers = []
        for index, layer in enumerate(self.model.network.layers):
            flight = self._flight[index] if self.model.network.slots[index] > 1 else self._flight[index][0]
            resting = self._resting[index].astype(np.int32) if layer.neuron.refractory else None
            u, v, a_buff = (array.astype(np.int32) for array in (self._u[index], self._v[index], flight))
            layers.append(LayerState(u, v, a_buff, resting))
        return NetworkState.of(self.model, tuple(layers), tuple(dict(own) for own in self._registers))

    def set_state(self, state: NetworkState) -> None:
        """Continue from `state`; raise `StateError` and change nothing when it does not belong to this model."""
        self._check_open()
        state.check(self.model)
        self.reset()
        for index, layer in enumerate(state.layers):
            self._u[index][:], self._v[index][:] = layer.u, layer.v
            self._flight[index][:] = layer.a_buff
            if layer.refractory is not None:
                self._resting[index][:] = layer.refractory
        self._registers = [dict(own) for own in state.registers]

    def set_registers(self, layer: str, **registers: int) -> None:
        """Change du, dv, vth or bias_exp of one layer from the next step on; `NetworkError` when they do not fit."""
        self._check_open()
        index = self.model.network.layer_index(layer)
        changed = check_registers(self._registers[index], registers)
        replace(self.model.network.layers[index].neuron, **changed)
        self._registers[index] = changed

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron, (c, h, w)."""
        return [counts.copy() for counts in self._neuron_spikes]

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""
        for counts in self._neuron_spikes:
            counts.fill(0)

    def close(self) -> None:
        """Forbid further use; closing twice is fine."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed; create another one")
