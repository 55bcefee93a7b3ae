# SPDX-License-Identifier: Apache-2.0
"""Networks and chips for the tests of the mapper, and the mapping's counts from a list of all synapses."""

import math

import numpy as np
from integer_simulator import synapses_of

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Network
from neuro_ros.snn.chips import COSTS, LIMITS, Activity, Architecture, ChipProfile, Confidence, Figure, Mesh


def tiny_chip(name="tiny", **limits):
    """Make a chip of 64 small cores; `limits` replaces values, None = unknown."""
    values = {
        "cores": 64,
        "neurons_per_core": 12,
        "synapse_memory_per_core": 4096,
        "in_axons_per_core": 60,
        "out_axons_per_core": 60,
        **limits,
    }

    def figure(number, unit):
        if number is None:
            return Figure(None, unit, "made for a test", Confidence.UNKNOWN)
        return Figure(number, unit, "made for a test", Confidence.HIGH)

    needed = {key: unit for key, (unit, _, where) in LIMITS.items() if Architecture.SPLIT_LAYERS in where}
    return ChipProfile(
        name,
        "a chip of a test",
        Architecture.SPLIT_LAYERS,
        {key: figure(values.get(key), unit) for key, unit in needed.items()},
        {key: figure(number, COSTS[key][0]) for key, number in zip(COSTS, (20, 50, 0.5, 4, 10, 100), strict=True)},
        narrow_weights=True,
        memory_word_bits=8,
        mesh=Mesh(8, 4, 2, "made for a test"),
    )


def zeros(*shape):
    return np.zeros(shape, np.int16)


def three_limits_network():
    """Break three limits of Loihi 1 at once: its neurons, its cores, and the in-axons of the last layer."""
    return Network(
        [
            # 64 channels of 48 x 48 are 144 times the neurons of a core; the chip has 128 cores
            Layer("wide", Conv2d(zeros(64, 2, 3, 3), 1, 1), Lif(100, 100, 100)),
            Layer("narrow", Conv2d(zeros(64, 64, 3, 3), 4, 1), Lif(100, 100, 100)),
            # a neuron sees 9216 cells, 4096 can reach a core
            Layer("all", Dense(zeros(5, 64 * 12 * 12)), Lif(100, 100, 100)),
        ],
        (2, 48, 48),
    )


def activity_of(engine, network, feeds):
    """Run feeds (indices, bins, values) on an engine and return what it did, and its own count of operations."""
    cells = math.prod(network.input_shape)
    inputs, steps = np.zeros(cells, np.int64), 0
    operations = np.zeros(len(network.layers), np.int64)
    for indices, bins, values in feeds:
        operations += engine.run_window(indices, bins, values=values).layer_synaptic_ops
        inputs += np.bincount(indices % cells, minlength=cells)
        steps += bins
    spikes = tuple(engine.neuron_spikes())
    return Activity(steps, inputs.reshape(network.input_shape), spikes, "a test"), operations


def counted(network, mapping, activity):
    """Return per core (neurons, in-axons, out-axons, synapses, operations a step) from the list of all synapses."""
    index_of = {layer.name: index for index, layer in enumerate(network.layers)}
    shapes = network.shapes
    core_of = [np.full(shape, -1) for shape in shapes]
    for number, core in enumerate(mapping.cores):
        box = tuple(slice(low, high) for low, high in core.box)
        assert (core_of[index_of[core.layer]][box] == -1).all(), "boxes overlap"
        core_of[index_of[core.layer]][box] = number
    assert all((cores >= 0).all() for cores in core_of), "a neuron has no core"
    neurons = np.bincount(np.concatenate([cores.ravel() for cores in core_of]), minlength=len(mapping.cores))
    in_axons, out_axons, synapses, operations = np.zeros((4, len(mapping.cores)))
    traffic = np.zeros((len(mapping.cores), len(mapping.cores)))
    for target, layer in enumerate(network.layers):
        for projection, source in zip(layer.projections, network.sources[target], strict=True):
            listed = synapses_of(projection.connection, network.source_shape(source), shapes[target])
            spikes = activity.of(source).ravel()
            homes = core_of[source].ravel() if source >= 0 else None
            for cell, targets in enumerate(listed):
                cores = core_of[target].ravel()[[number for number, _ in targets]]
                np.add.at(synapses, cores, 1)
                np.add.at(operations, cores, spikes[cell])
                in_axons[np.unique(cores)] += 1
                if homes is not None:
                    out_axons[homes[cell]] += np.unique(cores).size
                    traffic[homes[cell], np.unique(cores)] += spikes[cell]
    return neurons, in_axons, out_axons, synapses, operations / activity.steps, traffic / activity.steps
