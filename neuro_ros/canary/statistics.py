# SPDX-License-Identifier: Apache-2.0
"""What the gestures of the last few seconds say about the network: latency, decisions, margins.

The margin of a decision is the lead of its first class over the second in output spikes, as a share of all of them. It
needs no truth, and falls before accuracy does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neuro_ros.canary.window import RecentValues, percentile

__all__ = ["GestureStatistics", "GestureSummary", "margin"]


def margin(spike_counts: Sequence[int]) -> float:
    """Return the lead of the first class over the second, 0..1; NaN without output spikes or a second class."""
    total = sum(spike_counts)
    if total <= 0 or len(spike_counts) < 2:
        return math.nan
    second, first = sorted(spike_counts)[-2:]
    return (first - second) / total


@dataclass(frozen=True, slots=True)
class GestureSummary:
    """The last period in figures.

    Parameters
    ----------
    latency_p50_s, latency_p95_s, latency_p99_s : float
        Latency [s]; NaN without a sample.
    latency_samples : int
        Gestures with a known latency.
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
        Gestures kept at most.

    Attributes
    ----------
    windows : int
        Windows judged since construction or `restart`.
    """

    def __init__(self, period_s: float, capacity: int) -> None:
        self._latency = RecentValues(period_s, capacity)
        self._decided = RecentValues(period_s, capacity)
        self._margin = RecentValues(period_s, capacity)
        self.windows = 0

    def add(self, now_ns: int, latency_s: float, class_index: int, spike_counts: Sequence[int]) -> None:
        """Take one gesture; `class_index` below 0 = no decision, `latency_s` NaN = unknown."""
        self.windows += 1
        self._latency.add(latency_s, now_ns)
        self._decided.add(float(class_index >= 0), now_ns)
        if class_index >= 0:
            self._margin.add(margin(spike_counts), now_ns)

    def summary(self, now_ns: int) -> GestureSummary:
        """Return the figures of the period that ends at host time `now_ns` [ns]."""
        latency = sorted(self._latency.values(now_ns))
        decided = self._decided.values(now_ns)
        margins = self._margin.values(now_ns)
        return GestureSummary(
            latency_p50_s=percentile(latency, 0.50),
            latency_p95_s=percentile(latency, 0.95),
            latency_p99_s=percentile(latency, 0.99),
            latency_samples=len(latency),
            decided_share=math.fsum(decided) / len(decided) if decided else math.nan,
            decision_margin=math.fsum(margins) / len(margins) if margins else math.nan,
            windows=len(decided),
        )

    def restart(self) -> None:
        """Forget all: a new activation."""
        self._latency.clear()
        self._decided.clear()
        self._margin.clear()
        self.windows = 0
