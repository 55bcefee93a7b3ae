# SPDX-License-Identifier: Apache-2.0
"""The fixed engine over every kind of network against the NumPy reference, in all its forms."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.snn import Conv2d, Dense, EngineError, Layer, Lif, Model, Network, _kernel, create_engine
from neuro_ros.snn._fields import J_PRODUCT_FROM, J_VECTORS
from neuro_ros.snn._tables import NEVER
from neuro_ros.snn.batch import FixedBatch
from neuro_ros.snn.features import FEATURES, layer_features
from neuro_ros.snn.fixed import FixedEngine
from neuro_ros.snn.reference import ReferenceEngine

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def as_lists(steps):
    return [[layer.tolist() for layer in step] for step in steps]


def assert_same_result(ours, theirs):
    assert as_lists(ours.steps) == as_lists(theirs.steps)
    for name in ("spike_counts", "layer_spikes", "layer_synaptic_ops"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert (ours.input_spikes, ours.bins) == (theirs.input_spikes, theirs.bins)


def assert_same_state(ours, theirs):
    for index, (own, expected) in enumerate(zip(ours.state().layers, theirs.state().layers, strict=True)):
        assert list(own.parts) == list(expected.parts)
        for name, array in expected.parts.items():
            np.testing.assert_array_equal(own.parts[name], array, err_msg=f"{name} of layer {index}")


def test_equals_the_reference_over_every_kind(counts):
    features = set()

    @settings(max_examples=counts("networks of every kind, fixed engine", reduced=80, full=2000), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models())
        engine, reference = create_engine(model), ReferenceEngine(model)
        constant = FixedEngine(model, constant_time=True, program=engine.program)
        for index in range(len(model.network.layers)):
            features.update(layer_features(model.network, index))
        for indices, bins, values in data.draw(graded_windows(model)):
            expected = reference.run_window(indices, bins, record=True, values=values)
            for own in (engine, constant):
                assert_same_result(own.run_window(indices, bins, record=True, values=values), expected)
                assert_same_state(own, reference)
        for ours, same, theirs in zip(
            engine.neuron_spikes(), constant.neuron_spikes(), reference.neuron_spikes(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(same, theirs)

    check()
    assert features == set(FEATURES)


def test_walk_and_product_agree(counts):
    """Which of the two is taken depends on the activity alone; here each is taken always."""
    products = 0

    @settings(max_examples=counts("networks of every kind, walk against product", reduced=40, full=500), **SETTINGS)
    @given(data=st.data())
    def check(data):
        nonlocal products
        model = data.draw(network_models())
        walk, product = FixedEngine(model), FixedEngine(model)
        for engine, least in ((walk, NEVER), (product, 0)):
            rows = engine.program.tables.projections
            rows[rows[:, J_VECTORS] > 0, J_PRODUCT_FROM] = least
        products += int((product.program.tables.projections[:, J_VECTORS] > 0).sum())
        for indices, bins, values in data.draw(graded_windows(model)):
            ours, theirs = (engine.run_window(indices, bins, record=True, values=values) for engine in (walk, product))
            assert_same_result(ours, theirs)
            assert_same_state(walk, product)

    check()
    assert products > 0


def test_state_moves_between_engines_of_every_kind(counts):
    """Also in the middle of what is in flight, and between the forms of the engine."""

    @settings(max_examples=counts("networks of every kind, state moved", reduced=30, full=300), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models())
        steady, moving = FixedEngine(model), FixedEngine(model)
        for number, (indices, bins, values) in enumerate(data.draw(graded_windows(model, count=4))):
            ours, theirs = (engine.run_window(indices, bins, record=True, values=values) for engine in (moving, steady))
            assert_same_result(ours, theirs)
            fresh = FixedEngine(model, constant_time=number % 2 == 0)
            fresh.run_window(indices, bins, values=values)  # which set_state must forget
            fresh.set_state(moving.state())
            moving = fresh
            assert_same_state(moving, steady)

    check()


def dense_model(input_bits=0):
    rng = np.random.default_rng(5)
    weight = (2 * rng.integers(-60, 61, (6, 24))).astype(np.int16)
    network = Network([Layer("only", Dense(weight), Lif(300, 200, 40))], (2, 3, 4), input_bits)
    return Model(network, [f"class{i}" for i in range(6)])


@pytest.mark.parametrize("channels", [3, 8])
def test_wide_kernels_take_no_table_for_each_column(channels):
    """The border cuts the run of nearly every column short; a copy of the kernel for each would be 40 times as much."""
    rng = np.random.default_rng(4)
    weight = (2 * rng.integers(-9, 10, (channels, 2, 2, 40))).astype(np.int16)
    layers = [Layer("wide", Conv2d(weight, 1, (1, 20)), Lif(300, 200, 40))]
    layers += [Layer("back", Conv2d(weight[:2, [0] * channels], 1, (0, 20)), Lif(300, 200, 40))]
    network = Network(layers, (2, 3, 50))
    model = Model(network, [f"class{i}" for i in range(network.classes)])
    engine, reference = FixedEngine(model), ReferenceEngine(model)
    assert engine.program.tables.weights.size < 12 * weight.size
    for share in (0.02, 0.5):
        window = np.flatnonzero(rng.random(5 * model.cells) < share).astype(np.uint32)
        assert_same_result(engine.run_window(window, 5, record=True), reference.run_window(window, 5, record=True))
        assert_same_state(engine, reference)


def test_bitmap_is_the_same_window():
    model = dense_model()
    cells = np.random.default_rng(6).random(5 * model.cells) < 0.2
    indices, bitmap = np.flatnonzero(cells).astype(np.uint32), np.packbits(cells)
    for constant in (False, True):
        listed, packed = FixedEngine(model, constant), FixedEngine(model, constant)
        for _ in range(3):
            assert_same_result(packed.run_bitmap(bitmap.tobytes(), 5, record=True), listed.run_window(indices, 5, True))
        with pytest.raises(EngineError, match="the bitmap has 2 bytes, 5 bins need 15"):
            packed.run_bitmap(b"ab", 5)
        with pytest.raises(EngineError, match="bins is 0"):
            packed.run_bitmap(b"", 0)


def test_views_of_messages_compile_nothing():
    model = dense_model(input_bits=3)
    engine, other = FixedEngine(model), FixedEngine(model)
    signatures = list(_kernel.run_steps.signatures)
    indices, values = np.array([0, 7, 30], np.uint32), np.array([1, 5, 7], np.uint8)
    expected = other.run_window(indices, 2, record=True, values=values)
    odd = np.frombuffer(b"x" + indices.tobytes(), np.uint32, offset=1)
    assert not odd.flags.writeable
    assert not odd.flags.aligned
    assert_same_result(
        engine.run_window(odd, 2, record=True, values=np.frombuffer(values.tobytes(), np.uint8)), expected
    )
    assert list(_kernel.run_steps.signatures) == signatures


def test_counters_outlast_their_bytes():
    """Spikes are counted in 8 bits for 255 steps, and in 64 afterwards."""
    network = Network(
        [Layer("only", Dense(np.array([[254]], np.int16)), Lif(4095, 4095, 0, bias_mant=4095))], (1, 1, 1)
    )
    model = Model(network, ["one"])
    for constant in (False, True):
        engine = FixedEngine(model, constant)
        for steps in (1, 253, 300, 777):
            engine.run_window(np.zeros(0, np.uint32), steps)
        assert engine.neuron_spikes()[0].item() == 1331
        engine.run_window(np.zeros(0, np.uint32), 255)
        assert engine.neuron_spikes()[0].item() == 1586
        engine.clear_neuron_spikes()
        assert engine.neuron_spikes()[0].item() == 0


def test_values_are_checked():
    engine = create_engine(dense_model(input_bits=3))
    indices = np.array([1, 5], np.uint32)
    engine.run_window(indices, 1, values=np.array([7, 1], np.uint8))
    for bad, text in (([8, 1], "outside 1..7"), ([0, 1], "outside 1..7"), ([1], "one integer for each of 2")):
        with pytest.raises(EngineError, match=text):
            engine.run_window(indices, 1, values=np.array(bad))
    with pytest.raises(EngineError, match="binary"):
        create_engine(dense_model()).run_window(indices, 1, values=np.array([1, 1]))


def test_a_program_is_shared_within_one_model_only():
    model = dense_model()
    with pytest.raises(EngineError, match="another network"):
        FixedEngine(dense_model(), program=FixedEngine(model).program)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_is_as_many_engines(threads):
    model = dense_model()
    rng = np.random.default_rng(8)
    batch = FixedBatch(model, streams=3, threads=threads)
    singles = [FixedEngine(model) for _ in range(3)]
    for _ in range(3):
        windows = [np.flatnonzero(rng.random(4 * model.cells) < share).astype(np.uint32) for share in (0.0, 0.1, 0.6)]
        results = batch.run_windows(windows, 4, record=True)
        for own, engine, window in zip(results, singles, windows, strict=True):
            assert_same_result(own, engine.run_window(window, 4, record=True))
    for own, engine in zip(batch.engines, singles, strict=True):
        assert_same_state(own, engine)
    before = batch.engines[0].state().layers[0].u
    for windows, text in (
        ([], "0 windows and 0 arrays of values for 3 streams"),
        ([[0], [0], [999]], "outside 1 bins"),
    ):
        with pytest.raises(EngineError, match=text):
            batch.run_windows(windows, 1)
    np.testing.assert_array_equal(batch.engines[0].state().layers[0].u, before)
    batch.reset()
    assert not any(engine.state().layers[0].u.any() for engine in batch.engines)
    batch.close()
    batch.close()
    with pytest.raises(EngineError, match="closed"):
        batch.run_windows([[], [], []], 1)
    for streams, threads_asked in ((0, 1), (1, 0), (True, 1)):
        with pytest.raises(EngineError, match="outside 1"):
            FixedBatch(model, streams, threads_asked)
