# SPDX-License-Identifier: Apache-2.0
"""How much the time of a window tells about its spikes, event-driven and in constant time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from neuro_ros.cli.benchmarks._engine_network import BINS, CELLS, random_input
from neuro_ros.cli.benchmarks._measure import Benchmark
from neuro_ros.snn import Model
from neuro_ros.snn.fixed import FixedEngine

__all__ = ["constant_time"]


def constant_time(model: Model, densities: int, rounds: int) -> Iterator[Benchmark]:
    """Measure; rows for the time, the correlation of spikes with it, and the busiest window against the quietest.

    Parameters
    ----------
    model : Model
        With the reference network.
    densities : int
        Windows of so many densities, from silence to a fifth of all cells. Their order is drawn anew each round.
    rounds : int
        The least of so many times counts: what others do on the machine only adds.
    """
    bitmaps = []
    for share in np.linspace(0.0, 0.2, densities):
        cells = np.zeros(BINS * CELLS, np.uint8)
        cells[random_input(share, seed=13)] = 1
        bitmaps.append(np.packbits(cells))
    engines = {"event-driven": FixedEngine(model), "constant time": FixedEngine(model, constant_time=True)}
    least = {name: np.full(densities, np.inf) for name in engines}
    spikes = np.zeros(densities)
    rng = np.random.default_rng(17)
    for name, engine in engines.items():  # one after the other: neither finds the caches as the other left them
        for _ in range(rounds):
            for number in rng.permutation(densities):
                engine.reset()
                engine.run_bitmap(bitmaps[number], BINS)  # so that what is timed does not depend on what was before
                begin = time.thread_time()
                result = engine.run_bitmap(bitmaps[number], BINS)
                least[name][number] = min(least[name][number], time.thread_time() - begin)
                spikes[number] = result.layer_spikes.sum() + result.input_spikes
    for name, times_s in least.items():
        yield Benchmark(f"{name}: window of {BINS} steps from a bitmap", "ms", 1e3 * float(np.median(times_s)))
        yield Benchmark(f"{name}: correlation of spikes and time", "r", float(np.corrcoef(spikes, times_s)[0, 1]))
        slope, offset = np.polyfit(spikes, times_s, 1)
        busiest = (offset + slope * spikes.max()) / (offset + slope * spikes.min())
        yield Benchmark(f"{name}: busiest window against the quietest, by the line through all", "x", float(busiest))
