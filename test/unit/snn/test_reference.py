# SPDX-License-Identifier: Apache-2.0
"""The NumPy reference against Python integers over every kind, the fixed engine on chains, and Lava's processes."""

import json
import os
import subprocess
import sys

import lava_oracle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import graded_windows, network_models

from neuro_ros.snn import (
    create_engine,
)
from neuro_ros.snn.features import CHAIN, FEATURES, layer_features
from neuro_ros.snn.lava_shim import INSTALL_HINT, has_lava
from neuro_ros.snn.reference import ReferenceEngine

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def as_lists(steps):
    return [[layer.tolist() for layer in step] for step in steps]


def assert_same_state(engine, simulator):
    for index, layer in enumerate(engine.state().layers):
        for name, expected in zip(("u", "v", "a_buff"), simulator.arrays(index), strict=True):
            np.testing.assert_array_equal(getattr(layer, name), expected, err_msg=f"{name} of layer {index}")
        if layer.refractory is not None:
            np.testing.assert_array_equal(layer.refractory, simulator.resting(index))


def test_equals_python_integers_over_every_kind(reference, counts):
    seen = dict.fromkeys(("wraps", "saturations", "spikes"), 0)
    features = set()

    @settings(max_examples=counts("networks of every kind against Python integers", reduced=60, full=1000), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models())
        engine, simulator = ReferenceEngine(model), reference(model)
        for index in range(len(model.network.layers)):
            features.update(layer_features(model.network, index))
        for indices, bins, values in data.draw(graded_windows(model)):
            result = engine.run_window(indices, bins, record=True, values=values)
            assert as_lists(result.steps) == simulator.run(indices, bins, values)
            assert_same_state(engine, simulator)
            engine.state().check(model)  # nothing in flight exceeds the accumulator bound
            seen["spikes"] += int(result.layer_spikes.sum())
        seen["wraps"] += simulator.wraps
        seen["saturations"] += simulator.saturations

    check()
    assert min(seen.values()) > 0
    assert features == set(FEATURES)


def test_equals_the_fixed_engine_on_chains(counts):
    @settings(max_examples=counts("chains, reference against the fixed engine", reduced=30, full=500), **SETTINGS)
    @given(data=st.data())
    def check(data):
        model = data.draw(network_models(CHAIN | {"one_sign"}))
        engine, fixed = ReferenceEngine(model), create_engine(model)
        for indices, bins, _ in data.draw(graded_windows(model)):
            own, other = (each.run_window(indices, bins, record=True) for each in (engine, fixed))
            assert as_lists(own.steps) == as_lists(other.steps)
            for name in ("spike_counts", "layer_spikes", "layer_synaptic_ops"):
                np.testing.assert_array_equal(getattr(own, name), getattr(other, name), err_msg=name)
        for ours, theirs in zip(engine.state().layers, fixed.state().layers, strict=True):
            for name, array in ours.parts.items():
                np.testing.assert_array_equal(array, theirs.parts[name], err_msg=name)

    check()


@pytest.mark.lava
@pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")
def test_delays_payloads_one_sign_weights_and_rest_are_those_of_lava():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", lava_oracle.__file__],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: differing for name, (differing, _) in found.items()} == dict.fromkeys(found, 0)
    assert sum(spikes > 0 for _, spikes in found.values()) >= 5  # a population that is only inhibited says nothing
