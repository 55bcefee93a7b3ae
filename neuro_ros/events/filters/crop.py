# SPDX-License-Identifier: Apache-2.0
"""Keeps a rectangle of the sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterError, FilterStep, check_range
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["Crop"]

_COORDINATES = 0xFFFF_FFFF


@numba.njit(cache=True, nogil=True)
@no_type_check
def _crop(events, sensor_width, sensor_height, x0, y0, width, height, relative):
    seen = np.int64(0)
    filtered = np.int64(0)
    for index in range(len(events)):
        word = events[index, 1]
        unmarked = np.int64((word & MARKS) == 0)
        seen += unmarked
        x = word & 0xFFFF
        y = (word >> 16) & 0xFFFF
        on_sensor = np.int64(x < sensor_width) & np.int64(y < sensor_height)
        inside = (
            np.int64(x >= x0) & np.int64(x < x0 + width) & np.int64(y >= y0) & np.int64(y < y0 + height) & on_sensor
        )
        marks = on_sensor & ~inside & unmarked
        filtered += marks
        if relative and on_sensor:
            # What lies outside and stays, marked, has no place any more; the corner is one that exists.
            place = ((y - y0) << 16 | (x - x0)) if inside else np.int64(0)
            word = (word & ~_COORDINATES) | place
        events[index, 1] = word | (marks * MARK_FILTERED)
    return seen, filtered


@dataclass(frozen=True)
class Crop(EventFilter):
    """Filter the events outside a rectangle.

    Parameters
    ----------
    x0, y0 : int
        Its first column and row [px].
    width, height : int
        Of the rectangle [px].
    relative : bool
        True: the rectangle becomes the sensor, with its corner at 0, 0. False: coordinates stay.
    """

    name: ClassVar[str] = "crop"
    example: ClassVar[str] = "crop:x0=0,y0=0,width=1,height=1"

    x0: int
    y0: int
    width: int
    height: int
    relative: bool = False

    def __post_init__(self) -> None:
        for name, low in (("x0", 0), ("y0", 0), ("width", 1), ("height", 1)):
            check_range(name, getattr(self, name), low, 65535, " px")

    def build(self, width: int, height: int) -> FilterStep:
        """Lay the rectangle on a sensor."""
        right, bottom = self.x0 + self.width, self.y0 + self.height
        if right > width or bottom > height:
            raise FilterError(f"the crop reaches to x={right}, y={bottom}, the sensor has {width}x{height} px")
        return _CropStep(self, width, height)


class _CropStep(FilterStep):
    def __init__(self, parameters: Crop, width: int, height: int) -> None:
        super().__init__(width, height)
        p = parameters
        self._arguments = (width, height, p.x0, p.y0, p.width, p.height, p.relative)
        if p.relative:
            self.width, self.height = p.width, p.height

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_crop(words, *self._arguments))
