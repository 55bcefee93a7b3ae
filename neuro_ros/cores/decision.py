# SPDX-License-Identifier: Apache-2.0
"""From output spikes to a decision: a leaky sum of evidence and a reject option.

This module refuses to know about networks, messages and labels.

Notes
-----
Per window: ``e <- e * 2^(-elapsed / half_life) + counts``, with `elapsed` the sensor time since the last addition, so
that the decision depends on sensor time alone and is the same in replay. The confidence is ``max(e) / sum(e)``: the
share that the leading class holds, not a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "decide"]

#: Evidence below this sum [spikes] is forgotten: without it one old spike would hold 100 % of the evidence for ever.
FORGET_BELOW_SPIKES = 0.5


class Evidence:
    """Leaky sum of the output spikes of every class.

    Parameters
    ----------
    classes : int
        How many.
    """

    def __init__(self, classes: int) -> None:
        self._sum: NDArray[np.float64] = np.zeros(classes)

    @property
    def values(self) -> NDArray[np.float64]:
        """Copy of the present evidence [spikes], one entry a class."""
        return self._sum.copy()

    def add(self, counts: NDArray[np.int32], elapsed_s: float, half_life_s: float) -> None:
        """Let the old evidence fade over `elapsed_s` and add the spikes of one window.

        Parameters
        ----------
        counts : (classes,) int32
            Output spikes of the window.
        elapsed_s : float
            Sensor time since the last addition [s]; a negative one counts as 0.
        half_life_s : float
            Time after which evidence counts half [s]; 0 = only this window.
        """
        factor = 0.5 ** (max(elapsed_s, 0.0) / half_life_s) if half_life_s > 0.0 else 0.0
        self._sum *= factor
        self._sum += counts
        if self._sum.sum() < FORGET_BELOW_SPIKES:
            self._sum[:] = 0.0

    def reset(self) -> None:
        """Forget everything."""
        self._sum[:] = 0.0

    def restore(self, values: Sequence[float]) -> bool:
        """Take up saved evidence; return False and change nothing when it does not fit."""
        array = np.asarray(values, dtype=np.float64)
        if array.shape != self._sum.shape or not bool((array >= 0.0).all()) or not bool(np.isfinite(array).all()):
            return False
        self._sum[:] = array
        return True


def decide(evidence: NDArray[np.float64], threshold: float) -> tuple[int, float]:
    """Return the decided class and the confidence.

    Parameters
    ----------
    evidence : (classes,) float64
        Evidence [spikes].
    threshold : float
        Smallest confidence of a decision.

    Returns
    -------
    class_index : int
        The leading class (the lowest index among equals), -1 = no decision.
    confidence : float
        Share of the leading class, NaN when there is no evidence at all.
    """
    total = float(evidence.sum())
    if total <= 0.0:
        return -1, math.nan
    leader = int(np.argmax(evidence))
    confidence = float(evidence[leader]) / total
    return (leader if confidence >= threshold else -1), confidence
