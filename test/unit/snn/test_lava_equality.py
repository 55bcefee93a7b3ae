# SPDX-License-Identifier: Apache-2.0
"""Random networks in Lava 0.10.0 and here: the same spikes, u and v in every step, the same activations in flight.

Twice: with Lava's models run in one process, which is quick enough for many networks, and with the whole of Lava, its
runtime and its processes, as the back end uses it.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lava_in_process import run_in_child

from neuro_ros.snn import Dense, Layer, Lif, Model, Network, NetworkState, create_engine
from neuro_ros.snn.lava_shim import INSTALL_HINT, has_lava

pytestmark = [pytest.mark.lava, pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")]

KINDS = [("dense",), ("conv2d",), ("dense", "conv2d")]


def draw_cases(count, kinds, draw_models, draw_windows):
    """Return `count` pairs of a random model and its windows, the same ones each time."""
    cases = []

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
        model = data.draw(draw_models(kinds, negative_conv_exp=False))
        cases.append((model, data.draw(draw_windows(model, count=2))))

    draw()
    return cases


def steps_of(windows, cells):
    """Cut windows into the input of each step, as windows of one bin."""
    for indices, bins in windows:
        bounds = np.searchsorted(indices, np.arange(bins + 1, dtype=np.int64) * cells)
        for step in range(bins):
            yield indices[bounds[step] : bounds[step + 1]] - np.uint32(step * cells)


def assert_layers(theirs, ours, names, where):
    for layer, (other, own) in enumerate(zip(theirs, ours, strict=True)):
        for name in names:
            np.testing.assert_array_equal(
                getattr(other, name), getattr(own, name), err_msg=f"{name} of layer {layer}, {where}"
            )


def assert_spikes(theirs, ours, where):
    for layer, (other, own) in enumerate(zip(theirs, ours, strict=True)):
        np.testing.assert_array_equal(other, own, err_msg=f"spikes of layer {layer}, {where}")


def assert_worth_it(seen):
    """A comparison of silent networks, or of such as never leave their range, would show nothing."""
    assert min(seen.values()) > 0, seen


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_models_of_lava_agree_each_step(kinds, counts, reference, draw_models, draw_windows):
    count = counts(f"networks against Lava's models, {'-'.join(kinds)}", reduced=20, full=400)
    cases = draw_cases(count, kinds, draw_models, draw_windows)
    rest = [NetworkState.at_rest(model) for model, _ in cases]
    answers = run_in_child(
        [
            (model.network, state.layers, state.registers, windows)
            for (model, windows), state in zip(cases, rest, strict=True)
        ]
    )
    seen = dict.fromkeys(("spikes", "wraps", "saturations"), 0)
    for number, ((model, windows), (spikes, traces, last)) in enumerate(zip(cases, answers, strict=True)):
        fixed, simulator = create_engine(model), reference(model)
        for step, indices in enumerate(steps_of(windows, model.cells)):
            where = f"step {step} of network {number}"
            simulator.step(indices.tolist())
            assert_spikes(spikes[step], fixed.run_window(indices, 1, record=True).steps[0], where)
            assert_layers(traces[step], fixed.state().layers, ("u", "v"), where)
            seen["spikes"] += sum(map(len, spikes[step]))
        assert_layers(last, fixed.state().layers, ("u", "v", "a_buff"), f"end of network {number}")
        seen["wraps"] += simulator.wraps
        seen["saturations"] += simulator.saturations
    assert len(cases) >= count
    assert_worth_it(seen)


def test_the_whole_of_lava_agrees_each_step(counts, draw_models, draw_windows):
    count = counts("networks against the whole of Lava", reduced=4, full=200)
    cases = draw_cases(count, KINDS[-1], draw_models, draw_windows)
    network = Network([Layer("only", Dense(np.array([[64]], np.int16)), Lif(0, 0, 10))], (1, 1, 1))
    lava = create_engine(Model(network, ["one"]), "lava")
    spikes = 0
    try:
        for number, (model, windows) in enumerate(cases):
            lava.load(model)  # in the same worker
            fixed = create_engine(model)
            for step, indices in enumerate(steps_of(windows, model.cells)):
                where = f"step {step} of network {number}"
                theirs, ours = (each.run_window(indices, 1, record=True) for each in (lava, fixed))
                assert_spikes(theirs.steps[0], ours.steps[0], where)
                for name in ("spike_counts", "layer_spikes", "layer_synaptic_ops"):
                    np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name), err_msg=name)
                assert_layers(lava.state().layers, fixed.state().layers, ("u", "v", "a_buff"), where)
                spikes += int(theirs.layer_spikes.sum())
    finally:
        lava.close()
    assert len(cases) >= count
    assert spikes > 0
