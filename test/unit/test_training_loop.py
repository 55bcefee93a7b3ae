# SPDX-License-Identifier: Apache-2.0
"""The loop learns a toy task, judges the right windows, and stops when the loss is not a number."""

import itertools
import math

import numpy as np
import pytest
import torch
from two_class_streams import SHAPE, stream

from neuro_ros.training.data import Crops
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.run.loop import TrainingSettings, calibrate, fit, window_loss


def toy_run(updates: int) -> tuple[IntegerNetwork, list[float]]:
    torch.manual_seed(1)
    crops = Crops([stream(k % 2, k) for k in range(8)], 40, 8, seed=1, shape=SHAPE, augmented=False)
    network = IntegerNetwork([DenseSpec("hidden", 16, 1000, 500), DenseSpec("output", 2, 1000, 500)], (2, 4, 4), 1.5)
    calibrate(network, crops.draw()[0])
    settings = TrainingSettings(updates=updates, learning_rate=3e-2)
    return network, fit(network, crops, settings, itertools.count().__next__)


def test_the_loss_of_a_toy_task_falls_and_runs_repeat():
    network, losses = toy_run(80)
    assert np.mean(losses[-10:]) < 0.35 * np.mean(losses[:5])
    again, _ = toy_run(80)
    assert torch.equal(network.layers[0].weight, again.layers[0].weight)


def test_calibration_brings_silent_layers_to_their_rate():
    torch.manual_seed(2)
    network = IntegerNetwork([DenseSpec("a", 40, 2000, 1000), DenseSpec("b", 10, 2000, 1000)], (2, 4, 4))
    spikes = (torch.rand(60, 4, 2, 4, 4) < 0.02).float()
    rates = calibrate(network, spikes, target_rate=0.05)
    assert all(0.03 < rate < 0.07 for rate in rates)


def test_only_settled_and_acted_windows_are_judged():
    settings = TrainingSettings(settle_steps=10, switch_steps=15)
    spikes = torch.zeros(40, 1, 3)
    spikes[20:30, 0, 2] = 1.0
    labels = torch.full((40, 1), 2)
    age = torch.arange(40)[:, None] - 5
    _, accuracy = window_loss(spikes, labels, age, 10, settings)
    assert accuracy == 0.5  # windows ending at steps 29 and 39 are old enough; the first of them is right
    loss, accuracy = window_loss(spikes, torch.full((40, 1), -1), age, 10, settings)
    assert float(loss) == 0.0
    assert math.isnan(accuracy)


def test_the_time_budget_ends_the_loop():
    crops = Crops([stream(0, 1)], 40, 2, seed=1, shape=SHAPE)
    network = IntegerNetwork([DenseSpec("output", 2, 1000, 500)], (2, 4, 4))
    seconds = itertools.count()
    losses = fit(network, crops, TrainingSettings(updates=1000, seconds=5.0), seconds.__next__)
    assert len(losses) == 4


def test_a_loss_that_is_no_number_stops_training_and_says_where():
    crops = Crops([stream(0, 1)], 40, 2, seed=1, shape=SHAPE)
    network = IntegerNetwork([DenseSpec("output", 2, 1000, 500)], (2, 4, 4))
    with pytest.raises(TrainingError, match="loss of update 0 is inf"):
        fit(network, crops, TrainingSettings(updates=2, share_cost=math.inf), itertools.count().__next__)


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"learning_rate": 0.0}, {"seconds": math.nan}, {"low_rate": 0.5}])
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(TrainingError, match=next(iter(wrong)).split("_")[-1]):
        TrainingSettings(**wrong)
