# SPDX-License-Identifier: Apache-2.0
"""The fixed engine against the independent simulator, and its counters, state and refusals."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuro_ros.snn import (
    Dense,
    EngineError,
    Layer,
    Lif,
    Model,
    Network,
    NetworkError,
    NetworkState,
    StateError,
    create_engine,
)

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def assert_same_state(state, simulator):
    for index, layer in enumerate(state.layers):
        for name, expected in zip(("u", "v", "a_buff"), simulator.arrays(index), strict=True):
            np.testing.assert_array_equal(getattr(layer, name), expected, err_msg=f"{name} of layer {index}")


def assert_same_steps(steps, expected):
    assert [[layer.tolist() for layer in step] for step in steps] == expected


def test_equals_reference_in_every_step(reference, draw_models, draw_windows, counts):
    seen = {"wraps": 0, "saturations": 0}

    @settings(max_examples=counts("networks against Python integers, each step", reduced=80, full=1000), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(draw_models())
        engine, simulator = create_engine(model), reference(model)
        for indices, bins in data.draw(draw_windows(model)):
            cells = model.cells
            for step in range(bins):  # one step a call, so that u, v and a_buff are compared after every step
                own = indices[(indices >= step * cells) & (indices < (step + 1) * cells)] - np.uint32(step * cells)
                result = engine.run_window(own, 1, record=True)
                assert_same_steps(result.steps, [simulator.step(own.tolist())])
                assert_same_state(engine.state(), simulator)
        seen["wraps"] += simulator.wraps
        seen["saturations"] += simulator.saturations

    check()
    assert seen["wraps"] > 0
    assert seen["saturations"] > 0


def test_windows_equal_single_steps_and_count_right(reference, draw_models, draw_windows, counts):
    @settings(max_examples=counts("networks against Python integers, windows", reduced=40, full=500), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(draw_models())
        engine, plain, simulator = create_engine(model), create_engine(model), reference(model)
        totals = [np.zeros(shape, np.int64) for shape in model.network.shapes]
        for indices, bins in data.draw(draw_windows(model)):
            result = engine.run_window(indices, bins, record=True)
            operations = [0] * len(totals)
            for index, before in enumerate([None, *range(len(totals) - 1)]):
                for step in range(bins):
                    cells = model.cells
                    sources = (
                        result.steps[step][before]
                        if before is not None
                        else [i - step * cells for i in indices if step * cells <= i < (step + 1) * cells]
                    )
                    operations[index] += sum(len(simulator.synapses[index][int(s)]) for s in sources)
            assert_same_steps(result.steps, simulator.run(indices, bins))
            assert result.layer_synaptic_ops.tolist() == operations
            lengths = [[len(layer) for layer in step] for step in result.steps]
            assert result.layer_spikes.tolist() == np.sum(lengths, axis=0).tolist()
            counts = np.bincount(np.concatenate([step[-1] for step in result.steps]), minlength=model.network.classes)
            np.testing.assert_array_equal(result.spike_counts, counts)
            for total, index in zip(totals, range(len(totals)), strict=True):
                for step in result.steps:
                    total.ravel()[step[index]] += 1
            unrecorded = plain.run_window(indices, bins)
            assert unrecorded.steps is None
            np.testing.assert_array_equal(unrecorded.spike_counts, counts)
        assert_same_state(engine.state(), simulator)
        for total, counted in zip(totals, engine.neuron_spikes(), strict=True):
            np.testing.assert_array_equal(counted, total)

    check()


def single(du=0, dv=0, vth=10, weight=64, **neuron):
    network = Network([Layer("only", Dense(np.array([[weight]], np.int16)), Lif(du, dv, vth, **neuron))], (1, 1, 1))
    return Model(network, ["one"])


def test_known_trajectory():
    """Input at step 0 reaches u at step 1; du = 2047 halves u a step; v integrates u; strict threshold."""
    engine = create_engine(single(du=2047, dv=0, vth=112, weight=64))
    trace = []
    for step in range(4):
        result = engine.run_window(np.array([0] if step == 0 else [], np.uint32), 1)
        layer = engine.state().layers[0]
        trace.append((int(layer.u.item()), int(layer.v.item()), int(layer.a_buff.item()), int(result.spike_counts[0])))
    # u: 4096, 2048, 1024; v: 4096, 6144, 7168 = 112 << 6, which is not above the threshold
    assert trace == [(0, 0, 64, 0), (4096, 4096, 0, 0), (2048, 6144, 0, 0), (1024, 7168, 0, 0)]
    engine = create_engine(single(du=2047, dv=0, vth=111, weight=64))
    counts = [int(engine.run_window(np.array([0] if s == 0 else [], np.uint32), 1).spike_counts[0]) for s in range(4)]
    assert counts == [0, 0, 0, 1]
    assert engine.state().layers[0].v.item() == 0
    assert engine.state().layers[0].u.item() == 1024


def test_state_moves_between_engines(draw_models, draw_windows):
    @settings(max_examples=20, **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(draw_models())
        first, second = create_engine(model), create_engine(model)
        for indices, bins in data.draw(draw_windows(model, count=4)):
            result = first.run_window(indices, bins, record=True)
            again = second.run_window(indices, bins, record=True)
            assert_same_steps(again.steps, [[layer.tolist() for layer in step] for step in result.steps])
            fresh = create_engine(model)
            fresh.set_state(second.state())
            second = fresh

    check()


def test_reset_is_rest():
    model = single(bias_mant=3, bias_exp=2)
    engine = create_engine(model)
    first = engine.run_window(np.array([0, 1], np.uint32), 5, record=True)
    engine.reset()
    assert all(not getattr(layer, part).any() for layer in engine.state().layers for part in ("u", "v", "a_buff"))
    again = engine.run_window(np.array([0, 1], np.uint32), 5, record=True)
    assert_same_steps(again.steps, [[layer.tolist() for layer in step] for step in first.steps])


def test_registers_change_between_windows(reference):
    model = single(du=100, dv=100, vth=200)
    changed = single(du=3000, dv=50, vth=20)
    engine, simulator = create_engine(model), reference(model)
    assert_same_steps(engine.run_window(np.array([0, 2], np.uint32), 4, record=True).steps, simulator.run([0, 2], 4))
    engine.set_registers("only", du=3000, dv=50, vth=20)
    simulator.layers = changed.network.layers
    assert_same_steps(engine.run_window(np.array([0, 2], np.uint32), 4, record=True).steps, simulator.run([0, 2], 4))
    assert engine.state().registers[0] == {"du": 3000, "dv": 50, "vth": 20, "bias_exp": 0}
    for bad in ({"du": 4096}, {"vth": -1}, {"tau": 3}):
        with pytest.raises((NetworkError, EngineError)):
            engine.set_registers("only", **bad)
    with pytest.raises(NetworkError, match="no layer 'none'"):
        engine.set_registers("none", du=1)
    assert engine.state().registers[0]["du"] == 3000


@pytest.mark.parametrize(
    ("indices", "bins", "text"),
    [([3], 2, "outside 2 bins"), ([1, 0], 2, "ascending"), ([0, 0], 2, "ascending"), ([0], 0, "bins is 0")],
)
def test_refuses_bad_windows(indices, bins, text):
    engine = create_engine(single())
    with pytest.raises(EngineError, match=text):
        engine.run_window(np.array(indices, np.uint32), bins)


def test_refuses_foreign_states_and_use_after_close():
    engine, other = create_engine(single()), create_engine(single(vth=11))
    engine.run_window(np.array([0], np.uint32), 2)
    before = engine.state()
    with pytest.raises(StateError, match="belongs to model"):
        engine.set_state(other.state())
    broken = engine.state()
    broken.layers[0].v[:] = 1 << 23
    with pytest.raises(StateError, match="v spans"):
        engine.set_state(broken)
    np.testing.assert_array_equal(engine.state().layers[0].u, before.layers[0].u)
    engine.set_state(NetworkState.at_rest(engine.model))
    assert not engine.state().layers[0].u.any()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run_window(np.array([0], np.uint32), 1)


def test_unknown_backend():
    with pytest.raises(EngineError, match="unknown back end 'gpu'; known are fixed, lava, loihi"):
        create_engine(single(), "gpu")
