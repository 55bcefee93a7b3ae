# SPDX-License-Identifier: Apache-2.0
"""From a folder of recordings to a model with one command, and what is said when it cannot be."""

import json

import numpy as np
import pytest

from neuro_ros.cli.command import main
from neuro_ros.events import EVENT_DTYPE, create_recording
from neuro_ros.resources import models_directory
from neuro_ros.snn import load_model

# A small network on small windows: what is shown is the way, not the accuracy.
SMALL = (
    "--window-ms", "20", "--bins", "4", "--size", "8", "--layers", "dense:12", "--crop-windows", "3",
    "--learning-rate", "0.03", "--updates", "60", "--batch", "8",
)  # fmt: skip


def make_recording(path, rows, seed, milliseconds=100):
    """Write noise in some rows of a sensor of 16 x 16."""
    rng = np.random.default_rng(seed)
    events = np.zeros(40 * milliseconds, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, milliseconds * 1_000, len(events))) * 1_000
    events["x"], events["y"] = rng.integers(0, 16, len(events)), rng.integers(*rows, len(events))
    events["p"] = rng.integers(0, 2, len(events))
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_recording(path, 16, 16) as writer:
        writer.write(events)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    for label, (name, rows) in enumerate((("above", (0, 7)), ("below", (9, 16)))):
        for number in range(10):
            make_recording(root / name / f"{number}.npz", rows, 100 * label + number)
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "mine.safetensors"
    assert main(["train", "--data", str(folder), "--out", str(out), *SMALL, "--seed", "4"]) == 0
    return out


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_command_makes_a_model_its_card_and_its_record(trained, folder):
    model = load_model(trained)
    assert model.labels == ("above", "below")
    assert (model.window_length_ns, model.bins, model.network.input_shape) == (20_000_000, 4, (2, 8, 8))
    assert model.record["validation"]["accuracy"] == 1.0
    assert model.record["recordings"] == {"above": 6, "below": 6}
    assert str(folder) not in json.dumps(model.record)  # what is shared tells nothing of the disk it was made on
    assert "| 0 above | 100.0 % | 2 |" in trained.with_suffix(".md").read_text(encoding="utf-8")
    record = json.loads(trained.with_suffix(".training.json").read_text(encoding="utf-8"))
    assert record["model_id"] == model.digest
    assert record["curve"][-1]["update"] == 50


def test_equal_commands_give_equal_models_and_the_cache_changes_nothing(trained, folder, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    words = ["train", "--data", f"folder:{folder}", "--out", out, *SMALL, "--seed", 4, "--cache", tmp_path / "cache"]
    code, text, _ = run(capsys, *words, "--json")
    result = json.loads(text)
    assert code == 0
    assert result["model_id"] == load_model(trained).digest
    assert (result["accuracy"], result["split"], result["seed"]) == (1.0, "validation", 4)
    assert result["per_class"] == {"above": 1.0, "below": 1.0}
    assert len(list((tmp_path / "cache").iterdir())) == 16


def test_a_model_is_judged_on_any_split(trained, folder, capsys):
    code, text, _ = run(capsys, "evaluate", trained, "--data", folder, "--json")
    result = json.loads(text)
    assert code == 0
    assert (result["accuracy"], result["split"], result["seed"], result["recordings"]) == (1.0, "test", 0, 4)
    assert result["confusion"] == [[2, 0, 0], [0, 2, 0]]
    assert result["windows"] == 20
    assert len(result["rates"]) == 2
    _, text, _ = run(capsys, "evaluate", trained, "--data", folder, "--split", "validation")
    assert "recordings right          100.0% of 4" in text
    code, _, err = run(capsys, "evaluate", trained, "--data", folder, "--split", "hard")
    assert (code, "the split hard is empty" in err) == (2, True)


def test_unreadable_recordings_are_named_skipped_and_counted(trained, folder, tmp_path, capsys):
    for split in ("train", "test"):
        for name, rows in (("above", (0, 7)), ("below", (9, 16))):
            for number in range(4):
                make_recording(tmp_path / split / name / f"{number}.npz", rows, number)
    (tmp_path / "test" / "above" / "1.npz").write_bytes(b"nonsense")
    make_recording(tmp_path / "test" / "below" / "2.npz", (9, 16), 1, milliseconds=2)
    code, text, _ = run(capsys, "evaluate", trained, "--data", tmp_path, "--json")
    result = json.loads(text)
    assert code == 0
    assert (result["recordings"], result["skipped"]) == (6, 2)
    assert result["skipped_names"] == ["test/above/1.npz", "test/below/2.npz"]
    for path in (tmp_path / "train" / "above").iterdir():
        path.write_bytes(b"nonsense")
    code, _, err = run(capsys, "train", "--data", tmp_path, "--out", tmp_path / "m.safetensors", *SMALL)
    assert code == 2
    assert "no usable train recording of class above" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--data", "OUT/absent"], "no such file or folder"),
        (["--data", "OUT/one"], "of one class, cat"),
        (["--data", "OUT/empty"], "dog: the class folder holds no recording"),
        (["--data", "nmnist:OUT/one"], "no N-MNIST"),
        (["--data", "DATA", "--labels", "above,left"], "class folder below is not among the labels"),
        (["--data", "DATA", "--layers", "pool:2"], "'pool:2' is not understood"),
        (["--data", "DATA", "--augment", "blur=1"], "'blur' is none of"),
        (["--data", "DATA", "--augment", "drop=2"], "drop is 2.0, not within 0 and 0.99"),
        (["--data", "DATA", "--size", "3"], "must fill whole bytes"),
        (["--data", "DATA", "--bins", "3000"], "in 3000 bins cannot be"),
        (["--data", "DATA", "--subjects", "3"], "write simulated:SUBJECTS"),
        (["--data", "simulated:few"], "give the number of training subjects"),
        (["--layers", "dense:3"], "goes with --data only"),
        (["--data", "DATA", "--window-ms", "5000"], "no usable train recording"),
        (["--data", "DATA", "--test-share", "0.9"], "together below 1"),
    ],
)
def test_what_cannot_be_is_one_line(words, why, folder, tmp_path, capsys):
    make_recording(tmp_path / "one" / "cat" / "a.npz", (0, 7), 1)
    make_recording(tmp_path / "empty" / "cat" / "a.npz", (0, 7), 1)
    (tmp_path / "empty" / "dog").mkdir()
    given = [word.replace("OUT", str(tmp_path)).replace("DATA", str(folder)) for word in words]
    code, out, err = run(capsys, "-q", "train", *given, "--out", tmp_path / "m.safetensors", "--epochs", "1")
    assert (code, out) == (2, "")
    assert why in err
    assert len(err.strip().splitlines()) == 1


def test_models_and_data_sets_of_other_classes_do_not_fit(folder, capsys):
    code, _, err = run(capsys, "evaluate", models_directory() / "gesture.safetensors", "--data", folder)
    assert code == 2
    assert "class above, below is none of the model's" in err
