# SPDX-License-Identifier: Apache-2.0
"""Slopes that stand in for the step's derivative in the backward pass, as functions of x = v / threshold - 1.

All are 1 at the threshold, without a factor beta, so that changing one for another or its sharpness does not change
the learning rate that fits::

    fast_sigmoid   1 / (1 + beta abs(x))^2       long tails: silent neurons still hear something
    arctan         1 / (1 + (beta x)^2)          the derivative of arctan(beta x) / beta
    triangle       max(0, 1 - beta abs(x))       nothing beyond 1 / beta

References
----------
F. Zenke and S. Ganguli, SuperSpike, Neural Computation 30 (2018), doi:10.1162/neco_a_01086 (fast sigmoid).
W. Fang et al., Incorporating Learnable Membrane Time Constant, ICCV 2021, doi:10.1109/ICCV48922.2021.00266 (arctan).
G. Bellec et al., Long short-term memory and learning-to-learn, NeurIPS 2018, arXiv:1803.09574 (triangle).
"""

from __future__ import annotations

import math

import torch

from neuro_ros.training.errors import TrainingError

__all__ = ["SURROGATES", "surrogate_antiderivative", "surrogate_kind", "surrogate_slope"]

SURROGATES = ("fast_sigmoid", "arctan", "triangle")


def surrogate_kind(name: str) -> int:
    """Return the place of a surrogate in `SURROGATES`, or raise `TrainingError`."""
    if name not in SURROGATES:
        raise TrainingError(f"surrogate is {name!r}; known are {', '.join(SURROGATES)}")
    return SURROGATES.index(name)


def surrogate_slope(x: torch.Tensor, beta: float, name: str = "fast_sigmoid") -> torch.Tensor:
    """Return the surrogate derivative of the spike at distance `x` from the threshold.

    Parameters
    ----------
    x : tensor
        (v - threshold) / threshold.
    beta : float
        Sharpness, above 0.
    name : str
        One of `SURROGATES`.

    Returns
    -------
    tensor
        See the module for the equations.
    """
    kind = surrogate_kind(name)
    distance = beta * x.abs()
    if kind == 0:
        return 1.0 / (1.0 + distance) ** 2
    return 1.0 / (1.0 + distance**2) if kind == 1 else (1.0 - distance).clamp(min=0.0)


def surrogate_antiderivative(x: float, beta: float, name: str) -> float:
    """Return the smooth function whose slope `surrogate_slope` is, 0 at the threshold: what a test differentiates."""
    kind = surrogate_kind(name)
    size = abs(x)
    if kind == 0:
        value = size / (1.0 + beta * size)
    elif kind == 1:
        value = math.atan(beta * size) / beta
    else:
        inside = min(size, 1.0 / beta)
        value = inside - beta * inside * inside / 2.0
    return math.copysign(value, x)
