# SPDX-License-Identifier: Apache-2.0
"""The snn_inference node in process: life, windows in and gestures out, saved states, services."""

import functools
import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from neuro_ros.cores.messages import Header
from neuro_ros.cores.messages import SpikeTensor as Window
from neuro_ros.events import encode_tensor
from neuro_ros.msg import ClockModel, Gesture, SnnTelemetry, SpikeTensor, ThermalCompensation
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.snn_inference import SnnInferenceNode
from neuro_ros.snn import (
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    create_engine,
    load_model,
    load_state,
    save_model,
    save_state,
)
from neuro_ros.srv import LoadState, SaveState

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
LENGTH_NS = 50_000_000
SHAPE = (10, 2, 8, 8)
CELLS = int(np.prod(SHAPE))


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Return a model that counts: cell x of row 0 feeds class x, two input spikes make one output spike."""
    weight = np.zeros((3, 2 * 8 * 8), np.int16)
    for k in range(3):
        weight[k, k] = 64
    network = Network([Layer("out", Dense(weight), Lif(du=4095, dv=0, vth=100))], SHAPE[1:])
    path = tmp_path_factory.mktemp("models") / "counting.safetensors"
    save_model(Model(network, ["a", "b", "c"], LENGTH_NS, SHAPE[0], "counting"), path)
    return str(path)


@pytest.fixture
def inference(bed, model_file):
    """Return a function that makes the node, and one that gives it windows as a camera would."""
    return functools.partial(_make, bed, model_file)


def _make(bed, model_file, **values):
    return bed.make(SnnInferenceNode, parameters={"model": model_file, **values})


class Camera:
    """Publishes windows, once the node listens."""

    def __init__(self, bed, epoch=7):
        self.bed, self.epoch, self.sequence = bed, epoch, 0
        self.publisher = bed.tester.create_publisher(SpikeTensor, "spikes", qos.publisher_qos("spikes"))

    def send(self, *cells, **changes):
        self.bed.until(lambda: self.publisher.get_subscription_count() == 1, what="the node's subscription")
        dense = np.zeros(SHAPE, np.uint8)
        for number, x in cells:
            dense[number, 0, 0, x] = 1
        encoding, data = encode_tensor(np.packbits(dense.ravel()), CELLS)
        start_ns = self.sequence * LENGTH_NS
        window = Window(
            header=Header(self.bed.tester.get_clock().now().nanoseconds, "eye"),
            sequence=self.sequence,
            epoch=self.epoch,
            closed_at=self.bed.tester.get_clock().now().nanoseconds,
            sensor_start_ns=start_ns,
            sensor_end_ns=start_ns + LENGTH_NS,
            bins=SHAPE[0],
            channels=SHAPE[1],
            height=SHAPE[2],
            width=SHAPE[3],
            encoding=encoding,
            active=int(dense.sum()),
            complete=True,
            data=data,
        )
        for name, value in changes.items():
            setattr(window, name, value)
        self.publisher.publish(conversion.to_ros(window))
        self.sequence += 1


ONE = ((0, 0),)
TWO = ((0, 0), (1, 0))


def up(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    return node


def listen(bed, node):
    """Subscribe to gestures and wait until the node knows."""
    gestures = bed.collect(Gesture, "gesture", qos.WINDOWS)
    bed.until(lambda: node.subscription_count("gesture") == 1, what="our subscription")
    return gestures


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


# --- saved states -----------------------------------------------------------------------------------------------------
def test_deactivation_saves_and_configure_restores(bed, inference, tmp_path):
    directory = tmp_path / "states"
    node, camera = up(inference(state_directory=str(directory))), Camera(bed)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 1)
    assert node.trigger_deactivate() == SUCCESS
    (path,) = directory.iterdir()
    state = load_state(path, node.core.model)
    assert (state.stream_id, state.sequence, state.epoch) == ("eye", 0, 7)
    bed.remove(node)

    node = up(inference(state_directory=str(directory)))
    camera.sequence += 4  # what a restarted node has missed
    bed.until(lambda: node.subscription_count("gesture") == 1)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 2)
    assert list(gestures[1].spike_counts) == [1, 0, 0]
    assert node.core.counters.lost == 4


def test_restoring_can_be_turned_off_and_a_bad_state_is_left_alone(bed, inference, tmp_path, capfd):
    directory = tmp_path / "states"
    node, camera = up(inference(state_directory=str(directory))), Camera(bed)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 1)
    assert node.trigger_deactivate() == SUCCESS
    bed.remove(node)
    node = inference(state_directory=str(directory), restore_state=False)
    assert node.trigger_configure() == SUCCESS
    assert node.core.stream_ids == ()
    bed.remove(node)
    (path,) = directory.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    capfd.readouterr()
    node = inference(state_directory=str(directory))
    assert node.trigger_configure() == SUCCESS
    assert node.core.stream_ids == ()
    assert "saved state not taken up" in capfd.readouterr().err


def test_states_are_saved_periodically(bed, inference, tmp_path):
    directory = tmp_path / "states"
    node, camera = up(inference(state_directory=str(directory), state_save_period_s=0.05)), Camera(bed)
    gestures, telemetry = listen(bed, node), bed.collect(SnnTelemetry, "snn/telemetry")
    camera.send(*ONE)
    bed.until(lambda: gestures)
    bed.until(lambda: list(directory.glob("state-eye.safetensors")), what="the file")
    bed.until(lambda: telemetry and 0.0 <= telemetry[-1].state_save_age_s < 5.0, what="its age")


def test_the_states_before_are_kept_and_stand_in_for_a_damaged_one(bed, inference, tmp_path, capfd):
    directory = tmp_path / "states"
    node, camera = up(inference(state_directory=str(directory), state_keep=3)), Camera(bed)
    gestures, diagnostics = listen(bed, node), bed.collect(DiagnosticArray, "/diagnostics")
    for count in (1, 2):
        camera.send(*ONE)
        bed.until(lambda: len(gestures) == count)  # noqa: B023 - waited for at once
        assert bed.call(SaveState, "snn_inference/save_state", SaveState.Request()).success
    assert node.trigger_deactivate() == SUCCESS  # saves once more
    names = [f"state-eye{mark}.safetensors" for mark in ("", "~1", "~2")]
    assert sorted(path.name for path in directory.iterdir()) == sorted(names)
    assert [load_state(directory / name).sequence for name in names] == [1, 1, 0]
    bed.until(lambda: _value(diagnostics, "state", "saves") == "3", what="the count of saves")
    assert (
        0.0 < float(_value(diagnostics, "state", "write_s")) <= float(_value(diagnostics, "state", "write_longest_s"))
    )
    assert 0.0 < float(_value(diagnostics, "state", "snapshot_s")) < 1.0
    bed.remove(node)
    (directory / names[0]).write_bytes(b"half of a state")
    capfd.readouterr()
    node = inference(state_directory=str(directory))
    assert node.trigger_configure() == SUCCESS
    assert node.core.snapshot("eye").sequence == 1
    assert names[0] in capfd.readouterr().err


def _value(diagnostics, status, key):
    """Return the last value of a key in a status of the node."""
    found = [
        entry.value
        for message in diagnostics
        for part in message.status
        if part.name.endswith(f"snn_inference: {status}")
        for entry in part.values
        if entry.key == key
    ]
    return found[-1] if found else None


def test_no_space_is_told_and_the_old_file_is_whole(bed, inference, tmp_path, monkeypatch):
    directory = tmp_path / "states"
    node, camera = up(inference(state_directory=str(directory))), Camera(bed)
    gestures, diagnostics = listen(bed, node), bed.collect(DiagnosticArray, "/diagnostics")
    camera.send(*ONE)
    bed.until(lambda: gestures)
    assert bed.call(SaveState, "snn_inference/save_state", SaveState.Request()).success
    (path,) = directory.iterdir()
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _disk_full)
    monkeypatch.setattr("os.replace", _disk_full)
    answer = bed.call(SaveState, "snn_inference/save_state", SaveState.Request())
    assert not answer.success
    assert "space" in answer.message.lower()
    assert path.read_bytes() == before
    bed.until(
        lambda: any(
            status.name.endswith("snn_inference: state") and status.level == b"\2"
            for message in diagnostics
            for status in message.status
        ),
        what="an ERROR in the diagnostics",
    )


def _disk_full(*_arguments, **_keywords):
    raise OSError(28, "No space left on device")


def test_save_and_load_by_service(bed, inference, tmp_path):
    node, camera = up(inference(state_directory=str(tmp_path))), Camera(bed)
    gestures = listen(bed, node)
    answer = bed.call(SaveState, "snn_inference/save_state", SaveState.Request())
    assert not answer.success
    assert "no state" in answer.message
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 1)
    answer = bed.call(SaveState, "snn_inference/save_state", SaveState.Request(path="half.safetensors"))
    assert answer.success, answer.message
    assert answer.path == str(tmp_path / "half.safetensors")
    assert answer.digest == hashlib.sha256(Path(answer.path).read_bytes()).hexdigest()
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 2)  # spiked: at rest again
    loaded = bed.call(LoadState, "snn_inference/load_state", LoadState.Request(path="half.safetensors"))
    assert loaded.success, loaded.message
    assert loaded.digest == answer.digest
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 3)
    assert [gesture.spike_counts[0] for gesture in gestures] == [0, 1, 1]


def test_a_state_of_another_model_is_taken_over_where_asked(bed, inference, tmp_path, model_file):
    """The camera's network is replaced by one whose first layer is the same."""
    first = load_model(model_file)
    state = create_engine(first).state().labelled("eye", 3, 4 * LENGTH_NS, 7)
    state.layers[0].v[:] = 64 << 6  # one more spike at the input makes it fire
    save_state(state, tmp_path / "old.safetensors")
    out = Layer("second", Dense(np.eye(3, dtype=np.int16) * 200), Lif(du=4095, dv=0, vth=100))
    path = tmp_path / "deeper.safetensors"
    save_model(Model(Network([*first.network.layers, out], SHAPE[1:]), ["a", "b", "c"], LENGTH_NS, SHAPE[0]), path)
    node, camera = up(inference(model=str(path), state_directory=str(tmp_path))), Camera(bed)
    gestures = listen(bed, node)
    answer = bed.call(LoadState, "snn_inference/load_state", LoadState.Request(path="old.safetensors"))
    assert (answer.success, "belongs to model counting-" in answer.message) == (False, True)
    answer = bed.call(LoadState, "snn_inference/load_state", LoadState.Request(path="old.safetensors", migrate=True))
    assert answer.success, answer.message
    assert "layer 'second' is not in the state: it starts at rest" in answer.message
    camera.send(*ONE)
    bed.until(lambda: gestures)
    assert list(gestures[0].spike_counts) == [1, 0, 0], "at rest, one spike would not have been enough"


def test_the_clock_of_the_camera_is_saved_with_the_state(bed, inference, tmp_path):
    node, camera = up(inference(state_directory=str(tmp_path))), Camera(bed)
    publisher = bed.tester.create_publisher(ClockModel, "clock/model", qos.publisher_qos("clock/model"))
    model = ClockModel(clock_id="eye", reference_sensor_ns=5, reference_host_ns=9, skew_ppb=1.5, sigma_ns=20.0, state=2)
    model.header.frame_id = "eye"
    publisher.publish(model)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: gestures)

    def saved():
        answer = bed.call(SaveState, "snn_inference/save_state", SaveState.Request())
        return load_state(answer.path).clock

    clock = bed.until(saved, what="the clock in the state")
    assert (clock.clock_id, clock.reference_host_ns, clock.skew_ppb, clock.state) == ("eye", 9, 1.5, "LOCKED")


@pytest.mark.parametrize(
    "path", ["../outside.safetensors", "/tmp/outside.safetensors", "link/x", ".", "a\0b"], ids=repr
)
def test_paths_outside_the_state_directory_are_refused(bed, inference, tmp_path, path):
    directory = tmp_path / "states"
    directory.mkdir()
    (directory / "link").symlink_to(tmp_path)
    node, camera = up(inference(state_directory=str(directory))), Camera(bed)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: gestures)
    if "\0" not in path:  # the middleware itself cannot carry that one
        for service, kind in (("save_state", SaveState), ("load_state", LoadState)):
            answer = bed.call(kind, f"snn_inference/{service}", kind.Request(path=path))
            assert not answer.success
            assert "state_directory" in answer.message
    assert not (tmp_path / "outside.safetensors").exists()
    assert not (tmp_path / "x").exists()


def test_a_state_that_is_missing_or_of_another_model_changes_nothing(bed, inference, tmp_path):
    node, camera = up(inference(state_directory=str(tmp_path))), Camera(bed)
    gestures = listen(bed, node)
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 1)
    (tmp_path / "foreign.safetensors").write_bytes(b"no state")
    for path in ("missing.safetensors", "foreign.safetensors"):
        answer = bed.call(LoadState, "snn_inference/load_state", LoadState.Request(path=path))
        assert not answer.success
        assert path in answer.message
    camera.send(*ONE)
    bed.until(lambda: len(gestures) == 2)
    assert list(gestures[1].spike_counts) == [1, 0, 0]


def test_without_a_state_directory_services_refuse(bed, inference):
    up(inference())
    for service, kind in (("save_state", SaveState), ("load_state", LoadState)):
        answer = bed.call(kind, f"snn_inference/{service}", kind.Request(path="x"))
        assert not answer.success
        assert answer.message
