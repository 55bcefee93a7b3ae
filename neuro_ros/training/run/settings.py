# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: one object, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.run.optimiser import OPTIMISERS

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run.

    Attributes
    ----------
    updates : int
        Optimiser steps.
    learning_rate : float
        Peak of a one-cycle cosine with a short warm-up, as a share of each layer's largest initial weight: layers
        are calibrated to very different weights, and the step does not depend on the gradient's size.
    optimiser : str
        ``adam``, or ``muon`` for the hidden layers' matrices and Adam for the rest, see
        `neuro_ros.training.run.optimiser`.
    readout_cost : float
        Factor on the loss of linear readouts of the last hidden layers, see `neuro_ros.training.run.readouts`.
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
    bands : tuple of (str, float, float)
        Bands of their own for layers by name, the output layer included.
    silence_cost : float
        Factor on how far each hidden neuron's own rate is below `low_rate`, on average: it wakes single neurons
        where the band is content with the mean.
    spike_cost : float
        Factor on the mean rate of all neurons, for networks that spend little energy.
    weight_floor, weight_floor_cost : float
        Magnitude below which a weight that is not zero costs [grid units], and the factor; see
        `neuro_ros.training.run.regularisers.weight_floor_cost` for what this cannot do.
    chunk_steps : int
        Truncation of time: gradients reach back to the start of a chunk of so many steps, the state goes on; a
        multiple of the bins of a window, 0 = the whole crop.
    """

    updates: int = 2000
    learning_rate: float = 1.2e-2
    optimiser: str = "adam"
    readout_cost: float = 0.0
    seconds: float = math.inf
    settle_steps: int = 25
    switch_steps: int = 50
    count_scale: float = 0.6
    share_cost: float = 0.25
    low_rate: float = 0.01
    high_rate: float = 0.10
    rate_cost: float = 5.0
    bands: tuple[tuple[str, float, float], ...] = ()
    silence_cost: float = 0.0
    spike_cost: float = 0.0
    weight_floor: float = 0.0
    weight_floor_cost: float = 0.0
    chunk_steps: int = 0

    def __post_init__(self) -> None:
        for name, low in (("updates", 1), ("learning_rate", 0.0), ("seconds", 0.0), ("count_scale", 0.0)):
            if not getattr(self, name) > low - (1 if name == "updates" else 0):
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be above {low}")
        for what, low, high in (("rates", self.low_rate, self.high_rate), *self.bands):
            if not 0.0 <= low < high <= 1.0:
                raise TrainingError(f"{what} {low}..{high} must ascend within 0..1")
        if self.optimiser not in OPTIMISERS:
            raise TrainingError(f"optimiser is {self.optimiser!r}; known are {', '.join(OPTIMISERS)}")
        for name in ("readout_cost", "silence_cost", "spike_cost", "weight_floor", "weight_floor_cost", "chunk_steps"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 0 and finite")

    def band(self, name: str) -> tuple[float, float]:
        """Return the band of a layer's mean rate."""
        return next(((low, high) for layer, low, high in self.bands if layer == name), (self.low_rate, self.high_rate))
