# SPDX-License-Identifier: Apache-2.0
"""Filters of events: composable, stateful, compiled, each in a module of its own, each with its counters.

A filter is added by one module with an `EventFilter` and one line in `_ALL`. They take no event out but mark
it, see `neuro_ros.events.filters.base`; `kept` makes a batch without those.
"""

from __future__ import annotations

from neuro_ros.events.filters.background_activity import BackgroundActivity
from neuro_ros.events.filters.base import EventFilter, FilterChain, FilterError, FilterStep, kept
from neuro_ros.events.filters.crop import Crop
from neuro_ros.events.filters.downsample import Downsample
from neuro_ros.events.filters.hot_pixels import HotPixels
from neuro_ros.events.filters.polarity import Polarity
from neuro_ros.events.filters.rate_cap import RateCap
from neuro_ros.events.filters.refractory import Refractory
from neuro_ros.events.filters.text import read_filter

__all__ = [
    "FILTERS",
    "BackgroundActivity",
    "Crop",
    "Downsample",
    "EventFilter",
    "FilterChain",
    "FilterError",
    "FilterStep",
    "HotPixels",
    "Polarity",
    "RateCap",
    "Refractory",
    "kept",
    "parse_filter",
]

_ALL: tuple[type[EventFilter], ...] = (
    Crop,
    Downsample,
    Polarity,
    HotPixels,
    Refractory,
    BackgroundActivity,
    RateCap,
)

#: Every filter by its name.
FILTERS: dict[str, type[EventFilter]] = {item.name: item for item in _ALL}


def parse_filter(text: str) -> EventFilter:
    """Read a filter out of ``NAME[:key=value[,key=value]]``, such as ``refractory:period_us=1000``.

    Raises
    ------
    FilterError
        In one line, with what may stand there.
    """
    return read_filter(text, FILTERS)
