# SPDX-License-Identifier: Apache-2.0
"""The guard before a model file is written: what must not fly is refused, with the layer's name.

Silent, saturated and collapsed layers look fine in a loss curve until they meet the engine, so they are judged by
what the engine's own neurons did on validation recordings and by the integers that would be stored.
"""

from __future__ import annotations

import numpy as np

from neuro_ros.snn import Network
from neuro_ros.training.errors import ExportError
from neuro_ros.training.judge.evaluation import RecordingScore

__all__ = ["MAX_DEAD", "MAX_RATE", "MAX_SATURATED", "MAX_ZERO_WEIGHTS", "check_exportable", "zero_fractions"]

# Beyond these a layer carries next to nothing, or nothing that depends on its input.
MAX_DEAD = 0.95  # fraction of neurons without a spike on the whole validation set
MAX_SATURATED = 0.5  # fraction of neurons that fire in more than 9 of 10 steps
MAX_RATE = 0.6  # mean spikes a neuron and step
MAX_ZERO_WEIGHTS = 0.98  # fraction of weights that the grid rounded to zero


def zero_fractions(network: Network) -> tuple[float, ...]:
    """Return the fraction of zero weights of each layer, over all its projections."""
    return tuple(
        float(np.mean(np.concatenate([projection.connection.weight.ravel() for projection in layer.projections]) == 0))
        for layer in network.layers
    )


def check_exportable(network: Network, score: RecordingScore) -> None:
    """Refuse a network with a dead, saturated or collapsed layer.

    Parameters
    ----------
    network : Network
        The integers to be stored.
    score : RecordingScore
        What the engine did on recordings.

    Raises
    ------
    ExportError
        Naming every such layer, the value and the limit.
    """
    faults = []
    for layer, rate, dead, saturated, zero in zip(
        network.layers, score.layer_rates, score.dead, score.saturated, zero_fractions(network), strict=True
    ):
        if dead > MAX_DEAD:
            faults.append(f"layer '{layer.name}' is dead: {dead:.1%} of its neurons never fired (limit {MAX_DEAD:.0%})")
        if saturated > MAX_SATURATED or rate > MAX_RATE:
            faults.append(
                f"layer '{layer.name}' is saturated: mean rate {rate:.2f} a step (limit {MAX_RATE}), "
                f"{saturated:.1%} of its neurons nearly always fire (limit {MAX_SATURATED:.0%})"
            )
        if zero > MAX_ZERO_WEIGHTS:
            faults.append(
                f"layer '{layer.name}' has collapsed: {zero:.1%} of its weights are zero (limit {MAX_ZERO_WEIGHTS:.0%})"
            )
    if faults:
        raise ExportError("; ".join(faults) + "; train longer, calibrate again or widen the rate band")
