# SPDX-License-Identifier: Apache-2.0
"""States on disk: killed writers, full disks, what is kept; and streams that go on in another process and back end."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from killed_saver import made_state

from neuro_ros.cores.files import StateDirectory, StatePathError
from neuro_ros.snn import (
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    NetworkState,
    StateError,
    create_engine,
    load_model,
    load_state,
    save_state,
)

DATA = Path(__file__).parents[1] / "data"
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def model():
    return Model(
        Network([Layer("only", Dense(np.full((30, 1), 2, np.int16)), Lif(0, 0, 1))], (1, 1, 1)), [*map(str, range(30))]
    )


def child(*arguments, timeout_s=600.0, **options):
    """Run Python with the path of this process, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- another process, another back end --------------------------------------------------------------------------------
CONTINUE = """
import sys
from test_state_saving import go_on
print(go_on(sys.argv[1], sys.argv[2], range(4, 8), "fixed").hex())
"""


def go_on(name, state, windows, backend):
    """Load a model and a state, run windows, save the state, and return the spikes as the run digest has them."""
    model = load_model(DATA / "models" / f"{name}.safetensors")
    engine = create_engine(model, backend)
    spikes = b""
    try:
        engine.set_state(load_state(state, model))
        for number in windows:
            rng = np.random.default_rng([8, number])
            indices = np.flatnonzero(rng.random(model.bins * model.cells) < 0.3).astype(np.uint32)
            bits = model.network.input_bits
            options = {"values": rng.integers(1, 1 << bits, indices.size).astype(np.uint8)} if bits else {}
            for step in engine.run_window(indices, model.bins, record=True, **options).steps:
                spikes += b"".join(len(layer).to_bytes(4, "little") + layer.astype("<u4").tobytes() for layer in step)
        save_state(engine.state(), state)
    finally:
        engine.close()
    return spikes


def at_rest(name, path):
    save_state(NetworkState.at_rest(load_model(DATA / "models" / f"{name}.safetensors")), path)
    return path


def test_a_stream_that_goes_on_in_a_new_process_gives_the_spikes_of_one_that_was_never_interrupted(tmp_path):
    whole, cut = at_rest("version2", tmp_path / "whole"), at_rest("version2", tmp_path / "cut")
    expected = go_on("version2", whole, range(8), "fixed")
    spikes = go_on("version2", cut, range(4), "fixed")
    spikes += bytes.fromhex(child("-c", CONTINUE, "version2", cut))
    assert hashlib.sha256(spikes).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert cut.read_bytes() == whole.read_bytes()
    assert len(expected) > 10_000, "there was hardly a spike"


@pytest.mark.lava
@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava is not installed: make setup installs it")
def test_a_stream_goes_from_the_fixed_engine_to_lava_and_back(tmp_path):
    whole, cut = at_rest("version1", tmp_path / "whole"), at_rest("version1", tmp_path / "cut")
    expected = go_on("version1", whole, range(12), "fixed")
    spikes = b"".join(
        go_on("version1", cut, windows, backend)
        for windows, backend in ((range(4), "fixed"), (range(4, 8), "lava"), (range(8, 12), "fixed"))
    )
    assert hashlib.sha256(spikes).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert cut.read_bytes() == whole.read_bytes()


# --- killed while saving ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("keep", [1, 3])
def test_a_killed_writer_never_leaves_a_broken_file(keep, tmp_path, counts):
    kills = counts(f"writers of states killed, {keep} kept", reduced=15, full=1000)
    result = json.loads(child(SUPPORT / "killed_saver.py", tmp_path, kills, keep, 5, timeout_s=60.0 + 3.0 * kills))
    assert result["broken"] == []
    assert result["torn"] > 0, "no writer was killed in the middle of a write"
    assert result["reached"] > kills / 4, "the writers hardly wrote"
    marks = [*["", "~1", "~2"][:keep], "~new"]
    assert set(result["names"]) <= {f"state-cam{mark}.safetensors" for mark in marks}


# --- no space ---------------------------------------------------------------------------------------------------------
FULL = """
import os, resource, signal, sys
from pathlib import Path
from killed_saver import made_state
from neuro_ros.cores.files import StateDirectory
from neuro_ros.snn import Dense, Layer, Lif, Model, Network, StateError
import numpy as np
network = Network([Layer("only", Dense(np.full((30, 1), 2, np.int16)), Lif(0, 0, 1))], (1, 1, 1))
model = Model(network, [*map(str, range(30))])
directory = StateDirectory(sys.argv[1], 3)
path = directory.path("cam")
for number in range(3):
    directory.save(made_state(model, number), path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
else:
    filler = open(Path(sys.argv[1]) / "filler", "wb", 0)
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
for number in range(3, 9):
    try:
        directory.save(made_state(model, number), path)
        print("saved")
    except StateError as error:
        print(error)
"""


def assert_whole(folder, model, text):
    lines = text.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"cannot write {folder}/state-cam~new.safetensors: ") for line in lines), lines
    directory = StateDirectory(str(folder), 3)
    names = ["state-cam.safetensors", "state-cam~1.safetensors", "state-cam~2.safetensors"]
    assert [load_state(folder / name, model).sequence for name in names] == [2, 1, 0], "no older one made room in vain"
    assert sorted(path.name for path in folder.iterdir() if path.name != "filler") == names
    (state,), refused = directory.load_all(model)
    assert (state.sequence, refused) == (2, [])


def test_a_file_that_may_not_grow_leaves_the_older_ones_whole(tmp_path, model):
    text = child("-c", FULL, tmp_path, "limit")
    assert "File too large" in text
    assert_whole(tmp_path, model, text)


def test_a_full_disk_leaves_the_older_ones_whole(tmp_path, model):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        text = child("-c", FULL, tmp_path, "fill")
        assert "No space left on device" in text
        assert_whole(tmp_path, model, text)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# --- what is kept -----------------------------------------------------------------------------------------------------
def sequences(folder, model):
    return {path.name: load_state(path, model).sequence for path in sorted(folder.glob("state-*"))}


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_the_last_states_of_a_stream_are_kept(keep, tmp_path, model):
    directory = StateDirectory(str(tmp_path), keep)
    path = directory.path("cam")
    assert path.name == "state-cam.safetensors"
    for number in range(7):
        directory.save(made_state(model, number), path)
    marks = ["", "~1", "~2", "~3"][:keep]
    assert sequences(tmp_path, model) == {f"state-cam{mark}.safetensors": 6 - age for age, mark in enumerate(marks)}
    fewer = StateDirectory(str(tmp_path), 1)
    fewer.save(made_state(model, 7), path)
    assert sequences(tmp_path, model) == {"state-cam.safetensors": 7}


def test_a_damaged_state_is_named_and_the_one_before_it_stands_in(tmp_path, model):
    directory = StateDirectory(str(tmp_path), 3)
    path = directory.path("cam")
    for number in range(3):
        directory.save(made_state(model, number), path)
    path.write_bytes(path.read_bytes()[:-1])
    (state,), refused = directory.load_all(model)
    assert state.sequence == 1
    assert len(refused) == 1
    assert "state-cam.safetensors" in refused[0]


def test_a_state_that_came_in_whole_before_the_power_failed_is_the_newest(tmp_path, model):
    directory = StateDirectory(str(tmp_path), 2)
    directory.save(made_state(model, 1), directory.path("cam"))
    save_state(made_state(model, 2), tmp_path / "state-cam~new.safetensors")
    assert directory.load_all(model)[0][0].sequence == 2
    directory.save(made_state(model, 3), directory.path("cam"))
    assert sequences(tmp_path, model) == {"state-cam.safetensors": 3, "state-cam~1.safetensors": 1}


def test_without_links_the_older_state_moves(tmp_path, model, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    directory = StateDirectory(str(tmp_path), 2)
    for number in range(3):
        directory.save(made_state(model, number), directory.path("cam"))
    assert sequences(tmp_path, model) == {"state-cam.safetensors": 2, "state-cam~1.safetensors": 1}


def test_streams_that_were_saved_longest_ago_make_room(tmp_path, model):
    directory = StateDirectory(str(tmp_path), 2, max_streams=2)
    for age, stream in enumerate(["a", "b/1", "c"]):
        for number in range(2):
            directory.save(replace(made_state(model, number), stream_id=stream), directory.path(stream))
        for path in tmp_path.glob("state-*"):  # as if a minute lay between two streams
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 60 * 10**9)) if age < 2 else None
    states, refused = directory.load_all(model)
    assert ([state.stream_id for state in states], refused) == (["b/1", "c"], [])
    assert not list(tmp_path.glob("state-a*"))


def test_what_a_killed_writer_left_goes_after_a_minute(tmp_path, model):
    directory = StateDirectory(str(tmp_path), 2)
    old, new, foreign = (tmp_path / f".{name}.0123.tmp" for name in ("state-x.safetensors", "state-y.safetensors", "z"))
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 100, time.time() - 100))
    directory.save(made_state(model, 1), directory.path("cam"))
    assert (old.exists(), new.exists(), foreign.exists()) == (False, True, True)


def test_a_file_of_the_users_own_name_is_left_alone(tmp_path, model):
    directory = StateDirectory(str(tmp_path), 2, max_streams=1)
    for number in range(3):
        directory.save(made_state(model, number), directory.confine("mine.safetensors"))
        directory.save(made_state(model, number), directory.path("cam"))
    assert load_state(tmp_path / "mine.safetensors", model).sequence == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.safetensors",
        "state-cam.safetensors",
        "state-cam~1.safetensors",
    ]


def test_a_state_of_another_model_is_migrated_where_asked(tmp_path, model):
    layer = model.network.layers[0]
    out = Layer("out", Dense(np.full((30, 30), 2, np.int16)), Lif(0, 0, 1))
    wider = Model(Network([layer, out], (1, 1, 1)), model.labels)
    directory = StateDirectory(str(tmp_path))
    path = directory.path("cam")
    directory.save(made_state(model, 5), path)
    with pytest.raises(StateError, match="belongs to model"):
        directory.load(path, wider)
    state, digest, lines = directory.load_migrated(path, wider)
    assert digest == directory.load(path, model)[1]
    assert state.sequence == 5
    assert lines[0] == "layer 'out' is not in the state: it starts at rest"
    create_engine(wider).set_state(state)


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StatePathError, match="cannot be made"):
        StateDirectory(str(tmp_path / "file" / "states"))
    with pytest.raises(StatePathError, match="state_directory is not set"):
        StateDirectory("").path("cam")
