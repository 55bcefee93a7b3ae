# SPDX-License-Identifier: Apache-2.0
"""Decisions that are less sure than they were, and, where labels are known, less often right."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["AccuracyAlarm", "MarginAlarm"]


class MarginAlarm:
    """Margin of the decisions below what the baseline has for the same classes: stands in for accuracy without labels.

    Some classes are always decided by a hair and others by a mile, so each window is compared with the windows in which
    the same class led.
    """

    name: ClassVar[str] = "margin"
    advice: ClassVar[str] = "the network is less sure than it was: check camera, focus and model, and collect labels"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How much less is too little."""

        raise_after: int = limit(3, "bad reports in a row that raise it", minimum=1, maximum=1000)
        drop: float = limit(
            0.2, "share by which the mean margin may fall below the baseline's", minimum=0.01, maximum=1.0
        )
        sigmas: float = limit(
            4.0,
            "standard deviations between scenes that are tolerated, where they are more than that share",
            minimum=0.0,
            maximum=100.0,
        )
        windows: int = limit(
            600, "windows with output spikes over which the margin is averaged", minimum=10, maximum=100_000
        )

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque()

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the means of the last windows, once there are half as many as asked for."""
        baseline = observation.baseline
        if baseline is None or not observation.margins:
            return Verdict(None)
        for leader, margin in observation.margins:
            expected = baseline.margin.expected[leader] if 0 <= leader < len(baseline.margin.expected) else math.nan
            if not math.isnan(expected) and 0.0 <= margin <= 1.0:
                self._recent.append((margin, expected))
        while len(self._recent) > limits.windows:
            self._recent.popleft()
        if len(self._recent) < limits.windows / 2:
            return Verdict(None)
        seen, usual = (math.fsum(row[k] for row in self._recent) / len(self._recent) for k in (0, 1))
        tolerance = max(limits.drop * usual, limits.sigmas * baseline.margin.spread)
        text = (
            f"decisions are less sure: the first class leads by {seen:.2f} instead of {usual:.2f} of the output "
            f"spikes, limit {usual - tolerance:.2f}"
        )
        return Verdict(seen < usual - tolerance, text)


class AccuracyAlarm:
    """Share of right decisions below the baseline's, where labels arrive on ``truth``."""

    name: ClassVar[str] = "accuracy"
    advice: ClassVar[str] = "the decisions are wrong more often than when the model was measured: roll back"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How much less is too little."""

        drop: float = limit(
            0.02, "difference by which accuracy may fall below the baseline's, 0..1", minimum=0.0, maximum=1.0
        )
        sigmas: float = limit(
            3.0,
            "standard errors of the accuracy that are tolerated beyond that difference, each stretch of one label "
            "counting once",
            minimum=0.0,
            maximum=100.0,
        )
        windows: int = limit(
            4000, "labelled and decided windows over which accuracy is averaged", minimum=10, maximum=1_000_000
        )
        min_scenes: int = limit(20, "stretches of one label that are needed", minimum=2, maximum=100_000)

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int]] = deque()

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare once there are enough stretches of one label.

        Windows of one stretch are right or wrong together, so the standard error follows from their number, not from
        the number of windows.
        """
        if observation.baseline is None or not observation.outcomes:
            return Verdict(None)
        self._recent.extend(observation.outcomes)
        while len(self._recent) > limits.windows:
            self._recent.popleft()
        rows = list(self._recent)
        scenes = 1 + sum(a[0] != b[0] for a, b in itertools.pairwise(rows))
        if scenes < limits.min_scenes:
            return Verdict(None)
        usual = observation.baseline.accuracy
        accuracy = sum(label == decided for label, decided in rows) / len(rows)
        error = usual.spread / math.sqrt(scenes)
        floor = usual.mean - limits.drop - limits.sigmas * error
        text = f"{accuracy:.1%} of the decisions are right instead of {usual.mean:.1%}, limit {max(floor, 0.0):.1%}"
        return Verdict(accuracy < floor, text)
