# SPDX-License-Identifier: Apache-2.0
"""A figure given the input rate and the leading class: what is usual, and how far one scene strays from that.

This module refuses to know which figure it is.

Notes
-----
What is usual is ``m(x) f(c)``: the mean m in bins of the input rate x, interpolated linearly in log x, times a factor f
for the class c that leads in the output, because in the deeper layers a clapping person and a waving one differ by more
than what a fault does. Values are compared as ``log(sum(y) / sum(m f))`` over the reports of a period. In the
logarithm, half and double are equally far off. The deviation of one scene (one person, one gesture) does not average
out while that scene lasts, so the spread that counts is the one between scenes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuro_ros.canary.errors import BaselineError

__all__ = ["Relation", "deviation"]

#: Beyond the measured range by this factor, nothing is expected.
_BEYOND = 1.25
#: Least reports a bin, and least scenes, for means and spreads that mean something.
_BIN_REPORTS = 10
_MIN_SCENES = 5
#: Least scenes in which a class must lead for a factor of its own.
_CLASS_SCENES = 4
#: A deviation counts as no more than this [ln]: a factor of 20, so that one silent scene does not make the spread.
_MOST = 3.0


def deviation(seen: float, expected: float) -> float:
    """Return ``log(seen / expected)``, from -3 to 3; NaN where nothing is expected."""
    if not expected > 0.0 or math.isnan(seen):
        return math.nan
    return min(_MOST, max(-_MOST, math.log(seen / expected))) if seen > 0.0 else -_MOST


@dataclass(frozen=True)
class Relation:
    """Mean of y in bins of x, and what the leading class makes of it.

    Parameters
    ----------
    x : tuple of float
        Geometric centre of each bin, ascending, above 0.
    mean, spread : tuple of float
        Mean of y in the bin, and standard deviation of ``log(y / (m f))`` from report to report.
    reports : tuple of int
        Reports in the bin.
    x_range : tuple of float
        Least and greatest x measured.
    scene_spread : float
        Standard deviation of the deviation from scene to scene.
    scenes : int
        Scenes behind it.
    by_class : tuple of float
        Factor f for each leading class; 1 where there was too little of it.

    Raises
    ------
    BaselineError
        The bins do not fit each other, or a figure makes no sense.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    reports: tuple[int, ...]
    x_range: tuple[float, float]
    scene_spread: float
    scenes: int
    by_class: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.x or not len(self.x) == len(self.mean) == len(self.spread) == len(self.reports):
            raise BaselineError(
                f"a relation has {len(self.x)} bins, {len(self.mean)} means, {len(self.spread)} spreads, "
                f"{len(self.reports)} counts; they must be equally many, and at least one"
            )
        low, high = self.x_range
        ascending = [low, *self.x, high]
        if not low > 0.0 or not math.isfinite(high) or any(a > b for a, b in itertools.pairwise(ascending)):
            raise BaselineError(f"the input rates {ascending} of a relation are not positive and ascending")
        for name in ("mean", "spread", "by_class"):
            if not all(0.0 <= value < math.inf for value in getattr(self, name)):
                raise BaselineError(f"the {name} {getattr(self, name)} of a relation is not finite and at least 0")
        if not 0.0 <= self.scene_spread < math.inf:
            raise BaselineError(f"the spread between scenes, {self.scene_spread!r}, is not finite and at least 0")

    def expected(self, x: float, leader: int = -1) -> float:
        """Return what is usual for input rate `x` and leading class `leader` (-1 = none).

        NaN outside the range of x in which it was measured.
        """
        low, high = self.x_range
        if not low / _BEYOND <= x <= high * _BEYOND:
            return math.nan
        factor = self.by_class[leader] if 0 <= leader < len(self.by_class) else 1.0
        return factor * float(np.interp(math.log(x), np.log(self.x), self.mean))

    @classmethod
    def fit(
        cls, scene: ArrayLike, x: ArrayLike, y: ArrayLike, leader: ArrayLike = (), classes: int = 0, bins: int = 8
    ) -> Relation:
        """Fit the relation to reports.

        Parameters
        ----------
        scene : (n,) int
            Which scene each report belongs to.
        x, y : (n,) float
            Input rate, above 0, and the figure.
        leader : (n,) int, optional
            Leading class in each report, -1 = none.
        classes : int
            Classes that there are.
        bins : int
            Bins at most, with equally many reports each.

        Raises
        ------
        BaselineError
            Fewer than ten reports or five scenes.
        """
        scenes, xs, ys = np.asarray(scene, np.int64), np.asarray(x, np.float64), np.asarray(y, np.float64)
        names = np.unique(scenes)
        if len(xs) < _BIN_REPORTS or len(names) < _MIN_SCENES:
            raise BaselineError(
                f"{len(xs)} reports of {len(names)} moving scenes are too few for a baseline, which needs "
                f"{_BIN_REPORTS} of {_MIN_SCENES}; measure more subjects or longer gestures"
            )
        parts = np.array_split(np.argsort(xs, kind="stable"), max(1, min(bins, len(xs) // _BIN_REPORTS)))
        centres = [float(np.exp(np.log(xs[part]).mean())) for part in parts]
        means = [float(ys[part].mean()) for part in parts]
        expected = np.interp(np.log(xs), np.log(centres), means)
        by_class = [1.0] * classes
        leaders = np.asarray(leader, np.int64)
        for k in range(classes):
            mine = leaders == k
            if len(np.unique(scenes[mine])) >= _CLASS_SCENES and ys[mine].sum() > 0.0:
                by_class[k] = float(ys[mine].sum() / expected[mine].sum())
                expected[mine] *= by_class[k]
        deviations = np.array([deviation(a, b) for a, b in zip(ys, expected, strict=True)])
        of_scenes = [deviation(float(ys[scenes == n].sum()), float(expected[scenes == n].sum())) for n in names]
        known = [value for value in of_scenes if not math.isnan(value)]
        return cls(
            x=tuple(centres),
            mean=tuple(means),
            spread=tuple(_deviation_spread(deviations[part]) for part in parts),
            reports=tuple(len(part) for part in parts),
            x_range=(float(xs.min()), float(xs.max())),
            scene_spread=_deviation_spread(np.array(known)),
            scenes=len(names),
            by_class=tuple(by_class),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "input_rate": [_short(value) for value in self.x],
            "mean": [_short(value) for value in self.mean],
            "spread": [_short(value) for value in self.spread],
            "reports": list(self.reports),
            "input_rate_range": [_short(value) for value in self.x_range],
            "scene_spread": _short(self.scene_spread),
            "scenes": self.scenes,
            "by_class": [_short(value) for value in self.by_class],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Relation:
        """Read what `as_dict` wrote; raises KeyError, TypeError or ValueError on anything else."""
        low, high = _floats(values["input_rate_range"])
        return cls(
            x=_floats(values["input_rate"]),
            mean=_floats(values["mean"]),
            spread=_floats(values["spread"]),
            reports=tuple(int(count) for count in values["reports"]),
            # Rounded when it was written, so that the outermost centre may lie outside by the last digit.
            x_range=(min(low, *_floats(values["input_rate"])), max(high, *_floats(values["input_rate"]))),
            scene_spread=float(values["scene_spread"]),
            scenes=int(values["scenes"]),
            by_class=_floats(values["by_class"]),
        )


def _deviation_spread(deviations: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the standard deviation about zero: what is expected is given, not fitted to these."""
    known = deviations[np.isfinite(deviations)]
    return float(np.sqrt((known**2).mean())) if known.size else 0.0


def _floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
