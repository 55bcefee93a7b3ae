# SPDX-License-Identifier: Apache-2.0
"""Logic of canary: gestures, windows, telemetry, labels, clock and temperature in, a report with alarms out.

The live model alone is judged (phase BASELINE) and nothing is called. What counts as a reason to worry is
`neuro_ros.canary`'s; a still scene gives no evidence and raises nothing. What is normal for a model, its baseline file
says, which is looked up by the model id that telemetry names; another version of the model stands in for one that has
none.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from neuro_ros.canary import AlarmBoard, Baseline, BaselineError, LayerReport, find_baselines
from neuro_ros.cores.canary_intake import CanaryIntake
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import (
    CanaryReport,
    ClockModel,
    Gesture,
    Header,
    SnnTelemetry,
    SpikeTensor,
    ThermalCompensation,
)
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.resources import ResourceError, models_directory

__all__ = ["CanaryCore"]

_LOG = logging.getLogger(__name__)
_S = 1_000_000_000
_TIMER = "report"
#: Telemetry messages kept for the observed rates, whatever the period: 1 Hz for a quarter of an hour.
_REPORTS_KEPT = 900


class CanaryCore(Core):
    """Judges the running network.

    Parameters
    ----------
    parameters : CanaryParameters
        Validated parameters.
    clocks : Clocks
        Not used: latencies are measured by the inference node.
    baselines : sequence of Baseline
        Known besides those of the folders.

    Raises
    ------
    BaselineError
        `baseline_directory` is no folder.
    """

    inputs: ClassVar[Mapping[str, type]] = {
        "gesture": Gesture,
        "snn/telemetry": SnnTelemetry,
        "spikes": SpikeTensor,
        "truth": Gesture,
        "clock/model": ClockModel,
        "thermal/compensation": ThermalCompensation,
    }
    outputs: ClassVar[Mapping[str, type]] = {"canary/report": CanaryReport}

    def __init__(
        self, parameters: CanaryParameters, clocks: Clocks | None = None, baselines: Sequence[Baseline] = ()
    ) -> None:
        self._parameters = parameters
        self._active = False
        self._baselines, self._refused = find_baselines(_folders(parameters.baseline_directory))
        self._baselines.update({baseline.model_id: baseline for baseline in baselines})
        for reason in self._refused:
            _LOG.error("%s; it is not used", reason)
        self._restart(0)

    def _restart(self, now_ns: int) -> None:
        self._intake = CanaryIntake(self._parameters.period_s, self._parameters.capacity)
        self._activated_ns = now_ns
        self._model_id = ""
        self._forget_model("")

    def _forget_model(self, model_id: str) -> None:
        """Begin to judge another model: nothing that the last one did counts any more."""
        if self._model_id:
            self._intake.forget_model()
        self._model_id = model_id
        self._baseline = _choose(self._baselines, model_id)
        self._board = AlarmBoard(self._parameters.alarm)
        self._reports: deque[tuple[int, LayerReport]] = deque(maxlen=_REPORTS_KEPT)
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
        """Take what concerns the live arm."""
        if isinstance(message, Gesture):
            if topic == "truth":
                self._intake.truth(message, now_ns)
            else:
                self._intake.gesture(message, now_ns)
        elif isinstance(message, SpikeTensor):
            self._intake.window(message)
        elif isinstance(message, SnnTelemetry) and message.arm in ("", "live"):
            if message.model_id != self._model_id:
                self._forget_model(message.model_id)
            self._telemetry_ns = now_ns
            self._reports.append((now_ns, self._intake.telemetry(message)))
        elif isinstance(message, ClockModel):
            self._intake.clock(message, now_ns)
        elif isinstance(message, ThermalCompensation):
            self._intake.thermal(message)
        return ()

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Judge what came since the last report, and publish the next."""
        self._board.observe(self._intake.take(now_ns, self._baseline))
        summary = self._intake.summary(now_ns)
        accuracy, labelled = self._intake.accuracy(now_ns)
        rates = self._observed_rates(now_ns)
        raised = self._board.raised
        return [
            Output(
                "canary/report",
                CanaryReport(
                    header=Header(stamp=now_ns, frame_id=self._intake.frame_id),
                    model_id=self._model_id,
                    phase=CanaryReport.BASELINE,
                    reason="; ".join(raised.values()),
                    alarms=list(raised),
                    layer=list(rates),
                    baseline_rate=[expected for _, expected in rates.values()],
                    observed_rate=[observed for observed, _ in rates.values()],
                    latency_p50_s=summary.latency_p50_s,
                    latency_p95_s=summary.latency_p95_s,
                    latency_p99_s=summary.latency_p99_s,
                    decision_margin=summary.decision_margin,
                    decided_share=summary.decided_share,
                    windows=self._intake.gestures.windows,
                    explanation=list(raised.values()),
                    advice=list(self._board.advice.values()),
                    baseline_id=self._baseline.model_id if self._baseline else "",
                    step_time_p99_s=summary.step_time_p99_s,
                    accuracy=accuracy,
                    labelled=labelled,
                    moving_share=self._intake.moving_share,
                    on_share=self._intake.on_share,
                ),
            )
        ]

    def _observed_rates(self, now_ns: int) -> dict[str, tuple[float, float]]:
        """Return layer name to mean rate over the period and to what the baseline has for it, NaN without input."""
        period_ns = self._parameters.period_s * _S
        while self._reports and not 0 <= now_ns - self._reports[0][0] <= period_ns:
            self._reports.popleft()
        rates: dict[str, list[tuple[float, float]]] = {}
        for _, report in self._reports:
            for name, rate in zip(report.layer, report.firing_rate, strict=False):
                seen = rates.setdefault(name, [])
                if report.input_rate > 0.0 and math.isfinite(rate):
                    layer = self._baseline.layer(name) if self._baseline else None
                    seen.append((rate, layer.rate.expected(report.input_rate, report.leader) if layer else math.nan))
        return {
            name: (_mean([row[0] for row in seen]), _mean([row[1] for row in seen])) for name, seen in rates.items()
        }

    @property
    def alarms(self) -> dict[str, str]:
        """Names of the raised alarms, and why."""
        return self._board.raised

    @property
    def judged(self) -> dict[str, int]:
        """Names of all alarms, and how often each had evidence to judge by."""
        return self._board.judged

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits; what is raised stays raised until it is judged again."""
        if isinstance(parameters, CanaryParameters):
            self._parameters = parameters
            self._board.limits = parameters.alarm

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Report alarms, gestures, layers and the baseline."""
        if not self._active:
            return [Health("alarms", HealthLevel.OK, "inactive", {})]
        return [self._alarm_health(now_ns), self._gesture_health(now_ns), *self._layer_health(now_ns)]

    def _alarm_health(self, now_ns: int) -> Health:
        raised = self._board.raised
        since_ns = self._activated_ns if self._telemetry_ns is None else self._telemetry_ns
        silence_s = max(0, now_ns - since_ns) / _S
        values: dict[str, object] = {"raised": ", ".join(raised)}
        values.update({f"advice_{name}": text for name, text in self._board.advice.items()})
        values.update({f"judged_{name}": count for name, count in self._board.judged.items()})
        if raised:
            return Health("alarms", HealthLevel.WARN, "; ".join(raised.values()), values)
        if silence_s > self._parameters.telemetry_timeout_s:
            return Health("alarms", HealthLevel.WARN, f"no telemetry of the network for {silence_s:.1f} s", values)
        return Health("alarms", HealthLevel.OK, "none raised", values)

    def _gesture_health(self, now_ns: int) -> Health:
        summary = self._intake.summary(now_ns)
        accuracy, labelled = self._intake.accuracy(now_ns)
        return Health(
            "gestures",
            HealthLevel.OK,
            f"{summary.windows} windows in {self._parameters.period_s:g} s"
            + (f", latency p99 {summary.latency_p99_s * 1e3:.1f} ms" if summary.latency_samples else ""),
            {
                "windows": self._intake.gestures.windows,
                "gesture_gaps": self._intake.gesture_gaps,
                "unreadable_windows": self._intake.unreadable,
                "latency_p50_ms": summary.latency_p50_s * 1e3,
                "latency_p95_ms": summary.latency_p95_s * 1e3,
                "latency_p99_ms": summary.latency_p99_s * 1e3,
                "step_time_p99_ms": summary.step_time_p99_s * 1e3,
                "decided_share": summary.decided_share,
                "decision_margin": summary.decision_margin,
                "accuracy": accuracy,
                "labelled_windows": labelled,
                "moving_share": self._intake.moving_share,
                "on_share": self._intake.on_share,
            },
        )

    def _layer_health(self, now_ns: int) -> list[Health]:
        rates = self._observed_rates(now_ns)
        values: dict[str, object] = {}
        for name, (observed, expected) in rates.items():
            values[f"rate_{name}"] = observed
            values[f"usual_rate_{name}"] = expected
        layers = Health("layers", HealthLevel.OK, f"{len(rates)} layers of {self._model_id or 'no model yet'}", values)
        if not self._model_id:
            text, measured = "no model yet", {}
        elif self._baseline is None:
            text = f"none for {self._model_id}, so rates, margin, accuracy and polarity are not judged"
            measured = {"remedy": "neuro_ros evaluate MODEL --baseline"}
        else:
            text = f"of {self._baseline.model_id}"
            if self._baseline.model_id != self._model_id:
                text += f", another version of {self._model_id}"
            measured = {key: str(value) for key, value in self._baseline.measured.items()}
        level = HealthLevel.WARN if self._refused else HealthLevel.OK
        if self._refused:
            text += f"; {self._refused[0]}"
        return [layers, Health("baseline", level, text, {**measured, "refused_files": len(self._refused)})]


def _folders(directory: str) -> list[Path]:
    """Return where baselines lie: beside the shipped models, and in a folder of the user's."""
    found = []
    try:
        found.append(models_directory())
    except ResourceError as error:
        _LOG.warning("no baselines of shipped models: %s", error)
    if directory:
        folder = Path(directory).expanduser()
        if not folder.is_dir():
            raise BaselineError(f"baseline_directory {folder} is no folder")
        found.append(folder)
    return found


def _choose(baselines: Mapping[str, Baseline], model_id: str) -> Baseline | None:
    """Return the baseline of a model, else that of another version of it, else None.

    A new version shall behave as the old one did until somebody measures what is normal for it: a weight file that was
    damaged or exchanged has another digest too.
    """
    if model_id in baselines:
        return baselines[model_id]
    name = model_id.rpartition("-")[0]
    versions = [baseline for key, baseline in baselines.items() if name and key.rpartition("-")[0] == name]
    return versions[-1] if versions else None


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
