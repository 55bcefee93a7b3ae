# SPDX-License-Identifier: Apache-2.0
"""Netx: networks of lava-dl beside lava-dl's own integer arithmetic, spike for spike, and our own there and back."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exchange_peers import load, slayer_network, write_netx

from neuro_ros.hdf5 import _guard
from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, Projection, SumPool2d
from neuro_ros.snn.exchange import ExchangeError, FloatTwin, ImportOptions, export_model, import_model
from neuro_ros.snn.exchange.fields import write_tree
from neuro_ros.snn.reference import ReferenceEngine

DATA = Path(__file__).resolve().parents[2] / "data" / "exchange"


@pytest.fixture
def trusted(monkeypatch):
    """Leave out the process that looks at the structure first, which takes a while, for files that are ours."""
    monkeypatch.setattr(_guard, "_try_out", lambda path: None)


def spikes_of(model, inputs):
    """Run a model on (steps, c, y, x) and return the spikes of each layer, (steps, neurons).

    A population of slayer is at rest when its first input arrives; ours has stepped once before, for nothing but its
    bias. So what that step left behind is taken away.
    """
    engine = ReferenceEngine(model)
    rows = []
    for step, values in enumerate(inputs.astype(np.int64)):
        rows.append([layer.spikes.ravel() for layer in engine.step(values)])
        if step == 0:
            state = engine.state()
            layers = [replace(layer, v=np.zeros_like(layer.v)) for layer in state.layers]
            layers[1:] = [replace(layer, a_buff=np.zeros_like(layer.a_buff)) for layer in layers[1:]]
            engine.set_state(replace(state, layers=tuple(layers)))
            rows[0] = [np.zeros_like(row) for row in rows[0]]
    return [np.array([row[index] for row in rows]) for index in range(len(rows[0]))]


def differing(imported, inputs, theirs):
    """Return per layer how many spikes differ from slayer's, whose spikes leave a population with its delay."""
    found = []
    layers = imported.model.network.layers
    for index, (mine, other) in enumerate(zip(spikes_of(imported.model, inputs), theirs, strict=True)):
        late = np.zeros(mine.shape[1], int)
        if index + 1 < len(layers):
            late = imported.network.layers[index + 1].projections[0].delays
            late = np.broadcast_to(late, imported.network.layers[index].shape).ravel().astype(int)
        elif imported.report.layers[-1].dropped:
            found.append(0)  # compared by the caller
            continue
        moved = np.zeros_like(mine)
        for neuron, steps in enumerate(late):
            moved[steps:, neuron] = mine[: len(mine) - steps, neuron]
        found.append(int(np.sum(moved != other.astype(bool))))
    return found


@pytest.mark.parametrize("name", ["slayer_1", "slayer_2"])
def test_a_file_of_slayer_spikes_as_slayer_does(name):
    inputs, theirs, _ = load(DATA / f"{name}.npz")
    imported = import_model(DATA / f"{name}.net", "netx")
    assert imported.model.network.input_shape == (2, 8, 8)  # the file has no input layer
    assert all(layer.sum() > 20 for layer in theirs)
    assert differing(imported, inputs, theirs) == [0] * 5
    for layer in imported.report.layers:
        assert layer.scale == 1.0
        assert all(part.rms_error == part.zeroed == part.clipped == 0 for part in layer.projections)
        assert layer.threshold.relative_error == layer.bias_error == 0.0
    kinds = [layer.projections[0].connection.kind for layer in imported.model.network.layers]
    assert kinds == ["conv2d", "sum_pool2d", "conv2d", "dense", "dense"]
    assert imported.model.network.layers[2].projections[0].connection.groups == 2


def test_random_networks_of_slayer_spike_alike(tmp_path, counts, trusted):
    pytest.importorskip("lava.lib.dl", reason="lava-dl is not installed")
    for seed in range(counts("networks of lava-dl", reduced=3, full=200)):
        blocks, inputs, theirs = slayer_network(seed)
        write_netx(blocks, tmp_path / "slayer.net")
        imported = import_model(tmp_path / "slayer.net", "netx", ImportOptions(input_shape=(2, 8, 8)))
        assert differing(imported, inputs, theirs) == [0] * 5, f"seed {seed}"


# --- there and back ---------------------------------------------------------------------------------------------------
def chain_model(seed):
    """Draw a model that netx can say."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return (rng.integers(-40, 41, shape) * 2).astype(np.int16)

    def neuron(channels):
        bias = rng.integers(-20, 20, channels) * 2
        return Lif(int(rng.integers(0, 4096)), int(rng.integers(0, 4096)), int(rng.integers(1, 5000)), bias, 6)

    delays = np.broadcast_to(rng.integers(0, 63, (4, 1, 1)), (4, 8, 8))
    layers = [
        Layer("layer0_conv", Conv2d(weight(4, 1, 3, 3), 1, 1, 0, 1, 2), neuron(4)),
        Layer("layer1_pool", Projection(SumPool2d(np.asarray(96, np.int16), 2), "", delays), neuron(4)),
        Layer("layer2_dense", Dense(weight(7, 64)), neuron(7)),
        Layer(
            "layer3_dense_rec",
            [
                Projection(Dense(weight(5, 7)), "", rng.integers(0, 9, (7, 1, 1))),
                Projection(Dense(weight(5, 5)), "layer3_dense_rec"),
            ],
            neuron(5),
        ),
    ]
    return Model(Network(layers, (2, 8, 8)), [f"class{i}" for i in range(5)])


def test_own_networks_come_back_as_the_same_integers(tmp_path, counts, trusted):
    for seed in range(counts("netx round trips", reduced=3, full=50)):
        model = chain_model(seed)
        export_model(model, tmp_path / "own.net", "netx")
        imported = import_model(tmp_path / "own.net", "netx")
        assert imported.model.network.topology_digest() == model.network.topology_digest()
        for ours, back in zip(model.network.layers, imported.model.network.layers, strict=True):
            assert ours.neuron.parameters() == back.neuron.parameters()
            assert np.array_equal(ours.neuron.bias_mant, back.neuron.bias_mant)
            for one, other in zip(ours.projections, back.projections, strict=True):
                assert np.array_equal(one.connection.weight, other.connection.weight)
                assert (one.source_delays(one.delays.shape or (1, 1, 1)) == other.delays).all()


def test_slayer_files_come_back_from_an_export(tmp_path):
    imported = import_model(DATA / "slayer_1.net", "netx")
    export_model(imported.model, tmp_path / "again.net", "netx")
    again = import_model(tmp_path / "again.net", "netx")
    assert again.model.network.topology_digest() == imported.model.network.topology_digest()
    inputs, _, _ = load(DATA / "slayer_1.npz")
    for one, other in zip(spikes_of(imported.model, inputs), spikes_of(again.model, inputs), strict=True):
        assert (one == other).all()


def test_what_netx_cannot_say_is_named_at_once(tmp_path):
    rng = np.random.default_rng(1)
    weight = (rng.integers(-40, 41, (4, 8)) * 2).astype(np.int16)
    layers = [
        Layer("exponent", Dense(weight, -2), Lif(1, 1, 100)),
        Layer("bias", Dense(weight[:, :4]), Lif(1, 1, 100, 3, 2)),
        Layer("skip", [Projection(Dense(weight[:, :4])), Projection(Dense(weight), "input")], Lif(1, 1, 100)),
        Layer("rest", Dense(weight[:, :4]), Lif(1, 1, 100, refractory=3)),
    ]
    model = Model(Network(layers, (2, 2, 2)), list("abcd"))
    with pytest.raises(ExchangeError) as refusal:
        export_model(model, tmp_path / "own.net", "netx")
    for part in (
        "'exponent': weight_exp is -2",
        "'bias': biases that are",
        "'skip': it is fed",
        "'rest': a refractory",
    ):
        assert part in str(refusal.value)
    assert not (tmp_path / "own.net").exists()


@pytest.mark.lava
def test_lava_dl_loads_an_export_and_spikes_alike(tmp_path):
    pytest.importorskip("lava.lib.dl", reason="lava-dl is not installed")
    rng = np.random.default_rng(4)

    def weight(*shape):
        return (rng.integers(-40, 41, shape) * 2).astype(np.int16)

    layers = [
        Layer("conv", Conv2d(weight(4, 2, 3, 3), 2, 1), Lif(800, 300, 200, rng.integers(-20, 20, 4), 6)),
        Layer("dense", Dense(weight(10, 64)), Lif(1500, 100, 150, rng.integers(-20, 20, 10), 6)),
        Layer("out", Dense(weight(5, 10)), Lif(4095, 200, 100)),
    ]
    model = Model(Network(layers, (2, 8, 8)), list("abcde"))
    export_model(model, tmp_path / "own.net", "netx")
    inputs = (rng.random((40, 2, 8, 8)) < 0.2).astype(np.int64)
    np.save(tmp_path / "in.npy", inputs)
    script = Path(__file__).resolve().parents[2] / "support" / "exchange_lava.py"
    command = [sys.executable, str(script), *(str(tmp_path / name) for name in ("own.net", "in.npy", "out.npy"))]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    engine = ReferenceEngine(model)
    expected = np.array([engine.step(values)[-1].spikes.ravel() for values in inputs]).T
    assert expected.sum() > 20
    assert (np.load(tmp_path / "out.npy").astype(bool) == expected).all()


# --- files by hand ----------------------------------------------------------------------------------------------------
NEURON = {"type": "CUBA", "iDecay": 1024, "vDecay": 256, "vThMant": 80, "refDelay": 1, "gradedSpike": np.False_}


def kind(name):
    return np.array([name.encode()], "S10")


def dense(n_out, n_in, seed=1, **more):
    weight = np.random.default_rng(seed).integers(-60, 61, (n_out, n_in)) * 2
    return {
        "type": kind("dense"),
        "shape": np.array([n_out]),
        "weight": weight.astype(np.float32),
        "neuron": NEURON,
    } | more


def imported_of(tmp_path, *layers, options=None):
    write_tree({"layer": {str(index): layer for index, layer in enumerate(layers)}}, tmp_path / "hand.net")
    return import_model(tmp_path / "hand.net", "netx", options)


def test_an_average_in_between_is_folded_in_exactly(tmp_path, trusted):
    layers = [dense(6, 5), {"type": kind("average"), "shape": np.array([2, 1, 1])}, dense(4, 2, seed=2)]
    imported = imported_of(tmp_path, *layers)
    last = imported.model.network.layers[1]
    assert last.neuron.vth == 3 * 80
    assert np.array_equal(last.projections[0].connection.weight, np.repeat(layers[2]["weight"], 3, axis=1))
    assert "average of 3" in imported.report.notes[0]
    # beside the average itself, in floating point
    rng = np.random.default_rng(3)
    twin, engine = FloatTwin(imported.network), ReferenceEngine(imported.model)
    i, v, coming = np.zeros(4), np.zeros(4), np.zeros(4)
    differing = total = 0
    for _ in range(300):
        x = (rng.random((5, 1, 1)) < 0.4).astype(np.int64)
        first, second = (fired.ravel() for fired in twin.step(x))
        i = i * 0.75 + coming
        v = v * (1 - 256 / 4096) + i
        fired = v > 80.0
        v[fired] = 0.0
        coming = layers[2]["weight"] @ first.reshape(2, 3).mean(axis=1)
        assert (fired == second).all()
        total += fired.sum()
        differing += np.sum(engine.step(x)[1].spikes.ravel() != fired)
    assert total > 50
    assert differing <= 0.05 * total


def test_an_average_at_the_end_fires_once_for_as_many_spikes(tmp_path, trusted):
    neuron = NEURON | {"vThMant": 1}
    layers = [dense(6, 5, neuron=neuron), {"type": kind("average"), "shape": np.array([2, 1, 1])}]
    imported = imported_of(tmp_path, *layers)
    assert imported.model.network.classes == 2
    assert "fires once for 3 spikes" in imported.report.layers[1].notes[0]
    engine = ReferenceEngine(imported.model)
    rng = np.random.default_rng(3)
    counted, fired = np.zeros(2), np.zeros(2)
    for _ in range(300):
        first, last = engine.step((rng.random((5, 1, 1)) < 0.4).astype(np.int64))
        fired += last.spikes.ravel()
        counted += first.spikes.reshape(2, 3).sum(axis=1)
    assert counted.min() > 100
    assert (fired <= counted / 3).all()  # a reset to zero loses what is beyond three
    assert (fired >= counted / 6).all()


def test_a_plane_that_the_pool_does_not_divide_is_padded_at_the_far_end(tmp_path, trusted):
    conv = {
        "type": kind("conv"),
        "weight": np.full((1, 1, 1, 1), 100.0),
        "neuron": NEURON,
        "shape": np.array([1, 5, 4]),
    }
    pool = {"type": kind("pool"), "weight": np.full((1, 1, 2, 2), 64.0), "neuron": NEURON, "shape": np.array([1, 3, 2])}
    imported = imported_of(tmp_path, conv, pool)
    linear = imported.network.layers[1].projections[0].linear
    x = np.random.default_rng(1).random((1, 1, 5, 4))
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))
    assert np.allclose(linear.apply(x)[0, 0], 64 * padded[0, 0].reshape(3, 2, 2, 2).sum(axis=(1, 3)))


def test_decays_without_a_register_are_reported(tmp_path, trusted):
    imported = imported_of(tmp_path, dense(3, 4, neuron=NEURON | {"iDecay": 0, "vDecay": 4096}))
    (layer,) = imported.report.layers
    assert layer.tau_syn.clipped
    assert layer.tau_mem.clipped
    assert (imported.model.network.layers[0].neuron.du, imported.model.network.layers[0].neuron.dv) == (0, 4095)
    assert len(layer.notes) == 2


def test_long_delays_are_clipped_as_netx_does_and_counted(tmp_path, trusted):
    layers = [dense(3, 4, delay=np.array([0.0, 62.0, 99.9])), dense(2, 3, seed=2, delay=np.array([1.0, 5.0]))]
    imported = imported_of(tmp_path, *layers)
    assert imported.model.network.layers[1].projections[0].delays.ravel().tolist() == [0, 62, 62]
    assert imported.report.layers[1].projections[0].delays_clipped == 1
    assert "delays of up to 5 steps of the last layer" in imported.report.layers[1].dropped[0]


def test_weights_off_the_grid_are_rounded_and_reported(tmp_path, trusted):
    imported = imported_of(tmp_path, dense(2, 3, weight=np.array([[1.0, -3.0, 400.0], [0.4, 2.0, -2.0]])))
    (part,) = imported.report.layers[0].projections
    assert part.rms_error > 0
    assert "another one was chosen" in imported.report.layers[0].notes[0]


def test_sums_beyond_the_accumulator_are_scaled_down_and_reported(tmp_path, trusted):
    # 1500 synapses of 254 are beyond 2^24 >> 6, which lava-dl's int64 does not mind
    imported = imported_of(tmp_path, dense(2, 1500, weight=np.full((2, 1500), 254.0)))
    (layer,) = imported.report.layers
    assert layer.scale < 0.7
    assert "overflow with the scale of the file" in layer.notes[0]
    assert layer.threshold.effective == pytest.approx(80, rel=0.02)


def test_input_neurons_are_a_layer(tmp_path, trusted):
    first = {"type": kind("input"), "shape": np.array([2, 3, 3]), "neuron": NEURON, "weight": np.array([[96.0]])}
    imported = imported_of(tmp_path, first, dense(3, 18))
    layer = imported.model.network.layers[0]
    assert (layer.projections[0].connection.kind, int(layer.projections[0].connection.weight)) == ("sum_pool2d", 96)
    assert imported.model.network.shapes == ((2, 3, 3), (3, 1, 1))


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        (
            [dense(3, 4), {"type": kind("convT")}, {"type": kind("concat")}],
            r"/layer/1: .*'convT'.*; /layer/2: .*'concat'",
        ),
        ([dense(3, 4), dense(2, 9)], "/layer/1|weight has 9 columns"),
        ([dense(3, 4, neuron=NEURON | {"type": "SDNN"})], "of type 'SDNN'"),
        ([dense(3, 4, neuron=NEURON | {"gradedSpike": np.True_})], "graded spikes"),
        ([dense(3, 4, neuron=NEURON | {"iDecay": np.array([1, 2, 3])})], "iDecay spans 1..3"),
        ([dense(3, 4, neuron=NEURON | {"vDecay": -1})], "vDecay spans -1..-1, outside 0..4096"),
        ([dense(3, 4, neuron=NEURON | {"vThMant": 1.5})], "vThMant is 1.5, not a whole number"),
        ([dense(3, 4, weight=np.full((3, 4), np.nan))], "/layer/0/weight has 12 values of 12 that are not finite"),
        ([dense(3, 4, bias=np.zeros(5))], "bias has 5 values for 3 channels"),
        ([dense(3, 4, delay=np.zeros(2)), dense(2, 3)], "delay has 2 values for 3 channels"),
        ([dense(3, 4, delay=np.array([-2.0, 0, 0])), dense(2, 3)], "a delay is -2"),
        ([dense(3, 4), {"type": kind("average")}], "does not say its shape"),
        ([{"type": kind("flatten"), "shape": np.array([4, 1, 1])}], "no layer has neurons"),
        ([{"type": kind("conv"), "weight": np.ones((2, 2, 3, 3)), "neuron": NEURON, "stride": 2}], "--input-shape"),
        ([{k: v for k, v in dense(3, 4).items() if k != "neuron"}], "a read-out without spikes"),
    ],
)
def test_bad_files_are_one_line(layers, complaint, tmp_path, trusted):
    with pytest.raises(ExchangeError, match=complaint) as refusal:
        imported_of(tmp_path, *layers)
    assert "\n" not in str(refusal.value)


def test_a_pool_that_mixes_channels_in_lava_dl_is_refused(tmp_path, trusted):
    conv = {
        "type": kind("conv"),
        "weight": np.full((1, 1, 1, 1), 100.0),
        "neuron": NEURON,
        "shape": np.array([1, 5, 4]),
    }
    pool = {"type": kind("pool"), "weight": np.full((1, 1, 3, 3), 64.0), "neuron": NEURON, "shape": np.array([1, 2, 2])}
    with pytest.raises(ExchangeError, match="mixes channels"):
        imported_of(tmp_path, conv, pool)
