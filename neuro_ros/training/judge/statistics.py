# SPDX-License-Identifier: Apache-2.0
"""What figures of accuracy are worth: paired differences with an interval, and how far confidence can be trusted.

NumPy only; this module knows no networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.training.errors import TrainingError

__all__ = ["PairedDifference", "Reliability", "paired_difference", "reliability"]

_RESAMPLES = 10_000
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class PairedDifference:
    """How much more often one way of answering is right than another, on the same clips.

    Attributes
    ----------
    points : float
        First minus second, in percentage points.
    low, high : float
        Interval of 95 % [percentage points].
    only_first, only_second : int
        Clips that only one of them answered rightly.
    clips : int
        All.
    """

    points: float
    low: float
    high: float
    only_first: int
    only_second: int
    clips: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(vars(self))


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, groups: npt.ArrayLike, seed: int = 0
) -> PairedDifference:
    """Compare two sets of answers to the same clips.

    Parameters
    ----------
    first, second : (clips,) bool
        Which clips were answered rightly.
    groups : (clips,) int
        Who acted each; clips of one person are not independent, so people are resampled and not clips.
    seed : int
        Of the resampling.

    Returns
    -------
    PairedDifference
        The interval is the percentile bootstrap over people.

    Raises
    ------
    TrainingError
        If the lengths differ or nothing was given.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
    """
    a, b, who = np.asarray(first, bool), np.asarray(second, bool), np.asarray(groups)
    if not a.size or a.shape != b.shape or a.shape != who.shape or a.ndim != 1:
        raise TrainingError(f"answers of shapes {a.shape}, {b.shape} and people of {who.shape} cannot be paired")
    gain = a.astype(np.int64) - b.astype(np.int64)
    _, index = np.unique(who, return_inverse=True)
    sums, sizes = np.bincount(index, gain), np.bincount(index)
    picks = np.random.default_rng([0xB007, seed]).integers(0, len(sizes), (_RESAMPLES, len(sizes)))
    resampled = 100.0 * sums[picks].sum(1) / sizes[picks].sum(1)
    low, high = np.quantile(resampled, _INTERVAL)
    return PairedDifference(
        100.0 * float(gain.mean()), float(low), float(high), int((gain > 0).sum()), int((gain < 0).sum()), int(a.size)
    )


@dataclass(frozen=True)
class Reliability:
    """Confidence against the share of right answers.

    Attributes
    ----------
    error : float
        Expected calibration error: mean distance of the two over all windows; NaN if none has a confidence.
    bins : tuple of (float, float, int)
        Mean confidence, share right, and windows of each bin that holds any.
    """

    error: float
    bins: tuple[tuple[float, float, int], ...]


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> Reliability:
    """Return how well confidence tells how often the leading class is right.

    Parameters
    ----------
    confidence : (windows,) float
        0 to 1; windows with NaN, where nothing was said, are left out.
    right : (windows,) bool
        Whether the leading class is the right one.
    bins : int
        Of equal width.

    References
    ----------
    C. Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    said, hit = np.asarray(confidence, np.float64), np.asarray(right, bool)
    hit, said = hit[np.isfinite(said)], said[np.isfinite(said)]
    if not said.size:
        return Reliability(math.nan, ())
    place = np.minimum((said * bins).astype(np.int64), bins - 1)
    rows = [
        (float(said[place == k].mean()), float(hit[place == k].mean()), int((place == k).sum()))
        for k in range(bins)
        if (place == k).any()
    ]
    error = sum(count * abs(mean - share) for mean, share, count in rows) / said.size
    return Reliability(error, tuple(rows))
