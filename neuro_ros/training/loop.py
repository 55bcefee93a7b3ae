# SPDX-License-Identifier: Apache-2.0
"""The training loop: truncated backpropagation through time over crops, judged window by window.

Every window of a crop that is old enough is one decision: cross-entropy over the output neurons' spike counts in it.
The network starts each crop at rest and carries its state through the switches of gesture inside, so it learns to
let go of the last gesture. Activity regularisers keep each layer's mean rate inside a band.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from neuro_ros.training.data import Batches
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.layers import IntegerNetwork

# Added to each count before the share is taken: a silent window then means "all classes alike", not 0 / 0, and the
# gradient at a silent right class stays of the size of the others.
_SILENT_SPIKES = 0.5

__all__ = ["Progress", "TrainingSettings", "calibrate", "fit", "window_loss"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run.

    Attributes
    ----------
    updates : int
        Optimiser steps.
    learning_rate : float
        Peak of a one-cycle cosine with a short warm-up, as a share of each layer's largest initial weight: layers
        are calibrated to very different weights, and Adam's step does not depend on the gradient's size.
    seconds : float
        Wall-clock budget; the schedule follows whichever of updates and seconds is further advanced.
    settle_steps : int
        Steps after the start of a crop that are not judged.
    switch_steps : int
        Steps after a switch of gesture that are not judged; in the simulator the hands travel for the first 50.
    count_scale : float
        Logit of one output spike in a window.
    share_cost : float
        Factor on the negative logarithm of the right class's share of the window's output spikes, which is what the
        node calls confidence.
    low_rate, high_rate : float
        Band of each hidden layer's mean rate (spikes a neuron and step); outside it costs.
    rate_cost : float
        Factor on that cost.
    """

    updates: int = 2000
    learning_rate: float = 1.2e-2
    seconds: float = math.inf
    settle_steps: int = 25
    switch_steps: int = 50
    count_scale: float = 0.6
    share_cost: float = 0.25
    low_rate: float = 0.01
    high_rate: float = 0.10
    rate_cost: float = 5.0

    def __post_init__(self) -> None:
        for name, low in (("updates", 1), ("learning_rate", 0.0), ("seconds", 0.0), ("count_scale", 0.0)):
            if not getattr(self, name) > low - (1 if name == "updates" else 0):
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be above {low}")
        if not 0.0 <= self.low_rate < self.high_rate <= 1.0:
            raise TrainingError(f"rates {self.low_rate}..{self.high_rate} must ascend within 0..1")


@dataclass(frozen=True)
class Progress:
    """What the loop tells after an update: the loss and window accuracy of that batch, and rates by layer."""

    update: int
    loss: float
    accuracy: float
    rates: tuple[float, ...]


def window_loss(
    spikes: torch.Tensor, labels: torch.Tensor, age_steps: torch.Tensor, bins: int, settings: TrainingSettings
) -> tuple[torch.Tensor, float]:
    """Return the mean loss of the judged windows and their accuracy.

    Parameters
    ----------
    spikes : (steps, batch, classes) float32
        Output spikes.
    labels, age_steps : (steps, batch) int64
        From `Crops.draw`.
    bins : int
        Steps of a window; `steps` is a multiple of it.
    settings : TrainingSettings
        Settling time and scale.

    Returns
    -------
    loss : tensor
        0 with gradient where no window is old enough.
    accuracy : float
        NaN where none is.
    """
    steps, batch, classes = spikes.shape
    counts = spikes.reshape(steps // bins, bins, batch, classes).sum(1)
    window_labels = labels.reshape(steps // bins, bins, batch)[:, -1]
    settled = torch.arange(bins - 1, steps, bins)[:, None] >= settings.settle_steps
    acted = age_steps.reshape(steps // bins, bins, batch)[:, -1] >= settings.switch_steps
    judged = (window_labels >= 0) & acted & settled
    if not bool(judged.any()):
        return spikes.sum() * 0.0, math.nan
    counts, window_labels = counts[judged], window_labels[judged]
    loss = functional.cross_entropy(settings.count_scale * counts, window_labels)
    right = counts.gather(1, window_labels[:, None])[:, 0]
    share = (right + _SILENT_SPIKES) / (counts.sum(1) + classes * _SILENT_SPIKES)
    loss = loss - settings.share_cost * share.log().mean()
    accuracy = float((counts.argmax(1) == window_labels).float().mean())
    return loss, accuracy


@torch.no_grad()
def calibrate(network: IntegerNetwork, spikes: torch.Tensor, target_rate: float = 0.06) -> list[float]:
    """Scale each layer's weights against its threshold until it fires at about a rate.

    Sparse event input leaves default-initialised layers silent, and a silent layer learns nothing. Layer by layer,
    the factor is found by bisection; the threshold mantissa then follows from the new largest weight.

    Parameters
    ----------
    network : IntegerNetwork
        Changed in place.
    spikes : (steps, batch, c, h, w) float32
        A typical batch.
    target_rate : float
        Spikes a neuron and step.

    Returns
    -------
    list of float
        The rates reached.
    """
    reached = []
    for layer in network.populations:
        original = layer.weight.clone()
        low, high = 0.1, 40.0
        rate = 0.0
        for _ in range(9):
            factor = math.sqrt(low * high)
            layer.weight.copy_(original * factor)
            layer.set_threshold()
            rate = float(layer(spikes).mean())
            low, high = (factor, high) if rate < target_rate else (low, factor)
        reached.append(rate)
        spikes = layer(spikes)
    return reached


def fit(
    network: IntegerNetwork,
    crops: Batches,
    settings: TrainingSettings,
    clock_s: Callable[[], float],
    report: Callable[[Progress], None] | None = None,
) -> list[float]:
    """Train in place.

    Parameters
    ----------
    network : IntegerNetwork
        Trained in place.
    crops : Batches
        Source of batches.
    settings : TrainingSettings
        Settings.
    clock_s : callable
        Monotonic time in seconds, for the budget.
    report : callable, optional
        Called after each update.

    Returns
    -------
    list of float
        Loss of each update.

    Raises
    ------
    TrainingError
        If the loss is not finite; the network keeps the weights of the last good update.
    """
    groups = [{"params": [p], "scale": max(float(p.detach().abs().max()), 1e-6)} for p in network.parameters()]
    optimiser = torch.optim.Adam(groups, lr=1.0)
    losses: list[float] = []
    start_s = clock_s()
    for update in range(settings.updates):
        done = max(update / settings.updates, (clock_s() - start_s) / settings.seconds)
        if done >= 1.0:
            break
        rate = settings.learning_rate * min(1.0, (update + 1) / 50) * (0.02 + 0.49 * (1.0 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        spikes, labels, age = crops.draw()
        loss, accuracy = window_loss(network(spikes), labels, age, crops.shape.bins, settings)
        cost = loss
        for layer_rate in network.rates.values[:-1]:
            outside = functional.relu(settings.low_rate - layer_rate) + functional.relu(layer_rate - settings.high_rate)
            cost = cost + settings.rate_cost * outside
        if not math.isfinite(float(cost.detach())):
            raise TrainingError(f"the loss of update {update} is {float(cost.detach())}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        cost.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if report is not None:
            rates = tuple(float(value.detach()) for value in network.rates.values)
            report(Progress(update, losses[-1], accuracy, rates))
    return losses
