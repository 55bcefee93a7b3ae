# SPDX-License-Identifier: Apache-2.0
"""A network as Lava processes that take windows, step by step, and keep their state in between.

A population is an ``LIF``, fed by one process a projection: Lava adds up what
several of them send. Each keeps its own activations in flight; we keep their sum a
population, as it is all that the next steps depend on. So a state is read as the
sum, and is written into the projection that looks furthest ahead, the others empty.

Runs in the worker process; refuses to know how it got there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lava_projection import LavaProjection, from_lava, to_lava
from .limits import cells_of
from .network import Network
from .state import LayerState

__all__ = ["LavaNetwork"]

CHUNK_STEPS = 16  # steps a run; the channels hold as many, so that nobody waits for anybody


@dataclass(eq=False)
class _Population:
    """The processes of one layer."""

    slots: int
    projections: list[LavaProjection]
    lif: Any
    extractor: Any

    def in_flight(self, state: LayerState) -> list[NDArray[np.int32]]:
        """Return what each projection holds when a state is written: one of them all, the others nothing."""
        whole = state.a_buff.reshape(self.slots, *state.u.shape)
        furthest = max(self.projections, key=lambda projection: projection.slots)
        return [whole if each is furthest else np.zeros_like(whole) for each in self.projections]

    def read(self) -> LayerState:
        """Return the state of the running processes."""
        u, v = (from_lava(np.asarray(variable.get())).astype(np.int32) for variable in (self.lif.u, self.lif.v))
        whole = np.zeros((self.slots, *u.shape), np.int32)
        for projection in self.projections:
            whole[: projection.slots] += projection.read()
        return LayerState(u, v, whole if self.slots > 1 else whole[0])


class LavaNetwork:
    """A running Lava network that takes windows and keeps its state in between.

    Parameters
    ----------
    lava : SimpleNamespace
        The names that `neuro_ros.snn.lava_shim.require_lava` returns.
    network : Network
        Without refused layers.
    state : tuple of LayerState
        Where u, v and a_buff start.
    registers : tuple of dict
        du, dv, vth, bias_exp per layer. Lava takes them at the start only.
    hardware : bool
        Compile for a Loihi 2 board instead of the CPU. Never executed by us: no board was at hand.
    on_start : callable
        Given the processes that Lava started, as soon as they are there.
    """

    def __init__(
        self,
        lava: SimpleNamespace,
        network: Network,
        state: tuple[LayerState, ...],
        registers: tuple[dict[str, int], ...],
        hardware: bool,
        on_start: Callable[[list[Any]], None],
    ) -> None:
        self._lava = lava
        self._network = network
        self._initial = state
        self._started = False
        shape = network.input_shape[::-1]
        self._injector = lava.Injector(shape=shape, buffer_size=CHUNK_STEPS)
        self._populations = [self._population(index, state[index], registers[index]) for index in range(len(state))]
        for index, population in enumerate(self._populations):  # all are there now, as recurrence needs
            for projection, source in zip(population.projections, network.sources[index], strict=True):
                spikes = self._populations[source].lif.s_out if source >= 0 else self._injector.out_port
                spikes.reshape(projection.input_shape).connect(projection.process.s_in)
                projection.process.a_out.reshape(population.lif.a_in.shape).connect(population.lif.a_in)
        # Injector and extractor have two untagged models each, which a configuration with a tag cannot choose from. For
        # the simulation all models are named: Lava looks for one by executing the modules around it, for each process.
        chosen: dict[Any, Any] = {lava.Injector: lava.IntegerInjectorModel, lava.Extractor: lava.PyLoihiExtractorModel}
        if not hardware:
            chosen |= {process: self._model_of(process) for process in self._processes()}
        configuration = lava.Loihi2HwCfg if hardware else lava.Loihi2SimCfg
        self._last = self._populations[-1].lif
        # compiled and started now, which takes seconds, so that the first window is as quick as any other
        self._last.create_runtime(run_cfg=configuration(select_tag="fixed_pt", exception_proc_model_map=chosen))
        on_start(list(self._last.runtime._messaging_infrastructure.actors))

    def _processes(self) -> list[Any]:
        own = [self._injector]
        for population in self._populations:
            own += [population.lif, population.extractor, *(each.process for each in population.projections)]
        return own

    def _model_of(self, process: Any) -> Any:
        lava = self._lava
        models = {
            lava.Conv: lava.PyConvModelFixed,
            lava.DelayDense: lava.PyDelayDenseModelBitAcc,
            lava.DelaySparse: lava.PyDelaySparseModelBitAcc,
            lava.Dense: lava.PyDenseModelBitAcc,
            lava.Extractor: lava.PyLoihiExtractorModel,
            lava.Injector: lava.IntegerInjectorModel,
            lava.LIF: lava.PyLifModelBitAcc,
            lava.Sparse: lava.PySparseModelBitAcc,
        }
        return models[type(process)]

    def _population(self, index: int, state: LayerState, registers: dict[str, int]) -> _Population:
        lava, network = self._lava, self._network
        layer, shape = network.layers[index], network.shapes[index]
        neuron = replace(layer.neuron, **registers)
        lif = lava.LIF(
            shape=shape[::-1],
            du=neuron.du,
            dv=neuron.dv,
            vth=neuron.vth,
            u=to_lava(state.u),
            v=to_lava(state.v),
            bias_mant=to_lava(neuron.bias_mantissas(shape)).astype(np.int32),
            bias_exp=neuron.bias_exp,
        )
        extractor = lava.Extractor(shape=lif.s_out.shape, buffer_size=CHUNK_STEPS)
        lif.s_out.connect(extractor.in_port)
        projections = [
            LavaProjection(
                lava, projection, network.source_shape(source), shape, network.input_bits if source < 0 else 0
            )
            for projection, source in zip(layer.projections, network.sources[index], strict=True)
        ]
        population = _Population(network.slots[index], projections, lif, extractor)
        for projection, in_flight in zip(projections, population.in_flight(state), strict=True):
            projection.start_with(in_flight)
        return population

    def run(self, indices: NDArray[np.uint32], bins: int, values: NDArray[np.uint8]) -> list[list[NDArray[np.uint32]]]:
        """Run `bins` steps with the payloads `values`; return ascending flat (c, y, x) indices a step and layer."""
        shape = self._network.input_shape
        cells = cells_of(shape)
        bounds = np.searchsorted(indices, np.arange(bins + 1, dtype=np.int64) * cells)
        steps: list[list[NDArray[np.uint32]]] = []
        for start in range(0, bins, CHUNK_STEPS):
            stop = min(start + CHUNK_STEPS, bins)
            condition = self._lava.RunSteps(num_steps=stop - start, blocking=False)
            self._last.run(condition=condition)
            self._started = True
            for step in range(start, stop):
                own = slice(bounds[step], bounds[step + 1])
                frame = np.zeros(cells)
                frame[indices[own] - np.uint32(step * cells)] = values[own]
                self._injector.send(to_lava(frame.reshape(shape)))
            steps.extend(self._receive() for _ in range(start, stop))
            self._last.wait()
        return steps

    def _receive(self) -> list[NDArray[np.uint32]]:
        return [
            np.flatnonzero(from_lava(population.extractor.receive())).astype(np.uint32)
            for population in self._populations
        ]

    def state(self) -> tuple[LayerState, ...]:
        """Read u, v and a_buff out of the running processes."""
        if not self._started:
            return self._initial
        return tuple(population.read() for population in self._populations)

    def write(self, state: tuple[LayerState, ...]) -> bool:
        """Write u, v and a_buff into the running processes; False when they run no step yet and take nothing."""
        if not self._started:
            return False
        for population, own in zip(self._populations, state, strict=True):
            population.lif.u.set(to_lava(own.u))
            population.lif.v.set(to_lava(own.v))
            for projection, in_flight in zip(population.projections, population.in_flight(own), strict=True):
                projection.write(in_flight)
        return True

    def stop(self) -> None:
        """End the processes of the network; it cannot run again."""
        # Lava only ends processes that have run a step; those that have not wait for commands all the same
        self._last.runtime._is_started = True
        self._last.stop()
