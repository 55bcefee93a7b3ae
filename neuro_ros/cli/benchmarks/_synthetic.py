# SPDX-License-Identifier: Apache-2.0
"""Events that the benchmarks work on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuro_ros.events import EVENT_DTYPE

__all__ = ["clustered_events"]


def clustered_events(count: int, duration_ns: int, width: int, height: int, seed: int = 0) -> npt.NDArray[np.void]:
    """Make about `count` events in clusters: runs of up to 16 px along a row share a microsecond and a polarity."""
    rng = np.random.default_rng(seed)
    runs = count // 4
    lengths = np.minimum(rng.geometric(0.25, runs), 16)
    run = np.repeat(np.arange(runs), lengths)[:count]
    within = (np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)[: len(run)]).astype(np.int64)
    events = np.zeros(len(run), EVENT_DTYPE)
    times_us = np.sort(rng.integers(0, duration_ns // 1000, runs))
    events["t"] = times_us[run] * 1000
    events["x"] = np.minimum(rng.integers(0, width - 16, runs)[run] + within, width - 1)
    events["y"] = rng.integers(0, height, runs)[run]
    events["p"] = rng.integers(0, 2, runs)[run]
    return events
