# SPDX-License-Identifier: Apache-2.0
"""The least that can be trained on: streams of 4 x 4 cells whose class is the half that has spikes."""

import numpy as np

from neuro_ros.training.data import StepStream, WindowShape

SHAPE = WindowShape(height=4, width=4)


def stream(label: int, seed: int) -> StepStream:
    rng = np.random.default_rng(seed)
    cells = np.zeros((60, 2, 4, 4), np.uint8)
    cells[:, :, slice(0, 2) if label == 0 else slice(2, 4)] = rng.random((60, 2, 2, 4)) < 0.3
    return StepStream(np.packbits(cells.reshape(60, -1), axis=1), np.full(60, label), np.arange(60) + 100)
