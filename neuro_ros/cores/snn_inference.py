# SPDX-License-Identifier: Apache-2.0
"""Logic of the ``snn_inference`` node: spike tensors in, gestures and telemetry out, state kept per stream.

One call of `SnnInferenceCore.receive` runs one window to its end, so a driver that must stay responsive makes the calls
from a thread of its own. Files are read and written by the driver: the core hands out and takes in `NetworkState`. What
one model does with a window is `neuro_ros.cores.arm`'s; that there may be two of them, `neuro_ros.cores.arms`'.

This module refuses to know about rclpy, threads, files other than models, and whose camera it is.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuro_ros.canary import Command
from neuro_ros.cores.arm import Arm
from neuro_ros.cores.arms import Arms
from neuro_ros.cores.candidate import ModelFolders, check_candidate
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.files import model_path
from neuro_ros.cores.messages import (
    ClockModel,
    Gesture,
    RolloutStatus,
    SnnTelemetry,
    SpikeTensor,
    Temperature,
    ThermalCompensation,
)
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_statistics import WindowCounters
from neuro_ros.cores.state_record import StateRecord
from neuro_ros.cores.stream_network import StreamNetwork
from neuro_ros.errors import NeuroRosError
from neuro_ros.events.tensor import TensorError, active_indices, count_active, decode_tensor
from neuro_ros.snn import CountsCosts, Engine, Model, NetworkState, load_model
from neuro_ros.thermal import Die, DriftingEngine, create_silicon

__all__ = ["SnnInferenceCore"]

_LOG = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000
_TELEMETRY_PERIOD_NS = _NS_PER_S
_MAX_REFUSALS_LOGGED = 20
#: What an emulated chip is not made any warmer or colder than: a reading may be anything [degree Celsius].
_HOTTEST_CELSIUS = 150.0


class SnnInferenceCore(Core):
    """Run the network over windows and say which gesture they show.

    Parameters
    ----------
    parameters : SnnInferenceParameters
        Validated.
    clocks : Clocks
        For `latency_s`, `inference_s` and the time percentiles only.

    Attributes
    ----------
    model : Model
        The live model.
    counters : WindowCounters
        Of the live arm, since activation.
    arms : Arms
        The live model, a second one beside it, and where its roll-out stands.

    Raises
    ------
    ModelError
        When the model file is missing or not usable.
    EngineError
        When the back end is missing, cannot represent the model exactly, or does not start.
    ChipError
        When a power budget is set for a chip whose energies are not published.
    """

    inputs: ClassVar[Mapping[str, type]] = {
        "spikes": SpikeTensor,
        "thermal/compensation": ThermalCompensation,
        "clock/model": ClockModel,  # saved with the state
    }
    outputs: ClassVar[Mapping[str, type]] = {
        "gesture": Gesture,
        "gesture/shadow": Gesture,
        "snn/telemetry": SnnTelemetry,
        "rollout": RolloutStatus,
    }

    def __init__(self, parameters: SnnInferenceParameters, clocks: Clocks | None = None) -> None:
        self._parameters = parameters
        self._clocks = clocks or Clocks()
        model = self._read(parameters.model)
        self._die: Die | None = None
        if parameters.emulated_silicon.profile != "digital":
            # Whoever reads the temperature reads that of the emulated chip, too.
            self._die = Die(create_silicon(parameters.emulated_silicon.profile, parameters.emulated_options()))
            self.inputs = {**type(self).inputs, "temperature": Temperature}  # type: ignore[misc]
        self.arms = Arms(Arm(model, parameters, self._clocks, self._around), self._clocks)
        self._cells = self.arms.live.cells
        self._refusals: set[str] = set()
        self._last_refusal = ""
        self._record = StateRecord(parameters.max_streams)
        self._judged = WindowCounters()
        self._warm_up()

    def _read(self, name: str) -> Model:
        parameters = self._parameters
        trusted = [key for key in parameters.trusted_keys if key]  # [''] stands for an empty list in a YAML file
        return load_model(model_path(name), parameters.model_key or None, trusted)

    def _around(self, engine: Engine) -> Engine:
        return engine if self._die is None else DriftingEngine(engine, self._die)

    def _warm_up(self) -> None:
        """Compile now what the first window would otherwise wait for, and hash what the first snapshot would."""
        NetworkState.at_rest(self.model)
        # Compiled code differs for memory that may be written (messages of the middleware) and that may not (bags).
        for encoding, size in ((SpikeTensor.ENCODING_COO, 0), (SpikeTensor.ENCODING_BITMAP, -(-self._cells // 8))):
            for data in (bytes(size), np.zeros(size, np.uint8)):
                active_indices(decode_tensor(encoding, data, self._cells), self._cells, 0)

    @property
    def model(self) -> Model:
        """The live model."""
        return self.arms.live.model

    @property
    def counters(self) -> WindowCounters:
        """What happened to the windows of the live arm since activation."""
        return self.arms.live.counters

    @property
    def _network(self) -> StreamNetwork:
        return self.arms.live.network

    # ---------------------------------------------------------------- the contract of a core

    def timers(self) -> Mapping[str, int]:
        """Return the telemetry timer."""
        return {"telemetry": _TELEMETRY_PERIOD_NS}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Count anew; what was published while inactive is missing, but not lost."""
        self._judged = WindowCounters()
        return self.arms.activate(now_ns)

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Run a window, or take new register values; never raises on what a message holds."""
        if topic == "spikes" and isinstance(message, SpikeTensor):
            return self._window(message, now_ns)
        if topic == "thermal/compensation" and isinstance(message, ThermalCompensation):
            return self._compensate(message, now_ns)
        if topic == "clock/model" and isinstance(message, ClockModel):
            self._record.hear(message)
        if self._die is not None and isinstance(message, Temperature) and abs(message.temperature) < _HOTTEST_CELSIUS:
            self._die.celsius = message.temperature
        return ()

    def afterwards(self) -> Sequence[Output]:
        """Run the window through the arm that is not published, and one of the self-test while that is under way."""
        outputs = self.arms.afterwards()
        self.arms.go_on_with_self_tests()
        return outputs

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Publish telemetry, of each arm that runs; forget streams that were silent too long; begin self-tests."""
        self.arms.begin_self_tests(now_ns)
        for arm in self.arms.running:
            arm.network.expire(_TELEMETRY_PERIOD_NS, self._parameters.stream_idle_s)
        return [Output("snn/telemetry", found) for found in self.arms.telemetry(now_ns, self._record.age_s(now_ns))]

    def reconfigure(self, parameters: object) -> None:
        """Use other policies and thresholds from the next window on."""
        if not isinstance(parameters, SnnInferenceParameters):
            raise TypeError(f"parameters are {type(parameters).__name__}, must be SnnInferenceParameters")
        self._parameters = parameters
        for arm in self.arms.all:
            arm.parameters = parameters

    def close(self) -> None:
        """Release the back ends."""
        self.arms.close()

    # ---------------------------------------------------------------- windows

    def _window(self, message: SpikeTensor, now_ns: int) -> Sequence[Output]:
        self.counters.received += 1
        refusal = self._misfit(message)
        cells: NDArray[Any] | None = None
        if not refusal:
            try:
                cells = self._active(message)
            except TensorError as error:
                refusal = f"the data of a window is not usable: {error}"
        if cells is None:
            self._refuse(message, refusal)
            return ()
        return self.arms.window(message, cells, now_ns)

    def _misfit(self, message: SpikeTensor) -> str:
        """Return why a window does not fit the model; empty when it does."""
        channels, height, width = self.model.network.input_shape
        given = (message.bins, message.channels, message.height, message.width)
        needed = (self.model.bins, channels, height, width)
        if given != needed:
            return f"a window has (bins, channels, height, width) {given}, model {self.model.model_id} needs {needed}"
        length_ns = message.sensor_end_ns - message.sensor_start_ns
        if length_ns != self.model.window_length_ns:
            return (
                f"a window lasts {length_ns} ns of sensor time, model {self.model.model_id} was trained with "
                f"{self.model.window_length_ns} ns"
            )
        return ""

    def _active(self, message: SpikeTensor) -> NDArray[Any]:
        """Return the indices of the active cells, in constant time their bitmap."""
        if message.active > self._cells:  # before memory is taken for so many
            raise TensorError(f"{message.active} active cells were announced for a tensor of {self._cells}")
        bitmap = decode_tensor(message.encoding, message.data, self._cells)
        if not self._parameters.constant_time:
            return active_indices(bitmap, self._cells, message.active)
        if (found := count_active(bitmap)) != message.active:
            raise TensorError(f"{found} cells are set, {message.active} were announced")
        return bitmap

    def _refuse(self, message: SpikeTensor, reason: str) -> None:
        self.counters.refused += 1
        self._last_refusal = reason
        kind = reason.split(":", maxsplit=1)[0]
        # A wrong camera sends twenty of these a second, and a hostile one never the same twice.
        if kind not in self._refusals and len(self._refusals) < _MAX_REFUSALS_LOGGED:
            self._refusals.add(kind)
            _LOG.error("%s; such windows are refused and counted from now on", reason)
        for arm in self.arms.running:
            arm.skip(message)

    def _compensate(self, message: ThermalCompensation, now_ns: int) -> Sequence[Output]:
        """Give register values to the arm whose model they are for, and rest the second arm when it is too hot."""
        for arm in self.arms.all:
            # Whoever names no model means the live one, unless there is nothing to program.
            meant = arm is self.arms.live if message.layer else True
            if message.model_id == arm.model.model_id or (meant and message.model_id not in self.arms.model_ids):
                arm.network.registers.take(message, arm.network.engine)
        self.arms.throttle(message)
        return self.arms.news(now_ns)

    # ---------------------------------------------------------------- roll-out

    def build_candidate(self, name: str) -> tuple[Arm, str]:
        """Make an arm of another model, at rest, and return it with the file that the model came from.

        Takes its time, and may be called in any thread: it reads the parameters and the live model, and changes
        nothing. The caller closes the arm unless it becomes part of `arms`.

        Raises
        ------
        CandidateError
            The file lies outside the model folders, or the model reads other windows or has other labels.
        ModelError
            The file is missing or not usable, or not signed by a trusted key.
        EngineError, ChipError
            The back end cannot be built for it.
        """
        path = ModelFolders(self._parameters.model, self._parameters.model_folders).find(name)
        model = self._read(str(path))
        check_candidate(self.model, model)
        return Arm(model, self._parameters, self._clocks, self._around), str(path)

    def switch(self, command: Command, now_ns: int, path: str = "", **options: Any) -> Sequence[Output]:
        """Carry out a switch whole, building the candidate here; see `Arms.begin` for the options.

        A driver that must not wait calls `Arms.begin`, `build_candidate` and `Arms.commit` where it suits.

        Raises
        ------
        NeuroRosError
            It does not fit, or there is no usable candidate; nothing changes then but the history.
        """
        self.arms.begin(command, path, **options)
        try:
            if command is Command.SHADOW:
                candidate, found = self.build_candidate(path)
                self.arms.commit(now_ns, candidate, found)
            else:
                self.arms.commit(now_ns)
        except NeuroRosError as error:
            self.arms.abort(str(error), now_ns)
            raise
        return self.arms.news(now_ns)

    def resume(self, record: Mapping[str, Any], now_ns: int) -> None:
        """Take up a roll-out of before a restart; see `Arms.resume`."""
        self.arms.resume(record, lambda path: self.build_candidate(path)[0], now_ns)

    # ---------------------------------------------------------------- saved states

    @property
    def stream_ids(self) -> tuple[str, ...]:
        """Streams whose state is kept, the last one used at the end."""
        return tuple(self._network.streams)

    def snapshot(self, stream_id: str = "") -> NetworkState | None:
        """Return a copy of a stream's state between two windows; see `StreamNetwork.snapshot`."""
        state = self._network.snapshot(stream_id)
        return state if state is None else self._record.dated(state)

    def snapshots(self) -> list[tuple[Arm, NetworkState]]:
        """Return a copy of the state of every stream of every arm, and take note of how long that took."""
        started_ns = self._clocks.stopwatch_ns()
        states = [(arm, arm.network.snapshot(stream_id)) for arm in self.arms.all for stream_id in arm.network.streams]
        self._record.snapshot_took((self._clocks.stopwatch_ns() - started_ns) / _NS_PER_S)
        return [(arm, self._record.dated(state)) for arm, state in states if state is not None]

    def restore(self, state: NetworkState, stream_id: str = "", adopt: bool = False) -> str:
        """Take up a saved state between two windows; see `StreamNetwork.restore`."""
        return self._network.restore(state, stream_id, adopt)

    def note_saved(self, now_ns: int, duration_s: float = math.nan) -> None:
        """Take note that a snapshot is on disk, safely, and how long the disk took."""
        self._record.saved(now_ns, duration_s)

    def note_save_failed(self, reason: str) -> None:
        """Take note that a snapshot could not be written."""
        self._record.failed(reason)

    # ---------------------------------------------------------------- telemetry and health

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge windows, back end, saved state, register compensation, roll-out, and the load of the chip, if any."""
        live = self.arms.live
        judged = (
            self._window_health(),
            self._network_health(),
            self._state_health(now_ns),
            self._network.registers.health(),
            self.arms.health(),
        )
        return judged if live.chip is None else (*judged, live.chip.health(self._parameters.power_budget_w))

    def _window_health(self) -> Health:
        before, now = self._judged, self.counters
        self._judged = dataclasses.replace(now)
        level, text = HealthLevel.OK, f"{now.processed} windows read"
        if now.refused > before.refused and now.processed == before.processed:
            level, text = HealthLevel.ERROR, self._last_refusal
        elif now.refused > before.refused:
            level, text = HealthLevel.WARN, self._last_refusal
        elif now.lost > before.lost or now.skipped > before.skipped:
            level = HealthLevel.WARN
            text = (
                f"{now.lost - before.lost} windows lost, {now.skipped - before.skipped} skipped since the last report"
            )
        return Health("windows", level, text, {**now.as_dict(), "streams_forgotten": self._network.evicted})

    def _network_health(self) -> Health:
        values = {
            "model_id": self.model.model_id,
            "backend": self._parameters.backend,
            "emulated_silicon": self._parameters.emulated_silicon.profile,
            "restarts": self._network.restarts,
            "self_tests": self.arms.live.self_test.done,
            "self_test": self.arms.live.self_test.reason or "runs",
            **self.arms.live.figures,
        }
        engine: object = self._network.engine
        if isinstance(engine, CountsCosts):  # as building anew for other registers does
            values |= engine.costs()
        if engine is None:
            return Health("network", HealthLevel.ERROR, f"back end is down: {self._network.error}", values)
        median_s = self.arms.live.figures.get("window_time_p50_s", math.nan)
        if median_s > self._parameters.window_time_warn_s:
            text = (
                f"a window takes {median_s:.3g} s, above window_time_warn_s {self._parameters.window_time_warn_s:g} s"
            )
            return Health("network", HealthLevel.WARN, text, values)
        return Health("network", HealthLevel.OK, f"{self.model.model_id} on {self._parameters.backend}", values)

    def _state_health(self, now_ns: int) -> Health:
        network = self._network
        values = {
            "streams": len(network.streams),
            "streams_expired": network.expired,
            "resets": network.resets,
            "restored": network.restored,
        }
        return self._record.health(now_ns, values)
