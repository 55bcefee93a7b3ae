# SPDX-License-Identifier: Apache-2.0
"""Packets of a publisher process through the middleware: the windows are the file's, whatever the encoding."""

import importlib.util
import signal
import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image

from neuro_ros.events import Geometry, WindowDigest, Windower, decode_tensor, open_recording
from neuro_ros.msg import ExternalTrigger, SpikeTensor
from neuro_ros.nodes import qos
from neuro_ros.nodes.event_camera import EventCameraNode

DATA = Path(__file__).resolve().parents[1] / "data"
BAGS = (
    "test_events_1",
    "test_data_evt3_trigger",
    "test_data_libcaer_rollover_cut",
    "test_events_2_cut",
    "test_data_mono_cd",
)
SIDE = 32
LENGTH_NS = 50_000_000
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("event_camera_msgs") is None,
    reason="event_camera_msgs is not built: make test builds test/workspace",
)


def read_windows(path):
    """Return the windows of a file, its last one apart, and how many events and triggers it holds."""
    with open_recording(path) as recording:
        size = (recording.width, recording.height)
        windower = Windower(LENGTH_NS, 10, Geometry.fit(*size, SIDE, SIDE), *size, max_gap_ns=10**10)
        windows, events, triggers = [], 0, 0
        for batch in recording.batches():
            windows += windower.push(batch)
            events += len(batch.events)
            triggers += len(batch.triggers)
        return windows, events, triggers


def publish(bed, spawn, node, bag, *options):
    """Start a process that publishes a bag's packets once both sides know each other, so that none is lost unheard."""
    module = "neuro_ros.nodes.packet_publisher"
    topic = f"{bed.namespace}/events"
    child = spawn([sys.executable, "-m", module, str(bag), "--topic", topic, "--on-signal", *options])
    child.wait_for("waiting")
    bed.until(lambda: node.reader.publishers == 1, what="the driver to be known")
    child.send_signal(signal.SIGUSR1)
    return child


@pytest.mark.parametrize("bag", BAGS)
def test_a_bag_published_by_another_process_makes_the_windows_of_the_file(bag, bed, spawn):
    windows, events, triggers = read_windows(DATA / bag)
    node = bed.make(
        EventCameraNode,
        parameters={
            "source": "topic",
            "width": SIDE,
            "height": SIDE,
            "frame_id": "",
            "idle_grace_s": 0.0,  # the windows are closed by events alone, as in the file
            "overload.packets": 4096,  # a slow computer shall be slow here, not lossy
        },
    )
    spikes = bed.collect(SpikeTensor, "spikes", 1000)
    edges = bed.collect(ExternalTrigger, "events/trigger", 10000)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    bed.until(lambda: node.subscription_count("spikes") == 1 and node.subscription_count("events/trigger") == 1)
    publish(bed, spawn, node, DATA / bag, "--rate", "0.5")
    account = node.core.account
    bed.until(lambda: account.events_read == events, 60.0, f"{events} events")
    bed.until(lambda: len(spikes) == len(windows), 20.0, f"{len(windows)} windows")
    assert [message.sequence for message in spikes] == list(range(len(windows)))
    assert account.events_sent + account.events_pending == events
    assert sum(account.events_dropped.values()) == 0
    received, expected = WindowDigest(), WindowDigest()
    for message, window in zip(spikes, windows, strict=True):
        data = bytes(message.data)
        cells = message.bins * message.channels * message.height * message.width
        received.update(message.sensor_start_ns, decode_tensor(message.encoding, data, cells))
        expected.update(window.start_ns, window.bitmap)
        assert (message.events_in, message.events_binned, message.complete) == (
            window.events_in,
            window.events_binned,
            window.complete,
        )
    assert received.hexdigest() == expected.hexdigest()
    bed.until(lambda: len(edges) == triggers, 20.0, f"{triggers} triggers")


def test_a_driver_that_stops_and_comes_back_is_followed(bed, spawn):
    """Another process takes the driver's place: the numbers start over and every event is accounted for."""
    bag = DATA / "test_events_1"
    _, events, _ = read_windows(bag)
    node = bed.make(EventCameraNode, parameters={"source": "topic", "width": SIDE, "height": SIDE, "frame_id": "eye"})
    diagnostics = bed.collect(DiagnosticArray, "/diagnostics", 1000)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    account = node.core.account
    for times in (1, 2):
        child = publish(bed, spawn, node, bag)
        bed.until(lambda total=times * events: account.events_read == total, 60.0, f"{times} times {events} events")
        child.stop()
        bed.until(lambda: node.reader.publishers == 0, what="the driver to be gone")

    def last(name):
        return next(
            {item.key: item.value for item in status.values}
            for message in reversed(diagnostics)
            for status in message.status
            if status.name.endswith(f"event_camera: {name}")
        )

    diagnostics.clear()
    bed.until(lambda: diagnostics and last("source")["restarts"] == "1", what="the restart in the diagnostics")
    assert last("source")["packets_lost"] == "0"
    assert account.events_read == account.events_sent + account.events_pending + sum(account.events_dropped.values())


def test_a_picture_is_published_while_somebody_looks(bed):
    node = bed.make(EventCameraNode, parameters={"source": "simulator", "width": SIDE, "height": SIDE})
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    pictures = []
    viewer = bed.tester.create_subscription(
        Image, "spikes/image", pictures.append, qos.subscription_qos("spikes/image")
    )
    bed.until(lambda: pictures, what="a picture")
    assert (pictures[0].height, pictures[0].width, pictures[0].step) == (4 * SIDE, 4 * SIDE, 12 * SIDE)
    assert (pictures[0].encoding, len(pictures[0].data)) == ("rgb8", 48 * SIDE * SIDE)
    bed.tester.destroy_subscription(viewer)
    drawn = []
    bed.until(lambda: node.subscription_count("spikes/image") == 0, what="the viewer to be gone")
    publisher = node._outputs["spikes/image"]
    publisher.publish = drawn.append
    sent = node.core.account.windows_sent
    bed.until(lambda: node.core.account.windows_sent > sent + 2, what="more windows")
    assert drawn == []
