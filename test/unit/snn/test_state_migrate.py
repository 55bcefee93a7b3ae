# SPDX-License-Identifier: Apache-2.0
"""The state of one model in another: unchanged layers go on, the others start at rest, all of it said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.snn import Dense, Layer, Lif, Model, Network, Projection, StateError, create_engine
from neuro_ros.snn.state import layer_digests
from neuro_ros.snn.state_migrate import migrate


def network(hidden=8, seed=1, vth=40, delay=0):
    """Return input -> a -> b -> out, whose middle layer is what the arguments change."""
    rng = np.random.default_rng(9)
    middle = np.random.default_rng(seed).integers(-20, 50, (hidden, 6)) * 2
    return Network(
        [
            Layer("a", Dense((rng.integers(0, 40, (6, 8)) * 2).astype(np.int16)), Lif(500, 200, 60, refractory=3)),
            Layer("b", Projection(Dense(middle.astype(np.int16)), delays=delay), Lif(300, 100, vth)),
            Layer("out", Dense((rng.integers(0, 60, (3, 8)) * 2).astype(np.int16)[:, :hidden]), Lif(900, 90, 200)),
        ],
        (1, 2, 4),
    )


def model(name="m", **changes):
    return Model(network(**changes), ["x", "y", "z"], 40_000_000, 4, name)


def in_motion(of):
    engine = create_engine(of)
    engine.set_registers("a", du=510)
    engine.set_registers("b", du=333)
    engine.run_window(np.arange(0, 32, 2, dtype=np.uint32), 4)
    engine.run_window(np.arange(0, 32, 3, dtype=np.uint32), 4)
    return engine.state().labelled("cam", 7, 80_000_000, 3, (1.0, 2.0, 0.0), 1, 21)


def arrays(layer):
    return {name: array.tolist() for name, array in layer.parts.items()}


def at_rest(layer):
    return not any(array.any() for array in layer.parts.values())


def test_the_unchanged_layers_go_on_and_the_changed_one_starts_at_rest():
    before, after = model(), model(seed=2)
    state = in_motion(before)
    taken, lines = migrate(state, after)
    assert lines == [
        "layer 'b' has other weights, delays, sources or registers: it starts at rest",
        "compensation_id 21: no longer that of every register",
    ]
    assert not at_rest(state.layers[1])
    assert at_rest(taken.layers[1])
    for index in (0, 2):
        assert arrays(taken.layers[index]) == arrays(state.layers[index])
    assert [registers["du"] for registers in taken.registers] == [510, 300, 900]
    assert (taken.model_id, taken.compensation_id) == (after.model_id, 0)
    assert (taken.stream_id, taken.sequence, taken.sensor_end_ns, taken.epoch) == ("cam", 7, 80_000_000, 3)
    assert (taken.evidence, taken.decision) == ((1.0, 2.0, 0.0), 1)
    create_engine(after).set_state(taken)
    with pytest.raises(StateError, match=r"is refused for m-.*layer 'b' has other weights"):
        migrate(state, after, "refuse")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": 5}, r"layer 'b' has the shape \(5, 1, 1\) instead of \(8, 1, 1\)"),
        ({"vth": 41}, "layer 'b' has other weights, delays, sources or registers"),
        ({"delay": 2}, "layer 'b' has other weights, delays, sources or registers"),
    ],
    ids=str,
)
def test_what_changed_in_a_layer_is_said(changes, reason):
    with pytest.raises(StateError, match=reason):
        migrate(in_motion(model()), model(**changes), "refuse")


def test_the_same_network_under_another_name_goes_on_as_if_nothing_had_happened():
    before, after = model(), model("renamed")
    state = in_motion(before)
    with pytest.raises(StateError, match="belongs to model m-"):
        state.check(after)
    taken, lines = migrate(state, after)
    assert lines == []
    assert taken.compensation_id == 21
    engines = [create_engine(before), create_engine(after)]
    for engine, own in zip(engines, (state, taken), strict=True):
        engine.set_state(own)
    for seed in range(5):
        indices = np.flatnonzero(np.random.default_rng(seed).random(32) < 0.5).astype(np.uint32)
        one, other = (engine.run_window(indices, 4, record=True) for engine in engines)
        assert all(
            np.array_equal(a, b) for x, y in zip(one.steps, other.steps, strict=True) for a, b in zip(x, y, strict=True)
        )


def test_layers_that_come_go_and_have_other_sources():
    before = model()
    layers = list(before.network.layers)
    extra = Layer("extra", Dense(np.full((8, 8), 4, np.int16)), Lif(0, 0, 9))
    wider = Model(Network([*layers[:2], extra, layers[2]], (1, 2, 4)), ["x", "y", "z"], 40_000_000, 4)
    taken, lines = migrate(in_motion(before), wider)
    assert lines[0] == "layer 'extra' is not in the state: it starts at rest"
    # out is fed by extra now, so what is under way to it is the input of another network
    assert lines[1].startswith("layer 'out' has other")
    assert lines[2] == "evidence: the output layer changed, so it starts from none, and no decision is in force"
    assert (taken.evidence, taken.decision) == ((), -1)
    _, lines = migrate(create_engine(wider).state(), before)
    assert "layer 'extra' is not in m-" in lines[1]


def test_a_state_of_something_else_is_refused():
    other = Model(Network([Layer("c", Dense(np.ones((3, 8), np.int16) * 2), Lif(0, 0, 9))], (1, 2, 4)), ["x", "y", "z"])
    with pytest.raises(StateError, match=r"no layer of the state of m-.* is one of model-.*start at rest"):
        migrate(in_motion(model()), other)
    with pytest.raises(StateError, match="'keep'; it is one of rest, refuse"):
        migrate(in_motion(model()), other, "keep")


def test_a_state_without_digests_needs_its_model():
    before, after = model(), model(seed=2)
    state = replace(in_motion(before), layer_digests=())
    with pytest.raises(StateError, match=r"has no layer_digests.*give the model that it belongs to"):
        migrate(state, after)
    with pytest.raises(StateError, match="belongs to model"):
        migrate(state, after, origin=after)
    taken, lines = migrate(state, after, origin=before)
    assert "layer 'b'" in lines[0]
    assert not at_rest(taken.layers[0])
    assert migrate(state, before) == (state, [])


def test_a_layer_that_has_learned_does_not_go_over():
    before = model()
    state = in_motion(before)
    learned = replace(state.layers[0], plasticity={"trace_post": np.ones((1, 6, 1, 1), np.int32)})
    taken, lines = migrate(replace(state, layers=(learned, *state.layers[1:])), model("renamed"))
    assert lines[0] == "layer 'a' has learned: it starts at rest"
    assert at_rest(taken.layers[0])


@given(data=st.data())
def test_every_state_moves_to_the_same_network_and_none_to_a_changed_one_unsaid(data):
    before = data.draw(network_models())
    engine = create_engine(before)
    for indices, bins, values in data.draw(graded_windows(before)):
        engine.run_window(indices, bins, **({} if values is None else {"values": values}))
    state = engine.state()
    index = data.draw(st.integers(0, len(before.network.layers) - 1))
    layers = list(before.network.layers)
    neuron = layers[index].neuron
    layers[index] = Layer(layers[index].name, layers[index].projections, replace(neuron, vth=neuron.vth ^ 1))
    changed = replace(before, network=Network(layers, before.network.input_shape, before.network.input_bits))
    assert migrate(state, replace(before, name="renamed"))[1] == []
    digests = zip(layer_digests(before.network), layer_digests(changed.network), strict=True)
    assert [one != other for one, other in digests] == [number == index for number in range(len(layers))]
    if len(layers) == 1:
        with pytest.raises(StateError, match="no layer of the state"):
            migrate(state, changed)
        return
    taken, lines = migrate(state, changed)
    assert [line for line in lines if line.startswith("layer")] == [
        f"layer '{layers[index].name}' has other weights, delays, sources or registers: it starts at rest"
    ]
    create_engine(changed).set_state(taken)
