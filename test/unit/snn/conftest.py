# SPDX-License-Identifier: Apache-2.0
"""An independent simulator in unbounded Python integers, and random models for the equality tests."""

import numpy as np
import pytest
from hypothesis import strategies as st

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Model, Network


class Reference:
    """The equations of the network description, one neuron and one synapse at a time, without any width.

    Written from the documented arithmetic of the bit-accurate LIF (u wraps by one
    subtraction, v saturates) and shares nothing with the engines but the description.
    """

    def __init__(self, model):
        network = model.network
        self.layers = network.layers
        self.shapes = (network.input_shape, *network.shapes)
        self.wraps = self.saturations = 0
        self.synapses = [self._synapses(index) for index in range(len(self.layers))]
        sizes = [int(np.prod(shape)) for shape in network.shapes]
        self.u = [[0] * n for n in sizes]
        self.v = [[0] * n for n in sizes]
        self.a = [[0] * n for n in sizes]

    def _synapses(self, index):
        """Return per source the list of (target, weight)."""
        connection = self.layers[index].connection
        weight = connection.weight.tolist()
        (c_in, h_in, w_in), (c_out, h_out, w_out) = self.shapes[index], self.shapes[index + 1]
        targets = [[] for _ in range(c_in * h_in * w_in)]
        if connection.kind == "dense":
            for target, row in enumerate(weight):
                for source, w in enumerate(row):
                    targets[source].append((target, w))
            return targets
        k_y, k_x = connection.weight.shape[2:]
        for o in range(c_out):
            for oy in range(h_out):
                for ox in range(w_out):
                    for c in range(c_in):
                        for ky in range(k_y):
                            for kx in range(k_x):
                                y = oy * connection.stride[0] - connection.padding[0] + ky
                                x = ox * connection.stride[1] - connection.padding[1] + kx
                                if 0 <= y < h_in and 0 <= x < w_in:
                                    targets[(c * h_in + y) * w_in + x].append(
                                        ((o * h_out + oy) * w_out + ox, weight[o][c][ky][kx])
                                    )
        return targets

    @staticmethod
    def _decay(value, factor):
        magnitude = abs(value) * factor // 4096
        return magnitude if value >= 0 else -magnitude

    def step(self, inputs):
        """Advance by one step on flat (c, y, x) input indices; return the spikes of every layer."""
        fired = []
        for index, layer in enumerate(self.layers):
            neuron = layer.neuron
            mantissa = (
                np.broadcast_to(
                    neuron.bias_mant[:, None, None] if neuron.bias_mant.ndim == 1 else neuron.bias_mant,
                    self.shapes[index + 1],
                )
                .ravel()
                .tolist()
            )
            spikes = []
            for i in range(len(self.u[index])):
                u = self._decay(self.u[index][i], 4096 - (neuron.du + 1)) + self.a[index][i] * 64
                if u > 2**23:
                    u -= 2**24
                    self.wraps += 1
                elif u <= -(2**23):
                    u += 2**24
                    self.wraps += 1
                v = self._decay(self.v[index][i], 4096 - neuron.dv) + u + mantissa[i] * 2**neuron.bias_exp
                if abs(v) > 2**23 - 1:
                    v = 2**23 - 1 if v > 0 else -(2**23 - 1)
                    self.saturations += 1
                if v > neuron.vth * 64:
                    spikes.append(i)
                    v = 0
                self.u[index][i], self.v[index][i] = u, v
            fired.append(spikes)
        for index, sources in enumerate([list(inputs), *fired[:-1]]):
            sums = [0] * len(self.a[index])
            for source in sources:
                for target, weight in self.synapses[index][source]:
                    sums[target] += weight
            exponent = self.layers[index].connection.weight_exp
            self.a[index] = [s * 2**exponent if exponent >= 0 else s // 2**-exponent for s in sums]
        return fired

    def run(self, indices, bins):
        """Run a window of flat (bin, c, y, x) indices; return steps[step][layer]."""
        cells = int(np.prod(self.shapes[0]))
        return [
            self.step([int(i) - step * cells for i in indices if step * cells <= i < (step + 1) * cells])
            for step in range(bins)
        ]

    def arrays(self, index):
        """Return u, v, a_buff of a layer as int64 (c, h, w)."""
        return tuple(
            np.array(part[index], np.int64).reshape(self.shapes[index + 1]) for part in (self.u, self.v, self.a)
        )


def _draw_lif(draw, shape, exotic):
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
    return Lif(draw(decay), draw(decay), vth, mantissa, draw(st.integers(0, 7)) if exotic else 0)


def _draw_weights(draw, shape, fan_in, exponent, extreme):
    limit = (1 << 18) // fan_in
    limit = limit >> exponent if exponent >= 0 else limit << -exponent
    limit = min(limit, 254) // 2
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sign = draw(st.sampled_from(["mixed", "mixed", "excitatory", "inhibitory", "zero"]))
    if sign == "zero":
        return np.zeros(shape, np.int16)
    low, high = (0 if sign == "excitatory" else -limit), (0 if sign == "inhibitory" else limit)
    weight = rng.integers(low, high + 1, shape)
    if extreme:  # all of one column at one end, so that sums reach the accumulator bound
        weight = np.where(rng.random(shape) < 0.5, low, high) if rng.random() < 0.5 else np.full(shape, high or low)
    return (weight * 2).astype(np.int16)


@st.composite
def models(draw, kinds=("dense", "conv2d"), negative_conv_exp=True, max_layers=3):
    """Draw a model of a few layers inside the accumulator bound, with extremes that wrap and saturate."""
    extreme = draw(st.booleans())
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 9)))
    input_shape = shape
    layers = []
    for index in range(draw(st.integers(1, max_layers))):
        kind = draw(st.sampled_from(kinds))
        if kind == "conv2d":
            k_y = draw(st.integers(1, min(4, shape[1] + 2)))
            k_x = draw(st.integers(1, min(4, shape[2] + 2)))
            padding = tuple(
                max(draw(st.integers(0, 2)), -(-(kernel - extent) // 2))
                for kernel, extent in ((k_y, shape[1]), (k_x, shape[2]))
            )
            weight_shape = (draw(st.integers(1, 5)), shape[0], k_y, k_x)
            fan_in = int(np.prod(weight_shape[1:]))
        else:
            weight_shape = (draw(st.integers(1, 70)), int(np.prod(shape)))
            fan_in = weight_shape[1]
        low = -3 if kind == "dense" or negative_conv_exp else 0
        top = min(7, max(0, ((1 << 18) // (2 * fan_in)).bit_length() - 1))
        exponent = draw(st.integers(0, top)) if extreme else draw(st.integers(low, min(2, top)))
        weight = _draw_weights(draw, weight_shape, fan_in, exponent, extreme)
        if kind == "conv2d":
            connection = Conv2d(weight, (draw(st.integers(1, 3)), draw(st.integers(1, 3))), padding, exponent)
        else:
            connection = Dense(weight, exponent)
        shape = connection.output_shape(shape)
        layers.append(Layer(f"layer{index}", connection, _draw_lif(draw, shape, extreme)))
    network = Network(layers, input_shape)
    return Model(network, [f"class{i}" for i in range(network.classes)])


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
    return Reference


@pytest.fixture(scope="session")
def draw_models():
    """Return the strategy that draws models."""
    return models


@pytest.fixture(scope="session")
def draw_windows():
    """Return the strategy that draws windows for a model."""
    return windows
