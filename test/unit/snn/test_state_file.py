# SPDX-License-Identifier: Apache-2.0
"""State files: golden ones of both versions, conversion both ways, fields to come, damage, another byte order."""

import hashlib
import importlib.util
import pickle
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.snn import RunDigest, StateError, create_engine, load_model, load_state, save_state
from neuro_ros.snn.container import canonical_json
from neuro_ros.snn.reference import ReferenceEngine
from neuro_ros.snn.state import NetworkState, StateClock
from neuro_ros.snn.state_convert import convert, without
from neuro_ros.snn.state_document import StateDocument, read_document
from neuro_ros.snn.state_fields import FIELDS, STATE_FORMAT, VERSIONS, WIDTHS, field_table
from neuro_ros.snn.state_file import state_document, state_of

ROOT = Path(__file__).parents[3]
DATA = ROOT / "test" / "data" / "state"
# File: sha256 of the file, and the run digest of windows 5 to 24 from that state.
GOLDEN = {
    "v1_first": (
        "a3ebc2f95fedc959bf82b71c57371d1eb3479c0bd95d06510fc47569189b9d2d",
        "3ca520819018fbd7bc894d73785a30b25af5ee64aca71680ca59ac2691bdd3ad",
    ),
    "v1": (
        "a8cf1ef520d6e67074728bf526893ed2f7bd5a4337ee92f315069cc4cdf4d177",
        "3ca520819018fbd7bc894d73785a30b25af5ee64aca71680ca59ac2691bdd3ad",
    ),
    "v2_plain": (
        "098214fc5f4271ff73dd4af302f4f4e492ac1fb30bb764233beaa8fc4b32434f",
        "4d4378330b80b61ee009ca9d36ef4043ab882e5b972c812d225fb8af448def86",
    ),
    "v2": (
        "e64e6fa8fa3f7e566efc0158ce8a189de7ccc25f454ab60925658cbcd0816fc5",
        "4d4378330b80b61ee009ca9d36ef4043ab882e5b972c812d225fb8af448def86",
    ),
    "v2_future": (
        "50db6bba90c34eca1b12c93b9d33065a4085152171b9d93768e45583b62d346d",
        "4d4378330b80b61ee009ca9d36ef4043ab882e5b972c812d225fb8af448def86",
    ),
}


def made():
    """Return the module that wrote the golden files."""
    spec = importlib.util.spec_from_file_location("make_states", DATA / "make_states.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maker():
    return made()


@pytest.fixture(scope="module")
def models(maker):
    """Return the two golden models by name."""
    return {name: load_model(maker.MODELS / f"{name}.safetensors") for name in ("version1", "version2")}


def model_of(models, name):
    return models["version1" if name.startswith("v1") else "version2"]


def run_digest(maker, model, state, engine=create_engine):
    engine = engine(model)
    engine.set_state(state)
    digest = RunDigest()
    digest.update(maker.run(engine, range(5, 25)))
    return digest.hexdigest()


# --- golden files -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_states_read_for_ever(name, maker, models):
    path, model = DATA / f"{name}.safetensors", model_of(models, name)
    file_sha256, spikes_sha256 = GOLDEN[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file_sha256, "golden files are never written again"
    state = load_state(path, model)
    assert (state.stream_id, state.sequence, state.sensor_end_ns) == ("camera_optical", 41, 2_100_000_000)
    first = name == "v1_first"
    assert state.epoch == (-1 if first else 7)
    assert state.evidence == (() if first else maker.EVIDENCE["version1" if name == "v1" else "version2"])
    assert state.registers[0]["du"] == 77
    for engine in (create_engine, ReferenceEngine):
        assert run_digest(maker, model, state, engine) == spikes_sha256
    if name in ("v2", "v2_future"):
        assert (state.decision, state.compensation_id) == (0, 12)
        assert state.clock == StateClock("imx636", 2_050_000_000, 1_700_000_000_123_456_789, -1250.5, 830.0, "LOCKED")
    else:
        assert (state.decision, state.compensation_id, state.clock) == (-1, 0, None)


def test_every_golden_file_is_tested():
    assert {path.stem for path in DATA.glob("*.safetensors")} == {*GOLDEN, "v2_learning", "v2_must"}


@pytest.mark.parametrize("name", ["v1", "v1_first"])
def test_version_1_goes_to_2_and_back_byte_for_byte(name, tmp_path):
    path = DATA / f"{name}.safetensors"
    newer, lost = convert(read_document(path), 2)
    assert (newer.version, lost) == (2, [])
    older, lost = convert(newer, 1)
    assert lost == []
    older.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_version_2_in_version_1_names_what_is_lost(maker, models):
    older, lost = convert(read_document(DATA / "v2.safetensors"), 1)
    texts = {line.partition(":")[0]: line for line in lost}
    assert sorted(texts) == [
        "a_buff.conv", "a_buff.hidden", "a_buff.out", "clock", "compensation_id", "decision", "refractory.conv",
        "refractory.out",
    ]  # fmt: skip
    state = load_state(DATA / "v2.safetensors")
    resting, late = np.count_nonzero(state.layers[0].refractory), np.count_nonzero(state.layers[0].a_buff[1:])
    assert f" {resting} neurons that rest" in texts["refractory.conv"]
    assert f" {late} values of input" in texts["a_buff.conv"]
    assert "optional" not in older.manifest
    assert set(older.manifest) == set(read_document(DATA / "v1.safetensors").manifest)
    again, lines = state_of(older)
    assert len(lines) == 5
    assert "taken as empty" in lines[0]
    for own, other in zip(state.layers, again.layers, strict=True):
        np.testing.assert_array_equal(own.u, other.u)
        np.testing.assert_array_equal(own.v, other.v)
        slots = own.a_buff.ndim == 4
        np.testing.assert_array_equal(
            own.a_buff[0] if slots else own.a_buff, other.a_buff[0] if slots else other.a_buff
        )
    create_engine(models["version2"]).set_state(again)


def test_there_is_no_converter_to_a_version_that_nobody_knows():
    with pytest.raises(StateError, match="no state format version 3; this release writes 1 and 2"):
        convert(read_document(DATA / "v2.safetensors"), 3)


# --- fields to come ---------------------------------------------------------------------------------------------------
def test_what_may_be_ignored_is_kept_by_conversion(tmp_path):
    document = read_document(DATA / "v2_future.safetensors")
    assert document.unknown == ["battery_v", "homeostasis"]
    same, lost = convert(document, 2)
    same.write(tmp_path / "same")
    assert lost == []
    assert (tmp_path / "same").read_bytes() == (DATA / "v2_future.safetensors").read_bytes()
    _, lost = convert(document, 1)
    assert "battery_v: a field that this release does not know" in lost
    fewer, lost = without(document, ["battery_v", "homeostasis"])
    fewer.write(tmp_path / "fewer")
    assert (tmp_path / "fewer").read_bytes() == (DATA / "v2.safetensors").read_bytes()
    assert len(lost) == 2
    with pytest.raises(StateError, match=r"declares no field 'u'; it declares .*decision"):
        without(document, ["u"])


def test_what_must_be_understood_is_refused_by_name():
    path = DATA / "v2_must.safetensors"
    with pytest.raises(StateError, match=r"v2_must.*holds dendrites, which this release does not know"):
        load_state(path)
    for version in VERSIONS:
        with pytest.raises(StateError, match="dendrites"):
            convert(read_document(path), version)


def test_what_was_learned_is_refused_by_an_engine_that_does_not_learn(models, maker, tmp_path):
    path, model = DATA / "v2_learning.safetensors", models["version2"]
    state = load_state(path)
    assert state.layers[-1].plasticity["trace_post"].tolist() == [[[[0]], [[1]], [[2]]]]
    save_state(state, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    with pytest.raises(StateError, match=r"layer 'out': the state holds trace_post, and no back end"):
        load_state(path, model)
    with pytest.raises(StateError, match="trace_post"):
        create_engine(model).set_state(state)
    document, lost = without(read_document(path), ["trace_post"])
    assert lost == ["trace_post: trace_post.out are lost; what was learned since is lost with them"]
    assert run_digest(maker, model, state_of(document)[0]) == GOLDEN["v2"][1]
    assert any(line.startswith("trace_post") for line in convert(read_document(path), 1)[1])


@pytest.mark.parametrize("declared", [1, [], {"x": 1}, {"x": {}}, {"x": {"must_understand": 1}}], ids=repr)
def test_declarations_that_are_none_are_refused(declared, tmp_path):
    document = read_document(DATA / "v2.safetensors")
    path = tmp_path / "s"
    write(path, 2, {**document.manifest, "optional": declared}, document.tensors)
    with pytest.raises(StateError, match="does not declare fields"):
        load_state(path)


# --- every state ------------------------------------------------------------------------------------------------------
@given(data=st.data())
def test_a_state_in_motion_survives_the_file_and_both_versions(data, tmp_path_factory):
    model = data.draw(network_models())
    engine = create_engine(model)
    for indices, bins, values in data.draw(graded_windows(model)):
        engine.run_window(indices, bins, **({} if values is None else {"values": values}))
    state = engine.state().labelled("cam", 3, 99, 2, tuple(np.arange(model.network.classes) / 2), 0, 5)
    path = tmp_path_factory.mktemp("state") / "s"
    digest = save_state(state, path)
    loaded = load_state(path, model)
    assert_same(state, loaded)
    assert state_document(loaded).digest() == digest
    older, lost = convert(read_document(path), 1)
    newer, _ = state_of(older)
    rest = [layer.refractory is None or not layer.refractory.any() for layer in state.layers]
    late = [layer.a_buff.ndim == 3 or not layer.a_buff[1:].any() for layer in state.layers]
    assert len(lost) == 2 + rest.count(False) + late.count(False)
    if not rest.count(False) + late.count(False):
        assert_same(replace(state, decision=-1, compensation_id=0, layer_digests=()), newer)
    newer.check_arrays(newer.topology)


def assert_same(one, other):
    for name in NetworkState.__dataclass_fields__:
        if name != "layers":
            assert getattr(one, name) == getattr(other, name), name
    for own, theirs in zip(one.layers, other.layers, strict=True):
        assert list(own.parts) == list(theirs.parts)
        for part, array in own.parts.items():
            np.testing.assert_array_equal(array, theirs.parts[part], err_msg=part)


# --- damage -----------------------------------------------------------------------------------------------------------
def write(path, version, manifest, tensors, key=STATE_FORMAT):
    """Write a file whose digest is right, whatever it says."""
    digest = StateDocument(1, manifest, tensors).digest() if "optional" not in manifest else None
    if digest is None:
        plain = StateDocument.__new__(StateDocument)
        object.__setattr__(plain, "manifest", manifest)
        object.__setattr__(plain, "tensors", tensors)
        digest = plain.digest()
    head = canonical_json({"version": version, "digest": digest, "manifest": manifest}).decode()
    path.write_bytes(safetensors.numpy.save(dict(tensors), metadata={key: head}))


def test_a_truncated_file_is_refused_at_every_length(tmp_path, counts):
    data, path = (DATA / "v2.safetensors").read_bytes(), tmp_path / "s"
    lengths = counts("lengths of a truncated state", reduced=150, full=len(data))
    for length in np.unique(np.linspace(0, len(data) - 1, lengths).astype(int)):
        path.write_bytes(data[:length])
        with pytest.raises(StateError, match="not a usable state file"):
            load_state(path)


def classes_of(data):
    """Return where the bytes of each class lie: length of the header, header, head in it, tensors."""
    header = 8 + struct.unpack("<Q", data[:8])[0]
    head = data.index(b"neuro_ros.state")
    return {"length": (0, 8), "header": (8, header), "head": (head, head + 3000), "tensors": (header, len(data))}


@pytest.mark.parametrize("kind", ["length", "header", "head", "tensors"])
def test_a_flipped_bit_is_refused_in_every_class_of_bytes(kind, tmp_path):
    data = (DATA / "v2.safetensors").read_bytes()
    low, high = classes_of(data)[kind]

    @given(st.integers(low, high - 1), st.integers(0, 7))
    def check(position, bit):
        damaged = bytearray(data)
        damaged[position] ^= 1 << bit
        (tmp_path / "s").write_bytes(damaged)
        with pytest.raises(StateError):
            load_state(tmp_path / "s")

    check()


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.lists(st.integers(-3, 2000), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(0, 3)),
    st.just({"layers": [{"name": "conv", "shape": [4, 4, 6]}]}),
    st.just({"layers": [{"name": "conv", "shape": [1 << 60] * 3}]}),
)


@given(
    st.sampled_from([field.name for field in FIELDS if field.place == "manifest"] + ["optional"]), JUNK, st.booleans()
)
def test_a_manifest_of_anything_is_a_state_or_refused_in_one_line(name, junk, retold):
    document = read_document(DATA / "v2.safetensors")
    manifest = {**document.manifest, name: junk}
    if retold and name == "topology":
        manifest["topology_digest"] = hashlib.sha256(canonical_json(junk)).hexdigest()
    reason = ""
    try:
        state_of(StateDocument(2, manifest, document.tensors))
    except StateError as error:
        reason = str(error)
    assert "\n" not in reason
    assert len(reason) < 1000


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.place == "manifest" and field.since == 1])
def test_an_entry_that_is_missing_is_named(name):
    document = read_document(DATA / "v2.safetensors")
    manifest = {key: value for key, value in document.manifest.items() if key != name}
    if name in ("epoch", "evidence", "widths"):  # the first files of version 1 had none of the first two
        manifest["optional"] = {}
        state_of(StateDocument(2, manifest, document.tensors))
        return
    with pytest.raises(StateError, match=name):
        state_of(StateDocument(2, manifest, document.tensors))


@pytest.mark.parametrize("tensor", ["u.conv", "v.out", "a_buff.hidden", "refractory.out"])
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(tensor):
    document = read_document(DATA / "v2.safetensors")
    for broken in (None, document.tensors[tensor].astype(np.int64), document.tensors[tensor][..., None]):
        tensors = {name: array for name, array in document.tensors.items() if name != tensor or broken is not None}
        if broken is not None:
            tensors[tensor] = broken
        with pytest.raises(StateError, match=tensor.partition(".")[0]):
            state_of(StateDocument(2, document.manifest, tensors))


def test_pickles_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(pickle.dumps({"u": np.zeros(3)}))
    with pytest.raises(StateError, match="is a pickle; pickles can run code and are never read"):
        load_state(path)
    path.write_bytes(safetensors.numpy.save({"u.conv": np.zeros(3)}))
    with pytest.raises(StateError, match=r"not a neuro_ros\.state file: its metadata names nothing"):
        load_state(path)


# --- another byte order -----------------------------------------------------------------------------------------------
def test_a_file_with_its_bytes_turned_round_is_told_so(tmp_path):
    data, path = (DATA / "v2.safetensors").read_bytes(), tmp_path / "s"
    path.write_bytes(data[7::-1] + data[8:])
    with pytest.raises(StateError, match="its bytes in another order: these files are little-endian"):
        load_state(path)


def test_tensors_with_their_bytes_turned_round_are_told_so(tmp_path):
    """A writer on a big-endian machine that forgets to turn them, and has a digest of what it wrote."""
    document = read_document(DATA / "v2.safetensors")
    turned = {name: array.byteswap() for name, array in document.tensors.items()}
    write(tmp_path / "s", 1, {key: value for key, value in document.manifest.items() if key != "optional"}, turned)
    with pytest.raises(StateError, match=r"they fit with their bytes turned round|taken as empty|is int32"):
        load_state(tmp_path / "s")
    manifest = {key: value for key, value in document.manifest.items() if key not in ("optional", "layer_digests")}
    with pytest.raises(StateError, match="they fit with their bytes turned round: tensors are little-endian"):
        state_of(StateDocument(2, manifest, turned))


def test_the_digest_is_that_of_little_endian_bytes_on_every_machine():
    document = read_document(DATA / "v2.safetensors")
    big = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in document.tensors.items()}
    assert StateDocument(2, document.manifest, big).digest() == document.digest()


# --- the document -----------------------------------------------------------------------------------------------------
def test_the_protocol_and_the_code_have_the_same_fields():
    text = (ROOT / "docs" / "state_transfer.md").read_text(encoding="utf-8")
    assert field_table() in text
    assert text.count("| field | in | since |") == 1
    for version, widths in WIDTHS.items():
        assert re.search(rf"version {version}.*`{re.escape(canonical_json(widths).decode())}`", text)


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_files_hold_what_the_table_says_and_nothing_else(name):
    document = read_document(DATA / f"{name}.safetensors")
    version = document.version
    manifest = {field.name for field in FIELDS if field.place == "manifest" and field.since <= version}
    assert set(document.manifest) - {"optional"} == manifest
    groups = {full.partition(".")[0] for full in document.tensors}
    known = {
        field.name
        for field in FIELDS
        if field.place == "tensors" and field.since <= version and not field.must_understand
    }
    assert groups == known
    for field in FIELDS:
        if field.name in document.declared:
            assert document.declared[field.name] == field.must_understand
            assert field.presence == "optional"
    for full, array in document.tensors.items():
        bits = document.manifest["widths"][full.partition(".")[0]]
        assert array.dtype == np.int32
        assert np.abs(array.astype(np.int64)).max(initial=0) <= 1 << (bits - 1 if bits > 6 else bits)
