# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros run`` and ``neuro_ros verify`` on the bundled recordings."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from neuro_ros.cli.command import main
from neuro_ros.events import Geometry, Windower, active_indices, open_recording
from neuro_ros.snn import (
    Conv2d,
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    Projection,
    SumPool2d,
    create_engine,
    engine,
    register_backend,
    save_model,
)
from neuro_ros.snn.lava_shim import INSTALL_HINT, has_lava

DATA = Path(__file__).resolve().parents[2] / "data"
AEDAT4, BAG = DATA / "evlib_sample.aedat4", DATA / "test_events_1"


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(11)

    def weights(*shape):
        return (rng.integers(-40, 60, shape) * 2).astype(np.int16)

    network = Network(
        [
            Layer("conv", Conv2d(weights(4, 2, 3, 3), 2, 1), Lif(900, 300, 200)),
            Layer("out", Dense(weights(3, 4 * 16 * 16)), Lif(900, 300, 500)),
        ],
        (2, 32, 32),
    )
    return Model(network, ("left", "right", "other"))


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(model, path)
    return path


def run_json(capsys, *arguments, expect=0):
    status = main([str(argument) for argument in arguments] + ["--json"])
    captured = capsys.readouterr()
    assert status == expect, captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("recording", [AEDAT4, BAG], ids=lambda path: path.name)
def test_run_accounts_for_every_event_and_digests_every_spike(capsys, model, model_file, recording):
    result = run_json(capsys, "run", model_file, recording)
    with open_recording(recording) as opened:
        windower = Windower(
            model.window_length_ns,
            model.bins,
            Geometry.fit(opened.width, opened.height, 32, 32),
            opened.width,
            opened.height,
        )
        windows = [window for batch in opened.batches() for window in windower.push(batch)] + windower.flush()
    events = result["events_binned"] + result["events_filtered"] + result["events_dropped"]
    assert result["events_in"] == events == windower.counters.events_in
    assert result["windows"] == len(result["labels"]) == len(windows)
    assert set(result["labels"]) <= {*model.labels, None}
    fixed = create_engine(model)
    digest, counts = hashlib.sha256(), np.zeros(2, int)
    feeds = [(active_indices(window.bitmap, window.cells), window.bins) for window in windows]
    for indices, bins in [*feeds, (np.zeros(0, np.uint32), 2)]:  # zero bins: one a connection
        for step in fixed.run_window(indices, bins, record=True).steps:
            for layer, spikes in enumerate(step):
                digest.update(np.uint32(len(spikes)).tobytes() + spikes.astype("<u4").tobytes())
                counts[layer] += len(spikes)
    assert result["sha256"] == digest.hexdigest()
    assert list(result["spikes_per_layer"].values()) == counts.tolist()
    assert counts.min() > 0
    assert result["steps"] == len(windows) * 10 + 2


@pytest.mark.lava
@pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")
def test_back_ends_give_one_digest(capsys, model_file):
    fixed = run_json(capsys, "run", model_file, AEDAT4, "--backend", "fixed")
    lava = run_json(capsys, "run", model_file, AEDAT4, "--backend", "lava")
    assert fixed["sha256"] == lava["sha256"]
    assert {**fixed, "backend": "lava"} == lava


@pytest.mark.lava
@pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")
def test_verify_agrees_over_every_way_that_a_spike_can_go(capsys, tmp_path):
    rng = np.random.default_rng(4)

    def weights(*shape):
        return (rng.integers(-20, 30, shape) * 2).astype(np.int16)

    pool = Projection(SumPool2d(64, 4), delays=rng.integers(0, 4, (2, 32, 32)))
    skip = Projection(Conv2d(weights(4, 1, 4, 4), 4, groups=2), "input", 2)
    again = Projection(Dense(weights(3, 3), -1), "out", 1)
    network = Network(
        [
            Layer("pool", pool, Lif(900, 300, 40)),
            Layer("conv", [Projection(Conv2d(weights(4, 2, 3, 3), 1, 2, dilation=2)), skip], Lif(900, 300, 60)),
            Layer("out", [Projection(Dense(weights(3, 4 * 8 * 8))), again], Lif(900, 300, 90)),
        ],
        (2, 32, 32),
    )
    path = tmp_path / "winding.safetensors"
    save_model(Model(network, ("left", "right", "other")), path)
    verified = run_json(capsys, "verify", path, AEDAT4, "--windows", 3)
    assert verified["mismatches"] == 0
    assert {"reference", "lava"} <= set(verified["compared"])
    assert min(verified["spikes_per_layer"].values()) > 0
    assert verified["windows"] == 3
    assert [entry["backend"] for entry in verified["unavailable"]] == ["loihi"]


def test_verify_lists_refused_layers_and_counts_mismatches(capsys, tmp_path, monkeypatch):
    resting = Model(
        Network(
            [
                Layer("rests", Conv2d(np.full((2, 2, 3, 3), 20, np.int16), 4), Lif(500, 500, 20, refractory=2)),
                Layer("out", Dense(np.full((2, 128), 8, np.int16)), Lif(500, 500, 20, refractory=1)),
            ],
            (2, 32, 32),
        ),
        ("a", "b"),
    )
    path = tmp_path / "resting.safetensors"
    save_model(resting, path)
    result = run_json(capsys, "verify", path, AEDAT4, "--windows", 2)
    assert result["mismatches"] == 0
    refused = [(entry["backend"], entry["layer"]) for entry in result["refused"] if entry["backend"] != "fixed"]
    assert refused == [("lava", "rests"), ("lava", "out"), ("loihi", "rests"), ("loihi", "out")]
    assert all("floating point only" in entry["reason"] for entry in result["refused"] if entry["backend"] != "fixed")

    shifted = Model(
        Network(
            [
                Layer("shifted", Conv2d(np.full((2, 2, 3, 3), 20, np.int16), 4, weight_exp=-1), Lif(500, 500, 20)),
                Layer("out", Dense(np.full((2, 128), 8, np.int16)), Lif(500, 500, 20)),
            ],
            (2, 32, 32),
        ),
        ("a", "b"),
    )
    path = tmp_path / "shifted.safetensors"
    save_model(shifted, path)

    def off_by_one(model):
        other = create_engine(model)
        other.set_registers("out", vth=5000)
        return other

    monkeypatch.setitem(sys.modules, "odd_back_end", SimpleNamespace(off_by_one=off_by_one))
    monkeypatch.setattr(engine, "_BACKENDS", {"fixed": engine._BACKENDS["fixed"]})
    register_backend("odd", "odd_back_end", "off_by_one")
    result = run_json(capsys, "verify", path, AEDAT4, expect=1)
    assert result["mismatches"] > 0
    assert not any(result["spike_mismatches_per_layer"]["fixed"].values())
    assert result["spike_mismatches_per_layer"]["odd"]["shifted"] == 0
    assert result["spike_mismatches_per_layer"]["odd"]["out"] > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "missing.safetensors", AEDAT4), "No such file"),
        (("run", AEDAT4, AEDAT4), "not a usable model file"),
        (("run", "MODEL", "missing.raw"), "missing.raw"),
        (("run", "MODEL", __file__), ""),
        (("verify", "MODEL", "missing.raw"), "missing.raw"),
    ],
)
def test_unreadable_input_is_one_line_and_exit_2(capsys, model_file, arguments, text):
    status = main([str(model_file) if argument == "MODEL" else str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert text in captured.err


def test_a_shipped_model_is_found_by_its_name(capsys):
    assert run_json(capsys, "run", "gesture", AEDAT4)["model_id"].startswith("gesture-")
