# SPDX-License-Identifier: Apache-2.0
"""Gradients: against finite differences where things are smooth, against the written slope where they are not."""

import numpy as np
import pytest
import torch

from neuro_ros.training.network.neuron import LifState, Neuron, scan
from neuro_ros.training.network.surrogate import SURROGATES, surrogate_antiderivative, surrogate_slope
from neuro_ros.training.network.weights import Rounding, on_grid
from neuro_ros.training.run.losses import window_loss
from neuro_ros.training.run.settings import TrainingSettings


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("beta", [0.7, 1.5, 4.0])
def test_a_slope_is_the_derivative_of_its_smooth_function(name, beta):
    assert float(surrogate_slope(torch.tensor(0.0), beta, name)) == 1.0
    for x in (-2.0, -0.6, -0.1, 0.05, 0.3, 1.1):
        h = 1e-5
        difference = surrogate_antiderivative(x + h, beta, name) - surrogate_antiderivative(x - h, beta, name)
        slope = float(surrogate_slope(torch.tensor(x, dtype=torch.float64), beta, name))
        assert slope == pytest.approx(difference / (2 * h), abs=1e-6)
        assert slope >= 0.0  # the article's was negative here


def potential(a: torch.Tensor, neuron: Neuron, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return v after the last step; nobody fires."""
    spikes, state = scan(a, neuron, np.zeros(2, np.int64), bias)
    assert float(spikes.sum()) == 0.0
    return state.v


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_below_the_threshold_gradients_are_finite_differences_of_u_and_v(surrogate):
    """The spike of the last step sees v, which is linear in all sums before: its difference quotient is exact."""
    steps, neurons = 9, 4
    neuron = Neuron(700, 350, 900, beta=0.7, surrogate=surrogate, arithmetic="float")
    a = torch.randint(-20, 40, (steps, 1, neurons), generator=torch.Generator().manual_seed(2)).float()
    bias = torch.tensor([30.0, -200.0, 0.0, 500.0])
    x, b = a.clone().requires_grad_(), bias.clone().requires_grad_()
    spikes, state = scan(x, neuron, np.zeros(2, np.int64), b)
    spikes[-1].sum().backward()
    slope = surrogate_slope(state.v / neuron.threshold - 1.0, 0.7, surrogate)[0] / neuron.threshold
    assert float(slope.min()) > 0.0
    for t in range(steps):
        more, less = a.clone(), a.clone()
        more[t] += 8.0
        less[t] -= 8.0
        quotient = (potential(more, neuron, bias) - potential(less, neuron, bias))[0] / 16.0
        assert torch.allclose(x.grad[t, 0].double(), slope * quotient, rtol=1e-4)
    quotient = (potential(a, neuron, bias + 4.0) - potential(a, neuron, bias - 4.0))[0] / 8.0
    assert torch.allclose(b.grad.double(), slope * quotient, rtol=1e-4)


def test_the_loss_passes_a_gradient_check():
    settings = TrainingSettings(settle_steps=5, switch_steps=0)
    labels = torch.randint(0, 4, (2, 3)).repeat_interleave(10, 0)
    age = torch.full((20, 3), 100)
    spikes = torch.rand(20, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: window_loss(s, labels, age, 10, settings)[0], (spikes,))


def test_chunks_of_a_crop_cost_what_the_whole_does():
    settings = TrainingSettings(settle_steps=12, switch_steps=0)
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(40, 3, 4, generator=generator) < 0.2).float()
    labels = torch.randint(-1, 4, (4, 3), generator=generator).repeat_interleave(10, 0)
    age = torch.full((40, 3), 100)
    whole, _ = window_loss(spikes, labels, age, 10, settings)
    total, number = 0.0, 0
    for begin in (0, 20):
        part = slice(begin, begin + 20)
        ends = torch.tensor([begin + 9, begin + 19])
        judged = int(((labels[part][9::10] >= 0) & (ends[:, None] >= 12)).sum())
        total += judged * float(window_loss(spikes[part], labels[part], age[part], 10, settings, begin)[0])
        number += judged
    assert total / number == pytest.approx(float(whole), rel=1e-5)


def test_a_learnable_reset_learns_where_a_neuron_goes_on_from():
    """In floating point a shift of the reset is a shift of v behind the spike, decayed: its quotient is exact."""
    neuron = Neuron(4095, 400, 100, beta=1.0, arithmetic="float")
    a = torch.zeros(6, 1, 1)
    a[0] = 150.0  # one spike in step 1, nothing after

    def last(value: float) -> tuple[torch.Tensor, LifState, torch.Tensor]:
        reset = torch.tensor(value, requires_grad=True)
        spikes, state = scan(a, neuron, np.zeros(2, np.int64), None, None, reset)
        return spikes, state, reset

    spikes, state, reset = last(100.0)
    assert spikes.flatten().tolist() == [0, 1, 0, 0, 0, 0]
    spikes[-1].sum().backward()
    quotient = (last(101.0)[1].v - last(99.0)[1].v).item() / 2.0
    slope = surrogate_slope(state.v / neuron.threshold - 1.0, 1.0).item() / neuron.threshold
    assert reset.grad.item() == pytest.approx(slope * quotient, rel=1e-4)


def test_stochastic_rounding_is_right_on_average_and_noise_is_only_for_training():
    torch.manual_seed(0)
    master = torch.full((20_000,), 0.003)  # 0.3 of a grid step of 2 at scale 200
    mean = float(on_grid(master, 200.0, rounding=Rounding("stochastic")).mean())
    assert mean == pytest.approx(0.6, abs=0.03)
    assert float(on_grid(master, 200.0).abs().max()) == 0.0  # to the nearest they are all dead
    noisy = on_grid(master, 200.0, rounding=Rounding(noise_steps=0.5))
    assert 0.2 < float((noisy != 0.0).float().mean()) < 0.6
    assert bool((noisy % 2 == 0).all())
