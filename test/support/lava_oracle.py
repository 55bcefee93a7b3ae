# SPDX-License-Identifier: Apache-2.0
"""Runs processes of Lava beside the NumPy reference and prints, per network, how many values of u and v differ.

A program of its own, because importing Lava changes the process that does it. Delays, graded input and one-sign
weights are compared with the fixed-point DelayDense and LIF; the refractory period, of which Lava has a
floating-point model only, with decays for which that one is exact.
"""

import json
import sys

import numpy as np

from neuro_ros.snn import Dense, Layer, Lif, Model, Network, Projection
from neuro_ros.snn.lava_shim import require_lava
from neuro_ros.snn.limits import weight_grid
from neuro_ros.snn.reference import ReferenceEngine

STEPS, SOURCES, NEURONS = 40, 12, 7


def reference(network, inputs):
    """Return u and v of every step, (steps, neurons) each."""
    engine = ReferenceEngine(Model(network, [str(i) for i in range(NEURONS)]))
    steps = [engine.step(inputs[:, step])[0] for step in range(STEPS)]
    spikes = sum(int(step.spikes.sum()) for step in steps)
    return np.array([step.u.ravel() for step in steps]), np.array([step.v.ravel() for step in steps]), spikes


def lava(connection, neuron, inputs, tag):
    """Return the same of a connection and a population of Lava."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.source import RingBuffer
    from lava.proc.monitor.process import Monitor

    source, monitors = RingBuffer(data=inputs), (Monitor(), Monitor())
    source.s_out.connect(connection.s_in)
    connection.a_out.connect(neuron.a_in)
    for monitor, variable in zip(monitors, (neuron.u, neuron.v), strict=True):
        monitor.probe(variable, STEPS)
    neuron.run(condition=RunSteps(STEPS), run_cfg=Loihi2SimCfg(select_tag=tag))
    data = [next(iter(next(iter(each.get_data().values())).values())) for each in monitors]
    neuron.stop()
    return [np.asarray(each).reshape(STEPS, -1) for each in data]


def delayed(rng, weight_exp, weight_bits, sign_mode, input_bits):
    """Compare one dense layer with a delay for each source."""
    from lava.proc.dense.process import DelayDense
    from lava.proc.lif.process import LIF
    from lava.utils.weightutils import SignMode

    low, high, step = weight_grid(weight_bits, sign_mode)
    reach = 8 if input_bits else 1  # smaller weights where the input is larger
    weight = (rng.integers(low // step // reach, high // step // reach + 1, (NEURONS, SOURCES)) * step).astype(np.int16)
    inputs = (rng.random((SOURCES, STEPS)) < 0.4).astype(int)
    inputs *= rng.integers(1, max(2**input_bits, 2), inputs.shape)
    delays = rng.integers(0, 6, SOURCES)
    connection = Dense(weight, weight_exp, weight_bits, sign_mode)
    projection = Projection(connection, "", delays.reshape(1, 1, SOURCES))
    network = Network([Layer("only", projection, Lif(300, 200, 100))], (1, 1, SOURCES), input_bits)
    process = DelayDense(
        weights=weight.astype(int),
        delays=np.tile(delays, (NEURONS, 1)),
        max_delay=6,
        weight_exp=weight_exp,
        num_weight_bits=weight_bits,
        sign_mode=SignMode[sign_mode.upper()],
        num_message_bits=input_bits,
    )
    return reference(network, inputs), lava(process, LIF(shape=(NEURONS,), du=300, dv=200, vth=100), inputs, "fixed_pt")


def resting(rng, refractory):
    """Compare one population with a refractory period; u forgets and v keeps, both without rounding."""
    from lava.proc.dense.process import Dense as LavaDense
    from lava.proc.lif.process import LIFRefractory

    weight = (rng.integers(-20, 60, (NEURONS, SOURCES)) * 2).astype(np.int16)
    inputs = (rng.random((SOURCES, STEPS)) < 0.3).astype(int)
    layer = Layer("only", Dense(weight), Lif(4095, 0, 200, refractory=refractory))
    neuron = LIFRefractory(shape=(NEURONS,), du=1.0, dv=0.0, vth=200 * 64.0, refractory_period=refractory)
    process = LavaDense(weights=weight * 64.0)
    return reference(Network([layer], (1, 1, SOURCES)), inputs), lava(process, neuron, inputs, "floating_pt")


def main():
    """Print one JSON object: name of the network -> [differing values, spikes]."""
    require_lava()
    rng = np.random.default_rng(3)
    found = {}
    for name, (ours, theirs) in {
        "floor per delay": delayed(rng, -2, 8, "mixed", 0),
        "inhibitory": delayed(rng, 1, 8, "inhibitory", 0),
        "graded excitatory": delayed(rng, -1, 5, "excitatory", 4),
        "graded mixed": delayed(rng, 0, 4, "mixed", 8),
        "rest 1": resting(rng, 1),
        "rest 5": resting(rng, 5),
    }.items():
        u, v, spikes = ours
        found[name] = [int((u != theirs[0]).sum() + (v != theirs[1]).sum()), spikes]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
