# SPDX-License-Identifier: Apache-2.0
"""Logic of canary: gestures and telemetry in, a report with alarms out.

First form: the live model alone is judged (phase BASELINE) and nothing is called. What counts as a reason to worry is
`neuro_ros.canary`'s; a still scene gives no evidence and raises nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

from neuro_ros.canary import AlarmBoard, GestureStatistics, LayerReport, Observation
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import CanaryReport, Gesture, Header, SnnTelemetry
from neuro_ros.cores.parameters.canary import CanaryParameters

__all__ = ["CanaryCore"]

_S = 1_000_000_000
_TIMER = "report"
#: Telemetry messages kept for the observed rates, whatever the period: 1 Hz for a quarter of an hour.
_REPORTS_KEPT = 900
#: Telemetry messages between two reports of this core that are judged; more are a flood.
_REPORTS_PENDING = 64


class CanaryCore(Core):
    """Judges the running network.

    Parameters
    ----------
    parameters : CanaryParameters
        Validated parameters.
    clocks : Clocks
        Not used: latencies are measured by the inference node.
    """

    inputs: ClassVar[Mapping[str, type]] = {"gesture": Gesture, "snn/telemetry": SnnTelemetry}
    outputs: ClassVar[Mapping[str, type]] = {"canary/report": CanaryReport}

    def __init__(self, parameters: CanaryParameters, clocks: Clocks | None = None) -> None:
        self._parameters = parameters
        self._active = False
        self._restart(0)

    def _restart(self, now_ns: int) -> None:
        self._gestures = GestureStatistics(self._parameters.period_s, self._parameters.capacity)
        self._activated_ns = now_ns
        self._frame_id = ""
        self._sequence: tuple[int, int] | None = None
        self._gesture_gaps = 0
        self._forget_model("")

    def _forget_model(self, model_id: str) -> None:
        """Begin to judge another model: nothing that the last one did counts any more."""
        self._model_id = model_id
        self._board = AlarmBoard(self._parameters.limits())
        self._reports: deque[tuple[int, LayerReport]] = deque(maxlen=_REPORTS_KEPT)
        self._pending: deque[LayerReport] = deque(maxlen=_REPORTS_PENDING)
        self._telemetry_ns: int | None = None

    def timers(self) -> Mapping[str, int]:
        """Return the timer that judges and reports."""
        return {_TIMER: round(self._parameters.report_period_s * _S)}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Begin to judge; figures count from here."""
        self._active = True
        self._restart(now_ns)
        return ()

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent."""
        self._active = False
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take a gesture of the live arm, or telemetry."""
        if isinstance(message, Gesture):
            self._take_gesture(message, now_ns)
        elif isinstance(message, SnnTelemetry) and message.arm in ("", "live"):
            self._take_telemetry(message, now_ns)
        return ()

    def _take_gesture(self, gesture: Gesture, now_ns: int) -> None:
        self._frame_id = gesture.header.frame_id
        if self._sequence is not None and gesture.epoch == self._sequence[0]:
            self._gesture_gaps += max(0, gesture.sequence - self._sequence[1] - 1)
        self._sequence = (gesture.epoch, gesture.sequence)
        self._gestures.add(now_ns, gesture.latency_s, gesture.class_index, gesture.spike_counts)

    def _take_telemetry(self, telemetry: SnnTelemetry, now_ns: int) -> None:
        if telemetry.model_id != self._model_id:
            self._forget_model(telemetry.model_id)
        report = LayerReport(
            stamp_ns=telemetry.header.stamp,
            input_rate=telemetry.input_rate,
            layer=tuple(telemetry.layer),
            firing_rate=tuple(telemetry.firing_rate),
            dead_neurons=tuple(telemetry.dead_neurons),
            windows_lost=telemetry.windows_lost,
        )
        self._telemetry_ns = now_ns
        self._reports.append((now_ns, report))
        self._pending.append(report)

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Judge what came since the last report, and publish the next."""
        summary = self._gestures.summary(now_ns)
        reports = tuple(self._pending)
        self._pending.clear()
        self._board.observe(Observation(summary.latency_p99_s, summary.latency_samples, reports))
        rates = self._observed_rates(now_ns)
        raised = self._board.raised
        return [
            Output(
                "canary/report",
                CanaryReport(
                    header=Header(stamp=now_ns, frame_id=self._frame_id),
                    model_id=self._model_id,
                    phase=CanaryReport.BASELINE,
                    reason="; ".join(raised.values()),
                    alarms=list(raised),
                    layer=list(rates),
                    baseline_rate=[math.nan] * len(rates),
                    observed_rate=list(rates.values()),
                    latency_p50_s=summary.latency_p50_s,
                    latency_p95_s=summary.latency_p95_s,
                    latency_p99_s=summary.latency_p99_s,
                    decision_margin=summary.decision_margin,
                    decided_share=summary.decided_share,
                    windows=self._gestures.windows,
                ),
            )
        ]

    def _observed_rates(self, now_ns: int) -> dict[str, float]:
        """Return layer name to mean firing rate over the period, NaN without input, in model order."""
        period_ns = self._parameters.period_s * _S
        while self._reports and not 0 <= now_ns - self._reports[0][0] <= period_ns:
            self._reports.popleft()
        rates: dict[str, list[float]] = {}
        for _, report in self._reports:
            for name, rate in zip(report.layer, report.firing_rate, strict=False):
                seen = rates.setdefault(name, [])
                if report.input_rate > 0.0 and math.isfinite(rate):
                    seen.append(rate)
        return {name: math.fsum(seen) / len(seen) if seen else math.nan for name, seen in rates.items()}

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits; what is raised stays raised until it is judged again."""
        if isinstance(parameters, CanaryParameters):
            self._parameters = parameters
            self._board.limits = parameters.limits()

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Report alarms, gestures and layers."""
        if not self._active:
            return [Health("alarms", HealthLevel.OK, "inactive", {})]
        summary = self._gestures.summary(now_ns)
        raised = self._board.raised
        since_ns = self._activated_ns if self._telemetry_ns is None else self._telemetry_ns
        silence_s = max(0, now_ns - since_ns) / _S
        if raised:
            alarms = Health("alarms", HealthLevel.WARN, "; ".join(raised.values()), {"raised": ", ".join(raised)})
        elif silence_s > self._parameters.telemetry_timeout_s:
            text = f"no telemetry of the network for {silence_s:.1f} s"
            alarms = Health("alarms", HealthLevel.WARN, text, {"raised": ""})
        else:
            alarms = Health("alarms", HealthLevel.OK, "none raised", {"raised": ""})
        gestures = Health(
            "gestures",
            HealthLevel.OK,
            f"{summary.windows} windows in {self._parameters.period_s:g} s"
            + (f", latency p99 {summary.latency_p99_s * 1e3:.1f} ms" if summary.latency_samples else ""),
            {
                "windows": self._gestures.windows,
                "gesture_gaps": self._gesture_gaps,
                "latency_p50_ms": summary.latency_p50_s * 1e3,
                "latency_p95_ms": summary.latency_p95_s * 1e3,
                "latency_p99_ms": summary.latency_p99_s * 1e3,
                "decided_share": summary.decided_share,
                "decision_margin": summary.decision_margin,
            },
        )
        rates = self._observed_rates(now_ns)
        layers = Health(
            "layers",
            HealthLevel.OK,
            f"{len(rates)} layers of {self._model_id or 'no model yet'}",
            {f"rate_{name}": rate for name, rate in rates.items()},
        )
        return [alarms, gestures, layers]
