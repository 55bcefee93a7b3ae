# SPDX-License-Identifier: Apache-2.0
"""The verbs simulate, train and evaluate, in their smallest form."""

import json

import pytest

from neuro_ros.cli.command import main
from neuro_ros.gestures import LABELS
from neuro_ros.resources import models_directory


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_simulate_writes_class_folders_that_info_can_read(tmp_path, capsys):
    code, out, _ = run(
        capsys, "simulate", tmp_path, "--seconds", "0.1", "--label", "hand_clap", "--label", "other", "--json"
    )
    result = json.loads(out)
    assert code == 0
    assert result["labels"] == ["hand_clap", "other"]
    assert (tmp_path / "hand_clap" / "subject_00000.raw").is_file()
    total = 0
    for file in result["files"]:
        _, out, _ = run(capsys, "info", file, "--json")
        info = json.loads(out)
        assert (info["width"], info["height"], info["errors"]) == (128, 128, 0)
        total += info["events"]
    assert total == result["events"]


def test_simulate_in_a_row_writes_the_truth(tmp_path, capsys):
    code, _, _ = run(capsys, "simulate", tmp_path, "--seconds", "0.05", "--in-a-row")
    assert code == 0
    rows = (tmp_path / "subject_00000.csv").read_text().splitlines()
    assert rows[0] == "start_ns,end_ns,label"
    assert [row.split(",")[2] for row in rows[1:]] == list(LABELS)


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "OUT", "--label", "jump"],
        ["simulate", "OUT", "--width", "4"],
        ["evaluate", "OUT/none.safetensors"],
        ["train", "--out", "OUT/none/model.safetensors"],
        ["train", "--out", "OUT/model.pt"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words, tmp_path, capsys):
    code, out, err = run(capsys, *(word.replace("OUT", str(tmp_path)) for word in words))
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1


def test_evaluate_prints_the_contracted_fields(capsys):
    model = models_directory() / "gesture.safetensors"
    code, out, _ = run(capsys, "evaluate", model, "--subjects", "1", "--seconds", "0.5", "--split", "train", "--json")
    result = json.loads(out)
    assert code == 0
    assert list(result["per_class"]) == list(LABELS)
    assert 0.0 <= result["accuracy"] <= 1.0
    assert (result["split"], result["seed"]) == ("train", 11)
