# SPDX-License-Identifier: Apache-2.0
"""What a mapping says of its cores against a count over the list of all synapses, for networks of every kind."""

import numpy as np
from chip_networks import activity_of, counted, tiny_chip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.resources import models_directory
from neuro_ros.snn import create_engine, load_model
from neuro_ros.snn.chips import chip_profile, map_network, measure_activity
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
