# SPDX-License-Identifier: Apache-2.0
"""The verb simulate: any format, any split and look, pictures, and one line for what cannot be."""

import json

import pytest

from neuro_ros.cli.command import main
from neuro_ros.events import WRITERS, open_recording
from neuro_ros.gestures import LABELS, GestureSimulator


def run(capsys, *words):
    code = main(["simulate", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_that_is_written_holds_the_same_events(form, tmp_path, capsys):
    code, out, _ = run(capsys, tmp_path, "--label", "arm_roll", "--seconds", "0.05", "--form", form, "--json")
    (file,) = json.loads(out)["files"]
    expected = GestureSimulator(seed=0, split="train").clip("arm_roll", 0.05, 0)
    assert code == 0
    with open_recording(file) as recording:
        times = [int(t) for batch in recording.batches() for t in batch.events["t"]]
    # Sensor times of some formats begin where their clock does; the distances stay.
    assert [t - times[0] for t in times] == (expected["t"] - expected["t"][0]).tolist()


def test_the_hard_split_and_single_strengths(tmp_path, capsys):
    def events(*words):
        _, out, _ = run(capsys, tmp_path, "--label", "hand_clap", "--seconds", "0.1", "--json", *words)
        result = json.loads(out)
        return result["look"], result["events"], result["files"]

    look, count, files = events("--split", "hard")
    assert look == "full"
    assert files[0].endswith("hand_clap/subject_1000000.raw")
    assert count > 500
    plain = events("--look", "plain")
    assert plain[0] == "plain"
    assert events()[0] == "full"
    assert events()[1] != plain[1]
    assert events("--look", "plain", "--shake", "2", "--clutter", "1")[1] > 1.2 * plain[1]
    assert events("--look", "plain", "--light", "dim")[1] != plain[1]
    quiet, noisy = (events("--look", "plain", "--noise-hz", noise)[1] for noise in ("0", "5"))
    assert quiet < plain[1] < noisy


def test_pictures_of_each_class(tmp_path, capsys):
    code, out, _ = run(capsys, tmp_path / "new", "--pictures", "--split", "validation", "--json")
    assert code == 0
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == sorted(f"{name}.png" for name in LABELS)
    assert json.loads(out)["labels"] == list(LABELS)
    assert all(1000 < path.stat().st_size < 60_000 for path in (tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "hard", "--look", "plain"], "no plain look"),
        (["--shake", "99"], "shake_px=99"),
        (["--seed", "-1"], "seed is -1"),
        (["--form", "mp4"], "'mp4' is not written"),
        (["--subjects", "10001"], "10001 subjects"),
        (["--noise-hz", "1e9"], "noise_hz"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(words, message, tmp_path, capsys):
    code, out, err = run(capsys, tmp_path, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, tmp_path / "file", "--seconds", "0.05")
    assert code == 2
    assert "cannot be written" in err
