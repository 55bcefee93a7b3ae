# SPDX-License-Identifier: Apache-2.0
"""Fit the straight line under a cloud of one-way delays.

A sample is late by a delay that is never negative, so the truth is the lower envelope of the cloud, not its mean. Among
all lines below every sample we take the one that the samples lie closest to in total; that linear programme is solved
by the edge of the lower convex hull that crosses the samples' mean abscissa.

How far the line is off depends on how dense the delays are near zero. With a sharp edge (density f at zero, n samples)
the smallest residuals are spaced by about 1 / (n f), which is read from the residuals themselves, so that no delay
distribution is assumed. The factors from that spacing to the error of the line at its new end and of its slope come
from simulation: they put 95 % of the errors within two sigma for exponential, uniform and bimodal delays between 20 and
600 samples. A soft edge (a delay that is almost never near its minimum) looks like extra constant latency, which no
one-way method can see.

This module refuses to know about clocks; it sees integer points.

References
----------
Moon, Skelly, Towsley, "Estimation and removal of clock skew from network delay measurements", IEEE INFOCOM 1999,
doi:10.1109/INFCOM.1999.749287.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Envelope", "fit_envelope", "lower_hull"]

#: Error of the line at its new end and of slope times span, in units of the spacing of the smallest residuals. The
#: 95 % quantiles in simulation are at most 10 and 14, and sigma is half of that.
_END_FACTOR = 5.0
_SLOPE_FACTOR = 7.0
#: Ranks at which the spacing is read; the largest answer is taken, which errs to the safe side.
_RANKS = (4, 6, 8, 12, 16, 24)
#: The line touches two points, whose residuals are zero by construction.
_TOUCHED = 2


@dataclass(frozen=True, slots=True)
class Envelope:
    """A line under points (x, y): ``y = y0 + slope * (x - x0)``.

    Parameters
    ----------
    x0, y0 : int
        The left end of the supporting hull edge, a sample itself.
    rise, run : int
        The edge, so that ``slope = rise / run`` exactly; `run` is positive.
    x_mean, x_last : int
        Mean and newest abscissa.
    span : int
        Newest minus oldest abscissa.
    sigma : float
        Standard uncertainty of the line at `x_last`, from scatter only.
    slope_sigma : float
        Standard uncertainty of the slope.
    """

    x0: int
    y0: int
    rise: int
    run: int
    x_mean: int
    x_last: int
    span: int
    sigma: float
    slope_sigma: float

    @property
    def slope(self) -> float:
        """Rise over run."""
        return self.rise / self.run

    def at(self, x: int) -> int:
        """Return the line's ordinate at `x`, rounded down; exact integer arithmetic."""
        return self.y0 + (x - self.x0) * self.rise // self.run


def lower_hull(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the lower convex hull of `points`, left to right.

    Parameters
    ----------
    points : sequence of (x, y) int
        Abscissae strictly increasing. Integers of any size: the turn test is exact.
    """
    hull: list[tuple[int, int]] = []
    for x, y in points:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def fit_envelope(points: Sequence[tuple[int, int]], hull: Sequence[tuple[int, int]] | None = None) -> Envelope | None:
    """Fit the lower envelope of `points`; None with fewer than three.

    Parameters
    ----------
    points : sequence of (x, y) int
        Abscissae strictly increasing.
    hull : sequence of (x, y) int, optional
        Their `lower_hull`, where it is at hand.
    """
    count = len(points)
    if count <= _TOUCHED:
        return None
    hull = lower_hull(points) if hull is None else hull
    x_mean = sum(x for x, _ in points) // count
    edges = itertools.pairwise(hull)
    (x0, y0), (x1, y1) = next(edge for edge in edges if edge[1][0] > x_mean)
    rise, run = y1 - y0, x1 - x0
    residuals = sorted(y - y0 - (x - x0) * rise // run for x, y in points)
    ranks = [rank for rank in _RANKS if rank <= 0.6 * count] or [count]
    spacing = max(residuals[rank - 1] / (rank - _TOUCHED) for rank in ranks)
    span = points[-1][0] - points[0][0]
    return Envelope(
        x0=x0,
        y0=y0,
        rise=rise,
        run=run,
        x_mean=x_mean,
        x_last=points[-1][0],
        span=span,
        sigma=_END_FACTOR * spacing,
        slope_sigma=_SLOPE_FACTOR * spacing / span,
    )
