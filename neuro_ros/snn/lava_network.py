# SPDX-License-Identifier: Apache-2.0
"""A network as Lava processes, and the three places where Lava orders things differently.

Lava's shapes are (x, y, c); ours are (c, y, x). Its convolution is a true one
(it flips the kernel); ours correlates. Its fixed-point Conv applies neither
``weight_exp`` nor the even grid; so kernels are flipped, transposed and shifted
before they are given. Dense processes are told to be mixed-sign: left to itself
Lava clips an all-inhibitory matrix at -255, which is not on our grid.

Runs in the worker process; refuses to know how it got there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedLayerError
from .features import CHAIN, refusals
from .network import Conv2d, Dense, Network, Shape
from .state import LayerState

__all__ = ["LavaNetwork", "refused_layers"]

CHUNK_STEPS = 16  # steps a run; the channels hold as many, so that nobody waits for anybody
CONV_FIELD_LIMIT = 127  # Lava keeps stride, padding and kernel size in eight signed bits


def refused_layers(network: Network, backend: str) -> list[UnsupportedLayerError]:
    """Return a refusal for every layer that Lava's fixed-point processes cannot represent exactly."""
    refused = refusals(network, backend, CHAIN)
    named = {refusal.layer for refusal in refused}
    for layer in network.layers:
        if layer.name in named:
            continue
        connection = layer.connection
        reason = ""
        if isinstance(connection, Conv2d):
            largest = max(*connection.stride, *connection.padding, *connection.weight.shape[2:])
            if connection.weight_exp < 0:
                reason = (
                    f"weight_exp {connection.weight_exp} of a convolution is below 0, which Lava's fixed-point "
                    "Conv ignores; use 0..7"
                )
            elif largest > CONV_FIELD_LIMIT:
                reason = f"kernel, stride or padding {largest} is above {CONV_FIELD_LIMIT}, the width of Lava's field"
        if reason:
            refused.append(UnsupportedLayerError(backend, layer.name, reason))
    return refused


@dataclass(eq=False)
class _Population:
    """The processes of one layer and the shapes on both sides."""

    shape: Shape
    flat: bool  # Lava holds it as (n,) in our order, instead of (x, y, c)
    connection: Any
    buffer: str
    lif: Any
    extractor: Any

    def to_lava(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1) if self.flat else np.ascontiguousarray(array.transpose(2, 1, 0))

    def from_lava(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(self.shape) if self.flat else np.ascontiguousarray(array.transpose(2, 1, 0))


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
        first_dense = isinstance(network.layers[0].connection, Dense)
        c, h, w = network.input_shape
        self._input_flat = first_dense
        self._injector = lava.Injector(shape=(c * h * w,) if first_dense else (w, h, c), buffer_size=CHUNK_STEPS)
        self._populations: list[_Population] = []
        source, source_flat, shape = self._injector.out_port, first_dense, network.input_shape
        for layer, out_shape, layer_state, own in zip(network.layers, network.shapes, state, registers, strict=True):
            population = self._layer(layer, shape, out_shape, source, source_flat, layer_state, own)
            self._populations.append(population)
            source, source_flat, shape = population.lif.s_out, population.flat, out_shape
        # injector and extractor have two untagged models each, which a configuration with a tag cannot choose from
        chosen = {lava.Injector: lava.PyLoihiInjectorModel, lava.Extractor: lava.PyLoihiExtractorModel}
        configuration = lava.Loihi2HwCfg if hardware else lava.Loihi2SimCfg
        self._last = self._populations[-1].lif
        # compiled and started now, which takes seconds, so that the first window is as quick as any other
        self._last.create_runtime(run_cfg=configuration(select_tag="fixed_pt", exception_proc_model_map=chosen))
        on_start(list(self._last.runtime._messaging_infrastructure.actors))

    def _layer(
        self,
        layer: Any,
        shape: Shape,
        out_shape: Shape,
        source: Any,
        source_flat: bool,
        state: LayerState,
        registers: dict[str, int],
    ) -> _Population:
        lava, connection = self._lava, layer.connection
        flat = isinstance(connection, Dense)
        population = _Population(out_shape, flat, None, "a_buff" if flat else "a_buf", None, None)
        c, h, w = shape
        if isinstance(connection, Dense):
            weight = connection.weight.astype(np.int32)
            if not source_flat:  # columns in the (x, y, c) order of the population before
                weight = weight.reshape(-1, c, h, w).transpose(0, 3, 2, 1).reshape(weight.shape)
            process = lava.Dense(
                weights=weight, weight_exp=connection.weight_exp, num_weight_bits=8, sign_mode=lava.SignMode.MIXED
            )
            given = source if source_flat else source.reshape((c * h * w,))
        else:
            weight = connection.weight.astype(np.int32) << connection.weight_exp
            weight = np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))
            process = lava.Conv(
                weight=weight, input_shape=(w, h, c), padding=connection.padding[::-1], stride=connection.stride[::-1]
            )
            given = source.reshape((w, h, c)) if source_flat else source
        given.connect(process.s_in)
        getattr(process, population.buffer).init = population.to_lava(state.a_buff)
        neuron = replace(layer.neuron, **registers)
        size = int(np.prod(out_shape))
        lif = lava.LIF(
            shape=(size,) if flat else out_shape[::-1],
            du=neuron.du,
            dv=neuron.dv,
            vth=neuron.vth,
            u=population.to_lava(state.u),
            v=population.to_lava(state.v),
            bias_mant=population.to_lava(neuron.bias_mantissas(out_shape)).astype(np.int32),
            bias_exp=neuron.bias_exp,
        )
        process.a_out.connect(lif.a_in)
        extractor = lava.Extractor(shape=lif.s_out.shape, buffer_size=CHUNK_STEPS)
        lif.s_out.connect(extractor.in_port)
        population.connection, population.lif, population.extractor = process, lif, extractor
        return population

    def run(self, indices: NDArray[np.uint32], bins: int) -> list[list[NDArray[np.uint32]]]:
        """Run `bins` steps; return ascending flat (c, y, x) indices a step and layer."""
        shape = self._network.input_shape
        cells = int(np.prod(shape))
        bounds = np.searchsorted(indices, np.arange(bins + 1, dtype=np.int64) * cells)
        steps: list[list[NDArray[np.uint32]]] = []
        for start in range(0, bins, CHUNK_STEPS):
            stop = min(start + CHUNK_STEPS, bins)
            condition = self._lava.RunSteps(num_steps=stop - start, blocking=False)
            self._last.run(condition=condition)
            self._started = True
            for step in range(start, stop):
                frame = np.zeros(cells)
                frame[indices[bounds[step] : bounds[step + 1]] - np.uint32(step * cells)] = 1
                if not self._input_flat:
                    frame = np.ascontiguousarray(frame.reshape(shape).transpose(2, 1, 0))
                self._injector.send(frame)
            steps.extend(self._receive() for _ in range(start, stop))
            self._last.wait()
        return steps

    def _receive(self) -> list[NDArray[np.uint32]]:
        return [
            np.flatnonzero(population.from_lava(population.extractor.receive())).astype(np.uint32)
            for population in self._populations
        ]

    def state(self) -> tuple[LayerState, ...]:
        """Read u, v and a_buff out of the running processes."""
        if not self._started:
            return self._initial
        layers = []
        for population in self._populations:
            variables = (population.lif.u, population.lif.v, getattr(population.connection, population.buffer))
            layers.append(
                LayerState(
                    *(population.from_lava(np.asarray(variable.get())).astype(np.int32) for variable in variables)
                )
            )
        return tuple(layers)

    def stop(self) -> None:
        """End the processes of the network; it cannot run again."""
        # Lava only ends processes that have run a step; those that have not wait for commands all the same
        self._last.runtime._is_started = True
        self._last.stop()
