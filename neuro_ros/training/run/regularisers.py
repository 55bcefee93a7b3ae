# SPDX-License-Identifier: Apache-2.0
"""What is paid beside the loss, so that layers neither fall silent nor shout, and weights do not vanish."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.run.settings import TrainingSettings

__all__ = ["band_cost", "regularised", "silence_cost", "weight_floor_cost"]


def band_cost(rate: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return how far a mean rate (spikes a neuron and step) lies outside a band."""
    return functional.relu(low - rate) + functional.relu(rate - high)


def silence_cost(spikes: torch.Tensor, low: float) -> torch.Tensor:
    """Return how far the neurons of (steps, batch, ...) spikes lie below a rate, on average over neurons."""
    return functional.relu(low - spikes.mean((0, 1))).mean()


def weight_floor_cost(network: IntegerNetwork, floor: float) -> torch.Tensor:
    """Return how far the magnitudes of weights lie below a floor, on average over all weights, in grid units.

    Parameters
    ----------
    network : IntegerNetwork
        Its master weights are judged, times their scale.
    floor : float
        Grid units; 2 is the smallest weight that is not zero.

    Notes
    -----
    Optional with reason. The gradient at a weight of exactly 0 is 0, so weights that are dead already stay so; and
    zeros are a legitimate result, which this pushes away from. It only slows weights on their way to zero. What helps
    against collapse is a threshold that fits the weights (`calibrate`), and stochastic rounding.
    """
    total = torch.zeros((), device=network.device)
    count = 0
    for layer in network.populations:
        magnitude = (layer.weight * layer.scale).abs()
        total = total + functional.relu(floor - magnitude).sum()
        count += magnitude.numel()
    return total / count


def regularised(
    loss: torch.Tensor, network: IntegerNetwork, outputs: Sequence[torch.Tensor], settings: TrainingSettings
) -> torch.Tensor:
    """Return the loss with all that the settings charge for.

    Parameters
    ----------
    loss : tensor
        Of the task.
    network : IntegerNetwork
        Whose last forward pass gave `outputs`.
    outputs : sequence of (steps, batch, ...) tensor
        Spikes of every layer.
    settings : TrainingSettings
        Factors; those that are 0 cost no time.
    """
    cost = loss
    last = len(outputs) - 1
    own = {name for name, _, _ in settings.bands}
    for k, (layer, rate) in enumerate(zip(network.populations, network.rates.values, strict=True)):
        if k < last or layer.spec.name in own:
            cost = cost + settings.rate_cost * band_cost(rate, *settings.band(layer.spec.name))
        if settings.silence_cost and k < last:
            cost = cost + settings.silence_cost * silence_cost(outputs[k], settings.band(layer.spec.name)[0])
    if settings.spike_cost:
        neurons = [out[0, 0].numel() for out in outputs]
        total = sum(n * rate for n, rate in zip(neurons, network.rates.values, strict=True))
        cost = cost + settings.spike_cost * total / sum(neurons)
    if settings.weight_floor_cost:
        cost = cost + settings.weight_floor_cost * weight_floor_cost(network, settings.weight_floor)
    return cost
