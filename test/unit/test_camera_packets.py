# SPDX-License-Identifier: Apache-2.0
"""The camera core and a driver's packets: losses, repetitions, restarts, other sensors, refusals; without ROS."""

import dataclasses

import pytest
from camera_driver import BAG, HOST_NS, MS, SECOND, Camera, Driver, events_at

from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import ClockModel, EventPacket
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources.file import FileSource
from neuro_ros.events import (
    WindowDigest,
    decode_tensor,
)


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
