# SPDX-License-Identifier: Apache-2.0
"""Logic of the ``snn_inference`` node: spike tensors in, gestures and telemetry out, state kept per stream.

One call of `SnnInferenceCore.receive` runs one window to its end, so a driver that must stay responsive makes the calls
from a thread of its own. Files are read and written by the driver: the core hands out and takes in `NetworkState`.

This module refuses to know about rclpy, threads, files other than the model, and whose camera it is.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cores.chip_estimate import ChipEstimate
from neuro_ros.cores.continuity import Position, Verdict, judge
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.files import model_path
from neuro_ros.cores.messages import Gesture, Header, SnnTelemetry, SpikeTensor, Temperature, ThermalCompensation
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_statistics import Period, WindowCounters, percentile
from neuro_ros.cores.stream_network import Stream, StreamNetwork
from neuro_ros.events.tensor import TensorError, active_indices, bitmap_bytes, count_active, decode_tensor
from neuro_ros.snn import CountsCosts, Engine, EngineError, NetworkState, WindowResult, load_model
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
        Since activation.

    Raises
    ------
    ModelError
        When the model file is missing or not usable.
    EngineError
        When the back end is missing, cannot represent the model exactly, or does not start.
    ChipError
        When a power budget is set for a chip whose energies are not published.
    """

    inputs: ClassVar[Mapping[str, type]] = {"spikes": SpikeTensor, "thermal/compensation": ThermalCompensation}
    outputs: ClassVar[Mapping[str, type]] = {"gesture": Gesture, "snn/telemetry": SnnTelemetry}

    def __init__(self, parameters: SnnInferenceParameters, clocks: Clocks | None = None) -> None:
        trusted = [key for key in parameters.trusted_keys if key]  # [''] stands for an empty list in a YAML file
        self.model = load_model(model_path(parameters.model), parameters.model_key or None, trusted)
        self.model.require_binary_windows()
        self._parameters = parameters
        self._clocks = clocks or Clocks()
        self._chip = ChipEstimate(self.model, parameters.chip, parameters.power_budget_w) if parameters.chip else None
        self._die: Die | None = None
        if parameters.emulated_silicon.profile != "digital":
            # Whoever reads the temperature reads that of the emulated chip, too.
            self._die = Die(create_silicon(parameters.emulated_silicon.profile, parameters.emulated_options()))
            self.inputs = {**type(self).inputs, "temperature": Temperature}  # type: ignore[misc]
        self._network = StreamNetwork(
            self.model, parameters.backend, parameters.max_streams, self._around, parameters.constant_time
        )
        self._cells = self.model.bins * self.model.cells
        self._nothing: NDArray[Any] = np.zeros(bitmap_bytes(self._cells), np.uint8)
        if not parameters.constant_time:
            self._nothing = np.zeros(0, np.uint32)
        self._neurons = tuple(math.prod(shape) for shape in self.model.network.shapes)
        self._layer_names = [layer.name for layer in self.model.network.layers]
        self._refusals: set[str] = set()
        self._last_refusal = ""
        self._saved_at_ns: int | None = None
        self._save_error = ""
        self._warm_up()
        self._start_counting()

    def _around(self, engine: Engine) -> Engine:
        return engine if self._die is None else DriftingEngine(engine, self._die)

    def _warm_up(self) -> None:
        """Compile now what the first window would otherwise wait for."""
        # Compiled code differs for memory that may be written (messages of the middleware) and that may not (bags).
        for encoding, size in ((SpikeTensor.ENCODING_COO, 0), (SpikeTensor.ENCODING_BITMAP, -(-self._cells // 8))):
            for data in (bytes(size), np.zeros(size, np.uint8)):
                active_indices(decode_tensor(encoding, data, self._cells), self._cells, 0)

    def _start_counting(self) -> None:
        self.counters = WindowCounters()
        self._judged = WindowCounters()
        self._synaptic_operations = 0
        self._steps = 0
        self._latencies_s: list[float] = []
        self._figures: dict[str, float] = {}
        self._period = Period(self.model.cells, self._neurons)
        self._network.restart_counters()

    # ---------------------------------------------------------------- the contract of a core

    def timers(self) -> Mapping[str, int]:
        """Return the telemetry timer."""
        return {"telemetry": _TELEMETRY_PERIOD_NS}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Count anew; what was published while inactive is missing, but not lost."""
        self._start_counting()
        if self._chip is not None:
            self._chip.restart(now_ns)
        for stream in self._network.streams.values():
            if stream.position is not None and not stream.position.restored:
                stream.position.absent = True
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Run a window, or take new register values; never raises on what a message holds."""
        if topic == "spikes" and isinstance(message, SpikeTensor):
            return self._window(message, now_ns)
        if topic == "thermal/compensation" and isinstance(message, ThermalCompensation):
            self._network.registers.take(message, self._network.engine)
        if self._die is not None and isinstance(message, Temperature) and abs(message.temperature) < _HOTTEST_CELSIUS:
            self._die.celsius = message.temperature
        return ()

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Publish telemetry."""
        return (Output("snn/telemetry", self._telemetry(now_ns)),)

    def reconfigure(self, parameters: object) -> None:
        """Use other policies and thresholds from the next window on."""
        if not isinstance(parameters, SnnInferenceParameters):
            raise TypeError(f"parameters are {type(parameters).__name__}, must be SnnInferenceParameters")
        self._parameters = parameters

    def close(self) -> None:
        """Release the back end."""
        self._network.close()

    # ---------------------------------------------------------------- windows

    def _window(self, message: SpikeTensor, now_ns: int) -> Sequence[Output]:
        self.counters.received += 1
        refusal = self._misfit(message)
        cells = self._nothing
        if not refusal:
            try:
                cells = self._active(message)
            except TensorError as error:
                refusal = f"the data of a window is not usable: {error}"
        if refusal:
            self._refuse(message, refusal)
            return ()
        stream_id = message.header.frame_id
        stream = self._network.streams.get(stream_id)
        verdict = judge(stream.position if stream else None, message, self._parameters)
        if not verdict.run:
            self.counters.repeated += 1
            return ()
        if stream is None:
            stream = self._network.add(stream_id)
        self._count(message, verdict)
        if not self._network.select(stream_id, now_ns):
            return self._give_up(stream, message)
        try:
            if verdict.reset:
                self._network.reset()
            if self._late(message, now_ns):
                self._skip(stream, message)
                self.counters.late_skipped += 1
                return ()
            return self._run(stream, message, cells, verdict.withheld)
        except EngineError as error:
            kept = self._network.fail(error, now_ns)
            return self._give_up(stream, message, kept)

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
        stream = self._network.streams.get(message.header.frame_id)
        if stream is None or stream.position is None:
            return
        position = stream.position
        if message.epoch == position.epoch and message.sequence > position.sequence:
            self.counters.lost += message.sequence - position.sequence - 1
            position.sequence = message.sequence
            position.broken = True

    def _count(self, message: SpikeTensor, verdict: Verdict) -> None:
        self.counters.lost += verdict.lost
        self.counters.missed_inactive += verdict.missed
        self.counters.gaps += verdict.gap
        self.counters.backwards += verdict.backwards
        self.counters.withheld += message.windows_withheld
        self.counters.incomplete += not message.complete

    def _late(self, message: SpikeTensor, now_ns: int) -> bool:
        """Count a late window; True when the policy skips it."""
        if now_ns - message.header.stamp <= self._parameters.late_after_s * _NS_PER_S:
            return False
        self.counters.late += 1
        return self._parameters.late_policy == "skip"

    def _give_up(self, stream: Stream, message: SpikeTensor, kept: bool = False) -> Sequence[Output]:
        """Count a window that the back end failed on; `kept`: the stream goes on from its last snapshot."""
        self.counters.failed += 1
        self._skip(stream, message)
        if kept and stream.parked is not None and stream.position is not None:
            stream.position.broken, stream.position.restored = False, True
            stream.position.sensor_end_ns = stream.parked.sensor_end_ns
        return ()

    @staticmethod
    def _skip(stream: Stream, message: SpikeTensor) -> None:
        stream.position = Position(message.epoch, message.sequence, message.sensor_end_ns, broken=True)

    def _run(self, stream: Stream, message: SpikeTensor, cells: NDArray[Any], withheld: int) -> list[Output]:
        parameters, bins = self._parameters, self.model.bins
        window_s = self.model.window_length_ns / _NS_PER_S
        for _ in range(withheld):
            result = self._step(self._nothing)
            stream.evidence.add(result.spike_counts, window_s, parameters.evidence_half_life_s)
        started_ns = self._clocks.stopwatch_ns()
        result = self._step(cells)
        inference_s = (self._clocks.stopwatch_ns() - started_ns) / _NS_PER_S if started_ns else math.nan
        self._period.time(inference_s, bins)
        elapsed_s = window_s
        if stream.position is not None:
            since_ns = message.sensor_end_ns - stream.position.sensor_end_ns - withheld * self.model.window_length_ns
            elapsed_s = max(window_s, since_ns / _NS_PER_S)
        stream.evidence.add(result.spike_counts, elapsed_s, parameters.evidence_half_life_s)
        stream.position = Position(message.epoch, message.sequence, message.sensor_end_ns)
        self.counters.processed += 1
        class_index, confidence = stream.evidence.decide(
            parameters.confidence_threshold, self.model.confidence_exponent, parameters.confidence_release
        )
        return [
            Output(
                "gesture",
                Gesture(
                    header=Header(message.header.stamp, message.header.frame_id),
                    sequence=message.sequence,
                    epoch=message.epoch,
                    model_id=self.model.model_id,
                    label=self.model.labels[class_index] if class_index >= 0 else "",
                    class_index=class_index,
                    confidence=confidence,
                    spike_counts=result.spike_counts.tolist(),
                    latency_s=self._latency_s(message),
                    inference_s=inference_s,
                ),
            )
        ]

    def _step(self, cells: NDArray[Any]) -> WindowResult:
        result = self._network.run(cells)
        self._period.add(result)
        self._synaptic_operations += result.synaptic_ops
        self._steps += result.bins
        return result

    def _latency_s(self, message: SpikeTensor) -> float:
        system_ns = self._clocks.system_ns()
        if not message.closed_at or not system_ns:
            return math.nan
        latency_s = (system_ns - message.closed_at) / _NS_PER_S
        self._latencies_s.append(latency_s)
        return latency_s

    # ---------------------------------------------------------------- saved states

    @property
    def stream_ids(self) -> tuple[str, ...]:
        """Streams whose state is kept, the last one used at the end."""
        return tuple(self._network.streams)

    def snapshot(self, stream_id: str = "") -> NetworkState | None:
        """Return a copy of a stream's state between two windows; see `StreamNetwork.snapshot`."""
        return self._network.snapshot(stream_id)

    def restore(self, state: NetworkState, stream_id: str = "", adopt: bool = False) -> str:
        """Take up a saved state between two windows; see `StreamNetwork.restore`."""
        return self._network.restore(state, stream_id, adopt)

    def note_saved(self, now_ns: int) -> None:
        """Take note that a snapshot is on disk, safely."""
        self._saved_at_ns, self._save_error = now_ns, ""

    def note_save_failed(self, reason: str) -> None:
        """Take note that a snapshot could not be written."""
        self._save_error = reason

    # ---------------------------------------------------------------- telemetry and health

    def _telemetry(self, now_ns: int) -> SnnTelemetry:
        period, counters = self._period, self.counters
        if self._chip is not None:
            self._chip.update(period, now_ns)
        steps_s, windows_s = period.percentiles()
        dead, saturated = period.dead_and_saturated(self._network.engine)
        latencies = sorted(self._latencies_s)
        self._figures = {
            "window_time_p50_s": windows_s[0],
            "window_time_p99_s": windows_s[2],
            "latency_p50_s": percentile(latencies, 0.5),
            "latency_p99_s": percentile(latencies, 0.99),
        }
        self._latencies_s = []
        message = SnnTelemetry(
            header=Header(now_ns, self._network.last_stream),
            model_id=self.model.model_id,
            backend=self._parameters.backend,
            arm="live",
            compensation_id_applied=self._network.registers.applied_id,
            layer=list(self._layer_names),
            firing_rate=period.firing_rates,
            dead_neurons=dead,
            saturated_neurons=saturated,
            input_rate=period.input_rate,
            synaptic_operations=self._synaptic_operations,
            neuron_updates=self._steps * sum(self._neurons),
            step_time_p50_s=steps_s[0],
            step_time_p95_s=steps_s[1],
            step_time_p99_s=steps_s[2],
            window_time_p50_s=windows_s[0],
            window_time_p95_s=windows_s[1],
            window_time_p99_s=windows_s[2],
            windows_in=counters.received,
            windows_skipped=counters.skipped,
            windows_lost=counters.lost,
            state_resets=self._network.resets,
            state_save_age_s=self._save_age_s(now_ns),
            **(self._chip.fields() if self._chip is not None else {}),
        )
        self._period = Period(self.model.cells, self._neurons)
        self._network.clear_neuron_spikes()
        return message

    def _save_age_s(self, now_ns: int) -> float:
        return math.nan if self._saved_at_ns is None else (now_ns - self._saved_at_ns) / _NS_PER_S

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge windows, back end, saved state, register compensation, and the load of the chip where one is named."""
        judged = (
            self._window_health(),
            self._network_health(),
            self._state_health(now_ns),
            self._network.registers.health(),
        )
        return judged if self._chip is None else (*judged, self._chip.health(self._parameters.power_budget_w))

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
            **self._figures,
        }
        engine: object = self._network.engine
        if isinstance(engine, CountsCosts):  # as building anew for other registers does
            values |= engine.costs()
        if engine is None:
            return Health("network", HealthLevel.ERROR, f"back end is down: {self._network.error}", values)
        median_s = self._figures.get("window_time_p50_s", math.nan)
        if median_s > self._parameters.window_time_warn_s:
            text = (
                f"a window takes {median_s:.3g} s, above window_time_warn_s {self._parameters.window_time_warn_s:g} s"
            )
            return Health("network", HealthLevel.WARN, text, values)
        return Health("network", HealthLevel.OK, f"{self.model.model_id} on {self._parameters.backend}", values)

    def _state_health(self, now_ns: int) -> Health:
        values = {
            "streams": len(self._network.streams),
            "resets": self._network.resets,
            "restored": self._network.restored,
            "save_age_s": self._save_age_s(now_ns),
        }
        if self._save_error:
            return Health("state", HealthLevel.ERROR, f"the last save failed: {self._save_error}", values)
        return Health("state", HealthLevel.OK, "never saved" if self._saved_at_ns is None else "saved", values)
