# SPDX-License-Identifier: Apache-2.0
"""Layers that fire more or less than they do for such an input, and neurons that fire all the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.alarms.base import InputClock, RecentSum
from neuro_ros.canary.limits import limit
from neuro_ros.canary.measure import MOVING_SHARE
from neuro_ros.canary.observation import LayerReport, Observation, Verdict

__all__ = ["SaturatedNeuronsAlarm", "SpikeRateAlarm"]


class SpikeRateAlarm:
    """Mean spike rate of a layer off from what the baseline has for the same input rate and leading class.

    A rate depends on who moves how, and the more so the deeper the layer. The tolerance is therefore the configured
    share or, where that is more, some standard deviations of what one scene differs from the next.
    """

    name: ClassVar[str] = "spike_rate"
    advice: ClassVar[str] = "check that the model file is the intended one; load it again or roll back"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How far is too far."""

        raise_after: int = limit(3, "bad reports in a row that raise it", minimum=1, maximum=1000)
        change: float = limit(
            0.2,
            "share by which a layer's mean rate may differ from the baseline at the same input rate",
            minimum=0.01,
            maximum=0.95,
        )
        sigmas: float = limit(
            4.0,
            "standard deviations between scenes that are tolerated, where they are more than that share",
            minimum=0.0,
            maximum=100.0,
        )
        input_s: float = limit(
            30.0,
            "time with motion over which rates are averaged; half of it is needed",
            unit="s",
            minimum=1.0,
            maximum=3600.0,
        )
        min_input_rate: float = limit(
            0.001, "share of active input cells a step from which time counts as input", minimum=0.0, maximum=1.0
        )

    def __init__(self) -> None:
        self._clock = InputClock()
        self._recent: RecentSum[list[tuple[str, float, float]]] = RecentSum()

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the sums over the last seconds of motion."""
        judged = False
        for report in observation.reports:
            duration_s = self._clock.duration_s(report)
            if observation.baseline is None or report.motion(limits.min_input_rate) < MOVING_SHARE:
                continue
            rows = []
            for name, rate in zip(report.layer, report.firing_rate, strict=False):
                layer = observation.baseline.layer(name)
                expected = layer.rate.expected(report.input_rate, report.leader) if layer is not None else math.nan
                if not math.isnan(expected) and 0.0 <= rate <= 1.0:
                    rows.append((name, rate, expected))
            if rows and duration_s > 0.0:
                self._recent.add(duration_s, rows, limits.input_s)
                judged = True
        if not judged or self._recent.weight < limits.input_s / 2 or observation.baseline is None:
            return Verdict(None)
        sums: dict[str, list[float]] = {}
        for rows in self._recent.entries:
            for name, rate, expected in rows:
                entry = sums.setdefault(name, [0.0, 0.0, 0.0])
                entry[0] += rate
                entry[1] += expected
                entry[2] += 1.0
        worst, text = 0.0, ""
        for name, (seen, expected, count) in sums.items():
            layer = observation.baseline.layer(name)
            if layer is None or not expected > 0.0:
                continue
            more = seen > expected
            share = math.log1p(limits.change) if more else -math.log1p(-limits.change)
            tolerance = max(share, limits.sigmas * layer.rate.scene_spread)
            off = abs(math.log(seen / expected)) if seen > 0.0 else math.inf
            if off > tolerance and off / tolerance > worst:
                worst = off / tolerance
                text = (
                    f"layer {name} fires {abs(seen / expected - 1):.0%} {'more' if more else 'less'} than usual for "
                    f"what the camera shows ({seen / count:.3g} instead of {expected / count:.3g} spikes a neuron and "
                    f"step, limit {math.expm1(tolerance) if more else -math.expm1(-tolerance):.0%})"
                )
        return Verdict(bool(text), text)


class SaturatedNeuronsAlarm:
    """Neurons that spike in nearly every step: they carry no information, and cost the most."""

    name: ClassVar[str] = "saturated_neurons"
    advice: ClassVar[str] = (
        "look for hot pixels and flicker in the picture, and for a wrong threshold in the model file"
    )

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How many are too many."""

        share: float = limit(
            0.02,
            "share of a layer's neurons, or one of them where that is more, that may be saturated beyond what the "
            "baseline has",
            minimum=0.0,
            maximum=1.0,
        )

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare each report; without a baseline nobody knows how many neurons a layer has."""
        reports = [report for report in observation.reports if not math.isnan(report.input_rate)]
        if not reports or observation.baseline is None:
            return Verdict(None)
        for name, saturated in _counts(reports[-1]):
            layer = observation.baseline.layer(name)
            if layer is None:
                continue
            # At least one neuron: in a layer of eleven it is nine hundredths already, and the first to win fires most.
            allowed = layer.saturated * layer.neurons + max(1.0, limits.share * layer.neurons)
            if saturated > allowed:
                text = f"layer {name}: {saturated} of {layer.neurons} neurons fire without pause, limit {int(allowed)}"
                return Verdict(True, text)
        return Verdict(False)


def _counts(report: LayerReport) -> list[tuple[str, int]]:
    return list(zip(report.layer, report.saturated_neurons, strict=False))
