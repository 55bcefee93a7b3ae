# SPDX-License-Identifier: Apache-2.0
"""From output spikes to a decision: a leaky sum of evidence, a reject option, and hysteresis.

This module refuses to know about networks, messages and labels.

Notes
-----
Per window: ``e <- e * 2^(-elapsed / half_life) + counts``, with `elapsed` the sensor time since the last addition, so
that the decision depends on sensor time alone and is the same in replay. The confidence is the sharpened share of the
leading class, ``max(e)^g / sum(e^g)``. The exponent g belongs to the model and is fitted once on validation data, like
a softmax's temperature (it is one, on log e): with g = 1 the plain share of an eleven-class network rarely reaches 0.6
although the leader is right.

A decision is taken when the confidence of the leading class reaches a threshold. It then holds until the share of the
decided class falls below a release threshold, another class reaches the threshold, or no evidence is left. With both
thresholds equal each window decides for itself. The decision in force is state: `Evidence` keeps it, so that it is
saved, restored and forgotten together with what it rests on.

References
----------
C. Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature scaling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_DECISION", "Evidence", "decide", "decide_sequence", "sharpen"]

NO_DECISION = -1

#: Evidence below this sum [spikes] is forgotten: without it one old spike would hold 100 % of the evidence for ever.
FORGET_BELOW_SPIKES = 0.5


class Evidence:
    """Leaky sum of the output spikes of every class, and the decision that is in force on it.

    Parameters
    ----------
    classes : int
        How many.

    Attributes
    ----------
    decision : int
        Class index of the decision in force; -1 = none. `decide` changes it.
    """

    def __init__(self, classes: int) -> None:
        self._sum: NDArray[np.float64] = np.zeros(classes)
        self.decision = NO_DECISION

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

    def decide(self, threshold: float, exponent: float = 1.0, release: float = 1.0) -> tuple[int, float]:
        """Decide on the present evidence, and keep the decision in force; see the function `decide`."""
        self.decision, confidence = decide(self._sum, threshold, exponent, release, self.decision)
        return self.decision, confidence

    def reset(self) -> None:
        """Forget everything."""
        self._sum[:] = 0.0
        self.decision = NO_DECISION

    def restore(self, values: Sequence[float], decision: int = NO_DECISION) -> bool:
        """Take up saved evidence and a decision; return False and change nothing when they do not fit."""
        array = np.asarray(values, dtype=np.float64)
        if array.shape != self._sum.shape or not bool((array >= 0.0).all()) or not bool(np.isfinite(array).all()):
            return False
        if not NO_DECISION <= decision < array.size:
            return False
        self._sum[:] = array
        self.decision = decision
        return True


def sharpen(evidence: NDArray[np.float64], exponent: float = 1.0) -> NDArray[np.float64]:
    """Return the sharpened shares of the classes; they sum to 1, or are all NaN where there is no evidence.

    Parameters
    ----------
    evidence : (..., classes) float64
        Evidence [spikes], at least 0.
    exponent : float
        Above 0; 1 = the plain share.
    """
    leader = evidence.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        powered = (evidence / leader) ** exponent  # relative to the leader, so that no power overflows
        shares: NDArray[np.float64] = powered / powered.sum(axis=-1, keepdims=True)
    return shares


def decide(
    evidence: NDArray[np.float64],
    threshold: float,
    exponent: float = 1.0,
    release: float = 1.0,
    in_force: int = NO_DECISION,
) -> tuple[int, float]:
    """Return the decided class and the confidence.

    Parameters
    ----------
    evidence : (classes,) float64
        Evidence [spikes].
    threshold : float
        Smallest confidence of a new decision.
    exponent : float
        The model's, see `sharpen`.
    release : float
        Share of its class at which a decision in force still holds. From `threshold` up there is no hysteresis.
    in_force : int
        Class index that was decided last; -1 = none.

    Returns
    -------
    class_index : int
        The leading class (the lowest index among equals) or the one in force, -1 = no decision.
    confidence : float
        Sharpened share of the decided class, of the leading one where none is; NaN when there is no evidence at all.
    """
    if not evidence.any():
        return NO_DECISION, math.nan
    leader = int(np.argmax(evidence))
    shares = sharpen(evidence, exponent)
    confidence = float(shares[leader])
    if confidence >= threshold:
        return leader, confidence
    if in_force != NO_DECISION and release < threshold and (held := float(shares[in_force])) >= release:
        return in_force, held
    return NO_DECISION, confidence


def decide_sequence(
    evidence: NDArray[np.float64], threshold: float, exponent: float = 1.0, release: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what each window of a stream is decided as, from no decision on, exactly as the node does it.

    Parameters
    ----------
    evidence : (windows, classes) float64
        Evidence after each window [spikes].
    threshold, exponent, release : float
        As in `decide`.

    Returns
    -------
    class_index : (windows,) int64
        -1 = no decision.
    confidence : (windows,) float64
    """
    decisions = np.empty(len(evidence), np.int64)
    confidences = np.empty(len(evidence))
    in_force = NO_DECISION
    for window, present in enumerate(evidence):
        in_force, confidences[window] = decide(present, threshold, exponent, release, in_force)
        decisions[window] = in_force
    return decisions, confidences
