# SPDX-License-Identifier: Apache-2.0
"""The inference core: saved states, registers, a back end that fails, telemetry; without ROS."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from counting_network import BINS, CLASSES, LENGTH_NS, MS, ONE, SECOND, SIDE, TWO, counting_model, window

from neuro_ros.cores import stream_network
from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.messages import ClockModel, Header, ThermalCompensation
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.cores.snn_statistics import percentile
from neuro_ros.snn import (
    EngineError,
    StateClock,
    StateError,
    load_state,
    save_model,
    save_state,
)


# --- saved states -----------------------------------------------------------------------------------------------------
def test_a_saved_state_continues_bit_for_bit(drive, tmp_path):
    first, second = drive(evidence_half_life_s=1.0), drive(evidence_half_life_s=1.0)
    first.give(window(0, TWO))
    first.give(window(1, ONE))
    save_state(first.core.snapshot(), tmp_path / "s")
    assert second.core.restore(load_state(tmp_path / "s")) == "cam"
    ours, theirs = second.give(window(2, ONE)), first.give(window(2, ONE))
    assert ours.spike_counts == theirs.spike_counts == [1, 0, 0]
    assert ours.confidence == theirs.confidence
    assert second.core.counters.lost == 0


def test_after_a_restart_the_windows_since_the_save_count_as_lost(drive):
    """As after kill -9: the gap of a restored state is expected, so it does not reset; but it is a loss."""
    before = drive()
    before.give(window(10, ONE))
    after = drive(gap_policy="reset")
    after.core.restore(before.core.snapshot())
    assert after.give(window(30, ONE)).spike_counts[0] == 1
    assert after.core.counters.lost == 19
    assert after.telemetry().windows_lost == 19


def test_a_restored_state_that_is_too_old_is_reset(drive):
    before = drive()
    before.give(window(0, ONE))
    after = drive(restore_max_gap_s=1.0)
    after.core.restore(before.core.snapshot())
    assert after.give(window(100, ONE)).spike_counts[0] == 0
    assert after.telemetry().state_resets == 1


def test_a_restored_state_of_an_old_epoch_is_reset_unless_adopted(drive):
    before = drive()
    before.give(window(0, ONE))
    for adopt, spikes in ((False, 0), (True, 1)):
        after = drive()
        after.core.restore(before.core.snapshot(), adopt=adopt)
        assert after.give(window(5, ONE, epoch=9)).spike_counts[0] == spikes
        assert after.core.counters.lost == 0


def test_a_state_can_be_given_to_another_and_to_a_live_stream(drive):
    driver = drive()
    driver.give(window(0, ONE, stream="a"))
    state = driver.core.snapshot()
    driver.give(window(0, stream="b"))
    assert driver.core.restore(state, "b") == "b"
    assert driver.give(window(1, ONE, stream="b")).spike_counts[0] == 1
    assert driver.core.restore(state, "a") == "a"
    assert driver.give(window(1, ONE, stream="a")).spike_counts[0] == 1
    assert driver.core.counters.lost == 0


def test_a_snapshot_is_of_the_stream_asked_for(drive):
    driver = drive()
    assert driver.core.snapshot() is None
    driver.give(window(0, ONE, stream="a"))
    driver.give(window(3, stream="b"))
    assert driver.core.snapshot().stream_id == "b"
    state = driver.core.snapshot("a")
    assert (state.stream_id, state.sequence, state.epoch, state.sensor_end_ns) == ("a", 0, 7, LENGTH_NS)
    assert int(state.layers[0].v[0, 0, 0]) == 64 << 6
    assert driver.core.snapshot("c") is None


def test_a_state_of_another_model_is_refused_and_the_network_goes_on(drive, tmp_path):
    path = tmp_path / "other.safetensors"
    save_model(counting_model("other", vth=90), path)
    other = SnnInferenceCore(build(SnnInferenceParameters, {"model": str(path)}))
    other.activate(0)
    other.receive("spikes", window(0, ONE), 10**18)
    driver = drive()
    driver.give(window(0, ONE))
    with pytest.raises(StateError, match="other"):
        driver.core.restore(other.snapshot())
    assert driver.give(window(1, ONE)).spike_counts[0] == 1
    other.close()


def test_the_age_of_the_last_save_is_told(drive):
    driver = drive()
    assert math.isnan(driver.telemetry().state_save_age_s)
    driver.core.note_saved(10**18)
    assert driver.telemetry(10**18 + 2 * SECOND).state_save_age_s == 2.0
    driver.core.note_save_failed("disk full")
    assert driver.health("state").level == HealthLevel.ERROR
    assert "disk full" in driver.health("state").message
    driver.core.note_saved(10**18)
    assert driver.health("state").level == HealthLevel.OK


def clock(frame_id="cam", **changes):
    known = {
        "clock_id": "eye",
        "reference_sensor_ns": 5,
        "reference_host_ns": 10**18,
        "skew_ppb": -3.5,
        "sigma_ns": 900.0,
        "state": ClockModel.LOCKED,
    }
    return ClockModel(header=Header(0, frame_id), **{**known, **changes})


def test_the_decision_in_force_is_part_of_the_state(drive, tmp_path):
    """A restarted node holds what the killed one had decided, on evidence that takes no new decision."""
    values = {"evidence_half_life_s": 10.0, "confidence_threshold": 0.7, "confidence_release": 0.4}
    first = drive(**values)
    assert first.give(window(0, TWO)).class_index == 0
    held = first.give(window(1, ((0, 1), (1, 1))))
    assert (held.class_index, held.confidence < 0.7) == (0, True)
    save_state(first.core.snapshot(), tmp_path / "s")
    second, forgetful = drive(**values), drive(**values)
    second.core.restore(load_state(tmp_path / "s"))
    forgetful.core.restore(dataclasses.replace(load_state(tmp_path / "s"), decision=-1))
    assert second.give(window(2)).class_index == first.give(window(2)).class_index == 0
    assert forgetful.give(window(2)).class_index == -1
    first.give(window(9))  # a gap resets the state, and the decision with it
    assert first.core.snapshot().decision == -1


def test_the_clock_of_the_stream_is_part_of_the_state(drive, tmp_path):
    driver = drive()
    driver.give(window(0, ONE))
    for other in (clock(state=ClockModel.UNLOCKED), clock(skew_ppb=math.nan), clock("another")):
        driver.core.receive("clock/model", other, 0)
        assert driver.core.snapshot().clock is None
    driver.core.receive("clock/model", clock(), 0)
    for number in range(100):  # whoever floods the topic pushes nothing out of memory but clocks
        driver.core.receive("clock/model", clock(f"flood {number % 3}"), 0)
    save_state(driver.core.snapshot(), tmp_path / "s")
    assert load_state(tmp_path / "s").clock == StateClock("eye", 5, 10**18, -3.5, 900.0, "LOCKED")
    for number in range(100):
        driver.core.receive("clock/model", clock(f"flood {number}"), 0)
    assert driver.core.snapshot().clock is None


def test_the_compensation_in_force_is_named_in_the_state(drive):
    driver = drive()
    driver.give(window(0, ONE))
    assert driver.core.snapshot().compensation_id == 0
    driver.core.receive("thermal/compensation", compensation(7, dv=(5,)), 0)
    assert driver.core.snapshot().compensation_id == 7


def test_a_restored_network_tells_which_compensation_it_runs_with(drive, tmp_path):
    """So that thermal_compensation, restarted as well, goes on from there and not from the model's own registers."""
    before = drive()
    before.give(window(0, ONE))
    before.core.receive("thermal/compensation", compensation(7, dv=(5,)), 0)
    before.give(window(1))
    save_state(before.core.snapshot(), tmp_path / "s")
    after = drive()
    after.core.restore(load_state(tmp_path / "s"))
    assert after.telemetry().compensation_id_applied == 7
    after.give(window(0, stream="other"))  # the registers are the chip's, whoever is in it
    assert after.core.snapshot("other").registers[0]["dv"] == 5
    after.give(window(2))
    assert after.core.snapshot("cam").registers[0]["dv"] == 5
    after.core.receive("thermal/compensation", compensation(1, (), (), (), "digital"), 0)
    assert after.core.snapshot("cam").registers[0]["dv"] == 0, "digital silicon needs none"


def test_what_is_in_force_counts_more_than_what_a_state_had(drive):
    before, after = drive(), drive()
    before.give(window(0, ONE))
    before.core.receive("thermal/compensation", compensation(7, dv=(5,)), 0)
    after.give(window(0, ONE))
    after.core.receive("thermal/compensation", compensation(3, dv=(9,)), 0)
    after.core.restore(before.core.snapshot())
    after.give(window(1))
    assert after.telemetry().compensation_id_applied == 3
    assert after.core.snapshot().registers[0]["dv"] == 9


def test_a_silent_stream_is_forgotten_by_policy(drive):
    driver = drive(stream_idle_s=2.0)
    driver.give(window(0, ONE, stream="a"))
    driver.give(window(0, ONE, stream="b"))
    driver.telemetry()
    driver.give(window(1, stream="b"))
    assert driver.core.stream_ids == ("a", "b")
    driver.telemetry()
    assert driver.core.stream_ids == ("b",)
    assert driver.health("state").values["streams_expired"] == 1
    assert driver.give(window(2, ONE, stream="b")).spike_counts[0] == 1
    driver.telemetry()
    driver.telemetry()
    assert driver.core.stream_ids == (), "also the one in the engine"
    assert driver.give(window(1, ONE, stream="a")).spike_counts[0] == 0, "it starts at rest"


def test_no_stream_is_forgotten_by_default(drive):
    driver = drive()
    driver.give(window(0, ONE))
    for second in range(1000):
        driver.core.tick("telemetry", 10**18 + second * SECOND)
    assert driver.give(window(1, ONE)).spike_counts[0] == 1


def test_what_saving_costs_is_told(drive):
    ticks = itertools.count(1, 250_000)
    driver = drive(Clocks(system_ns=lambda: 0, stopwatch_ns=lambda: next(ticks)))
    driver.give(window(0, ONE, stream="a"))
    driver.give(window(0, ONE, stream="b"))
    assert [state.stream_id for _, state in driver.core.snapshots()] == ["a", "b"]
    for duration_s in (0.25, 0.125):
        driver.core.note_saved(10**18, duration_s)
    values = driver.health("state").values
    assert (values["snapshot_s"], values["write_s"], values["write_longest_s"]) == (0.00025, 0.125, 0.25)
    assert (values["saves"], values["saves_failed"]) == (2, 0)


# --- thermal compensation ---------------------------------------------------------------------------------------------
def compensation(number=1, layer=("out",), du=(0,), dv=(0,), profile="analog"):
    return ThermalCompensation(silicon_profile=profile, compensation_id=number, layer=layer, du=du, dv=dv)


def test_a_digital_profile_changes_nothing_but_is_noted(drive):
    driver = drive()
    driver.core.receive("thermal/compensation", compensation(3, (), (), (), "digital"), 0)
    assert driver.telemetry().compensation_id_applied == 3
    assert driver.core.snapshot() is None
    assert driver.give(window(0, TWO)).spike_counts[0] == 1


def test_register_values_apply_between_windows_and_to_every_stream(drive):
    driver = drive()
    driver.give(window(0, ONE, stream="a"))
    driver.give(window(0, ONE, stream="b"))
    driver.core.receive("thermal/compensation", compensation(1, dv=(4095,), du=(4095,)), 0)
    for stream in ("b", "a"):
        assert driver.give(window(1, ONE, stream=stream)).spike_counts[0] == 0, "the voltage leaks away now"
    assert driver.telemetry().compensation_id_applied == 1
    assert driver.core.snapshot("a").registers[0]["dv"] == 4095


@pytest.mark.parametrize(
    "bad",
    [
        compensation(5, layer=("nosuch",)),
        compensation(5, dv=(4096,)),
        compensation(5, du=()),
        compensation(5, layer=("out", "nosuch"), du=(1, 1), dv=(1, 1)),
    ],
    ids=["layer", "range", "lengths", "second"],
)
def test_bad_register_values_are_refused_as_a_whole(drive, bad, caplog):
    driver = drive()
    driver.give(window(0, ONE))
    before = driver.core.snapshot().registers
    for _ in range(3):
        driver.core.receive("thermal/compensation", bad, 0)
    assert driver.core.snapshot().registers == before
    assert driver.telemetry().compensation_id_applied == 0
    assert driver.health("compensation").level == HealthLevel.ERROR
    assert driver.health("compensation").values["refused"] == 3
    assert len(caplog.records) == 1
    assert driver.give(window(1, ONE)).spike_counts[0] == 1
    driver.core.receive("thermal/compensation", compensation(6, (), (), (), "digital"), 0)
    assert driver.health("compensation").level == HealthLevel.OK


# --- a back end that fails --------------------------------------------------------------------------------------------
class Failing:
    """An engine that fails on command, around the real one."""

    def __init__(self, engine, fails):
        self._engine, self._fails = engine, fails

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def run_window(self, indices, bins, record=False):
        if self._fails:
            self._fails.pop()
            raise EngineError("the worker died")
        return self._engine.run_window(indices, bins, record)


@pytest.fixture
def fails(monkeypatch):
    """Return a list; each entry makes the next window of any engine fail."""
    planned = []
    real = stream_network.create_engine
    monkeypatch.setattr(stream_network, "create_engine", lambda model, backend: Failing(real(model, backend), planned))
    return planned


def test_a_back_end_that_dies_is_replaced(fails, drive, caplog):
    driver = drive()
    driver.give(window(0, ONE))
    fails.append(1)
    assert driver.give(window(1, ONE)) is None
    assert driver.core.counters.failed == 1
    assert "the worker died" in caplog.text
    assert driver.give(window(2, TWO)).spike_counts[0] == 1
    assert driver.health("network").values["restarts"] == 1
    assert driver.core.counters.lost == 0


def test_a_replaced_back_end_goes_on_from_the_last_snapshot(fails, drive):
    driver = drive()
    driver.give(window(0, ONE))
    driver.core.snapshot()
    fails.append(1)
    assert driver.give(window(1)) is None
    assert driver.give(window(2, ONE)).spike_counts[0] == 1


def test_a_back_end_that_cannot_be_started_again_is_tried_once_a_second(fails, drive, monkeypatch):
    driver = drive()
    attempts = []

    def refuse(model, backend):
        attempts.append(backend)
        raise EngineError("no such device")

    real = stream_network.create_engine
    monkeypatch.setattr(stream_network, "create_engine", refuse)
    fails.append(1)
    for sequence in range(20):
        assert driver.give(window(sequence), now_ns=10**18 + sequence * 50 * MS) is None
    assert len(attempts) == 1
    assert driver.core.counters.failed == 20
    assert driver.health("network").level == HealthLevel.ERROR
    assert "no such device" in driver.health("network").message
    assert driver.telemetry().dead_neurons == [0]
    assert driver.core.snapshot() is None
    driver.core.receive("thermal/compensation", compensation(), 0)
    monkeypatch.setattr(stream_network, "create_engine", real)
    assert driver.give(window(20, TWO), now_ns=10**18 + SECOND).class_index == 0
    assert driver.health("network").level == HealthLevel.OK


# --- telemetry --------------------------------------------------------------------------------------------------------
def test_telemetry_of_a_period(drive):
    driver = drive()
    quiet = driver.telemetry()
    assert math.isnan(quiet.firing_rate[0])
    assert math.isnan(quiet.input_rate)
    assert quiet.dead_neurons == [0]
    assert quiet.header.frame_id == ""
    driver.give(window(0, TWO))
    driver.give(window(1, ((0, 1),)))
    message = driver.telemetry(10**18 + 5)
    assert (message.header.stamp, message.header.frame_id) == (10**18 + 5, "cam")
    assert (message.backend, message.arm, message.layer) == ("fixed", "live", ["out"])
    assert message.firing_rate == [pytest.approx(1 / (CLASSES * 2 * BINS))]
    assert message.input_rate == pytest.approx(3 / (2 * BINS * 2 * SIDE * SIDE))
    assert message.dead_neurons == [CLASSES - 1]
    assert message.saturated_neurons == [0]
    assert (message.windows_in, message.windows_skipped, message.windows_lost) == (2, 0, 0)
    assert message.neuron_updates == CLASSES * 2 * BINS
    assert message.synaptic_operations == 3 * CLASSES
    assert 0.0 < message.step_time_p50_s <= message.window_time_p50_s <= message.window_time_p99_s
    assert math.isnan(message.energy_estimate_j)
    after = driver.telemetry()
    assert math.isnan(after.window_time_p50_s), "percentiles are of one period"
    assert after.neuron_updates == message.neuron_updates, "totals are not"


def test_a_silent_neuron_is_not_dead_before_a_still_scene(drive):
    driver = drive()
    driver.give(window(0))
    assert driver.telemetry().dead_neurons == [0]


def test_saturated_neurons_are_counted(drive):
    every = tuple((number, 1) for number in range(BINS))
    driver = drive()
    # Two spikes make one, so class 1 fires every other step: not saturated. With the threshold at 0 it would be.
    for sequence in range(10):
        driver.give(window(sequence, every))
    assert driver.telemetry().saturated_neurons == [0]
    driver.core._network.engine.set_registers("out", vth=0)
    for sequence in range(10, 20):
        driver.give(window(sequence, every))
    assert driver.telemetry().saturated_neurons == [1]


def test_a_slow_back_end_is_a_warning(drive):
    ticks = itertools.count(1, 30 * MS)
    driver = drive(Clocks(system_ns=lambda: 0, stopwatch_ns=lambda: next(ticks)), window_time_warn_s=0.02)
    driver.give(window(0))
    driver.telemetry()
    assert driver.health("network").level == HealthLevel.WARN


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1.0], 0.99, 1.0), ([1.0, 2.0], 0.5, 1.0), (list(range(1, 101)), 0.99, 99), (list(range(1, 101)), 0.5, 50)],
)
def test_percentiles_are_exact_nearest_rank(values, share, expected):
    assert percentile(values, share) == expected


def test_equal_input_gives_equal_output(drive):
    """What replay rests on: nothing but the arguments and the state decides."""
    runs = []
    for _ in range(2):
        driver = drive(Clocks.replay())
        rng = np.random.default_rng(5)
        outputs = []
        for sequence in range(50):
            cells = [(int(b), int(x)) for b, x in zip(rng.integers(0, BINS, 6), rng.integers(0, SIDE, 6), strict=True)]
            outputs.append(repr(driver.give(window(sequence + 2 * (sequence > 30), cells))))
        outputs.append(repr(driver.telemetry()))
        runs.append(outputs)
    assert runs[0] == runs[1]
