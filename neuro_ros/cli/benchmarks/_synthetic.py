# SPDX-License-Identifier: Apache-2.0
"""Events that the benchmarks work on: *scattered*, each anywhere; and *clustered*, as a moving edge makes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuro_ros.events import EVENT_DTYPE

__all__ = ["clustered_events", "scattered_events"]

_CLUSTER = 16


def scattered_events(count: int, duration_ns: int, width: int, height: int, seed: int = 0) -> npt.NDArray[np.void]:
    """Make events anywhere at any time, in order of time."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, duration_ns // 1000, count)) * 1000
    events["x"] = rng.integers(0, width, count)
    events["y"] = rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    return events


def clustered_events(count: int, duration_ns: int, width: int, height: int, seed: int = 0) -> npt.NDArray[np.void]:
    """Make runs along a row, up to sixteen events and four in the mean, that share a microsecond and a polarity."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.geometric(0.25, count // 3 + 100), _CLUSTER)  # enough of them, whatever is drawn
    ends = np.cumsum(lengths)
    runs = int(np.searchsorted(ends, count)) + 1
    lengths = lengths[:runs]
    lengths[-1] -= ends[runs - 1] - count
    within = np.arange(count) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.repeat(np.sort(rng.integers(0, duration_ns // 1000, runs)), lengths) * 1000
    events["x"] = np.repeat(rng.integers(0, width - _CLUSTER, runs), lengths) + within
    events["y"] = np.repeat(rng.integers(0, height, runs), lengths)
    events["p"] = np.repeat(rng.integers(0, 2, runs), lengths)
    return events
