# SPDX-License-Identifier: Apache-2.0
"""The network that the engine is measured on, with thresholds that give it the activity that is asked for.

Input 2 x 64 x 64; convolutions 2-8 k5 s2, 8-16 k3 s2, 16-32 k3 s2; dense 128; dense 11; current-based LIF after each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, create_engine

__all__ = ["BINS", "CELLS", "DU", "DV", "INPUT_SHAPE", "random_input", "reference_model", "tuned"]

BINS = 10
INPUT_SHAPE = (2, 64, 64)
CELLS = 2 * 64 * 64
DU, DV = 1024, 512
_HIDDEN = 4  # populations before the output


def random_weights(rng: np.random.Generator, *shape: int) -> NDArray[np.int16]:
    """Draw even weights: +-100 keeps the 2048-wide dense layer inside the accumulator, 2048 * 100 << 6 < 2^24."""
    return (2 * rng.integers(-50, 51, shape)).astype(np.int16)


def reference_model(thresholds: tuple[int, ...], seed: int = 0) -> Model:
    """Build the network with one threshold mantissa a layer."""
    rng = np.random.default_rng(seed)
    connections: list[Conv2d | Dense] = [
        Conv2d(random_weights(rng, 8, 2, 5, 5), (2, 2), (2, 2)),
        Conv2d(random_weights(rng, 16, 8, 3, 3), (2, 2), (1, 1)),
        Conv2d(random_weights(rng, 32, 16, 3, 3), (2, 2), (1, 1)),
        Dense(random_weights(rng, 128, 32 * 8 * 8)),
        Dense(random_weights(rng, 11, 128)),
    ]
    layers = tuple(
        Layer(f"layer{index}", connection, Lif(DU, DV, threshold))
        for index, (connection, threshold) in enumerate(zip(connections, thresholds, strict=True))
    )
    return Model(Network(layers, INPUT_SHAPE), tuple(f"class{i}" for i in range(11)), 50_000_000, BINS, "reference")


def random_input(share: float, seed: int = 7) -> NDArray[np.uint32]:
    """Draw a window in which each cell is set with the probability `share`."""
    return np.flatnonzero(np.random.default_rng(seed).random(BINS * CELLS) < share).astype(np.uint32)


def _rates(model: Model, indices: NDArray[np.uint32]) -> list[float]:
    """Return the share of neurons that fire a step, per layer, once the network has settled."""
    engine = create_engine(model)
    for _ in range(4):
        result = engine.run_window(indices, BINS)
    engine.close()
    return [
        float(spikes) / (BINS * int(np.prod(shape)))
        for spikes, shape in zip(result.layer_spikes, model.network.shapes, strict=True)
    ]


def tuned(indices: NDArray[np.uint32], activity: float) -> tuple[Model, float]:
    """Return a model whose layers each fire in about `activity` of the steps, and the hidden activity that came out."""
    highest = 131071
    thresholds = [highest] * (_HIDDEN + 1)
    for layer in range(_HIDDEN + 1):
        low, high = 0, highest
        while high - low > 1 + low // 256:  # finer makes no difference to the activity
            thresholds[layer] = (low + high) // 2
            if _rates(reference_model(tuple(thresholds)), indices)[layer] > activity:
                low = thresholds[layer]
            else:
                high = thresholds[layer]
        thresholds[layer] = high
    model = reference_model(tuple(thresholds))
    return model, float(np.mean(_rates(model, indices)[:_HIDDEN]))
