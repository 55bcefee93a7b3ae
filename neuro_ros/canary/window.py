# SPDX-License-Identifier: Apache-2.0
"""Values of the last few seconds and their exact percentiles, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

__all__ = ["RecentValues", "percentile"]

_S = 1_000_000_000


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the nearest-rank percentile: the smallest value with at least a share `q` of all at or below it.

    Parameters
    ----------
    ordered : sequence of float
        Ascending.
    q : float
        Share, above 0 and at most 1.

    Returns
    -------
    float
        A value that was really seen; NaN for an empty sequence.
    """
    if not ordered:
        return math.nan
    # The small number keeps 0.95 * 20 = 19.000000000000004 from becoming rank 20.
    return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]


class RecentValues:
    """Values with the time at which they came; the old ones go.

    Parameters
    ----------
    period_s : float
        How long a value counts [s].
    capacity : int
        Values kept at most; beyond it the oldest goes first.
    """

    def __init__(self, period_s: float, capacity: int) -> None:
        self._period_ns = round(period_s * _S)
        self._values: deque[tuple[int, float]] = deque(maxlen=capacity)

    def add(self, value: float, now_ns: int) -> None:
        """Take a value at host time `now_ns` [ns]; NaN is no value and is left out."""
        if not math.isnan(value):
            self._values.append((now_ns, value))

    def values(self, now_ns: int) -> list[float]:
        """Return the values of the period that ends at `now_ns` [ns], oldest first."""
        # A clock that stepped back leaves stamps in the future, which would never grow old: they go too.
        while self._values and not 0 <= now_ns - self._values[0][0] <= self._period_ns:
            self._values.popleft()
        return [value for _, value in self._values]

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
