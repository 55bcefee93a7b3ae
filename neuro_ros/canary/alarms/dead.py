# SPDX-License-Identifier: Apache-2.0
"""Neurons that stay silent although the scene moves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.alarms.base import InputClock, RecentSum
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["DeadNeuronsAlarm"]

_Row = tuple[str, int, bool]


class DeadNeuronsAlarm:
    """Layers, or too many neurons of one, that stay silent over seconds of input.

    A neuron that is dead is counted in every report, so the least count over the reports is the best bound on the dead
    ones that the reports give. Many neurons are silent because nothing moves where they look: how many, the baseline
    says.
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
        share: float = limit(
            0.05, "share of a layer's neurons that may be silent beyond what the baseline has", minimum=0.0, maximum=1.0
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
            motion = report.motion(limits.min_input_rate)
            if duration_s <= 0.0 or motion <= 0.0:
                continue
            judged = True
            rows = [
                (name, dead, rate == 0.0)
                for name, rate, dead in zip(report.layer, report.firing_rate, report.dead_neurons, strict=False)
            ]
            self._recent.add(duration_s * motion, rows, limits.input_s)
        input_s = self._recent.weight
        if not judged or input_s < limits.input_s * (1.0 - 1e-9):
            return Verdict(None)
        for name, history in self._by_layer().items():
            if all(silent for _, silent in history):
                return Verdict(True, f"layer {name} silent over {input_s:.0f} s of input")
            dead = min(count for count, _ in history)
            allowed = self._allowed(name, observation, limits)
            if allowed is not None and dead > allowed:
                text = f"layer {name}: {dead} neurons silent over {input_s:.0f} s of input, limit {allowed}"
                return Verdict(True, text)
        return Verdict(False)

    def _by_layer(self) -> dict[str, deque[tuple[int, bool]]]:
        found: dict[str, deque[tuple[int, bool]]] = {}
        for rows in self._recent.entries:
            for name, dead, silent in rows:
                found.setdefault(name, deque()).append((dead, silent))
        return found

    @staticmethod
    def _allowed(name: str, observation: Observation, limits: Any) -> int | None:
        """Return how many neurons may be silent; None = nobody knows."""
        if limits.neurons > 0:
            return int(limits.neurons)
        layer = observation.baseline.layer(name) if observation.baseline else None
        if layer is None:
            return None
        return int((layer.silent.mean + max(limits.share, limits.sigmas * layer.silent.spread)) * layer.neurons)
