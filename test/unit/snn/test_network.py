# SPDX-License-Identifier: Apache-2.0
"""The description of networks beyond a plain chain: what is refused and why, sources, delays, bounds, features."""

import numpy as np
import pytest
from hypothesis import given, settings
from random_networks import networks

from neuro_ros.snn import (
    Conv2d,
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    NetworkError,
    Projection,
    SumPool2d,
    UnsupportedLayerError,
    create_engine,
)
from neuro_ros.snn.features import CHAIN, FEATURES, layer_features, refusals

LIF = Lif(100, 100, 50)


def dense(n_out, n_in, value=2, **options):
    return Dense(np.full((n_out, n_in), value, np.int16), **options)


def conv(shape, value=2, **options):
    return Conv2d(np.full(shape, value, np.int16), **options)


def fed(*projections, input_shape=(1, 2, 2), **options):
    """Return a network of one layer of 4 with these projections, and one of 2 behind it."""
    return Network([Layer("a", projections, LIF), Layer("b", dense(2, 4), LIF)], input_shape, **options)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: dense(1, 1, 6, weight_bits=6), r"1 values that are no multiple of 8 of 1; the 6 bit mixed-sign grid"),
        (lambda: dense(1, 1, -2, sign_mode="excitatory"), r"spans -2\.\.-2, outside 0\.\.255"),
        (lambda: dense(1, 1, -255, sign_mode="inhibitory", weight_bits=7), r"outside -254\.\.0"),
        (lambda: dense(1, 1, weight_bits=9), r"weight_bits is 9, outside 1\.\.8"),
        (lambda: dense(1, 1, sign_mode="both"), "sign_mode is 'both'"),
        (lambda: conv((3, 1, 2, 2), groups=2), "3 output channels do not divide into 2 groups"),
        (lambda: conv((2, 1, 2, 2), groups=True), "groups is True"),
        (lambda: conv((2, 1, 2, 2), dilation=0), "dilation is 0"),
        (lambda: conv((2, 1, 2, 2), dilation="xx"), "dilation is 'xx'"),
        (lambda: SumPool2d(3, 2), "1 odd values of 1"),
        (lambda: SumPool2d([2, 2], 2), "1 dimensions"),
        (lambda: SumPool2d(2, (2, 0)), "kernel is 0"),
        (lambda: SumPool2d(2, None), "kernel is None"),
        (lambda: Lif(0, 0, 1, refractory=64), r"refractory is 64, outside 0\.\.63"),
        (lambda: Projection("dense"), "'dense' is not a connection"),
        (lambda: Projection(dense(1, 1), 3), "source is 3"),
        (lambda: Projection(dense(1, 1), "", 63), r"delays spans 63\.\.63, outside 0\.\.62"),
        (lambda: Projection(dense(1, 1), "", [1, 2]), r"delays have shape \(2,\)"),
        (lambda: Projection(dense(1, 1), "", 0.5), "delays has dtype float64"),
        (lambda: Layer("a", [], LIF), r"layer 'a' has 0 projections, outside 1\.\.64"),
        (lambda: Layer("a", [dense(1, 1)], LIF), "layer 'a': several connections are given as Projection"),
        (lambda: fed(Projection(dense(4, 4), "c")), "layer 'a': unknown source 'c'; known are input, a, b"),
        (lambda: fed(Projection(dense(4, 4), "a")), "layer 'a': fed by itself or later layers only"),
        (
            lambda: fed(Projection(dense(4, 4)), Projection(dense(3, 2), "b")),
            r"layer 'a': the projection from 'b' gives \(3, 1, 1\), the population is \(4, 1, 1\)",
        ),
        (
            lambda: fed(Projection(dense(4, 4), "", np.zeros((4, 1, 1), int))),
            r"layer 'a': delays have shape \(4, 1, 1\) for a source of \(1, 2, 2\)",
        ),
        (lambda: fed(Projection(dense(4, 4)), input_bits=9), r"input_bits is 9, outside 0\.\.8"),
        (
            lambda: Network(
                [Layer("input", dense(1, 1), LIF), Layer("b", Projection(dense(1, 1), "input"), LIF)], (1,) * 3
            ),
            "layer 'b': source 'input' is ambiguous",
        ),
        (
            lambda: Network([Layer("a", SumPool2d(2, (1, 9)), LIF)], (1, 2, 8)),
            "layer 'a': kernel 1x9 is larger than the padded input",
        ),
        (
            lambda: Network(
                [Layer(f"a{i}", Projection(SumPool2d(2, 1), "", 62), LIF) for i in range(2)], (1, 1024, 1024)
            ),
            "keep 132120576 values in flight",
        ),
        (lambda: Network([Layer(f"a{i}", SumPool2d(2, 1), LIF) for i in range(1025)], (1, 1, 1)), "has 1025 layers"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(build, text):
    with pytest.raises(NetworkError, match=text) as refusal:
        build()
    assert "\n" not in str(refusal.value)


def test_bound_is_the_sum_of_same_sign_weights_over_all_projections():
    weight = np.zeros((1, 2000), np.int16)
    weight[0, :1000], weight[0, 1000:] = 254, -256
    network = Network([Layer("a", Dense(weight), LIF)], (1, 1, 2000))  # 1000 x 256 << 6 is below 2^24
    assert int(network.layers[0].projections[0].bounds()[0][0]) == -256_000
    twice = [Projection(dense(1, 512, -256)), Projection(dense(1, 512, -256), "input", 3)]
    Network([Layer("a", twice, LIF)], (1, 1, 512))  # exactly 2^24
    with pytest.raises(NetworkError, match="is 16793600, 16384 above"):
        Network([Layer("a", [*twice, Projection(dense(1, 1, -256), "a")], LIF)], (1, 1, 512))


def test_bound_counts_the_payload_of_the_input_only():
    layers = [Layer("a", dense(2, 8, 128), LIF), Layer("b", dense(1, 2, 254), LIF)]
    Network(layers, (1, 2, 4), 8)  # 8 x 128 x 255 is below 2^18, and b sees binary spikes
    with pytest.raises(NetworkError, match=r"layer 'a': .* lower the weights, weight_exp, input_bits"):
        Network([Layer("a", dense(2, 9, 128), LIF)], (1, 1, 9), 8)


def test_bound_floors_each_delay_by_itself():
    """Seven sources of -2, shifted right by 2: together -4 (floor of -3.5), each in a delay of its own -7."""
    together = Projection(dense(1, 7, -2, weight_exp=-2))
    alone = Projection(dense(1, 7, -2, weight_exp=-2), "", np.arange(7).reshape(1, 1, 7))
    assert [int(end[0]) for end in together.bounds()] == [-4, 0]
    low, high = alone.bounds()
    assert low[0] <= -7
    assert high[0] == 0


def test_sources_slots_depth_and_shapes():
    network = Network(
        [
            Layer("conv", Projection(conv((4, 2, 3, 3), padding=1), "input", 2), LIF),
            Layer("pool", SumPool2d(64, 2), LIF),
            Layer(
                "out",
                [
                    Projection(dense(3, 16)),
                    Projection(dense(3, 64), "conv", np.arange(64).reshape(4, 4, 4) % 6),
                    Projection(dense(3, 3, -2), "out", 1),
                ],
                LIF,
            ),
        ],
        (2, 4, 4),
    )
    assert network.shapes == ((4, 4, 4), (4, 2, 2), (3, 1, 1))
    assert network.sources == ((-1,), (0,), (1, 0, 2))
    assert network.slots == (3, 1, 6)
    assert network.depth == 3 + 1 + 5  # input - conv with its delay of 2, then conv - out with one of 5
    assert network.layers[0].connection.kind == "conv2d"
    with pytest.raises(NetworkError, match="layer 'out' has 3 projections"):
        _ = network.layers[2].connection
    entry = network.topology()["layers"][2]
    assert entry["slots"] == 6
    assert [each["source"] for each in entry["projections"]] == ["pool", "conv", "out"]


def test_spelling_does_not_change_the_network():
    layers = [Layer("a", dense(4, 4), LIF), Layer("b", dense(2, 4), LIF)]
    spelled = [
        Layer("a", [Projection(dense(4, 4), "input", np.zeros((1, 2, 2), int))], LIF),
        Layer("b", Projection(dense(2, 4), "a"), LIF),
    ]
    plain, other = (Model(Network(each, (1, 2, 2)), ["x", "y"]) for each in (layers, spelled))
    assert plain.digest == other.digest
    assert plain.network.topology_digest() == other.network.topology_digest()


def test_fan_out_counts_every_synapse_of_every_kind(reference):
    @settings(max_examples=30)
    @given(network=networks())
    def check(network):
        simulator = reference(Model(network, [f"{i}" for i in range(network.classes)]))
        for index, layer in enumerate(network.layers):
            for k, (projection, source) in enumerate(zip(layer.projections, network.sources[index], strict=True)):
                counted = [len(targets) for targets in simulator.projections[index][k]]
                assert projection.connection.fan_out(network.source_shape(source)).ravel().tolist() == counted

    check()


def test_every_feature_is_named_where_it_is_used():
    seen = set()

    @settings(max_examples=100)
    @given(network=networks())
    def check(network):
        for index in range(len(network.layers)):
            seen.update(layer_features(network, index))

    check()
    assert seen == set(FEATURES)


def test_back_ends_refuse_what_they_do_not_know_by_name():
    network = fed(Projection(dense(4, 4)), Projection(dense(4, 2), "b", 5))
    (refusal,) = refusals(network, "some", CHAIN)
    assert refusal.layer == "a"
    assert "it needs an axonal delay, several projections into one population, a projection from the layer" in str(
        refusal
    )
    assert refusals(network, "some", FEATURES) == []
    resting = Network([Layer("a", dense(2, 4), Lif(0, 0, 1, refractory=2))], (1, 2, 2))
    with pytest.raises(
        UnsupportedLayerError, match=r"back end 'lava' cannot represent layer 'a' exactly: .*refractory"
    ):
        create_engine(Model(resting, ["x", "y"]), "lava")
