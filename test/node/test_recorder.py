# SPDX-License-Identifier: Apache-2.0
"""The recorder keeps every message with the time at which it arrived, and knows when a recording has been played."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rosbags.rosbag2 import Reader

from neuro_ros.bringup.bag import Bag
from neuro_ros.bringup.bag_writer import BagWriteError
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.msg import ClockModel, Gesture, SpikeTensor
from neuro_ros.nodes import qos
from neuro_ros.nodes.recorder import RecorderNode


class Scene:
    """A recorder, and publishers that stand for the graph."""

    def __init__(self, bed, path, **parameters):
        self.bed = bed
        make = bed.tester.create_publisher
        self.model = make(ClockModel, "clock/model", qos.publisher_qos("clock/model"))
        self.model.publish(ClockModel(state=ClockModel.LOCKED))  # before anybody listens: latched
        self.recorder = bed.make(RecorderNode, parameters={"path": str(path), **parameters})
        self.spikes = make(SpikeTensor, "spikes", qos.publisher_qos("spikes"))
        self.gesture = make(Gesture, "gesture", qos.publisher_qos("gesture"))
        self.diagnostics = make(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        for publisher in (self.spikes, self.gesture, self.diagnostics):
            bed.until(lambda publisher=publisher: publisher.get_subscription_count() >= 1)

    def written(self, topic):
        return self.recorder._bag.written[topic]

    def play(self, first, last, epoch=1):
        for number in range(first, last + 1):
            self.spikes.publish(SpikeTensor(sequence=number, epoch=epoch, data=bytes(10)))
            self.gesture.publish(Gesture(sequence=number, epoch=epoch, label="air_drums"))
        self.bed.until(lambda: self.written("gesture") >= last + 1)

    def tell(self, state, last_sequence=-1, epoch=1, message=""):
        values = {"state": state, "last_sequence": last_sequence, "epoch": epoch}
        status = DiagnosticStatus(
            name="event_camera: source",
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        self.diagnostics.publish(DiagnosticArray(status=[status]))

    def until_end(self, timeout_s=10.0):
        self.bed.until(lambda: self.recorder.exit_code is not None, timeout_s)
        return self.recorder.exit_code


def test_every_message_is_kept_in_order_with_its_time(bed, tmp_path, capfd):
    scene = Scene(bed, tmp_path / "bag")
    before = scene.recorder.get_clock().now().nanoseconds
    for number in range(50):
        scene.spikes.publish(SpikeTensor(sequence=number, data=bytes([number])))
        bed.executor.spin_once(timeout_sec=0.01)
    bed.until(lambda: scene.written("spikes") == 50)
    bed.until(lambda: scene.written("clock/model") == 1)
    after = scene.recorder.get_clock().now().nanoseconds
    scene.recorder.stop_requested()
    assert scene.recorder.exit_code == 0
    with Bag(tmp_path / "bag") as bag:
        messages = [m for m in bag.messages() if m.topic == f"{bed.namespace}/spikes"]
    assert [m.message.sequence for m in messages] == list(range(50))
    assert [bytes(m.message.data) for m in messages] == [bytes([n]) for n in range(50)]
    times = [m.time_ns for m in messages]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= after
    printed = capfd.readouterr().err
    assert "windows 50  gestures 0  last -  lost 0  clock LOCKED" in printed
    with Reader(tmp_path / "bag") as reader:
        latched = {c.topic for c in reader.connections if c.ext.offered_qos_profiles[0].durability.name != "VOLATILE"}
    kept = ("clock/model", "thermal/compensation", "rollout", "canary/report")
    assert latched == {f"{bed.namespace}/{name}" for name in kept}


def test_it_ends_by_itself_after_the_last_gesture(bed, tmp_path):
    scene = Scene(bed, tmp_path / "bag", until_finished=True)
    scene.tell("running", 5)
    scene.play(0, 8)
    scene.tell("finished", 9)
    bed.spin()
    assert scene.recorder.exit_code is None
    scene.play(9, 9)
    assert scene.until_end() == 0
    assert scene.written("gesture") == 10


def test_a_recording_without_windows_ends_too(bed, tmp_path):
    scene = Scene(bed, tmp_path / "bag", until_finished=True)
    scene.tell("finished", -1)
    assert scene.until_end() == 0


def test_the_progress_line_tells_what_the_graph_waits_for(bed, tmp_path, capfd):
    scene = Scene(bed, tmp_path / "bag")
    values = {"state": "unconfigured", "asked": "configure", "depends_on": ""}
    status = DiagnosticStatus(
        name="lifecycle_manager: event_camera",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    scene.diagnostics.publish(DiagnosticArray(status=[status]))
    bed.until(lambda: scene.written("/diagnostics") >= 1)
    scene.recorder._shown_s = 0.0
    scene.recorder._show(100.0)
    assert "waiting for event_camera to configure (the first run compiles, about a minute)\n" in capfd.readouterr().err
    scene.play(0, 0)
    scene.recorder._show(200.0)
    assert "windows 1  gestures 1  last air_drums" in capfd.readouterr().err


def test_a_gesture_that_never_comes_is_an_error_in_time(bed, tmp_path, capfd):
    scene = Scene(bed, tmp_path / "bag", until_finished=True, finish_timeout_s=0.3)
    scene.play(0, 3)
    scene.tell("finished", 3, epoch=2)  # of another activation
    assert scene.until_end() == 1
    line = "no gesture for the last window (3 of epoch 2) within 0.3 s of the end of the recording"
    assert line in capfd.readouterr().err
    with Bag(tmp_path / "bag") as bag:
        assert sum(1 for _ in bag.messages()) > 8


def test_a_source_that_fails_ends_it_with_an_error(bed, tmp_path, capfd):
    scene = Scene(bed, tmp_path / "bag", until_finished=True)
    scene.tell("failed", message="file is truncated")
    assert scene.until_end() == 1
    assert "the source has failed: file is truncated" in capfd.readouterr().err


def test_a_full_queue_is_counted_and_shown(bed, tmp_path, capfd):
    scene = Scene(bed, tmp_path / "bag", queue_bytes=1024)
    health = bed.collect(DiagnosticArray, "/diagnostics")
    scene.recorder._bag.dropped["spikes"] += 3
    bed.until(lambda: any(s.name == "recorder: bag" and s.level == b"\1" for m in health for s in m.status))
    scene.recorder.stop_requested()
    assert "messages lost: spikes 3" in capfd.readouterr().err


def test_topics_of_ones_own(bed, tmp_path):
    bed.make(
        RecorderNode,
        parameters={"path": str(tmp_path / "bag"), "topics": ["a:std_msgs/msg/String", "b:nowhere/msg/Thing"]},
    ).stop_requested()
    with Reader(tmp_path / "bag") as reader:
        assert [c.topic for c in reader.connections] == [f"{bed.namespace}/a"]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "path: is empty"),
        ({"path": "x", "topics": ["a"]}, "is not topic:package/msg/Type"),
        ({"path": "x", "topics": ["a:std_msgs/msg/String", "a:std_msgs/msg/String"]}, "stands twice"),
        ({"path": "x", "finish_timeout_s": -1.0}, "finish_timeout_s"),
    ],
)
def test_bad_parameters_end_the_start(bed, parameters, text):
    with pytest.raises(ParameterError, match=text):
        bed.make(RecorderNode, parameters=parameters)


def test_a_bag_that_exists_ends_the_start(bed, tmp_path):
    with pytest.raises(BagWriteError, match="exists already"):
        bed.make(RecorderNode, parameters={"path": str(tmp_path)})
