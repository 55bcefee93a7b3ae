# SPDX-License-Identifier: Apache-2.0
"""Fit the two lines under the delays of both directions at once.

Seen from one pair of clocks, the delays there rise with the skew and the delays back fall with it, so the two lower
lines must have opposite slopes. Among all such pairs below every sample we take the one that the samples lie closest
to in total. That pins the skew by the steadier direction: a queue that drains for ten seconds tilts a line of its own,
but not the pair, because the other direction would have to tilt as well.

With ``h(s)`` the height of the line of slope s that touches a cloud from below, the pair maximises ``h_there(s) +
h_back(-s)``. That sum is the support function of the Minkowski sum of the one hull and the mirror image of the other,
whose edges are those of both, sorted by slope: the wanted slope is that of the edge above the difference of the means.

How far off: each line by the spacing of its smallest residuals, as in `envelope`. The slope, besides, by half the sum
of the slopes that the directions would have had alone, which is the trend of the delays and zero for a steady path.

This module refuses to know about clocks; it sees integer points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from neuro_ros.timesync.envelope import Envelope, fit_envelope, lower_hull

__all__ = ["EnvelopePair", "fit_pair"]

_Points = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class EnvelopePair:
    """Two lines of opposite slope.

    Parameters
    ----------
    there, back : Envelope
        The lines; ``back.slope == -there.slope``.
    sigma : float
        Standard uncertainty of half their difference at the newest sample, from scatter only.
    slope_sigma : float
        Standard uncertainty of the slope.
    """

    there: Envelope
    back: Envelope
    sigma: float
    slope_sigma: float


def _edges(hull: _Points) -> list[tuple[int, int]]:
    return [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in itertools.pairwise(hull)]


def _joint_slope(hull: _Points, back_hull: _Points, target: int) -> tuple[int, int]:
    """Return rise and run of the slope of the line there, of the two hulls and the difference of the means."""
    mirrored = [(-x, y) for x, y in reversed(back_hull)]
    edges = sorted(_edges(hull) + _edges(mirrored), key=lambda edge: edge[1] / edge[0])
    ends = itertools.accumulate((run for run, _ in edges), initial=hull[0][0] + mirrored[0][0])
    next(ends)
    run, rise = next((edge for edge, end in zip(edges, ends, strict=True) if end > target), edges[-1])
    return rise, run


def _line(hull: _Points, rise: int, run: int, alone: Envelope) -> Envelope:
    """Return the line of a slope that touches a hull from below, judged like the one of its own."""
    x0, y0 = min(hull, key=lambda point: point[1] * run - point[0] * rise)
    return Envelope(
        x0=x0,
        y0=y0,
        rise=rise,
        run=run,
        x_mean=alone.x_mean,
        x_last=alone.x_last,
        span=alone.span,
        sigma=alone.sigma,
        slope_sigma=alone.slope_sigma,
    )


def fit_pair(there: _Points, back: _Points) -> EnvelopePair | None:
    """Fit the pair; None with fewer than three points in a direction.

    Parameters
    ----------
    there, back : sequence of (x, y) int
        Abscissae strictly increasing.
    """
    hull, back_hull = lower_hull(there), lower_hull(back)
    alone_there, alone_back = fit_envelope(there, hull), fit_envelope(back, back_hull)
    if alone_there is None or alone_back is None:
        return None
    rise, run = _joint_slope(hull, back_hull, alone_there.x_mean - alone_back.x_mean)
    trend = abs(alone_there.slope + alone_back.slope) / 2
    slope_sigma = math.hypot(alone_there.slope_sigma, alone_back.slope_sigma) / 2
    sigma = math.hypot(alone_there.sigma, alone_back.sigma) / 2
    half_span = max(alone_there.x_last - alone_there.x_mean, alone_back.x_last - alone_back.x_mean)
    return EnvelopePair(
        there=_line(hull, rise, run, alone_there),
        back=_line(back_hull, -rise, run, alone_back),
        sigma=math.hypot(sigma, trend * half_span),
        slope_sigma=math.hypot(slope_sigma, trend),
    )
