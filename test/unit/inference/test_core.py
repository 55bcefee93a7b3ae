# SPDX-License-Identifier: Apache-2.0
"""The inference core: policies, accounting, decisions, streams, life; without ROS."""

import dataclasses
import itertools
import math

import pytest
from counting_network import BINS, CELLS, CLASSES, LENGTH_NS, MS, ONE, SECOND, SIDE, TWO, window

from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.messages import ThermalCompensation
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.snn import EngineError, ModelError, keys, load_model, save_model
from neuro_ros.snn.crypto_shim import INSTALL_HINT


# --- windows and decisions --------------------------------------------------------------------------------------------
def test_a_window_becomes_a_gesture(drive):
    driver = drive()
    gesture = driver.give(window(0, TWO))
    assert (gesture.sequence, gesture.epoch, gesture.header.frame_id) == (0, 7, "cam")
    assert gesture.header.stamp == 10**18 + LENGTH_NS
    assert gesture.spike_counts == [1, 0, 0]
    assert (gesture.class_index, gesture.label, gesture.confidence) == (0, "a", 1.0)
    assert gesture.model_id == driver.core.model.model_id
    assert math.isnan(gesture.latency_s), "closed_at is unknown"
    assert gesture.inference_s > 0.0


def test_no_output_spike_is_no_decision_with_confidence_nan(drive):
    gesture = drive().give(window(0))
    assert (gesture.class_index, gesture.label) == (-1, "")
    assert math.isnan(gesture.confidence)


def test_state_carries_over_windows(drive):
    driver = drive()
    assert driver.give(window(0, ONE)).spike_counts == [0, 0, 0]
    assert driver.give(window(1, ONE)).spike_counts == [1, 0, 0]


@pytest.mark.parametrize(("threshold", "index"), [(0.5, 0), (0.6, -1)])
def test_the_threshold_rejects_a_weak_lead(drive, threshold, index):
    driver = drive(confidence_threshold=threshold)
    gesture = driver.give(window(0, (*TWO, (0, 1), (1, 1))))
    assert gesture.confidence == 0.5
    assert gesture.class_index == index, "the lowest index leads among equals"


def test_constant_time_changes_nothing_but_the_time(drive):
    """The same windows, as indices and as bitmaps, some of them withheld, some refused."""
    plain, constant = drive(), drive(constant_time=True)
    messages = [window(0, TWO), window(1, ((0, 1),)), window(2), window(5, (*TWO, (3, 2)), windows_withheld=2)]
    for message in messages:
        ours, theirs = constant.give(message), plain.give(message)
        assert (ours.spike_counts, ours.class_index) == (theirs.spike_counts, theirs.class_index)
    for name in ("u", "v", "a_buff"):
        for ours, theirs in zip(constant.core.snapshot().layers, plain.core.snapshot().layers, strict=True):
            assert (getattr(ours, name) == getattr(theirs, name)).all()
    assert constant.core._network.engine.constant_time
    wrong = dataclasses.replace(window(6, TWO), active=1)
    assert constant.give(wrong) is None
    assert constant.core.counters.refused == 1
    for values in ({"backend": "lava"}, {"emulated_silicon.profile": "linear"}):
        with pytest.raises(ParameterError, match="constant_time needs"):
            build(SnnInferenceParameters, {"constant_time": True, **values})


def test_evidence_fades_with_sensor_time(drive):
    driver = drive(evidence_half_life_s=LENGTH_NS / SECOND)
    driver.give(window(0, TWO))
    gesture = driver.give(window(1, ((0, 1), (1, 1))))
    assert gesture.confidence == pytest.approx(2 / 3)
    assert gesture.class_index == 1
    assert driver.give(window(2)).class_index == 1
    assert math.isnan(driver.give(window(3)).confidence), "less than half a spike is forgotten"


def test_without_half_life_each_window_stands_alone(drive):
    driver = drive(evidence_half_life_s=0.0)
    driver.give(window(0, TWO))
    assert math.isnan(driver.give(window(1)).confidence)


def test_latency_and_inference_time_come_from_the_clocks(drive):
    ticks = itertools.count(1, 3 * MS)
    driver = drive(Clocks(system_ns=lambda: 5 * SECOND, stopwatch_ns=lambda: next(ticks)))
    gesture = driver.give(window(0, closed_at=5 * SECOND - 2 * MS))
    assert gesture.latency_s == pytest.approx(0.002)
    assert gesture.inference_s == pytest.approx(0.003)


def test_replay_knows_no_wall_clock(drive):
    driver = drive(Clocks.replay())
    gesture = driver.give(window(0, TWO, closed_at=123))
    assert math.isnan(gesture.latency_s)
    assert math.isnan(gesture.inference_s)
    telemetry = driver.telemetry()
    assert math.isnan(telemetry.window_time_p50_s)
    assert math.isnan(telemetry.step_time_p99_s)


# --- continuity -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_a_gap_is_counted_and_follows_its_policy(drive, policy, spikes):
    driver = drive(gap_policy=policy)
    driver.give(window(0, ONE))
    assert driver.give(window(4, ONE)).spike_counts[0] == spikes
    assert driver.core.counters.lost == 3
    assert driver.core.counters.gaps == 1
    assert driver.telemetry().windows_lost == 3
    assert driver.telemetry().state_resets == (policy == "reset")
    assert driver.health("windows").level == HealthLevel.WARN


@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_sensor_time_that_runs_backwards_follows_its_policy(drive, policy, spikes):
    driver = drive(backwards_policy=policy)
    driver.give(window(0, ONE, slot=100))
    assert driver.give(window(1, ONE, slot=2)).spike_counts[0] == spikes
    assert driver.core.counters.backwards == 1
    assert driver.core.counters.lost == 0


@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_a_hole_in_sensor_time_is_a_gap_without_loss(drive, policy, spikes):
    driver = drive(gap_policy=policy)
    driver.give(window(0, ONE, slot=0))
    assert driver.give(window(1, ONE, slot=50)).spike_counts[0] == spikes
    assert (driver.core.counters.gaps, driver.core.counters.lost) == (1, 0)


def test_a_repeated_window_is_skipped(drive):
    driver = drive()
    driver.give(window(0, ONE))
    driver.give(window(1))
    assert driver.give(window(1, ONE)) is None
    assert driver.give(window(0, ONE)) is None
    assert driver.core.counters.repeated == 2
    assert driver.telemetry().windows_skipped == 2
    assert driver.give(window(2, ONE)).spike_counts[0] == 1


@pytest.mark.parametrize("epoch", [8, 6])
def test_a_new_epoch_starts_at_rest_whichever_way_the_clock_went(drive, epoch):
    driver = drive(gap_policy="hold", backwards_policy="hold")
    driver.give(window(9, ONE))
    assert driver.give(window(0, ONE, epoch=epoch)).spike_counts[0] == 0
    assert driver.core.counters.lost == 0
    assert driver.telemetry().state_resets == 1


def test_the_first_window_of_a_stream_may_have_any_number(drive):
    driver = drive()
    assert driver.give(window(41)) is not None
    assert driver.core.counters.lost == 0


# --- withheld windows -------------------------------------------------------------------------------------------------
def test_withheld_windows_run_as_zero_input(drive):
    """A spike that is in flight at the end of a window comes out in the withheld one, and is evidence."""
    driver = drive(evidence_half_life_s=10.0)
    driver.give(window(0, ((2, 0), (3, 0))))  # the second arrives with the next step
    gesture = driver.give(window(1, slot=3, windows_withheld=2))
    assert gesture.spike_counts == [0, 0, 0]
    assert gesture.class_index == 0
    counters = driver.core.counters
    assert (counters.withheld, counters.gaps, counters.lost) == (2, 0, 0)
    assert driver.telemetry().neuron_updates == CLASSES * BINS * 4


@pytest.mark.parametrize(("withheld", "spikes"), [(5, 1), (6, 0)])
def test_too_many_withheld_windows_reset(drive, withheld, spikes):
    driver = drive(max_withheld_windows=5)
    driver.give(window(0, ONE))
    gesture = driver.give(window(1, ONE, slot=1 + withheld, windows_withheld=withheld))
    assert gesture.spike_counts[0] == spikes
    assert driver.telemetry().state_resets == (spikes == 0)


def test_a_huge_number_of_withheld_windows_costs_nothing(drive):
    driver = drive()
    assert driver.give(window(0, windows_withheld=2**32 - 1)) is not None
    assert driver.telemetry().neuron_updates == CLASSES * BINS


# --- late windows -----------------------------------------------------------------------------------------------------
def test_late_windows_are_processed_and_counted(drive):
    driver = drive(late_after_s=0.1)
    assert driver.give(window(0, TWO), now_ns=10**18 + SECOND).class_index == 0
    assert driver.core.counters.late == 1
    assert driver.core.counters.skipped == 0


@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_late_windows_are_skipped_whole(drive, policy, spikes):
    driver = drive(late_after_s=0.1, late_policy="skip", gap_policy=policy)
    driver.give(window(0, ONE))
    assert driver.give(window(1, ONE), now_ns=10**18 + SECOND) is None
    assert driver.give(window(2, ONE)).spike_counts[0] == spikes, "a skipped window leaves a gap"
    counters = driver.core.counters
    assert (counters.late, counters.late_skipped, counters.lost) == (1, 1, 0)


def test_a_late_window_of_a_new_epoch_still_ends_the_old_one(drive):
    driver = drive(late_after_s=0.1, late_policy="skip", gap_policy="hold")
    driver.give(window(0, ONE))
    assert driver.give(window(0, ONE, epoch=8), now_ns=10**18 + SECOND) is None
    assert driver.give(window(1, ONE, epoch=8)).spike_counts[0] == 0


# --- bad windows ------------------------------------------------------------------------------------------------------
BAD = {
    "bins": {"bins": BINS + 1},
    "channels": {"channels": 1},
    "height": {"height": SIDE + 1},
    "width": {"width": 0},
    "length": {"sensor_end_ns": LENGTH_NS + 1},
    "reversed": {"sensor_end_ns": -LENGTH_NS},
    "encoding": {"encoding": 9},
    "cut index": {"data": b"\0\0\0", "encoding": 0},
    "index beyond": {"data": CELLS.to_bytes(4, "little"), "encoding": 0, "active": 1},
    "not ascending": {"data": b"\1\0\0\0\0\0\0\0", "encoding": 0, "active": 2},
    "twice": {"data": b"\1\0\0\0\1\0\0\0", "encoding": 0, "active": 2},
    "short bitmap": {"data": bytes(CELLS // 8 - 1), "encoding": 1},
    "count": {"active": 5},
    "absurd count": {"active": 2**32 - 1},
    "empty": {"data": b"", "encoding": 1},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_a_bad_window_is_refused_and_the_node_goes_on(drive, caplog, changes):
    driver = drive()
    for sequence in range(3):
        shifted = dict(changes)
        assert driver.give(window(0, TWO, **shifted)) is None, sequence
    assert driver.core.counters.refused == 3
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1, "said once"
    assert driver.health("windows").level == HealthLevel.ERROR
    assert driver.give(window(1, TWO)).class_index == 0


@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_a_refused_window_is_a_gap_in_its_stream_but_not_lost(drive, policy, spikes):
    driver = drive(gap_policy=policy)
    driver.give(window(0, ONE))
    driver.give(window(1, ONE, data=b"", encoding=1))
    assert driver.give(window(2, ONE)).spike_counts[0] == spikes
    assert (driver.core.counters.lost, driver.core.counters.refused, driver.core.counters.gaps) == (0, 1, 1)
    assert driver.health("windows").level == HealthLevel.WARN


def test_losses_before_a_refused_window_are_counted(drive):
    driver = drive()
    driver.give(window(0))
    driver.give(window(3, bins=1))
    driver.give(window(4))
    assert driver.core.counters.lost == 2


def test_a_refused_window_of_an_unknown_stream_leaves_no_trace(drive):
    driver = drive()
    driver.give(window(0, stream="other", bins=1))
    assert driver.core.stream_ids == ()


def test_a_different_refusal_each_time_does_not_flood_the_log(drive, caplog):
    driver = drive()
    for bins in range(100, 200):
        driver.give(window(0, bins=bins))
    assert len(caplog.records) <= 20
    assert driver.core.counters.refused == 100


def test_messages_on_other_topics_are_ignored(drive):
    driver = drive()
    assert driver.core.receive("spikes", ThermalCompensation(), 0) == ()
    assert driver.core.receive("other", window(0), 0) == ()
    assert driver.core.counters.received == 0


# --- streams ----------------------------------------------------------------------------------------------------------
def test_each_stream_has_its_own_state(drive):
    driver = drive()
    for stream in ("left", "right"):
        assert driver.give(window(0, ONE, stream=stream)).spike_counts[0] == 0
    for stream in ("left", "right"):
        gesture = driver.give(window(1, ONE, stream=stream))
        assert gesture.spike_counts[0] == 1
        assert gesture.header.frame_id == stream
    assert driver.core.stream_ids == ("left", "right")


def test_the_stream_that_was_silent_longest_is_forgotten(drive):
    driver = drive(max_streams=2)
    for stream in ("a", "b", "a", "c"):
        driver.give(window(driver.core.stream_ids.count(stream), ONE, stream=stream))
    assert driver.core.stream_ids == ("a", "c")
    assert driver.give(window(2, ONE, stream="b")).spike_counts[0] == 0
    assert driver.health("windows").values["streams_forgotten"] == 2


def test_an_empty_stream_id_is_a_stream(drive):
    driver = drive()
    driver.give(window(0, ONE, stream=""))
    assert driver.give(window(1, ONE, stream="")).spike_counts[0] == 1


# --- life -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("policy", "spikes"), [("reset", 0), ("hold", 1)])
def test_windows_missed_while_inactive_are_not_lost(drive, policy, spikes):
    driver = drive(gap_policy=policy)
    driver.give(window(0, ONE))
    driver.core.deactivate(10**18)
    driver.core.activate(10**18)
    assert driver.give(window(5, ONE)).spike_counts[0] == spikes
    assert (driver.core.counters.lost, driver.core.counters.missed_inactive) == (0, 4)


def test_an_uninterrupted_stream_survives_deactivation(drive):
    driver = drive()
    driver.give(window(0, ONE))
    driver.core.deactivate(10**18)
    driver.core.activate(10**18)
    assert driver.core.counters.received == 0, "books are of one activation"
    assert driver.give(window(1, ONE)).spike_counts[0] == 1


def test_dynamic_parameters_apply_from_the_next_window(drive):
    driver = drive(gap_policy="reset")
    driver.give(window(0, ONE))
    driver.core.reconfigure(replace(driver.core._parameters, {"gap_policy": "hold", "confidence_threshold": 1.0}))
    assert driver.give(window(3, ONE)).spike_counts[0] == 1
    with pytest.raises(TypeError, match="SnnInferenceParameters"):
        driver.core.reconfigure(object())


def test_a_missing_model_is_a_clear_error(tmp_path):
    path = str(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        SnnInferenceCore(build(SnnInferenceParameters, {"model": path}))
    with pytest.raises(ModelError, match="no_such_model"):
        SnnInferenceCore(build(SnnInferenceParameters, {"model": "no_such_model"}))


def test_an_encrypted_model_of_a_trusted_signer_needs_its_keys(model_file, tmp_path):
    pytest.importorskip("cryptography", reason=f"cryptography is not installed: {INSTALL_HINT}")
    aes, private, public = (tmp_path / name for name in ("aes", "private", "public"))
    keys.write_key(aes, keys.AES, keys.generate(keys.AES))
    seed = keys.generate(keys.PRIVATE)
    keys.write_key(private, keys.PRIVATE, seed)
    keys.write_key(public, keys.PUBLIC, keys.public_of(seed))
    path = tmp_path / "protected.safetensors"
    plain = load_model(model_file)
    save_model(plain, path, key=aes, signer=private)
    given = {"model": str(path), "model_key": str(aes), "trusted_keys": [str(public), ""]}
    core = SnnInferenceCore(build(SnnInferenceParameters, given))
    assert core.model.model_id == plain.model_id
    core.close()
    with pytest.raises(ModelError, match="is encrypted; give its key"):
        SnnInferenceCore(build(SnnInferenceParameters, {**given, "model_key": ""}))
    with pytest.raises(ModelError, match="sign"):
        SnnInferenceCore(build(SnnInferenceParameters, {"model": model_file, "trusted_keys": [str(public)]}))


def test_the_hardware_back_end_is_refused_clearly(model_file):
    with pytest.raises(EngineError, match=r"loihi|Loihi"):
        SnnInferenceCore(build(SnnInferenceParameters, {"model": model_file, "backend": "loihi"}))


@pytest.mark.parametrize(
    "values",
    [
        {"model": ""},
        {"state_save_period_s": 1.0},
        {"confidence_threshold": math.nan},
        {"confidence_threshold": 1.1},
        {"backend": "gpu"},
        {"queue_depth": 0},
        {"unknown": 1},
        {"max_streams": 2.5},
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(values):
    with pytest.raises(ParameterError):
        build(SnnInferenceParameters, values)
