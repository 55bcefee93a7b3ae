# SPDX-License-Identifier: Apache-2.0
"""The whole graph as separate processes, as `neuro_ros up` starts it: to the end, through a kill, and on bad input."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from neuro_ros.bringup.collect import summarise
from neuro_ros.bringup.replay import replay
from neuro_ros.events import open_recording

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
MODEL = DATA / "replay" / "small.safetensors"
RECORDING = DATA / "test_events_1"
START_S = 60.0  # seven processes import their libraries at once, on a computer that has other things to do


@pytest.fixture
def up(spawn, tmp_path):
    def start(*arguments):
        command = [
            sys.executable,
            "-m",
            "neuro_ros.cli",
            "up",
            "--model",
            str(MODEL),
            "--log-dir",
            str(tmp_path / "logs"),
        ]
        return spawn([*command, *map(str, arguments)])

    return start


@pytest.fixture
def listener(spawn):
    child = spawn([sys.executable, HERE / "listener_process.py"])
    child.wait_for("listening", START_S)
    return child


def received(listener, kind):
    """Return (epoch, sequence) of every message of a kind that the listener has printed."""
    return [tuple(map(int, m.groups())) for m in re.finditer(rf"^{kind} (\d+) (\d+)", listener.output, re.MULTILINE)]


def members(child):
    """Return the process ids of the nodes that a running `up` has started, by name."""
    found = {}
    for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"neuro_ros.nodes" in command:
            found[command[command.index(b"neuro_ros.nodes") + 1].decode()] = int(pid)
    return found


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_simulator_run_is_received_recorded_and_replayed(up, listener, eventually, tmp_path):
    bag = tmp_path / "bag"
    # Three must have every window: the network, the recorder, and the one of this test.
    graph = up(
        "--gestures", 2, "--gesture-duration-s", 1.5, "--record", bag, "--until-finished", "--listeners", 1,
        "--set", "event_camera.wait_for_nodes=snn_inference,recorder,listener",
    )  # fmt: skip
    assert graph.wait(120.0) == 0, graph.output
    listener.stop()
    windows = received(listener, "window")
    assert [sequence for _, sequence in windows] == list(range(60)), "every window, in order"
    assert received(listener, "gesture") == windows, "one gesture for each, in order"

    summary = summarise(bag)
    assert summary.problems() == []
    assert (len(summary.windows), summary.gestures, summary.epochs) == (60, 60, 1)
    assert {window.truth for window in summary.windows} - {-1}
    expected = {"/spikes", "/gesture", "/truth", "/clock/model", "/clock/sample", "/snn/telemetry", "/canary/report"}
    assert expected | {"/temperature", "/thermal/compensation", "/diagnostics"} <= set(summary.topics)

    first, second = (replay(bag, model=str(MODEL)) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.decisions == tuple((window.sequence, window.decided) for window in summary.windows)


def test_bundled_recording_loses_no_event(up, tmp_path):
    with open_recording(RECORDING) as recording:
        events = sum(len(batch.events) for batch in recording.batches())
    graph = up("--recording", RECORDING, "--record", tmp_path / "bag", "--until-finished", "--namespace", "drone")
    assert graph.wait(120.0) == 0, graph.output
    summary = summarise(tmp_path / "bag")
    assert summary.problems() == []
    assert summary.total("events_in") + summary.events_outside == events
    assert summary.gestures == len(summary.windows) > 0
    assert "/drone/spikes" in summary.topics


def test_killed_network_comes_back_and_the_loss_is_counted(up, listener, eventually, tmp_path):
    graph = up("--record", tmp_path / "bag", "--set", "event_camera.wait_for_nodes=snn_inference,recorder,listener")
    eventually(lambda: len(received(listener, "gesture")) >= 30, START_S, what="the first gestures")
    before = members(graph)
    assert set(before) >= {"event_camera", "snn_inference", "recorder", "lifecycle_manager"}
    os.kill(before["snn_inference"], signal.SIGKILL)
    graph.wait_for("snn_inference: was ended by SIGKILL", 10.0)
    answered = len(received(listener, "gesture"))
    # Two seconds of windows: the next telemetry tells of the loss.
    eventually(lambda: len(received(listener, "gesture")) >= answered + 40, START_S, what="gestures after the kill")
    after = members(graph)
    assert after["snn_inference"] != before["snn_inference"]
    assert {name: pid for name, pid in after.items() if name != "snn_inference"} == {
        name: pid for name, pid in before.items() if name != "snn_inference"
    }
    assert graph.stop(timeout_s=60.0) == 0, graph.output
    assert not any(running(pid) for pid in after.values())

    summary = summarise(tmp_path / "bag")
    assert summary.epochs == 1, "the camera was not touched"
    assert summary.windows_missing == 0
    unanswered = summary.windows_without_gesture
    assert unanswered > 0
    counted = summary.telemetry_total("windows_lost")
    # Counted from the last save on, which is a second old at most; what was answered since then is counted too.
    # Windows that were under way when the run was stopped are nobody's loss.
    assert unanswered - 5 <= counted <= unanswered + 25
    # What the killed process said last can be lost on its way to the recorder. The table tells of such windows, and of
    # nothing else.
    problems = summary.problems()
    assert unanswered > counted or problems == []
    assert all("windows without a gesture" in problem for problem in problems)


def test_a_missing_recording_is_one_line_and_starts_nothing(up, tmp_path):
    graph = up("--recording", tmp_path / "missing.raw")
    assert graph.wait(START_S) == 2
    assert graph.output.count("\n") == 0
    assert "missing.raw: No such file" in graph.output
    assert not (tmp_path / "logs").exists()


def test_a_node_that_cannot_come_up_ends_a_run_that_should_end(up, tmp_path):
    graph = up(
        "--gestures", 1, "--record", tmp_path / "bag", "--until-finished",
        "--set", "thermal_compensation.sensor=hwmon", "--set", f"thermal_compensation.sysfs_root={tmp_path}",
    )  # fmt: skip
    assert graph.wait(120.0) == 1
    assert "thermal_compensation cannot configure" in graph.output
    assert "ERROR thermal_compensation: configure failed" in graph.output


def test_demo_writes_bag_and_page(spawn, tmp_path):
    command = [sys.executable, "-m", "neuro_ros.bringup.demo", "--model", MODEL, "--out", tmp_path / "out"]
    demo = spawn([*command, "--gestures", "1"])
    assert demo.wait(120.0) == 0, demo.output
    assert re.search(r"accounting +exact", demo.output)
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "bag" / "metadata.yaml").is_file()
    garbage = tmp_path / "garbage.raw"
    garbage.write_bytes(bytes(range(256)) * 10)
    again = spawn([*command, garbage])
    assert again.wait(START_S) == 2
    assert "garbage.raw" in again.output
    assert (tmp_path / "out" / "report.html").is_file(), "a wrong argument leaves the last result alone"
