# SPDX-License-Identifier: Apache-2.0
"""What the fixed-point engine answers a network's whole input, cell by cell."""

import numpy as np

from neuro_ros.snn import Model, Network, create_engine


def engine_spikes(network: Network, spikes: np.ndarray) -> list[np.ndarray]:
    """Run (steps, c, h, w) through the fixed-point engine; return (steps, cells) of every layer."""
    steps = len(spikes)
    labels = tuple(f"class_{i}" for i in range(network.classes))
    engine = create_engine(Model(network, labels, 5_000_000 * steps, steps), "fixed")
    result = engine.run_window(np.flatnonzero(spikes.reshape(-1)).astype(np.uint32), steps, record=True)
    outputs = [np.zeros((steps, int(np.prod(shape))), bool) for shape in network.shapes]
    for t, layers in enumerate(result.steps):
        for k, indices in enumerate(layers):
            outputs[k][t, indices] = True
    engine.close()
    return outputs
