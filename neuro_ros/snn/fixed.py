# SPDX-License-Identifier: Apache-2.0
"""The `fixed` back end: the integer network on this CPU, event-driven, one thread.

Cost follows the synapses that carry a spike and the blocks of neurons that are not
at rest; see `neuro_ros.snn._kernel` for how. The arithmetic is that of
`neuro_ros.snn.network`, exactly, for everything that it describes.

With ``constant_time`` the work does not depend on the spikes, so that who measures
the time or the power of a step learns nothing about the scene: every neuron
advances and every synapse adds its weight times 0 or 1. What it costs, and how far
the correlation falls, stands in ``neuro_ros bench engine``. Give the input as a
bitmap then: the length of a list of cells tells how many there are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _kernel
from ._lanes import BLOCK
from ._program import Program
from .engine import WindowResult, check_bins, check_indices, check_registers, check_values
from .errors import EngineError
from .model import Model
from .state import LayerState, NetworkState, model_registers

__all__ = ["FixedEngine"]

_NO_INDICES = np.zeros(0, np.uint32)
_NO_VALUES = np.zeros(0, np.uint8)


def _behaved(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array that is read-only or not aligned, as views of messages are: another type to the compiler."""
    return array if array.flags.behaved else array.copy()


class FixedEngine:
    """Run a model on the CPU; see `neuro_ros.snn.engine.Engine` for the contract.

    Parameters
    ----------
    model : Model
        Compiled code is loaded or made here, so that no window pays for it.
    constant_time : bool
        Whether the work of a step is independent of the spikes; slower, with the same results.
    program : Program, optional
        Of the same network, from another engine: its tables are shared.

    Raises
    ------
    UnsupportedLayerError
        When a connection is of a kind that the kernel does not know.

    Notes
    -----
    Not thread-safe: one engine belongs to one thread at a time. The GIL is
    released while steps run.
    """

    backend = "fixed"

    def __init__(self, model: Model, constant_time: bool = False, program: Program | None = None) -> None:
        self.model = model
        self.constant_time = bool(constant_time)
        self.program = program if program is not None else Program(model.network)
        if self.program.network is not model.network:
            raise EngineError("the program belongs to another network; share it between engines of one model")
        self._registers = model_registers(model.network)
        self._state = self.program.new_state()
        self._age = 0
        self._classes, self._cells = model.network.classes, model.cells  # each a product of shapes
        self._one_row_a_layer = len(self.program.layer_of) == len(model.network.layers)
        self._recorded = np.zeros(0, np.uint32)
        self._closed = False
        self._apply_registers()
        self._run(_NO_INDICES, _NO_VALUES, _NO_VALUES, 0, False)  # compiles, or loads from the cache

    def _apply_registers(self, only: int | None = None) -> None:
        """Write the registers in force, of all layers or one, into the description; blocks with a bias never sleep."""
        network, state = self.model.network, self._state
        for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
            if only not in (None, index):
                continue
            neuron = replace(layer.neuron, **self._registers[index])
            self.program.set_fields(
                state.populations,
                index,
                u_factor=4096 - (neuron.du + 1),
                v_factor=4096 - neuron.dv,
                threshold=neuron.vth << 6,
            )
            self.program.flat(state.bias, index)[:] = self.program.numbered(neuron.bias(shape))
        state.biased[:] = state.bias.reshape(-1, BLOCK).any(axis=1)
        state.awake[: state.biased.size] |= state.biased

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed; create another one")

    def run_window(
        self,
        indices: NDArray[np.uint32],
        bins: int,
        record: bool = False,
        values: NDArray[np.uint8] | None = None,
    ) -> WindowResult:
        """Run `bins` steps on the ascending flat (bin, c, y, x) cells `indices` with their payloads `values`.

        Raises
        ------
        EngineError
            When the engine is closed, or an index or a value is out of range or order.
        """
        self._check_open()
        checked = check_indices(indices, bins, self._cells)
        # Without any, every cell carries 1, which is what a spike carries.
        payloads = _NO_VALUES if values is None else check_values(values, checked, self.model.network.input_bits)
        if not self.constant_time:
            return self._run(_behaved(checked), _behaved(payloads), _NO_VALUES, int(bins), record)
        frames = np.zeros(int(bins) * self._cells, np.uint8)
        frames[checked] = payloads if payloads.size else 1
        return self._run(_NO_INDICES, _NO_VALUES, frames, int(bins), record)

    def run_bitmap(self, bitmap: bytes | NDArray[np.uint8], bins: int, record: bool = False) -> WindowResult:
        """Run `bins` steps on a bitmap: one bit a cell in the order of indices, the most significant first.

        This is the form of the input that tells nothing by its size; messages hold it as ``BITMAP``.

        Raises
        ------
        EngineError
            When the engine is closed, or the bitmap has not the length of `bins` bins.
        """
        self._check_open()
        cells = check_bins(bins) * self._cells
        packed = np.frombuffer(bitmap, np.uint8)
        if packed.size != -(-cells // 8):
            raise EngineError(f"the bitmap has {packed.size} bytes, {bins} bins need {-(-cells // 8)}")
        frames = np.unpackbits(packed, count=cells)
        if self.constant_time:
            return self._run(_NO_INDICES, _NO_VALUES, frames, int(bins), record)
        return self._run(np.flatnonzero(frames).astype(np.uint32), _NO_VALUES, _NO_VALUES, int(bins), record)

    def _run(
        self,
        indices: NDArray[np.uint32],
        values: NDArray[np.uint8],
        frames: NDArray[np.uint8],
        bins: int,
        record: bool,
    ) -> WindowResult:
        network, program, state = self.model.network, self.program, self._state
        layers = len(network.layers)
        layer_spikes = np.zeros(layers, np.int64)
        operations = np.zeros(len(program.layer_of), np.int64)
        output = np.zeros(self._classes, np.int32)
        counts = np.zeros((bins if record else 0, layers), np.int64)
        if record and self._recorded.size < bins * state.u.size:
            self._recorded = np.zeros(bins * state.u.size, np.uint32)
        self._age = _kernel.run_steps(
            program.tables,
            state,
            indices,
            values,
            frames,
            bins,
            self._cells,
            values.size > 0,
            self.constant_time,
            self._age,
            layer_spikes,
            operations,
            output,
            record,
            self._recorded,
            counts,
        )
        if network.shapes[-1][0] != self._classes:  # an output with planes counts in (y, x, c) order
            output = program.canonical(output, layers - 1).ravel()
        if not self._one_row_a_layer:
            per_row, operations = operations, np.zeros(layers, np.int64)
            np.add.at(operations, program.layer_of, per_row)
        active = int(np.count_nonzero(frames)) if self.constant_time else int(indices.size)
        steps = self._split(counts) if record else None
        return WindowResult(output, layer_spikes, operations, active, bins, steps)

    def _split(self, counts: NDArray[np.int64]) -> list[list[NDArray[np.uint32]]]:
        """Cut the record into steps and layers, and put each into ascending order."""
        steps = []
        position = 0
        for step_counts in counts:
            layers: list[NDArray[np.uint32]] = []
            for count in step_counts:
                layers.append(np.sort(self._recorded[position : position + count]))
                position += int(count)
            steps.append(layers)
        return steps

    def state(self) -> NetworkState:
        """Return a copy of u, v, all that is in flight and the refractory counters, and of the registers in force."""
        self._check_open()
        program, state = self.program, self._state
        layers = []
        for index, layer in enumerate(self.model.network.layers):
            u, v = (program.canonical(program.flat(array, index), index) for array in (state.u, state.v))
            flight = np.roll(program.flat_input(state.a, index), -int(state.heads[index]), axis=0)
            a_buff = program.canonical(flight >> program.input_shift(index), index)
            resting = None
            if layer.neuron.refractory:
                resting = program.canonical(program.flat(state.resting, index), index)
            layers.append(LayerState(u, v, a_buff if len(a_buff) > 1 else a_buff[0], resting))
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
        self.reset()
        program, own = self.program, self._state
        for index, layer in enumerate(state.layers):
            program.flat(own.u, index)[:] = program.numbered(layer.u)
            program.flat(own.v, index)[:] = program.numbered(layer.v)
            # a negative weight_exp shifts the sum when it is read; shifted back, it gives the same a_buff
            program.flat_input(own.a, index)[:] = program.numbered(layer.a_buff) << program.input_shift(index)
            if layer.refractory is not None:
                program.flat(own.resting, index)[:] = program.numbered(layer.refractory)
        self._registers = [dict(registers) for registers in state.registers]
        own.awake[:] = 1  # a block that is at rest falls asleep again in its next step
        self._apply_registers()

    def reset(self) -> None:
        """Put u, v, all that is in flight and the refractory counters to zero; registers stay."""
        self._check_open()
        state = self._state
        for array in (state.u, state.v, state.a, state.resting, state.awake, state.heads):
            array.fill(0)
        state.awake[: state.biased.size] = state.biased

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
        self._apply_registers(index)

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron, (c, h, w)."""
        state, program = self._state, self.program
        state.counted[:] += state.recent
        state.recent.fill(0)
        self._age = 0
        layers = range(len(self.model.network.layers))
        return [program.canonical(program.flat(state.counted, index), index) for index in layers]

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""
        self._state.counted.fill(0)
        self._state.recent.fill(0)
        self._age = 0

    def lend_weights(self) -> FixedEngine:
        """Return an engine at rest, with the model's own registers, that shares the tables of this one."""
        self._check_open()
        return FixedEngine(self.model, self.constant_time, self.program)

    def close(self) -> None:
        """Forbid further use; closing twice is fine."""
        self._closed = True
