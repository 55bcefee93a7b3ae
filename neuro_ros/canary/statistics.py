# SPDX-License-Identifier: Apache-2.0
"""What the gestures of the last few seconds say about the network: latency, decisions, margins.

The margin of a decision is the lead of its first class over the second in output spikes, as a share of all of them. It
needs no truth. Times are answered as quantiles of a sketch, within 1 % of the true ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neuro_ros.canary.sketch import SlidingSketch
from neuro_ros.canary.window import RecentValues

__all__ = ["GestureStatistics", "GestureSummary", "leader", "margin"]

#: Relative error of the quantiles of times.
RELATIVE_ERROR = 0.01
_SHARES = (0.50, 0.95, 0.99)


def margin(spike_counts: Sequence[int]) -> float:
    """Return the lead of the first class over the second, 0..1; NaN without output spikes or a second class."""
    total = sum(spike_counts)
    if total <= 0 or len(spike_counts) < 2:
        return math.nan
    second, first = sorted(spike_counts)[-2:]
    return (first - second) / total


def leader(spike_counts: Sequence[int]) -> int:
    """Return the class with most output spikes, the lowest one among equals; -1 without output spikes."""
    if not spike_counts or max(spike_counts) <= 0:
        return -1
    return max(range(len(spike_counts)), key=lambda k: (spike_counts[k], -k))


@dataclass(frozen=True, slots=True)
class GestureSummary:
    """The last period in figures.

    Parameters
    ----------
    latency_p50_s, latency_p95_s, latency_p99_s : float
        Latency [s]; NaN without a sample.
    latency_samples : int
        Gestures with a known latency.
    step_time_p99_s : float
        Time of one network step [s]; NaN without a sample.
    step_samples : int
        Gestures with a known step time.
    decided_share : float
        Share of windows with a decision, 0..1; NaN without a window.
    decision_margin : float
        Mean margin of the decided ones, 0..1; NaN without one.
    windows : int
        Windows in the period.
    """

    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    latency_samples: int
    step_time_p99_s: float
    step_samples: int
    decided_share: float
    decision_margin: float
    windows: int


class GestureStatistics:
    """Collects gestures over a sliding period.

    Parameters
    ----------
    period_s : float
        Length of the period [s].
    capacity : int
        Decisions and margins kept at most; times are counted in bounded memory however many there are.

    Attributes
    ----------
    windows : int
        Windows judged since construction or `restart`.
    """

    def __init__(self, period_s: float, capacity: int) -> None:
        self._latency = SlidingSketch(period_s, relative_error=RELATIVE_ERROR)
        self._step = SlidingSketch(period_s, relative_error=RELATIVE_ERROR, lowest=1e-9)
        self._decided = RecentValues(period_s, capacity)
        self._margin = RecentValues(period_s, capacity)
        self.windows = 0

    def add(
        self,
        now_ns: int,
        latency_s: float,
        class_index: int,
        spike_counts: Sequence[int],
        step_time_s: float = math.nan,
    ) -> None:
        """Take one gesture; `class_index` below 0 = no decision, a time of NaN = unknown."""
        self.windows += 1
        self._step.add(step_time_s, now_ns)
        self._latency.add(latency_s, now_ns)
        self._decided.add(float(class_index >= 0), now_ns)
        if class_index >= 0:
            self._margin.add(margin(spike_counts), now_ns)

    def summary(self, now_ns: int) -> GestureSummary:
        """Return the figures of the period that ends at host time `now_ns` [ns]."""
        latencies, latency_s = self._latency.quantiles(_SHARES, now_ns)
        steps, step_s = self._step.quantiles(_SHARES[-1:], now_ns)
        decided = self._decided.values(now_ns)
        margins = self._margin.values(now_ns)
        return GestureSummary(
            latency_p50_s=latency_s[0],
            latency_p95_s=latency_s[1],
            latency_p99_s=latency_s[2],
            latency_samples=latencies,
            step_time_p99_s=step_s[0],
            step_samples=steps,
            decided_share=math.fsum(decided) / len(decided) if decided else math.nan,
            decision_margin=math.fsum(margins) / len(margins) if margins else math.nan,
            windows=len(decided),
        )

    def restart(self) -> None:
        """Forget all: a new activation."""
        self._latency.clear()
        self._step.clear()
        self._decided.clear()
        self._margin.clear()
        self.windows = 0
