# SPDX-License-Identifier: Apache-2.0
"""What training computes on a GPU, where there is one: the spikes of the engine, and runs that end and resume."""

import itertools

import numpy as np
import pytest
import torch
from two_class_streams import SHAPE, stream

from neuro_ros.gestures import LABELS
from neuro_ros.snn import Model, create_engine
from neuro_ros.training.data import Crops, StepStream
from neuro_ros.training.gesture import gesture_network
from neuro_ros.training.judge.agreement import engine_spikes, mismatches, network_spikes
from neuro_ros.training.network.calibration import calibrate
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.run.devices import device_named
from neuro_ros.training.run.loop import TrainingSettings, fit

pytestmark = [
    pytest.mark.hardware,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


def recording(steps: int = 200) -> StepStream:
    cells = (np.random.default_rng(5).random((steps, 2, 32, 32)) < 0.06).astype(np.uint8)
    return StepStream(np.packbits(cells.reshape(steps, -1), axis=1), np.zeros(steps, np.int64), np.arange(steps))


def test_the_spikes_are_those_of_the_engine():
    torch.manual_seed(1)
    network = gesture_network()
    one = recording()
    cells = np.unpackbits(one.bits, axis=1).astype(np.float32).reshape(-1, 1, 2, 32, 32)
    calibrate(network, torch.from_numpy(cells))
    model = Model(network.export(), LABELS, 50_000_000, 10, "random")
    engine = create_engine(model, "fixed")
    expected = engine_spikes(engine, one, model.bins, model.network.depth)
    engine.close()
    assert all(len(spikes) for spikes in expected)
    found = network_spikes(network.to(device_named("cuda")), one, model.network.depth)
    assert mismatches(expected, found) == 0


def test_the_gradients_are_those_of_the_processor_within_rounding():
    def gradients(device: str) -> list[torch.Tensor]:
        torch.manual_seed(1)
        specs = [ConvSpec("conv", 4, 3, 2, 1, 1000, 500, bias=True), DenseSpec("output", 2, 1000, 500)]
        network = IntegerNetwork(specs, (2, 8, 8), 1.5, gain=3.0).to(device)
        spikes = (torch.rand(40, 3, 2, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.2).float()
        outputs = network.all_spikes(spikes.to(device))
        (outputs[-1].sum() + outputs[0].square().sum()).backward()
        return [p.grad.cpu() for p in network.parameters()]

    for ours, theirs in zip(gradients("cuda"), gradients("cpu"), strict=True):
        assert float(theirs.abs().max()) > 0.0
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_run_learns_and_goes_on_from_a_checkpoint(tmp_path, optimiser):
    path = tmp_path / "run.safetensors"

    def run(updates: int, resume: bool = False) -> list[float]:
        torch.manual_seed(1)
        specs = [DenseSpec("hidden", 12, 1000, 500), DenseSpec("output", 2, 1000, 500)]
        network = IntegerNetwork(specs, (2, 4, 4), 1.5, gain=4.0).to(device_named("cuda"))
        crops = Crops([stream(k % 2, k) for k in range(4)], 20, 4, seed=1, shape=SHAPE, augmented=False)
        settings = TrainingSettings(
            updates=updates, learning_rate=3e-2, settle_steps=5, switch_steps=5, optimiser=optimiser, readout_cost=1.0
        )
        losses = fit(network, crops, settings, itertools.count().__next__, checkpoint=path, resume=resume)
        assert network.device.type == "cuda"
        return losses

    losses = run(60)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert run(60, resume=True) == losses
