# SPDX-License-Identifier: Apache-2.0
"""Bags are read back as the dataclasses of the graph, whatever version wrote them and however they end."""

import dataclasses
import math

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from neuro_ros.bringup.bag import Bag, BagError
from neuro_ros.cores import messages
from neuro_ros.testing import write_bag

FILLED = [
    messages.SpikeTensor(
        header=messages.Header(1_700_000_000_123_456_789, "cam"),
        sequence=3,
        epoch=2**40,
        closed_at=5,
        sensor_start_ns=-1,
        bins=10,
        active=2,
        complete=True,
        data=b"\x01\x00\xff",
    ),
    messages.Gesture(label="hand_clap", class_index=-1, confidence=0.5, spike_counts=[1, -2, 3]),
    messages.SnnTelemetry(layer=["a", "b"], firing_rate=[0.25, 0.5], dead_neurons=[1, 2]),
    messages.ClockSample(clock_id="cam", sensor_ns=-5, host_arrival_ns=2**60, sequence=9),
    messages.ClockModel(clock_id="cam", skew_ppb=1.5, sigma_ns=2.0, samples=4, state=2),
    messages.PtpMessage(type=3, source_port_identity="me", log_interval=-3),
    messages.ThermalCompensation(source="x", layer=["l"], du=[4095], dv=[0], clipped=[True], remaining_error=[0.1]),
    messages.CanaryReport(alarms=["silent"], layer=["l"], baseline_rate=[0.125], observed_rate=[0.25]),
    messages.RolloutStatus(phase=1, live_id="m-1", other_layer=["l"], other_du=[4095], other_dv=[128]),
    messages.ExternalTrigger(id=7, edge=1, sensor_time_ns=44),
    messages.EventPacket(height=480, width=640, seq=1, encoding="evt3", events=b"\x01\x02"),
    messages.Temperature(temperature=40.5, variance=0.25),
    messages.Image(height=1, width=2, encoding="rgb8", step=6, data=b"\x00\x01\x02\xfd\xfe\xff"),
]


def plain(message):
    """Make comparable: NaN equals NaN, bytes are bytes."""

    def value(item):
        if isinstance(item, float) and math.isnan(item):
            return "nan"
        if isinstance(item, memoryview | bytes):
            return bytes(item)
        return list(item) if isinstance(item, list | tuple) else item

    return {field.name: value(getattr(message, field.name)) for field in dataclasses.fields(message)}


def test_every_message_of_the_graph_comes_back_as_it_was(tmp_path):
    assert {type(message) for message in FILLED} == set(messages.ROS_TYPES)
    path = write_bag(tmp_path / "bag", [(f"/t{i}", 1000 + i, message) for i, message in enumerate(FILLED)])
    with Bag(path) as bag:
        found = list(bag.messages())
    assert [(item.topic, item.time_ns) for item in found] == [(f"/t{i}", 1000 + i) for i in range(len(FILLED))]
    assert [plain(item.message) for item in found] == [plain(message) for message in FILLED]
    assert bag.unreadable == 0


def test_topics_and_selection(tmp_path):
    message = messages.Temperature(temperature=1.0)
    path = write_bag(tmp_path / "bag", [("/b", 1, message), ("/a", 2, message), ("/b", 3, messages.ClockModel())])
    with Bag(path) as bag:
        assert [(topic.name, topic.count) for topic in bag.of_type(messages.Temperature)] == [("/a", 1), ("/b", 1)]
        assert [item.time_ns for item in bag.messages(["/a"])] == [2]


def test_a_storage_file_alone_is_a_bag(tmp_path):
    path = write_bag(tmp_path / "bag", [("/a", 1, messages.Temperature(temperature=1.0))])
    (path / "metadata.yaml").unlink()
    for part in (path, next(path.glob("*.mcap"))):
        with Bag(part) as bag:
            assert [item.message.temperature for item in bag.messages()] == [1.0]


def test_older_version_of_a_message_is_padded_with_zeros(tmp_path):
    kind = "neuro_ros/msg/ClockSample"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("string clock_id\nint64 sensor_ns\n", kind))
    with Writer(tmp_path / "old", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/clock/sample", kind, typestore=store)
        writer.write(connection, 5, store.serialize_cdr(store.types[kind](clock_id="cam", sensor_ns=7), kind))
    with Bag(tmp_path / "old") as bag:
        (item,) = bag.messages()
    assert item.message == messages.ClockSample(clock_id="cam", sensor_ns=7)


def test_unreadable_messages_are_counted(tmp_path):
    kind = "neuro_ros/msg/ClockSample"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("string clock_id\nint64 sensor_ns\n", kind))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/clock/sample", kind, typestore=store)
        writer.write(connection, 5, b"\x00\x01\x00\x00\xff")
        writer.write(connection, 6, store.serialize_cdr(store.types[kind](clock_id="cam", sensor_ns=7), kind))
    with Bag(tmp_path / "bag") as bag:
        assert [item.time_ns for item in bag.messages()] == [6]
        assert bag.unreadable == 1


@pytest.mark.parametrize("name", ["missing", "folder", "file.mcap", "file.db3", "file.txt"])
def test_what_is_no_bag_is_one_clear_line(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name.startswith("file"):
        path.write_bytes(b"not a bag at all" * 100)
    with pytest.raises(BagError) as caught:
        Bag(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 20, 300, 900])
def test_truncated_storage_gives_what_is_left_or_a_clear_line(tmp_path, keep):
    temperatures = [("/a", i, messages.Temperature(temperature=float(i))) for i in range(50)]
    path = write_bag(tmp_path / "bag", temperatures)
    storage = next(path.glob("*.mcap"))
    storage.write_bytes(storage.read_bytes()[:keep])
    line, values = "", []
    try:
        with Bag(path) as bag:
            values = [item.message.temperature for item in bag.messages()]
    except BagError as error:
        line = str(error)
    assert "\n" not in line
    assert values == [float(i) for i in range(len(values))]
