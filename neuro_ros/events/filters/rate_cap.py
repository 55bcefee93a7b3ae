# SPDX-License-Identifier: Apache-2.0
"""Bounds the rate of events, so that what follows can keep up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.filters.base import MARKS, EventFilter, FilterError, FilterStep, check_range
from neuro_ros.events.types import MARK_DROPPED

__all__ = ["RateCap"]

_POLICIES = ("decimate", "random", "drop_newest")
_DECIMATE, _RANDOM, _DROP_NEWEST = range(3)
# Times beyond +-146 years are damage, as for the windower, and would overflow the sums below.
_TIME_LIMIT_NS = 1 << 62
# So many slices back an event is out of order; further back, the clock was set back.
_TOLERANCE = 2
_DRAW_BITS = 24

# Slots of the state: bounds between which the slice goes on; events kept and offered in it; what it is thinned for.
_LOW, _HIGH, _KEPT, _OFFERED, _EXPECTED, _SUM, _SLOTS = range(7)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _cap(events, width, height, slice_ns, capacity, policy, state, draws):
    seen = np.int64(0)
    dropped = np.int64(0)
    low_ns, high_ns, kept, offered = state[_LOW], state[_HIGH], state[_KEPT], state[_OFFERED]
    expected, total, draw = state[_EXPECTED], state[_SUM], draws[0]
    for index in range(len(events)):
        time_ns = events[index, 0]
        word = events[index, 1]
        if word & MARKS:
            continue
        seen += 1
        if (word & 0xFFFF) >= width or ((word >> 16) & 0xFFFF) >= height:
            continue
        if not low_ns <= time_ns < high_ns:
            if not -_TIME_LIMIT_NS <= time_ns < _TIME_LIMIT_NS:
                continue
            until_ns = (time_ns // slice_ns + 1) * slice_ns
            follows = offered > 0 and until_ns == high_ns + slice_ns
            expected = max(offered, capacity) if follows and policy != _DROP_NEWEST else capacity
            low_ns, high_ns = until_ns - (1 + _TOLERANCE) * slice_ns, until_ns
            kept = offered = total = np.int64(0)
        offered += 1
        if policy == _RANDOM:
            # splitmix64 (Steele, Lea, Flood, 2014), one step an event.
            draw += np.uint64(0x9E3779B97F4A7C15)
            mixed = (draw ^ (draw >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
            chosen = np.int64(mixed >> np.uint64(64 - _DRAW_BITS)) * expected < capacity << _DRAW_BITS
        else:
            # As a line is drawn on pixels: `capacity` of `expected` events, as evenly as can be.
            total += capacity
            chosen = total >= expected
            total -= expected * np.int64(chosen)
        keep = np.int64(chosen) & np.int64(kept < capacity)
        kept += keep
        dropped += 1 - keep
        events[index, 1] = word | ((1 - keep) * MARK_DROPPED)
    state[_LOW], state[_HIGH], state[_KEPT], state[_OFFERED] = low_ns, high_ns, kept, offered
    state[_EXPECTED], state[_SUM], draws[0] = expected, total, draw
    return seen, dropped


@dataclass(frozen=True)
class RateCap(EventFilter):
    """Keep no more than so many events a second.

    Sensor time is cut into slices on the grid ``k * slice``; each keeps ``floor(rate * slice)`` events at most.
    What is removed counts as dropped, not as filtered: it is lost because there was too much, not because of
    what it was.

    Parameters
    ----------
    rate_hz : float
        [events/s], so that a slice keeps 1 to 2^31 events.
    policy : {'decimate', 'random', 'drop_newest'}
        ``decimate``: as many of the events as the rate of the slice before lets expect to fit, evenly spread.
        ``random``: the same share, drawn by chance, where the order in which a sensor reads its rows would
        beat with even steps. ``drop_newest``: the first ones of the slice. Under each, a slice that is full
        drops the rest, so that the bound holds also while the rate rises.
    slice_us : int
        Sensor time [us], 1 to 1,000,000.
    seed : int
        Of ``random``, 0 to 2^63 - 1; the same events and seed give the same choice.

    Notes
    -----
    An event before its slice by up to two slices is out of order and counts into the slice that is open.
    Further back, the clock was set back and a new slice is opened, as behind a gap; the share of the new slice
    is then 1.
    """

    name: ClassVar[str] = "rate_cap"
    example: ClassVar[str] = "rate_cap:rate_hz=1e6"

    rate_hz: float
    policy: str = "decimate"
    slice_us: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("slice_us", self.slice_us, 1, 1_000_000, " us")
        check_range("seed", self.seed, 0, 2**63 - 1)
        if self.policy not in _POLICIES:
            raise FilterError(f"policy is {self.policy!r}, it must be one of {', '.join(_POLICIES)}")
        check_range("rate_hz", self.rate_hz, 1e6 / self.slice_us, 2.0**31 * 1e6 / self.slice_us, " events/s")

    @property
    def capacity(self) -> int:
        """Events that a slice keeps at most."""
        # 1e-9: a rate of exactly n events a slice may come out of the division a little below n.
        return max(1, math.floor(self.rate_hz * self.slice_us / 1e6 + 1e-9))

    def build(self, width: int, height: int) -> FilterStep:
        """Make the step."""
        return _RateCapStep(self, width, height)


class _RateCapStep(FilterStep):
    def __init__(self, parameters: RateCap, width: int, height: int) -> None:
        super().__init__(width, height)
        self.counters = {"seen": 0, "dropped": 0}
        self._seed = parameters.seed
        policy = _POLICIES.index(parameters.policy)
        self._arguments = (width, height, parameters.slice_us * 1000, parameters.capacity, policy)
        self._state = np.zeros(_SLOTS, np.int64)
        self._draws = np.zeros(1, np.uint64)
        self.reset()

    def reset(self) -> None:
        self._state[:] = 0
        self._draws[0] = self._seed

    def apply(self, words: npt.NDArray[np.int64]) -> None:
        seen, dropped = _cap(words, *self._arguments, self._state, self._draws)
        self.counters["seen"] += int(seen)
        self.counters["dropped"] += int(dropped)
