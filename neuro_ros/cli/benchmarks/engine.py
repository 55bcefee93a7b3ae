# SPDX-License-Identifier: Apache-2.0
"""The fixed-point engine on a small convolutional network, beside a plain torch loop and Lava.

Network: input 2 x 64 x 64; convolutions 2-8 k5 s2, 8-16 k3 s2, 16-32 k3 s2; dense 128; dense 11; current-based LIF
after each; a window of 10 steps, batch 1, one thread. Thresholds are set so that the hidden activity is as asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._measure import Benchmark, Missing, paired_median_s
from neuro_ros.snn import BackendUnavailableError, Conv2d, Dense, Engine, Layer, Lif, Model, Network, create_engine

__all__ = ["benchmarks", "reference_model", "torch_loop"]

_BINS = 10
_INPUT_SHAPE = (2, 64, 64)
_CELLS = 2 * 64 * 64
_DU, _DV = 1024, 512
_ROUNDS = 60
_LAVA_ROUNDS = 2


def _weights(rng: np.random.Generator, *shape: int) -> NDArray[np.int16]:
    # +-100 keeps the 2048-wide dense layer inside the accumulator bound: 2048 * 100 << 6 < 2^24
    return (2 * rng.integers(-50, 51, shape)).astype(np.int16)


def reference_model(thresholds: tuple[int, ...], seed: int = 0) -> Model:
    """Build the reference network with one threshold mantissa a layer."""
    rng = np.random.default_rng(seed)
    connections: list[Conv2d | Dense] = [
        Conv2d(_weights(rng, 8, 2, 5, 5), (2, 2), (2, 2)),
        Conv2d(_weights(rng, 16, 8, 3, 3), (2, 2), (1, 1)),
        Conv2d(_weights(rng, 32, 16, 3, 3), (2, 2), (1, 1)),
        Dense(_weights(rng, 128, 32 * 8 * 8)),
        Dense(_weights(rng, 11, 128)),
    ]
    layers = tuple(
        Layer(f"layer{index}", connection, Lif(_DU, _DV, threshold))
        for index, (connection, threshold) in enumerate(zip(connections, thresholds, strict=True))
    )
    return Model(Network(layers, _INPUT_SHAPE), tuple(f"class{i}" for i in range(11)), 50_000_000, _BINS, "reference")


def _input(rng: np.random.Generator, share: float) -> NDArray[np.uint32]:
    return np.flatnonzero(rng.random(_BINS * _CELLS) < share).astype(np.uint32)


def _rates(model: Model, indices: NDArray[np.uint32]) -> list[float]:
    engine = create_engine(model)
    for _ in range(4):
        result = engine.run_window(indices, _BINS)
    engine.close()
    return [
        float(spikes) / (_BINS * int(np.prod(shape)))
        for spikes, shape in zip(result.layer_spikes, model.network.shapes, strict=True)
    ]


def _tuned(indices: NDArray[np.uint32], activity: float) -> tuple[Model, float]:
    """Return a model whose layers each fire in about `activity` of the steps, and the activity that came out."""
    thresholds = [131071] * 5
    for layer in range(5):
        low, high = 0, 131071
        while high - low > 1:
            thresholds[layer] = (low + high) // 2
            if _rates(reference_model(tuple(thresholds)), indices)[layer] > activity:
                low = thresholds[layer]
            else:
                high = thresholds[layer]
        thresholds[layer] = high
    model = reference_model(tuple(thresholds))
    return model, float(np.mean(_rates(model, indices)[:4]))


def torch_loop(torch: Any, model: Model, indices: NDArray[np.uint32]) -> Callable[[], object]:
    """Return a plain hand-written torch loop over the same network and input: float32, one step at a time."""
    frames = np.zeros(_BINS * _CELLS, np.float32)
    frames[indices] = 1.0
    steps = torch.from_numpy(frames.reshape(_BINS, 1, *_INPUT_SHAPE))
    weights = [
        torch.from_numpy(layer.connection.tensors()["weight"].astype(np.float32)) for layer in model.network.layers
    ]
    u: list[Any] = [0.0] * len(weights)
    v: list[Any] = [0.0] * len(weights)
    decay_u, decay_v = 1.0 - (_DU + 1) / 4096.0, 1.0 - _DV / 4096.0

    def run() -> object:
        with torch.inference_mode():
            for step in range(_BINS):
                spikes = steps[step]
                for index, (layer, weight) in enumerate(zip(model.network.layers, weights, strict=True)):
                    if isinstance(layer.connection, Conv2d):
                        a = torch.nn.functional.conv2d(
                            spikes, weight, stride=layer.connection.stride, padding=layer.connection.padding
                        )
                    else:
                        a = spikes.reshape(1, -1) @ weight.T
                    u[index] = u[index] * decay_u + a
                    v[index] = v[index] * decay_v + u[index]
                    spikes = (v[index] > float(layer.neuron.vth)).float()
                    v[index] = v[index] * (1.0 - spikes)
            return spikes

    return run


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; one row an input share and hidden activity."""
    torch = missing.try_import("torch")
    if torch is not None:
        torch.set_num_threads(1)
    rng = np.random.default_rng(7)
    for share, activity in ((0.02, 0.02), (0.05, 0.05), (0.05, 0.10), (0.05, 0.20)):
        indices = _input(rng, share)
        model, reached = _tuned(indices, activity)
        engine = create_engine(model)
        contenders: dict[str, Callable[[], object]] = {"ours": functools.partial(engine.run_window, indices, _BINS)}
        if torch is not None:
            contenders["plain torch loop"] = torch_loop(torch, model, indices)
        times = paired_median_s(contenders, _ROUNDS)
        lava = _lava_s(model, indices, missing) if activity == 0.05 else None
        if lava is not None:
            times["Lava 0.10.0 CPU"] = lava
        ours = times.pop("ours")
        yield Benchmark(
            f"window of {_BINS} steps, input {share:.0%}, hidden {reached:.1%}",
            "ms",
            ours * 1e3,
            {name: value * 1e3 for name, value in times.items()},
        )


def _lava_s(model: Model, indices: NDArray[np.uint32], missing: Missing) -> float | None:
    """Return the time of a window in Lava's CPU simulation [s], start-up left out; None where Lava is missing."""
    try:
        engine: Engine = create_engine(model, "lava")
    except BackendUnavailableError:
        missing.names.append("lava")
        return None
    try:
        return paired_median_s({"lava": lambda: engine.run_window(indices, _BINS)}, _LAVA_ROUNDS)["lava"]
    finally:
        engine.close()
