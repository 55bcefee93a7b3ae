# SPDX-License-Identifier: Apache-2.0
"""Random networks in Lava 0.10.0 and here: the same spikes, u and v in every step, the same activations in flight.

Twice: with Lava's models run in one process, which is quick enough for many networks, and with the whole of Lava, its
runtime and its processes, as the back end uses it. They are drawn over every kind that Lava has, with values that wrap
and saturate, and compared with the reference of the description; the fixed engine is held against Lava's models too.
"""

import numpy as np
import pytest
from extreme_network import extreme_model
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lava_in_process import run_in_child
from random_networks import graded_windows, network_models

from neuro_ros.snn import (
    Conv2d,
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    NetworkState,
    Projection,
    SumPool2d,
    create_engine,
)
from neuro_ros.snn.features import layer_features
from neuro_ros.snn.lava_shim import INSTALL_HINT, has_lava
from neuro_ros.snn.lava_support import SUPPORTED, process_for
from neuro_ros.snn.reference import ReferenceEngine

pytestmark = [pytest.mark.lava, pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")]

PROCESSES = {"Conv", "Dense", "DelayDense", "DelaySparse", "Sparse"}


def outsized_models():
    """Return models that pass a limit of the process that is their first choice."""
    rng = np.random.default_rng(12)

    def drawn(*shape):
        return (rng.integers(-3, 5, shape) * 2).astype(np.int16)

    neuron = Lif(300, 200, 20)
    for connection, input_shape, expected in (
        (SumPool2d(64, (2, 1)), (130, 4, 3), "Sparse"),  # more groups than eight signed bits hold
        (Conv2d(drawn(2, 1, 1, 128)), (1, 2, 130), "Sparse"),
        (Conv2d(drawn(2, 1, 2, 2), (1, 128)), (1, 4, 130), "Sparse"),
        (Projection(Dense(drawn(260, 260)), delays=rng.choice([0, 3, 62], (260, 1, 1))), (260, 1, 1), "DelaySparse"),
    ):
        network = Network([Layer("only", connection, neuron)], input_shape)
        assert process_for(network.layers[0].projections[0], input_shape) == expected
        yield Model(network, [f"class{i}" for i in range(network.classes)])


def half_full(model, bins):
    """Return windows in which every other cell is set, at random."""
    indices = np.flatnonzero(np.random.default_rng(5).random(bins * model.cells) < 0.5).astype(np.uint32)
    return [(indices, bins, None)]


def draw_cases(count):
    """Return `count` pairs of a random model and its windows, the same ones each time, and one that is extreme."""
    model = extreme_model()
    cases = [(model, half_full(model, 8))]

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def draw(data):
        model = data.draw(network_models(SUPPORTED))
        cases.append((model, data.draw(graded_windows(model, count=2))))

    draw()
    assert len(cases) > count
    return cases


class Seen:
    """What was compared, so that a comparison of silent or tame networks does not pass for one."""

    def __init__(self):
        self.features, self.processes = set(), set()
        self.counts = dict.fromkeys(("networks", "fixed", "steps", "spikes", "wraps", "saturations", "values"), 0)

    def network(self, network):
        """Take note of what a network is made of."""
        self.counts["networks"] += 1
        for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
            self.features |= layer_features(network, index)
            for projection, source in zip(layer.projections, sources, strict=True):
                self.processes.add(process_for(projection, network.source_shape(source)))

    def step(self, layers):
        """Take note of what happened in a step of the reference."""
        self.counts["steps"] += 1
        for layer in layers:
            self.counts["spikes"] += int(layer.spikes.sum())
            self.counts["wraps"] += layer.wrapped
            self.counts["saturations"] += layer.saturated
            self.counts["values"] += 2 * layer.u.size


def frames_of(model, windows):
    """Yield the input of each step, (c, h, w)."""
    for indices, bins, values in windows:
        frames = np.zeros(bins * model.cells, np.int64)
        frames[indices] = 1 if values is None else values
        yield from frames.reshape(bins, *model.network.input_shape)


def assert_step(spikes, state, expected, where):
    """Compare the spikes and the u and v of all layers after one step with those of the reference."""
    for layer, (own_spikes, own, step) in enumerate(zip(spikes, state, expected, strict=True)):
        np.testing.assert_array_equal(own_spikes, np.flatnonzero(step.spikes), err_msg=f"spikes of {layer}, {where}")
        np.testing.assert_array_equal(own.u, step.u, err_msg=f"u of layer {layer}, {where}")
        np.testing.assert_array_equal(own.v, step.v, err_msg=f"v of layer {layer}, {where}")


def assert_fixed_engine(model, windows, spikes, last, seen):
    """Compare the fixed engine with what Lava did."""
    engine = create_engine(model)
    seen.counts["fixed"] += 1
    steps = [
        step
        for indices, bins, values in windows
        for step in engine.run_window(
            indices, bins, record=True, **({} if values is None else {"values": values})
        ).steps
    ]
    for number, (theirs, ours) in enumerate(zip(spikes, steps, strict=True)):
        for other, own in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(other, own, err_msg=f"spikes of the fixed engine, step {number}")
    for other, own in zip(last, engine.state().layers, strict=True):
        for name, array in own.parts.items():
            np.testing.assert_array_equal(other.parts[name], array, err_msg=f"{name} of the fixed engine")


def assert_in_flight(state, expected, where):
    for layer, (own, other) in enumerate(zip(state, expected, strict=True)):
        np.testing.assert_array_equal(own.a_buff, other.a_buff, err_msg=f"a_buff of layer {layer}, {where}")


def test_models_of_lava_agree_each_step(counts):
    cases = draw_cases(counts("networks against Lava's models", reduced=40, full=1000))
    cases += [(model, half_full(model, 4)) for model in outsized_models()]
    seen, jobs = Seen(), []
    for model, windows in cases:
        rest = NetworkState.at_rest(model)
        given_ones = [(i, bins, np.ones(i.size, np.uint8) if values is None else values) for i, bins, values in windows]
        jobs.append((model.network, rest.layers, rest.registers, given_ones))
    for number, ((model, windows), (spikes, states, last)) in enumerate(zip(cases, run_in_child(jobs), strict=True)):
        engine = ReferenceEngine(model)
        seen.network(model.network)
        for step, frame in enumerate(frames_of(model, windows)):
            expected = engine.step(frame)
            assert_step(spikes[step], states[step], expected, f"step {step} of network {number}")
            seen.step(expected)
        assert_in_flight(last, engine.state().layers, f"end of network {number}")
        assert_fixed_engine(model, windows, spikes, last, seen)
    print(seen.counts)  # noqa: T201  seen with -rP
    assert min(seen.counts.values()) > 0, seen.counts
    assert seen.counts["fixed"] == seen.counts["networks"]
    assert seen.features == SUPPORTED
    assert seen.processes == PROCESSES


def test_the_whole_of_lava_agrees_each_step(counts):
    cases = draw_cases(counts("networks against the whole of Lava", reduced=3, full=200))
    network = Network([Layer("only", Dense(np.array([[64]], np.int16)), Lif(0, 0, 10))], (1, 1, 1))
    lava = create_engine(Model(network, ["one"]), "lava")
    seen = Seen()
    try:
        for number, (model, windows) in enumerate(cases):
            lava.load(model)  # in the same worker
            engine = ReferenceEngine(model)
            seen.network(model.network)
            spikes = []
            for step, frame in enumerate(frames_of(model, windows)):
                where = f"step {step} of network {number}"
                expected = engine.step(frame)
                cells = np.flatnonzero(frame).astype(np.uint32)
                payloads = frame.ravel()[cells].astype(np.uint8) if model.network.input_bits else None
                result, state = lava.run_window(cells, 1, record=True, values=payloads), lava.state()
                spikes += result.steps
                assert_step(result.steps[0], state.layers, expected, where)
                assert_in_flight(state.layers, engine.state().layers, where)
                seen.step(expected)
            assert_fixed_engine(model, windows, spikes, lava.state().layers, seen)
    finally:
        lava.close()
    print(seen.counts)  # noqa: T201  seen with -rP
    assert seen.counts["spikes"] > 0
