# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros state``: what is printed for machines and people, what is written, and exit codes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from neuro_ros.cli import command
from neuro_ros.snn import create_engine, load_model, load_state, save_model, save_state

DATA = Path(__file__).parents[2] / "data"
STATES, MODELS = DATA / "state", DATA / "models"


@pytest.fixture
def run(capsys):
    """Return a function that runs the verb: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = command.main(["state", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_inspect_tells_machines_what_a_state_holds(run):
    code, out, _ = run("inspect", STATES / "v2.safetensors", "--model", MODELS / "version2.safetensors", "--json")
    found = json.loads(out)
    assert (code, found["version"], found["model_id"]) == (0, 2, "version2-ad48d585c746")
    assert [layer["name"] for layer in found["layers"]] == ["conv", "pool", "hidden", "out"]
    assert (found["stream_id"], found["sequence"], found["epoch"]) == ("camera_optical", 41, 7)
    assert (found["decision"], found["compensation_id"], found["evidence"]) == (0, 12, [2.0, 0.5, 0.0])
    assert found["clock"]["skew_ppb"] == -1250.5
    assert found["registers"]["conv"]["du"] == 77
    state = load_state(STATES / "v2.safetensors")
    values = found["layers"][0]["values"]
    assert values["a_buff"]["shape"] == [4, 4, 4, 6]
    assert (values["v"]["min"], values["v"]["max"]) == (state.layers[0].v.min(), state.layers[0].v.max())
    assert found["sha256"] == hashlib.sha256((STATES / "v2.safetensors").read_bytes()).hexdigest()
    assert (found["problem"], found["lost"], found["unknown"]) == ("", [], [])


@pytest.mark.parametrize("name", sorted(path.stem for path in STATES.glob("*.safetensors")))
def test_inspect_tells_people(run, name):
    code, out, _ = run("inspect", STATES / f"{name}.safetensors")
    assert code == (1 if name == "v2_must" else 0)
    assert out.startswith("version")
    assert "model_id          version" in out
    assert ("refused the state holds dendrites" in out) == (name == "v2_must")
    assert ("trace_post" in out) == (name == "v2_learning")
    assert all(len(line) < 200 for line in out.splitlines())


def test_inspect_says_why_a_model_does_not_go_on(run):
    code, out, _ = run("inspect", STATES / "v2.safetensors", "--model", MODELS / "version1.safetensors", "--json")
    assert code == 1
    assert "belongs to model version2-ad48d585c746, not to version1-5f0c1fb529d4" in json.loads(out)["problem"]


def test_convert_back_and_forth(run, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    code, out, _ = run("convert", STATES / "v1.safetensors", two, "--json")
    assert (code, json.loads(out)["version"], json.loads(out)["lost"]) == (0, 2, [])
    code, out, _ = run("convert", two, one, "--version", 1, "--strict", "--json")
    assert (code, json.loads(out)["sha256"]) == (0, hashlib.sha256(one.read_bytes()).hexdigest())
    assert one.read_bytes() == (STATES / "v1.safetensors").read_bytes()


def test_convert_names_what_is_lost_and_strictly_writes_nothing(run, tmp_path):
    out_file = tmp_path / "one"
    arguments = ("convert", STATES / "v2.safetensors", out_file, "--version", 1)
    code, out, err = run(*arguments, "--strict")
    assert (code, out_file.exists()) == (1, False)
    assert "nothing is written" in out
    assert err == "neuro_ros: 8 things cannot be carried; nothing is written\n"
    code, out, _ = run(*arguments)
    assert code == 0
    assert out.count("not carried  ") == 8
    assert load_state(out_file).layers[0].a_buff.any()


def test_convert_without_what_was_learned(run, tmp_path):
    out_file = tmp_path / "out"
    code, out, _ = run("convert", STATES / "v2_learning.safetensors", out_file, "--drop", "trace_post", "--json")
    assert (code, json.loads(out)["lost"][0].partition(":")[0]) == (0, "trace_post")
    load_state(out_file, load_model(MODELS / "version2.safetensors"))


@pytest.fixture
def changed(tmp_path):
    """Return the file of a model whose last layer alone is another one than that of version2."""
    model = load_model(MODELS / "version2.safetensors")
    layers = list(model.network.layers)
    neuron = layers[-1].neuron
    layers[-1] = type(layers[-1])(layers[-1].name, layers[-1].projections, replace(neuron, vth=neuron.vth + 1))
    network = type(model.network)(layers, model.network.input_shape, model.network.input_bits)
    save_model(replace(model, network=network, name="changed"), tmp_path / "changed.safetensors")
    return tmp_path / "changed.safetensors"


def test_convert_to_another_model(run, changed, tmp_path):
    out_file = tmp_path / "out"
    arguments = ("convert", STATES / "v2.safetensors", out_file, "--to-model", changed)
    code, out, _ = run(*arguments, "--json")
    result = json.loads(out)
    assert (code, result["model_id"].startswith("changed-")) == (0, True)
    assert [line.partition(" ")[0] for line in result["lost"]] == ["layer", "evidence:", "compensation_id"]
    model = load_model(changed)
    create_engine(model).set_state(load_state(out_file, model))
    out_file.unlink()
    assert run(*arguments, "--strict")[0] == 1
    code, _, err = run(*arguments, "--changed", "refuse")
    assert code == 2
    assert "refused for changed-" in err
    assert not out_file.exists()
    code, _, err = run("convert", STATES / "v2_plain.safetensors", out_file, "--to-model", changed)
    assert (code, "has no layer_digests" in err) == (2, True)
    origin = ("--from-model", MODELS / "version2.safetensors")
    assert run("convert", STATES / "v2_plain.safetensors", out_file, "--to-model", changed, *origin)[0] == 0
    assert run("convert", STATES / "v2_plain.safetensors", out_file, *origin)[0] == 2


def test_bad_input_is_one_line(run, tmp_path):
    save_state(load_state(STATES / "v1.safetensors"), tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-3])
    for arguments in (
        ("inspect", tmp_path / "nothing"),
        ("inspect", tmp_path / "cut"),
        ("inspect", MODELS / "version1.safetensors"),
        ("inspect", STATES / "v1.safetensors", "--model", tmp_path / "no_model.safetensors"),
        ("convert", tmp_path / "cut", tmp_path / "out"),
        ("convert", STATES / "v2_must.safetensors", tmp_path / "out"),
        ("convert", STATES / "v1.safetensors", tmp_path / "out", "--version", "3"),
        ("convert", STATES / "v1.safetensors", tmp_path / "no" / "out"),
        ("convert", STATES / "v1.safetensors", tmp_path / "out", "--drop", "clock"),
        ("convert", STATES / "v1.safetensors"),
        (),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (arguments, err)
    assert not (tmp_path / "out").exists()
