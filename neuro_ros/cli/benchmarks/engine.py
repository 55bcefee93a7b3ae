# SPDX-License-Identifier: Apache-2.0
"""The fixed-point engine on a small convolutional network, beside torch libraries, torch loops and Lava.

A window of 10 steps, batch 1, one thread, by the processor time that this thread takes. Thresholds are set so that
the hidden activity is as asked. All contenders of one window are measured in turn. Then: how the cost grows, what
constant time costs and hides, and the start.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._constant_time import constant_time
from neuro_ros.cli.benchmarks._engine_network import BINS, random_input, tuned
from neuro_ros.cli.benchmarks._engine_scaling import scaling
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing, paired_median_s
from neuro_ros.cli.benchmarks._snn_libraries import leaky_libraries, others
from neuro_ros.cli.benchmarks._torch_loops import torch_loops
from neuro_ros.snn import BackendUnavailableError, Engine, Model, create_engine, save_model

__all__ = ["benchmarks"]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    inputs, activities : tuple of float
        Shares of input cells that are set, and of hidden neurons that fire, each with each.
    rounds, lava_rounds : int
        Windows a contender and row; 0 = without Lava.
    densities, scaling_rounds, starts : int
        Of the other measurements.
    """

    inputs: tuple[float, ...] = (0.02, 0.05)
    activities: tuple[float, ...] = (0.02, 0.05, 0.10, 0.20, 0.50)
    rounds: int = 25
    lava_rounds: int = 2
    densities: int = 32
    scaling_rounds: int = 25
    starts: int = 3


SIZES = Sizes()
#: Beside Lava, which takes seconds a row, and beside what does less work than ours.
_MIDDLE = (0.05, 0.05)

_START = """
import sys, time
begin = time.perf_counter()
from neuro_ros.snn import create_engine, load_model
model = load_model(sys.argv[1])
engine = create_engine(model)
engine.run_window([], model.bins)
print(time.perf_counter() - begin, time.process_time())
"""


def _row(name: str, times: dict[str, float], peers: tuple[str, ...]) -> Benchmark:
    return Benchmark(name, "ms", 1e3 * times["ours"], {peer: 1e3 * times[peer] for peer in peers})


def _windows(
    torch: Any, model: Model, indices: NDArray[np.uint32], name: str, middle: bool, missing: Missing
) -> Iterator[Benchmark]:
    """Measure one window; a row beside each sort of peer."""
    engine = create_engine(model)
    ours: dict[str, Callable[[], object]] = {"ours": functools.partial(engine.run_window, indices, BINS)}
    sorts: dict[str, dict[str, Callable[[], object]]] = {}
    if torch is not None:
        sorts["torch libraries"] = leaky_libraries(torch, model, indices, missing)
        sorts["torch by hand"] = torch_loops(torch, model, indices)
        if middle:
            sorts["less work"] = others(torch, model, indices, missing)
    everybody = {key: run for sort in sorts.values() for key, run in sort.items()}
    times = paired_median_s(ours | everybody, SIZES.rounds, time.thread_time)
    for sort, contenders in (sorts or {"no peers": {}}).items():
        yield _row(f"{name}, {sort}", times, tuple(contenders))
    lava_s = _lava_s(model, indices, missing) if middle and SIZES.lava_rounds else None
    if lava_s is not None:  # which computes in processes of its own
        own_s = paired_median_s(ours, SIZES.rounds)["ours"]
        yield Benchmark(f"{name}, Lava", "ms", 1e3 * own_s, {"Lava's CPU simulation": 1e3 * lava_s})


def _lava_s(model: Model, indices: NDArray[np.uint32], missing: Missing) -> float | None:
    """Return the time of a window in Lava's CPU simulation [s], start-up left out; None where Lava is missing."""
    try:
        engine: Engine = create_engine(model, "lava")
    except BackendUnavailableError:
        missing.names.append("lava")
        return None
    try:
        return paired_median_s({"lava": lambda: engine.run_window(indices, BINS)}, SIZES.lava_rounds)["lava"]
    finally:
        engine.close()


def _start(model: Model) -> Iterator[Benchmark]:
    """Measure from the start of an interpreter to the first window, the compiled code in its cache."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        save_model(model, path)
        command = [sys.executable, "-c", _START, str(path)]
        figures = np.array(
            [
                [float(x) for x in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
                for _ in range(SIZES.starts)
            ]
        )
    waited_s, worked_s = np.median(figures, axis=0)
    yield Benchmark("start: import, load a model, compiled code from its cache, one window", "s", float(waited_s))
    yield Benchmark("start: the same with the interpreter, processor time", "s", float(worked_s))


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; rows for each window, then for growth, constant time and start."""
    torch = missing.try_import("torch")
    if torch is not None:
        torch.set_num_threads(1)
    kept: Model | None = None
    for share in SIZES.inputs:
        indices = random_input(share)
        for activity in SIZES.activities:
            model, reached = tuned(indices, activity)
            middle = (share, activity) == _MIDDLE
            kept = model if middle or kept is None else kept
            name = f"window, input {share:.0%}, hidden {reached:.0%}"
            yield from _windows(torch, model, indices, name, middle, missing)
    yield from scaling(SIZES.scaling_rounds)
    if kept is not None:
        yield from constant_time(kept, SIZES.densities, 2 * SIZES.scaling_rounds)
        yield from _start(kept)
