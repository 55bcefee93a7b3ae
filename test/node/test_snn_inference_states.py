# SPDX-License-Identifier: Apache-2.0
"""The snn_inference node in process: states saved and taken up, and the services for them."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from inference_bed import LENGTH_NS, ONE, SHAPE, Camera, listen, make_inference, save_counting_model, up
from rclpy.lifecycle import TransitionCallbackReturn

from neuro_ros.msg import ClockModel, SnnTelemetry
from neuro_ros.nodes import qos
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
