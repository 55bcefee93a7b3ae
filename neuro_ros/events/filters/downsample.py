# SPDX-License-Identifier: Apache-2.0
"""Makes the sensor coarser: squares of pixels become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterError, FilterStep, check_range
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["Downsample"]

_POLICIES = ("all", "integrate")
_COORDINATES = 0xFFFF_FFFF
_LARGEST_FACTOR = 1024


@numba.njit(cache=True, nogil=True)
@no_type_check
def _downsample(events, width, height, columns, rows, out_width, needed, sums):
    seen = np.int64(0)
    filtered = np.int64(0)
    for index in range(len(events)):
        word = events[index, 1]
        unmarked = np.int64((word & MARKS) == 0)
        seen += unmarked
        x = word & 0xFFFF
        y = (word >> 16) & 0xFFFF
        if x >= width or y >= height:
            continue
        x = columns[np.uintp(x)]
        y = rows[np.uintp(y)]
        # Marked events move too: where they lay may be outside the smaller sensor.
        word = (word & ~_COORDINATES) | (y << 16) | x
        marks = np.int64(0)
        if needed > 1 and unmarked:
            place = np.uintp(y * out_width + x)
            total = sums[place] + 2 * ((word >> 32) & 1) - 1
            marks = np.int64(-needed < total < needed)
            sums[place] = total * marks
        filtered += marks
        events[index, 1] = word | (marks * MARK_FILTERED)
    return seen, filtered


@dataclass(frozen=True)
class Downsample(EventFilter):
    """Divide coordinates by a factor, and choose which events the coarser pixels send.

    ``x_out = x // factor``, the same for y; a last, partial square is a pixel too, so that the size behind is
    rounded up.

    Parameters
    ----------
    factor : int
        1 to 1024.
    policy : {'all', 'integrate'}
        ``all``: every event is kept, at its new place, as data sets are commonly scaled; the rate stays, a
        coarse pixel fires up to ``factor**2`` times as often. ``integrate``: a coarse pixel adds up its events,
        +1 for ON and -1 for OFF, and keeps the one with which the sum reaches plus or minus ``factor**2``,
        whereupon the sum starts at zero: the mean contrast has then changed by one threshold, as in a sensor
        whose pixels are that large; noise of both polarities cancels out. The sums do not know time.
    """

    name: ClassVar[str] = "downsample"
    example: ClassVar[str] = "downsample:factor=2"

    factor: int
    policy: str = "all"

    def __post_init__(self) -> None:
        check_range("factor", self.factor, 1, _LARGEST_FACTOR)
        if self.policy not in _POLICIES:
            raise FilterError(f"policy is {self.policy!r}, it must be one of {', '.join(_POLICIES)}")

    def build(self, width: int, height: int) -> FilterStep:
        """Tabulate the columns and rows of a sensor."""
        return _DownsampleStep(self, width, height)


class _DownsampleStep(FilterStep):
    def __init__(self, parameters: Downsample, width: int, height: int) -> None:
        factor = parameters.factor
        super().__init__(-(-width // factor), -(-height // factor))
        integrates = parameters.policy == "integrate"
        self._needed = factor * factor if integrates else 1
        self._sensor = (int(width), int(height))
        self._tables = (np.arange(width, dtype=np.int64) // factor, np.arange(height, dtype=np.int64) // factor)
        self._sums = np.zeros(self.width * self.height if integrates else 0, np.int32)

    def reset(self) -> None:
        self._sums[:] = 0

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_downsample(words, *self._sensor, *self._tables, self.width, self._needed, self._sums))
