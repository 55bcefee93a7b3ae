# SPDX-License-Identifier: Apache-2.0
"""The simulator in Python integers and the random models of the equality tests, as fixtures."""

import numpy as np
import pytest
from hypothesis import strategies as st
from integer_simulator import Simulator
from random_networks import network_models


def models(kinds=("dense", "conv2d"), negative_conv_exp=True, max_layers=3):
    """Return the strategy of plain chains: one projection a layer, from the layer before."""
    return network_models(frozenset({*kinds, "lif"}), max_layers, negative_conv_exp)


@st.composite
def windows(draw, model, count=3):
    """Draw `count` windows (indices, bins) of random density."""
    cells = model.cells
    drawn = []
    for _ in range(count):
        bins = draw(st.integers(1, 5))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
        drawn.append((np.flatnonzero(rng.random(bins * cells) < density).astype(np.uint32), bins))
    return drawn


@pytest.fixture(scope="session")
def reference():
    """Return the class of the independent simulator."""
    return Simulator


@pytest.fixture(scope="session")
def draw_models():
    """Return the strategy that draws models."""
    return models


@pytest.fixture(scope="session")
def draw_windows():
    """Return the strategy that draws windows for a model."""
    return windows
