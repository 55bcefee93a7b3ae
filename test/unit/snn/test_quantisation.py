# SPDX-License-Identifier: Apache-2.0
"""The door between physical and register values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.snn import Dense, Layer, Lif, Network, NetworkError
from neuro_ros.snn import quantisation as q
from neuro_ros.snn.limits import weight_grid

STEP_S = 0.005


@given(st.floats(0.0, 10.0))
def test_decays_are_the_nearest_register(tau_s):
    kept = math.exp(-STEP_S / tau_s) if tau_s > 0 else 0.0
    for value, offset in ((q.du_from_tau(tau_s, STEP_S), 1), (q.dv_from_tau(tau_s, STEP_S), 0)):
        assert 0 <= value.register <= 4095
        error = abs((4096 - value.register - offset) / 4096 - kept) * 4096
        assert error <= 0.5 + 1e-9 or value.clipped


def test_decay_ends():
    assert q.dv_from_tau(math.inf, STEP_S) == q.QuantisedValue(0, math.inf, False)
    slow = q.du_from_tau(math.inf, STEP_S)
    assert (slow.register, slow.clipped) == (0, True)
    assert slow.effective == pytest.approx(4095.5 * STEP_S, rel=1e-6)
    assert q.du_from_tau(0.0, STEP_S) == q.QuantisedValue(4095, 0.0, False)
    fast = q.dv_from_tau(0.0, STEP_S)
    assert (fast.register, fast.clipped) == (4095, True)
    for bad in (-1.0, math.nan):
        with pytest.raises(NetworkError, match="tau_mem"):
            q.dv_from_tau(bad, STEP_S)


@given(st.integers(0, 4095))
def test_decays_return(register):
    if register < 4095:  # du = 4095 forgets in one step whatever the time constant
        assert q.du_from_tau(q.tau_from_du(register, STEP_S), STEP_S).register == register
    assert q.dv_from_tau(q.tau_from_dv(register, STEP_S), STEP_S).register == register


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=40), st.floats(1.0, 200.0))
def test_weights_land_on_the_even_grid_and_losses_are_counted(values, scale):
    weight = np.array(values)
    result = q.quantise_weights(weight, scale)
    assert result.weight.dtype == np.int16
    assert not (result.weight & 1).any()
    assert -256 <= result.weight.min() <= result.weight.max() <= 254
    assert result.zeroed == sum(1 for w, i in zip(values, result.weight, strict=True) if w != 0 and i == 0)
    if result.clipped == 0:
        assert np.abs(result.weight - weight * scale).max() <= 1 + 1e-9
        assert result.largest_error <= 1 / scale + 1e-9


def test_clipping_is_reported():
    result = q.quantise_weights(np.array([1.0, 300.0, -300.0, 0.4]), 1.0)
    assert result.weight.tolist() == [0, 254, -256, 0]
    assert (result.clipped, result.zeroed) == (2, 2)
    assert result.largest_error == 46.0
    with pytest.raises(NetworkError, match="1 values that are not finite"):
        q.quantise_weights(np.array([math.nan]), 1.0)
    with pytest.raises(NetworkError, match="scale"):
        q.quantise_weights(np.array([1.0]), 0.0)


@given(st.integers(1, 5000), st.integers(0, 3), st.integers(0, 2**31))
def test_scale_keeps_the_accumulator_bound(fan_in, weight_exp, seed):
    weight = np.random.default_rng(seed).normal(size=(2, fan_in))
    scale = q.choose_scale(weight, fan_in, weight_exp)
    result = q.quantise_weights(weight, scale)
    assert result.clipped == 0
    Network([Layer("only", Dense(result.weight, weight_exp), Lif(0, 0, 1))], (1, 1, fan_in))  # is not refused


WIDTHS = st.tuples(st.integers(1, 8), st.sampled_from(["mixed", "excitatory", "inhibitory"]))


@given(WIDTHS, st.integers(1, 400), st.integers(-3, 3), st.sampled_from([1, 7, 255]), st.integers(0, 2**31))
def test_fitted_scale_uses_the_bound_and_keeps_it(width, fan_in, weight_exp, payload, seed):
    weight = np.random.default_rng(seed).normal(size=(3, fan_in))
    if width[1] != "mixed" or width[0] == 1:  # 1 bit mixed has -256 and 0 only
        weight = np.abs(weight) * (1 if width[1] == "excitatory" else -1)
    try:
        scale = q.fit_scale(weight, weight_exp, payload, *width)
    except NetworkError as error:
        assert "no scale fits" in str(error)  # noqa: PT017  # only some draws are refused
        return
    result = q.quantise_weights(weight, scale, *width)
    assert result.clipped == 0
    connection = Dense(result.weight, weight_exp, *width)
    Network([Layer("only", connection, Lif(0, 0, 1))], (1, 1, fan_in), payload.bit_length() if payload > 1 else 0)


def test_fitted_scale_is_the_larger_one():
    """One large weight among small ones: the sum is far below fan-in x max|w|."""
    weight = np.full((1, 4000), 0.1)
    weight[0, 0] = 10.0
    assert q.fit_scale(weight) == pytest.approx(25.4)
    assert q.choose_scale(weight, 4000) == pytest.approx(6.4)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("mode", ["mixed", "excitatory", "inhibitory"])
def test_grids_are_those_of_lava(bits, mode):
    """Every value of a grid survives the clipping and truncation of Lava's ``weightutils``, and nothing else does."""
    lowest, highest, step = weight_grid(bits, mode)
    own = set(range(lowest, highest + 1, step))
    ends = {"mixed": (-256, 255), "excitatory": (0, 255), "inhibitory": (-255, 0)}[mode]
    shift = 8 - bits + (mode == "mixed")
    kept = {w for w in range(-256, 256) if min(max(w, ends[0]), ends[1]) >> shift << shift == w}
    if mode == "inhibitory":  # Lava's floor of -255 gives one level more than the bits can tell apart
        kept -= {-256}
    assert own == kept
    assert len(own) == 2**bits


def test_steps_of_rest_and_delay():
    assert q.refractory_steps(0.012, STEP_S) == q.QuantisedValue(2, 0.01, False)
    assert q.refractory_steps(9.0, STEP_S).clipped
    delays = q.delay_steps([0.0, 0.0126, 1.0], STEP_S)
    assert (delays.steps.tolist(), delays.clipped) == ([0, 3, 62], 1)
    assert delays.largest_error_s == pytest.approx(0.69)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(NetworkError, match="refractory"):
            q.refractory_steps(bad, STEP_S)
        with pytest.raises(NetworkError, match="delay"):
            q.delay_steps([bad], STEP_S)


def test_thresholds_and_biases():
    assert q.quantise_threshold(1.5, 64.0).register == 96
    assert q.quantise_threshold(1.5, 64.0, 2).register == 384
    assert q.quantise_threshold(1e6, 64.0).clipped
    small = q.quantise_bias(np.array([0.5, -0.25]), 64.0)
    assert (small.mantissa.tolist(), small.exponent, small.clipped) == ([2048, -1024], 0, 0)
    large = q.quantise_bias(np.array([4.0, -0.25]), 64.0)
    assert (large.mantissa.tolist(), large.exponent, large.clipped) == ([4096 * 4 // 8, -128], 3, 0)
    assert q.quantise_bias(np.array([1e6]), 64.0).clipped == 1
