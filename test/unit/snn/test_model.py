# SPDX-License-Identifier: Apache-2.0
"""Network limits, and the model and state files against everything that can be wrong with them."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro_ros.snn import (
    Conv2d,
    Dense,
    Layer,
    Lif,
    Model,
    ModelError,
    Network,
    NetworkError,
    NetworkState,
    RunDigest,
    StateError,
    create_engine,
    load_model,
    load_state,
    save_model,
    save_state,
)
from neuro_ros.snn.reference import ReferenceEngine

LABELS = ("left", "right", "none")
DATA = Path(__file__).resolve().parents[2] / "data" / "models"


def dense(shape=(3, 8), value=2, exp=0):
    return Dense(np.full(shape, value, np.int16), exp)


@pytest.fixture
def model():
    network = Network(
        [
            Layer(
                "conv",
                Conv2d(np.arange(-8, 8, 1, np.int16).reshape(2, 2, 2, 2) * 2, 2, (1, 0), 1),
                Lif(100, 200, 300, np.array([1, -2]), 3),
            ),
            Layer("out", dense((3, 12)), Lif(0, 4095, 131071, 4095, 7)),
        ],
        (2, 4, 5),
    )
    return Model(network, LABELS, 40_000_000, 8, "gesture", {"split": {"seed": 3, "accuracy": 0.5}, "text": "\u00e4"})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: dense(value=3), "24 odd values of 24"),
        (lambda: dense(value=256), r"spans 256\.\.256, outside -256\.\.254"),
        (lambda: Dense(np.ones((2, 2))), "dtype float64"),
        (lambda: Dense(np.zeros((2, 2, 2), np.int16)), "3 dimensions"),
        (lambda: dense(exp=8), r"weight_exp is 8, outside -7\.\.7"),
        (lambda: Conv2d(np.zeros((1, 1, 2, 2), np.int16), stride=0), "stride is 0"),
        (lambda: Conv2d(np.zeros((1, 1, 2, 2), np.int16), padding=(1, 2, 3)), "padding"),
        (lambda: Lif(4096, 0, 1), r"du is 4096, outside 0\.\.4095"),
        (lambda: Lif(0, -1, 1), "dv is -1"),
        (lambda: Lif(0, 0, 131072), r"vth is 131072, outside 0\.\.131071"),
        (lambda: Lif(0, 0.5, 1), "not an integer"),
        (lambda: Lif(0, 0, 1, 4096), "bias_mant spans 4096"),
        (lambda: Lif(0, 0, 1, 0, 8), "bias_exp is 8"),
        (lambda: Network([], (1, 1, 1)), "no layers"),
        (lambda: Network([Layer("a", dense(), Lif(0, 0, 1))], (1, 3, 3)), "layer 'a': weight has 8 columns"),
        (
            lambda: Network([Layer("a", dense(), Lif(0, 0, 1, np.array([1, 2])))], (1, 2, 4)),
            "layer 'a': bias_mant has 2",
        ),
        (
            lambda: Network([Layer("a", dense(), Lif(0, 0, 1)), Layer("a", dense((1, 3)), Lif(0, 0, 1))], (1, 2, 4)),
            "not unique",
        ),
        (
            lambda: Network([Layer("a", Conv2d(np.zeros((1, 1, 9, 9), np.int16)), Lif(0, 0, 1))], (1, 4, 4)),
            "kernel 9x9",
        ),
        (
            lambda: Network([Layer("big", dense((1, 4000), 254), Lif(0, 0, 1))], (1, 1, 4000)),
            r"layer 'big': the worst-case accumulator .* is 65024000, 48246784 above 2\^24",
        ),
    ],
)
def test_limits_are_refused_with_value_and_limit(build, text):
    with pytest.raises(NetworkError, match=text):
        build()


def test_accumulator_bound_is_inclusive():
    Network([Layer("a", dense((1, 1024), -256), Lif(0, 0, 1))], (1, 1, 1024))  # exactly 2^24
    with pytest.raises(NetworkError, match="16384 above"):
        Network([Layer("a", dense((1, 1025), -256), Lif(0, 0, 1))], (1, 1, 1025))
    with pytest.raises(NetworkError, match="layer 'a'"):
        Network([Layer("a", dense((1, 1024), -256, 1), Lif(0, 0, 1))], (1, 1, 1024))
    Network([Layer("a", dense((1, 4096), -256, -2), Lif(0, 0, 1))], (1, 1, 4096))


def test_fan_out_counts_every_synapse(draw_models, reference):
    @settings(max_examples=30)
    @given(data=st.data())
    def check(data):
        drawn = data.draw(draw_models())
        simulator = reference(drawn)
        shapes = (drawn.network.input_shape, *drawn.network.shapes)
        for index, layer in enumerate(drawn.network.layers):
            counted = [len(targets) for targets in simulator.synapses[index]]
            assert layer.connection.fan_out(shapes[index]).ravel().tolist() == counted

    check()


def test_model_round_trip(model, tmp_path):
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.digest == model.digest
    assert loaded.model_id == f"gesture-{model.digest[:12]}"
    assert (loaded.labels, loaded.bins, loaded.window_length_ns) == (LABELS, 8, 40_000_000)
    assert loaded.record == model.record
    assert loaded.network.topology_digest() == model.network.topology_digest()
    for own, other in zip(model.network.layers, loaded.network.layers, strict=True):
        np.testing.assert_array_equal(own.connection.weight, other.connection.weight)
        np.testing.assert_array_equal(own.neuron.bias_mant, other.neuron.bias_mant)
        assert own.neuron.parameters() == other.neuron.parameters()
    indices = np.arange(0, 8 * 40, 3, dtype=np.uint32)
    own, other = (create_engine(each).run_window(indices, 8, record=True) for each in (model, loaded))
    assert own.layer_spikes.sum() > 0
    np.testing.assert_array_equal(own.layer_spikes, other.layer_spikes)
    save_model(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_version_1_reads_for_ever():
    """The file was written by the release that knew version 1 only; so were the digests."""
    model = load_model(DATA / "version1.safetensors")
    assert model.digest == "5f0c1fb529d42ab53ec3bdc5ae303696cfece34dc9724035badbc6f14d3805c7"
    network = model.network
    assert network.topology_digest() == "1eeb310c8988f5fc6fe830f34be697574255580c9ae7b1929255d81707de45c7"
    assert (network.depth, network.slots, network.sources) == (3, (1, 1, 1), ((-1,), (0,), (1,)))
    assert (model.confidence_exponent, model.normalisation, model.record["text"]) == (2.0, "binary", "\u00e4")
    indices = np.flatnonzero(np.random.default_rng(42).random(40 * model.cells) < 0.3).astype(np.uint32)
    for engine in (create_engine(model), ReferenceEngine(model)):
        digest = RunDigest()
        digest.update(engine.run_window(indices, 40, record=True).steps)
        assert digest.hexdigest() == "5b3447664ab9a5bb73dfe75e55adda830c1d19cf418007d1c2a4ed18f2de1508"


def test_scalar_bias_keeps_its_shape(tmp_path):
    small = Model(Network([Layer("a", dense((2, 1)), Lif(0, 0, 1))], (1, 1, 1)), ("x", "y"))
    save_model(small, tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").network.layers[0].neuron.bias_mant.shape == ()


@pytest.mark.parametrize("kind", ["model", "state"])
def test_every_changed_byte_is_refused(kind, model, tmp_path, counts):
    path = tmp_path / "file.safetensors"
    if kind == "model":
        save_model(model, path)
        load, error = load_model, ModelError
    else:
        save_state(NetworkState.at_rest(model).labelled("camera", 5, 99), path)
        load, error = load_state, StateError
    data = path.read_bytes()
    positions = counts(f"changed bytes of a {kind} file", reduced=400, full=len(data))
    for position in np.unique(np.linspace(0, len(data) - 1, positions).astype(int)):
        for mask in (0x01, 0x29):  # 0x29 turns a blank into a tab
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            with pytest.raises(error):
                load(path)
    for length in {0, 1, 7, 8, 9, len(data) // 2, len(data) - 1}:
        path.write_bytes(data[:length])
        with pytest.raises(error):
            load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(error):
        load(path)


@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        load_model(path)


def write_head(path, head, tensors, key="neuro_ros.model"):
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    path.write_bytes(safetensors.numpy.save(tensors, metadata={key: text}))


def test_foreign_files_are_refused_with_what_differs(model, tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(ModelError, match="No such file"):
        load_model(path)
    with pytest.raises(ModelError, match="Is a directory"):
        load_model(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="is not a regular file"):
        load_model(tmp_path / "pipe")
    with pytest.raises(ModelError, match="embedded null byte"):
        load_model("a\0b")
    with pytest.raises(ModelError, match="embedded null byte"):
        save_model(model, "a\0b")
    path.write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    with pytest.raises(ModelError, match="is a pickle"):
        load_model(path)
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(3)}, metadata={"framework": "other"}))
    with pytest.raises(ModelError, match=r"not a neuro_ros\.model file: its metadata names framework"):
        load_model(path)
    save_state(NetworkState.at_rest(model), path)
    with pytest.raises(ModelError, match=r"names neuro_ros\.state"):
        load_model(path)
    write_head(path, {"version": 3, "digest": "", "manifest": {}}, {"w": np.zeros(3)})
    with pytest.raises(ModelError, match="version 3, this release reads versions 1 and 2"):
        load_model(path)
    write_head(path, {"version": 3, "digest": "", "manifest": {}}, {"w": np.zeros(3)}, "neuro_ros.state")
    with pytest.raises(StateError, match="version 3, this release reads 1 and 2"):
        load_state(path)
    save_model(model, path)
    with pytest.raises(StateError, match=r"not a neuro_ros\.state file"):
        load_state(path)


def test_bad_models_are_refused():
    network = Network([Layer("a", dense((3, 8)), Lif(0, 0, 1))], (1, 2, 4))
    for arguments, text in (
        ({"labels": ("a",)}, "1 labels for 3"),
        ({"labels": ("a", "a", "b")}, "unique"),
        ({"bins": 0}, "bins is 0"),
        ({"window_length_ns": 3}, "window_length_ns"),
        ({"name": "a/b"}, "name"),
        ({"record": {"x": float("nan")}}, "record is not plain JSON"),
    ):
        with pytest.raises(ModelError, match=text):
            Model(**{"network": network, "labels": LABELS, **arguments})


def test_state_round_trip_and_refusals(model, tmp_path):
    engine = create_engine(model)
    engine.run_window(np.arange(0, 8 * 40, 3, dtype=np.uint32), 8)
    engine.set_registers("conv", du=55)
    state = engine.state().labelled("camera_optical", 7, 123_456_789, 3, (1.5, 0.0, 2.0))
    path = tmp_path / "state.safetensors"
    save_state(state, path)
    loaded = load_state(path, model)
    for own, other in zip(state.layers, loaded.layers, strict=True):
        for part in ("u", "v", "a_buff"):
            np.testing.assert_array_equal(getattr(own, part), getattr(other, part))
    assert (loaded.stream_id, loaded.sequence, loaded.sensor_end_ns) == ("camera_optical", 7, 123_456_789)
    assert (loaded.epoch, loaded.evidence) == (3, (1.5, 0.0, 2.0))
    assert loaded.registers[0]["du"] == 55
    other = replace(model, name="other")
    with pytest.raises(StateError, match=f"belongs to model {model.model_id}, not to {other.model_id}"):
        load_state(path, other)
    bad = replace(state, registers=({**state.registers[0], "du": 5000}, state.registers[1]))
    save_state(bad, path)
    with pytest.raises(StateError, match="du is 5000"):
        load_state(path, model)


def test_unwritable_path_leaves_the_old_file_whole(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    data = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(replace(model, name="new"), path)
    with pytest.raises(StateError, match="No space left"):
        save_state(NetworkState.at_rest(model), path)
    assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    with pytest.raises(ModelError, match="No such file"):
        save_model(model, tmp_path / "nowhere" / "m.safetensors")
