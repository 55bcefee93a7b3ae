# SPDX-License-Identifier: Apache-2.0
"""The whole graph behind a camera at a million events a second: latency and load.

Nobody else is compared: there is no other graph that does this. Ten times that rate is part of `events`.
"""

from __future__ import annotations

from collections.abc import Iterator

from neuro_ros.cli.benchmarks._camera_run import sustained
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing

__all__ = ["benchmarks"]

_RATE_MEV_S = 1


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; several rows."""
    return sustained(_RATE_MEV_S, missing)
