# SPDX-License-Identifier: Apache-2.0
"""Deep and recurrent networks stay alive, collapse is told and refused, and regularisers push the right way."""

import io
import itertools
import math

import numpy as np
import pytest
import torch

from neuro_ros.snn import Model, create_engine
from neuro_ros.training.data import Crops, StepStream, WindowShape
from neuro_ros.training.errors import ExportError, TrainingError
from neuro_ros.training.judge.evaluation import score_recordings
from neuro_ros.training.judge.export import check_exportable
from neuro_ros.training.network.conversion import quantise
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.network.weights import Rounding
from neuro_ros.training.run.curves import Curves, smoothed
from neuro_ros.training.run.devices import device_named
from neuro_ros.training.run.loop import Progress, TrainingSettings, calibrate, fit, window_loss
from neuro_ros.training.run.progress import ProgressLine
from neuro_ros.training.run.regularisers import band_cost, regularised, silence_cost, weight_floor_cost

SHAPE = WindowShape(height=4, width=4)
# torch, processor, and what `trained(convolutional())` gave before neurons had states, registers and compiled threads.
GOLDEN = ("2.13.0+cpu", "AVX2", "e3e7c05c869799796ab5b2c442d088a20bc013ffb1108f4a8c12bf0eadf4f7be")


def stream(label: int, seed: int, rate: float = 0.3) -> StepStream:
    """Make a stream whose upper (label 0) or lower (label 1) half fires."""
    rng = np.random.default_rng(seed)
    cells = np.zeros((60, 2, 4, 4), np.uint8)
    cells[:, :, slice(0, 2) if label == 0 else slice(2, 4)] = rng.random((60, 2, 2, 4)) < rate
    return StepStream(np.packbits(cells.reshape(60, -1), axis=1), np.full(60, label), np.arange(60) + 100)


def crops(seed: int = 1, steps: int = 40) -> Crops:
    return Crops([stream(k % 2, k) for k in range(8)], steps, 8, seed=seed, shape=SHAPE, augmented=False)


def dense(depth: int, **more: object) -> list[DenseSpec]:
    layers = [DenseSpec(f"layer_{k}", 16, 2000, 500, **more) for k in range(depth - 1)]
    return [*layers, DenseSpec("output", 2, 1000, 300)]


@pytest.mark.parametrize(
    ("specs", "settings"),
    [
        (dense(8), TrainingSettings(updates=40, learning_rate=3e-2, settle_steps=20)),
        (dense(3, recurrent=True), TrainingSettings(updates=40, learning_rate=3e-2, settle_steps=15)),
        (dense(3, norm=True, bias=True), TrainingSettings(updates=40, learning_rate=3e-2, settle_steps=15)),
        (dense(3), TrainingSettings(updates=40, learning_rate=3e-2, settle_steps=15, chunk_steps=20)),
    ],
    ids=["eight layers", "recurrent", "normalised", "in chunks"],
)
def test_networks_learn_and_stay_neither_silent_nor_saturated(specs, settings):
    torch.manual_seed(1)
    source = crops()
    network = IntegerNetwork(specs, (2, 4, 4), 1.5)
    calibrate(network, source.draw()[0])
    curves = Curves([spec.name for spec in specs])
    losses = fit(network, source, settings, itertools.count().__next__, curves)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    for name, rates in zip(curves.names[:-1], np.mean(curves.rates[-10:], axis=0)[:-1], strict=True):
        assert 0.5 * settings.low_rate < rates < 2.0 * settings.high_rate, name
    network.eval()
    recordings = [(stream(k % 2, 50 + k), k % 2) for k in range(4)]
    check_exportable(network.export(), score_recordings(Model(network.export(), ("a", "b")), recordings))


def test_a_network_trained_in_floating_point_is_quantised_and_right():
    torch.manual_seed(5)
    source = crops()
    network = IntegerNetwork(dense(3), (2, 4, 4), 1.5)
    calibrate(network, source.draw()[0])
    network.arithmetic = "float"
    settings = TrainingSettings(updates=40, learning_rate=3e-2, settle_steps=15)
    losses = fit(network, source, settings, itertools.count().__next__)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    spikes, labels, age = source.draw()
    with torch.no_grad():
        exact, _ = window_loss(network(spikes), labels, age, 10, settings)
        reports = quantise(network, spikes)
        whole, accuracy = window_loss(network(spikes), labels, age, 10, settings)
    assert all(report.integer_rate > 0.01 and report.f1 > 0.7 for report in reports)
    assert float(whole) == pytest.approx(float(exact), rel=0.3)
    assert accuracy > 0.9
    recordings = [(stream(k % 2, 50 + k), k % 2) for k in range(4)]
    check_exportable(network.export(), score_recordings(Model(network.export(), ("a", "b")), recordings))


def test_normalised_weights_are_the_exported_ones():
    torch.manual_seed(2)
    specs = [
        ConvSpec("conv", 4, 3, 1, 1, 1500, 400, norm=True, bias=True),
        DenseSpec("output", 3, 1000, 300, norm=True),
    ]
    network = IntegerNetwork(specs, (2, 4, 4), 1.5)
    spikes = (torch.rand(30, 4, 2, 4, 4) < 0.2).float()
    rates = calibrate(network, spikes)
    assert all(0.02 < rate < 0.12 for rate in rates)
    network(spikes).sum().backward()
    assert all(float(layer.norm.gain.grad.abs().sum()) > 0.0 for layer in network.populations)
    network.eval()
    model = Model(network.export(), ("a", "b", "c"))
    with torch.no_grad():
        ours = network(spikes)[:, 1].sum(0)
    engine = create_engine(model, "fixed")
    theirs = engine.run_window(np.flatnonzero(spikes[:, 1].numpy().reshape(-1)).astype(np.uint32), 30).spike_counts
    engine.close()
    assert ours.tolist() == theirs.tolist()
    assert theirs.sum() > 0
    # A layer whose weights are all doubled is the same layer.
    with torch.no_grad():
        for layer in network.populations:
            layer.weight.mul_(2.0)
            layer.norm.square.mul_(4.0)
    assert Model(network.export(), ("a", "b", "c")).digest == model.digest


def test_a_network_made_to_collapse_is_warned_of_and_refused_by_name():
    torch.manual_seed(3)
    network = IntegerNetwork(dense(3), (2, 4, 4), 1.5)
    source = crops()
    calibrate(network, source.draw()[0])
    network.populations[1].vth.fill_(1)  # the article's failure: weights of a tenth on a grid of twos
    told: list[str] = []
    fit(
        network, source, TrainingSettings(updates=22), itertools.count().__next__,
        lambda progress: told.extend(progress.warnings),
    )  # fmt: skip
    assert [line for line in told if "'layer_1': 100.0% of its weights are rounded to zero" in line] == [told[0]]
    assert any("'layer_1': no spike in 20 updates" in line for line in told)
    exported = network.export()
    recordings = [(stream(k % 2, 50 + k), k % 2) for k in range(2)]
    with pytest.raises(ExportError, match=r"'layer_1' is dead.*'layer_1' has collapsed"):
        check_exportable(exported, score_recordings(Model(exported, ("a", "b")), recordings))
    # Stochastic rounding is the way out that a regulariser is not: some of the dead weights act, so all can move.
    network.populations[1].rounding = Rounding("stochastic")
    assert float((network.populations[1].effective_weight() != 0.0).float().mean()) > 0.05


def test_a_run_that_wraps_says_so():
    network = IntegerNetwork([DenseSpec("a", 4, 0, 0), DenseSpec("b", 2, 1000, 300)], (2, 4, 4), 1.5)
    with torch.no_grad():
        network.populations[0].weight.fill_(1.0)
        network.populations[0].vth.fill_(131_071)
    told: list[str] = []
    loud = Crops([stream(0, 1, 1.0)], 40, 2, seed=1, shape=SHAPE, augmented=False)
    settings = TrainingSettings(updates=2)
    fit(network, loud, settings, itertools.count().__next__, lambda progress: told.extend(progress.warnings))
    assert sum("'a': u wrapped around its 24 bits" in line for line in told) == 1
    assert network.populations[0].counts[0] > 0


def test_regularisers_push_the_right_way_and_say_nothing_inside():
    assert band_cost(torch.tensor(0.05), 0.01, 0.10).item() == 0.0
    assert band_cost(torch.tensor(0.3), 0.01, 0.10).item() == pytest.approx(0.2)
    assert band_cost(torch.tensor(0.004), 0.01, 0.10).item() == pytest.approx(0.006)
    spikes = torch.zeros(10, 2, 4)
    spikes[:, :, 0] = 1.0
    assert silence_cost(spikes, 0.1).item() == pytest.approx(0.075)  # three of four neurons lack a tenth
    torch.manual_seed(0)
    network = IntegerNetwork(dense(2), (2, 4, 4))
    layer = network.populations[0]
    with torch.no_grad():
        layer.weight.fill_(1.0 / layer.scale)
        layer.weight[0, 0] = 0.0
        layer.weight[1, 1] = -1.0 / layer.scale
    weight_floor_cost(network, 2.0).backward()
    assert layer.weight.grad[0, 1] < 0.0  # descent makes it larger
    assert layer.weight.grad[1, 1] > 0.0
    assert layer.weight.grad[0, 0] == 0.0  # and does nothing for one that is dead: the limit that is told


def test_every_factor_costs_something():
    torch.manual_seed(0)
    network = IntegerNetwork(dense(2), (2, 4, 4), gain=5.0)
    outputs = network.all_spikes(crops().draw()[0])
    zero = torch.zeros(())
    base = {"rate_cost": 0.0}
    assert float(regularised(zero, network, outputs, TrainingSettings(**base)).detach()) == 0.0
    for extra in (
        {"rate_cost": 1.0, "high_rate": 0.011},
        {"rate_cost": 1.0, "bands": (("output", 0.0, 0.001),)},
        {"silence_cost": 1.0, "low_rate": 0.9, "high_rate": 1.0},
        {"spike_cost": 1.0},
        {"weight_floor": 4.0, "weight_floor_cost": 1.0},
    ):
        assert float(regularised(zero, network, outputs, TrainingSettings(**{**base, **extra})).detach()) > 0.0, extra


def convolutional(**more: object) -> IntegerNetwork:
    torch.manual_seed(1)
    specs = [ConvSpec("conv", 4, 3, 2, 1, 1000, 500), ConvSpec("conv_b", 6, 3, 1, 1, 1000, 500)]
    return IntegerNetwork([*specs, DenseSpec("output", 2, 1000, 500)], (2, 4, 4), 1.5, **more)


def trained(network: IntegerNetwork) -> str:
    """Train a little and return the digest of the model."""
    source = crops()
    calibrate(network, source.draw()[0])
    fit(network, source, TrainingSettings(updates=6, learning_rate=3e-2), itertools.count().__next__)
    return Model(network.export(), ("a", "b")).digest


def test_equal_runs_give_one_model_at_any_number_of_threads():
    digests, weights = set(), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            network = convolutional(sparse_gradient=True)
            digests.add(trained(network))
            weights.append(network.populations[0].weight.detach().clone())
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1
    assert torch.equal(*weights)


@pytest.mark.skipif(
    torch.__version__ != GOLDEN[0] or torch.backends.cpu.get_cpu_capability() != GOLDEN[1],
    reason=f"bits of the floating-point sums of torch {GOLDEN[0]} with {GOLDEN[1]}",
)
def test_the_default_path_gives_the_model_it_always_gave():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert trained(convolutional()) == GOLDEN[2]
    finally:
        torch.set_num_threads(before)


def test_curves_are_drawn_as_pictures(tmp_path):
    curves = Curves(("a", "b"))
    with pytest.raises(TrainingError, match="no updates"):
        curves.draw(tmp_path / "c.svg")
    for k in range(60):
        curves(Progress(k + 7, 2.0 / (1 + k), math.nan if k % 3 else 0.5, (0.05, 0.1)))
    assert curves.first_update == 7
    curves.draw(tmp_path / "c.svg", (0.01, 0.1))
    text = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "spikes a neuron and step" in text
    assert "accuracy of windows" in text
    curves.draw(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TrainingError, match="ends in one of"):
        curves.draw(tmp_path / "c.jpg")
    with pytest.raises(TrainingError, match="cannot write"):
        curves.draw(tmp_path / "missing" / "c.svg")
    assert smoothed([1.0, math.nan, 3.0, 5.0], 2).tolist() == [1.0, 1.0, 3.0, 4.0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_file_plain_lines():
    for stream_type, clock in ((Terminal, itertools.count(0.0, 1.0)), (io.StringIO, itertools.count(0.0, 20.0))):
        out = stream_type()
        line = ProgressLine(out, 4, clock.__next__)
        for k in range(4):
            line(Progress(k, 1.0, 0.5, (0.05,), ("layer 'a': wrapped",) if k == 1 else ()))
        text = out.getvalue()
        assert text.endswith("\n")
        assert "4/4 updates, loss 1.000, windows right 50.0%" in text
        assert "layer 'a': wrapped" in text
        assert ("\r[" in text) == (stream_type is Terminal)
        assert ("\r" in text) == (stream_type is Terminal)


def test_a_device_that_is_not_there_is_refused():
    assert device_named("cpu").type == "cpu"
    with pytest.raises(TrainingError, match="device is 'tpu'"):
        device_named("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="torch finds none"):
            device_named("cuda")
