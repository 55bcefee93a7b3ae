# SPDX-License-Identifier: Apache-2.0
"""One arm of the inference node: a model on a back end, run over windows, with states, evidence and books of its own.

What an arm is used for, live or on trial, is not known here; nor are messages that do not fit, files and threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cores.canary_self_test import SelfTest
from neuro_ros.cores.chip_estimate import ChipEstimate
from neuro_ros.cores.continuity import Position, Verdict, judge
from neuro_ros.cores.core import Clocks
from neuro_ros.cores.messages import Gesture, Header, SnnTelemetry, SpikeTensor
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_statistics import Period, WindowCounters, percentile
from neuro_ros.cores.stream_network import Stream, StreamNetwork
from neuro_ros.events.tensor import bitmap_bytes
from neuro_ros.snn import Engine, EngineError, Model, WindowResult

__all__ = ["Arm", "Books"]

_NS_PER_S = 1_000_000_000


@dataclass
class Books:
    """What is counted since activation, of whichever model is in a place: it goes on when another one takes it."""

    counters: WindowCounters = field(default_factory=WindowCounters)
    synaptic_operations: int = 0
    neuron_updates: int = 0


class Arm:
    """A model and what it did.

    Parameters
    ----------
    model : Model
        What to run.
    parameters : SnnInferenceParameters
        Validated; the dynamic ones may be replaced through the attribute of the same name.
    clocks : Clocks
        For measured durations only.
    around : Callable[[Engine], Engine], optional
        Put around every engine that is made, such as a chip that drifts.

    Attributes
    ----------
    network : StreamNetwork
        The back end with the states.
    chip : ChipEstimate or None
        Where a chip is named in the parameters.
    books : Books
        Since activation.
    period : Period
        Since the last telemetry.
    figures : dict of str to float
        Times of the last telemetry [s].
    self_test : SelfTest
        Of the weights.

    Raises
    ------
    ModelError
        The model takes no binary windows.
    EngineError
        The back end is missing, cannot represent the model exactly, or does not start.
    ChipError
        A power budget is set for a chip whose energies are not published.
    """

    def __init__(
        self,
        model: Model,
        parameters: SnnInferenceParameters,
        clocks: Clocks,
        around: Callable[[Engine], Engine] | None = None,
    ) -> None:
        model.require_binary_windows()
        self.model = model
        self.parameters = parameters
        self.cells = model.bins * model.cells
        self.nothing: NDArray[Any] = np.zeros(0, np.uint32)
        if parameters.constant_time:
            self.nothing = np.zeros(bitmap_bytes(self.cells), np.uint8)
        self.chip: ChipEstimate | None = None
        if parameters.chip:
            budget_w, seed = parameters.power_budget_w, parameters.placement_seed
            self.chip = ChipEstimate(model, parameters.chip, budget_w, seed)
        self.network = StreamNetwork(
            model, parameters.backend, parameters.max_streams, around, parameters.constant_time
        )
        self.self_test = SelfTest(model, self.network.engine)
        self._clocks = clocks
        self._neurons = tuple(math.prod(shape) for shape in model.network.shapes)
        self._layer_names = [layer.name for layer in model.network.layers]
        self.restart()

    @property
    def counters(self) -> WindowCounters:
        """What happened to windows since activation."""
        return self.books.counters

    def restart(self, now_ns: int | None = None) -> None:
        """Count from zero; with `now_ns`, estimates for a chip count from then."""
        self.books = Books()
        self.figures: dict[str, float] = {}
        self.period = Period(self.model.cells, self._neurons)
        self._latencies_s: list[float] = []
        self.network.restart_counters()
        self.self_test.restart()
        if now_ns is not None:
            self.begin_self_test(now_ns)
            if self.chip is not None:
                self.chip.restart(now_ns)

    def begin_self_test(self, now_ns: int) -> None:
        """Begin a self-test of the weights if one is due; `SelfTest.step` goes on with it."""
        self.self_test.begin(self.network.engine, now_ns, self.parameters.self_test_period_s)

    def rest(self) -> None:
        """Take note that windows go by unseen from here on: what is missing then was not asked for, and is not lost."""
        for stream in self.network.streams.values():
            if stream.position is not None and not stream.position.restored:
                stream.position.absent = True

    def skip(self, message: SpikeTensor) -> None:
        """Take note that a window of a known stream is unusable."""
        stream = self.network.streams.get(message.header.frame_id)
        if stream is None or stream.position is None:
            return
        position = stream.position
        if message.epoch == position.epoch and message.sequence > position.sequence:
            self.counters.lost += message.sequence - position.sequence - 1
            position.sequence = message.sequence
            position.broken = True

    def take(self, message: SpikeTensor, cells: NDArray[Any], now_ns: int, strict: bool = False) -> Gesture | None:
        """Run a window that fits the model, by the policies.

        Parameters
        ----------
        message : SpikeTensor
            The window.
        cells : (active,) uint32, or (ceil(bins * cells / 8),) uint8
            As `StreamNetwork.run` takes them.
        now_ns : int
            Host time [ns].
        strict : bool
            Raise when the back end fails, instead of starting it again.

        Returns
        -------
        Gesture or None
            None when the window was not run: seen before, too late by policy, or the back end failed.

        Raises
        ------
        EngineError
            With `strict`, the back end failed.
        """
        stream_id = message.header.frame_id
        stream = self.network.streams.get(stream_id)
        verdict = judge(stream.position if stream else None, message, self.parameters)
        if not verdict.run:
            self.counters.repeated += 1
            return None
        if stream is None:
            stream = self.network.add(stream_id)
        self._count(message, verdict)
        if not self.network.select(stream_id, now_ns):
            if strict:
                raise EngineError(self.network.error)
            self._give_up(stream, message)
            return None
        try:
            if verdict.reset:
                self.network.reset()
            if self._late(message, now_ns):
                self._pass_over(stream, message)
                self.counters.late_skipped += 1
                return None
            return self._run(stream, message, cells, verdict.withheld)
        except EngineError as error:
            if strict:
                raise
            kept = self.network.fail(error, now_ns)
            self._give_up(stream, message, kept)
            return None

    def _count(self, message: SpikeTensor, verdict: Verdict) -> None:
        self.counters.lost += verdict.lost
        self.counters.missed_inactive += verdict.missed
        self.counters.gaps += verdict.gap
        self.counters.backwards += verdict.backwards
        self.counters.withheld += message.windows_withheld
        self.counters.incomplete += not message.complete

    def _late(self, message: SpikeTensor, now_ns: int) -> bool:
        """Count a late window; True when the policy skips it."""
        if now_ns - message.header.stamp <= self.parameters.late_after_s * _NS_PER_S:
            return False
        self.counters.late += 1
        return self.parameters.late_policy == "skip"

    def _give_up(self, stream: Stream, message: SpikeTensor, kept: bool = False) -> None:
        """Count a window that the back end failed on; `kept`: the stream goes on from its last snapshot."""
        self.counters.failed += 1
        self._pass_over(stream, message)
        if kept and stream.parked is not None and stream.position is not None:
            stream.position.broken, stream.position.restored = False, True
            stream.position.sensor_end_ns = stream.parked.sensor_end_ns

    @staticmethod
    def _pass_over(stream: Stream, message: SpikeTensor) -> None:
        stream.position = Position(message.epoch, message.sequence, message.sensor_end_ns, broken=True)

    def _run(self, stream: Stream, message: SpikeTensor, cells: NDArray[Any], withheld: int) -> Gesture:
        parameters, bins = self.parameters, self.model.bins
        window_s = self.model.window_length_ns / _NS_PER_S
        for _ in range(withheld):
            result = self._step(self.nothing)
            stream.evidence.add(result.spike_counts, window_s, parameters.evidence_half_life_s)
        started_ns = self._clocks.stopwatch_ns()
        result = self._step(cells)
        inference_s = (self._clocks.stopwatch_ns() - started_ns) / _NS_PER_S if started_ns else math.nan
        self.period.time(inference_s, bins)
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
        return Gesture(
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
        )

    def _step(self, cells: NDArray[Any]) -> WindowResult:
        result = self.network.run(cells)
        self.period.add(result)
        self.books.synaptic_operations += result.synaptic_ops
        self.books.neuron_updates += result.bins * sum(self._neurons)
        return result

    def _latency_s(self, message: SpikeTensor) -> float:
        system_ns = self._clocks.system_ns()
        if not message.closed_at or not system_ns:
            return math.nan
        latency_s = (system_ns - message.closed_at) / _NS_PER_S
        self._latencies_s.append(latency_s)
        return latency_s

    def telemetry(self, arm: str, now_ns: int, save_age_s: float) -> SnnTelemetry:
        """Return the figures since the last call, and begin the next period.

        Parameters
        ----------
        arm : str
            What it is used for: ``live``, ``shadow`` or ``canary``.
        now_ns : int
            Host time [ns].
        save_age_s : float
            Age of the last durable state [s]; NaN = none.
        """
        period, counters, network, answer = self.period, self.counters, self.network, self.self_test.answer
        if self.chip is not None:
            self.chip.update(period, now_ns)
        steps_s, windows_s = period.percentiles()
        dead, saturated = period.dead_and_saturated(network.engine)
        latencies = sorted(self._latencies_s)
        self.figures = {
            "window_time_p50_s": windows_s[0],
            "window_time_p99_s": windows_s[2],
            "latency_p50_s": percentile(latencies, 0.5),
            "latency_p99_s": percentile(latencies, 0.99),
        }
        self._latencies_s = []
        message = SnnTelemetry(
            header=Header(now_ns, network.last_stream),
            model_id=self.model.model_id,
            backend=self.parameters.backend,
            arm=arm,
            compensation_id_applied=network.registers.applied_id,
            layer=list(self._layer_names),
            firing_rate=period.firing_rates,
            dead_neurons=dead,
            saturated_neurons=saturated,
            input_rate=period.input_rate,
            synaptic_operations=self.books.synaptic_operations,
            neuron_updates=self.books.neuron_updates,
            step_time_p50_s=steps_s[0],
            step_time_p95_s=steps_s[1],
            step_time_p99_s=steps_s[2],
            window_time_p50_s=windows_s[0],
            window_time_p95_s=windows_s[1],
            window_time_p99_s=windows_s[2],
            windows_in=counters.received,
            windows_skipped=counters.skipped,
            windows_lost=counters.lost,
            state_resets=network.resets,
            state_save_age_s=save_age_s,
            self_test_stamp=self.self_test.answered_ns,
            self_test_probe=answer.probe if answer is not None else 0,
            self_test_spikes=list(answer.spikes) if answer is not None else [],
            self_test_checksum=list(answer.checksums) if answer is not None else [],
            **(self.chip.fields() if self.chip is not None else {}),
        )
        self.period = Period(self.model.cells, self._neurons)
        network.clear_neuron_spikes()
        return message

    def decays(self) -> Mapping[str, list[Any]]:
        """Return names of the populations and their nominal decay registers: ``layer``, ``du``, ``dv``."""
        layers = self.model.network.layers
        return {
            "layer": list(self._layer_names),
            "du": [layer.neuron.du for layer in layers],
            "dv": [layer.neuron.dv for layer in layers],
        }

    def close(self) -> None:
        """Release the back end; safe twice."""
        self.network.close()
