# SPDX-License-Identifier: Apache-2.0
"""Two arms on the same windows: how much less accurate one of them is than the other.

Without labels, accuracy is estimated by the mean confidence. A model's confidence is calibrated (its exponent was
fitted so that shares are probabilities), and the difference of mean confidences follows the difference of accuracies.
Pairing the windows takes out what differs between scenes, which is much more than what differs between arms.

This module refuses to know about phases and messages.

Notes
-----
Neighbouring windows are right or wrong together, so that the standard error comes from the means of blocks of windows,
not from windows (batch means).

References
----------
D. Guillory et al., "Predicting with confidence on unseen distributions", ICCV 2021, arXiv:2107.03315 (difference of
confidences).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

__all__ = ["Answer", "ArmComparison"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one arm says of a window; `class_index` below 0 = no decision, `confidence` NaN = no output spikes."""

    class_index: int
    confidence: float


class ArmComparison:
    """Mean differences between the arm on trial and the other one.

    Parameters
    ----------
    block : int
        Windows a block; longer than the windows remember each other. 40 windows are 2 s at 20 Hz.
    blocks : int
        Blocks that are kept.

    Attributes
    ----------
    windows : int
        Windows seen by both arms, whole blocks or not.
    agreement : float
        Share of the windows with equal answers, since the start; NaN without one.
    """

    def __init__(self, block: int = 40, blocks: int = 1000) -> None:
        self._block = max(1, block)
        self._proxy: deque[float] = deque(maxlen=max(2, blocks))
        self._labelled: deque[float] = deque(maxlen=max(2, blocks))
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.windows = self._equal = 0
        self._proxy.clear()
        self._labelled.clear()
        self._proxy_part: list[float] = []
        self._labelled_part: list[float] = []

    def add(self, other: Answer, trial: Answer, label: int = -1) -> None:
        """Take the answers to one window; `label` below 0 = not known."""
        self.windows += 1
        self._equal += other.class_index == trial.class_index
        self._collect(self._proxy, self._proxy_part, _sure(other) - _sure(trial))
        if label >= 0:
            difference = float(other.class_index == label) - float(trial.class_index == label)
            self._collect(self._labelled, self._labelled_part, difference)

    def _collect(self, blocks: deque[float], part: list[float], value: float) -> None:
        part.append(value)
        if len(part) == self._block:
            blocks.append(math.fsum(part) / len(part))
            part.clear()

    @property
    def agreement(self) -> float:
        """Share of the windows with equal answers."""
        return self._equal / self.windows if self.windows else math.nan

    def drop(self) -> tuple[float, float, bool]:
        """Return the drop of accuracy, its standard error, and whether it comes from labels.

        Returns
        -------
        drop : float
            Positive = the arm on trial is worse, 0..1; NaN with fewer than two blocks.
        error : float
            Standard error; NaN likewise.
        by_labels : bool
            True as soon as two blocks of windows have labels.
        """
        by_labels = len(self._labelled) >= 2
        blocks = self._labelled if by_labels else self._proxy
        if len(blocks) < 2:
            return math.nan, math.nan, False
        mean = math.fsum(blocks) / len(blocks)
        variance = math.fsum((value - mean) ** 2 for value in blocks) / (len(blocks) - 1)
        return mean, math.sqrt(variance / len(blocks)), by_labels


def _sure(answer: Answer) -> float:
    return 0.0 if math.isnan(answer.confidence) else answer.confidence
