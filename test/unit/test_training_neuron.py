# SPDX-License-Identifier: Apache-2.0
"""The trained neuron: its integers are the engine's, its gradients are the written ones."""

import math

import numpy as np
import pytest
import torch
from network_spikes import engine_spikes

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Network
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.network.neuron import Neuron, scan, surrogate_slope
from neuro_ros.training.network.weights import on_grid

SPECS = {
    "conv and dense": (
        [
            ConvSpec("conv_a", 4, 5, 2, 2, du=2400, dv=1200),
            ConvSpec("conv_b", 6, 3, 2, 1, du=900, dv=77),
            DenseSpec("dense", 20, du=4095, dv=4095),
            DenseSpec("output", 5, du=0, dv=1),
        ],
        (2, 12, 12),
    ),
    "dense without leak": ([DenseSpec("a", 30, du=0, dv=0), DenseSpec("b", 7, du=1, dv=4095)], (1, 4, 4)),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain", [1.0, 3.0, 20.0])
def test_training_forward_equals_the_engine_spike_for_spike(name, seed, gain):
    specs, shape = SPECS[name]
    torch.manual_seed(seed)
    network = IntegerNetwork(specs, shape, gain=gain)
    with torch.no_grad():
        for layer in network.layers:  # beyond the grid too, so that clipping takes part
            layer.weight.mul_(1.0 + 0.8 * torch.rand_like(layer.weight))
    spikes = (torch.rand(60, 1, *shape, generator=torch.Generator().manual_seed(seed)) < 0.05 * (seed + 1)).float()
    trained = [out[:, 0].flatten(1).bool().numpy() for out in network.all_spikes(spikes)]
    for ours, theirs in zip(trained, engine_spikes(network.export(), spikes[:, 0].numpy()), strict=True):
        assert np.count_nonzero(ours != theirs) == 0
    assert trained[0].any()


def test_wrap_of_u_and_saturation_of_v_are_the_engine_s_and_counted():
    weight = np.full((3, 64), 254, np.int16)
    weight[1] = -256
    network = Network((Layer("a", Dense(weight, 4), Lif(du=0, dv=0, vth=131071)),), (1, 8, 8))
    spikes = np.ones((40, 1, 8, 8), bool)
    a = torch.from_numpy((spikes.reshape(40, -1).astype(np.float32) @ weight.T.astype(np.float32)) * 16.0)
    counts = np.zeros(2, np.int64)
    ours, _ = scan(a[:, None], Neuron(0, 0, 131071), counts)
    assert counts[0] > 0
    assert counts[1] > 0
    assert np.array_equal(ours[:, 0].bool().numpy(), engine_spikes(network, spikes)[0])


def test_convolution_is_the_engine_s_correlation():
    torch.manual_seed(3)
    network = IntegerNetwork([ConvSpec("conv", 2, 3, 1, 0, du=100, dv=100)], (1, 5, 4), gain=9.0)
    layer = network.export().layers[0]
    assert isinstance(layer.connection, Conv2d)
    assert network.export().shapes == ((2, 3, 2),)


def test_effective_weights_are_even_and_inside_the_grid():
    torch.manual_seed(0)
    layer = IntegerNetwork([DenseSpec("a", 50, 0, 0)], (1, 8, 8)).layers[0]
    with torch.no_grad():
        layer.weight.mul_(5.0)
    weight = layer.effective_weight().detach().numpy()
    assert np.all(weight % 2 == 0)
    assert weight.min() == -256
    assert weight.max() == 254


def test_weight_gradient_is_straight_through_and_masked_where_clipped():
    weight = torch.tensor([0.5, 3.0, 3.0, -3.0, -3.0], requires_grad=True)
    out = on_grid(weight, 100.0)
    assert out.tolist() == [50.0, 254.0, 254.0, -256.0, -256.0]
    out.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))
    # Further out is blocked, back in is not.
    assert weight.grad.tolist() == [100.0, 0.0, 100.0, 0.0, -100.0]


def test_surrogate_slope_is_one_at_the_threshold_and_even():
    x = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
    expected = [1 / 25, 1 / 4, 1.0, 1 / 4, 1 / 25]
    assert torch.allclose(surrogate_slope(x, 4.0), torch.tensor(expected))


def test_gradient_is_the_written_one():
    """Compare the scan's gradient with torch differentiating the written recursion with constant spikes."""
    du, dv, vth, beta, steps, n = 1500, 700, 40, 3.0, 25, 12
    generator = torch.Generator().manual_seed(5)
    a = torch.randint(-12, 20, (steps, n), generator=generator).float().requires_grad_()
    probe = torch.randn(steps, n, generator=generator)
    spikes = scan(a[:, None], Neuron(du, dv, vth, beta=beta), np.zeros(2, np.int64))[0][:, 0]
    assert 0.05 < float(spikes.detach().mean()) < 0.8
    (spikes * probe).sum().backward()

    b = a.detach().clone().double().requires_grad_()
    ku, kv, threshold = (4095 - du) / 4096, (4096 - dv) / 4096, float(vth << 6)
    u = torch.zeros(n, dtype=torch.float64)
    v = torch.zeros(n, dtype=torch.float64)
    integer_u, integer_v = np.zeros(n, np.int64), np.zeros(n, np.int64)
    total = torch.zeros((), dtype=torch.float64)
    for t in range(steps):
        u = ku * u + (64.0 * b[t - 1] if t else 0.0)
        w = kv * v + u
        integer_u = np.sign(integer_u) * ((np.abs(integer_u) * (4095 - du)) >> 12)
        integer_u = integer_u + (a.detach().numpy()[t - 1].astype(np.int64) << 6 if t else 0)
        integer_v = np.sign(integer_v) * ((np.abs(integer_v) * (4096 - dv)) >> 12) + integer_u
        x = torch.from_numpy(integer_v / threshold - 1.0)
        # A term whose value is 0 and whose gradient is the surrogate's.
        total = total + (probe[t].double() * surrogate_slope(x, beta) * (w - w.detach()) / threshold).sum()
        fired = torch.from_numpy(integer_v > threshold)
        v = torch.where(fired, torch.zeros_like(w), w)
        integer_v = np.where(integer_v > threshold, 0, integer_v)
    total.backward()
    assert torch.allclose(a.grad.double(), b.grad, rtol=1e-4, atol=1e-7)
    assert float(a.grad[-1].abs().max()) == 0.0


def test_a_threshold_of_zero_and_empty_networks_are_refused():
    with pytest.raises(TrainingError, match="vth"):
        Neuron(0, 0, 0)
    with pytest.raises(TrainingError, match="at least one layer"):
        IntegerNetwork([], (1, 4, 4))
    with pytest.raises(TrainingError, match="beta"):
        IntegerNetwork([DenseSpec("a", 2, 0, 0)], (1, 4, 4), beta=math.nan)
