# SPDX-License-Identifier: Apache-2.0
"""The camera core: windows, waking, labels, stamps, construction; every event in the books; without ROS."""

import dataclasses
import math

import numpy as np
import pytest
from camera_driver import HOST_NS, LENGTH_NS, MS, NO_EVENTS, SECOND, SIDE, Driver, events_at, fed

from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import ClockModel, SpikeTensor
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.event_camera import MAX_BITMAP_BYTES, EventCameraParameters
from neuro_ros.cores.sensor_time import SensorTime
from neuro_ros.events import (
    TRIGGER_DTYPE,
    EventBatch,
    GeometryError,
    decode_tensor,
    geometry,
)


# --- windows ----------------------------------------------------------------------------------------------------------
def test_a_window_is_a_message():
    driver = fed(clocks=Clocks(system_ns=lambda: 42), frame_id="eye")
    driver.feed(events_at(110 * MS, 110 * MS, 149 * MS), until_ns=149 * MS)
    assert driver.windows == []
    driver.feed(NO_EVENTS, until_ns=150 * MS, now_ns=HOST_NS + 10 * MS)
    (message,) = driver.windows
    assert isinstance(message, SpikeTensor)
    assert (message.sensor_start_ns, message.sensor_end_ns) == (100 * MS, 150 * MS)
    assert (message.bins, message.channels, message.height, message.width) == (10, 2, 32, 32)
    assert (message.events_in, message.events_binned, message.active) == (3, 3, 2)
    assert (message.events_filtered, message.events_dropped, message.complete) == (0, 0, True)
    assert (message.closed_at, message.header.frame_id, message.windows_withheld) == (42, "eye", 0)
    assert message.header.stamp == HOST_NS + 10 * MS
    assert message.window_start == HOST_NS - 40 * MS
    assert message.clock_state == SpikeTensor.CLOCK_UNLOCKED
    cells = 10 * 2 * 32 * 32
    bits = np.unpackbits(decode_tensor(message.encoding, message.data, cells))
    expected = [np.ravel_multi_index((number, 1, 10, 5), (10, 2, 32, 32)) for number in (2, 9)]
    assert np.flatnonzero(bits).tolist() == expected, "x, y halved; ON is channel 1; bin 2 twice, bin 9"


def test_the_smaller_encoding_is_sent():
    driver = fed()
    rng = np.random.default_rng(3)
    dense = events_at(*range(0, 50 * MS, 10_000))
    dense["x"], dense["y"] = rng.integers(0, SIDE, (2, len(dense)))
    driver.feed(dense)
    driver.feed(events_at(60 * MS), until_ns=100 * MS)
    assert [message.encoding for message in driver.windows] == [1, 0]
    assert len(driver.windows[0].data) == 10 * 2 * 32 * 32 // 8
    assert len(driver.windows[1].data) == 4


def test_a_constant_size_tells_nothing_about_the_scene():
    driver = fed(constant_size=True)
    driver.feed(events_at(*range(0, 50 * MS, 10_000)))
    driver.feed(events_at(60 * MS), until_ns=150 * MS)
    assert [message.active > 1 for message in driver.windows] == [True, False, False]
    assert {(message.encoding, len(message.data)) for message in driver.windows} == {(1, 10 * 2 * 32 * 32 // 8)}


def test_sequences_have_no_gap_and_epochs_grow():
    driver = fed(activate_ns=100)
    epochs = []
    for now_ns in (100, 90, 5000):  # the host's clock steps back between two activations
        driver.core.activate(now_ns)
        driver.outputs.clear()
        driver.feed(events_at(0), until_ns=4 * LENGTH_NS)
        assert [message.sequence for message in driver.windows] == [0, 1, 2, 3]
        epochs.append({message.epoch for message in driver.windows})
        driver.keep(driver.core.deactivate(now_ns))
    assert epochs == [{101}, {102}, {5000}]


def test_the_last_window_is_partial_with_its_nominal_bounds():
    driver = fed()
    driver.feed(events_at(60 * MS), until_ns=70 * MS)
    driver.keep(driver.core.finish(HOST_NS))
    (message,) = driver.windows
    assert (message.sensor_start_ns, message.sensor_end_ns) == (50 * MS, 100 * MS)
    assert driver.core.account.events_pending == 0
    health = driver.health("source")
    assert (health.values["state"], health.values["last_sequence"], health.values["events_read"]) == ("finished", 0, 1)
    assert health.values["epoch"] == message.epoch
    assert driver.feed(events_at(200 * MS)) == [], "nothing comes after the end"
    assert driver.core.finish(HOST_NS) == []


def test_events_outside_the_crop_are_filtered_on_purpose():
    driver = fed(crop__x0=0, crop__y0=0, crop__width=16, crop__height=16)
    driver.feed(events_at(0, x=15, y=15))
    driver.feed(events_at(1, x=16, y=15), until_ns=LENGTH_NS)
    (message,) = driver.windows
    assert (message.events_in, message.events_binned, message.events_filtered) == (2, 1, 1)


def test_deactivation_gives_up_the_open_window_and_counts_it():
    driver = fed()
    driver.feed(events_at(10 * MS, 20 * MS))
    assert driver.core.account.events_pending == 2
    assert driver.keep(driver.core.deactivate(HOST_NS)) == []
    assert driver.core.account.events_dropped["unfinished"] == 2
    assert driver.core.account.events_pending == 0
    assert driver.feed(events_at(30 * MS)) == [], "inactive is silent"
    assert driver.health("source").values["state"] == "inactive"


def test_late_events_are_dropped_and_counted_and_time_that_runs_back_starts_anew():
    driver = fed()
    driver.feed(events_at(500 * MS))
    driver.feed(events_at(449 * MS))
    assert driver.core.account.events_dropped["late"] == 1
    driver.feed(events_at(0))
    driver.keep(driver.core.finish(HOST_NS))
    assert [message.sensor_start_ns for message in driver.windows] == [500 * MS, 0]
    assert driver.health("windows").level == HealthLevel.WARN


def test_a_jump_in_time_makes_no_flood_of_windows():
    driver = fed(max_gap_s=1.0)
    driver.feed(events_at(0, 3600 * SECOND), until_ns=3600 * SECOND + LENGTH_NS)
    assert len(driver.windows) == 2


def test_a_damaged_time_is_dropped_and_counted():
    driver = fed()
    driver.feed(events_at(0, 2**63 - 1, 10), until_ns=LENGTH_NS)
    assert driver.core.account.events_dropped["bad_time"] == 1
    assert driver.windows[0].events_in == 2


def test_a_known_loss_marks_the_window():
    driver = fed()
    driver.feed(events_at(0), until_ns=LENGTH_NS)
    driver.feed(events_at(60 * MS), complete=False, lost_packets=2)
    driver.feed(events_at(110 * MS), until_ns=150 * MS)
    assert [message.complete for message in driver.windows] == [True, False, True]
    assert driver.core.account.windows_incomplete == 1
    assert driver.health("windows").level == HealthLevel.WARN
    assert driver.health("windows").level == HealthLevel.OK, "nothing more was lost since"


# --- waking -----------------------------------------------------------------------------------------------------------
def test_quiet_windows_are_withheld_and_the_first_active_one_is_not_lost():
    # 5 events a window, and no grace
    driver = fed(wake__threshold_events_hz=100.0, wake__sleep_ratio=1.0, wake__sleep_after_s=0.0, wake__pre_roll=0)
    driver.feed(events_at(*range(0, 6 * MS, MS)), until_ns=50 * MS)
    driver.feed(events_at(60 * MS), until_ns=200 * MS)
    driver.feed(events_at(*range(200 * MS, 205 * MS, MS)), until_ns=250 * MS)
    driver.feed(NO_EVENTS, until_ns=300 * MS)
    assert [(m.sequence, m.windows_withheld, m.events_in) for m in driver.windows] == [(0, 0, 6), (1, 3, 5)]
    account = driver.core.account
    assert (account.windows_withheld, account.events_withheld) == (4, 1)
    driver.core.reconfigure(replace(driver.parameters, {"wake.threshold_events_hz": 0.0}))
    driver.feed(NO_EVENTS, until_ns=350 * MS)
    assert (driver.windows[-1].sequence, driver.windows[-1].windows_withheld) == (2, 1)


def test_a_quiet_window_with_a_known_loss_is_sent():
    driver = fed(wake__threshold_events_hz=100.0)
    driver.feed(events_at(0), complete=False)
    driver.feed(NO_EVENTS, until_ns=LENGTH_NS)
    assert [message.complete for message in driver.windows] == [False]


# --- labels -----------------------------------------------------------------------------------------------------------
def test_truth_goes_with_each_window():
    driver = fed()
    one, two = (3, "three"), (4, "four")
    driver.feed(events_at(0), until_ns=50 * MS, label=one)
    driver.feed(events_at(60 * MS), until_ns=75 * MS, label=one)
    driver.feed(events_at(80 * MS), until_ns=100 * MS, label=two)
    driver.feed(events_at(110 * MS), until_ns=200 * MS, label=two)
    truth = driver.of("truth")
    assert [item.class_index for item in truth] == [3, -1, 4, 4], "a window in which the label changed shows neither"
    assert [item.label for item in truth] == ["three", "", "four", "four"]
    assert [(item.sequence, item.epoch, item.header) for item in truth] == [
        (item.sequence, item.epoch, item.header) for item in driver.windows
    ]
    assert math.isnan(truth[0].confidence)
    assert [item.topic for item in driver.outputs if item.topic != "clock/sample"] == ["truth", "spikes"] * 4


def test_without_labels_there_is_no_truth():
    driver = fed()
    driver.feed(events_at(0), until_ns=LENGTH_NS)
    assert driver.of("truth") == []


# --- host time --------------------------------------------------------------------------------------------------------
def model(state=ClockModel.LOCKED, sensor_ns=0, host_ns=HOST_NS, skew_ppb=0.0, clock_id="event_camera_optical"):
    return ClockModel(
        clock_id=clock_id, reference_sensor_ns=sensor_ns, reference_host_ns=host_ns, skew_ppb=skew_ppb, state=state
    )


@pytest.mark.parametrize("state", [ClockModel.TRACKING, ClockModel.LOCKED, ClockModel.HOLDOVER])
def test_stamps_follow_the_clock_model(state):
    driver = fed()
    driver.core.receive("clock/model", model(state, skew_ppb=1000.0), HOST_NS)
    driver.feed(events_at(1 * SECOND), until_ns=1 * SECOND + LENGTH_NS, now_ns=HOST_NS + SECOND + 55 * MS)
    (message,) = driver.windows
    assert message.clock_state == state
    assert message.header.stamp == HOST_NS + SECOND + LENGTH_NS + 1050
    assert message.window_start == HOST_NS + SECOND + 1000


def test_an_unlocked_model_is_not_used():
    driver = fed()
    driver.core.receive("clock/model", model(skew_ppb=1000.0), HOST_NS)
    driver.core.receive("clock/model", model(ClockModel.UNLOCKED, skew_ppb=math.nan), HOST_NS)
    driver.feed(events_at(0), until_ns=LENGTH_NS, now_ns=HOST_NS + 5)
    assert (driver.windows[0].clock_state, driver.windows[0].header.stamp) == (0, HOST_NS + 5)


def test_another_sensors_clock_is_not_ours():
    driver = fed(clock_id="mine")
    driver.core.receive("clock/model", model(clock_id="yours"), HOST_NS)
    assert driver.health("clock").values["models"] == 0
    driver.core.receive("clock/model", model(clock_id="mine"), HOST_NS)
    assert driver.health("clock").values["models"] == 1


@pytest.mark.parametrize(
    "bad", [{"skew_ppb": math.nan}, {"skew_ppb": 1e9}, {"skew_ppb": math.inf}, {"state": 9}], ids=str
)
def test_a_model_that_makes_no_sense_is_refused(bad):
    time = SensorTime()
    assert time.learn(model())
    assert not time.learn(dataclasses.replace(model(host_ns=5), **bad))
    assert time.host_ns(7) == (HOST_NS + 7, ClockModel.LOCKED)
    assert time.models_refused == 1


def test_a_model_of_another_run_of_the_sensor_is_distrusted():
    driver = fed()
    driver.core.receive("clock/model", model(sensor_ns=3600 * SECOND), HOST_NS)
    driver.feed(events_at(0), until_ns=LENGTH_NS, now_ns=HOST_NS)
    assert (driver.windows[0].clock_state, driver.windows[0].header.stamp) == (0, HOST_NS)
    assert driver.health("clock").values["models_distrusted"] > 0


def test_host_time_is_unknown_before_the_first_arrival():
    assert SensorTime().host_ns(5) == (0, ClockModel.UNLOCKED)
    assert SensorTime().sensor_ns(5) is None


def test_clock_samples_are_rationed_and_numbered():
    driver = fed(clock_sample_rate_hz=10.0)
    for step in range(100):
        driver.feed(events_at(step * 5 * MS, step * 5 * MS + 7), now_ns=HOST_NS + step * 5 * MS)
    samples = driver.of("clock/sample")
    assert [sample.sequence for sample in samples] == [0, 1, 2, 3, 4]
    assert [sample.sensor_ns for sample in samples] == [step * 100 * MS + 7 for step in range(5)]
    assert samples[1].host_arrival_ns == samples[1].header.stamp == HOST_NS + 100 * MS
    assert samples[0].clock_id == "event_camera_optical"
    driver.feed(events_at(600 * MS), now_ns=HOST_NS - SECOND)
    assert len(driver.of("clock/sample")) == 6, "a host clock that steps back does not silence the samples"


@pytest.mark.parametrize("values", [{"rate": 2.0}, {"rate": 0.0}, {"clock_sample_rate_hz": 0.0}], ids=str)
def test_a_recording_at_another_pace_says_nothing_about_a_clock(values):
    driver = fed(**values)
    driver.feed(events_at(0))
    assert driver.of("clock/sample") == []


def test_triggers_go_out_in_order_with_host_time():
    driver = fed()
    triggers = np.array([(1000, 2, 1), (3000, 2, 0)], TRIGGER_DTYPE)
    driver.feed(events_at(4000), triggers=triggers, now_ns=HOST_NS)
    first, second = driver.of("events/trigger")
    assert (first.sensor_time_ns, first.id, first.edge) == (1000, 2, 1)
    assert (second.sensor_time_ns, second.edge, second.header.stamp) == (3000, 0, HOST_NS - 1000)


# --- construction -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"width": 640, "height": 480}, "down-sample by 2"),
        ({"source": "file"}, "path"),
        ({"source": "webcam"}, "not one of"),
        ({"crop.width": 10}, "crop.height"),
        ({"crop.x0": 10}, "crop.width"),
        ({"sensor_width": 10}, "sensor_height"),
        ({"window_length_ns": 1000, "bins": 1000, "width": 8, "height": 8, "rate": -1.0}, "rate"),
        ({"source": "simulator", "frame_id": ""}, "frame_id"),
        ({"rate": math.nan}, "rate"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(values, text):
    with pytest.raises(ParameterError, match=text):
        build(EventCameraParameters, values)


def test_the_size_that_is_recommended_is_accepted():
    for width, height, bins in ((640, 480, 10), (1280, 720, 20), (4000, 1, 1000), (346, 260, 30)):
        with pytest.raises(ParameterError, match=str(MAX_BITMAP_BYTES)) as refusal:
            build(EventCameraParameters, {"width": width, "height": height, "bins": bins, "window_length_ns": 10**9})
        words = str(refusal.value).replace(",", "").split()
        factor = int(words[words.index("by") + 1].strip(":"))
        small = {"width": max(1, width // factor), "height": max(1, height // factor)}
        build(EventCameraParameters, {**small, "bins": bins, "window_length_ns": 10**9})


def test_limits_that_stand_in_two_places_agree():
    """The parameter modules stay light, so they do not import the libraries whose limits they state."""
    assert geometry.MAX_BITMAP_BYTES == MAX_BITMAP_BYTES


def test_a_crop_outside_a_known_sensor_is_an_error_at_construction():
    values = {"sensor_width": 50, "sensor_height": 50, "crop.x0": 10, "crop.width": 41, "crop.height": 10}
    with pytest.raises(GeometryError, match="crop"):
        EventCameraCore(build(EventCameraParameters, values))


def test_a_source_must_say_its_size():
    core = EventCameraCore(build(EventCameraParameters, {"source": "simulator"}))
    core.activate(0)
    with pytest.raises(RuntimeError, match="set_sensor"):
        core.feed(EventBatch(NO_EVENTS), 0)


def test_the_topic_source_alone_needs_packets():
    assert "events" in Driver().core.inputs
    assert "events" not in fed().core.inputs
    assert "events" in EventCameraCore.inputs
