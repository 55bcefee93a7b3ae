# SPDX-License-Identifier: Apache-2.0
"""Steps: Muon's are orthogonal and of one size, Adam's are torch's own, and a run goes on from either's moments."""

import itertools

import numpy as np
import pytest
import torch
from two_class_streams import SHAPE, stream

from neuro_ros.snn import container
from neuro_ros.training.data import Crops
from neuro_ros.training.errors import TrainingError, TrainingStoppedError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.run.loop import TrainingSettings, fit
from neuro_ros.training.run.optimiser import Muon, Optimiser, orthogonal

SPECS = [ConvSpec("conv", 3, 3, 1, 1, 1000, 500), DenseSpec("hidden", 12, 1000, 500), DenseSpec("output", 2, 1000, 500)]


def network() -> IntegerNetwork:
    torch.manual_seed(1)
    return IntegerNetwork(SPECS, (2, 4, 4), 1.5, gain=4.0)


@pytest.mark.parametrize("shape", [(16, 50), (50, 16), (30, 30), (1, 7)])
def test_the_iteration_comes_near_the_orthogonal_factor(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    # The least singular values of a square one are too small to be lifted within five iterations.
    assert float(values.max()) < 1.3
    assert float(values.median()) > 0.6
    alike = float((found * (u @ v)).sum() / (found.norm() * (u @ v).norm()))
    assert alike > (0.9 if shape == (30, 30) else 0.95)


def test_a_muon_step_has_the_same_root_mean_square_whatever_the_gradient_and_the_shape():
    torch.manual_seed(0)
    for shape in [(16, 2, 5, 5), (128, 1024), (64, 32, 3, 3)]:
        for size in (1e-6, 1e4):
            p = torch.nn.Parameter(torch.zeros(shape))
            p.grad = size * torch.randn(shape)
            Muon([{"params": [p], "lr": 0.5}]).step()
            rms = float(p.detach().square().mean().sqrt())
            assert rms == pytest.approx(0.5 * 0.2, rel=0.2)
            assert float((p.detach() * p.grad).sum()) < 0.0


def test_a_muon_step_is_the_same_in_every_direction_of_the_gradient():
    u, _ = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0)))
    v, _ = torch.linalg.qr(torch.randn(9, 2, generator=torch.Generator().manual_seed(1)))
    p = torch.nn.Parameter(torch.zeros(6, 9))
    p.grad = u @ torch.diag(torch.tensor([10.0, 1.0])) @ v.t()
    Muon([{"params": [p], "lr": 1.0}]).step()
    taken = -(u.t() @ p.detach() @ v)
    assert float(taken[1, 1] / taken[0, 0]) == pytest.approx(1.0, abs=0.5)  # the gradient's own are 1 : 10
    assert abs(float(taken[0, 1])) < 1e-4


def test_momentum_looks_ahead():
    p = torch.nn.Parameter(torch.zeros(1, 1))
    muon = Muon([{"params": [p], "lr": 1.0}], momentum=0.9)
    moved = []
    for grad in (1.0, -1.2, -1.2):  # velocity 1, -0.3, -1.47; with the look ahead -1.47 decides the second step
        before = float(p.detach())
        p.grad = torch.full((1, 1), grad)
        assert muon.step(lambda: 7.0) == 7.0
        moved.append(np.sign(float(p.detach()) - before))
    assert moved == [-1.0, 1.0, 1.0]
    p.grad = None
    before = float(p.detach())
    assert muon.step() is None
    assert float(p.detach()) == before


def test_adam_takes_the_steps_of_torch_s_own():
    ours, theirs = network(), network()
    scales = [float(p.detach().abs().max()) for p in theirs.parameters()]
    reference = torch.optim.Adam(
        [{"params": [p], "lr": 0.01 * s} for p, s in zip(theirs.parameters(), scales, strict=True)]
    )
    optimiser = Optimiser("adam", ours, torch.nn.Module())
    for update in range(3):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.full_like(a, 0.1 * (update + 1))
            b.grad = a.grad.clone()
        optimiser.step(0.01)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    optimiser.zero_grad()
    assert all(p.grad is None for p in ours.parameters())


def test_muon_moves_the_hidden_matrices_and_adam_the_output_and_what_is_beside():
    net, beside = network(), torch.nn.Linear(4, 2)
    optimiser = Optimiser("muon", net, beside)
    for p in [*net.parameters(), *beside.parameters()]:
        p.grad = torch.ones_like(p)
    optimiser.step(0.01)
    kinds = {}
    for name in optimiser.moments():
        number, _, what = name.partition(".")
        kinds.setdefault(int(number), set()).add(what)
    adam = {"step", "exp_avg", "exp_avg_sq"}
    assert kinds == {0: {"momentum"}, 1: {"momentum"}, 2: adam, 3: adam, 4: adam}
    assert optimiser.scales[3:] == [0.2, 0.2]


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_run_with_readouts_resumes_bit_for_bit(tmp_path, optimiser):
    def run(resume=False, stop=None, path=None):
        net = network()
        settings = TrainingSettings(
            updates=8, learning_rate=3e-2, settle_steps=5, switch_steps=5, optimiser=optimiser, readout_cost=1.0
        )
        streams = [stream(k % 2, k) for k in range(4)]
        crops = Crops(streams, 20, 4, seed=7 if resume else 1, shape=SHAPE, augmented=False)
        losses = fit(net, crops, settings, itertools.count().__next__, checkpoint=path, resume=resume, stop=stop)
        return losses, [p.detach().clone() for p in net.parameters()]

    whole, weights = run()
    path = tmp_path / "run.safetensors"
    asked = iter([False] * 4 + [True])
    with pytest.raises(TrainingStoppedError, match="stopped after 5"):
        run(stop=asked.__next__, path=path)
    losses, again = run(resume=True, path=path)
    assert losses == whole
    assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))


@pytest.mark.parametrize("damage", ["moment", "beside", "scales"])
def test_a_checkpoint_that_does_not_fit_is_refused_and_the_network_stays(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    settings = TrainingSettings(updates=2, settle_steps=5, switch_steps=5, optimiser="muon", readout_cost=1.0)

    def run(net, resume):
        crops = Crops([stream(k, k) for k in range(2)], 20, 4, seed=1, shape=SHAPE, augmented=False)
        fit(net, crops, settings, itertools.count().__next__, checkpoint=path, resume=resume)

    run(network(), False)
    head, tensors = container.read(path, "neuro_ros_training")
    if damage == "scales":
        head["scales"] = head["scales"][:-1]
    else:
        name = next(name for name in tensors if name.startswith(damage))
        tensors[name] = tensors[name].reshape(-1)[:-1].copy()
    container.write(path, "neuro_ros_training", head, tensors)
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(TrainingError, match="does not hold this network"):
        run(net, True)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(TrainingError, match="optimiser is 'sgd'; known are adam, muon"):
        TrainingSettings(optimiser="sgd")
