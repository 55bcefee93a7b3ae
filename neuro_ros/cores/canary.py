# SPDX-License-Identifier: Apache-2.0
"""Logic of canary: gestures, windows, telemetry, labels, clock and temperature in, a report with alarms out.

What counts as a reason to worry is `neuro_ros.canary`'s; a still scene gives no evidence and raises nothing. What is
normal for a model, its baseline file says, which is looked up by the model id that telemetry names; another version of
the model stands in for one that has none.

While a model is on trial, a second judge looks at it, its answers are compared with the other one's, and what the rules
of the roll-out ask for is there to be called for (`request`). The inference node owns the models; nothing is switched
here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from neuro_ros.canary import Baseline, BaselineError, Evidence, Phase, find_baselines
from neuro_ros.cores.arm_judge import ArmJudge
from neuro_ros.cores.canary_intake import CanaryIntake
from neuro_ros.cores.canary_rollout import ABOUT_MODELS, RolloutWatch, SwitchRequest
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import (
    CanaryReport,
    ClockModel,
    Gesture,
    Header,
    RolloutStatus,
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
        "gesture/shadow": Gesture,
        "rollout": RolloutStatus,
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
        self._activated_ns = now_ns
        self._live = ArmJudge(self._parameters, self._baselines)
        self._trial: ArmJudge | None = None
        self._watch = RolloutWatch(self._parameters)
        self._evidence = Evidence()
        self._request: SwitchRequest | None = None

    @property
    def _intake(self) -> CanaryIntake:
        return self._live.intake

    @property
    def request(self) -> SwitchRequest | None:
        """The switch that the rules asked for in the last report; None = none."""
        return self._request

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
        """Take what concerns the live arm, and the one on trial."""
        if isinstance(message, Gesture):
            if topic == "truth":
                self._watch.truth(message)
                for judge in self._judges:
                    judge.intake.truth(message, now_ns)
            else:
                self._answer(topic, message, now_ns)
        elif isinstance(message, SpikeTensor):
            for judge in self._judges:
                judge.intake.window(message)
        elif isinstance(message, SnnTelemetry):
            self._telemetry(message, now_ns)
        elif isinstance(message, ClockModel):
            for judge in self._judges:
                judge.intake.clock(message, now_ns)
        elif isinstance(message, ThermalCompensation):
            for judge in self._judges:
                judge.intake.thermal(message)
        elif isinstance(message, RolloutStatus):
            self._follow(message)
        return ()

    @property
    def _judges(self) -> tuple[ArmJudge, ...]:
        return (self._live,) if self._trial is None else (self._live, self._trial)

    def _answer(self, topic: str, message: Gesture, now_ns: int) -> None:
        """Give an answer to the judge of its model, on whichever topic it came."""
        self._watch.gesture(message)
        if self._trial is not None and message.model_id == self._watch.on_trial:
            self._trial.intake.gesture(message, now_ns)
        elif topic == "gesture" or message.model_id == self._watch.status.live_id:
            self._live.intake.gesture(message, now_ns)

    def _telemetry(self, message: SnnTelemetry, now_ns: int) -> None:
        if message.arm in ("", "live"):
            self._live.telemetry(message, now_ns)
        elif self._trial is not None and message.model_id == self._watch.on_trial:
            self._trial.telemetry(message, now_ns)

    def _follow(self, status: RolloutStatus) -> None:
        """Follow the roll-out: the judge of a model stays with it when it becomes the live one."""
        trial_id = self._watch.status.candidate_id
        self._watch.take(status)
        if status.candidate_id:
            if self._trial is None or status.candidate_id != trial_id:
                self._trial = ArmJudge(self._parameters, self._baselines)
            return
        trial, self._trial = self._trial, None
        if trial is not None and self._watch.phase is Phase.PROMOTED and status.live_id == trial_id:
            self._live = trial

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Judge what came since the last report, and publish the next."""
        for judge in self._judges:
            judge.on_trial = judge.model_id == self._watch.on_trial
            judge.judge(now_ns)
        live, status = self._live, self._watch.status
        on_trial = self._trial if self._trial is not None else (live if status.previous_id else None)
        self._evidence = self._watch.evidence(on_trial, live.board.raised.get("thermal", ""))
        self._request = self._watch.request(self._evidence, now_ns)
        summary = self._intake.summary(now_ns)
        accuracy, labelled = self._intake.accuracy(now_ns)
        rates = live.rates(now_ns)
        raised, advice = self._raised()
        reasons = [f"{self._watch.phase.name}: {status.reason}"] if status.reason else []
        return [
            Output(
                "canary/report",
                CanaryReport(
                    header=Header(stamp=now_ns, frame_id=self._intake.frame_id),
                    model_id=live.model_id,
                    candidate_id=status.candidate_id,
                    phase=int(self._watch.phase),
                    reason="; ".join([*reasons, *raised.values()]),
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
                    advice=list(advice.values()),
                    baseline_id=live.baseline.model_id if live.baseline else "",
                    step_time_p99_s=summary.step_time_p99_s,
                    accuracy=accuracy,
                    labelled=labelled,
                    moving_share=self._intake.moving_share,
                    on_share=self._intake.on_share,
                ),
            )
        ]

    def _raised(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the alarms about the live model and, under names of their own, those about the one on trial alone."""
        raised, advice = dict(self._live.board.raised), dict(self._live.board.advice)
        if self._trial is not None:
            its_advice = self._trial.board.advice
            for name, text in self._trial.board.raised.items():
                if name in ABOUT_MODELS and name not in raised:
                    raised[f"candidate_{name}"] = f"candidate {self._watch.on_trial}: {text}"
                    advice[f"candidate_{name}"] = its_advice[name]
        return raised, advice

    @property
    def alarms(self) -> dict[str, str]:
        """Names of the raised alarms about the live model, and why."""
        return self._live.board.raised

    @property
    def judged(self) -> dict[str, int]:
        """Names of all alarms, and how often each had evidence to judge by."""
        return self._live.board.judged

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits; what is raised stays raised until it is judged again."""
        if isinstance(parameters, CanaryParameters):
            self._parameters = self._watch.parameters = parameters
            for judge in self._judges:
                judge.parameters = parameters
                judge.board.limits = parameters.alarm

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Report alarms, gestures, layers, the baseline and the roll-out."""
        if not self._active:
            return [Health("alarms", HealthLevel.OK, "inactive", {})]
        return [
            self._alarm_health(now_ns),
            self._gesture_health(now_ns),
            *self._layer_health(now_ns),
            self._rollout_health(),
        ]

    def _alarm_health(self, now_ns: int) -> Health:
        board, telemetry_ns = self._live.board, self._live.telemetry_ns
        raised = board.raised
        since_ns = self._activated_ns if telemetry_ns is None else telemetry_ns
        silence_s = max(0, now_ns - since_ns) / _S
        values: dict[str, object] = {"raised": ", ".join(raised)}
        values.update({f"advice_{name}": text for name, text in board.advice.items()})
        values.update({f"judged_{name}": count for name, count in board.judged.items()})
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
        rates, model_id, baseline = self._live.rates(now_ns), self._live.model_id, self._live.baseline
        values: dict[str, object] = {}
        for name, (observed, expected) in rates.items():
            values[f"rate_{name}"] = observed
            values[f"usual_rate_{name}"] = expected
        layers = Health("layers", HealthLevel.OK, f"{len(rates)} layers of {model_id or 'no model yet'}", values)
        if not model_id:
            text, measured = "no model yet", {}
        elif baseline is None:
            text = f"none for {model_id}, so rates, margin, accuracy and polarity are not judged"
            measured = {"remedy": "neuro_ros evaluate MODEL --baseline"}
        else:
            text = f"of {baseline.model_id}"
            if baseline.model_id != model_id:
                text += f", another version of {model_id}"
            if baseline.self_test is None:
                text += "; it is older than the self-test, which is not judged: measure it again"
            measured = {key: str(value) for key, value in baseline.measured.items()}
        level = HealthLevel.WARN if self._refused else HealthLevel.OK
        if self._refused:
            text += f"; {self._refused[0]}"
        return [layers, Health("baseline", level, text, {**measured, "refused_files": len(self._refused)})]

    def _rollout_health(self) -> Health:
        """Show where the roll-out stands and how the model on trial compares."""
        watch, evidence, status = self._watch, self._evidence, self._watch.status
        values: dict[str, object] = {
            "phase": watch.phase.name,
            "on_trial": watch.on_trial,
            "windows_compared": evidence.windows,
            "accuracy_drop": evidence.accuracy_drop,
            "accuracy_error": evidence.accuracy_error,
            "by_labels": evidence.by_labels,
            "agreement": watch.comparison.agreement,
            "spike_rate_anomaly": evidence.spike_rate_anomaly,
        }
        if not watch.on_trial:
            return Health("rollout", HealthLevel.OK, f"{watch.phase.name}, no model is on trial", values)
        if self._request is not None:
            text = f"{self._request.command.name} of {watch.on_trial}: {self._request.reason}"
            return Health("rollout", HealthLevel.WARN, text, values)
        text = f"{watch.phase.name}, {watch.on_trial} beside {status.previous_id or status.live_id}"
        return Health("rollout", HealthLevel.OK, f"{text}, {evidence.windows} windows compared", values)


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
