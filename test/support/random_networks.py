# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for networks over every kind, inside the accumulator bound, with values that wrap and clip.

``networks(features=...)`` draws only what a back end supports; the names are those of
`neuro_ros.snn.features.FEATURES`. ``windows(model)`` draws what to feed it.
"""

import numpy as np
from hypothesis import strategies as st

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, Projection, SumPool2d
from neuro_ros.snn.features import FEATURES
from neuro_ros.snn.limits import weight_grid

ALL = frozenset(FEATURES)
BUDGET = 1 << 18  # the accumulator bound, before the alignment by 6 bits
WIDTHS = [(8, "mixed")] * 4 + [(4, "mixed"), (1, "mixed")]
ONE_SIGN = [(8, "excitatory"), (8, "inhibitory"), (5, "excitatory"), (3, "inhibitory"), (1, "excitatory")]


def lifs(draw, shape, exotic, refractory=False):
    """Draw the registers of a population; `exotic` ones have biases that saturate v."""
    decay = st.one_of(st.sampled_from([0, 1, 4094, 4095]), st.integers(0, 4095), st.integers(0, 400))
    bias = draw(st.sampled_from(["none", "none", "scalar", "channel", "neuron"]))
    mantissas = st.integers(-4096, 4095) if exotic else st.integers(-60, 60)
    if bias == "none":
        mantissa = 0
    elif bias == "scalar":
        mantissa = draw(mantissas)
    else:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        limits = (-4096, 4096) if exotic else (-60, 61)
        mantissa = rng.integers(*limits, shape if bias == "neuron" else shape[0])
    vth = draw(st.one_of(st.integers(0, 40), st.integers(0, 4000), st.sampled_from([0, 100_000, 131_071])))
    rest = draw(st.sampled_from([0, 0, 1, 2, 3, 7, 63])) if refractory else 0
    return Lif(draw(decay), draw(decay), vth, mantissa, draw(st.integers(0, 7)) if exotic else 0, rest)


def weights(draw, shape, fan_in, budget, features, extreme, negative_exp):
    """Draw (weight, weight_exp, weight_bits, sign_mode) whose sum over `fan_in` stays within `budget`."""
    bits, mode = draw(st.sampled_from(WIDTHS + (ONE_SIGN if "one_sign" in features else [])))
    low, high, step = weight_grid(bits, mode)
    top = min(7, max(0, (budget // (2 * fan_in)).bit_length() - 1))
    if extreme:
        exponent = draw(st.integers(0, top))
    else:
        exponent = draw(st.integers(-3 if negative_exp else 0, min(2, top)))
    limit = budget // fan_in
    limit = (limit >> exponent if exponent >= 0 else limit << -exponent) // step * step
    low, high = max(low, -limit) // step, min(high, limit) // step
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sign = draw(st.sampled_from(["both", "both", "positive", "negative", "zero"]))
    low, high = (0 if sign == "positive" else low), (0 if sign == "negative" else high)
    if sign == "zero":
        low = high = 0
    weight = rng.integers(low, high + 1, shape)
    if extreme:  # all of a target at one end, so that sums reach the accumulator bound
        weight = np.where(rng.random(shape) < 0.5, low, high) if rng.random() < 0.5 else np.full(shape, high or low)
    return np.asarray(weight * step, np.int16), exponent, bits, mode


def delays(draw, shape, features):
    """Draw the axonal delays of a source: none, one for all, or one a cell."""
    kind = draw(st.sampled_from(["none", "none", "one", "cells"])) if "delays" in features else "none"
    if kind == "none":
        return 0
    longest = draw(st.sampled_from([1, 2, 5, 62]))
    if kind == "one":
        return longest
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.choice(np.unique([0, 1, longest // 2, longest]), shape)


def connections(draw, shape, target, budget, features, extreme, negative_conv_exp, max_targets=70):
    """Draw a connection from a source of `shape`; to a population of the shape `target` unless it is None."""
    kinds = [kind for kind in ("dense", "conv2d", "sum_pool2d") if kind in features]
    if target is not None:
        kinds = ["dense"] if target[1:] == (1, 1) and "dense" in kinds else ["conv2d"] if "conv2d" in kinds else []
        if target == shape and "sum_pool2d" in features:
            kinds.append("sum_pool2d")
    if not kinds:
        return None
    kind = draw(st.sampled_from(kinds))
    if kind == "dense":
        size = (draw(st.integers(1, max_targets)) if target is None else target[0], int(np.prod(shape)))
        return Dense(*weights(draw, size, size[1], budget, features, extreme, True))
    if target is not None:  # what brings one plane onto the other with stride 1
        kernel = padding = ()
        for extent, wanted in zip(shape[1:], target[1:], strict=True):
            padding += (max(0, -(-(wanted - extent) // 2)),)
            kernel += (extent + 2 * padding[-1] - wanted + 1,)
        stride, dilation = (1, 1), (1, 1)
    else:
        dilation = (1, 1)
        if kind == "conv2d" and "dilation" in features:
            dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
        kernel = tuple(draw(st.integers(1, min(4, extent + 2))) for extent in shape[1:])
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple(
            max(draw(st.integers(0, 2)), -(-(r - extent) // 2)) for r, extent in zip(reach, shape[1:], strict=True)
        )
    if kind == "sum_pool2d":
        if target is not None:
            kernel, padding = (1, 1), (0, 0)
        weight, exponent, bits, mode = weights(
            draw, (), kernel[0] * kernel[1], budget, features, extreme, negative_conv_exp
        )
        return SumPool2d(weight, kernel, stride, padding, exponent, bits, mode)
    channels = draw(st.integers(1, 5)) if target is None else target[0]
    groups = 1
    if "groups" in features:
        groups = draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
        if target is None:
            channels = groups * -(-channels // groups)
        elif channels % groups:
            groups = 1
    size = (channels, shape[0] // groups, *kernel)
    weight, exponent, bits, mode = weights(
        draw, size, int(np.prod(size[1:])), budget, features, extreme, negative_conv_exp
    )
    return Conv2d(weight, stride, padding, exponent, dilation, groups, bits, mode)


@st.composite
def networks(draw, features=ALL, max_layers=3, negative_conv_exp=True):
    """Draw a network of a few layers that uses nothing outside `features`.

    Half of them are extreme: weights and biases at their ends, so that u wraps and v saturates.
    """
    extreme = draw(st.booleans())
    input_shape = (draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 9)))
    input_bits = draw(st.sampled_from([0, 0, 1, 3, 8])) if "graded_input" in features else 0
    payload = max((1 << input_bits) - 1, 1)
    names = [f"layer{index}" for index in range(draw(st.integers(1, max_layers)))]
    shapes = [input_shape]  # of the input, then of the layers
    plans = []  # per layer the (source index, connection)

    def source_of(index):
        earlier = st.integers(-1, index - 1)
        return draw(st.one_of(st.just(index - 1), earlier)) if "skip" in features else index - 1

    further = [draw(st.integers(0, 2)) if "projections" in features else 0 for _ in names]

    def connect(source, index, target):
        """Draw a connection into layer `index` that takes its share of the accumulator."""
        budget = (BUDGET - 64 * further[index]) // ((1 + further[index]) * (payload if source < 0 else 1))
        return connections(draw, shapes[source + 1], target, budget, features, extreme, negative_conv_exp)

    for index in range(len(names)):
        source = source_of(index)
        connection = connect(source, index, None)
        shapes.append(connection.output_shape(shapes[source + 1]))
        plans.append([(source, connection)])
    for index in range(len(names)):
        last = len(names) - 1 if "recurrence" in features else index - 1
        allowed = {index - 1}
        if "skip" in features:
            allowed |= set(range(-1, index))
        for source in (draw(st.integers(-1, last)) for _ in range(further[index])):
            if source < index and source not in allowed:
                continue
            connection = connect(source, index, shapes[index + 1])
            if connection is not None:
                plans[index].append((source, connection))
    layers = []
    for index, (name, plan) in enumerate(zip(names, plans, strict=True)):
        projections = [
            Projection(
                connection,
                "" if source == index - 1 else names[source] if source >= 0 else "input",
                delays(draw, shapes[source + 1], features),
            )
            for source, connection in plan
        ]
        layers.append(Layer(name, projections, lifs(draw, shapes[index + 1], extreme, "refractory" in features)))
    return Network(layers, input_shape, input_bits)


@st.composite
def network_models(draw, features=ALL, max_layers=3, negative_conv_exp=True):
    """Draw a model around a network of `networks`."""
    network = draw(networks(features, max_layers, negative_conv_exp))
    counting = network.input_bits > 0 and draw(st.booleans())
    labels = [f"class{i}" for i in range(network.classes)]
    return Model(network, labels, normalisation="count" if counting else "binary")


@st.composite
def graded_windows(draw, model, count=3):
    """Draw `count` windows (indices, bins, values or None) of random density and payloads."""
    drawn = []
    largest = model.network.largest_payload
    for _ in range(count):
        bins = draw(st.integers(1, 6))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
        indices = np.flatnonzero(rng.random(bins * model.cells) < density).astype(np.uint32)
        values = None
        if model.network.input_bits and draw(st.booleans()):
            most = draw(st.booleans())
            values = np.full(indices.size, largest) if most else rng.integers(1, largest + 1, indices.size)
            values = values.astype(np.uint8)
        drawn.append((indices, bins, values))
    return drawn
