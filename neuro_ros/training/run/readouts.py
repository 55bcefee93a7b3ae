# SPDX-License-Identifier: Apache-2.0
"""Linear readouts of the last hidden layers, which teach them besides the output layer and are forgotten afterwards.

An output neuron that is silent, or far from its threshold, tells the layers before it little. A linear map of a
window's spike counts has a gradient everywhere, so that the layers learn at once what separates the classes.

References
----------
C.-Y. Lee et al., Deeply-Supervised Nets, AISTATS 2015, arXiv:1409.5185.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.run.losses import judged_windows
from neuro_ros.training.run.settings import TrainingSettings

__all__ = ["Readouts"]

_LAYERS = 2


class Readouts(nn.Module):
    """A linear readout of each of the last two hidden layers, which says nothing at first.

    Parameters
    ----------
    network : IntegerNetwork
        Whose layers are read.
    settings : TrainingSettings
        Where its `readout_cost` is 0, there are none.
    """

    def __init__(self, network: IntegerNetwork, settings: TrainingSettings) -> None:
        super().__init__()
        *hidden, last = network.populations
        self.first = max(len(hidden) - _LAYERS, 0) if settings.readout_cost else len(hidden)
        classes = int(torch.Size(last.output_shape).numel())
        # Zeros, and no chance: a run with readouts draws the same numbers as one without.
        self.weights = nn.ParameterList(
            torch.zeros(classes, torch.Size(layer.output_shape).numel(), device=network.device)
            for layer in hidden[self.first :]
        )
        self.biases = nn.ParameterList(torch.zeros(classes, device=network.device) for _ in self.weights)

    def loss(
        self,
        outputs: Sequence[torch.Tensor],
        labels: torch.Tensor,
        age_steps: torch.Tensor,
        bins: int,
        settings: TrainingSettings,
        begin_step: int = 0,
    ) -> torch.Tensor:
        """Return the sum over the readouts of their mean cross-entropy over the judged windows.

        Parameters
        ----------
        outputs : sequence of (steps, batch, c, h, w) float32
            Spikes of every layer of the network.
        labels, age_steps, bins, settings, begin_step
            As for `neuro_ros.training.run.losses.window_loss`.
        """
        judged = judged_windows(labels, age_steps, bins, settings, begin_step)
        # Attached even where nothing is judged: processes that train together all have gradients then.
        total = sum((p.sum() * 0.0 for p in self.parameters()), torch.zeros((), device=labels.device))
        if not bool(judged.any()):
            return total
        steps, batch = labels.shape
        wanted = labels.reshape(steps // bins, bins, batch)[:, -1][judged]
        for spikes, weight, bias in zip(outputs[self.first : -1], self.weights, self.biases, strict=True):
            counts = spikes.reshape(steps // bins, bins, batch, -1).sum(1)[judged]
            total = total + functional.cross_entropy(functional.linear(counts, weight, bias), wanted)
        return total
