# SPDX-License-Identifier: Apache-2.0
"""Answers that come too late: p99 from window to gesture, and of one network step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["LatencyAlarm", "StepTimeAlarm"]

#: A time counts as good only below this share of its limit, so that the alarm does not flutter.
_GOOD_SHARE = 0.8


def _judge(what: str, p99_s: float, samples: int, limits: Any, usual_s: float | None) -> Verdict:
    """Compare; between the limit and its lower edge there is no verdict."""
    if samples < limits.min_samples:
        return Verdict(None)
    text = f"{what}: 99 % within {p99_s * 1e3:.3g} ms, limit {limits.p99_s * 1e3:.3g} ms"
    if usual_s:
        text += f" ({usual_s * 1e3:.3g} ms when the model was measured)"
    if p99_s > limits.p99_s:
        return Verdict(True, text)
    return Verdict(False if p99_s <= _GOOD_SHARE * limits.p99_s else None, text)


class LatencyAlarm:
    """From the end of a window to its gesture."""

    name: ClassVar[str] = "latency"
    advice: ClassVar[str] = "look for other load on this computer, a throttled processor, or a slower back end"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """When it is too late."""

        p99_s: float = limit(
            0.05, "99 % of the windows must keep this, from closed to gesture", unit="s", minimum=1e-4, maximum=60.0
        )
        min_samples: int = limit(20, "gestures in the period below which nothing is judged", minimum=1, maximum=100_000)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the p99 of the period."""
        usual_s = observation.baseline.latency.get("window_time_p99_s") if observation.baseline else None
        what = "answers come late"
        return _judge(what, observation.latency_p99_s, observation.latency_samples, limits, usual_s)


class StepTimeAlarm:
    """One step of the network in the back end."""

    name: ClassVar[str] = "step_time"
    advice: ClassVar[str] = "use a smaller network or a faster back end; windows will pile up and be lost"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """When a step is too slow."""

        p99_s: float = limit(
            0.005,
            "99 % of the network's steps must keep this; a bin of the shipped model lasts 5 ms, and a slower network "
            "falls behind the camera",
            unit="s",
            minimum=1e-6,
            maximum=60.0,
        )
        min_samples: int = limit(20, "windows in the period below which nothing is judged", minimum=1, maximum=100_000)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the p99 of the period."""
        usual_s = observation.baseline.latency.get("step_time_p99_s") if observation.baseline else None
        what = "a network step is slow"
        return _judge(what, observation.step_time_p99_s, observation.step_samples, limits, usual_s)
