# SPDX-License-Identifier: Apache-2.0
"""Measure the constant latency of a one-way clock by edges whose host time is known.

Arrivals alone cannot tell the least latency from an offset. A pulse on the sensor's trigger line can: whoever made it
knows when (the host itself, or a pulse-per-second signal that the host's clock is disciplined by), and the sensor
stamps it with its own clock. How much later than that the line through the arrivals puts it is the latency.

This module refuses to know where edges and lines come from.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

__all__ = ["LatencyEdges"]

_S = 1_000_000_000
#: Edges that are remembered, and those without which nothing is claimed: one lie must not move the median.
_CAPACITY = 32
_NEEDED = 5
#: Latency is never negative; this much is left to the uncertainty of the line. More than the upper limit is no latency
#: but another edge [ns].
_LEAST_NS, _MOST_NS = -2_000_000, 100_000_000
#: Median absolute deviation to standard deviation, and standard error of a median to that of a mean, normal errors.
_MAD_SIGMA = 1.4826
_MEDIAN_ERROR = 1.2533


class LatencyEdges:
    """The median latency of the latest edges.

    Attributes
    ----------
    taken, refused : int
        Edges believed, and edges that no latency explains.
    """

    def __init__(self) -> None:
        self.taken = self.refused = 0
        self._latencies: deque[tuple[int, float]] = deque(maxlen=_CAPACITY)

    def add(self, latency_ns: int, sigma_ns: float) -> bool:
        """Take how much later than an edge the line puts it [ns], and how well either is known; True when believed."""
        if not (_LEAST_NS <= latency_ns <= _MOST_NS and 0.0 <= sigma_ns < _MOST_NS):  # false for NaN too
            self.refused += 1
            return False
        self.taken += 1
        self._latencies.append((latency_ns, sigma_ns))
        return True

    @property
    def latency_ns(self) -> int | None:
        """The latency [ns]; None while there are too few edges."""
        if len(self._latencies) < _NEEDED:
            return None
        return round(statistics.median(latency for latency, _ in self._latencies))

    @property
    def sigma_ns(self) -> float:
        """Its standard uncertainty [ns]; NaN while it is not known.

        Notes
        -----
        The scatter of the edges shrinks with their number; what each is known to itself does not, because the line is
        much the same for all of them.
        """
        middle = self.latency_ns
        if middle is None:
            return math.nan
        scatter = _MAD_SIGMA * statistics.median(abs(latency - middle) for latency, _ in self._latencies)
        common = statistics.median(sigma for _, sigma in self._latencies)
        return math.hypot(_MEDIAN_ERROR * scatter / math.sqrt(len(self._latencies)), common)
