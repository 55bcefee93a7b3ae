# SPDX-License-Identifier: Apache-2.0
"""The inference core with a chip: energy, power budget and busy cores, estimated from its own counters."""

import logging
import math

import numpy as np
import pytest
from counting_network import BINS, CLASSES, LENGTH_NS, ONE, SECOND, TWO, window

from neuro_ros.cores.chip_estimate import ChipEstimate
from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.parameters import ParameterError, build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_statistics import Period
from neuro_ros.snn import Dense, Layer, Lif, Model, Network
from neuro_ros.snn.chips import ChipError, chip_profile

START_NS = 10**18
STEP_S = LENGTH_NS / SECOND / BINS
ENERGY_J = {"synapse": 23.6e-12, "update": 81e-12, "static_w": 0.104}


def test_without_a_chip_nothing_is_estimated(drive):
    driver = drive()
    driver.give(window(0, TWO))
    message = driver.telemetry(START_NS + SECOND)
    assert math.isnan(message.energy_estimate_j)
    assert math.isnan(message.power_estimate_w)
    assert math.isnan(message.core_utilisation_max)
    assert message.core_utilisation == ()
    assert "chip" not in {health.name for health in driver.core.diagnose(START_NS)}


def test_energy_is_what_was_counted_times_published_figures_and_time(drive):
    driver = drive(chip="loihi1")
    driver.give(window(0, TWO))
    driver.give(window(1, ONE))
    message = driver.telemetry(START_NS + SECOND)
    # a spike of a cell has a synapse to each class; every neuron is updated in every step
    operations, updates = 3 * CLASSES, 2 * BINS * CLASSES
    assert (message.synaptic_operations, message.neuron_updates) == (operations, updates)
    dynamic_j = operations * ENERGY_J["synapse"] + updates * ENERGY_J["update"]
    assert message.energy_estimate_j == pytest.approx(ENERGY_J["static_w"] + dynamic_j, rel=1e-12)
    assert message.power_estimate_w == pytest.approx(ENERGY_J["static_w"] + dynamic_j, rel=1e-12)
    later = driver.telemetry(START_NS + 3 * SECOND)
    assert later.power_estimate_w == pytest.approx(ENERGY_J["static_w"]), "asleep, the chip draws its static power"
    assert later.energy_estimate_j == pytest.approx(3 * ENERGY_J["static_w"] + dynamic_j, rel=1e-12)
    assert math.isnan(later.core_utilisation_max), "no step was run"
    assert later.core_utilisation == []


def test_a_new_activation_counts_anew(drive):
    driver = drive(chip="loihi1")
    driver.give(window(0, TWO))
    driver.telemetry(START_NS + SECOND)
    driver.core.activate(START_NS + 10 * SECOND)
    message = driver.telemetry(START_NS + 11 * SECOND)
    assert message.energy_estimate_j == pytest.approx(ENERGY_J["static_w"])


def test_cores_are_as_busy_as_their_updates_and_operations(drive):
    driver = drive(chip="loihi1")
    driver.give(window(0, TWO))
    message = driver.telemetry(START_NS + SECOND)
    busy_ns = CLASSES * 8.4 + 2 * CLASSES / BINS * 3.5
    assert message.core_utilisation == [pytest.approx(busy_ns * 1e-9 / STEP_S)]
    assert message.core_utilisation_max == message.core_utilisation_median == message.core_utilisation[0]


def test_estimates_do_not_depend_on_the_wall_clock(drive):
    def run(clocks):
        driver = drive(clocks, chip="loihi2")
        driver.give(window(0, TWO))
        return driver.telemetry(START_NS + SECOND)

    real, replayed = run(None), run(Clocks.replay())
    assert real.energy_estimate_j == replayed.energy_estimate_j
    assert real.core_utilisation == replayed.core_utilisation


@pytest.mark.parametrize(("budget_w", "level"), [(0.0, "OK"), (0.1, "WARN"), (0.11, "OK")])
def test_a_budget_that_is_exceeded_is_a_warning(drive, budget_w, level):
    driver = drive(chip="loihi1", power_budget_w=budget_w)
    driver.give(window(0, TWO))
    assert driver.health("chip").level == HealthLevel.OK, "nothing is known before the first period"
    driver.telemetry(START_NS + SECOND)
    health = driver.health("chip")
    assert health.level == HealthLevel[level]
    if level == "WARN":
        assert health.message == "estimated power 0.104 W is above power_budget_w 0.1 W"
    assert health.values["power_estimate_w"] == pytest.approx(0.104, rel=1e-3)
    assert (health.values["cores"], health.values["cores_available"]) == (1, 128)


def test_the_budget_changes_while_running(drive):
    driver = drive(chip="loihi1")
    driver.telemetry(START_NS + SECOND)
    assert driver.health("chip").level == HealthLevel.OK
    name = driver.core._parameters.model
    driver.core.reconfigure(build(SnnInferenceParameters, {"model": name, "chip": "loihi1", "power_budget_w": 0.1}))
    assert driver.health("chip").level == HealthLevel.WARN


def test_a_budget_needs_a_chip_whose_energies_are_published(drive):
    with pytest.raises(ParameterError, match="power_budget_w 2 W needs chip"):
        build(SnnInferenceParameters, {"power_budget_w": 2.0})
    with pytest.raises(ChipError, match="cannot be judged for chip speck: its energy per operation is not published"):
        drive(chip="speck", power_budget_w=0.001)
    with pytest.raises(ChipError, match="no chip profile 'akida'"):
        drive(chip="akida")
    driver = drive(chip="speck")
    driver.give(window(0, TWO))
    message = driver.telemetry(START_NS + SECOND)
    assert math.isnan(message.energy_estimate_j)
    assert math.isnan(message.core_utilisation_max)
    name = driver.core._parameters.model
    driver.core.reconfigure(build(SnnInferenceParameters, {"model": name, "chip": "speck", "power_budget_w": 1.0}))
    assert driver.health("chip").level == HealthLevel.WARN
    assert "no energy per operation is published" in driver.health("chip").message


def model_of(neurons, fan_in, window_length_ns=LENGTH_NS):
    layer = Layer("wide", Dense(np.zeros((neurons, fan_in), np.int16)), Lif(1, 1, 1))
    labels = [f"class{k}" for k in range(neurons)]
    return Model(Network([layer], (1, 1, fan_in)), labels, window_length_ns, BINS)


def test_a_model_that_does_not_fit_is_a_warning_and_still_estimated(caplog):
    with caplog.at_level(logging.WARNING):
        estimate = ChipEstimate(model_of(3, 5000), "loihi1")
    assert "wide: in_axons_per_core 5000, limit 4096" in caplog.text
    estimate.restart(0)
    estimate.update(Period(5000, (3,)), SECOND)
    assert estimate.power_w == pytest.approx(0.104)
    health = estimate.health(0.0)
    assert health.level == HealthLevel.WARN
    assert health.message == "the model does not fit loihi1: wide: in_axons_per_core 5000, limit 4096"


def test_a_core_above_70_percent_suggests_a_remap():
    # steps of 5 us: 1024 updates of 8.4 ns take longer
    estimate = ChipEstimate(model_of(1500, 10, 5_000 * BINS), "loihi1")
    estimate.restart(0)
    period = Period(10, (1500,))
    period.steps = 10
    estimate.update(period, SECOND)
    fields = estimate.fields()
    share = 750 * 8.4e-9 / 5e-6
    assert fields["core_utilisation"] == [pytest.approx(share)] * 2
    health = estimate.health(0.0)
    assert health.level == HealthLevel.WARN
    assert health.message.startswith("core 0 works 126 % of a step, limit 70 %; remap: split layer wide over 4 cores")


def test_at_most_99_cores_are_published():
    estimate = ChipEstimate(model_of(110 * 1024, 1), "loihi1")
    period = Period(1, (110 * 1024,))
    period.steps = 1
    estimate.restart(0)
    estimate.update(period, SECOND)
    assert len(estimate.mapping.cores) == 110
    assert len(estimate.fields()["core_utilisation"]) == 99
    assert chip_profile("loihi1").limit("cores") == 128


def test_a_placement_seed_moves_cores_and_nothing_else(drive):
    drivers = {seed: drive(chip="loihi1", placement_seed=seed) for seed in (-1, 3, 4)}
    told = {}
    for seed, driver in drivers.items():
        driver.give(window(0, TWO))
        message = driver.telemetry(START_NS + SECOND)
        health = driver.health("chip")
        assert health.values["placement"] == ("along the rows" if seed == -1 else "random")
        told[seed] = (message.core_utilisation, message.energy_estimate_j, health.values["cores"])
    assert told[-1] == told[3] == told[4]


def test_a_placement_is_the_same_for_the_same_seed_and_another_for_another():
    model = model_of(5000, 4)
    places = [[core.place for core in ChipEstimate(model, "loihi1", 0.0, seed).mapping.cores] for seed in (-1, 7, 7, 8)]
    assert places[0] == list(range(len(places[0])))
    assert places[1] == places[2] != places[0]
    assert places[3] not in (places[0], places[1])


def test_a_placement_seed_without_a_chip_that_is_free_to_place_is_refused():
    with pytest.raises(ParameterError, match="placement_seed 1 needs chip"):
        build(SnnInferenceParameters, {"placement_seed": 1})
    with pytest.raises(ChipError, match="placement_seed 1: chip speck"):
        ChipEstimate(model_of(3, 4), "speck", 0.0, 1)
