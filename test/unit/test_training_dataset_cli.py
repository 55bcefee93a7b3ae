# SPDX-License-Identifier: Apache-2.0
"""From a folder of recordings to a model with one command, and what is said when it cannot be."""

import errno
import itertools
import json
import math
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from made_datasets import digits, make_dvsgesture, pack

from neuro_ros.cli.command import main
from neuro_ros.events import EVENT_DTYPE, create_recording
from neuro_ros.gestures.datasets import WindowShape, open_dataset
from neuro_ros.resources import models_directory
from neuro_ros.snn import load_model
from neuro_ros.training.dataset_job import job_for, train_on_dataset
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.float_model import load_float_model, save_float_model

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


@pytest.mark.parametrize("given", [("--layers", "dense:3"), ("--arithmetic", "float")])
def test_what_the_start_decides_cannot_be_chosen(folder, trained, tmp_path, capsys, given):
    out = tmp_path / "further.safetensors"
    assert main(["train", "--data", str(folder), "--out", str(out), "--start", str(trained), *given]) != 0
    assert "start" in capsys.readouterr().err
    assert not out.exists()


def test_training_goes_on_from_a_model(folder, trained, tmp_path, capsys):
    out = tmp_path / "further.safetensors"
    words = ["--crop-windows", "3", "--batch", "8", "--seed", "5"]
    words += ["--start", str(trained)]
    assert main(["train", "--data", str(folder), "--out", str(out), "--updates", "3", *words]) == 0
    before, after = load_model(trained), load_model(out)
    assert after.record["start"]["model_id"] == before.digest
    assert (after.window_length_ns, after.bins) == (before.window_length_ns, before.bins)
    assert [each.neuron.vth for each in after.network.layers] == [each.neuron.vth for each in before.network.layers]
    assert after.record["loss_first"] < 0.7 * before.record["loss_first"]  # it knows already what it learnt
    other = tmp_path / "recordings"
    for number in range(10):
        make_recording(other / "alone" / f"{number}.npz", (0, 7), number)
        make_recording(other / "together" / f"{number}.npz", (9, 16), 50 + number)
    capsys.readouterr()
    assert main(["train", "--data", str(other), "--out", str(out), *words]) != 0
    assert "above, below" in capsys.readouterr().err


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


def test_the_optimiser_and_what_the_readouts_teach_can_be_chosen(folder, tmp_path, capsys):
    weights = []
    for number, given in enumerate(([], ["--optimiser", "muon"], ["--readout-cost", "0.5"])):
        out = tmp_path / f"{number}.safetensors"
        code, _, _ = run(capsys, "train", "--data", folder, "--out", out, *SMALL, "--updates", 20, *given)
        assert code == 0
        model = load_model(out)
        job = model.record["job"]
        assert (job["optimiser"], job["readout_cost"]) == (("adam", 0.0), ("muon", 0.0), ("adam", 0.5))[number]
        weights.append(model.network.layers[0].connection.weight.tobytes())
    assert len(set(weights)) == 3


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
    code, out, err = run(capsys, "train", *given, "--out", tmp_path / "m.safetensors", "--epochs", "1")
    assert (code, out) == (2, "")
    assert why in err
    assert len(err.strip().splitlines()) == 1


def test_models_and_data_sets_of_other_classes_do_not_fit(folder, capsys):
    code, _, err = run(capsys, "evaluate", models_directory() / "gesture.safetensors", "--data", folder)
    assert code == 2
    assert "class above, below is none of the model's" in err


def test_official_data_sets_are_trained_on_and_judged_by_their_own_splits(tmp_path, capsys):
    (tmp_path / "gestures").mkdir()
    (tmp_path / "digits").mkdir()
    make_dvsgesture(tmp_path / "gestures")
    for split, seed in (("train", 0), ("test", 500)):
        recordings, labels = digits(seed=seed, until_ns=300_000_000)
        pack(tmp_path / "digits" / f"{split}.npz", recordings, labels)
    few = ["--updates", "2", "--batch", "4", "--layers", "dense:16", "--seed", "2"]
    for folder, kind, tested in (("gestures", "dvsgesture", 22), ("digits", "nmnist-packed", 50)):
        out = tmp_path / f"{folder}.safetensors"
        code, _, _ = run(capsys, "train", "--data", tmp_path / folder, "--out", out, *few)
        assert code == 0
        code, text, _ = run(capsys, "evaluate", out, "--data", tmp_path / folder, "--json")
        result = json.loads(text)
        assert code == 0
        assert (result["data"], result["split"], result["recordings"]) == (kind, "test", tested)
    model = load_model(tmp_path / "digits.safetensors")
    assert model.network.input_shape == (2, 34, 34)
    assert model.record["job"]["augmentation"]["mirror"] is None
    assert load_model(tmp_path / "gestures.safetensors").record["job"]["augmentation"]["mirror"][1] == 2


# --- runs that end early ----------------------------------------------------------------------------------------------
def test_a_run_that_was_stopped_goes_on_to_the_same_model(trained, folder, tmp_path, capsys, monkeypatch):
    asked = iter([False] * 19 + [True])

    @contextmanager
    def stopping():
        yield lambda: next(asked, False)

    out = tmp_path / "mine.safetensors"
    curves = tmp_path / "curves.svg"
    words = ["train", "--data", folder, "--out", out, *SMALL, "--seed", "4", "--checkpoint", tmp_path]
    words += ["--curves", curves]
    with monkeypatch.context() as patch:
        patch.setattr("neuro_ros.training.run.checkpoint.stopping_on_signals", stopping)
        code, _, err = run(capsys, *words)
    assert code == 130
    assert "stopped after 20 of 60 updates" in err
    assert not out.exists()
    assert (tmp_path / "mine.checkpoint.safetensors").is_file()
    code, _, _ = run(capsys, *words, "--resume")
    assert code == 0
    assert load_model(out).digest == load_model(trained).digest
    assert "spikes a neuron and step" in curves.read_text(encoding="utf-8")
    code, _, err = run(capsys, *words, "--resume", "--batch", "4")
    assert (code, "a run with other settings" in err) == (2, True)


def test_what_is_asked_of_a_run_must_be_there(folder, tmp_path, capsys):
    words = ["train", "--data", folder, "--out", tmp_path / "mine.safetensors", *SMALL]
    for given, why in (
        (["--resume"], "--resume needs --checkpoint"),
        (["--resume", "--checkpoint", tmp_path], "no checkpoint"),
        (["--checkpoint", tmp_path / "absent"], "no folder"),
        (["--curves", tmp_path / "curve.doc"], "ending .svg, .png, .pdf"),
        (["--device", "gpu7"], "device is 'gpu7'"),
    ):
        code, out, err = run(capsys, *words, *given)
        assert (code, out) == (2, "")
        assert why in err.splitlines()[-1]


def test_without_space_the_old_model_stays(trained, folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "mine.safetensors"
    out.write_bytes(trained.read_bytes())

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("neuro_ros.snn.container.write_atomically", full)
    code, _, err = run(capsys, "train", "--data", folder, "--out", out, *SMALL[:-4], "--updates", "2")
    assert code == 2
    assert "No space left on device" in err.splitlines()[-1]
    assert out.read_bytes() == trained.read_bytes()


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(folder):
    dataset = open_dataset(folder)
    job = job_for(dataset, layers="dense:4", updates=3, share_cost=math.inf, shape=WindowShape(20_000_000, 4, 2, 8, 8))
    with pytest.raises(TrainingError, match="loss of update 0 is inf"):
        train_on_dataset(job, dataset, itertools.count().__next__)


# --- floating point first -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def floating(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("floats") / "mine.safetensors"
    assert main(["train", "--data", str(folder), "--out", str(out), *SMALL, "--arithmetic", "float"]) == 0
    return out


@pytest.mark.parametrize("tuned", [[], ["--tune-updates", "5"]])
def test_a_network_in_floating_point_is_quantised_with_what_it_cost(floating, folder, tmp_path, capsys, tuned):
    out = tmp_path / "exact.safetensors"
    code, text, _ = run(capsys, "quantise", floating, "--data", folder, "--out", out, *tuned, "--json")
    result = json.loads(text)
    assert code == 0
    assert (result["accuracy"], result["float_accuracy"], result["split"]) == (1.0, 1.0, "validation")
    assert result["per_class"] == {"above": 1.0, "below": 1.0}
    assert result["difference"]["points"] == 0.0
    assert [layer["name"] for layer in result["layers"]] == ["dense", "output"]
    for layer in result["layers"]:
        assert layer["zeros"] < 0.5
        assert layer["integer_rate"] == pytest.approx(layer["float_rate"], rel=0.2)
        assert min(layer["precision"], layer["recall"]) > 0.8
    model = load_model(out)
    assert model.record["quantised"]["tuned_updates"] == (5 if tuned else 0)
    assert all((layer.connection.weight % 2 == 0).all() for layer in model.network.layers)


def test_what_cannot_be_quantised_is_one_line(floating, trained, folder, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    other = tmp_path / "other"
    for name in ("left", "right"):
        for number in range(4):
            make_recording(other / name / f"{number}.npz", (0, 7), number)
    silent = load_float_model(floating)
    with torch.no_grad():
        silent.network.layers[0].weight.fill_(-1.0)
    save_float_model(silent, tmp_path / "silent.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(floating.read_bytes()[:-100])
    for words, why in (
        ([floating], "--data is needed"),
        ([trained, "--data", folder], "no network in floating point"),
        ([tmp_path / "damaged.safetensors", "--data", folder], "no network in floating point"),
        ([tmp_path / "silent.safetensors", "--data", folder], "layer 'dense' is silent"),
        ([floating, "--data", other], "has the classes left, right; the network above, below"),
    ):
        code, text, err = run(capsys, "quantise", *words, "--out", out)
        assert (code, text) == (2, "")
        assert why in err.splitlines()[-1]
    assert not out.exists()
