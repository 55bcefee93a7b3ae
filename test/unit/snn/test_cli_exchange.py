# SPDX-License-Identifier: Apache-2.0
"""The verbs import and export."""

import json
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cli.command import main
from neuro_ros.events import EVENT_DTYPE, create_recording
from neuro_ros.snn import load_model

DATA = Path(__file__).resolve().parents[2] / "data" / "exchange"


def run(capsys, *arguments):
    """Run the command; return the exit code, what it printed, and what it complained about."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_shipped_model_comes_back_byte_for_byte(capsys, tmp_path):
    code, out, _ = run(capsys, "export", "gesture", "--format", "nir", "--out", tmp_path / "g.nir", "--json")
    assert code == 0
    assert [layer["name"] for layer in json.loads(out)["layers"]][-1] == "output"
    code, out, _ = run(
        capsys, "import", tmp_path / "g.nir", "--format", "nir", "--out", tmp_path / "g.safetensors", "--json"
    )
    assert code == 0
    shipped = Path(__file__).resolve().parents[3] / "models" / "gesture.safetensors"
    assert load_model(tmp_path / "g.safetensors").digest == load_model(shipped).digest
    assert json.loads(out)["layers"][0]["projections"][0]["rms_error"] < 1e-6


def test_an_import_reports_and_compares(capsys, tmp_path):
    model = tmp_path / "m.safetensors"
    arguments = ("import", DATA / "sinabs.nir", "--format", "nir", "--out", model, "--step", "1", "--name", "two")
    labels = ",".join(f"l{index}" for index in range(10))
    more = ("--labels", labels, "--bins", "20", "--window-ms", "100", "--difference", "random", "--windows", "3")
    code, out, _ = run(capsys, *arguments, *more, "--rate", "0.2", "--json")
    assert code == 0
    result = json.loads(out)
    assert [layer["name"] for layer in result["layers"]] == ["layer1", "layer4", "layer8"]
    assert result["layers"][0]["tau_mem"]["nominal"] is None  # an integrator: JSON has no infinity
    assert result["difference"]["steps"] == 60
    loaded = load_model(model)
    assert (loaded.name, loaded.bins, loaded.window_length_ns, loaded.labels[3]) == ("two", 20, 100_000_000, "l3")
    assert loaded.record["imported_from"] == {"format": "nir", "file": "sinabs.nir"}
    code, out, _ = run(capsys, *arguments, *more)
    assert code == 0
    assert "rms error 0.35 %" in out
    assert "differ (" in out


def test_the_difference_on_a_recording(capsys, tmp_path):
    rng = np.random.default_rng(1)
    count = 3000
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, 400_000_000, count))
    events["x"], events["y"], events["p"] = (rng.integers(0, limit, count) for limit in (64, 64, 2))
    with create_recording(tmp_path / "r.raw", 64, 64, "evt3") as writer:
        writer.write(events)
    arguments = ("import", DATA / "sinabs.nir", "--format", "nir", "--step", "1", "--out", tmp_path / "m.safetensors")
    code, out, err = run(capsys, *arguments, "--difference", tmp_path / "r.raw", "--json")
    assert code == 0, err
    difference = json.loads(out)["difference"]
    assert difference["steps"] >= 80
    assert difference["layers"][0]["spikes_float"] > 100


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("import", DATA / "sinabs.nir", "--format", "nir"), "--out"),
        (("import", DATA / "sinabs.nir", "--format", "onnx", "--out", "x"), "onnx"),
        (("import", DATA / "sinabs.nir", "--format", "nir", "--out", "x"), "how long a step is"),
        (("import", DATA / "sinabs.nir", "--format", "nir", "--out", "x", "--step", "-1"), "--step"),
        (("import", DATA / "slayer_1.net", "--format", "netx", "--out", "x", "--input-shape", "2,8"), "2,8"),
        (("import", DATA / "slayer_1.net", "--format", "netx", "--out", "x", "--labels", "a,b"), "2 labels for 9"),
        (("import", DATA / "sinabs.nir", "--format", "nir", "--out", "x", "--rate", "1.5"), "1.5 is above 1"),
        (("import", DATA / "sinabs.nir", "--format", "nir", "--out", "x", "--seed", "-1"), "below 1"),
        (("export", "gesture", "--format", "nir", "--out", "/nowhere/x.nir"), "cannot write /nowhere/x.nir"),
        (("export", "missing", "--format", "nir", "--out", "x"), "missing"),
    ],
)
def test_wrong_usage_is_one_line(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert complaint in err
    assert not list(tmp_path.iterdir())
