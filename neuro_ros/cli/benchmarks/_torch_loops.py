# SPDX-License-Identifier: Apache-2.0
"""The reference network written by hand in torch, three ways: what somebody without a library would write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._engine_network import BINS, CELLS, DU, DV, INPUT_SHAPE
from neuro_ros.snn import Conv2d, Model

__all__ = ["connections", "frames", "torch_loops"]

Contender = Callable[[], object]


def frames(torch: Any, indices: NDArray[np.uint32]) -> Any:
    """Return the input as (steps, 1, c, y, x) float32."""
    cells = np.zeros(BINS * CELLS, np.float32)
    cells[indices] = 1.0
    return torch.from_numpy(cells.reshape(BINS, 1, *INPUT_SHAPE))


def connections(torch: Any, model: Model) -> list[Callable[[Any], Any]]:
    """Return per layer a function from spikes (batch, ...) to activations."""
    functional = torch.nn.functional

    def convolve(connection: Conv2d, weight: Any) -> Callable[[Any], Any]:
        return lambda spikes: functional.conv2d(spikes, weight, stride=connection.stride, padding=connection.padding)

    def multiply(weight: Any) -> Callable[[Any], Any]:
        return lambda spikes: spikes.flatten(1) @ weight.T

    functions: list[Callable[[Any], Any]] = []
    for layer in model.network.layers:
        weight = torch.from_numpy(layer.connection.tensors()["weight"].astype(np.float32))
        if isinstance(layer.connection, Conv2d):
            functions.append(convolve(layer.connection, weight))
        else:
            functions.append(multiply(weight))
    return functions


def _plain(torch: Any, model: Model, steps: Any) -> Contender:
    """Float32, one step at a time."""
    connect = connections(torch, model)
    thresholds = [float(layer.neuron.vth) for layer in model.network.layers]
    decay_u, decay_v = 1.0 - (DU + 1) / 4096.0, 1.0 - DV / 4096.0
    u: list[Any] = [0.0] * len(connect)
    v: list[Any] = [0.0] * len(connect)

    def run() -> object:
        with torch.inference_mode():
            for step in range(BINS):
                spikes = steps[step]
                for index, (apply, threshold) in enumerate(zip(connect, thresholds, strict=True)):
                    u[index] = u[index] * decay_u + apply(spikes)
                    v[index] = v[index] * decay_v + u[index]
                    spikes = (v[index] > threshold).float()
                    v[index] = v[index] * (1.0 - spikes)
            return spikes

    return run


def _layer_by_layer(torch: Any, model: Model, steps: Any) -> Contender:
    """Float32, all steps through one layer before the next, so that a connection is one batched product."""
    connect = connections(torch, model)
    thresholds = [float(layer.neuron.vth) for layer in model.network.layers]
    decay_u, decay_v = 1.0 - (DU + 1) / 4096.0, 1.0 - DV / 4096.0
    batch = steps.flatten(0, 1)
    u: list[Any] = [0.0] * len(connect)
    v: list[Any] = [0.0] * len(connect)

    def run() -> object:
        with torch.inference_mode():
            spikes = batch
            for index, (apply, threshold) in enumerate(zip(connect, thresholds, strict=True)):
                arriving = apply(spikes)
                spikes = torch.empty_like(arriving)
                for step in range(BINS):
                    u[index] = u[index] * decay_u + arriving[step]
                    v[index] = v[index] * decay_v + u[index]
                    fired = v[index] > threshold
                    spikes[step] = fired
                    v[index] = v[index].masked_fill(fired, 0.0)
            return spikes

    return run


def _fixed_point(torch: Any, model: Model, steps: Any) -> Contender:
    """Layer by layer with int32 state and the decays and the saturation of the chip; products in exact float32."""
    connect = connections(torch, model)
    thresholds = [layer.neuron.vth << 6 for layer in model.network.layers]
    top = (1 << 23) - 1
    batch = steps.flatten(0, 1)
    u: list[Any] = [None] * len(connect)
    v: list[Any] = [None] * len(connect)

    def decay(value: Any, factor: int) -> Any:
        # Two factors of 12 bits keep the product within 32, as in the engine.
        magnitude = value.abs()
        scaled = (magnitude >> 12) * factor + (((magnitude & 4095) * factor) >> 12)
        return torch.where(value < 0, -scaled, scaled)

    def run() -> object:
        with torch.inference_mode():
            spikes = batch
            for index, (apply, threshold) in enumerate(zip(connect, thresholds, strict=True)):
                arriving = apply(spikes).to(torch.int32) << 6
                spikes = torch.empty(arriving.shape)
                if u[index] is None:
                    u[index], v[index] = torch.zeros_like(arriving[0]), torch.zeros_like(arriving[0])
                for step in range(BINS):
                    u[index] = decay(u[index], 4096 - (DU + 1)) + arriving[step]
                    v[index] = (decay(v[index], 4096 - DV) + u[index]).clamp(-top, top)
                    fired = v[index] > threshold
                    spikes[step] = fired
                    v[index] = v[index].masked_fill(fired, 0)
            return spikes

    return run


def torch_loops(torch: Any, model: Model, indices: NDArray[np.uint32]) -> dict[str, Contender]:
    """Return the loops by name; each call runs one window and keeps its state, as ours does."""
    steps = frames(torch, indices)
    return {
        "plain torch loop": _plain(torch, model, steps),
        "torch, layer by layer": _layer_by_layer(torch, model, steps),
        "torch, fixed point, layer by layer": _fixed_point(torch, model, steps),
    }
