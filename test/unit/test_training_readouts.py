# SPDX-License-Identifier: Apache-2.0
"""Readouts: what they cost, whom they teach, and that nothing of them stays."""

import itertools
import math

import pytest
import torch
from torch.nn import functional
from two_class_streams import SHAPE, stream

from neuro_ros.training.data import Crops
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.run.loop import TrainingSettings, fit
from neuro_ros.training.run.readouts import Readouts

SETTINGS = TrainingSettings(updates=3, settle_steps=0, switch_steps=0, readout_cost=1.0)
BINS = 10


def network(*hidden: int) -> IntegerNetwork:
    torch.manual_seed(1)
    specs = [DenseSpec(f"h{k}", n, 1000, 500) for k, n in enumerate(hidden)]
    return IntegerNetwork([*specs, DenseSpec("output", 2, 1000, 500)], (2, 4, 4), 1.5, gain=4.0)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return Crops([stream(k % 2, k) for k in range(4)], 20, 4, seed=1, shape=SHAPE, augmented=False).draw()


def test_the_last_two_hidden_layers_are_read_and_fewer_where_there_are_fewer():
    for hidden, read in (((), ()), ((5,), (5,)), ((5, 6), (5, 6)), ((4, 5, 6), (5, 6))):
        assert tuple(w.shape[1] for w in Readouts(network(*hidden), SETTINGS).weights) == read
    assert not len(Readouts(network(5, 6), TrainingSettings()).weights)


def test_at_first_they_say_nothing_and_chance_is_untouched():
    net = network(5, 6)
    before = torch.get_rng_state()
    readouts = Readouts(net, SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)
    spikes, labels, age = batch()
    loss = readouts.loss(net.all_spikes(spikes), labels, age, BINS, SETTINGS)
    assert float(loss.detach()) == pytest.approx(2 * math.log(2.0))


def test_the_loss_is_the_cross_entropy_of_window_counts_and_teaches_the_hidden_layers_only():
    net = network(5, 6)
    readouts = Readouts(net, SETTINGS)
    with torch.no_grad():
        for p in readouts.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    spikes, labels, age = batch()
    age[:BINS, 0] = 0  # the first window of the first stream is too soon after a switch
    settings = TrainingSettings(settle_steps=0, switch_steps=50, readout_cost=1.0)
    outputs = net.all_spikes(spikes)
    loss = readouts.loss(outputs, labels, age, BINS, settings)
    expected = 0.0
    for k in range(2):
        rows, wanted = [], []
        for window in range(2):
            for sample in range(4):
                if (window, sample) != (0, 0):
                    part = slice(window * BINS, (window + 1) * BINS)
                    rows.append(readouts.weights[k] @ outputs[k][part, sample].flatten(1).sum(0) + readouts.biases[k])
                    wanted.append(labels[part.stop - 1, sample])
        expected += float(functional.cross_entropy(torch.stack(rows), torch.stack(wanted)).detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    first, second, last = (layer.weight.grad for layer in net.populations)
    assert float(first.abs().max()) > 0.0
    assert float(second.abs().max()) > 0.0
    assert last is None


def test_where_nothing_is_judged_they_cost_nothing_and_still_have_gradients():
    readouts = Readouts(network(5), SETTINGS)
    spikes, labels, age = batch()
    loss = readouts.loss([spikes, spikes], torch.full_like(labels, -1), age, BINS, SETTINGS)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in readouts.parameters())


@pytest.mark.parametrize("chunk_steps", [0, 10])
def test_a_run_learns_the_readouts_and_keeps_none_of_them(chunk_steps):
    def trained(cost: float) -> IntegerNetwork:
        net = network(8)
        crops = Crops([stream(k % 2, k) for k in range(4)], 20, 4, seed=1, shape=SHAPE, augmented=False)
        settings = TrainingSettings(
            updates=4, learning_rate=3e-2, settle_steps=5, switch_steps=5, readout_cost=cost, chunk_steps=chunk_steps
        )
        fit(net, crops, settings, itertools.count().__next__)
        return net

    without, with_them = trained(0.0), trained(1.0)
    assert [name for name, _ in with_them.named_parameters()] == [name for name, _ in without.named_parameters()]
    assert not torch.equal(without.populations[0].weight, with_them.populations[0].weight)
