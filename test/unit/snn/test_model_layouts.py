# SPDX-License-Identifier: Apache-2.0
"""Layout 2 of the model file, and hostile files that claim more than they hold."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.snn import (
    Conv2d,
    Dense,
    Layer,
    Lif,
    Model,
    ModelError,
    Network,
    Projection,
    RunDigest,
    StateError,
    SumPool2d,
    container,
    load_model,
    load_state,
    save_model,
    save_state,
)
from neuro_ros.snn.container import MAX_HEADER_BYTES
from neuro_ros.snn.features import CHAIN, layer_features
from neuro_ros.snn.model import _contents, _digest
from neuro_ros.snn.reference import ReferenceEngine

DATA = Path(__file__).resolve().parents[2] / "data" / "models"
SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def version(path):
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    return json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["neuro_ros.model"])["version"]


@pytest.fixture
def model():
    """One of everything."""
    network = Network(
        [
            Layer(
                "conv",
                Projection(Conv2d(np.full((4, 1, 2, 2), 16, np.int16), 1, 1, 0, 2, 2, 5), "", 3),
                Lif(100, 200, 30, np.array([1, -2, 0, 4]), 3, 2),
            ),
            Layer("pool", SumPool2d(255, (2, 1), sign_mode="excitatory"), Lif(0, 4095, 100)),
            Layer(
                "out",
                [
                    Projection(Dense(np.full((3, 48), 20, np.int16))),
                    Projection(
                        Dense(np.full((3, 96), 1, np.int16), sign_mode="excitatory"),
                        "conv",
                        np.arange(96).reshape(4, 4, 6) % 7,
                    ),
                    Projection(Dense(np.full((3, 3), -254, np.int16)), "out"),
                ],
                Lif(50, 60, 70, refractory=5),
            ),
        ],
        (2, 4, 6),
        4,
    )
    return Model(network, ("a", "b", "c"), normalisation="count", record={"seed": 3})


def test_every_kind_returns_from_its_file(tmp_path, counts):
    @settings(max_examples=counts("model files of every kind", reduced=40, full=500), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models())
        path = tmp_path / "m.safetensors"
        save_model(model, path)
        loaded = load_model(path)
        assert (loaded.digest, loaded.normalisation) == (model.digest, model.normalisation)
        assert loaded.network.topology() == model.network.topology()
        own, other = ReferenceEngine(model), ReferenceEngine(loaded)
        for window in data.draw(graded_windows(model, count=1)):
            indices, bins, values = window
            steps = [each.run_window(indices, bins, record=True, values=values).steps for each in (own, other)]
            for ours, theirs in zip(*steps, strict=True):
                for one, two in zip(ours, theirs, strict=True):
                    np.testing.assert_array_equal(one, two)
        used = set().union(*(layer_features(model.network, index) for index in range(len(model.network.layers))))
        old_width = all(p.connection.weight_bits == 8 for layer in model.network.layers for p in layer.projections)
        assert version(path) == (1 if used <= CHAIN and old_width else 2)

    check()


def test_version_2_reads_for_ever():
    """Written when layout 2 was new; so were the digests."""
    model = load_model(DATA / "version2.safetensors")
    assert model.digest == "ad48d585c7464f2c29d93ed85379427efdbe9467bc56f0da39a01f9847bb5a22"
    assert model.network.topology_digest() == "ec8e07ae574c13bd915aaf017d2bef7c98141983f2745fe8a8ac3c2618b5c431"
    rng = np.random.default_rng(42)
    indices = np.flatnonzero(rng.random(60 * model.cells) < 0.2).astype(np.uint32)
    values = rng.integers(1, 16, indices.size).astype(np.uint8)
    digest = RunDigest()
    digest.update(ReferenceEngine(model).run_window(indices, 60, record=True, values=values).steps)
    assert digest.hexdigest() == "e8ecccd2aea6896de433aa5a247d179d571edffa875c2a10342dff3d69ef02b7"


def test_every_changed_byte_of_layout_2_is_refused(model, tmp_path, counts):
    path = tmp_path / "file.safetensors"
    save_model(model, path)
    data = path.read_bytes()
    positions = counts("changed bytes of a layout 2 file", reduced=200, full=len(data))
    for position in np.unique(np.linspace(0, len(data) - 1, positions).astype(int)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            load_model(path)


def rewrite(path, model, change):
    """Save `model` with what `change` makes of head and tensors, and a digest that fits it."""
    version, _, manifest, tensors = _contents(model)
    head = {"version": version, "manifest": json.loads(json.dumps(manifest))}
    change(head, tensors)
    head["digest"] = _digest(head["manifest"], tensors)
    path.write_bytes(container.pack("neuro_ros.model", head, tensors))


def connection(head):
    return head["manifest"]["layers"][0]["projections"][0]["connection"]


def layer(index, **changes):
    return lambda head, tensors: head["manifest"]["layers"][index].update(changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (layer(0, projections=[]), r"safetensors: layer 'conv' has 0 projections"),
        (layer(0, projections=None), "does not describe a model"),
        (layer(0, neuron={"kind": "alif"}), "layer 'conv': unknown neuron kind 'alif'; known are lif"),
        (lambda head, tensors: head["manifest"]["input"].update(normalisation="log"), "normalisation is 'log'"),
        (lambda head, tensors: head["manifest"]["input"].update(bits=0), "normalisation 'count' needs"),
        (lambda head, tensors: head["manifest"]["input"].update(bits=200), "input_bits is 200"),
        (lambda head, tensors: head["manifest"]["input"].update(height=1 << 20), "has 12582912 cells, the limit is"),
        (lambda head, tensors: head["manifest"].update(comment="new"), "entries that this release does not know"),
        (lambda head, tensors: head.update(comment="new"), "entries that this release does not know"),
        (lambda head, tensors: tensors.update(extra=np.zeros(3)), "entries that this release does not know"),
        (lambda head, tensors: tensors.pop("out.projection1.delays"), "does not describe a model: KeyError"),
        (lambda head, tensors: tensors.update({"out.projection1.delays": np.full((4, 4, 6), 99)}), "spans 99..99"),
        (lambda head, tensors: head.update(version=1), "does not describe a model: KeyError"),
        (lambda head, tensors: head.update(version=True), "model format version True"),
        (
            lambda head, tensors: head["manifest"]["layers"][0]["projections"][0]["connection"].update(
                padding=[900, 900]
            ),
            "layer 'conv': layer 'conv'|is not|cells, the limit is",
        ),
    ],
)
def test_a_manifest_that_lies_is_refused_in_one_line_and_little_memory(change, text, model, tmp_path):
    path = tmp_path / "m.safetensors"
    rewrite(path, model, change)
    tracemalloc.start()
    with pytest.raises(ModelError, match=text) as refusal:
        load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refusal.value)
    assert peak < 4 << 20


def headed(header, length=None):
    """Return the start of a safetensors file with this header."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


ABSURD = {
    "length": headed({}, 1 << 62),
    "header": headed({}, MAX_HEADER_BYTES),
    "nesting": (6000).to_bytes(8, "little") + b"[" * 6000,
    "number": headed({"__metadata__": {"neuro_ros.model": "9" * 6000}}),
    "nan": headed({"__metadata__": {"neuro_ros.model": '{"version":NaN}'}}),
    "shape": headed(
        {
            "__metadata__": {"neuro_ros.model": "{}"},
            "w": {"dtype": "I8", "shape": [1 << 40], "data_offsets": [0, 1 << 40]},
        }
    ),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_headers_are_refused_in_little_memory(name, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(ABSURD[name])
    tracemalloc.start()
    with pytest.raises(ModelError, match="not a usable model file") as refusal:
        load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refusal.value)
    assert peak < 4 << 20


def test_states_with_delays_and_rest_continue_from_their_file(model, tmp_path):
    rng = np.random.default_rng(5)
    whole, first = ReferenceEngine(model), ReferenceEngine(model)
    path = tmp_path / "state.safetensors"
    spikes = np.zeros(3, np.int64)
    for _ in range(6):
        indices = np.flatnonzero(rng.random(4 * model.cells) < 0.5).astype(np.uint32)
        values = rng.integers(1, 16, indices.size).astype(np.uint8)
        own, other = (each.run_window(indices, 4, True, values) for each in (whole, first))
        assert own.layer_spikes.tolist() == other.layer_spikes.tolist()
        spikes += own.layer_spikes
        save_state(first.state(), path)
        first = ReferenceEngine(model)
        first.set_state(load_state(path, model))
    assert spikes.all()
    state = first.state()
    assert [part.a_buff.shape for part in state.layers] == [(4, 4, 4, 6), (4, 2, 6), (7, 3, 1, 1)]
    resting = np.array([[[1]], [[0]], [[0]]], np.int32)
    out = state.layers[2]
    for broken, text in (
        (replace(out, refractory=None), "the state holds u, v, a_buff; u, v, a_buff, refractory are needed"),
        (replace(out, refractory=resting + 5), r"refractory spans 5\.\.6, outside 0\.\.5"),
        (replace(out, refractory=resting, v=resting), "v is not 0 in neurons that rest"),
        (replace(out, a_buff=out.a_buff[0]), r"a_buff is int32 \(3, 1, 1\), int32 \(7, 3, 1, 1\) is needed"),
    ):
        with pytest.raises(StateError, match=f"layer 'out': {text}"):
            first.set_state(replace(state, layers=(*state.layers[:2], broken)))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["dense", "conv2d", "sum_pool2d", "lif", "input", "out", "mixed", "inhibitory", "count"]),
    st.lists(st.integers(-3, 2000), max_size=4),
    st.dictionaries(st.sampled_from(["kind", "name", "weight"]), st.integers(0, 3), max_size=2),
)


def places(node):
    """Return every (container, key) of a JSON value."""
    found = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += [(node, key), *places(value)]
    return found


def test_any_change_of_a_manifest_is_refused_or_understood(model, tmp_path, counts):
    """With the digest made to fit: whatever stands in a manifest, nothing but `ModelError` comes out."""
    path = tmp_path / "m.safetensors"
    seen = {"refused": 0, "understood": 0}

    @settings(max_examples=counts("manifests with random values", reduced=150, full=5000), **SETTINGS)
    @given(data=st.data())
    def check(data):
        def change(head, tensors):
            node, key = data.draw(st.sampled_from(places({"manifest": head["manifest"], "version": 2})))
            if data.draw(st.booleans()) and isinstance(node, dict):
                del node[key]
            else:
                node[key] = data.draw(JUNK)
            if data.draw(st.integers(0, 4)) == 0:
                name = data.draw(st.sampled_from(sorted(tensors)))
                shape = data.draw(st.sampled_from([(), (1,), (2, 2), (4, 1, 2, 2), (0, 3)]))
                kind = data.draw(st.sampled_from([np.uint8, np.int16, np.int64, np.float32, np.bool_]))
                tensors[name] = np.full(shape, data.draw(st.integers(0, 1)), kind)

        try:
            rewrite(path, model, change)
        except (ValueError, TypeError, AttributeError):  # the test could not even write it
            return
        try:
            loaded = load_model(path)
        except ModelError as error:
            seen["refused"] += 1
            lines = str(error).count("\n")
            assert not lines, error  # noqa: PT017  # most examples are refused, not all
        else:
            seen["understood"] += loaded.digest != ""

    check()
    assert min(seen.values()) > 0
