# SPDX-License-Identifier: Apache-2.0
"""Gives each pixel a dead time after an event that was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterStep, check_range
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["Refractory"]

_NEVER_NS = np.iinfo(np.int64).min
_LONGEST_US = 3.6e9


@numba.njit(cache=True, nogil=True)
@no_type_check
def _hold(events, width, height, polarities, period_ns, last_ns):
    seen = np.int64(0)
    filtered = np.int64(0)
    # abs(t - last) < period, as one unsigned comparison that no pair of times overflows.
    shift_ns = period_ns - 1
    span_ns = np.uint64(2 * period_ns - 1)
    for index in range(len(events)):
        time_ns = events[index, 0]
        word = events[index, 1]
        x = word & 0xFFFF
        y = (word >> 16) & 0xFFFF
        if word & MARKS:
            continue
        seen += 1
        if x >= width or y >= height:
            continue
        place = np.uintp((y * width + x) * polarities + ((word >> 32) & (polarities - 1)))
        held = np.int64(np.uint64(time_ns - last_ns[place] + shift_ns) < span_ns)
        last_ns[place] = last_ns[place] if held else time_ns
        events[index, 1] = word | (held * MARK_FILTERED)
        filtered += held
    return seen, filtered


@dataclass(frozen=True)
class Refractory(EventFilter):
    """Filter what a pixel sends within a period of its last event that was kept.

    An event is filtered when ``abs(t - t_kept) < period``: one that comes out of order is treated like its
    neighbours in time, and a clock that is set back silences a pixel for one period at most.

    Parameters
    ----------
    period_us : float
        Sensor time [us], 0.001 (one nanosecond) to an hour.
    per_polarity : bool
        True: ON and OFF events of a pixel have a dead time of their own each.
    """

    name: ClassVar[str] = "refractory"
    example: ClassVar[str] = "refractory:period_us=1000"

    period_us: float
    per_polarity: bool = False

    def __post_init__(self) -> None:
        check_range("period_us", self.period_us, 0.001, _LONGEST_US, " us")

    def build(self, width: int, height: int) -> FilterStep:
        """Make a map of the sensor."""
        return _RefractoryStep(self, width, height)


class _RefractoryStep(FilterStep):
    def __init__(self, parameters: Refractory, width: int, height: int) -> None:
        super().__init__(width, height)
        self._polarities = 2 if parameters.per_polarity else 1
        self._period_ns = round(parameters.period_us * 1000)
        self._last_ns = np.empty(width * height * self._polarities, np.int64)
        self.reset()

    def reset(self) -> None:
        self._last_ns[:] = _NEVER_NS

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_hold(words, self.width, self.height, self._polarities, self._period_ns, self._last_ns))
