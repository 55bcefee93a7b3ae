# SPDX-License-Identifier: Apache-2.0
"""NIR: our own networks there and back, and those of other libraries beside their own runs."""

import itertools
import json
from pathlib import Path

import exchange_peers
import hypothesis
import numpy as np
import pytest
from exchange_peers import load
from hypothesis import given
from random_networks import network_models

from neuro_ros.hdf5 import _guard
from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, Projection
from neuro_ros.snn.exchange import ExchangeError, FloatTwin, ImportOptions, export_model, import_model, random_windows
from neuro_ros.snn.exchange.fields import write_tree
from neuro_ros.snn.reference import ReferenceEngine

DATA = Path(__file__).resolve().parents[2] / "data" / "exchange"


# --- there and back ---------------------------------------------------------------------------------------------------
def test_own_networks_come_back_as_the_same_integers(tmp_path, counts, trusted):
    path = tmp_path / "own.nir"

    # no shrinking: the networks are small, and it would take minutes
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)

    @hypothesis.settings(phases=phases, max_examples=counts("NIR round trips", reduced=20, full=300))
    @given(network_models())
    def round_trip(model):
        export_model(model, path, "nir")
        imported = import_model(path, "nir")
        assert imported.model.digest == model.digest
        for layer in imported.report.layers:
            assert all(part.rms_error < 1e-6 and part.zeroed == part.clipped == 0 for part in layer.projections)
            assert not layer.dropped

    round_trip()


def test_nir_itself_reads_what_is_written(tmp_path):
    nir = pytest.importorskip("nir", reason="the nir package is not installed")
    model = small_model()
    export_model(model, tmp_path / "own.nir", "nir")
    graph = nir.read(tmp_path / "own.nir")  # with its type check
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"CubaLIF", "LIF", "Linear", "Conv2d", "Delay"}
    nir.write(tmp_path / "theirs.nir", graph)
    assert import_model(tmp_path / "theirs.nir", "nir").model.digest == model.digest


def small_model():
    """Return a model with a convolution, delays, recurrence, a skip connection and biases."""
    rng = np.random.default_rng(3)

    def weight(*shape):
        return (rng.integers(-60, 61, shape) * 2).astype(np.int16)

    layers = [
        Layer(
            "conv", Projection(Conv2d(weight(3, 2, 3, 3), 1, 1), "", 3), Lif(400, 100, 300, rng.integers(-50, 50, 3), 6)
        ),
        Layer("fast", Dense(weight(8, 75), 1), Lif(4095, 0, 190)),
        Layer(
            "output",
            [
                Projection(Dense(weight(5, 8))),
                Projection(Dense(weight(5, 5)), "output"),
                Projection(Dense(weight(5, 75), -1), "conv", rng.integers(0, 9, (3, 5, 5))),
            ],
            Lif(1000, 300, 900, -3, 2, 4),
        ),
    ]
    return Model(
        Network(layers, (2, 5, 5)), [f"class{i}" for i in range(5)], 40_000_000, 8, "small", record={"seed": 3}
    )


def test_an_edited_file_is_read_by_its_values(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    model = small_model()
    export_model(model, tmp_path / "own.nir", "nir")
    with h5py.File(tmp_path / "own.nir", "r+") as file:
        file["node/nodes/fast/v_threshold"][...] *= 2
        file["node/nodes/fast.weight/weight"][0, 0] = 1e4  # far beyond what the remembered scale holds
    report = import_model(tmp_path / "own.nir", "nir").report.layers[1]
    assert "overflow with the scale of the file" in report.notes[0]
    assert report.threshold.nominal == pytest.approx(2 * 190 / 256)
    assert report.projections[0].zeroed > 0


# --- other libraries --------------------------------------------------------------------------------------------------
def run_beside(name):
    """Return per layer (their spikes, float twin's, integers'), each (steps, neurons), in step with each other."""
    inputs, theirs, about = load(DATA / f"{name}.npz")
    imported = import_model(DATA / f"{name}.nir", "nir", ImportOptions(**about["options"]))
    shape = imported.network.input_shape
    twin, engine = FloatTwin(imported.network), ReferenceEngine(imported.model)
    rest = np.zeros((len(theirs), *inputs.shape[1:]), inputs.dtype)
    rows = []
    for step in np.concatenate([inputs, rest]):
        values = step.reshape(shape).astype(np.int64)
        rows.append(
            [(a.ravel(), b.spikes.ravel()) for a, b in zip(twin.step(values), engine.step(values), strict=True)]
        )
    steps = len(inputs)
    found = []
    for index, layer in enumerate(theirs):
        # a connection takes a step here and none there
        part = rows[1 + index : 1 + index + steps]
        found.append((layer.astype(bool), *(np.array([row[index][which] for row in part]) for which in (0, 1))))
    return imported, found


@pytest.mark.parametrize(
    ("name", "integers_differ"),
    # of the spikes of all layers that they have in their library, in floating point; the rest is quantisation
    [("snntorch", (2, 17, 28)), ("norse", (6, 13)), ("sinabs", (18, 149, 24))],
)
def test_the_float_twin_spikes_as_their_library_does(name, integers_differ):
    _, layers = run_beside(name)
    for index, ((theirs, twin, integers), known) in enumerate(zip(layers, integers_differ, strict=True)):
        assert theirs.sum() > 30, "nothing to compare"
        assert (twin == theirs).all(), f"layer {index}: {np.sum(twin != theirs)} of {theirs.sum()} spikes differ"
        assert np.sum(integers != theirs) == known
        assert abs(int(integers.sum()) - int(theirs.sum())) <= 0.1 * theirs.sum()


def test_biases_act_a_step_earlier_here(tmp_path, trusted):
    # a population that is fed a step late integrates its bias once more; the threshold is met a step earlier at first
    _, layers = run_beside("spikingjelly")
    (theirs, twin, integers), _ = layers
    assert 0 < np.sum(twin != theirs) <= 0.1 * theirs.sum()
    assert np.sum(integers != theirs) <= 0.2 * theirs.sum()


def test_another_reset_is_not_seen_in_a_file(tmp_path, trusted):
    # NIR knows a reset to a value alone; snntorch's default subtracts, a step late, and exports the same graph
    _, theirs, _ = load(DATA / "snntorch_subtract.npz")
    _, zero, _ = load(DATA / "snntorch.npz")
    _, layers = run_beside("snntorch_subtract")
    assert theirs[0].sum() > zero[0].sum()
    assert np.sum(layers[0][1] != layers[0][0]) > 10


def test_the_report_counts_the_difference():
    about = load(DATA / "sinabs.npz")[2]
    imported = import_model(DATA / "sinabs.nir", "nir", ImportOptions(**about["options"]))
    windows = [(indices, 10) for indices in random_windows((2, 8, 8), 10, 6, 0.2, 1)]
    report = imported.compared(windows, "random").report.as_dict()
    json.dumps(report)
    assert report["difference"]["steps"] == 60
    first = report["difference"]["layers"][0]
    assert first["spikes_float"] > 300
    assert 0 < first["differing"] < 0.1 * first["spikes_float"]
    assert first["wrapped"] == 0
    assert 0 < report["layers"][0]["projections"][0]["rms_error"] < 0.01
    assert report["layers"][0]["tau_mem"]["effective"] == np.inf


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of nirtorch, by the libraries that call it
@pytest.mark.parametrize("make", ["make_snntorch", "make_norse", "make_sinabs", "make_spikingjelly"])
def test_the_installed_libraries_still_write_the_same(make, tmp_path):
    pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    library = make.removeprefix("make_")
    pytest.importorskip(library, reason=f"{library} is not installed")
    getattr(exchange_peers, make)(tmp_path)
    for mine, theirs in zip(load(tmp_path / f"{library}.npz")[1], load(DATA / f"{library}.npz")[1], strict=True):
        assert (mine == theirs).all()
    options = ImportOptions(**load(DATA / f"{library}.npz")[2]["options"])
    fresh, kept = (import_model(folder / f"{library}.nir", "nir", options).model for folder in (tmp_path, DATA))
    assert fresh.network.topology_digest() == kept.network.topology_digest()


@pytest.fixture
def trusted(monkeypatch):
    """Leave out the process that looks at the structure first, which takes a while, for files that are ours."""
    monkeypatch.setattr(_guard, "_try_out", lambda path: None)


# --- graphs by hand ---------------------------------------------------------------------------------------------------
def graph_tree(nodes, edges, size=4, out=3):
    """Return the groups of a file with an input of `size`, an output, and `nodes` and `edges` in between."""
    ends = {"in": {"type": "Input", "shape": np.array([size])}, "out": {"type": "Output", "shape": np.array([out])}}
    names = np.array(edges, dtype=object)
    return {"version": "1.0", "node": {"type": "NIRGraph", "nodes": {**ends, **nodes}, "edges": names}}


def cuba(n, **changes):
    ones = np.ones(n)
    values = {
        "tau_mem": 0.01,
        "tau_syn": 0.005,
        "r": 10.0,
        "w_in": 5.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
    }
    return {"type": "CubaLIF", **{key: ones * value for key, value in (values | changes).items()}}


def lif(n, **changes):
    ones = np.ones(n)
    values = {"tau": 0.01, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    return {"type": "LIF", **{key: ones * value for key, value in (values | changes).items()}}


def linear(*shape, seed=1, scale=1.0):
    return {"type": "Linear", "weight": np.random.default_rng(seed).normal(size=shape) * scale}


STEP = ImportOptions(step_s=0.001)


def imported_of(tmp_path, nodes, edges, options=STEP, **sizes):
    write_tree(graph_tree(nodes, edges, **sizes), tmp_path / "graph.nir")
    return import_model(tmp_path / "graph.nir", "nir", options)


def chain(*names):
    return list(itertools.pairwise(names))


def euler(weight, neuron, inputs, delays=None, bias=0.0, step_s=0.001):
    """Run one population by the equations of NIR with euler steps, v and i in the file's own units."""
    n = len(weight)
    v, i = np.array(neuron["v_reset"], float), np.zeros(n)
    spikes = []
    for t in range(len(inputs)):
        late = (
            inputs[t] if delays is None else np.array([inputs[t - d, k] if t >= d else 0 for k, d in enumerate(delays)])
        )
        i = i + step_s / neuron["tau_syn"] * (neuron["w_in"] * (weight @ late + bias) - i)
        v = v + step_s / neuron["tau_mem"] * (neuron["v_leak"] - v + neuron["r"] * i)
        fired = v > neuron["v_threshold"]
        v = np.where(fired, neuron["v_reset"], v)
        spikes.append(fired)
    return np.array(spikes)


def test_reset_leak_gain_and_threshold_of_each_neuron_become_weights_and_biases(tmp_path, trusted):
    rng = np.random.default_rng(5)
    neuron = cuba(
        3,
        v_threshold=np.array([0.9, 1.4, 2.0]),
        v_reset=np.array([-0.2, 0.3, 0.0]),
        v_leak=np.array([0.1, -0.3, 0.4]),
        r=np.array([8.0, 12.0, 30.0]),
        w_in=np.array([5.0, 4.0, 6.0]),
    )
    weight = rng.normal(size=(3, 4))
    nodes = {"w": {"type": "Linear", "weight": weight}, "n": neuron}
    imported = imported_of(tmp_path, nodes, chain("in", "w", "n", "out"))
    assert len(imported.report.layers[0].notes) == 2  # the reset, and the thresholds
    inputs = (rng.random((200, 4)) < 0.3).astype(float)
    expected = euler(weight, neuron, inputs)
    twin, engine = FloatTwin(imported.network), ReferenceEngine(imported.model)
    both = [(twin.step(x.reshape(4, 1, 1))[0], engine.step(x.astype(np.int64).reshape(4, 1, 1))[0]) for x in inputs]
    # the first step there is the second here, in which the leak has acted once more
    got = np.array([fired.ravel() for fired, _ in both])[1:]
    assert expected.sum() > 60
    assert np.sum(got != expected[:-1]) <= 0.05 * expected.sum()
    integers = np.array([step.spikes.ravel() for _, step in both])[1:]
    assert np.sum(integers != expected[:-1]) <= 0.1 * expected.sum()


def test_delays_become_steps_and_what_is_too_long_is_counted(tmp_path, trusted):
    delays = np.array([0.0, 0.003, 0.0125, 0.1])
    nodes = {"d": {"type": "Delay", "delay": delays}, "w": linear(3, 4), "n": cuba(3)}
    imported = imported_of(tmp_path, nodes, chain("in", "d", "w", "n", "out"))
    (part,) = imported.model.network.layers[0].projections
    assert part.delays.ravel().tolist() == [0, 3, 12, 62]
    (report,) = imported.report.layers[0].projections
    assert (report.delay_steps, report.delays_clipped) == (62, 1)
    assert report.delay_error_steps == pytest.approx(38.0)
    rng = np.random.default_rng(2)
    inputs = (rng.random((150, 4)) < 0.3).astype(float)
    expected = euler(nodes["w"]["weight"], nodes["n"], inputs, [0, 3, 12, 62])
    engine = ReferenceEngine(imported.model)
    got = np.array([engine.step(x.astype(np.int64).reshape(4, 1, 1))[0].spikes.ravel() for x in inputs])[1:]
    assert expected.sum() > 20
    assert np.sum(got != expected[:-1]) <= 0.05 * expected.sum()


def test_the_bias_of_a_slow_synapse_is_its_steady_state(tmp_path, trusted):
    weight = {"type": "Affine", "weight": np.zeros((2, 4)), "bias": np.array([0.024, 0.0])}
    imported = imported_of(tmp_path, {"w": weight, "n": cuba(2)}, chain("in", "w", "n", "out"), out=2)
    (layer,) = imported.report.layers
    assert "steady state" in layer.notes[0]
    expected = euler(weight["weight"], cuba(2), np.zeros((400, 4)), bias=weight["bias"])
    engine = ReferenceEngine(imported.model)
    got = np.array([engine.step(np.zeros((4, 1, 1), np.int64))[0].spikes.ravel() for _ in range(400)])
    # beyond the first steps, intervals are those of the steady state
    intervals = [np.diff(np.flatnonzero(spikes[:, 0]))[2:15] for spikes in (got, expected)]
    assert intervals[0].min() > 10
    assert np.abs(intervals[0] - intervals[1]).max() <= 1
    assert not got[:, 1].any()


def test_subgraphs_and_recurrence_are_taken_apart(tmp_path, trusted):
    inner = {
        "type": "NIRGraph",
        "nodes": {
            "input": {"type": "Input", "shape": np.array([3])},
            "lif": lif(3),
            "w_rec": linear(3, 3, seed=4),
            "output": {"type": "Output", "shape": np.array([3])},
        },
        "edges": np.array([("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")], dtype=object),
    }
    nodes = {"w": linear(3, 4), "cell": inner, "w2": linear(2, 3, seed=2), "last": lif(2)}
    imported = imported_of(tmp_path, nodes, chain("in", "w", "cell", "w2", "last", "out"), out=2)
    first, last = imported.model.network.layers
    assert (first.name, last.name) == ("cell_lif", "last")
    assert sorted(part.source for part in first.projections) == ["cell_lif", "input"]


def test_sums_skips_and_scales_become_projections(tmp_path, trusted):
    nodes = {
        "w": linear(3, 4),
        "a": lif(3),
        "w2": linear(3, 3, seed=2),
        "skip": linear(3, 4, seed=3),
        "s": {"type": "Scale", "scale": np.full(3, 0.5)},
        "b": lif(3),
    }
    edges = [*chain("in", "w", "a", "w2", "s", "b", "out"), ("in", "skip"), ("skip", "s")]
    imported = imported_of(tmp_path, nodes, edges)
    parts = {part.source: part for part in imported.network.layers[1].projections}
    assert set(parts) == {"a", "input"}
    assert np.allclose(parts["input"].linear.weight, 0.5 * nodes["skip"]["weight"])  # gain 1: step r / tau
    assert imported.model.network.depth == 2


def test_decays_that_differ_are_refused_or_merged(tmp_path, trusted):
    nodes = {"w": linear(3, 4), "n": lif(3, tau=np.array([0.01, 0.02, 0.04]))}
    edges = chain("in", "w", "n", "out")
    with pytest.raises(ExchangeError, match=r"node 'n': the membrane leaves from 0.9 to 0.975 .*--merge-decays"):
        imported_of(tmp_path, nodes, edges)
    imported = imported_of(tmp_path, nodes, edges, ImportOptions(step_s=0.001, merge_decays=True))
    assert imported.network.layers[0].kept_v == pytest.approx(np.mean([0.9, 0.95, 0.975]))
    assert "the mean was taken" in imported.report.layers[0].notes[0]


def test_everything_that_has_no_counterpart_is_named_at_once(tmp_path, trusted):
    nodes = {
        "w": linear(3, 4),
        "n": lif(3),
        "soft": {"type": "Threshold", "threshold": np.ones(3)},
        "li": {"type": "LI", "tau": np.ones(3), "r": np.ones(3), "v_leak": np.zeros(3)},
        "c": {"type": "Conv1d", "weight": np.ones((1, 1, 3))},
    }
    with pytest.raises(ExchangeError) as refusal:
        imported_of(tmp_path, nodes, chain("in", "w", "n", "soft", "li", "c", "out"))
    for part in ("'soft' is of type Threshold", "'li' is of type LI", "'c' is of type Conv1d"):
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("nodes", "edges", "complaint"),
    [
        ({"n": lif(3)}, chain("in", "n", "out"), "has 3 values for a population of \\(4, 1, 1\\)"),
        ({"w": linear(3, 5), "n": lif(3)}, chain("in", "w", "n", "out"), "node 'w': weight has 5 columns"),
        ({"w": linear(3, 4)}, chain("in", "w", "out"), "no neurons that spike"),
        ({"w": linear(3, 4), "n": lif(3), "v": linear(2, 3)}, chain("in", "w", "n", "v", "out"), "ends in weights"),
        ({"w": linear(3, 4), "n": lif(3)}, chain("in", "w", "n"), "no population feeds the output|not reached"),
        ({"w": linear(3, 4), "n": lif(3), "x": lif(3)}, chain("in", "w", "n", "out"), "'x' is not reached"),
        (
            {"w": linear(3, 4), "a": linear(3, 3), "b": linear(3, 3), "n": lif(3)},
            [*chain("in", "w", "a", "b", "a"), *chain("b", "n", "out")],
            "the circle a -> b -> a|the circle b -> a -> b",
        ),
        ({"w": linear(3, 4), "n": lif(3, tau=1e-4)}, chain("in", "w", "n", "out"), "is the step longer"),
        ({"w": linear(3, 4), "n": lif(3, v_threshold=-1.0)}, chain("in", "w", "n", "out"), "v_threshold is -1"),
        ({"w": linear(3, 4), "n": lif(3, r=np.nan)}, chain("in", "w", "n", "out"), "/r has 3 values of 3 that are not"),
        ({"w": linear(3, 4), "n": lif(7)}, chain("in", "w", "n", "out"), "has 7 values for a population"),
        ({"w": linear(3, 4), "n": lif(3)}, [*chain("in", "w", "n", "out"), ("w", "ghost")], "'ghost', which does not"),
        (
            {"w": linear(3, 4), "d": {"type": "Delay", "delay": np.array([0.0, 1e-3, 0.0])}, "n": lif(3)},
            chain("in", "w", "d", "n", "out"),
            "node 'd': delays that differ between neurons behind weights",
        ),
        (
            {"w": linear(3, 4), "d": {"type": "Delay", "delay": np.full(4, -1.0)}, "n": lif(3)},
            chain("in", "d", "w", "n", "out"),
            "a delay is -1000",
        ),
    ],
)
def test_bad_graphs_are_one_line(nodes, edges, complaint, tmp_path, trusted):
    with pytest.raises(ExchangeError, match=complaint) as refusal:
        imported_of(tmp_path, nodes, edges)
    assert "\n" not in str(refusal.value)


def test_a_time_constant_of_one_step_forgets_at_once(tmp_path, trusted):
    nodes = {"w": linear(3, 4), "n": cuba(3, tau_syn=np.float32(0.001), tau_mem=np.float32(0.001))}
    imported = imported_of(tmp_path, nodes, chain("in", "w", "n", "out"))
    layer = imported.model.network.layers[0]
    assert (layer.neuron.du, layer.neuron.dv) == (4095, 4095)


def test_a_sum_of_different_shapes_is_refused(tmp_path, trusted):
    kernel = {
        "type": "Conv2d",
        "weight": np.ones((2, 4, 1, 1)),
        "stride": 1,
        "padding": np.array([0, 1]),
        "dilation": 1,
    }
    nodes = {"c": kernel | {"groups": 1, "bias": np.zeros(2)}, "w": linear(6, 4), "n": lif(6)}
    with pytest.raises(ExchangeError, match="node 'n' gets signals of"):
        imported_of(tmp_path, nodes, [("in", "c"), ("in", "w"), ("c", "n"), ("w", "n"), ("n", "out")], out=6)


def test_without_a_step_there_is_no_network(tmp_path, trusted):
    with pytest.raises(ExchangeError, match="give the one that the network was trained with"):
        import_model(DATA / "sinabs.nir", "nir")


def test_the_discretisation_is_a_choice(tmp_path, trusted):
    nodes = {"w": linear(3, 4), "n": lif(3)}
    edges = chain("in", "w", "n", "out")
    kept = {
        how: imported_of(tmp_path, nodes, edges, ImportOptions(0.001, how)).network.layers[0].kept_v
        for how in ("euler", "exponential")
    }
    assert kept == pytest.approx({"euler": 0.9, "exponential": np.exp(-0.1)})
