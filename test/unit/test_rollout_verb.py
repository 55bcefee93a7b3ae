# SPDX-License-Identifier: Apache-2.0
"""The verb rollout, and what a roll-out is tried with, as far as no graph is needed."""

import json
import sys

import numpy as np
import pytest

from neuro_ros.bringup import rollout_demo, switching
from neuro_ros.bringup.trial_models import write_faulty, write_sound
from neuro_ros.canary import Command, Phase
from neuro_ros.cli.command import main
from neuro_ros.errors import UsageError
from neuro_ros.resources import message_definition_paths, models_directory
from neuro_ros.snn import load_model

ANSWER = {
    "accepted": True, "phase": 2, "message": "", "live_id": "a-1", "candidate_id": "b-2", "previous_id": "",
    "share": 0.25, "reason": "CANARY was asked for",
    "history": [json.dumps({
        "at_ns": 1_700_000_000_100_000_000, "before": "BASELINE", "after": "SHADOW", "cause": "command",
        "reason": "SHADOW was asked for", "live_id": "a-1", "candidate_id": "b-2",
    })],
}  # fmt: skip

#: Stands in for the child process with rclpy: says what it was asked, and answers from a file.
CHILD = """
import json, sys
for line in sys.stdin:
    sys.stderr.write(line)
    print(open(sys.argv[1]).read().strip(), flush=True)
"""


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """Return a function that sets the answer of the graph."""
    file, program = tmp_path / "answer", tmp_path / "child.py"
    program.write_text(CHILD)
    real = switching.subprocess.Popen

    def popen(command, **options):
        assert command[1:3] == ["-m", "neuro_ros.nodes.switch_client"]
        return real([sys.executable, str(program), str(file)], **options)

    monkeypatch.setattr(switching.subprocess, "Popen", popen)
    monkeypatch.setattr(switching, "check_ros", lambda: None)
    return lambda answer: file.write_text(json.dumps(answer))


def test_names_and_numbers_are_those_of_the_service():
    text = message_definition_paths()["neuro_ros/srv/SwitchModel"].read_text()
    for name, number in switching.COMMANDS.items():
        assert f"uint8 {name.upper()}={number}" in text
    assert {command.name.lower() for command in Command} == set(switching.COMMANDS) - {"status"}
    assert tuple(phase.name for phase in Phase) == switching.PHASES


def test_an_answer_for_people_and_for_machines(answered, capfd):
    answered(ANSWER)
    assert main(["rollout", "status"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(err) == {"command": 6}
    assert "phase      CANARY" in out
    assert "candidate  b-2, published for 25.0% of the windows" in out
    assert "BASELINE to SHADOW  command: SHADOW was asked for" in out
    assert main(["rollout", "canary", "--share", "0.25", "--for", "60", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(err) == {"command": 2, "share": 0.25, "duration_s": 60.0}
    assert (json.loads(out)["phase"], json.loads(out)["history"][0]["after"]) == ("CANARY", "SHADOW")


def test_a_path_is_made_absolute_and_a_name_is_left_to_the_graph(answered, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answered(ANSWER)
    for given, sent in (("x.safetensors", str(tmp_path / "x.safetensors")), ("gesture", "gesture")):
        main(["rollout", "shadow", given])
        assert json.loads(capfd.readouterr().err)["model_path"] == sent


def test_a_refusal_is_exit_1_and_no_graph_exit_2(answered, capfd):
    answered({**ANSWER, "accepted": False, "message": "PROMOTE does not fit phase BASELINE"})
    assert main(["rollout", "promote"]) == 1
    assert "promote refused: PROMOTE does not fit phase BASELINE" in capfd.readouterr().err
    answered({"error": "no graph is running here"})
    assert main(["rollout", "status"]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == "neuro_ros: no graph is running here"


@pytest.mark.parametrize(
    "arguments",
    [(), ("land",), ("shadow",), ("canary", "--share", "0"), ("canary", "--share", "1.5"), ("canary", "--share", "nan"),
     ("canary", "--for", "-1"), ("status", "--timeout", "0")],
    ids=str,
)  # fmt: skip
def test_wrong_usage_is_one_line(arguments, capsys):
    assert main(["rollout", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_models_of_the_demo_differ_as_they_should(tmp_path):
    model = load_model(models_directory() / "gesture.safetensors")
    sound = write_sound(model, tmp_path / "sound.safetensors")
    faulty = write_faulty(model, tmp_path / "faulty.safetensors")
    assert len({model.model_id, sound.model_id, faulty.model_id}) == 3
    assert load_model(tmp_path / "sound.safetensors").model_id == sound.model_id
    for layer, pruned, weak in zip(model.network.layers, sound.network.layers, faulty.network.layers, strict=True):
        weight = layer.connection.weight.astype(int)
        changed = pruned.connection.weight != weight
        assert 0 < changed.sum() <= max(1, 0.01 * (weight != 0).sum())
        assert np.abs(weight[changed]).max() <= np.quantile(np.abs(weight[weight != 0]), 0.02)
        assert np.abs(weak.connection.weight - weight / 4).max() <= 1


def test_the_demo_refuses_what_is_not_its_own(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        rollout_demo.run_rollout_demo("gesture", tmp_path, 10, 0.5)
    assert rollout_demo.main(["--model", str(tmp_path / "missing.safetensors"), "--out", str(tmp_path / "out")]) == 2
    assert rollout_demo.main(["--windows", "0", "--out", str(tmp_path / "out")]) == 2
