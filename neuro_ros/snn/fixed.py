# SPDX-License-Identifier: Apache-2.0
"""The `fixed` back end: the integer network on this CPU, event-driven, one thread.

Cost follows the synapses that carry a spike and the blocks of neurons that are not
at rest; see `neuro_ros.snn._kernel` for how. The arithmetic is that of
`neuro_ros.snn.network`, exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _kernel
from .engine import WindowResult, check_indices, check_registers
from .errors import EngineError, UnsupportedLayerError
from .features import CHAIN, refusals
from .model import Model
from .network import Conv2d, Dense, Layer, Shape
from .state import LayerState, NetworkState, model_registers

__all__ = ["FixedEngine"]


def _magic(divisor: int) -> int:
    return (1 << _kernel.MAGIC_SHIFT) // divisor + 1


def _cells(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _dense_table(connection: Dense, shape_in: Shape) -> NDArray[np.int16]:
    """Return the weights as (source in (y, x, c) order, target)."""
    n_out = connection.weight.shape[0]
    table = connection.weight.reshape(n_out, *shape_in).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(table).ravel()


def _conv_table(connection: Conv2d) -> NDArray[np.int16]:
    """Return the kernels as (c_in, phase of x, k_y, tap, c_out), taps in the order of ascending target columns.

    A source at padded column x = q * stride + phase reaches target q - m through the kernel column
    phase + m * stride. Taps beyond the kernel's width stay zero.
    """
    c_out, c_in, k_y, k_x = connection.weight.shape
    stride = connection.stride[1]
    taps = -(-k_x // stride)
    table = np.zeros((c_in, stride, k_y, taps, c_out), np.int16)
    for phase in range(stride):
        for m in range(taps):
            column = phase + m * stride
            if column < k_x:
                table[:, phase, :, taps - 1 - m, :] = connection.weight[:, :, :, column].transpose(1, 2, 0)
    return table.ravel()


class FixedEngine:
    """Run a model on the CPU; see `neuro_ros.snn.engine.Engine` for the contract.

    Parameters
    ----------
    model : Model
        Compiled code is loaded or made here, so that no window pays for it.

    Notes
    -----
    Not thread-safe: one engine belongs to one thread at a time. The GIL is
    released while steps run.
    """

    backend = "fixed"

    def __init__(self, model: Model) -> None:
        for refusal in refusals(model.network, self.backend, CHAIN | {"one_sign"}):
            raise refusal
        self.model = model
        network = model.network
        shapes = network.shapes
        self._registers = model_registers(network)
        self._blocks = [-(-_cells(shape) // _kernel.BLOCK) for shape in shapes]
        self._offsets = np.concatenate([[0], np.cumsum(self._blocks)])[:-1] * _kernel.BLOCK
        total = sum(self._blocks) * _kernel.BLOCK
        self._u, self._v, self._a, self._bias = (np.zeros(total, np.int32) for _ in range(4))
        self._awake = np.zeros(sum(self._blocks), np.uint8)
        self._biased = np.zeros_like(self._awake)
        self._fired = np.zeros(_kernel.BLOCK, np.uint8)
        self._fired_words = self._fired.view(np.uint64)
        self._inputs = np.zeros(_cells(network.input_shape), np.int32)
        self._spikes = np.zeros(total, np.int32)
        self._neuron_spikes = np.zeros(total, np.int64)
        self._rows = np.zeros((len(network.layers), len(_kernel.FIELDS)), np.int64)
        tables: list[NDArray[np.int16]] = []
        for index, layer in enumerate(network.layers):
            shape_in = shapes[index - 1] if index else network.input_shape
            self._describe(index, layer, shape_in, sum(table.size for table in tables))
            tables.append(self._table(layer, shape_in))
        self._weights = np.concatenate(tables)
        self._recorded = np.zeros(0, np.uint32)
        self._closed = False
        self._apply_registers()
        self._run(np.zeros(0, np.uint32), 0, False)  # compiles, or loads from the cache

    @staticmethod
    def _table(layer: Layer, shape_in: Shape) -> NDArray[np.int16]:
        connection = layer.connection
        if isinstance(connection, Dense):
            table = _dense_table(connection, shape_in)
        elif isinstance(connection, Conv2d):
            table = _conv_table(connection)
        else:
            raise UnsupportedLayerError("fixed", layer.name, f"connection kind {connection.kind!r} is unknown to it")
        # -256 << 7 is the least int16 and 254 << 7 below the largest: the shift never loses a bit
        return table << max(connection.weight_exp, 0)

    def _describe(self, index: int, layer: Layer, shape_in: Shape, weight_offset: int) -> None:
        channels, height, width = self.model.network.shapes[index]
        connection = layer.connection
        values = {
            "kind": _kernel.DENSE,
            "neurons": channels * height * width,
            "state_offset": self._offsets[index],
            "blocks": self._blocks[index],
            "block_offset": self._offsets[index] // _kernel.BLOCK,
            "channels": channels,
            "plane": height * width,
            "weight_offset": weight_offset,
            "input_shift": max(-connection.weight_exp, 0),
            "c_in": shape_in[0],
            "h_in": shape_in[1],
            "w_in": shape_in[2],
            "h_out": height,
            "w_out": width,
            "c_in_magic": _magic(shape_in[0]),
            "w_in_magic": _magic(shape_in[2]),
            "out_magic": _magic(channels),
        }
        if isinstance(connection, Conv2d):
            k_y, k_x = connection.weight.shape[2:]
            values |= {
                "kind": _kernel.CONV,
                "k_y": k_y,
                "k_x": k_x,
                "stride_y": connection.stride[0],
                "stride_x": connection.stride[1],
                "pad_y": connection.padding[0],
                "pad_x": connection.padding[1],
                "taps_x": -(-k_x // connection.stride[1]),
                "stride_y_magic": _magic(connection.stride[0]),
                "stride_x_magic": _magic(connection.stride[1]),
            }
        for name, value in values.items():
            self._rows[index, _kernel.FIELDS.index(name)] = value

    def _apply_registers(self) -> None:
        """Write the registers in force into the description; blocks with a bias never sleep."""
        for index, (layer, shape) in enumerate(zip(self.model.network.layers, self.model.network.shapes, strict=True)):
            neuron = replace(layer.neuron, **self._registers[index])
            for name, value in (
                ("u_factor", 4096 - (neuron.du + 1)),
                ("v_factor", 4096 - neuron.dv),
                ("threshold", neuron.vth << 6),
            ):
                self._rows[index, _kernel.FIELDS.index(name)] = value
            self._flat(self._bias, index)[:] = neuron.bias(shape).transpose(1, 2, 0).ravel()
        self._biased[:] = self._bias.reshape(-1, _kernel.BLOCK).any(axis=1)
        self._awake |= self._biased

    def _flat(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        start = self._offsets[index]
        return array[start : start + _cells(self.model.network.shapes[index])]

    def _canonical(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        channels, height, width = self.model.network.shapes[index]
        return self._flat(array, index).reshape(height, width, channels).transpose(2, 0, 1).copy()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed; create another one")

    def run_window(self, indices: NDArray[np.uint32], bins: int, record: bool = False) -> WindowResult:
        """Run `bins` steps on the ascending flat (bin, c, y, x) cells `indices`.

        Raises
        ------
        EngineError
            When the engine is closed, or an index is out of range or order.
        """
        self._check_open()
        return self._run(check_indices(indices, bins, self.model.cells), int(bins), record)

    def _run(self, indices: NDArray[np.uint32], bins: int, record: bool) -> WindowResult:
        network = self.model.network
        layers = len(network.layers)
        layer_spikes = np.zeros(layers, np.int64)
        operations = np.zeros(layers, np.int64)
        output = np.zeros(network.classes, np.int32)
        counts = np.zeros((bins if record else 0, layers), np.int64)
        if record and self._recorded.size < bins * self._u.size:
            self._recorded = np.zeros(bins * self._u.size, np.uint32)
        channels, height, width = network.input_shape
        _kernel.run_steps(
            self._rows,
            self._u,
            self._v,
            self._a,
            self._bias,
            self._biased,
            self._awake,
            self._weights,
            indices,
            bins,
            channels,
            height * width,
            self._fired,
            self._fired_words,
            self._inputs,
            self._spikes,
            self._neuron_spikes,
            layer_spikes,
            operations,
            output,
            record,
            self._recorded,
            counts,
        )
        if network.shapes[-1][0] != network.classes:  # an output with planes counts in (y, x, c) order
            channels, height, width = network.shapes[-1]
            output = np.ascontiguousarray(output.reshape(height, width, channels).transpose(2, 0, 1)).ravel()
        steps = self._split(counts) if record else None
        return WindowResult(output, layer_spikes, operations, int(indices.size), bins, steps)

    def _split(self, counts: NDArray[np.int64]) -> list[list[NDArray[np.uint32]]]:
        """Cut the record into steps and layers; the kernel wrote the layers of a step from last to first."""
        steps = []
        position = 0
        for step_counts in counts:
            layers: list[NDArray[np.uint32]] = []
            for count in step_counts[::-1]:
                layers.append(np.sort(self._recorded[position : position + count]))
                position += int(count)
            steps.append(layers[::-1])
        return steps

    def state(self) -> NetworkState:
        """Return a copy of u, v and a_buff, and of the registers in force."""
        self._check_open()
        layers = []
        for index, layer in enumerate(self.model.network.layers):
            u, v, a = (self._canonical(array, index) for array in (self._u, self._v, self._a))
            layers.append(LayerState(u, v, a >> max(-layer.connection.weight_exp, 0)))
        return NetworkState.of(self.model, tuple(layers), tuple(dict(registers) for registers in self._registers))

    def set_state(self, state: NetworkState) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            When it does not belong to this model; nothing changes then.
        """
        self._check_open()
        state.check(self.model)
        for index, (layer, layer_state) in enumerate(zip(self.model.network.layers, state.layers, strict=True)):
            # a negative weight_exp shifts the sum when it is read; shifted back, it gives the same a_buff
            raw = layer_state.a_buff << max(-layer.connection.weight_exp, 0)
            for own, given in ((self._u, layer_state.u), (self._v, layer_state.v), (self._a, raw)):
                self._flat(own, index)[:] = given.transpose(1, 2, 0).ravel()
        self._registers = [dict(registers) for registers in state.registers]
        self._awake[:] = 1  # a block that is at rest falls asleep again in its next step
        self._apply_registers()

    def reset(self) -> None:
        """Put u, v and a_buff to zero; registers stay."""
        self._check_open()
        for array in (self._u, self._v, self._a):
            array.fill(0)
        self._awake[:] = self._biased

    def set_registers(self, layer: str, **registers: int) -> None:
        """Change du, dv, vth or bias_exp of one layer from the next step on.

        Raises
        ------
        NetworkError
            When the layer is unknown or a value leaves its register; nothing changes then.
        """
        self._check_open()
        index = self.model.network.layer_index(layer)
        changed = check_registers(self._registers[index], registers)
        replace(self.model.network.layers[index].neuron, **changed)
        self._registers[index] = changed
        self._apply_registers()

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron, (c, h, w)."""
        return [self._canonical(self._neuron_spikes, index) for index in range(len(self.model.network.layers))]

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""
        self._neuron_spikes.fill(0)

    def close(self) -> None:
        """Forbid further use; closing twice is fine."""
        self._closed = True
