# SPDX-License-Identifier: Apache-2.0
"""Learns which pixels fire by themselves, and masks them.

A pixel is hot when it sends many events and its neighbours do not. Comparing with the neighbours, and not with
the mean of the sensor, is what tells it from a pixel that a moving edge or a lamp keeps busy: before a still
background a waving hand is further above the mean than most defects are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterError, FilterStep, check_range
from neuro_ros.events.types import MARK_FILTERED

__all__ = ["HotPixels"]

_NS_PER_S = 1_000_000_000
_FOREVER_NS = np.iinfo(np.int64).max
# Times beyond +-146 years are damage, as for the windower, and would overflow the sums below.
_TIME_LIMIT_NS = 1 << 62
# So many events of a period are remembered one by one, so that a short period costs no pass over the sensor.
_TOUCHED = 4096
_MOST_EVENTS = (1 << 31) - 1

# Slots of the state. Between LOW and HIGH there is nothing to decide.
_FROM, _LOW, _HIGH, _LEARNING, _COUNTED, _MASKED, _LEARNED, _SLOTS = range(8)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _third_busiest(counts, place, stride):
    """Return the third largest count around a pixel: two adjacent hot pixels do not hide each other, nor do three."""
    first = second = third = np.int64(0)
    for row in range(-1, 2):
        for column in range(-1, 2):
            if row == 0 and column == 0:
                continue
            count = np.int64(counts[place + row * stride + column])
            if count > first:
                first, second, third = count, first, second
            elif count > second:
                second, third = count, second
            elif count > third:
                third = count
    return third


@numba.njit(cache=True, nogil=True)
@no_type_check
def _evaluate(width, height, floor, ratio, fixed, state, counts, mask, touched):
    stride = width + 2
    mask[:] = 0
    if state[_COUNTED] <= len(touched):
        for index in range(state[_COUNTED]):
            place = np.int64(touched[index])
            count = np.int64(counts[place])
            if count >= floor and count > ratio * _third_busiest(counts, place, stride):
                mask[place] = 1
    else:
        for row in range(1, height + 1):
            for place in range(row * stride + 1, row * stride + 1 + width):
                count = np.int64(counts[place])
                if count >= floor and count > ratio * _third_busiest(counts, place, stride):
                    mask[place] = 1
    for place in fixed:
        mask[place] = 1
    masked = np.int64(0)
    for value in mask:
        masked += value
    state[_MASKED] = masked
    state[_LEARNED] += 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _turn(time_ns, width, height, learn_ns, relearn_ns, floor, ratio, fixed, state, counts, mask, touched):
    """End a period of learning, or begin one, at an event that lies beyond what was decided."""
    over = state[_LEARNING] == 1 and time_ns >= state[_HIGH]
    # Too few events for any pixel to be hot teach nothing; what was known stays.
    if over and state[_COUNTED] >= floor:
        _evaluate(width, height, floor, ratio, fixed, state, counts, mask, touched)
    if state[_COUNTED] <= len(touched):
        for index in range(state[_COUNTED]):
            counts[touched[index]] = 0
    else:
        counts[:] = 0
    state[_COUNTED] = 0
    if over and relearn_ns == 0:
        state[_LEARNING] = 0
        state[_LOW], state[_HIGH] = -_FOREVER_NS, _FOREVER_NS
    elif over and time_ns < state[_FROM] + relearn_ns:
        state[_LEARNING] = 0
        state[_HIGH] = state[_FROM] + relearn_ns
    else:
        state[_LEARNING] = 1
        state[_FROM], state[_LOW], state[_HIGH] = time_ns, time_ns - learn_ns, time_ns + learn_ns


@numba.njit(cache=True, nogil=True)
@no_type_check
def _mask_hot(events, width, height, learn_ns, relearn_ns, floor, ratio, fixed, state, counts, mask, touched):
    seen = np.int64(0)
    filtered = np.int64(0)
    low_ns, high_ns, learning = state[_LOW], state[_HIGH], state[_LEARNING]
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
        place = np.uintp((y + 1) * (width + 2) + x + 1)
        if not low_ns <= time_ns < high_ns:
            if not -_TIME_LIMIT_NS <= time_ns < _TIME_LIMIT_NS:
                continue
            _turn(time_ns, width, height, learn_ns, relearn_ns, floor, ratio, fixed, state, counts, mask, touched)
            low_ns, high_ns, learning = state[_LOW], state[_HIGH], state[_LEARNING]
        if learning:
            if state[_COUNTED] < len(touched):
                touched[state[_COUNTED]] = place
            state[_COUNTED] += 1
            if counts[place] < _MOST_EVENTS:
                counts[place] += 1
        hot = np.int64(mask[place])
        events[index, 1] = word | (hot * MARK_FILTERED)
        filtered += hot
    return seen, filtered


@dataclass(frozen=True)
class HotPixels(EventFilter):
    """Filter the pixels that fire by themselves.

    For `learn_s` of sensor time from the first event on, the events of each pixel are counted. Then a pixel is
    masked when it sent at least `rate_hz` and more than `ratio` times as many as the third busiest of its eight
    neighbours. Put the filter before others that would even out the rates.

    Parameters
    ----------
    learn_s : float
        Sensor time [s], 0.001 to 3600.
    rate_hz : float
        [events/s], above 0.
    ratio : float
        At least 1.
    relearn_s : float
        A period of learning begins so long after the previous one began, while the mask is in force; its result
        replaces the mask. At least `learn_s`; 0 = learn once.
    pixels : tuple of (x, y)
        Known as hot: masked from the start, for good. ``pixels=12x40+300x7`` on the command line.

    Notes
    -----
    Counters: ``masked`` = pixels that are masked now, ``learned`` = periods that ended with a verdict. A period
    with fewer events than would make one pixel hot gives none, and the mask stays. An event more than `learn_s`
    before the begin of a period starts a new one; a gap ends it at the event behind it. `reset` starts a new
    period and keeps the mask, which belongs to the sensor and not to the stream.
    """

    name: ClassVar[str] = "hot_pixels"
    example: ClassVar[str] = "hot_pixels:learn_s=1,rate_hz=100"

    learn_s: float = 1.0
    rate_hz: float = 100.0
    ratio: float = 10.0
    relearn_s: float = 60.0
    pixels: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check_range("learn_s", self.learn_s, 0.001, 3600, " s")
        check_range("rate_hz", self.rate_hz, 1e-3, 1e9, " events/s")
        check_range("ratio", self.ratio, 1, 1e9)
        if self.relearn_s != 0:
            check_range("relearn_s", self.relearn_s, self.learn_s, 1e6, " s (or 0: once)")

    def build(self, width: int, height: int) -> FilterStep:
        """Make a map of the sensor."""
        for x, y in self.pixels:
            if not (0 <= x < width and 0 <= y < height):
                raise FilterError(f"pixel {x}x{y} is not on the sensor, which has {width}x{height} px")
        return _HotPixelsStep(self, width, height)


class _HotPixelsStep(FilterStep):
    def __init__(self, parameters: HotPixels, width: int, height: int) -> None:
        super().__init__(width, height)
        p = parameters
        cells = (height + 2) * (width + 2)
        fixed = np.array([(y + 1) * (width + 2) + x + 1 for x, y in p.pixels], np.int64)
        self._mask = np.zeros(cells, np.uint8)
        self._mask[fixed] = 1
        self._counts = np.zeros(cells, np.int32)
        self._state = np.zeros(_SLOTS, np.int64)
        self._state[_MASKED] = self._mask.sum()
        self._touched = np.zeros(_TOUCHED, np.int32)
        floor = max(1, math.ceil(p.rate_hz * p.learn_s))
        periods_ns = (round(p.learn_s * _NS_PER_S), round(p.relearn_s * _NS_PER_S))
        self._arguments = (width, height, *periods_ns, floor, float(p.ratio), fixed, self._state)
        self.counters |= {"masked": int(self._state[_MASKED]), "learned": 0}

    def reset(self) -> None:
        self._counts[:] = 0
        self._state[[_FROM, _LOW, _HIGH, _LEARNING, _COUNTED]] = 0

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        self._count(*_mask_hot(words, *self._arguments, self._counts, self._mask, self._touched))
        self.counters["masked"] = int(self._state[_MASKED])
        self.counters["learned"] = int(self._state[_LEARNED])
