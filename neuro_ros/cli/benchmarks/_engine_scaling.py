# SPDX-License-Identifier: Apache-2.0
"""How the cost of the engine grows: with neurons at rest, with neurons at work, with fan-out and with activity."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._engine_network import random_weights
from neuro_ros.cli.benchmarks._measure import Benchmark, paired_median_s
from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, WindowResult, create_engine

__all__ = ["scaling"]

_BINS = 10
_SPIKES = 200  # a step, where their number does not vary


def _model(connection: Conv2d | Dense, shape: tuple[int, int, int]) -> Model:
    """Build a layer that never fires, with an output of one neuron, so that counting the output costs nothing."""
    cells = int(np.prod(connection.output_shape(shape)))
    output = Layer("output", Dense(np.zeros((1, cells), np.int16)), Lif(4095, 4095, 131071))
    network = Network((Layer("measured", connection, Lif(1024, 512, 131071)), output), shape)
    return Model(network, ("none",), name="scaling")


def _window(rng: np.random.Generator, cells: int, among: int, spikes: int) -> NDArray[np.uint32]:
    """Draw `spikes` of the first `among` cells in every step."""
    steps = [np.sort(rng.choice(among, spikes, replace=False)) + step * cells for step in range(_BINS)]
    return np.concatenate(steps).astype(np.uint32)


def _measured(
    cases: dict[str, tuple[Model, NDArray[np.uint32]]], rounds: int
) -> Iterator[tuple[str, float, WindowResult]]:
    """Return the time of a step [s] of each case, and what a window did; all cases in turn."""
    engines = {name: create_engine(model) for name, (model, _) in cases.items()}
    runs: dict[str, Callable[[], object]] = {
        name: functools.partial(engines[name].run_window, indices, _BINS) for name, (_, indices) in cases.items()
    }
    for run in runs.values():
        for _ in range(5):  # until nothing more falls asleep
            run()
    times = paired_median_s(runs, rounds, time.thread_time)
    for name, (_, indices) in cases.items():
        yield name, times[name] / _BINS, engines[name].run_window(indices, _BINS)


def scaling(rounds: int) -> Iterator[Benchmark]:
    """Measure; a row a size, in time a step and in time a synapse or neuron."""
    rng = np.random.default_rng(11)
    kernel = random_weights(rng, 8, 2, 5, 5)
    cases = {}
    for side in (64, 128, 256):
        model = _model(Conv2d(kernel, (2, 2), (2, 2)), (2, side, side))
        # All in the upper left corner of the OFF channel: the rest of the plane is idle.
        place = np.add.outer(np.arange(32) * side, np.arange(32)).ravel()
        chosen = [np.sort(rng.choice(place, _SPIKES, replace=False)) + step * model.cells for step in range(_BINS)]
        cases[f"{8 * (side // 2) ** 2} neurons, one corner active"] = (model, np.concatenate(chosen).astype(np.uint32))
    for name, step_s, _ in _measured(cases, rounds):
        yield Benchmark(f"scaling, {name}, {_SPIKES} spikes a step", "us", 1e6 * step_s)

    cases = {}
    for side in (32, 64, 128):
        model = _model(Conv2d(kernel, (2, 2), (2, 2)), (2, side, side))
        cases[f"{8 * (side // 2) ** 2} neurons"] = (model, _window(rng, model.cells, model.cells, model.cells // 20))
    for name, step_s, _ in _measured(cases, rounds):
        neurons = int(name.split()[0])
        yield Benchmark(f"scaling, {name}, all active, 5 % input", "ns/neuron", 1e9 * step_s / neurons)

    cases = {}
    for fan_out in (64, 256, 1024):
        model = _model(Dense(random_weights(rng, fan_out, 2048)), (2, 32, 32))
        cases[f"fan-out {fan_out}"] = (model, _window(rng, model.cells, model.cells, _SPIKES))
    for name, step_s, result in _measured(cases, rounds):
        yield Benchmark(
            f"scaling, {name}, {_SPIKES} spikes a step", "ns/syn.", 1e9 * step_s * _BINS / result.synaptic_ops
        )

    cases = {}
    model = _model(Conv2d(kernel, (2, 2), (2, 2)), (2, 64, 64))
    for percent in (0, 1, 2, 4, 8, 16):
        cases[f"{percent} % input"] = (model, _window(rng, model.cells, model.cells, model.cells * percent // 100))
    idle_s = 0.0
    for name, step_s, result in _measured(cases, rounds):
        if result.synaptic_ops == 0:
            idle_s = step_s
            yield Benchmark("scaling, activity, no input: all asleep", "us", 1e6 * step_s)
        else:
            value = 1e9 * (step_s - idle_s) * _BINS / result.synaptic_ops
            yield Benchmark(
                f"scaling, activity, {name}: {result.synaptic_ops // _BINS} synapses a step", "ns/syn.", value
            )
