# SPDX-License-Identifier: Apache-2.0
"""A roll-out on the whole graph as separate processes: the demo in reduced form, the command, and a kill on the way."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neuro_ros.bringup.trial_models import write_sound
from neuro_ros.snn import load_model

MODEL = Path(__file__).parent.parent / "data" / "replay" / "small.safetensors"
START_S = 60.0


def command(*arguments):
    return [sys.executable, "-m", "neuro_ros.cli", "rollout", *map(str, arguments)]


def test_the_demo_promotes_the_good_one_and_rolls_the_faulty_one_back(spawn, tmp_path):
    # The shipped model: one without output spikes is as good as another.
    demo = spawn([sys.executable, "-m", "neuro_ros.bringup.rollout_demo", "--out", tmp_path, "--windows", "60"])
    assert demo.wait(240.0) == 0, demo.output
    changes = re.findall(r"^ +\+[\d.]+ s +(\w+ to \w+) +(\w+)", demo.output, re.MULTILINE)
    assert changes == [
        ("BASELINE to SHADOW", "command"),
        ("SHADOW to CANARY", "rule"),
        ("CANARY to PROMOTED", "rule"),
        ("PROMOTED to SHADOW", "command"),
        ("SHADOW to PROMOTED", "command"),
        ("PROMOTED to ROLLED_BACK", "rule"),
    ]
    assert re.search(r"windows +\d+, 0 without an answer, 0 answered twice, 0 lost", demo.output)


def test_without_a_graph_the_command_says_so_in_one_line(spawn):
    child = spawn(command("status", "--timeout", 0.2))
    assert child.wait(START_S) == 2
    assert re.fullmatch(r"neuro_ros: no graph is running here: .*switch_model did not appear .*", child.output)


@pytest.mark.long
def test_the_command_and_a_killed_network(spawn, eventually, tmp_path):
    """Long, because two of the processes have to come up twice."""
    sound = write_sound(load_model(MODEL), tmp_path / "sound.safetensors")
    up = [sys.executable, "-m", "neuro_ros.cli", "up", "--model", MODEL, "--state", tmp_path / "state"]
    graph = spawn([*up, "--log-dir", tmp_path / "logs", "--set", f"snn_inference.model_folders={tmp_path}"])

    def ask(*arguments):
        done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else {"message": done.stderr}

    def asked(*arguments):
        code, answer = ask(*arguments)
        return answer if code == 0 else None

    answer = eventually(lambda: asked("shadow", tmp_path / "sound.safetensors"), START_S, what="the shadow")
    assert (answer["phase"], answer["candidate_id"]) == ("SHADOW", sound.model_id)
    code, answer = ask("shadow", tmp_path / "sound.safetensors")
    assert (code, answer["accepted"]) == (1, False)
    assert ask("promote")[1]["live_id"] == sound.model_id
    (pid,) = [
        int(pid)
        for pid in Path(f"/proc/{graph.pid}/task/{graph.pid}/children").read_text().split()
        if b"\0snn_inference\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    eventually((tmp_path / "state" / "rollout.json").is_file, what="the record")
    os.kill(pid, signal.SIGKILL)
    graph.wait_for("snn_inference: was ended by SIGKILL", 10.0)

    def promoted():
        found = asked("status")
        return found if found and found["phase"] == "PROMOTED" else None

    answer = eventually(promoted, START_S, what="the restart")
    assert (answer["live_id"], answer["previous_id"]) == (sound.model_id, load_model(MODEL).model_id)
    answer = eventually(lambda: asked("rollback"), START_S, what="the roll-back")
    assert (answer["phase"], answer["live_id"]) == ("ROLLED_BACK", load_model(MODEL).model_id)
    assert [entry["after"] for entry in answer["history"]][-2:] == ["PROMOTED", "ROLLED_BACK"]
    assert graph.stop(timeout_s=60.0) == 0, graph.output
