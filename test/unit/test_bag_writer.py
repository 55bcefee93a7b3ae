# SPDX-License-Identifier: Apache-2.0
"""The bag writer keeps what it is given, counts what it cannot keep, and leaves a whole bag on a full disk."""

import errno
import io
import threading

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from neuro_ros.bringup.bag import graph_typestore
from neuro_ros.bringup.bag_writer import BagTopicSpec, BagWriteError, BagWriter

GESTURE = BagTopicSpec("/gesture", "neuro_ros/msg/Gesture")
MODEL = BagTopicSpec("/clock/model", "neuro_ros/msg/ClockModel", depth=1, latched=True)
TOPICS = {"gesture": GESTURE, "clock/model": MODEL}


STORE = graph_typestore()


def payload(sequence, label="x"):
    types = STORE.types
    header = types["std_msgs/msg/Header"](stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="c")
    message = types["neuro_ros/msg/Gesture"](
        header=header,
        sequence=sequence,
        epoch=1,
        model_id="m",
        label=label,
        class_index=0,
        confidence=0.5,
        spike_counts=np.array([1, 2], "i4"),
        latency_s=0.0,
        inference_s=0.0,
    )
    return bytes(STORE.serialize_cdr(message, "neuro_ros/msg/Gesture"))


def read(path):
    with Reader(path) as reader:
        return [
            (connection.topic, time_ns, STORE.deserialize_cdr(data, connection.msgtype).sequence)
            for connection, time_ns, data in reader.messages()
        ]


class LimitedFile(io.FileIO):
    """A file on a disk that has room for so many bytes."""

    room = 0

    def write(self, data):
        room = type(self).room - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[:room])


def limit_disk(writer, room):
    """Put the writer's storage on a disk with `room` bytes."""
    storage = writer._writer.storage
    storage.bio.flush()
    position = storage.bio.tell()
    LimitedFile.room = room
    storage.bio.close()
    raw = LimitedFile(storage.path, "r+")
    raw.seek(position)
    storage.bio = io.BufferedWriter(raw)


def test_everything_is_kept_in_order_with_its_definitions(tmp_path):
    writer = BagWriter(tmp_path / "bag", TOPICS, 10**7)
    for number in range(100):
        assert writer.add("gesture", 1000 + number, payload(number))
    writer.close()
    writer.close()
    assert read(tmp_path / "bag") == [("/gesture", 1000 + number, number) for number in range(100)]
    assert (writer.written, writer.total_dropped, writer.failure) == ({"gesture": 100, "clock/model": 0}, 0, "")
    assert sorted(path.name for path in (tmp_path / "bag").iterdir()) == ["bag.mcap", "metadata.yaml"]
    with Reader(tmp_path / "bag") as reader:
        by_topic = {connection.topic: connection for connection in reader.connections}
        assert "confidence" in by_topic["/gesture"].msgdef.data
        assert by_topic["/clock/model"].ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"


def test_a_full_queue_drops_the_newest_and_counts(tmp_path):
    writer = BagWriter(tmp_path / "bag", TOPICS, queue_bytes=2 * len(payload(0)))
    gate, inside = threading.Event(), threading.Event()
    original = writer._writer.write

    def slow(*arguments):
        inside.set()
        gate.wait(10)
        original(*arguments)

    writer._writer.write = slow
    assert writer.add("gesture", 0, payload(0))
    assert inside.wait(10)
    accepted = [writer.add("gesture", number, payload(number)) for number in range(1, 6)]
    gate.set()
    writer.close()
    assert accepted == [True, True, False, False, False]
    assert writer.dropped == {"gesture": 3, "clock/model": 0}
    assert [sequence for _, _, sequence in read(tmp_path / "bag")] == [0, 1, 2]


@pytest.mark.parametrize("room", [1_200_000, 2_500_000, 3_000_001])
def test_a_full_disk_leaves_a_whole_bag(tmp_path, room):
    writer = BagWriter(tmp_path / "bag", TOPICS, 10**9)
    limit_disk(writer, room)
    reserve = tmp_path / "bag" / ".reserve"
    real_unlink = type(reserve).unlink

    def free(path, missing_ok=False):
        if path == reserve:
            LimitedFile.room += 4 * 1024 * 1024
        real_unlink(path, missing_ok=missing_ok)

    type(reserve).unlink = free
    try:
        label = "x" * 50_000
        kept = [writer.add("gesture", number, payload(number, label)) for number in range(100)]
        with pytest.raises(BagWriteError, match=r"no space left on the disk; recording stopped, the bag is whole with"):
            writer.close()
    finally:
        type(reserve).unlink = real_unlink
    found = [sequence for _, _, sequence in read(tmp_path / "bag")]
    assert found == list(range(len(found)))
    assert len(found) == writer.written["gesture"]
    assert writer.written["gesture"] + writer.dropped["gesture"] == len(kept) == 100
    assert len(found) * 50_000 > room * 0.5
    assert not writer.add("gesture", 0, b"")
    assert not reserve.exists()


def test_a_bag_that_exists_is_not_touched(tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagWriteError, match="exists already"):
        BagWriter(tmp_path / "bag", TOPICS, 1000)
    assert list((tmp_path / "bag").iterdir()) == []


def test_an_unknown_type_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(BagWriteError, match="nowhere/msg/Thing is not known"):
        BagWriter(tmp_path / "bag", {"x": BagTopicSpec("/x", "nowhere/msg/Thing")}, 1000)
    assert not (tmp_path / "bag").exists()


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BagWriteError, match="file/bag"):
        BagWriter(tmp_path / "file" / "bag", TOPICS, 1000)


def test_a_disk_without_room_for_the_reserve_is_refused_at_once(tmp_path):
    with pytest.raises(BagWriteError, match="choose a folder with room"):
        BagWriter(tmp_path / "bag", TOPICS, 1000, reserve_bytes=2**62)
    assert not (tmp_path / "bag").exists()
