# SPDX-License-Identifier: Apache-2.0
"""Training in longer steps first: half the steps are half the time, and what they teach holds for the short ones.

A network in steps of 10 ms learns as much by an update as one in steps of 5 ms. Its weights, with decays of the same
time constants and layers calibrated anew, are right from the first update on in short steps, and train on there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from neuro_ros.training.data import Crops, WindowShape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.run.settings import TrainingSettings

__all__ = ["CoarseCrops", "coarse_settings", "coarse_specs", "hand_on_weights"]

_ONE = 4096  # of a decay register


class CoarseCrops:
    """Crops of which so many steps are one: a cell of it has a spike where one of them has.

    Parameters
    ----------
    crops : Crops
        With steps, and bins of a window, that are multiples of `factor`.
    factor : int
        Steps that become one.
    """

    def __init__(self, crops: Crops, factor: int) -> None:
        shape = crops.shape
        if factor < 1 or shape.bins % factor:
            raise TrainingError(f"{shape.bins} bins of a window cannot be taken {factor} at a time")
        self._crops, self._factor = crops, factor
        self.shape: WindowShape = replace(shape, bins=shape.bins // factor)
        self.steps, self.batch = crops.steps // factor, crops.batch

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return one batch, see `Crops.draw`; labels are those of the last of the steps."""
        spikes, labels, age = self._crops.draw()
        merged = spikes.reshape(self.steps, self._factor, *spikes.shape[1:]).amax(1)
        last = slice(self._factor - 1, None, self._factor)
        return merged, labels[last], age[last] // self._factor

    def random_state(self) -> dict[str, Any]:
        """Return what decides the batches to come."""
        return self._crops.random_state()

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on from what `random_state` returned."""
        self._crops.set_random_state(state)


def coarse_specs(specs: Sequence[ConvSpec | DenseSpec], factor: int) -> tuple[ConvSpec | DenseSpec, ...]:
    """Return layers whose currents and potentials decay in one step as these do in `factor`."""

    def decay(register: int) -> int:
        return round(_ONE * (1.0 - (1.0 - register / _ONE) ** factor))

    return tuple(replace(spec, du=decay(spec.du), dv=decay(spec.dv)) for spec in specs)


def coarse_settings(settings: TrainingSettings, factor: int) -> TrainingSettings:
    """Return settings that judge the same windows, where a neuron has `factor` times fewer steps to spike in."""
    return replace(
        settings,
        settle_steps=settings.settle_steps // factor,
        switch_steps=settings.switch_steps // factor,
        chunk_steps=settings.chunk_steps // factor,
        count_scale=settings.count_scale * factor,
    )


@torch.no_grad()
def hand_on_weights(coarse: IntegerNetwork, network: IntegerNetwork) -> None:
    """Give a network the weights of its coarse one; it must be calibrated next, since more steps bring more spikes."""
    for ours, theirs in zip(network.parameters(), coarse.parameters(), strict=True):
        ours.copy_(theirs)
