# SPDX-License-Identifier: Apache-2.0
"""Removes lone events: background activity has no neighbours in space and time, an edge that moves has.

The filter of T. Delbruck, "Frame-free dynamic digital vision", Proc. Intl. Symp. on Secure-Life Electronics,
2008, with the number of neighbours as a parameter: a map of each pixel's last event, in which the eight around
an event are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterStep, check_range
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["BackgroundActivity"]

_NEVER_NS = np.iinfo(np.int64).min
_LONGEST_US = 3.6e9


@numba.njit(cache=True, nogil=True)
@no_type_check
def _support(events, width, height, period_ns, needed, last_ns):
    seen = np.int64(0)
    filtered = np.int64(0)
    # abs(t - last) < period, as one unsigned comparison that no pair of times overflows.
    shift_ns = period_ns - 1
    span_ns = np.uint64(2 * period_ns - 1)
    one, two, stride = np.uintp(1), np.uintp(2), np.uintp(width + 2)
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
        # The map has a border that never fires, so that no pixel is a special case. Written out, and unsigned, because
        # the compiler then needs half the time of a loop; leaving early costs more in wrong guesses than it saves.
        above = np.uintp(y * (width + 2) + x)
        here = above + stride
        below = here + stride
        base_ns = np.uint64(time_ns + shift_ns)
        neighbours = (
            np.int64(base_ns - np.uint64(last_ns[above]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[above + one]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[above + two]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[here]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[here + two]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[below]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[below + one]) < span_ns)
            + np.int64(base_ns - np.uint64(last_ns[below + two]) < span_ns)
        )
        last_ns[here + one] = time_ns
        alone = np.int64(neighbours < needed)
        events[index, 1] = word | (alone * MARK_FILTERED)
        filtered += alone
    return seen, filtered


@dataclass(frozen=True)
class BackgroundActivity(EventFilter):
    """Filter events without support by their neighbours.

    An event is kept when at least `neighbours` of the eight pixels around its own sent their last event, kept
    or not, with ``abs(t - t_last) < within``; the pixel itself does not count, or a hot one would support
    itself. The absolute value makes events out of order support each other; after a clock was set back, the
    time of a pixel is the old one until its next event.

    Parameters
    ----------
    within_us : float
        Sensor time [us], 0.001 (one nanosecond) to an hour.
    neighbours : int
        1 to 8.
    """

    name: ClassVar[str] = "background_activity"
    example: ClassVar[str] = "background_activity:within_us=10000"

    within_us: float = 10_000.0
    neighbours: int = 1

    def __post_init__(self) -> None:
        check_range("within_us", self.within_us, 0.001, _LONGEST_US, " us")
        check_range("neighbours", self.neighbours, 1, 8)

    def build(self, width: int, height: int) -> FilterStep:
        """Make a map of the sensor."""
        return _BackgroundActivityStep(self, width, height)


class _BackgroundActivityStep(FilterStep):
    def __init__(self, parameters: BackgroundActivity, width: int, height: int) -> None:
        super().__init__(width, height)
        self._within_ns = round(parameters.within_us * 1000)
        self._neighbours = parameters.neighbours
        self._last_ns = np.empty((height + 2) * (width + 2), np.int64)
        self.reset()

    def reset(self) -> None:
        self._last_ns[:] = _NEVER_NS

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_support(words, self.width, self.height, self._within_ns, self._neighbours, self._last_ns))
