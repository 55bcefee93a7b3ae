# SPDX-License-Identifier: Apache-2.0
"""Threshold-dependent normalisation over time and batch, in a form that a chip can hold.

The sums of each channel are divided by their spread over steps, samples and places, and multiplied by a learnt gain,
in units of the threshold. As the division is folded into the weights before they are put on the grid, the forward
pass runs the very integers that are exported: there is nothing left to fold afterwards. The mean is not taken away:
a chip has no place for a constant current, only for a bias of the potential, which a layer may learn beside.

While training the spread is that of the batch, and a running mean of its square is kept; judging and export use that.

References
----------
H. Zheng et al., Going Deeper With Directly-Trained Larger Spiking Neural Networks, AAAI 2021,
doi:10.1609/aaai.v35i12.17320 (normalisation to the threshold, over time).
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SpreadNorm"]

_MOMENTUM = 0.1
_SMALLEST = 1e-6  # of the square of the spread, in thresholds: a channel that hears nothing is left as it is


class SpreadNorm(nn.Module):
    """Gain and running spread of the channels of one layer.

    Parameters
    ----------
    channels : int
        How many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.square: torch.Tensor
        self.register_buffer("square", torch.ones(channels))

    def measure(self, sums: torch.Tensor, momentum: float = _MOMENTUM) -> torch.Tensor:
        """Return the variance of (n, channels, ...) sums by channel, and let the running one follow."""
        variance = sums.transpose(0, 1).flatten(1).var(1, unbiased=False)
        self.square.lerp_(variance.detach().clamp(min=_SMALLEST), momentum)
        return variance

    def fold(self, weight: torch.Tensor, variance: torch.Tensor | None = None) -> torch.Tensor:
        """Return (channels, ...) weights times gain over spread; by default the running spread."""
        square = self.square if variance is None else variance.clamp(min=_SMALLEST)
        factor = self.gain / square.sqrt()
        return weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
