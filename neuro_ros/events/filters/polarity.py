# SPDX-License-Identifier: Apache-2.0
"""Keeps the events of one polarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterError, FilterStep
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["Polarity"]

_KEEP = ("both", "on", "off")


@numba.njit(cache=True, nogil=True)
@no_type_check
def _choose(events, width, height, keep_off, keep_on):
    seen = np.int64(0)
    filtered = np.int64(0)
    for index in range(len(events)):
        word = events[index, 1]
        unmarked = np.int64((word & MARKS) == 0)
        seen += unmarked
        on_sensor = np.int64((word & 0xFFFF) < width) & np.int64(((word >> 16) & 0xFFFF) < height)
        on = (word >> 32) & 1
        marks = unmarked & on_sensor & ((on & (1 - keep_on)) | ((1 - on) & (1 - keep_off)))
        filtered += marks
        events[index, 1] = word | (marks * MARK_FILTERED)
    return seen, filtered


@dataclass(frozen=True)
class Polarity(EventFilter):
    """Filter the events of the other polarity.

    Parameters
    ----------
    keep : {'both', 'on', 'off'}
        ON = brighter.
    """

    name: ClassVar[str] = "polarity"
    example: ClassVar[str] = "polarity:keep=on"

    keep: str

    def __post_init__(self) -> None:
        if self.keep not in _KEEP:
            raise FilterError(f"keep is {self.keep!r}, it must be one of {', '.join(_KEEP)}")

    def build(self, width: int, height: int) -> FilterStep:
        """Make the step."""
        return _PolarityStep(self, width, height)


class _PolarityStep(FilterStep):
    def __init__(self, parameters: Polarity, width: int, height: int) -> None:
        super().__init__(width, height)
        self._keep = (int(parameters.keep != "on"), int(parameters.keep != "off"))

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_choose(words, self.width, self.height, *self._keep))
