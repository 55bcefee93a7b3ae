# SPDX-License-Identifier: Apache-2.0
"""The snn_inference node in process: life, parameters, windows in and gestures out."""

import functools
import threading

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from inference_bed import ONE, TWO, Camera, listen, make_inference, save_counting_model, up
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from neuro_ros.msg import Gesture, SnnTelemetry, SpikeTensor, ThermalCompensation
from neuro_ros.nodes import qos

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Return the file of a model that counts."""
    path = tmp_path_factory.mktemp("models") / "counting.safetensors"
    save_counting_model(path)
    return str(path)


@pytest.fixture
def inference(bed, model_file):
    """Return a function that makes the node."""
    return functools.partial(make_inference, bed, model_file)


# --- life -------------------------------------------------------------------------------------------------------------
def test_every_transition_works_twice(bed, inference):
    node, camera = inference(), Camera(bed)
    gestures = bed.collect(Gesture, "gesture", qos.WINDOWS)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            bed.until(lambda: node.subscription_count("gesture") == 1, what="our subscription")
            gestures.clear()
            camera.send(*TWO)
            bed.until(lambda: gestures, what="a gesture")
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert node.core is None
        offered = [service.srv_name for service in node.services]
        assert not any(name.endswith(("save_state", "load_state", "switch_model")) for name in offered)
        assert any(name.endswith("change_state") for name in offered), "the services of the life cycle stay"
    up(node)
    assert node.trigger_shutdown() == SUCCESS
    assert node.core is None


def test_a_window_is_run_while_the_executor_does_something_else(bed, inference, eventually):
    node, camera = up(inference()), Camera(bed)
    for _ in range(3):
        camera.send(*TWO)
    eventually(lambda: node.core.counters.processed == 3, timeout_s=10.0, what="windows that nobody spun for")
    assert node.trigger_deactivate() == SUCCESS
    camera.publisher.publish(SpikeTensor())
    bed.spin()
    assert node.core.counters.received == 3, "an inactive node takes none"


def statuses(bed, name):
    """Return the values of the last diagnostics of a name, as they come."""
    found = {}

    def take(message):
        found.update({item.name: item for item in message.status})

    bed.tester.create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    return lambda: found.get(name)


def test_windows_are_not_taken_before_gestures_are_heard(bed, inference):
    listeners = statuses(bed, "snn_inference: listeners")
    node, camera = up(inference(wait_for_subscribers=1, subscriber_timeout_s=600.0)), Camera(bed)
    bed.until(listeners, what="diagnostics")
    assert listeners().message == "waiting for 1 subscribers of gesture, 0 there"
    assert camera.publisher.get_subscription_count() == 0
    gestures = bed.collect(Gesture, "gesture", qos.WINDOWS)
    for _ in range(3):
        camera.send(*TWO)  # as soon as the node listens
    bed.until(lambda: len(gestures) == 3, what="every gesture, the first one too")
    assert [gesture.sequence for gesture in gestures] == [0, 1, 2]
    bed.until(lambda: listeners().message == "1 subscribers of gesture", what="diagnostics")
    assert node.trigger_deactivate() == SUCCESS


def test_others_who_hear_gestures_do_not_stand_in_for_the_node_that_is_waited_for(bed, inference):
    listeners = statuses(bed, "snn_inference: listeners")
    node, camera = up(inference(wait_for_nodes=["recorder"], subscriber_timeout_s=600.0)), Camera(bed)
    bed.collect(Gesture, "gesture", qos.WINDOWS)
    bed.until(lambda: node.subscription_count("gesture") == 1)
    bed.until(lambda: listeners() and listeners().message == "waiting for recorder to hear gesture", what="diagnostics")
    assert camera.publisher.get_subscription_count() == 0
    recorder = bed.add(Node("recorder", context=bed.context, namespace=bed.namespace))
    recorder.create_subscription(Gesture, "gesture", lambda _message: None, qos.recorder_qos("gesture"))
    camera.send(*TWO)
    bed.until(lambda: node.core.counters.processed == 1)


def test_a_wait_for_subscribers_has_an_end(bed, inference):
    node, camera = up(inference(wait_for_subscribers=5, subscriber_timeout_s=0.1)), Camera(bed)
    camera.send(*TWO)  # waits for the node's subscription
    bed.until(lambda: node.core.counters.processed == 1)


def test_deactivation_ends_a_wait_for_subscribers(bed, inference):
    node, camera = inference(wait_for_subscribers=1, subscriber_timeout_s=600.0), Camera(bed)
    up(node)
    assert node.trigger_deactivate() == SUCCESS
    bed.collect(Gesture, "gesture", qos.WINDOWS)
    bed.until(lambda: node.subscription_count("gesture") == 1)
    bed.spin()
    assert camera.publisher.get_subscription_count() == 0, "an inactive node takes no window"
    assert node.trigger_activate() == SUCCESS
    camera.send(*TWO)
    bed.until(lambda: node.core.counters.processed == 1)


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
def test_wrong_transitions_change_nothing(inference, before, wrong):
    node = inference()
    for name in before:
        assert getattr(node, f"trigger_{name}")() == SUCCESS
    state = node.state_label
    for name in wrong * 2:
        assert getattr(node, f"trigger_{name}")() == ERROR
        assert node.state_label == state


@pytest.mark.parametrize("values", [{"model": "/no/such/model.safetensors"}, {"backend": "loihi"}], ids=str)
def test_what_is_missing_fails_configure_with_one_line(inference, model_file, values, capfd):
    node = inference(**values)
    assert node.trigger_configure() == FAILURE
    assert node.state_label == "unconfigured"
    assert node.core is None
    lines = [line for line in capfd.readouterr().err.splitlines() if "configure failed" in line]
    assert len(lines) == 1
    assert ("model.safetensors" in lines[0]) or ("loihi" in lines[0].lower())
    node.set_parameters([Parameter("model", value=model_file), Parameter("backend", value="fixed")])
    assert node.trigger_configure() == SUCCESS


def test_a_foreign_model_and_a_state_directory_that_cannot_be_made_are_refused(inference, tmp_path, capfd):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"\x80\x04pickle")
    assert inference(model=str(foreign)).trigger_configure() == FAILURE
    assert inference(state_directory=str(foreign / "below")).trigger_configure() == FAILURE
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("confidence_threshold", 1.5),
        ("confidence_threshold", float("nan")),
        ("gap_policy", "panic"),
        ("backend", "gpu"),
        ("queue_depth", 0),
        ("state_save_period_s", 1.0),
        ("max_streams", "many"),
    ],
)
def test_bad_parameters_are_rejected_and_change_nothing(inference, name, value):
    node = inference()
    assert node.trigger_configure() == SUCCESS
    before = node.parameters
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert result.reason
    assert node.parameters == before


def test_an_unknown_parameter_is_an_error(inference):
    with pytest.raises(Exception, match="no_such"):
        inference(no_such=1)


# --- windows ----------------------------------------------------------------------------------------------------------
def test_windows_become_gestures_in_order(bed, inference):
    node, camera = up(inference()), Camera(bed)
    gestures = listen(bed, node)
    for count in range(1, 31):
        camera.send(*TWO)
        bed.until(lambda n=count: len(gestures) == n, what="the gesture")
    assert [gesture.sequence for gesture in gestures] == list(range(30))
    first = gestures[0]
    assert (first.class_index, first.label, first.confidence) == (0, "a", 1.0)
    assert (first.epoch, first.header.frame_id, list(first.spike_counts)) == (7, "eye", [1, 0, 0])
    assert 0.0 < first.inference_s < first.latency_s < 5.0


def test_inactive_is_silent_and_keeps_the_state(bed, inference):
    node, camera = up(inference()), Camera(bed)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 1)
    assert node.trigger_deactivate() == SUCCESS
    bed.until(lambda: camera.publisher.get_subscription_count() == 0, what="the subscription's end")
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: node.subscription_count("gesture") == 1)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 2)
    assert list(gestures[1].spike_counts) == [1, 0, 0], "the first spike was remembered"


def test_a_window_that_does_not_fit_is_refused_and_the_node_goes_on(bed, inference):
    node, camera = up(inference()), Camera(bed)
    gestures, diagnostics = listen(bed, node), bed.collect(DiagnosticArray, "/diagnostics")
    camera.send(height=9)
    bed.until(
        lambda: any(
            status.name.endswith("snn_inference: windows") and status.level == b"\2" and "needs" in status.message
            for message in diagnostics
            for status in message.status
        ),
        what="an ERROR in the diagnostics",
    )
    camera.send(*TWO)
    bed.until(lambda: gestures)
    assert node.core.counters.refused == 1
    assert node._failures.counters["core_errors"] == 0


def test_a_full_queue_drops_the_oldest_window_and_counts_it(bed, inference):
    """The worker is held up, so windows pile up; timers and register values are not what is dropped."""
    node, camera = up(inference(queue_depth=2)), Camera(bed)
    gestures = listen(bed, node)
    held, release = threading.Event(), threading.Event()

    def hold():
        held.set()
        release.wait(20.0)

    busy = node.call(hold)
    assert held.wait(10.0)
    for _ in range(5):
        camera.send(*ONE)
    bed.until(lambda: node._driver.dropped.get("receive spikes") == 3, what="three windows dropped")
    release.set()
    busy.result(10.0)
    bed.until(lambda: len(gestures) == 2)
    assert [gesture.sequence for gesture in gestures] == [3, 4], "the newest are kept"
    camera.sequence += 1
    camera.send()
    bed.until(lambda: len(gestures) == 3)
    assert node.core.counters.lost == 1, "a gap is a loss; what was dropped before the first window is in the shell's"


def test_the_executor_answers_while_the_network_is_busy(bed, inference):
    node = up(inference())
    release = threading.Event()
    busy = node.call(lambda: release.wait(20.0))
    telemetry = bed.collect(SnnTelemetry, "snn/telemetry")
    assert bed.state("snn_inference") == 3
    release.set()
    busy.result(10.0)
    bed.until(lambda: telemetry, what="telemetry")
    assert telemetry[0].backend == "fixed"
    assert list(telemetry[0].layer) == ["out"]


def test_dynamic_parameters_apply_while_active(bed, inference):
    node, camera = up(inference(evidence_half_life_s=0.0)), Camera(bed)
    gestures = listen(bed, node)
    both = (*TWO, (0, 1), (1, 1))
    camera.send(*both)
    bed.until(lambda: len(gestures) == 1)
    (result,) = node.set_parameters([Parameter("confidence_threshold", value=0.4)])
    assert result.successful
    camera.send(*both)
    bed.until(lambda: len(gestures) == 2)
    assert [gesture.class_index for gesture in gestures] == [-1, 0]


def test_thermal_compensation_arrives_late_and_is_told(bed, inference):
    """The topic is latched, so the values in force are known to a node that starts later."""
    publisher = bed.tester.create_publisher(
        ThermalCompensation, "thermal/compensation", qos.publisher_qos("thermal/compensation")
    )
    publisher.publish(ThermalCompensation(silicon_profile="digital", compensation_id=9))
    up(inference())
    telemetry = bed.collect(SnnTelemetry, "snn/telemetry")
    bed.until(lambda: any(message.compensation_id_applied == 9 for message in telemetry), what="the compensation")
