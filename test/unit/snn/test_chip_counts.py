# SPDX-License-Identifier: Apache-2.0
"""What a mapping says of its cores against a count over the list of all synapses, for networks of every kind."""

import numpy as np
import pytest
from chip_networks import activity_of, counted, tiny_chip, zeros
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_simulator import synapses_of
from random_networks import graded_windows, network_models

from neuro_ros.resources import models_directory
from neuro_ros.snn import Conv2d, Dense, SumPool2d, create_engine, load_model
from neuro_ros.snn.chips import chip_profile, map_network, measure_activity
from neuro_ros.snn.chips.wiring import Wire
from neuro_ros.snn.reference import ReferenceEngine

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def test_every_core_of_random_networks_is_counted_right(counts):
    seen = {"split": 0, "several": 0, "operations": 0}

    @settings(max_examples=counts("mapped networks of every kind", reduced=40, full=600), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models())
        network = model.network
        activity, operations = activity_of(ReferenceEngine(model), network, data.draw(graded_windows(model, 2)))
        seed = data.draw(st.sampled_from([None, 3]))
        mapping = map_network(network, tiny_chip(), data.draw(st.sampled_from([1.0, 1e-6])), activity, seed)
        cores = mapping.cores
        neurons, in_axons, out_axons, synapses, rates, traffic = counted(network, mapping, activity)
        assert [core.neurons for core in cores] == neurons.tolist()
        assert [core.in_axons for core in cores] == in_axons.tolist()
        assert [core.out_axons for core in cores] == out_axons.tolist()
        assert [core.synapses for core in cores] == synapses.tolist()
        np.testing.assert_allclose([core.synaptic_operations for core in cores], rates, atol=1e-9)
        for name, total in zip(mapping.layers, operations, strict=True):
            own = sum(core.synaptic_operations for core in mapping.of_layer(name))
            np.testing.assert_allclose(own * activity.steps, total, atol=1e-6)
        for core in cores:
            np.testing.assert_allclose(core.busy_ns, core.neurons * 10 + core.synaptic_operations * 4)
        if mapping.traffic is not None:
            np.testing.assert_allclose(mapping.traffic, traffic, atol=1e-9)
        # what a mapping does not complain about, it keeps
        broken = {(violation.layer, violation.limit) for violation in mapping.violations}
        for core in cores:
            assert core.neurons <= 12 or (core.layer, "neurons_per_core") in broken
            assert core.in_axons <= 60 or (core.layer, "in_axons_per_core") in broken
            assert core.out_axons <= 60 or (core.layer, "out_axons_per_core") in broken
        places = [core.place for core in cores if core.place >= 0]
        assert len(set(places)) == len(places)
        assert (len(cores) > 64) == (("", "cores") in broken) == (-1 in [core.place for core in cores])
        seen["split"] += len(cores) > len(network.layers)
        seen["several"] += any(len(layer.projections) > 1 for layer in network.layers)
        seen["operations"] += int(operations.sum())

    check()
    assert min(seen.values()) > 0


@pytest.mark.parametrize(
    "connection",
    [
        Conv2d(zeros(6, 2, 3, 2), (2, 1), (1, 2), dilation=(1, 2), groups=2),
        Conv2d(zeros(4, 1, 1, 1), groups=4),
        SumPool2d(2, (2, 3), (1, 2), (0, 1)),
        Dense(zeros(5, 4 * 5 * 6)),
    ],
    ids=lambda connection: connection.kind,
)
def test_the_factors_of_every_box_multiply_to_its_synapses(connection):
    shape = (4, 5, 6)
    target = connection.output_shape(shape)
    wire = Wire(-1, 0, "layer", connection, shape, target)
    listed = synapses_of(connection, shape, target)
    ranges = [[(low, high) for low in range(extent) for high in range(low + 1, extent + 1)] for extent in target]
    rng = np.random.default_rng(5)
    for _ in range(40):
        box = [bounds[rng.integers(len(bounds))] for bounds in ranges]
        inside = np.zeros(target, bool)
        inside[tuple(slice(low, high) for low, high in box)] = True
        expected = [sum(inside.ravel()[number] for number, _ in targets) for targets in listed]
        factors = [wire.reach(axis, low, high) for axis, (low, high) in enumerate(box)]
        np.testing.assert_array_equal(np.einsum("c,y,x->cyx", *factors).ravel(), expected)
    deepest = max(
        sum(number == neuron for targets in listed for number, _ in targets) for neuron in range(np.prod(target))
    )
    assert wire.fan_in == deepest
    assert wire.stored_weights(1, 3) == 2 * deepest


def test_operations_of_the_cores_are_those_of_the_fixed_engine():
    model = load_model(models_directory() / "gesture.safetensors")
    rng = np.random.default_rng(2)
    feeds = [(np.flatnonzero(rng.random(10 * 2048) < 0.03).astype(np.uint32), 10, False) for _ in range(4)]
    activity = measure_activity(model, feeds, "noise")
    engine = create_engine(model)
    operations = sum(engine.run_window(indices, bins).layer_synaptic_ops for indices, bins, _ in feeds)
    for chip in ("loihi1", "loihi2", "speck"):
        mapping = map_network(model.network, chip_profile(chip), 5e-3, activity)
        own = [
            sum(core.synaptic_operations for core in mapping.of_layer(name)) * activity.steps for name in mapping.layers
        ]
        np.testing.assert_allclose(own, operations, rtol=1e-12)
