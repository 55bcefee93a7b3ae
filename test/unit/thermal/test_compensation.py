# SPDX-License-Identifier: Apache-2.0
"""Compensation cancels the drift of an emulated chip: time constants, spikes, bursts, clipping, memory."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.resources import models_directory
from neuro_ros.snn import Dense, EngineError, Layer, Lif, Model, Network, RunDigest, create_engine, load_model
from neuro_ros.snn.errors import NetworkError
from neuro_ros.snn.quantisation import tau_from_du, tau_from_dv
from neuro_ros.thermal import (
    Compensator,
    Die,
    Drift,
    DriftingEngine,
    Population,
    SiliconOptions,
    ThermalError,
    create_silicon,
    populations,
)

STEP_S = 0.005
SWEEP = range(-40, 86)


@pytest.fixture(scope="module")
def model():
    return load_model(models_directory() / "gesture.safetensors")


@pytest.fixture(scope="module")
def linear():
    return create_silicon("linear")


def half_step(register, step_s, tau_from):
    """Relative change of a time constant by half a step of its register."""
    return max(abs(tau_from(register + side, step_s) / tau_from(register, step_s) - 1.0) for side in (-0.5, 0.5))


# -- time constants ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("celsius", SWEEP)
def test_effective_time_constants_stay_nominal_over_the_whole_range(model, linear, celsius):
    compensator = Compensator(populations(model), linear, 0.005)
    compensator.jump(celsius)
    found = compensator.registers(celsius)
    for k, population in enumerate(populations(model)):
        tau_syn_s, tau_mem_s = population.tau_s
        errors = (found.tau_syn_effective_s[k] / tau_syn_s - 1.0, found.tau_mem_effective_s[k] / tau_mem_s - 1.0)
        limits = (half_step(found.du[k], STEP_S, tau_from_du), half_step(found.dv[k], STEP_S, tau_from_dv))
        assert not found.clipped[k]
        assert all(abs(error) <= max(0.01, limit) for error, limit in zip(errors, limits, strict=True))
        assert found.remaining_error[k] == max(map(abs, errors))


def test_uncompensated_the_chip_is_off_by_a_fifth(model, linear):
    compensator = Compensator(populations(model), linear, 0.005)
    worst = {celsius: max(compensator.registers(celsius).remaining_error) for celsius in (-40, 25, 85)}
    assert worst == pytest.approx({-40: 0.195, 25: 0.0, 85: 0.18}, abs=1e-9)


def test_at_the_reference_the_registers_are_those_of_the_model(model, linear):
    compensator = Compensator(populations(model), linear, 0.005)
    compensator.jump(25.0)
    found = compensator.registers(25.0)
    assert found.du == tuple(layer.neuron.du for layer in model.network.layers)
    assert found.dv == tuple(layer.neuron.dv for layer in model.network.layers)
    assert set(found.remaining_error) == {0.0}


@given(st.integers(0, 4095), st.integers(0, 4095), st.floats(-40.0, 85.0), st.floats(-0.004, 0.004))
def test_any_registers_compensate_to_half_a_step_or_say_that_they_clip(du, dv, celsius, slope):
    silicon = create_silicon("linear", SiliconOptions(slope, -slope))
    compensator = Compensator([Population("p", du, dv, STEP_S)], silicon, 0.005)
    compensator.jump(celsius)
    found = compensator.registers(celsius)
    assert 0 <= found.du[0] <= 4095
    assert 0 <= found.dv[0] <= 4095
    assert (found.dv[0] == 0) == (dv == 0), "a leak never becomes an integrator by rounding"
    assert math.isfinite(found.remaining_error[0])
    if not found.clipped[0] and 20 < du < 4050 and 20 < dv < 4050:
        limits = (half_step(found.du[0], STEP_S, tau_from_du), half_step(found.dv[0], STEP_S, tau_from_dv))
        assert found.remaining_error[0] <= max(limits) * 1.001


def test_a_register_that_clips_is_told_with_the_error_that_stays():
    # No register says more than 4096 steps; on a chip that is 60 % faster when hot, 10240 would have to be programmed.
    nominal = Population("slow", 0, 1, STEP_S)
    silicon = create_silicon("linear", SiliconOptions(0.01, 0.01, maximum_celsius=90.0))
    compensator = Compensator([nominal], silicon, 0.005)
    compensator.jump(85.0)
    found = compensator.registers(85.0)
    assert (found.clipped, found.du, found.dv) == ((True,), (0,), (1,))
    assert found.remaining_error[0] == pytest.approx(0.6)
    assert found.tau_syn_requested_s[0] == pytest.approx(nominal.tau_s[0] / 0.4)
    assert found.tau_syn_effective_s[0] == pytest.approx(nominal.tau_s[0] * 0.4)


def test_steps_are_small_and_arrive():
    nominal = [Population("a", 2000, 500, STEP_S), Population("b", 4095, 0, STEP_S)]
    compensator = Compensator(nominal, create_silicon("linear"), 0.005)
    seen = [compensator.requested_s]
    for _ in range(60):
        compensator.approach(85.0)
        seen.append(compensator.requested_s)
    for before, after in pairwise(seen):
        assert all(abs(new / old - 1.0) <= 0.005 + 1e-12 for old, new in zip(before[0], after[0], strict=True))
    assert seen[-1][0] == pytest.approx([tau_s / 0.82 for tau_s in nominal[0].tau_s])
    assert seen[-1][1] == (0.0, math.inf), "what neither leaks nor lasts does not drift"
    for _ in range(60):
        compensator.approach(None)
    assert compensator.requested_s[0] == pytest.approx(nominal[0].tau_s)


def test_what_was_programmed_can_be_taken_up_again(model, linear):
    first, second = (Compensator(populations(model), linear, 0.005) for _ in range(2))
    first.jump(-20.0)
    second.restore(first.requested_s)
    assert second.registers(-20.0) == first.registers(-20.0)
    for bad in ([], [[1.0, 1.0]], [[0.0, 1.0]] * 5, [[math.nan, 1.0]] * 5, [[1.0]] * 5):
        with pytest.raises(ThermalError, match="not those of 5 layers"):
            second.restore(bad)
    assert second.registers(-20.0) == first.registers(-20.0)
    with pytest.raises(ThermalError, match="max_step"):
        Compensator([], linear, 0.0)


# -- the emulated chip -------------------------------------------------------------------------------------------------
def windows(model, count=6, seed=1, share=0.02):
    rng = np.random.default_rng(seed)
    cells = model.bins * model.cells
    return [np.flatnonzero(rng.random(cells) < share).astype(np.uint32) for _ in range(count)]


def digest(engine, model, inputs, before_window=lambda k: None):
    found = RunDigest()
    for k, indices in enumerate(inputs):
        before_window(k)
        found.update(engine.run_window(indices, model.bins, record=True).steps)
    return found.hexdigest()


def apply(compensator, engine, celsius):
    found = compensator.registers(celsius)
    for layer, du, dv in zip(found.layer, found.du, found.dv, strict=True):
        engine.set_registers(layer, du=du, dv=dv)


def test_on_digital_silicon_not_one_spike_differs_over_the_sweep(model):
    inputs = windows(model, len(SWEEP) // 5)
    plain = create_engine(model, "fixed")
    die = Die(create_silicon("digital"))
    chip = DriftingEngine(create_engine(model, "fixed"), die)

    def warm(k):
        die.celsius = SWEEP[5 * k]

    assert digest(chip, model, inputs, warm) == digest(plain, model, inputs)


def test_the_emulated_chip_drifts_and_its_compensation_brings_the_registers_back(model, linear):
    die = Die(linear, 85.0)
    chip = DriftingEngine(create_engine(model, "fixed"), die)
    nominal = [(layer.neuron.du, layer.neuron.dv) for layer in model.network.layers]
    hot = [
        tau_from_dv(dv, STEP_S) / tau_from_dv(n[1], STEP_S)
        for (_, dv), n in zip(chip.effective_registers(), nominal, strict=True)
    ]
    assert hot == pytest.approx([0.82] * 5, abs=0.003)
    assert chip.state().registers[0]["dv"] == nominal[0][1], "who programs it sees what was programmed"
    compensator = Compensator(populations(model), linear, 0.005)
    compensator.jump(85.0)
    apply(compensator, chip, 85.0)
    for shown, wanted in zip(chip.effective_registers(), nominal, strict=True):
        assert np.abs(np.subtract(shown, wanted)).max() <= 1


def test_the_temperature_takes_effect_between_windows_and_a_state_moves_between_chips(model, linear):
    inputs = windows(model)
    die = Die(linear)
    chip = DriftingEngine(create_engine(model, "fixed"), die)
    plain = create_engine(model, "fixed")
    for indices in inputs[:3]:  # as cold as at the reference
        assert (
            chip.run_window(indices, model.bins).layer_spikes == plain.run_window(indices, model.bins).layer_spikes
        ).all()
    die.celsius = 85.0
    other = DriftingEngine(create_engine(model, "fixed"), die)
    other.set_state(chip.state())
    assert digest(other, model, inputs) == digest(chip, model, inputs)
    chip.reset()
    plain.reset()
    assert digest(chip, model, inputs) != digest(plain, model, inputs), "it is hot"
    chip.clear_neuron_spikes()
    assert sum(int(counts.sum()) for counts in chip.neuron_spikes()) == 0
    with pytest.raises(NetworkError, match="dv"):
        chip.set_registers("conv1", dv=5000)
    assert chip.state().registers[0]["dv"] == model.network.layers[0].neuron.dv
    chip.close()
    with pytest.raises(EngineError, match="closed"):
        chip.run_window(inputs[0], model.bins)


# -- bursts ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("celsius", [85.0, -40.0])
def test_no_update_causes_a_spike_burst(model, linear, celsius):
    """The same input again and again: what changes from window to window is the doing of the registers.

    A small step is lost in the wobble that the network has anyhow, on one input more than on another; one jump to the
    same registers is not.
    """
    inputs = windows(model, 3)

    def spikes(move, indices):
        engine = DriftingEngine(create_engine(model, "fixed"), Die(linear, celsius))
        compensator = Compensator(populations(model), linear, 0.005)
        found = []
        for k in range(120):
            if k >= 40:
                move(compensator)
            apply(compensator, engine, celsius)
            found.append(int(engine.run_window(indices, model.bins).layer_spikes.sum()))
        return np.array(found)

    def largest_change(found):
        return int(np.abs(np.diff(found[38:])).max())

    still = [spikes(lambda compensator: None, indices) for indices in inputs]
    steps = [spikes(lambda compensator: compensator.approach(celsius), indices) for indices in inputs]
    jumps = [spikes(lambda compensator: compensator.jump(celsius), indices) for indices in inputs]
    wobble = max(map(largest_change, still))
    assert max(map(largest_change, steps)) <= 1.5 * wobble
    assert min(map(largest_change, jumps)) > 3 * wobble, "the measure can tell"
    for before, step, jump in zip(still, steps, jumps, strict=True):
        assert abs(step[-10:].mean() / jump[-10:].mean() - 1.0) < 0.02, "both arrive at the same network"
        low, high = sorted((before[10:].mean(), jump[60:].mean()))
        assert low - 2 * wobble <= step[10:].min()
        assert step[10:].max() <= high + 2 * wobble


def test_layers_and_populations_of_a_model():
    weight = np.zeros((2, 8), np.int16)
    model = Model(Network([Layer("out", Dense(weight), Lif(10, 20, 5))], (2, 2, 2)), ["a", "b"], 50_000_000, 10)
    (population,) = populations(model)
    assert (population.layer, population.du, population.dv, population.step_s) == ("out", 10, 20, pytest.approx(0.005))
    silicon = create_silicon("linear", SiliconOptions(layers={"out": Drift(0.0, 0.001)}))
    compensator = Compensator([population], silicon, 0.005)
    compensator.jump(85.0)
    found = compensator.registers(85.0)
    assert found.du == (10,), "the synapses of this layer do not drift"
    assert found.tau_mem_requested_s[0] == pytest.approx(tau_from_dv(20, 0.005) / 0.94)


def test_an_update_costs_less_than_a_millisecond(model, linear):
    """The compensator's own part; that of the engine is in the tests of the inference core."""
    compensator = Compensator(populations(model), linear, 0.005)
    took_s = []
    for k in range(50):
        begin = time.thread_time()
        compensator.approach(25.0 + k)
        compensator.registers(25.0 + k)
        took_s.append(time.thread_time() - begin)
    assert sorted(took_s)[25] < 1e-3
