# SPDX-License-Identifier: Apache-2.0
"""The event_camera node in process: life, sources, refusals, and what a subscriber receives."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from neuro_ros.cores.messages import EventPacket, Header
from neuro_ros.events import TRIGGER_DTYPE, open_recording
from neuro_ros.events.encodings.evt3 import Evt3Encoder
from neuro_ros.msg import ClockSample, Gesture, SpikeTensor
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.event_camera import EventCameraNode
from neuro_ros.nodes.lifecycle import LifecycleShell

BAG = str(Path(__file__).resolve().parents[1] / "data" / "test_events_1")
BAG_EVENTS = 343474
SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


@pytest.fixture
def camera(bed):
    """Return a function that makes the node; ``__`` in a name stands for the dot."""

    def make(**values):
        values = {"width": 32, "height": 32, **values}
        return bed.make(EventCameraNode, parameters={name.replace("__", "."): value for name, value in values.items()})

    return make


def statuses(messages, name):
    """Return what the diagnostics said about one status, newest last."""
    return [
        {item.key: item.value for item in status.values} | {"message": status.message, "level": status.level}
        for message in messages
        for status in message.status
        if status.name.endswith(f"event_camera: {name}")
    ]


SIMULATED = {"source": "simulator", "simulator__gestures": 1, "simulator__gesture_duration_s": 0.4}


def test_every_transition_works_twice(bed, camera):
    node = camera(**SIMULATED)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            spikes.clear()
            assert node.trigger_activate() == SUCCESS
            bed.until(lambda: spikes, what="a window")
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert node.core is None
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert node.core is None


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ((), ("activate", "deactivate", "cleanup")),
        (("configure",), ("configure", "deactivate")),
        (("configure", "activate"), ("configure", "activate", "cleanup")),
        (("shutdown",), ("configure", "activate", "deactivate", "cleanup", "shutdown")),
    ],
    ids=["unconfigured", "inactive", "active", "finalized"],
)
def test_wrong_transitions_change_nothing(bed, camera, before, wrong):
    node = camera(**SIMULATED)
    for name in before:
        assert getattr(node, f"trigger_{name}")() == SUCCESS
    state = node.state_label
    for name in wrong * 2:
        assert getattr(node, f"trigger_{name}")() == ERROR
        assert node.state_label == state


def test_deactivation_is_silent_and_releases_the_file(bed, camera):
    node = camera(source="file", path=BAG)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: spikes)
    assert node.trigger_deactivate() == SUCCESS
    count = len(spikes)
    assert node._source._recording is None
    assert node.core.state == "inactive"
    bed.spin()
    account = node.core.account
    assert account.events_pending == 0
    assert account.events_read == account.events_sent + sum(account.events_dropped.values())
    assert node.invoke("feed", None, 0) == (), "an inactive core takes nothing"
    assert len(spikes) <= count + 1


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content"),
    [("missing.raw", None), ("foreign.raw", b"hello " * 100), ("empty.raw", b""), ("cut.raw", b"% evt 3.0\n% end\n")],
)
def test_a_file_that_cannot_be_played_fails_configure(bed, camera, tmp_path, name, content, capfd):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    node = camera(source="file", path=str(path))
    for _ in range(2):
        assert node.trigger_configure() == FAILURE
        assert node.state_label == "unconfigured"
        assert node.core is None
    lines = [line for line in capfd.readouterr().err.splitlines() if name in line]
    assert len(lines) == 2, "one line for each attempt"
    assert "configure failed" in lines[0]
    path.write_bytes(Path(BAG, "test_events_1.db3").read_bytes())
    node.set_parameters([Parameter("path", value=BAG)])
    assert node.trigger_configure() == SUCCESS


def test_the_topic_source_names_the_package_that_is_missing(bed, camera, monkeypatch, capfd):
    conversion.message_class.cache_clear()
    monkeypatch.setitem(sys.modules, "event_camera_msgs", None)
    monkeypatch.setitem(sys.modules, "event_camera_msgs.msg", None)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    node = camera(source="topic")
    assert node.trigger_configure() == FAILURE
    conversion.message_class.cache_clear()
    assert "sudo apt install ros-jazzy-event-camera-msgs" in capfd.readouterr().err


def test_other_sources_do_not_need_that_package(bed, camera, monkeypatch):
    conversion.message_class.cache_clear()
    monkeypatch.setitem(sys.modules, "event_camera_msgs", None)
    monkeypatch.setitem(sys.modules, "event_camera_msgs.msg", None)
    node = camera(**SIMULATED)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    conversion.message_class.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wake.threshold_events_hz", float("nan")),
        ("wake.threshold_events_hz", -1.0),
        ("width", 100_000),
        ("bins", 0),
        ("crop.width", 5),
        ("source", "webcam"),
        ("rate", "fast"),
        ("clock_sample_rate_hz", float("inf")),
    ],
)
def test_bad_parameters_are_rejected_with_a_reason(bed, camera, name, value):
    node = camera(**SIMULATED)
    assert node.trigger_configure() == SUCCESS
    before = node.parameters
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert result.reason
    assert node.parameters == before


def test_an_unknown_parameter_is_an_error(bed, camera):
    with pytest.raises(Exception, match="no_such"):
        camera(no_such=1)


def test_a_dynamic_parameter_applies_while_active(bed, camera):
    node = camera(source="simulator")
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: spikes)
    (result,) = node.set_parameters([Parameter("wake.threshold_events_hz", value=1e9)])
    assert result.successful
    bed.until(lambda: node.core.account.windows_withheld >= 2)
    (result,) = node.set_parameters([Parameter("wake.threshold_events_hz", value=0.0)])
    bed.until(lambda: spikes[-1].windows_withheld >= 2)
    assert spikes[-1].sequence == len(spikes) - 1, "withheld windows take no number"


# --- what a subscriber receives ---------------------------------------------------------------------------------------
def test_a_recording_arrives_whole_and_says_when_it_has_ended(bed, camera):
    node = camera(source="file", path=BAG, rate=4.0, wait_for_subscribers=1)
    diagnostics = bed.collect(DiagnosticArray, "/diagnostics", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: statuses(diagnostics, "player"))
    assert "waiting for 1 subscribers" in statuses(diagnostics, "player")[-1]["message"]
    assert node.core.account.events_read == 0, "nothing is lost on nobody"
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    bed.until(lambda: node.core.state == "finished", 20.0)
    bed.until(lambda: any(item["state"] == "finished" for item in statuses(diagnostics, "source")))
    last = statuses(diagnostics, "source")[-1]
    assert int(last["events_read"]) == BAG_EVENTS
    assert int(last["last_sequence"]) == spikes[-1].sequence
    assert int(last["epoch"]) == spikes[-1].epoch
    assert [message.sequence for message in spikes] == list(range(43))
    assert sum(message.events_in for message in spikes) == BAG_EVENTS
    for message in spikes:
        assert message.events_in == message.events_binned + message.events_filtered + message.events_dropped
        assert message.complete
    assert "sensor_msgs" not in spikes[0].header.frame_id
    assert spikes[0].header.frame_id == "event_camera_optical"


def test_rate_zero_delivers_every_window(bed, camera):
    node = camera(source="file", path=BAG, rate=0.0, wait_for_subscribers=1)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.core.state == "finished" and len(spikes) == 43, 20.0)
    assert sum(message.events_in for message in spikes) == BAG_EVENTS


def test_the_simulator_publishes_truth_and_clock_samples(bed, camera):
    node = camera(**SIMULATED, wait_for_subscribers=1)
    truth, samples = bed.collect(Gesture, "truth"), bed.collect(ClockSample, "clock/sample")
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.core.state == "finished" and len(spikes) == 8, 20.0)
    bed.until(lambda: len(truth) == 8 and samples)
    assert {item.label for item in truth} == {truth[0].label}
    assert truth[0].class_index >= 0
    assert list(truth[0].spike_counts) == []
    assert [item.sequence for item in samples] == list(range(len(samples)))
    assert samples[0].clock_id == "event_camera_optical"


def test_a_new_activation_is_a_new_epoch_from_the_start(bed, camera):
    node = camera(**SIMULATED, wait_for_subscribers=1)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    epochs = []
    for _ in range(2):
        spikes.clear()
        assert node.trigger_activate() == SUCCESS
        bed.until(lambda: node.core.state == "finished" and len(spikes) == 8, 20.0)
        assert [message.sequence for message in spikes] == list(range(8))
        assert spikes[0].sensor_start_ns == 0
        epochs.append(spikes[0].epoch)
        assert node.trigger_deactivate() == SUCCESS
    assert epochs[1] > epochs[0]


def test_a_window_is_published_before_its_label(bed, camera, monkeypatch):
    published = []
    publish = LifecycleShell.publish
    monkeypatch.setattr(
        LifecycleShell,
        "publish",
        lambda self, outputs: (published.append([o.topic for o in outputs]), publish(self, outputs)),
    )
    node = camera(**SIMULATED, wait_for_subscribers=1)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.core.state == "finished" and len(spikes) == 8, 20.0)
    labelled = [topics for topics in published if "truth" in topics]
    assert sum(topics.count("spikes") for topics in labelled) == 8
    assert all(topics[: topics.count("spikes")] == ["spikes"] * topics.count("spikes") for topics in labelled)


def test_deactivation_ends_a_wait_for_subscribers(bed, camera):
    node = camera(**SIMULATED, wait_for_subscribers=5)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == SUCCESS
    assert node.core.account.events_read == 0


def hearer(bed, name, topic="spikes"):
    """Make a node that subscribes windows; return the list that fills up."""
    received = []
    node = bed.add(Node(name, context=bed.context, namespace=bed.namespace))
    node.create_subscription(SpikeTensor, topic, received.append, qos.WINDOWS)
    return received


def test_others_who_hear_windows_do_not_stand_in_for_those_that_are_waited_for(bed, camera):
    node = camera(**SIMULATED, wait_for_nodes=["network", f"{bed.namespace}/recorder", ""])
    diagnostics = bed.collect(DiagnosticArray, "/diagnostics", 1000)
    hearer(bed, "canary"), hearer(bed, "recorder"), hearer(bed, "somebody")
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.subscription_count("spikes") == 3)
    bed.until(
        lambda: (
            [item["message"] for item in statuses(diagnostics, "player")][-1:] == ["waiting for network to hear spikes"]
        )
    )
    assert node.core.account.events_read == 0
    received = hearer(bed, "network")
    bed.until(lambda: node.core.state == "finished" and len(received) == 8, 20.0)
    assert [message.sequence for message in received] == list(range(8))


def test_nodes_are_waited_for_on_a_topic_of_another_name(bed):
    parameters = {name.replace("__", "."): value for name, value in SIMULATED.items()}
    parameters |= {"width": 32, "height": 32, "wait_for_nodes": ["network"]}
    remapped = ["--ros-args", "-r", "spikes:=windows"]
    node = bed.make(EventCameraNode, parameters=parameters, cli_args=remapped)
    received = hearer(bed, "network", "windows")
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.core.state == "finished" and len(received) == 8, 20.0)


def test_a_subscription_that_cannot_be_matched_is_not_waited_for(bed, camera):
    node = camera(**SIMULATED, wait_for_nodes=["tester"])
    bed.tester.create_subscription(SpikeTensor, "spikes", lambda _message: None, qos.LATCHED)
    spikes = bed.collect(SpikeTensor, "spikes", qos.WINDOWS)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.core.state == "finished" and len(spikes) == 8, 20.0)


# --- a driver's packets -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def packet_class():
    """Return the generated class of the drivers' packets, from the test workspace or a full install."""
    found = importlib.util.find_spec("event_camera_msgs")
    if found is None:
        pytest.skip("event_camera_msgs is not built: make test builds test/workspace")
    # The loader read LD_LIBRARY_PATH before the tests could add to it; what is loaded already is found by its name.
    libraries = Path(found.submodule_search_locations[0]).parents[2]
    for part in (
        "generator_c",
        "typesupport_c",
        "typesupport_introspection_c",
        "typesupport_fastrtps_cpp",
        "typesupport_fastrtps_c",
    ):
        path = libraries / f"libevent_camera_msgs__rosidl_{part}.so"
        if path.exists():
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    return conversion.ros_class(EventPacket)


def test_packets_of_a_driver_make_the_windows_of_the_file(bed, camera, packet_class):
    """The bundled recording, sent as EVT3 packets through the middleware, accounts for the same events as the file."""
    node = camera(source="topic", frame_id="", max_gap_s=10.0, idle_grace_s=0.0)
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    driver = bed.tester.create_publisher(packet_class, "events", qos.publisher_qos("events"))
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: driver.get_subscription_count() == 1)
    bed.until(lambda: node.subscription_count("spikes") == 1)
    encoder, sent = Evt3Encoder(), 0
    with open_recording(BAG) as recording:
        for seq, batch in enumerate(recording.batches(8192)):
            payload = encoder.encode(batch.events, np.zeros(0, TRIGGER_DTYPE))
            packet = EventPacket(Header(1, "eye"), recording.height, recording.width, seq, 0, "evt3", False, payload)
            driver.publish(conversion.to_ros(packet))
            sent += len(batch.events)
            expected = sent
            bed.until(lambda n=expected: node.core.account.events_read == n, what="the packet")
    assert node.core.account.events_read == BAG_EVENTS
    # The last window is open, as a live camera's always is; all the others are the file's.
    bed.until(lambda: len(spikes) == 42)
    assert [message.sequence for message in spikes] == list(range(42))
    assert sum(message.events_in for message in spikes) + node.core.account.events_pending == BAG_EVENTS
    assert spikes[0].header.frame_id == "eye"
    assert spikes[0].clock_state == SpikeTensor.CLOCK_UNLOCKED
    assert node._failures.counters["core_errors"] == 0
