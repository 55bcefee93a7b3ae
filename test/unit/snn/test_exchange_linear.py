# SPDX-License-Identifier: Apache-2.0
"""Linear maps: against the connections of the network description, and composed against one after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import ALL, BUDGET, SEEDS, Chance, connection

from neuro_ros.snn.exchange import ExchangeError
from neuro_ros.snn.exchange.kinds import linear_map
from neuro_ros.snn.exchange.linear import ConvMap, DenseMap, as_matrix, compose, identity, pool
from neuro_ros.snn.reference import accumulate


@st.composite
def shapes(draw):
    return draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7))


@given(SEEDS, shapes())
def test_a_map_is_what_the_connection_does(seed, shape):
    chance = Chance(seed)
    made = connection(chance, shape, None, BUDGET, ALL, False, True)
    linear = linear_map(made, shape)
    assert linear.output_shape(shape) == made.output_shape(shape)
    values = chance.rng.integers(0, 2, shape)
    assert (linear.apply(values[None].astype(float))[0] == accumulate(made, values.astype(np.int64))).all()


@st.composite
def maps(draw, shape):
    """Draw a map that fits an input of `shape`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["dense", "conv", "conv", "pool", "pool"]))
    if kind == "dense":
        return DenseMap(rng.normal(size=(draw(st.integers(1, 5)), int(np.prod(shape)))))
    kernel, stride, padding, dilation = [], [], [], []
    for extent in shape[1:]:
        padding.append(draw(st.integers(0, 2)))
        dilation.append(draw(st.integers(1, 2)) if kind == "conv" else 1)
        kernel.append(draw(st.integers(1, min(3, (extent + 2 * padding[-1] - 1) // dilation[-1] + 1))))
        stride.append(draw(st.integers(1, 3)))
    if kind == "pool":
        return pool(shape[0], tuple(kernel), tuple(stride), tuple(padding), 0.5)
    groups = draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
    weight = rng.normal(size=(groups * draw(st.integers(1, 3)), shape[0] // groups, *kernel))
    return ConvMap(weight, tuple(stride), tuple(padding), tuple(dilation), groups)


@given(st.data(), shapes())
def test_composed_maps_do_what_they_do_in_a_row(data, shape):
    first = data.draw(maps(shape))
    second = data.draw(maps(first.output_shape(shape)))
    both = compose(first, second, shape)
    x = np.random.default_rng(1).random((2, *shape))
    expected = second.apply(first.apply(x))
    assert both.output_shape(shape) == expected.shape[1:] or isinstance(both, DenseMap)
    assert np.allclose(both.apply(x).ravel(), expected.ravel())


def test_a_pool_and_a_convolution_stay_a_convolution():
    shape = (2, 8, 8)
    kernels = np.random.default_rng(1).normal(size=(3, 2, 3, 3))
    both = compose(pool(2, (2, 2), (2, 2)), ConvMap(kernels, padding=(1, 1)), shape)
    assert isinstance(both, ConvMap)
    assert (both.weight.shape, both.stride, both.padding) == ((3, 2, 6, 6), (2, 2), (2, 2))
    # windows that overlap see behind the border what the padding of the second map would hide
    both = compose(pool(2, (3, 3), (2, 2)), ConvMap(kernels, padding=(1, 1)), shape)
    assert isinstance(both, DenseMap)


def test_pools_of_pools_are_pools():
    both = compose(pool(3, (2, 2), (2, 2), weight=0.25), pool(3, (2, 2), (2, 2), weight=0.25), (3, 8, 8))
    assert isinstance(both, ConvMap)
    assert both.is_pool
    assert both.weight.shape == (3, 1, 4, 4)
    assert np.allclose(both.weight, 1 / 16)


def test_scales_and_identities():
    shape = (2, 3, 3)
    x = np.random.default_rng(1).random((1, *shape))
    assert (identity(shape, 2.0).apply(x) == 2 * x).all()
    assert identity(shape, 2.0).is_pool
    scaled = identity(shape, np.array([2.0, 3.0]))
    assert not scaled.is_pool
    assert (scaled.apply(x)[0, 1] == 3 * x[0, 1]).all()
    assert np.allclose(as_matrix(scaled, shape).apply(x).ravel(), scaled.apply(x).ravel())


def test_a_matrix_that_is_too_large_is_refused():
    large = ConvMap(np.ones((8, 8, 3, 3)), padding=(1, 1))
    overlapping = pool(8, (3, 3), (1, 1), (1, 1))
    with pytest.raises(ExchangeError, match="above 16777216 weights"):
        compose(overlapping, large, (8, 64, 64))
