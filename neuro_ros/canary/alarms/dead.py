# SPDX-License-Identifier: Apache-2.0
"""Neurons that stay silent although the scene moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from neuro_ros.canary import limits as base
from neuro_ros.canary.alarms.base import InputClock, RecentSum
from neuro_ros.canary.baseline import Baseline
from neuro_ros.canary.limits import limit
from neuro_ros.canary.measure import MOVING_SHARE
from neuro_ros.canary.observation import LayerReport, Observation, Verdict

__all__ = ["DeadNeuronsAlarm"]


class _Row(NamedTuple):
    name: str
    dead: int
    silent: bool
    usual: float


class DeadNeuronsAlarm:
    """Layers, or too many neurons of one, that stay silent over seconds of input.

    A neuron that is dead is counted in every report. Many others are silent because nothing moves where they look, and
    how many that are, the baseline says given the input rate. So a layer is bad when all reports over the time together
    count more silent neurons than the baseline has for the same input.
    """

    name: ClassVar[str] = "dead_neurons"
    advice: ClassVar[str] = "check that the model file is the intended one, and that the whole picture arrives"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How many for how long are too many."""

        input_s: float = limit(
            10.0, "time with motion within which every layer must spike", unit="s", minimum=0.1, maximum=3600.0
        )
        min_input_rate: float = limit(
            0.001, "share of active input cells a step from which time counts as input", minimum=0.0, maximum=1.0
        )
        neurons: int = limit(
            0,
            "neurons of a layer that may stay silent all that time; 0 = as many as the baseline has, or any number "
            "short of all without one",
            minimum=0,
            maximum=100_000_000,
        )
        change: float = limit(
            0.2, "share by which more neurons than the baseline's may be silent", minimum=0.01, maximum=100.0
        )
        sigmas: float = limit(
            4.0,
            "standard deviations between scenes that are tolerated, where they are more than that share",
            minimum=0.0,
            maximum=100.0,
        )

    def __init__(self) -> None:
        self._clock = InputClock()
        self._recent: RecentSum[list[_Row]] = RecentSum()

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Judge once there is enough input; time without motion does not count."""
        judged = False
        for report in observation.reports:
            duration_s = self._clock.duration_s(report)
            if duration_s <= 0.0 or report.motion(limits.min_input_rate) < MOVING_SHARE:
                continue
            judged = True
            rows = [
                _Row(name, dead, rate == 0.0, _usual(name, report, observation.baseline))
                for name, rate, dead in zip(report.layer, report.firing_rate, report.dead_neurons, strict=False)
            ]
            self._recent.add(duration_s, rows, limits.input_s)
        input_s = self._recent.weight
        if not judged or input_s < limits.input_s * (1.0 - 1e-9):
            return Verdict(None)
        for name, history in self._by_layer().items():
            if all(row.silent for row in history):
                return Verdict(True, f"layer {name} silent over {input_s:.0f} s of input")
            if limits.neurons > 0:
                dead, allowed = float(min(row.dead for row in history)), float(limits.neurons)
            else:
                dead, allowed = _mean_of_all(history, observation.baseline, limits)
            if dead > allowed:
                what = f"{dead:.0f} neurons silent over {input_s:.0f} s of input, limit {allowed:.0f}"
                return Verdict(True, f"layer {name}: {what}")
        return Verdict(False)

    def _by_layer(self) -> dict[str, list[_Row]]:
        found: dict[str, list[_Row]] = {}
        for rows in self._recent.entries:
            for row in rows:
                found.setdefault(row.name, []).append(row)
        return found


def _usual(name: str, report: LayerReport, baseline: Baseline | None) -> float:
    """Return how many neurons are silent for such an input; NaN = nobody knows."""
    layer = baseline.layer(name) if baseline is not None else None
    return layer.neurons * layer.silent.expected(report.input_rate) if layer is not None else math.nan


def _mean_of_all(history: list[_Row], baseline: Baseline | None, limits: Any) -> tuple[float, float]:
    """Return the mean count of silent neurons and the greatest that is tolerated; infinite = nobody knows."""
    known = [row for row in history if not math.isnan(row.usual)]
    layer = baseline.layer(history[0].name) if baseline is not None else None
    if layer is None or 2 * len(known) < len(history):
        return 0.0, math.inf
    usual = math.fsum(row.usual for row in known) / len(known)
    tolerance = max(math.log1p(limits.change), limits.sigmas * layer.silent.scene_spread)
    return sum(row.dead for row in known) / len(known), min(float(layer.neurons), usual * math.exp(tolerance))
