# SPDX-License-Identifier: Apache-2.0
"""The self-test in flight: at activation and once a period, a window at a time, each arm for itself, in telemetry."""

import numpy as np
import pytest
from counting_network import BINS, SIDE, TWO, counting_model, window

from neuro_ros.canary import Command, build_probe
from neuro_ros.cores.parameters import replace
from neuro_ros.snn import save_model

NOW = 10**18
S = 1_000_000_000
PROBE = build_probe((2, SIDE, SIDE), BINS)
WINDOWS = len(PROBE.windows)


def answer(message):
    return message.self_test_probe, list(message.self_test_spikes), list(message.self_test_checksum)


def show(driver, count, start=0):
    for sequence in range(start, start + count):
        driver.give(window(sequence, TWO))
        driver.core.afterwards()


@pytest.mark.parametrize("constant_time", [False, True])
def test_one_window_of_the_probe_runs_after_each_call_and_the_answer_is_told(drive, constant_time):
    driver, plain = drive(constant_time=constant_time), drive(self_test_period_s=0.0)
    show(driver, WINDOWS - 1)
    told = driver.telemetry()
    assert (told.self_test_stamp, answer(told)) == (0, (0, [], []))
    show(driver, 1, WINDOWS - 1)
    told = driver.telemetry()
    assert told.self_test_stamp == NOW
    probe, spikes, checksums = answer(told)
    assert probe == PROBE.identity
    assert spikes[0] > 0
    assert len(checksums) == len(told.layer) == 1
    assert driver.health("network").values["self_tests"] == 1
    # The stream and its figures know nothing of it.
    show(plain, WINDOWS)
    other = plain.telemetry()
    assert answer(other) == (0, [], [])
    assert other.synaptic_operations == driver.telemetry().synaptic_operations or constant_time
    assert driver.give(window(WINDOWS, TWO)).spike_counts == plain.give(window(WINDOWS, TWO)).spike_counts
    assert plain.health("network").values["self_test"] == "switched off"


def test_it_comes_again_after_the_period_which_may_be_changed(drive):
    driver = drive(self_test_period_s=10.0)
    show(driver, WINDOWS)
    for second in range(1, 10):
        assert driver.telemetry(NOW + second * S).self_test_stamp == NOW
    assert not driver.core.arms.live.self_test.under_way
    driver.telemetry(NOW + 10 * S)
    assert driver.core.arms.live.self_test.under_way
    for _ in range(WINDOWS):  # without any windows, after each telemetry
        driver.core.afterwards()
    first, second = answer(drive().telemetry()), answer(driver.telemetry(NOW + 11 * S))
    assert first != second
    assert driver.telemetry(NOW + 11 * S).self_test_stamp == NOW + 10 * S
    driver.core.reconfigure(replace(driver.core._parameters, {"self_test_period_s": 0.0}))
    driver.telemetry(NOW + 100 * S)
    assert not driver.core.arms.live.self_test.under_way
    driver.core.activate(NOW + 200 * S)
    assert driver.telemetry(NOW + 200 * S).self_test_stamp == 0, "answers count from activation"


def test_weights_that_change_in_memory_change_the_answer(drive):
    driver = drive(self_test_period_s=1.0)
    show(driver, WINDOWS)
    before = answer(driver.telemetry())
    weights = driver.core.arms.live.network.engine.program.tables.weights
    weights[np.flatnonzero(weights)[0]] += 2
    driver.telemetry(NOW + S)
    show(driver, WINDOWS, WINDOWS)
    assert answer(driver.telemetry(NOW + S)) != before


def test_each_arm_has_its_own(drive, tmp_path):
    path = tmp_path / "quick.safetensors"
    save_model(counting_model("quick", vth=50), path)
    driver = drive(model_folders=[str(tmp_path)])
    driver.core.switch(Command.SHADOW, NOW, str(path))
    show(driver, 2 * WINDOWS)
    live, shadow = (output.message for output in driver.core.tick("telemetry", NOW))
    assert (live.arm, shadow.arm) == ("live", "shadow")
    assert live.self_test_probe == shadow.self_test_probe
    assert answer(live) != answer(shadow)
    assert shadow.self_test_spikes[0] > live.self_test_spikes[0]
