# SPDX-License-Identifier: Apache-2.0
"""Random networks over every kind, inside the accumulator bound, with values that wrap and clip; and windows for them.

``networks(features=...)`` is a hypothesis strategy of networks that use nothing outside the features of a back end
(names as in `neuro_ros.snn.features.FEATURES`), ``network_models`` of models around them, ``graded_windows(model)`` of
what to feed them. A network comes from one drawn seed rather than from many drawn choices: hypothesis varies what it
has found, which with choices gives long runs of nearly the same network.
"""

import numpy as np
from hypothesis import strategies as st

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network, Projection, SumPool2d
from neuro_ros.snn.features import FEATURES
from neuro_ros.snn.limits import weight_grid

ALL = frozenset(FEATURES)
BUDGET = (1 << 18) - 256  # the accumulator bound before the alignment by 6 bits, less the floors of delays
WIDTHS = [(8, "mixed")] * 6 + [(4, "mixed"), (1, "mixed")]
ONE_SIGN = [(8, "excitatory"), (8, "inhibitory"), (5, "excitatory"), (3, "inhibitory"), (1, "excitatory")]
SIGNS = ["both"] * 4 + ["positive"] * 4 + ["negative", "zero"]

SEEDS = st.integers(0, 2**63 - 1)


class Chance:
    """A few ways to choose, from one seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def integer(self, low, high):
        """Return a whole number within both ends."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, options):
        """Return one of a list."""
        return options[self.integer(0, len(options) - 1)]

    def coin(self, share=0.5):
        """Return True in this share of cases."""
        return bool(self.rng.random() < share)


def lif(chance, shape, extreme, refractory=False):
    """Choose the registers of a population; extreme ones forget slowly and have biases that saturate v."""

    def decay():
        choices = [0, 1, 20] if extreme else [0, 1, 4094, 4095, chance.integer(0, 400)]
        return chance.pick([*choices, chance.integer(0, 4095)])

    limit = 4095 if extreme else 60
    bias = chance.pick(["none", "none", "scalar", "channel", "neuron"])
    mantissa = 0
    if bias == "scalar":
        mantissa = chance.integer(-limit, limit)
    elif bias != "none":
        mantissa = chance.rng.integers(-limit - 1, limit + 1, shape if bias == "neuron" else shape[0])
    highest = chance.pick([0, 40, 40, 400, 4000])
    vth = chance.pick([*(chance.integer(0, highest) for _ in range(4)), 100_000, 131_071])
    rest = chance.pick([0, 0, 1, 2, 3, 7, 63]) if refractory else 0
    return Lif(decay(), decay(), vth, mantissa, chance.integer(0, 7) if extreme else 0, rest)


def weights(chance, shape, fan_in, budget, features, extreme, negative_exp):
    """Choose (weight, weight_exp, weight_bits, sign_mode) whose sum over `fan_in` stays within `budget`."""
    bits, mode = chance.pick(WIDTHS + (ONE_SIGN if "one_sign" in features else []))
    low, high, step = weight_grid(bits, mode)
    room = budget // fan_in
    least = 0 if not negative_exp else -3 if room >= step else -7
    exponents = [e for e in range(least, 8) if (room >> e if e >= 0 else room << -e) >= step] or [least]
    if extreme:
        exponent = exponents[-1] if chance.coin(0.7) else chance.pick(exponents)
    else:
        exponent = chance.pick([e for e in exponents if e <= 2])
    limit = (room >> exponent if exponent >= 0 else room << -exponent) // step * step
    low, high = max(low, -limit) // step, min(high, limit) // step
    sign = chance.pick(SIGNS)
    low, high = (0 if sign in ("positive", "zero") else low), (0 if sign in ("negative", "zero") else high)
    weight = chance.rng.integers(low, high + 1, shape)
    if extreme:  # all of a target at one end, so that sums reach the accumulator bound
        weight = np.full(shape, high or low)
        if chance.coin(0.3):
            weight = np.where(chance.rng.random(shape) < 0.5, low, high)
    return np.asarray(weight * step, np.int16), exponent, bits, mode


def delays(chance, shape, features):
    """Choose the axonal delays of a source: none, one for all, or one a cell."""
    kind = chance.pick(["none", "none", "one", "cells"]) if "delays" in features else "none"
    if kind == "none":
        return 0
    longest = chance.pick([1, 1, 2, 2, 5, 62])
    if kind == "one":
        return longest
    return chance.rng.choice(np.unique([0, 1, longest // 2, longest]), shape)


def connection(chance, shape, target, budget, features, extreme, negative_conv_exp):
    """Choose a connection from a source of `shape`; onto a population of the shape `target` unless it is None.

    None where no kind among the features leads there.
    """
    kinds = [kind for kind in ("dense", "conv2d", "sum_pool2d") if kind in features]
    if target is not None:
        kinds = ["dense"] if target[1:] == (1, 1) and "dense" in kinds else ["conv2d"] if "conv2d" in kinds else []
        if target == shape and "sum_pool2d" in features:
            kinds.append("sum_pool2d")
    if not kinds:
        return None
    kind = chance.pick(kinds)
    if kind == "dense":
        size = (chance.integer(1, 70) if target is None else target[0], int(np.prod(shape)))
        return Dense(*weights(chance, size, size[1], budget, features, extreme, True))
    dilation, stride = (1, 1), (1, 1)
    if target is not None:  # what brings one plane onto the other with stride 1
        kernel = padding = ()
        for extent, wanted in zip(shape[1:], target[1:], strict=True):
            padding += (max(0, -(-(wanted - extent) // 2)),)
            kernel += (extent + 2 * padding[-1] - wanted + 1,)
    else:
        if kind == "conv2d" and "dilation" in features:
            dilation = (chance.integer(1, 2), chance.integer(1, 3))
        kernel = tuple(chance.integer(1, min(4, extent + 2)) for extent in shape[1:])
        stride = (chance.integer(1, 3), chance.integer(1, 3))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple(
            max(chance.integer(0, 2), -(-(r - extent) // 2)) for r, extent in zip(reach, shape[1:], strict=True)
        )
    if kind == "sum_pool2d":
        if target is not None:
            kernel, padding = (1, 1), (0, 0)
        fan_in = kernel[0] * kernel[1]
        weight, exponent, bits, mode = weights(chance, (), fan_in, budget, features, extreme, negative_conv_exp)
        return SumPool2d(weight, kernel, stride, padding, exponent, bits, mode)
    channels = chance.integer(1, 5) if target is None else target[0]
    groups = 1
    if "groups" in features:
        groups = chance.pick([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])
        if target is None:
            channels = groups * -(-channels // groups)
        elif channels % groups:
            groups = 1
    size = (channels, shape[0] // groups, *kernel)
    fan_in = int(np.prod(size[1:]))
    weight, exponent, bits, mode = weights(chance, size, fan_in, budget, features, extreme, negative_conv_exp)
    return Conv2d(weight, stride, padding, exponent, dilation, groups, bits, mode)


def random_network(seed, features=ALL, layers=3, negative_conv_exp=True):
    """Return the network of a seed: `layers` populations, nothing outside `features`.

    Half of them are extreme: weights and biases at their ends, so that u wraps and v saturates.
    """
    chance = Chance(seed)
    extreme = chance.coin()
    input_shape = (chance.integer(1, 3), chance.integer(1, 8), chance.integer(1, 9))
    input_bits = chance.pick([0, 0, 1, 3, 8]) if "graded_input" in features else 0
    payload = max((1 << input_bits) - 1, 1)
    names = [f"layer{index}" for index in range(layers)]
    shapes = [input_shape]  # of the input, then of the layers
    further = [chance.integer(0, 2) if "projections" in features else 0 for _ in names]

    def connect(source, index, target):
        """Choose a connection into layer `index` that takes its share of the accumulator: nearly all, or a little."""
        share = 16 - 2 * further[index] if target is None else 2
        budget = BUDGET * share // (16 * (payload if source < 0 else 1))
        return connection(chance, shapes[source + 1], target, budget, features, extreme, negative_conv_exp)

    plans = []  # per layer the (source index, connection)
    for index in range(layers):
        source = chance.integer(-1, index - 1) if "skip" in features and chance.coin() else index - 1
        plans.append([(source, connect(source, index, None))])
        shapes.append(plans[-1][0][1].output_shape(shapes[source + 1]))
    for index, plan in enumerate(plans):
        last = layers - 1 if "recurrence" in features else index - 1
        for source in (chance.integer(-1, last) for _ in range(further[index])):
            if "skip" in features or source >= index - 1:
                plan.append((source, connect(source, index, shapes[index + 1])))
    built = []
    for index, (name, plan) in enumerate(zip(names, plans, strict=True)):
        projections = [
            Projection(
                chosen,
                "" if source == index - 1 else names[source] if source >= 0 else "input",
                delays(chance, shapes[source + 1], features),
            )
            for source, chosen in plan
            if chosen is not None
        ]
        built.append(Layer(name, projections, lif(chance, shapes[index + 1], extreme, "refractory" in features)))
    return Network(built, input_shape, input_bits)


def random_windows(model, seed, count=3):
    """Return `count` windows (indices, bins, values or None) of different density and payloads."""
    chance = Chance(seed)
    drawn = []
    largest = model.network.largest_payload
    for _ in range(count):
        bins = chance.integer(1, 6)
        density = chance.pick([0.0, 0.05, 0.5, 0.5, 1.0])
        indices = np.flatnonzero(chance.rng.random(bins * model.cells) < density).astype(np.uint32)
        values = None
        if model.network.input_bits and chance.coin(0.8):
            values = chance.rng.integers(1, largest + 1, indices.size)
            values = (np.full(indices.size, largest) if chance.coin() else values).astype(np.uint8)
        drawn.append((indices, bins, values))
    return drawn


def networks(features=ALL, max_layers=3, negative_conv_exp=True):
    """Return the strategy of networks of up to `max_layers` layers that use nothing outside `features`."""
    return st.builds(
        random_network, SEEDS, st.just(frozenset(features)), st.integers(1, max_layers), st.just(negative_conv_exp)
    )


@st.composite
def network_models(draw, features=ALL, max_layers=3, negative_conv_exp=True):
    """Draw a model around a network of `networks`."""
    network = draw(networks(features, max_layers, negative_conv_exp))
    counting = network.input_bits > 0 and draw(st.booleans())
    labels = [f"class{i}" for i in range(network.classes)]
    return Model(network, labels, normalisation="count" if counting else "binary")


def graded_windows(model, count=3):
    """Return the strategy of lists of `count` windows for `model`."""
    return st.builds(random_windows, st.just(model), SEEDS, st.just(count))
