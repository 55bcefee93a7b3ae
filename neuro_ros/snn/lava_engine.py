# SPDX-License-Identifier: Apache-2.0
"""The `lava` back end (Lava's Loihi 2 simulation, fixed point) and the `loihi` one.

Both drive the same worker process. Between windows the Lava network stays as it
is, so state carries over without being copied. Lava cannot change registers or
take a whole state while it runs: `set_state`, `set_registers` and `reset` build
the network anew in the worker with u, v and a_buff as start values.

`loihi` needs Intel's extension for the hardware and a board. Neither was at hand:
that path is written and refuses clearly here; it has never been executed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from . import lava_shim
from .engine import WindowResult, check_indices, check_registers
from .errors import BackendUnavailableError, EngineError
from .lava_network import refused_layers
from .lava_process import LavaProcess
from .model import Model
from .state import LayerState, NetworkState, model_registers

__all__ = ["LavaEngine", "create_lava", "create_loihi"]


def create_lava(model: Model, start_timeout_s: float = 60.0, window_timeout_s: float = 60.0) -> LavaEngine:
    """Build `model` for Lava's CPU simulation of Loihi 2; see `LavaEngine`."""
    return LavaEngine(model, "lava", start_timeout_s, window_timeout_s)


def create_loihi(model: Model, start_timeout_s: float = 120.0, window_timeout_s: float = 60.0) -> LavaEngine:
    """Build `model` for a Loihi 2 board; unexecuted, see `LavaEngine`."""
    return LavaEngine(model, "loihi", start_timeout_s, window_timeout_s)


class LavaEngine:
    """Run a model in Lava; see `neuro_ros.snn.engine.Engine` for the contract.

    Parameters
    ----------
    model : Model
    backend : str
        ``lava`` or ``loihi``.
    start_timeout_s : float
        For importing Lava in the worker.
    window_timeout_s : float
        For a window, a build, or reading the state; the worker is ended when it is exceeded.

    Raises
    ------
    UnsupportedLayerError
        When Lava cannot represent a layer exactly; nothing is started then.
    BackendUnavailableError
        When Lava, or for ``loihi`` Intel's extension, is missing.

    Notes
    -----
    After a crash or a time-out every call raises `EngineError` until `restart`.
    """

    def __init__(self, model: Model, backend: str, start_timeout_s: float, window_timeout_s: float) -> None:
        refused = refused_layers(model.network, backend)
        if refused:  # said first, also where Lava is missing
            raise refused[0]
        if not lava_shim.has_lava():
            raise BackendUnavailableError(
                f"back end '{backend}' needs Lava, which is not installed: {lava_shim.INSTALL_HINT}"
            )
        self.backend = backend
        self._start_timeout_s = start_timeout_s
        self._window_timeout_s = window_timeout_s
        self._process: LavaProcess | None = None
        self._closed = False
        self._adopt(model)
        self.restart()

    def _adopt(self, model: Model) -> None:
        refused = refused_layers(model.network, self.backend)
        if refused:
            raise refused[0]
        self.model = model
        shapes = (model.network.input_shape, *model.network.shapes)
        self._fan_out = [
            layer.connection.fan_out(shape).ravel()
            for layer, shape in zip(model.network.layers, shapes[:-1], strict=True)
        ]
        self._neuron_spikes = [np.zeros(shape, np.int64) for shape in model.network.shapes]
        self._registers = model_registers(model.network)

    def load(self, model: Model) -> None:
        """Run another model, at rest, in the same worker: spares the seconds that starting Lava takes.

        Raises
        ------
        UnsupportedLayerError
            When Lava cannot represent a layer exactly; the old model goes on then.
        """
        self._adopt(model)
        self._build(NetworkState.at_rest(model))

    def restart(self, state: NetworkState | None = None) -> None:
        """End the worker, if any, and start another from `state` (default: at rest, registers as they are).

        Raises
        ------
        StateError
            When the state belongs to another model.
        EngineError
            When the worker does not start.
        """
        if state is None:
            at_rest = NetworkState.at_rest(self.model)
            state = replace(at_rest, registers=tuple(dict(own) for own in self._registers))
        state.check(self.model)
        if self._process is not None:
            self._process.close(kill=not self._process.alive)
        self._closed = False
        try:
            self._process = LavaProcess(self._start_timeout_s)
            self._build(state)
        except BackendUnavailableError as error:
            needed = (
                "Lava"
                if self.backend == "lava"
                else "Intel's extension of Lava for Loihi hardware "
                f"({', '.join(lava_shim.LOIHI_EXTENSION)}) and a board"
            )
            raise BackendUnavailableError(f"back end '{self.backend}' needs {needed}: {error}") from None

    def _worker(self) -> LavaProcess:
        if self._closed or self._process is None:
            raise EngineError("the engine is closed; create another one or restart it")
        return self._process

    @property
    def worker_pid(self) -> int:
        """Process id of the worker."""
        return self._worker().pid

    def _build(self, state: NetworkState) -> None:
        self._worker().ask(
            ("build", self.model.network, state.layers, state.registers, self.backend == "loihi"),
            self._window_timeout_s,
        )
        self._registers = [dict(own) for own in state.registers]

    def run_window(self, indices: NDArray[np.uint32], bins: int, record: bool = False) -> WindowResult:
        """Run `bins` steps on the ascending flat (bin, c, y, x) cells `indices`.

        Raises
        ------
        EngineError
            When an index is out of range or order, or the worker died or did not answer in time.
        """
        indices = check_indices(indices, bins, self.model.cells)
        bins = int(bins)
        steps = self._worker().ask(("run", indices, bins), self._window_timeout_s)
        layers = len(self.model.network.layers)
        layer_spikes = np.zeros(layers, np.int64)
        operations = np.zeros(layers, np.int64)
        operations[0] = self._fan_out[0][indices % np.uint32(self.model.cells)].sum()
        spike_counts = np.zeros(self.model.network.classes, np.int32)
        for step in steps:
            for index, spikes in enumerate(step):
                layer_spikes[index] += spikes.size
                self._neuron_spikes[index].ravel()[spikes] += 1
                if index + 1 < layers:
                    operations[index + 1] += self._fan_out[index + 1][spikes].sum()
            spike_counts[step[-1]] += 1
        return WindowResult(spike_counts, layer_spikes, operations, int(indices.size), bins, steps if record else None)

    def state(self) -> NetworkState:
        """Read u, v and a_buff out of Lava, which sends them one value at a time."""
        layers: tuple[LayerState, ...] = self._worker().ask(("state",), self._window_timeout_s)
        return NetworkState.of(self.model, layers, tuple(dict(own) for own in self._registers))

    def set_state(self, state: NetworkState) -> None:
        """Build the network anew with `state`; raise `StateError` and change nothing when it does not fit."""
        state.check(self.model)
        self._build(state)

    def reset(self) -> None:
        """Build the network anew at rest; registers stay."""
        at_rest = NetworkState.at_rest(self.model)
        self._build(replace(at_rest, registers=tuple(dict(own) for own in self._registers)))

    def set_registers(self, layer: str, **registers: int) -> None:
        """Change du, dv, vth or bias_exp of a layer: read the state, build anew, write it back."""
        index = self.model.network.layer_index(layer)
        changed = check_registers(self._registers[index], registers)
        replace(self.model.network.layers[index].neuron, **changed)
        state = self.state()
        own = list(state.registers)
        own[index] = changed
        self._build(replace(state, registers=tuple(own)))

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron, (c, h, w)."""
        return [counts.copy() for counts in self._neuron_spikes]

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""
        for counts in self._neuron_spikes:
            counts.fill(0)

    def close(self) -> None:
        """End the worker and everything that it started; closing twice is fine."""
        self._closed = True
        if self._process is not None:
            process, self._process = self._process, None
            process.close()
