# SPDX-License-Identifier: Apache-2.0
"""From real-valued master weights to what the engine holds, with a gradient.

Forward, master weights w in units of the threshold become integers on the grid of the synapse, ``clip(2 round(w
scale / 2), -256, 254)``; backward that counts as the factor `scale` (straight through), with the gradient masked where
the clipping acts and would push further out. Biases go the same way to their own grid.

References
----------
Y. Bengio, N. Leonard and A. Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013,
arXiv:1308.3432 (straight through).
S. Gupta et al., Deep Learning with Limited Numerical Precision, ICML 2015, arXiv:1502.02551 (stochastic rounding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from neuro_ros.snn.limits import BIAS_EXP_RANGE, BIAS_MANT_RANGE, WEIGHT_RANGE
from neuro_ros.training.errors import TrainingError

__all__ = ["ROUNDINGS", "WEIGHT_GRID", "Grid", "Rounding", "bias_grid", "on_grid"]

ROUNDINGS = ("nearest", "stochastic")


@dataclass(frozen=True)
class Grid:
    """Multiples of `step` from `low` to `high`."""

    low: float
    high: float
    step: float


WEIGHT_GRID = Grid(WEIGHT_RANGE[0], WEIGHT_RANGE[1], 2.0)


@dataclass(frozen=True)
class Rounding:
    """How master weights are put on the grid while training; judging and export always take the nearest.

    Attributes
    ----------
    mode : str
        ``nearest``, or ``stochastic``: up or down with the chances that make the mean right, so that a weight below
        half a step still acts, and moves.
    noise_steps : float
        Standard deviation of noise added before, in steps of the grid.
    """

    mode: str = "nearest"
    noise_steps: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in ROUNDINGS:
            raise TrainingError(f"rounding is {self.mode!r}; known are {', '.join(ROUNDINGS)}")
        if not 0.0 <= self.noise_steps < math.inf:
            raise TrainingError(f"weight noise is {self.noise_steps} steps; it must be at least 0 and finite")


def bias_grid(threshold: int) -> tuple[Grid, int]:
    """Return the grid of biases and its exponent, with room for a quarter of a threshold a step where there is."""
    exponent = BIAS_EXP_RANGE[0]
    while exponent < BIAS_EXP_RANGE[1] and (BIAS_MANT_RANGE[1] << exponent) < threshold / 4:
        exponent += 1
    low, high = (float(end << exponent) for end in BIAS_MANT_RANGE)
    return Grid(low, high, float(1 << exponent)), exponent


class _OnGrid(torch.autograd.Function):
    """See `on_grid`."""

    @staticmethod
    def forward(
        ctx: Any, master: torch.Tensor, scale: float, grid: Grid, rounding: Rounding, exact: bool
    ) -> torch.Tensor:
        """Round and clip."""
        steps = master.detach() * (scale / grid.step)
        if exact:
            if rounding.noise_steps:
                steps = steps + rounding.noise_steps * torch.randn_like(steps)
            steps = steps.round() if rounding.mode == "nearest" else (steps + torch.rand_like(steps)).floor()
        wanted = grid.step * steps
        ctx.save_for_backward(wanted > grid.high, wanted < grid.low)
        ctx.scale = scale
        return wanted.clamp(grid.low, grid.high)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Pass the gradient on, but not where it would drive a clipped weight further out."""
        above, below = ctx.saved_tensors
        grad = grads[0] * ctx.scale
        # Descent moves against the gradient: a negative one drives a weight up.
        blocked = (above & (grad < 0.0)) | (below & (grad > 0.0))
        return grad.masked_fill(blocked, 0.0), None, None, None, None


def on_grid(
    master: torch.Tensor, scale: float, grid: Grid = WEIGHT_GRID, rounding: Rounding | None = None, exact: bool = True
) -> torch.Tensor:
    """Return the integers that the engine will hold, as float32 with a straight-through gradient.

    Parameters
    ----------
    master : tensor
        In units of the threshold.
    scale : float
        Register units a threshold.
    grid : Grid
        Where to.
    rounding : Rounding, optional
        By default to the nearest.
    exact : bool
        False: clipped but not rounded, for floating-point arithmetic.
    """
    result: torch.Tensor = _OnGrid.apply(master, scale, grid, rounding or Rounding(), exact)
    return result
