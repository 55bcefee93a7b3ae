# SPDX-License-Identifier: Apache-2.0
"""Quantiles of a stream in bounded memory, with a relative error that is known beforehand.

This module refuses to know what the values are.

Notes
-----
A value x is counted in bucket ``i = ceil(log(x) / log(g))`` with ``g = (1 + a) / (1 - a)``, so bucket i holds the
values in ``(g^(i-1), g^i]``. The quantile q of n values is the nearest-rank one: the smallest value with at least
``q n`` of them at or below it. Counting bucket by bucket up to that rank finds the bucket in which that value lies,
because the buckets are in the order of the values. Every value of the bucket is then answered by
``e = 2 g^i / (g + 1)``.

The relative error of the answer is at most a. For the largest value of the bucket, ``x = g^i``::

    (x - e) / x = 1 - 2 / (g + 1) = (g - 1) / (g + 1) = a

and for the infimum of the bucket, ``x = g^(i-1)``::

    (e - x) / x = 2 g / (g + 1) - 1 = (g - 1) / (g + 1) = a

In between, ``|e - x| / x`` is smaller: it falls from a to 0 and rises to a again. The bound does not depend on the
distribution, on n or on q. It holds for values from `lowest` to `highest`; one below is answered by `lowest` and one
above by `highest`, which the counts `below` and `above` tell. Rounding of the logarithm may move a value on the very
edge of a bucket into its neighbour, which adds an error in the order of the machine's precision.

References
----------
C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
PVLDB 12(12), 2019, doi:10.14778/3352063.3352135.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from neuro_ros.canary.errors import CanaryError

__all__ = ["QuantileSketch", "SlidingSketch"]

_S = 1_000_000_000


class QuantileSketch:
    """Counts of values in buckets of equal relative width.

    Parameters
    ----------
    relative_error : float
        a in the module's notes, above 0 and below 1.
    lowest, highest : float
        Range of the values, 0 < lowest < highest.

    Attributes
    ----------
    count : int
        Values taken, those outside the range included.
    below, above : int
        Values outside the range.

    Raises
    ------
    CanaryError
        A parameter is out of range, or the range needs more than a million buckets.
    """

    def __init__(self, relative_error: float = 0.01, lowest: float = 1e-6, highest: float = 3600.0) -> None:
        if not 0.0 < relative_error < 1.0:
            raise CanaryError(f"relative_error: {relative_error!r} must lie between 0 and 1")
        if not 0.0 < lowest < highest < math.inf:
            raise CanaryError(f"range: {lowest!r} to {highest!r} must be finite, positive and ascending")
        self.relative_error, self.lowest, self.highest = relative_error, lowest, highest
        self._log_base = math.log((1.0 + relative_error) / (1.0 - relative_error))
        self._first = math.ceil(math.log(lowest) / self._log_base)
        buckets = math.ceil(math.log(highest) / self._log_base) - self._first + 1
        if buckets > 1_000_000:
            raise CanaryError(f"{buckets} buckets; allow a larger error or a smaller range")
        # One bucket more at either end, for what lies outside.
        self._counts: NDArray[np.int64] = np.zeros(buckets + 2, np.int64)

    @property
    def count(self) -> int:
        """Values taken."""
        return int(self._counts.sum())

    @property
    def below(self) -> int:
        """Values below the range."""
        return int(self._counts[0])

    @property
    def above(self) -> int:
        """Values above the range."""
        return int(self._counts[-1])

    def add(self, value: float) -> None:
        """Take a value; NaN is no value and is left out."""
        if math.isnan(value):
            return
        if value < self.lowest:
            place = 0
        elif value > self.highest:
            place = len(self._counts) - 1
        else:
            place = math.ceil(math.log(value) / self._log_base) - self._first + 1
            place = min(max(place, 1), len(self._counts) - 2)  # the rounding at the edges of the range
        self._counts[place] += 1

    def merge(self, other: QuantileSketch) -> None:
        """Add the values that `other` took; the error does not grow.

        Raises
        ------
        CanaryError
            The two have different errors or ranges.
        """
        mine, theirs = ((s.relative_error, s.lowest, s.highest) for s in (self, other))
        if mine != theirs:
            raise CanaryError(f"sketches of error and range {mine} and {theirs} cannot be merged")
        self._counts += other._counts

    def quantile(self, q: float) -> float:
        """Return the nearest-rank quantile within the relative error.

        Parameters
        ----------
        q : float
            Share, above 0 and at most 1.

        Returns
        -------
        float
            NaN without a value.
        """
        cumulative = np.cumsum(self._counts)
        count = int(cumulative[-1])
        if not count:
            return math.nan
        rank = max(1, math.ceil(q * count - 1e-9))  # keeps 0.95 * 20 = 19.000000000000004 from becoming rank 20
        place = int(np.searchsorted(cumulative, rank))
        if place == 0:
            return self.lowest
        if place == len(self._counts) - 1:
            return self.highest
        base = math.exp(self._log_base)
        return 2.0 * math.exp((place - 1 + self._first) * self._log_base) / (base + 1.0)

    def clear(self) -> None:
        """Forget all."""
        self._counts[:] = 0


class SlidingSketch:
    """Quantiles of the last period: a ring of sketches, one for each piece of the period.

    Values leave piece by piece, so what is answered covers the period and up to one piece more.

    Parameters
    ----------
    period_s : float
        How long a value counts [s].
    pieces : int
        Into how many pieces the period is cut.
    **options
        As for `QuantileSketch`.
    """

    def __init__(self, period_s: float, pieces: int = 10, **options: float) -> None:
        if not 0.0 < period_s < math.inf or pieces < 1:
            raise CanaryError(f"a period of {period_s!r} s in {pieces} pieces makes no sense")
        self._piece_ns = max(1, round(period_s * _S / pieces))
        self._ring = [QuantileSketch(**options) for _ in range(pieces + 1)]
        self._merged = QuantileSketch(**options)
        self._newest: int | None = None

    def _advance(self, now_ns: int) -> None:
        number = now_ns // self._piece_ns
        newest = number if self._newest is None else self._newest
        # A clock that stepped back leaves values from the future, which would never grow old: they go too.
        gone = len(self._ring) if number < newest else min(number - newest, len(self._ring))
        for k in range(gone):
            self._ring[(number - k) % len(self._ring)].clear()
        self._newest = number

    def add(self, value: float, now_ns: int) -> None:
        """Take a value at host time `now_ns` [ns]; NaN is left out."""
        self._advance(now_ns)
        self._ring[now_ns // self._piece_ns % len(self._ring)].add(value)

    def quantiles(self, shares: tuple[float, ...], now_ns: int) -> tuple[int, tuple[float, ...]]:
        """Return the number of values in the period that ends at `now_ns` [ns], and their quantiles."""
        self._advance(now_ns)
        self._merged.clear()
        for sketch in self._ring:
            self._merged.merge(sketch)
        return self._merged.count, tuple(self._merged.quantile(share) for share in shares)

    def clear(self) -> None:
        """Forget all."""
        for sketch in self._ring:
            sketch.clear()
        self._newest = None
