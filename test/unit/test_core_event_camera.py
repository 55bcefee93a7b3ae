# SPDX-License-Identifier: Apache-2.0
"""The camera core and its sources: every event in the books, stamps, epochs, losses, labels; without ROS."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cores import sources
from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import ClockModel, EventPacket, Header, SpikeTensor
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.event_camera import MAX_BITMAP_BYTES, EventCameraParameters
from neuro_ros.cores.sensor_time import SensorTime
from neuro_ros.cores.sources import open_source
from neuro_ros.cores.sources.base import Slice, slice_length_ns
from neuro_ros.cores.sources.file import FileSource
from neuro_ros.cores.sources.player import Player
from neuro_ros.cores.sources.simulator import SimulatorSource
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import (
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    EventBatch,
    GeometryError,
    RecordingError,
    WindowDigest,
    decode_tensor,
    geometry,
)
from neuro_ros.events.encodings.evt3 import Evt3Encoder

DATA = Path(__file__).resolve().parents[1] / "data"
BAG = str(DATA / "test_events_1")
MS = 1_000_000
SECOND = 1_000_000_000
LENGTH_NS = 50 * MS
HOST_NS = 1_700_000_000 * SECOND
SIDE = 64


def events_at(*times_ns, x=10, y=20, p=1):
    events = np.zeros(len(times_ns), EVENT_DTYPE)
    events["t"] = times_ns
    events["x"], events["y"], events["p"] = x, y, p
    return events


NO_EVENTS = events_at()


class Driver:
    """An active core whose books are checked after each call."""

    def __init__(self, clocks=None, activate_ns=HOST_NS, **values):
        values = {name.replace("__", "."): value for name, value in values.items()}
        defaults = {"width": 32, "height": 32, "idle_grace_s": 0.05}
        self.parameters = build(EventCameraParameters, {**defaults, **values})
        self.core = EventCameraCore(self.parameters, clocks)
        self.outputs = []
        self.sent = 0
        if self.parameters.source != "topic" and not self.parameters.sensor_width:
            self.core.set_sensor(SIDE, SIDE)
        if activate_ns is not None:
            self.core.activate(activate_ns)

    def keep(self, outputs):
        self.outputs += outputs
        account = self.core.account
        dropped = sum(account.events_dropped.values())
        assert account.events_pending >= 0
        assert account.events_read == account.events_sent + account.events_withheld + account.events_pending + dropped
        return list(outputs)

    def feed(self, events, until_ns=None, now_ns=HOST_NS, label=None, **batch):
        return self.keep(self.core.feed(EventBatch(events, **batch), now_ns, until_ns, label))

    def packet(self, packet, now_ns=HOST_NS):
        return self.keep(self.core.receive("events", packet, now_ns))

    def of(self, topic, outputs=None):
        return [item.message for item in (self.outputs if outputs is None else outputs) if item.topic == topic]

    @property
    def windows(self):
        return self.of("spikes")

    def health(self, name, now_ns=HOST_NS):
        (found,) = [item for item in self.core.diagnose(now_ns) if item.name == name]
        return found


def fed(**values):
    return Driver(**{"source": "simulator", **values})


class Camera:
    """A driver node that sends EVT3 packets, as a real one does."""

    def __init__(self, width=SIDE, height=SIDE, seq=0):
        self.encoder, self.seq, self.width, self.height = Evt3Encoder(), seq, width, height

    def packet(self, events=NO_EVENTS, triggers=None, **changes):
        payload = self.encoder.encode(events, np.zeros(0, TRIGGER_DTYPE) if triggers is None else triggers)
        packet = EventPacket(Header(1, "driver"), self.height, self.width, self.seq, 0, "evt3", False, payload)
        self.seq += 1
        return dataclasses.replace(packet, **changes)


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


# --- packets ----------------------------------------------------------------------------------------------------------
def test_packets_and_batches_make_the_same_windows():
    """The same events by two ways: as a recording, and re-coded into a driver's packets."""
    digests, totals = [], []
    source = FileSource(build(EventCameraParameters, {"source": "file", "path": BAG}))
    by_file, by_packet = Driver(source="file", path=BAG), Driver()
    by_file.core.set_sensor(source.width, source.height)
    by_file.core.activate(HOST_NS)
    camera = Camera(source.width, source.height)
    for piece in source.slices():
        by_packet.packet(camera.packet(piece.batch.events, piece.batch.triggers))
        by_file.feed(piece.batch.events, piece.until_ns, triggers=piece.batch.triggers)
    for driver in (by_file, by_packet):
        driver.keep(driver.core.finish(HOST_NS))
        digest = WindowDigest()
        for message in driver.windows:
            digest.update(message.sensor_start_ns, decode_tensor(message.encoding, message.data, 10 * 2 * 32 * 32))
        digests.append(digest.hexdigest())
        totals.append(
            (driver.core.account.events_read, driver.core.account.events_binned, len(driver.of("events/trigger")))
        )
    assert digests[0] == digests[1]
    assert totals[0] == totals[1]
    assert totals[0][0] == 343474
    assert sum(message.events_in for message in by_packet.windows) == 343474


def test_lost_packets_are_counted_and_mark_the_window():
    driver, camera = Driver(), Camera()
    driver.packet(camera.packet(events_at(1 * MS)))
    camera.packet(events_at(2 * MS))
    camera.packet(events_at(3 * MS))
    driver.packet(camera.packet(events_at(60 * MS)))
    driver.packet(camera.packet(events_at(120 * MS)))
    driver.packet(camera.packet(events_at(180 * MS)))
    assert [message.complete for message in driver.windows] == [False, False, True]
    assert driver.health("windows").level == HealthLevel.WARN
    values = driver.health("source").values
    assert (values["packets_lost"], values["decoder_lost_packets"], values["packets"]) == (2, 2, 4)


def test_the_decoder_waits_for_an_absolute_time_after_a_loss():
    driver, camera = Driver(), Camera()
    driver.packet(camera.packet(events_at(5 * MS)))
    camera.packet(events_at(10 * MS))
    # 11 ms lies in the same 4.096 ms as 10 ms, so the encoder says no time high: these cannot be dated.
    driver.packet(camera.packet(events_at(11 * MS)))
    driver.packet(camera.packet(events_at(60 * MS)))
    values = driver.health("source").values
    assert values["decoder_dropped_before_time"] == 1
    assert driver.core.account.events_read == 2


def test_a_packet_that_comes_twice_is_used_once():
    driver, camera = Driver(), Camera()
    packet = camera.packet(events_at(1 * MS))
    driver.packet(packet)
    driver.packet(packet)
    assert driver.core.account.events_read == 1
    assert driver.health("source").values["packets_repeated"] == 1


def test_a_restarted_driver_ends_the_window_and_starts_anew():
    driver, camera = Driver(), Camera(seq=1000)
    driver.packet(camera.packet(events_at(8 * SECOND)))
    again = Camera(seq=3)
    driver.packet(again.packet(events_at(1 * MS)))
    driver.packet(again.packet(events_at(60 * MS)))
    assert [message.sensor_start_ns for message in driver.windows] == [8 * SECOND, 0]
    assert [message.sequence for message in driver.windows] == [0, 1]
    assert driver.health("source").values["restarts"] == 1
    assert driver.health("source").values["packets_lost"] == 0


def test_another_sensor_size_is_taken_over():
    driver = Driver()
    driver.packet(Camera(64, 64).packet(events_at(1 * MS, x=63, y=63)))
    other = Camera(128, 96)
    driver.packet(other.packet(events_at(100 * MS, x=111, y=95)))
    driver.packet(other.packet(events_at(151 * MS)))
    assert [message.events_binned for message in driver.windows] == [1, 1]
    assert driver.health("source").values["changes"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"encoding": "evt4"}, {"encoding": ""}, {"is_bigendian": True}, {"width": 0}, {"height": 2**32 - 1}],
    ids=str,
)
def test_packets_that_cannot_be_read_are_refused_and_the_node_goes_on(changes, caplog):
    driver, camera = Driver(), Camera()
    for _ in range(3):
        assert driver.packet(camera.packet(events_at(1 * MS), **changes)) == []
    assert driver.health("source").values["packets_refused"] == 3
    assert driver.health("source").level == HealthLevel.ERROR
    assert len(caplog.records) == 1
    camera = Camera(seq=10)
    driver.packet(camera.packet(events_at(1 * MS)))
    assert driver.core.account.events_read == 1
    assert driver.health("source").level == HealthLevel.OK


def test_a_sensor_that_does_not_hold_the_crop_is_refused():
    driver = Driver(crop__x0=100, crop__width=100, crop__height=20)
    assert driver.packet(Camera().packet(events_at(0))) == []
    assert driver.health("source").values["packets_refused"] == 1
    assert "crop" in driver.health("source").message


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\xff" * 1001, bytes(range(256)) * 8], ids=len)
def test_garbled_payloads_are_counted_not_fatal(payload):
    driver, camera = Driver(), Camera()
    driver.packet(camera.packet(events_at(1 * MS)))
    packet = dataclasses.replace(camera.packet(), events=payload)
    driver.packet(packet)
    assert driver.health("source").values["packets"] == 2
    again = Camera(seq=0)  # what garbage did to the decoder's state ends with the next start of the driver
    driver.packet(again.packet(events_at(1 * MS)))
    driver.packet(again.packet(events_at(60 * MS)))
    assert driver.windows[-1].events_in == 1


def test_the_frame_may_come_from_the_packets():
    driver, camera = Driver(frame_id=""), Camera()
    driver.packet(camera.packet(events_at(0)))
    driver.packet(camera.packet(events_at(60 * MS)))
    assert driver.windows[0].header.frame_id == "driver"
    assert driver.of("clock/sample")[0].clock_id == "driver"


def test_silence_closes_windows_by_the_hosts_clock():
    driver, camera = Driver(idle_grace_s=0.05), Camera()
    assert "idle" in driver.core.timers()
    driver.keep(driver.core.tick("idle", HOST_NS))
    driver.packet(camera.packet(events_at(10 * MS)), now_ns=HOST_NS)
    for step in range(1, 13):
        driver.keep(driver.core.tick("idle", HOST_NS + step * 25 * MS))
    # After 300 ms sensor time is at 310 ms; what ended by 260 ms is closed.
    assert [message.sensor_end_ns for message in driver.windows] == [50 * MS * k for k in range(1, 6)]
    assert [message.events_in for message in driver.windows] == [1, 0, 0, 0, 0]
    driver.packet(camera.packet(events_at(320 * MS)), now_ns=HOST_NS + 310 * MS)
    assert driver.core.account.events_dropped["late"] == 0


def test_silence_may_be_left_alone():
    driver, camera = Driver(idle_grace_s=0.0), Camera()
    driver.packet(camera.packet(events_at(10 * MS)))
    assert driver.keep(driver.core.tick("idle", HOST_NS + SECOND)) == []


def test_a_silent_camera_is_a_warning_not_an_error():
    driver, camera = Driver(event_timeout_s=2.0), Camera()
    assert driver.health("source", HOST_NS + SECOND).level == HealthLevel.OK
    assert driver.health("source", HOST_NS + 3 * SECOND).level == HealthLevel.WARN
    driver.packet(camera.packet(events_at(0)), now_ns=HOST_NS + 3 * SECOND)
    assert driver.health("source", HOST_NS + 3 * SECOND).level == HealthLevel.OK
    assert driver.health("source", HOST_NS + 6 * SECOND).level == HealthLevel.WARN


def test_messages_on_other_topics_are_ignored():
    driver = Driver()
    assert driver.core.receive("events", ClockModel(), 0) == ()
    assert driver.core.receive("clock/model", EventPacket(), 0) == ()


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


# --- sources ----------------------------------------------------------------------------------------------------------
class FakeTime:
    """A clock that moves only while somebody waits, and a stop event on it."""

    def __init__(self, stop_after_ns=None):
        self.now_ns = 0
        self.stop_after_ns = stop_after_ns
        self.waits = []

    def clock(self):
        return self.now_ns

    def is_set(self):
        return self.stop_after_ns is not None and self.now_ns >= self.stop_after_ns

    def wait(self, timeout):
        self.waits.append(timeout)
        self.now_ns += round(timeout * SECOND)
        return self.is_set()


class ListSource:
    """A source of given (events, until) pairs."""

    width = height = SIDE
    slice_ns = 5 * MS
    live = False

    def __init__(self, *pieces):
        self.pieces = pieces

    def slices(self):
        for events, until_ns in self.pieces:
            yield Slice(EventBatch(events), until_ns)

    def close(self):
        pass


def play(source, time=None, **values):
    time = time or FakeTime()
    parameters = build(EventCameraParameters, {"source": "simulator", **values})
    player = Player(source, parameters, time.clock)
    return time, player, [(piece, time.now_ns) for piece in player.play(time)]


def test_slices_come_when_they_are_due():
    source = ListSource(*((events_at(k * 5 * MS), (k + 1) * 5 * MS) for k in range(4)))
    for rate, factor in ((1.0, 1.0), (2.0, 0.5), (0.5, 2.0)):
        _, _, played = play(source, rate=rate)
        assert [now_ns for _, now_ns in played] == [round(k * 5 * MS * factor) for k in range(1, 5)]
        assert [piece.until_ns for piece, _ in played] == [5 * MS * k for k in range(1, 5)]


def test_rate_zero_waits_for_nothing():
    time, _, played = play(ListSource((events_at(0), 5 * MS), (NO_EVENTS, 10 * SECOND)), rate=0.0)
    assert len(played) == 2
    assert time.waits == []


def test_a_jump_in_time_is_not_waited_for():
    pieces = ((events_at(0), 5 * MS), (events_at(3600 * SECOND), 3600 * SECOND + 5 * MS), (events_at(0), 5 * MS))
    time, _, played = play(ListSource(*pieces), max_gap_s=10.0)
    assert [now_ns for _, now_ns in played] == [5 * MS, 10 * MS, 15 * MS]
    assert time.now_ns == 15 * MS


def test_a_late_player_catches_up_and_tells_its_lag():
    source = ListSource(*((NO_EVENTS, (k + 1) * 5 * MS) for k in range(5)))
    time = FakeTime()
    player = Player(source, build(EventCameraParameters, {"source": "simulator"}), time.clock)
    played = []
    for piece in player.play(time):
        played.append((piece.until_ns, time.now_ns))
        if piece.until_ns == 10 * MS:
            time.now_ns += 8 * MS  # the consumer took its time
    assert [now_ns for _, now_ns in played] == [5 * MS, 10 * MS, 18 * MS, 20 * MS, 25 * MS]
    assert player.max_lag_s == pytest.approx(0.003)
    assert player.lag_s == 0.0


def test_playing_stops_while_it_waits():
    source = ListSource((NO_EVENTS, 5 * MS), (NO_EVENTS, 9 * SECOND), (NO_EVENTS, 10 * SECOND))
    _, _, played = play(source, FakeTime(stop_after_ns=SECOND))
    assert len(played) == 1
    assert play(source, FakeTime(stop_after_ns=0))[2] == []


def test_a_loop_goes_on_growing_by_whole_windows():
    source = ListSource((events_at(1 * SECOND + 3 * MS), 1 * SECOND + 5 * MS), (NO_EVENTS, 1 * SECOND + 52 * MS))
    time = FakeTime(stop_after_ns=SECOND // 4)
    _, player, played = play(source, time, loop=True)
    firsts = [int(piece.batch.events["t"][0]) for piece, _ in played if len(piece.batch.events)]
    assert firsts[:3] == [SECOND + 3 * MS + k * 2 * LENGTH_NS for k in range(3)]
    assert [piece.until_ns for piece, _ in played] == sorted(piece.until_ns for piece, _ in played)
    assert player.passes >= 2
    assert source.pieces[0][0]["t"][0] == SECOND + 3 * MS, "the source's memory is its own"


def test_a_loop_over_nothing_ends():
    assert play(ListSource(), loop=True)[2] == []


@pytest.mark.parametrize(
    ("length_ns", "bins", "expected"),
    [(50 * MS, 10, 5 * MS), (50 * MS, 3, 25 * MS), (20 * MS, 20, MS), (5 * MS, 10, MS), (MS // 2, 4, MS // 2)],
)
def test_a_slice_is_a_bin_unless_bins_are_short(length_ns, bins, expected):
    assert slice_length_ns(length_ns, bins) == expected
    assert length_ns % expected == 0, "so that windows end with a slice"


def test_a_recording_gives_every_event_and_can_be_played_again():
    source = open_source(build(EventCameraParameters, {"source": "file", "path": BAG}))
    for _ in range(2):
        assert sum(len(piece.batch.events) for piece in source.slices()) == 343474
    assert source.counters().errors == 0
    source.close()
    source.close()


def test_a_recording_can_be_left_in_the_middle():
    source = FileSource(build(EventCameraParameters, {"source": "file", "path": BAG}))
    next(iter(source.slices()))
    source.close()
    assert sum(len(piece.batch.events) for piece in source.slices()) == 343474


@pytest.mark.parametrize("content", [None, b"", b"hello, this is no recording" * 10, b"% evt 3.0\n% end\n"], ids=repr)
def test_a_file_that_cannot_be_played_is_a_clear_error(tmp_path, content):
    path = tmp_path / "some.raw"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"some\.raw") as error:
        open_source(build(EventCameraParameters, {"source": "file", "path": str(path)}))
    assert "\n" not in str(error.value)


def test_the_simulator_labels_what_it_shows():
    parameters = build(
        EventCameraParameters,
        {"source": "simulator", "simulator.gestures": 2, "simulator.gesture_duration_s": 0.3, "rate": 0.0},
    )
    source = open_source(parameters)
    assert isinstance(source, SimulatorSource)
    core = EventCameraCore(parameters)
    core.set_sensor(source.width, source.height)
    core.activate(HOST_NS)
    outputs = []
    for piece in source.slices():
        outputs += core.feed(piece.batch, HOST_NS + piece.until_ns, piece.until_ns, piece.label)
    outputs += core.finish(HOST_NS)
    truth = [item.message for item in outputs if item.topic == "truth"]
    windows = [item.message for item in outputs if item.topic == "spikes"]
    assert len(windows) == len(truth) == 12
    assert len({item.label for item in truth}) == 2
    assert [item.class_index for item in truth[:6]] == [truth[0].class_index] * 6
    assert sum(message.events_in for message in windows) == core.account.events_read > 1000


def test_the_simulator_refuses_a_sensor_that_it_cannot_act_before():
    values = {"source": "simulator", "sensor_width": 4, "sensor_height": 4}
    with pytest.raises(NeuroRosError, match="width"):
        open_source(build(EventCameraParameters, values))


def test_a_new_source_is_one_line_of_the_table(monkeypatch, tmp_path):
    (tmp_path / "my_camera_source.py").write_text("class MySource:\n    def __init__(self, parameters): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sources.SOURCES, "file", "my_camera_source:MySource")
    assert type(open_source(build(EventCameraParameters, {"source": "file", "path": "x"}))).__name__ == "MySource"
    assert open_source(build(EventCameraParameters)) is None
    with pytest.raises(ParameterError, match="simulator"):
        build(EventCameraParameters, {"source": "unheard_of"})
    for place in filter(None, sources.SOURCES.values()):
        assert place.count(":") == 1
