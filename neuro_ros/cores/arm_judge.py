# SPDX-License-Identifier: Apache-2.0
"""What the canary thinks of one arm: its messages, brought together, and the alarms about it, against its baseline.

Which arm that is, and what follows from an alarm, is not known here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from neuro_ros.canary import AlarmBoard, Baseline, LayerReport
from neuro_ros.cores.canary_intake import CanaryIntake
from neuro_ros.cores.messages import SnnTelemetry
from neuro_ros.cores.parameters.canary import CanaryParameters

__all__ = ["ArmJudge"]

_S = 1_000_000_000
#: Telemetry messages kept for the observed rates, whatever the period: 1 Hz for a quarter of an hour.
_REPORTS_KEPT = 900


class ArmJudge:
    """Judges one arm.

    Parameters
    ----------
    parameters : CanaryParameters
        Validated; may be replaced through the attribute of the same name.
    baselines : mapping of str to Baseline
        By model id.

    Attributes
    ----------
    model_id : str
        The model that telemetry named; empty = none yet.
    baseline : Baseline or None
        What it is compared with.
    intake : CanaryIntake
        Its messages.
    board : AlarmBoard
        The alarms about it.
    telemetry_ns : int or None
        When telemetry came last [ns].
    on_trial : bool
        Whether the model is on trial in a roll-out.
    """

    def __init__(self, parameters: CanaryParameters, baselines: Mapping[str, Baseline]) -> None:
        self.parameters = parameters
        self._baselines = baselines
        self.intake = CanaryIntake(parameters.period_s, parameters.capacity)
        self.model_id = ""
        self.on_trial = False
        self._begin("")

    def _begin(self, model_id: str) -> None:
        """Begin to judge another model: nothing that the last one did counts any more."""
        if self.model_id:
            self.intake.forget_model()
        self.model_id = model_id
        self.baseline = _choose(self._baselines, model_id)
        self.board = AlarmBoard(self.parameters.alarm)
        self._reports: deque[tuple[int, LayerReport]] = deque(maxlen=_REPORTS_KEPT)
        self.telemetry_ns: int | None = None

    def telemetry(self, message: SnnTelemetry, now_ns: int) -> None:
        """Take telemetry of this arm."""
        if message.model_id != self.model_id:
            self._begin(message.model_id)
        self.telemetry_ns = now_ns
        self._reports.append((now_ns, self.intake.telemetry(message)))

    def judge(self, now_ns: int) -> None:
        """Judge what came since the last call."""
        self.board.observe(self.intake.take(now_ns, self.baseline, self.model_id, self.on_trial))

    def rates(self, now_ns: int) -> dict[str, tuple[float, float]]:
        """Return layer name to mean rate over the period and to what the baseline has for it, NaN without input."""
        period_ns = self.parameters.period_s * _S
        while self._reports and not 0 <= now_ns - self._reports[0][0] <= period_ns:
            self._reports.popleft()
        rates: dict[str, list[tuple[float, float]]] = {}
        for _, report in self._reports:
            for name, rate in zip(report.layer, report.firing_rate, strict=False):
                seen = rates.setdefault(name, [])
                if report.input_rate > 0.0 and math.isfinite(rate):
                    layer = self.baseline.layer(name) if self.baseline else None
                    seen.append((rate, layer.rate.expected(report.input_rate, report.leader) if layer else math.nan))
        return {
            name: (_mean([row[0] for row in seen]), _mean([row[1] for row in seen])) for name, seen in rates.items()
        }


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
