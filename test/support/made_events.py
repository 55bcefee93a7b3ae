# SPDX-License-Identifier: Apache-2.0
"""Events for recordings that tests make."""

import numpy as np

from neuro_ros.events import EVENT_DTYPE


def make_events(count=50, width=34, height=34, seed=0, until_ns=100_000_000):
    """Return random events in ascending time."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, until_ns // 1000, count)) * 1000
    events["x"], events["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    return events
