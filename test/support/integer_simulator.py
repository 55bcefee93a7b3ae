# SPDX-License-Identifier: Apache-2.0
"""The equations of the network description, one neuron and one synapse at a time, in unbounded Python integers."""

import numpy as np


def synapses_of(connection, source_shape, target_shape):
    """Return per source the list of (target, weight), from the definition of each kind."""
    (c_in, h_in, w_in), (c_out, h_out, w_out) = source_shape, target_shape
    targets = [[] for _ in range(c_in * h_in * w_in)]
    if connection.kind == "dense":
        for target, row in enumerate(connection.weight.tolist()):
            for source, w in enumerate(row):
                targets[source].append((target, w))
        return targets
    pool = connection.kind == "sum_pool2d"
    k_y, k_x = connection.kernel if pool else connection.weight.shape[2:]
    dilation = (1, 1) if pool else connection.dilation
    weight = connection.weight.tolist()
    for o in range(c_out):
        if pool:
            channels = [(o, 0)]
        else:
            own = c_in // connection.groups
            first = o // (c_out // connection.groups) * own
            channels = [(first + c, c) for c in range(own)]
        for oy in range(h_out):
            for ox in range(w_out):
                for c, slice_ in channels:
                    for ky in range(k_y):
                        for kx in range(k_x):
                            y = oy * connection.stride[0] - connection.padding[0] + ky * dilation[0]
                            x = ox * connection.stride[1] - connection.padding[1] + kx * dilation[1]
                            if 0 <= y < h_in and 0 <= x < w_in:
                                w = weight if pool else weight[o][slice_][ky][kx]
                                targets[(c * h_in + y) * w_in + x].append(((o * h_out + oy) * w_out + ox, w))
    return targets


class Simulator:
    """Runs a model; shares nothing with the engines but the description.

    Written from the documented arithmetic of the bit-accurate LIF (u wraps by one subtraction, v saturates).
    A neuron that rests has its end of rest written down as a step number, as Lava's floating-point LIF has it.
    """

    def __init__(self, model):
        network = model.network
        self.layers = network.layers
        self.shapes = (network.input_shape, *network.shapes)
        self.wraps = self.saturations = 0
        self.time_step = 0
        names = [layer.name for layer in self.layers]
        self.sources = [
            [
                index - 1
                if projection.source == ""
                else -1
                if projection.source == "input"
                else names.index(projection.source)
                for projection in layer.projections
            ]
            for index, layer in enumerate(self.layers)
        ]
        self.projections = [
            [
                synapses_of(projection.connection, self.shapes[source + 1], self.shapes[index + 1])
                for projection, source in zip(layer.projections, self.sources[index], strict=True)
            ]
            for index, layer in enumerate(self.layers)
        ]
        self.synapses = [each[0] for each in self.projections]
        sizes = [int(np.prod(shape)) for shape in network.shapes]
        self.u = [[0] * n for n in sizes]
        self.v = [[0] * n for n in sizes]
        self.rest_end = [[0] * n for n in sizes]
        self.flights = [{} for _ in sizes]  # per layer: step of arrival -> activation of every neuron

    @staticmethod
    def _decay(value, factor):
        magnitude = abs(value) * factor // 4096
        return magnitude if value >= 0 else -magnitude

    def step(self, inputs, values=None):
        """Advance by one step on flat (c, y, x) input indices; return the spikes of every layer."""
        self.time_step += 1
        fired = [self._update(index) for index in range(len(self.layers))]
        payloads = [dict(zip(inputs, [1] * len(inputs) if values is None else values, strict=True))]
        payloads += [dict.fromkeys(spikes, 1) for spikes in fired]
        for index, layer in enumerate(self.layers):
            for k, projection in enumerate(layer.projections):
                self._send(index, projection, self.projections[index][k], payloads[self.sources[index][k] + 1])
        return fired

    def _update(self, index):
        neuron = self.layers[index].neuron
        shape = self.shapes[index + 1]
        mantissa = neuron.bias_mant[:, None, None] if neuron.bias_mant.ndim == 1 else neuron.bias_mant
        mantissa = np.broadcast_to(mantissa, shape).ravel().tolist()
        arrived = self.flights[index].pop(self.time_step, [0] * len(mantissa))
        spikes = []
        for i in range(len(mantissa)):
            u = self._decay(self.u[index][i], 4096 - (neuron.du + 1)) + arrived[i] * 64
            if u > 2**23:
                u -= 2**24
                self.wraps += 1
            elif u <= -(2**23):
                u += 2**24
                self.wraps += 1
            v = self.v[index][i]
            if self.rest_end[index][i] < self.time_step:
                v = self._decay(v, 4096 - neuron.dv) + u + mantissa[i] * 2**neuron.bias_exp
                if abs(v) > 2**23 - 1:
                    v = 2**23 - 1 if v > 0 else -(2**23 - 1)
                    self.saturations += 1
            if v > neuron.vth * 64:
                spikes.append(i)
                v = 0
                self.rest_end[index][i] = self.time_step + neuron.refractory
            self.u[index][i], self.v[index][i] = u, v
        return spikes

    def _send(self, index, projection, synapses, payloads):
        delays = np.broadcast_to(projection.delays, self.shapes[self._source(index, projection) + 1]).ravel().tolist()
        sums = {}
        for source, value in payloads.items():
            own = sums.setdefault(delays[source], [0] * len(self.u[index]))
            for target, weight in synapses[source]:
                own[target] += weight * value
        exponent = projection.connection.weight_exp
        for delay, activation in sums.items():
            total = self.flights[index].setdefault(self.time_step + 1 + delay, [0] * len(self.u[index]))
            for target, a in enumerate(activation):
                total[target] += a * 2**exponent if exponent >= 0 else a // 2**-exponent

    def _source(self, index, projection):
        return self.sources[index][[each is projection for each in self.layers[index].projections].index(True)]

    def run(self, indices, bins, values=None):
        """Run a window of flat (bin, c, y, x) indices; return steps[step][layer]."""
        cells = int(np.prod(self.shapes[0]))
        given = dict(zip(map(int, indices), [1] * len(indices) if values is None else map(int, values), strict=True))
        steps = []
        for step in range(bins):
            own = {i - step * cells: value for i, value in given.items() if step * cells <= i < (step + 1) * cells}
            steps.append(self.step(list(own), list(own.values())))
        return steps

    def arrays(self, index):
        """Return u, v, a_buff of a layer as int64 (c, h, w), a_buff with its slots in front where it has several."""
        shape, n = self.shapes[index + 1], len(self.u[index])
        slots = 1 + max(int(projection.delays.max()) for projection in self.layers[index].projections)
        flight = [self.flights[index].get(self.time_step + 1 + slot, [0] * n) for slot in range(slots)]
        a_buff = np.array(flight, np.int64).reshape(slots, *shape)
        u, v = (np.array(part[index], np.int64).reshape(shape) for part in (self.u, self.v))
        return u, v, a_buff if slots > 1 else a_buff[0]

    def resting(self, index):
        """Return the steps that each neuron of a layer still rests, (c, h, w)."""
        left = [max(end - self.time_step, 0) for end in self.rest_end[index]]
        return np.array(left, np.int64).reshape(self.shapes[index + 1])
