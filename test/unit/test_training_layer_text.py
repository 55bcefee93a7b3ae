# SPDX-License-Identifier: Apache-2.0
"""Networks as text: what is understood, and what is refused with the layer's own words."""

import pytest

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.gesture import GESTURE_LAYERS
from neuro_ros.training.network.layer_text import layer_text, parse_layers
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork


def test_a_text_says_layers_and_the_output_comes_by_itself():
    layers = parse_layers("conv:12k5s2p2, conv:24s2u10v20, dense:128", 7, (2, 32, 32))
    assert layers == (
        ConvSpec("conv1", 12, 5, 2, 2, 2000, 500),
        ConvSpec("conv2", 24, 3, 2, 1, 10, 20),
        DenseSpec("dense", 128, 1500, 250),
        DenseSpec("output", 7, 800, 200),
    )
    network = IntegerNetwork(layers, (2, 32, 32))
    assert [layer.output_shape for layer in network.populations] == [(12, 16, 16), (24, 8, 8), (128, 1, 1), (7, 1, 1)]
    assert parse_layers("", 3, (2, 4, 4)) == (DenseSpec("output", 3, 800, 200),)
    assert [spec.name for spec in parse_layers("dense:4,dense:5,output:v1", 3, (2, 4, 4))] == [
        "dense1", "dense2", "output",
    ]  # fmt: skip


def test_the_gesture_network_is_its_own_text():
    text = layer_text(GESTURE_LAYERS)
    assert parse_layers(text, GESTURE_LAYERS[-1].neurons, (2, 32, 32)) == GESTURE_LAYERS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pool:2", "'pool:2' is not understood"),
        ("conv:k3", "how many neurons"),
        ("dense:", "how many neurons"),
        ("output:5", "a neuron a class"),
        ("output:,dense:4", "the output comes last"),
        ("dense:4k3", "'k' means nothing there"),
        ("conv:4k3k5", "given twice"),
        ("conv:0", "channels is 0"),
        ("conv:4s0", "s is 0"),
        ("dense:4u4096", r"u is 4096, outside 0\.\.4095"),
        ("conv:4k9p0", "kernel of 9 does not fit 8 x 8"),
        ("dense:1000000,dense:1000000", "number of weights is 128000000"),
        (",".join(["dense:2"] * 40), "41 layers are more than 32"),
    ],
)
def test_texts_that_cannot_be_are_refused_with_the_layer(text, why):
    with pytest.raises(TrainingError, match=why):
        parse_layers(text, 3, (2, 8, 8))
