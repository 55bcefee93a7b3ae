# SPDX-License-Identifier: Apache-2.0
"""Time: reset, integration, decay, rest; and integers that keep the dynamics of floating point."""

import itertools
import math

import numpy as np
import pytest
import torch

from neuro_ros.snn import Conv2d
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.calibration import calibrate
from neuro_ros.training.network.conversion import matched_spikes, quantise
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork
from neuro_ros.training.network.neuron import Neuron, scan

RATE_FLOOR = 0.02  # spikes a neuron and step: what two silent networks agree on proves nothing


def drive(neuron: Neuron, a: list[float], bias: float = 0.0) -> tuple[list[int], list[tuple[float, float]]]:
    """Return the spikes of one neuron, and u and v after each step."""
    counts = np.zeros(2, np.int64)
    state, spikes, values = None, [], []
    for each in a:
        out, state = scan(torch.full((1, 1, 1), each), neuron, counts, torch.tensor([bias]), state)
        spikes.append(int(out))
        values.append((float(state.u), float(state.v)))
    return spikes, values


@pytest.mark.parametrize("arithmetic", ["integer", "float"])
def test_integration_grows_and_a_spike_resets_v_but_not_u(arithmetic):
    neuron = Neuron(4095, 100, 50, arithmetic=arithmetic)  # u forgets at once
    spikes, values = drive(neuron, [20.0] * 12)
    first = spikes.index(1)
    assert first == 3  # the first sum arrives a step late; two of them stay below 50
    grown = [v for _, v in values[:first]]
    assert all(one < other for one, other in itertools.pairwise(grown))
    assert values[first] == (1280.0, 0.0)
    assert spikes[first + 1 : first + 4] == [0, 0, 1]


@pytest.mark.parametrize("arithmetic", ["integer", "float"])
def test_an_impulse_decays_by_the_registers(arithmetic):
    neuron = Neuron(1000, 300, 100_000, arithmetic=arithmetic)
    _, values = drive(neuron, [30_000.0] + [0.0] * 20)
    u = [value[0] for value in values][1:]
    for before, after in itertools.pairwise(u):
        expected = before * 3095 / 4096
        assert after == pytest.approx(math.trunc(expected) if arithmetic == "integer" else expected)
    v = 0.0
    for current, potential in values:
        v = v * 3796 / 4096
        v = (math.trunc(v) if arithmetic == "integer" else v) + current
        assert potential == pytest.approx(v)


@pytest.mark.parametrize("refractory", [0, 1, 4])
def test_a_refractory_neuron_rests_and_its_current_goes_on(refractory):
    neuron = Neuron(0, 0, 10, refractory=refractory)
    spikes, values = drive(neuron, [60.0] * 30)
    times = np.flatnonzero(spikes)
    assert np.diff(times).tolist() == [refractory + 1] * (times.size - 1)
    assert times.size > 4
    u = [value[0] for value in values]
    assert all(one < other for one, other in itertools.pairwise(u[1:]))


def test_a_bias_alone_makes_a_neuron_fire():
    spikes, _ = drive(Neuron(0, 0, 10), [0.0] * 12, bias=200.0)
    assert spikes == [0, 0, 0, 1] * 3  # 640 is passed at the fourth 200


def test_matching_is_one_to_one_within_a_step_and_silence_is_no_success():
    reference = torch.zeros(12, 2)
    reference[[1, 5, 9], 0] = 1.0
    assert matched_spikes(reference, reference) == (1.0, 1.0)
    assert matched_spikes(reference.roll(1, 0), reference) == (1.0, 1.0)
    assert matched_spikes(reference.roll(-1, 0), reference) == (1.0, 1.0)
    assert matched_spikes(reference.roll(2, 0), reference) == (0.0, 0.0)
    assert matched_spikes(reference.flip(1), reference) == (0.0, 0.0)
    doubled = reference.clone()
    doubled[2, 0] = 1.0  # both near one spike of the reference: only one counts
    assert matched_spikes(doubled, reference) == (0.75, 1.0)
    precision, recall = matched_spikes(torch.zeros(12, 2), reference)
    assert math.isnan(precision)
    assert recall == 0.0


def network() -> tuple[IntegerNetwork, torch.Tensor]:
    torch.manual_seed(4)
    specs = [
        ConvSpec("conv", 6, 3, 2, 1, 1500, 400, bias=True),
        DenseSpec("hidden", 24, 1500, 300, recurrent=True),
        DenseSpec("output", 20, 800, 200, weight_exp=-1),
    ]
    made = IntegerNetwork(specs, (2, 8, 8), 1.5)
    spikes = (torch.rand(60, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    calibrate(made, spikes)
    return made, spikes


def test_integers_keep_the_dynamics_of_floating_point():
    made, spikes = network()
    with torch.no_grad():
        integer = made.all_spikes(spikes)
        with made.computing("float"):
            exact = made.all_spikes(spikes)
    assert made.arithmetic == "integer"
    for ours, theirs, layer in zip(integer, exact, made.populations, strict=True):
        assert float(theirs.mean()) > RATE_FLOOR
        precision, recall = matched_spikes(ours, theirs)
        assert min(precision, recall) > 0.75, layer.spec.name


def test_quantising_takes_thresholds_from_data_and_reports_what_it_cost():
    made, spikes = network()
    made.arithmetic = "float"
    with torch.no_grad():
        for layer in made.populations:
            layer.vth.fill_(7)  # in floating point a threshold is only where the grid would clip
        made.populations[0].weight[0, 0, 0, 0] *= 1.5
        exact = made.all_spikes(spikes)
    reports = quantise(made, spikes)
    assert made.arithmetic == "integer"
    assert [report.name for report in reports] == ["conv", "hidden", "output"]
    for report in reports:
        assert report.float_rate > RATE_FLOOR
        assert report.integer_rate == pytest.approx(report.float_rate, rel=0.2)
        assert report.f1 > 0.75
        assert report.zeros < 0.2
        assert report.clipped < 0.1
        assert report.vth > 7
    with torch.no_grad():
        last = made.all_spikes(spikes)[-1]
    assert matched_spikes(last, exact[-1])[1] == pytest.approx(reports[-1].recall)
    assert isinstance(made.export().layers[0].connection, Conv2d)  # and the accumulator's bound holds


def test_a_layer_that_is_silent_or_too_strong_cannot_be_quantised_and_stays_as_it_was():
    made, spikes = network()
    made.arithmetic = "float"
    before = [int(layer.vth) for layer in made.populations]
    with pytest.raises(TrainingError, match="layer 'conv' is silent"):
        quantise(made, torch.zeros_like(spikes[:3]))
    wide = IntegerNetwork([DenseSpec("wide", 2, 1000, 100, weight_exp=7)], (40, 8, 8))
    wide.arithmetic = "float"
    with torch.no_grad():
        wide.populations[0].weight.fill_(0.1)
    with pytest.raises(TrainingError, match="layer 'wide': no threshold keeps its sums"):
        quantise(wide, torch.ones(20, 1, 40, 8, 8))
    assert made.arithmetic == wide.arithmetic == "float"
    assert [int(layer.vth) for layer in made.populations] == before
