# SPDX-License-Identifier: Apache-2.0
"""The `lava` back end (Lava's Loihi 2 simulation, fixed point) and the `loihi` one.

Both drive the same worker process. Between windows the Lava network stays as it
is, so state carries over without being copied.

Lava cannot change registers while it runs: after ``du`` or ``vth`` was set it never
answers again. So a change reads u, v and a_buff out, builds the network anew in the
worker and starts it from them. That takes a second or so, is done once for all layers
that change between two windows, and before the next window, which waits and is not
lost. A whole state is written value by value, or, where that takes longer, with a
network built anew as well.

`loihi` needs Intel's extension for the hardware and a board. Neither was at hand:
that path is written and refuses clearly here; it has never been executed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import lava_shim
from .engine import WindowResult, check_indices, check_registers, check_values
from .errors import BackendUnavailableError, EngineError
from .lava_process import LavaProcess
from .lava_support import refused_layers
from .model import Model
from .network import Network
from .state import NetworkState, model_registers

__all__ = ["LavaEngine", "create_lava", "create_loihi"]

_LOG = logging.getLogger(__name__)
WRITE_LIMIT = 10_000  # values of u, v and a_buff: at some 50 us each they take as long as building anew


def create_lava(model: Model, start_timeout_s: float = 60.0, window_timeout_s: float = 60.0) -> LavaEngine:
    """Build `model` for Lava's CPU simulation of Loihi 2; see `LavaEngine`."""
    return LavaEngine(model, "lava", start_timeout_s, window_timeout_s)


def create_loihi(model: Model, start_timeout_s: float = 120.0, window_timeout_s: float = 60.0) -> LavaEngine:
    """Build `model` for a Loihi 2 board; unexecuted, see `LavaEngine`."""
    return LavaEngine(model, "loihi", start_timeout_s, window_timeout_s)


def _refuse(network: Network, backend: str) -> None:
    """Raise the refusal of the first layer that Lava cannot represent exactly, with those of the others."""
    refused = refused_layers(network, backend)
    if refused:
        refused[0].further = tuple(refused[1:])
        raise refused[0]


@dataclass
class _Costs:
    """What keeping registers and state right has cost since the engine was made; times in seconds."""

    starts: int = 0
    start_s: float = 0.0  # the last one
    rebuilds: int = 0
    rebuild_s: float = 0.0  # the last one
    rebuild_total_s: float = 0.0
    rescues: int = 0


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
    After a crash or a time-out every call raises `EngineError` until `restart`. When the worker fails while it is
    given a state, that state is still here: another worker is started with it, once.
    """

    def __init__(self, model: Model, backend: str, start_timeout_s: float, window_timeout_s: float) -> None:
        _refuse(model.network, backend)  # first, also where Lava is missing
        if not lava_shim.has_lava():
            raise BackendUnavailableError(
                f"back end '{backend}' needs Lava, which is not installed: {lava_shim.INSTALL_HINT}"
            )
        self.backend = backend
        self._start_timeout_s = start_timeout_s
        self._window_timeout_s = window_timeout_s
        self._process: LavaProcess | None = None
        self._closed = False
        self._pending: NetworkState | None = None  # what the network is to be built anew with before its next step
        self._costs = _Costs()
        self._adopt(model)
        self.restart()
        if backend == "loihi":
            _LOG.warning("back end 'loihi' has never been executed by its authors, who had no board: check its results")

    def _adopt(self, model: Model) -> None:
        _refuse(model.network, self.backend)
        self.model = model
        network = model.network
        self._fan_out = [
            [
                projection.connection.fan_out(network.source_shape(source)).ravel()
                for projection, source in zip(layer.projections, sources, strict=True)
            ]
            for layer, sources in zip(network.layers, network.sources, strict=True)
        ]
        self._neuron_spikes = [np.zeros(shape, np.int64) for shape in model.network.shapes]
        self._registers = model_registers(model.network)
        self._built_registers: tuple[dict[str, int], ...] = ()

    def load(self, model: Model) -> None:
        """Run another model, at rest, in the same worker: spares the seconds that starting Lava takes.

        Raises
        ------
        UnsupportedLayerError
            When Lava cannot represent a layer exactly; the old model goes on then.
        """
        self._adopt(model)
        self._give(NetworkState.at_rest(model), anew=True)

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
            started = time.monotonic()
            self._process = LavaProcess(self._start_timeout_s, self.backend == "loihi")
            self._costs.starts += 1
            self._costs.start_s = time.monotonic() - started
            self._build(state)
        except BackendUnavailableError as error:
            needed = "Lava"
            if self.backend == "loihi":
                needed = (
                    f"Intel's extension of Lava for Loihi hardware ({', '.join(lava_shim.LOIHI_EXTENSION)}) and a "
                    "board (neither was at hand: it has never been executed)"
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

    def costs(self) -> dict[str, float]:
        """Return what keeping registers and state right has cost so far.

        Returns
        -------
        dict
            ``starts`` of a worker and the seconds of the last one; ``rebuilds`` of the network and the seconds of the
            last one and of all; ``rescues``: rebuilds that took another worker, as the first one failed in them.
        """
        return asdict(self._costs)

    def _build(self, state: NetworkState) -> None:
        self._worker().ask(
            ("build", self.model.network, state.layers, state.registers, self.backend == "loihi"),
            self._window_timeout_s,
        )
        self._built_registers = state.registers
        self._taken(state)

    def _taken(self, state: NetworkState) -> None:
        """Take note that the worker goes on from `state`."""
        self._registers = [dict(own) for own in state.registers]
        self._pending = None

    def _give(self, state: NetworkState, anew: bool = False) -> None:
        """Make the worker continue from `state`; when that breaks it, start another one, once."""
        worker = self._worker()
        if worker.closed:  # it failed in an earlier call, which said so
            raise EngineError("the Lava worker is not running; restart the engine")
        values = sum(part.size for layer in state.layers for part in layer.parts.values())
        writable = not anew and state.registers == self._built_registers and values <= WRITE_LIMIT
        started = time.monotonic()
        try:
            if writable and worker.ask(("write", state.layers), self._window_timeout_s):
                self._taken(state)
                return
            self._build(state)
        except BackendUnavailableError:
            raise
        except EngineError as error:
            _LOG.warning("while it was given a state, %s; going on from that state in another worker", error)
            self._costs.rescues += 1
            self.restart(state)
        self._costs.rebuilds += 1
        self._costs.rebuild_s = time.monotonic() - started
        self._costs.rebuild_total_s += self._costs.rebuild_s

    def _settle(self) -> None:
        """Build the network with the registers that were changed since the last window."""
        if self._pending is None:
            return
        self._give(self._pending)
        _LOG.info(
            "back end %s: built anew for other registers in %.2f s; u, v and a_buff were written back",
            self.backend,
            self._costs.rebuild_s,
        )

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
            When an index or a value is out of range or order, or the worker died or did not answer in time.
        """
        network = self.model.network
        indices = check_indices(indices, bins, self.model.cells)
        values = check_values(values, indices, network.input_bits)
        bins = int(bins)
        self._settle()
        steps = self._worker().ask(("run", indices, bins, values), self._window_timeout_s)
        layer_spikes = np.zeros(len(network.layers), np.int64)
        operations = np.zeros(len(network.layers), np.int64)
        spike_counts = np.zeros(network.classes, np.int32)
        for index, sources in enumerate(network.sources):
            for fan_out, source in zip(self._fan_out[index], sources, strict=True):
                if source < 0:
                    operations[index] += fan_out[indices % np.uint32(self.model.cells)].sum()
                else:
                    operations[index] += sum(int(fan_out[step[source]].sum()) for step in steps)
        for step in steps:
            for index, spikes in enumerate(step):
                layer_spikes[index] += spikes.size
                self._neuron_spikes[index].ravel()[spikes] += 1
            spike_counts[step[-1]] += 1
        return WindowResult(spike_counts, layer_spikes, operations, int(indices.size), bins, steps if record else None)

    def state(self) -> NetworkState:
        """Read u, v and a_buff out of Lava, which sends them one value at a time."""
        if self._pending is not None:
            layers = self._pending.layers
        else:
            layers = self._worker().ask(("state",), self._window_timeout_s)
        return NetworkState.of(self.model, layers, tuple(dict(own) for own in self._registers))

    def set_state(self, state: NetworkState) -> None:
        """Continue from `state`; raise `StateError` and change nothing when it does not fit."""
        state.check(self.model)
        self._give(state)

    def reset(self) -> None:
        """Put u, v and a_buff to zero; registers stay."""
        at_rest = NetworkState.at_rest(self.model)
        self._give(replace(at_rest, registers=tuple(dict(own) for own in self._registers)))

    def set_registers(self, layer: str, **registers: int) -> None:
        """Change du, dv, vth or bias_exp of a layer: read the state now, build anew before the next window.

        Raises
        ------
        NetworkError
            When the layer is unknown or a value leaves its register; nothing changes then.
        EngineError
            When a register is unknown, or the state cannot be read.
        """
        index = self.model.network.layer_index(layer)
        changed = check_registers(self._registers[index], registers)
        replace(self.model.network.layers[index].neuron, **changed)
        if changed == self._registers[index]:
            return
        state = self.state()
        own = list(state.registers)
        own[index] = changed
        self._pending = replace(state, registers=tuple(own))
        self._registers[index] = changed

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
