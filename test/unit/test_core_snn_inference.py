# SPDX-License-Identifier: Apache-2.0
"""The inference core: policies, accounting, decisions, state; without ROS.

The model counts: cell x of row 0 feeds class x, two input spikes make an output spike, nothing leaks away.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from neuro_ros.cores import stream_network
from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.messages import Header, SpikeTensor, ThermalCompensation
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.cores.snn_statistics import percentile
from neuro_ros.events import encode_tensor
from neuro_ros.snn import (
    Dense,
    EngineError,
    Layer,
    Lif,
    Model,
    ModelError,
    Network,
    StateError,
    load_state,
    save_model,
    save_state,
)

MS = 1_000_000
LENGTH_NS = 40 * MS
BINS, CLASSES, SIDE = 4, 3, 4
SHAPE = (BINS, 2, SIDE, SIDE)
CELLS = int(np.prod(SHAPE))
SECOND = 1_000_000_000


def counting_model(name="counting", vth=100):
    weight = np.zeros((CLASSES, 2 * SIDE * SIDE), np.int16)
    for k in range(CLASSES):
        weight[k, k] = 64
    # du = 4095: the current lives one step; dv = 0: the voltage stays; above 100: two spikes of 64.
    layer = Layer("out", Dense(weight), Lif(du=4095, dv=0, vth=vth))
    return Model(Network([layer], (2, SIDE, SIDE)), ["a", "b", "c"], LENGTH_NS, BINS, name)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "counting.safetensors"
    save_model(counting_model(), path)
    return str(path)


def window(sequence=0, cells=(), *, slot=None, stream="cam", epoch=7, **changes):
    """Make a window; `cells` = (bin, x) pairs of row 0, channel 0; `slot` = its place on the grid of sensor time."""
    slot = sequence if slot is None else slot
    dense = np.zeros(SHAPE, np.uint8)
    for number, x in cells:
        dense[number, 0, 0, x] = 1
    encoding, data = encode_tensor(np.packbits(dense.ravel()), CELLS)
    start_ns = slot * LENGTH_NS
    message = SpikeTensor(
        header=Header(10**18 + start_ns + LENGTH_NS, stream),
        sequence=sequence,
        epoch=epoch,
        sensor_start_ns=start_ns,
        sensor_end_ns=start_ns + LENGTH_NS,
        bins=BINS,
        channels=2,
        height=SIDE,
        width=SIDE,
        encoding=encoding,
        active=int(dense.sum()),
        complete=True,
        data=data,
    )
    return dataclasses.replace(message, **changes)


ONE = ((0, 0),)  # one spike into class 0: half of what makes it spike
TWO = ((0, 0), (1, 0))


class Driver:
    """An active core with a clock that stands still, so that nothing is late."""

    def __init__(self, model_file, clocks=None, **parameters):
        parameters = {name.replace("__", "."): value for name, value in parameters.items()}
        self.core = SnnInferenceCore(build(SnnInferenceParameters, {"model": model_file, **parameters}), clocks)
        self.core.activate(10**18)

    def give(self, message, now_ns=10**18):
        outputs = self.core.receive("spikes", message, now_ns)
        counters = self.core.counters
        assert counters.received == counters.processed + counters.skipped
        assert len(outputs) <= 1
        return outputs[0].message if outputs else None

    def telemetry(self, now_ns=10**18):
        (output,) = self.core.tick("telemetry", now_ns)
        assert output.topic == "snn/telemetry"
        return output.message

    def health(self, name, now_ns=10**18):
        (found,) = [item for item in self.core.diagnose(now_ns) if item.name == name]
        return found


@pytest.fixture
def drive(model_file):
    drivers = []

    def make(clocks=None, **parameters):
        drivers.append(Driver(model_file, clocks, **parameters))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.core.close()
        driver.core.close()


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
