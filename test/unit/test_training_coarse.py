# SPDX-License-Identifier: Apache-2.0
"""Long steps first: the same windows in fewer steps, the same time constants, and weights that carry over."""

import numpy as np
import pytest
import torch

from neuro_ros.training.coarse import CoarseCrops, coarse_settings, coarse_specs, hand_on_weights
from neuro_ros.training.data import Crops, StepStream, WindowShape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.run.loop import TrainingSettings

SHAPE = WindowShape(height=4, width=4)


def crops(seed: int) -> Crops:
    cells = (np.random.default_rng(5).random((60, 32)) < 0.1).astype(np.uint8)
    labels = np.repeat([0, 1], 30)
    age = np.tile(np.arange(30), 2)
    return Crops([StepStream(np.packbits(cells, axis=1), labels, age)], 20, 3, seed, SHAPE, augmented=False)


def test_a_long_step_has_the_spikes_of_its_short_ones_and_the_last_label():
    fine, coarse = crops(1), CoarseCrops(crops(1), 2)
    assert (coarse.shape.bins, coarse.steps, coarse.batch) == (5, 10, 3)
    spikes, labels, age = fine.draw()
    merged, coarse_labels, coarse_age = coarse.draw()
    assert torch.equal(merged, torch.maximum(spikes[0::2], spikes[1::2]))
    assert torch.equal(coarse_labels, labels[1::2])
    assert torch.equal(coarse_age, age[1::2] // 2)
    before = coarse.random_state()
    again = coarse.draw()[0]
    coarse.set_random_state(before)
    assert torch.equal(coarse.draw()[0], again)


def test_bins_that_do_not_go_into_long_steps_are_refused():
    with pytest.raises(TrainingError, match="10 bins of a window cannot be taken 3 at a time"):
        CoarseCrops(crops(1), 3)


def test_time_constants_stay():
    (spec,) = coarse_specs([DenseSpec("a", 3, 2000, 300)], 2)
    for name in ("du", "dv"):
        short, long = (1.0 - getattr(each, name) / 4096 for each in (DenseSpec("a", 3, 2000, 300), spec))
        assert long == pytest.approx(short**2, abs=1.0 / 4096)
    assert coarse_specs([DenseSpec("a", 3, 2000, 300)], 1) == (DenseSpec("a", 3, 2000, 300),)


def test_the_same_windows_are_judged():
    settings = coarse_settings(TrainingSettings(settle_steps=20, switch_steps=50, chunk_steps=40, count_scale=0.6), 2)
    assert (settings.settle_steps, settings.switch_steps, settings.chunk_steps, settings.count_scale) == (
        10,
        25,
        20,
        1.2,
    )


def test_weights_are_handed_on():
    torch.manual_seed(1)
    one, other = (IntegerNetwork([DenseSpec("a", 3, 1000, 500)], (2, 4, 4)) for _ in range(2))
    assert not torch.equal(one.populations[0].weight, other.populations[0].weight)
    hand_on_weights(one, other)
    assert torch.equal(one.populations[0].weight, other.populations[0].weight)
