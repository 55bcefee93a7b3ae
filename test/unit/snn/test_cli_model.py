# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros model``, and the keys of models on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cli.command import main
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.snn import Dense, Layer, Lif, Model, ModelError, Network, save_model
from neuro_ros.snn.crypto_shim import INSTALL_HINT

DATA = Path(__file__).resolve().parents[2] / "data"


def ask(capsys, *arguments):
    """Run the command and return the object that it prints."""
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def complaint(capsys, *arguments):
    """Run the command, which must end with code 2 and one line on stderr; return that line."""
    assert main([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def test_inspect_says_what_the_shipped_model_is(capsys):
    result = ask(capsys, "model", "inspect", "gesture")
    assert (result["layout"], result["encrypted"], result["signer"]) == (1, False, None)
    assert (result["input_shape"], result["input_bits"], result["normalisation"]) == ([2, 32, 32], 0, "binary")
    assert result["layers"][0]["sources"] == ["input"]
    assert result["depth_steps"] == len(result["layers"])
    assert main(["model", "inspect", "gesture"]) == 0
    text = capsys.readouterr().out
    assert all(layer["name"] in text for layer in result["layers"])
    assert "hand_clap" in text


def test_refusals(capsys, tmp_path):
    assert "following arguments are required: ACTION" in complaint(capsys, "model")
    assert "nothing to do" in complaint(capsys, "model", "protect", "gesture", tmp_path / "m.safetensors")
    assert "No such file" in complaint(capsys, "model", "inspect", tmp_path / "none.safetensors")
    assert "not encrypted" in complaint(capsys, "model", "inspect", "gesture", "--key", "env:NONE")
    assert "NONE is not set" in complaint(capsys, "model", "inspect", "gesture", "--trust", "env:NONE")
    for verb in (["run", "gesture", "x.raw"], ["verify", "gesture", "x.raw"]):
        assert "not encrypted" in complaint(capsys, *verb, "--key", "env:NONE")


def test_keys_encryption_and_signatures(capsys, tmp_path):
    pytest.importorskip("cryptography", reason=f"cryptography is not installed: {INSTALL_HINT}")
    aes, other, signer = (tmp_path / name for name in ("aes", "other", "signer"))
    for path in (aes, other):
        ask(capsys, "model", "keygen", path, "--kind", "aes256")
    public = ask(capsys, "model", "keygen", signer, "--kind", "ed25519")
    assert "File exists" in complaint(capsys, "model", "keygen", aes, "--kind", "aes256")
    signed, sealed, moved = (tmp_path / f"{name}.safetensors" for name in ("signed", "sealed", "moved"))
    plain = ask(capsys, "model", "inspect", "gesture")
    ask(capsys, "model", "protect", "gesture", signed, "--sign", signer)
    ask(capsys, "model", "protect", signed, sealed, "--encrypt", aes)  # keeps the signature
    ask(capsys, "model", "protect", sealed, moved, "--key", aes, "--encrypt", other)
    for path, key in ((signed, []), (sealed, ["--key", aes]), (moved, ["--key", other])):
        result = ask(capsys, "model", "inspect", path, *key, "--trust", public["public_key"])
        assert (result["digest"], result["layers"]) == (plain["digest"], plain["layers"])
        assert (result["signer"], result["encrypted"]) == (public["id"], path != signed)
    assert "key of id" in complaint(capsys, "model", "inspect", sealed, "--key", other)
    assert "is encrypted; give its key" in complaint(capsys, "model", "inspect", sealed)
    assert "'ed25519-private' is needed" in complaint(capsys, "model", "protect", "gesture", moved, "--sign", aes)


def test_models_of_counts_are_not_fed_with_bits(capsys, tmp_path):
    network = Network([Layer("out", Dense(np.full((1, 8), 2, np.int16)), Lif(1, 2, 3))], (2, 2, 2), 4)
    path = tmp_path / "counting.safetensors"
    save_model(Model(network, ("one",), name="counting", normalisation="count"), path)
    recording = DATA / "evlib_sample.aedat4"
    for verb in ("run", "verify"):
        assert "takes the count of events in a cell" in complaint(capsys, verb, path, recording)
    with pytest.raises(ModelError, match="takes the count of events"):
        SnnInferenceCore(SnnInferenceParameters(model=str(path)))
