# SPDX-License-Identifier: Apache-2.0
"""Makes small.safetensors: two layers whose weights follow a pattern, so that every machine makes the same file."""

from pathlib import Path

import numpy as np

from neuro_ros.gestures.labels import LABELS
from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, save_model


def pattern(*shape: int) -> np.ndarray:
    """Return even weights from -60 to 66 that repeat after 97 steps."""
    steps = np.arange(np.prod(shape)) * 37 % 97
    return ((steps * 4 // 3 - 60) // 2 * 2).reshape(shape).astype(np.int16)


def small_model() -> Model:
    """Return the network."""
    conv = Layer("conv", Conv2d(pattern(8, 2, 5, 5), stride=4, padding=2, weight_exp=0), Lif(du=1000, dv=300, vth=300))
    output = Layer("output", Dense(pattern(len(LABELS), 8 * 8 * 8), weight_exp=0), Lif(du=1000, dv=300, vth=400))
    return Model(Network((conv, output), (2, 32, 32)), LABELS, 50_000_000, 10, "small")


if __name__ == "__main__":
    save_model(small_model(), Path(__file__).parent / "small.safetensors")
