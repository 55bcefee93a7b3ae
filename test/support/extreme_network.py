# SPDX-License-Identifier: Apache-2.0
"""A network whose values leave their range whatever is fed to it."""

import numpy as np

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network


def extreme_model():
    """Return a network that is certain to wrap u and to saturate v, inside the accumulator bound."""
    weight = np.full((3, 16), 126, np.int16)
    weight[1] = -128
    conv = np.full((2, 1, 2, 2), -256, np.int16)
    conv[0] = 254
    network = Network(
        [
            Layer("conv", Conv2d(conv, 1, 0, 7), Lif(3, 2, 100, np.array([5, -7]), 3)),
            Layer("dense", Dense(np.tile(weight, (1, 2))[:, :32], 6), Lif(0, 0, 131071)),
            Layer("inhibited", Dense(np.full((2, 3), -256, np.int16), 7), Lif(4095, 1, 0, 4095, 7)),
        ],
        (1, 5, 5),
    )
    return Model(network, ["a", "b"])
