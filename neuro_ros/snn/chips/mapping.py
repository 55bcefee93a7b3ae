# SPDX-License-Identifier: Apache-2.0
"""Maps a network to a chip: cores, places, utilisation, and every broken limit at once.

This module refuses to know about files, terminals and ROS; it takes a network, a profile and, where utilisation is
asked for, what a real run did.
"""

from __future__ import annotations

import math

import numpy as np

from neuro_ros.snn.network import Network

from .figures import ChipError
from .partition import Partition
from .placement import core_traffic, places
from .profile import Architecture, ChipProfile
from .report import ChipMapping, CoreUse, Remap, Violation
from .splits import OWN_RESOURCES, Activity
from .whole_layers import assign, check_layers, whole_layers
from .wiring import INPUT, wires

__all__ = ["REMAP_UTILISATION", "check_activity", "map_network"]

#: Share of a step's period above which a core's layer is split further.
REMAP_UTILISATION = 0.7


def map_network(
    network: Network,
    profile: ChipProfile,
    step_period_s: float,
    activity: Activity | None = None,
    placement_seed: int | None = None,
    highest_utilisation: float = REMAP_UTILISATION,
) -> ChipMapping:
    """Lay a network onto a chip.

    Parameters
    ----------
    network : Network
    profile : ChipProfile
    step_period_s : float
        Time that a network step may take: the sensor time of a bin, for real time.
    activity : Activity or None
        What a run of this network did; without it utilisation is unknown and nothing is split on its account.
    placement_seed : int or None
        None = along the rows of the mesh; else a random placement, see `neuro_ros.snn.chips.placement`.
    highest_utilisation : float
        Share of the step that a core may work before its layer is split further.

    Returns
    -------
    ChipMapping
        With all violations; it is complete even when the network does not fit.

    Raises
    ------
    ChipError
        When the activity is of another network, or a number is out of range.
    """
    if not 0.0 < step_period_s < math.inf or not 0.0 < highest_utilisation <= 1.0:
        raise ChipError(
            f"step_period_s {step_period_s!r} must be finite and above 0, "
            f"highest_utilisation {highest_utilisation!r} within 0..1"
        )
    if activity is not None:
        check_activity(network, activity)
    if profile.architecture is Architecture.LAYER_A_CORE:
        return _map_whole_layers(network, profile, step_period_s, activity)
    partition = Partition(network, profile, activity)
    remaps = partition.remap(step_period_s, highest_utilisation)
    cores = _cores(partition, places(partition.cores, profile, placement_seed))
    traffic = None
    if activity is not None and partition.cores <= profile.limit("cores"):
        traffic = core_traffic(partition.wires, partition.layers, partition.splits, activity)
    violations = [
        *_chip_violations(network, profile, partition.cores),
        *_core_violations(partition),
        *_layer_violations(network, profile),
        *_late(cores, step_period_s, remaps),
    ]
    return ChipMapping(
        profile,
        tuple(partition.names),
        tuple(cores),
        tuple(violations),
        step_period_s,
        tuple(remaps),
        activity,
        traffic,
    )


def check_activity(network: Network, activity: Activity) -> None:
    """Raise `ChipError` when a run was not one of this network."""
    given = (activity.input_spikes.shape, *(spikes.shape for spikes in activity.neuron_spikes))
    needed = (network.input_shape, *network.shapes)
    if given != needed:
        raise ChipError(f"the activity has populations {given}, the network has {needed}; measure it with this model")
    if activity.steps < 1:
        raise ChipError("the activity covers no step; run at least one window")


def _cores(partition: Partition, numbers: list[int]) -> list[CoreUse]:
    cores: list[CoreUse] = []
    for index, (name, split) in enumerate(zip(partition.names, partition.splits, strict=True)):
        used = [split.use[resource].ravel() for resource in OWN_RESOURCES]
        out_axons = partition.out_axons(index).ravel()
        unknown = np.full(split.parts, math.nan)
        operations = unknown if split.synaptic_operations is None else split.synaptic_operations.ravel()
        busy_ns = unknown if split.busy_ns is None else split.busy_ns.ravel()
        counts = (*used, out_axons, split.synapses.ravel())
        for box, rate, busy, *numbers_of_box in zip(split.boxes(), operations, busy_ns, *counts, strict=True):
            neurons, bits, in_axons, out, synapses = (int(number) for number in numbers_of_box)
            place = numbers[len(cores)]
            cores.append(CoreUse(place, name, box, neurons, bits, in_axons, out, synapses, float(rate), float(busy)))
    return cores


def _chip_violations(network: Network, profile: ChipProfile, cores: int) -> list[Violation]:
    """Compare the network as a whole with the limits of the chip."""
    neurons = sum(math.prod(shape) for shape in network.shapes)
    stored = sum(wire.stored_weights(0, wire.target_shape[0]) for wire in wires(network))
    return [
        Violation("", name, value, profile.limit(name))
        for name, value in (("cores", cores), ("neurons", neurons), ("synapses", stored))
        if value > profile.limit(name)
    ]


def _core_violations(partition: Partition) -> list[Violation]:
    """Compare the fullest core of each layer with the limits of a core."""
    found = []
    for index, name in enumerate(partition.names):
        for resource in (*OWN_RESOURCES, "out_axons_per_core"):
            value, limit = partition.largest(index, resource), partition.profile.limit(resource)
            if value > limit:
                found.append(Violation(name, resource, value, limit))
    return found


def _layer_violations(network: Network, profile: ChipProfile) -> list[Violation]:
    """Compare what no cutting changes."""
    found = []
    all_wires = wires(network)
    for index, layer in enumerate(network.layers):
        incoming = [wire for wire in all_wires if wire.target == index]
        from_input = any(wire.source == INPUT for wire in incoming)
        values = {
            "fan_in": sum(wire.fan_in for wire in incoming),
            "delay_steps": max(wire.max_delay for wire in incoming),
            "refractory_steps": layer.neuron.refractory,
            "payload_bits": network.input_bits if from_input else 0,
            "weight_bits": max(wire.weight_bits for wire in incoming),
        }
        found += [
            Violation(layer.name, name, value, profile.limit(name))
            for name, value in values.items()
            if value > profile.limit(name)
        ]
    return found


def _late(cores: list[CoreUse], step_period_s: float, remaps: list[Remap]) -> list[Violation]:
    """Return the layers with a core that works longer than a step may take."""
    found: dict[str, Violation] = {}
    for core in cores:
        share = core.busy_ns * 1e-9 / step_period_s
        if share > max(1.0, found[core.layer].value if core.layer in found else 0.0):
            note = (
                "after a remap" if any(remap.layer == core.layer for remap in remaps) else "it cannot be split further"
            )
            found[core.layer] = Violation(core.layer, "utilisation", share, 1.0, note)
    return list(found.values())


def _map_whole_layers(
    network: Network, profile: ChipProfile, step_period_s: float, activity: Activity | None
) -> ChipMapping:
    needs = whole_layers(network)
    numbers = assign(needs, profile)
    rates = _operations(network, activity)
    cores = []
    for need, place, shape, rate in zip(needs, numbers, network.shapes, rates, strict=True):
        box = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
        bits = need.kernel_weights * profile.weight_storage_bits
        cores.append(
            CoreUse(place, need.name, box, need.neurons, bits, need.in_axons, need.out_axons, need.synapses, rate)
        )
    violations = [
        *_chip_violations(network, profile, len(cores)),
        *check_layers(network, profile),
        *_layer_violations(network, profile),
    ]
    homeless = [core.layer for core in cores if core.place < 0]
    explained = {violation.layer for violation in violations if violation.limit.endswith("_memory_per_core")}
    left = [name for name in homeless if name not in explained]
    if left and len(cores) <= profile.limit("cores"):
        # each of them suits some core, but all such cores are taken by layers that need them as well
        used = len(cores) - len(homeless)
        note = f"cores with enough memory are taken: no place for {', '.join(left)}"
        violations.append(Violation("", "cores", len(cores), used, note))
    return ChipMapping(
        profile,
        tuple(layer.name for layer in network.layers),
        tuple(cores),
        tuple(violations),
        step_period_s,
        (),
        activity,
    )


def _operations(network: Network, activity: Activity | None) -> list[float]:
    """Return the synaptic operations of each layer in a step."""
    if activity is None:
        return [math.nan] * len(network.layers)
    total = [0.0] * len(network.layers)
    for wire in wires(network):
        spikes = activity.of(wire.source)
        total[wire.target] += float((wire.connection.fan_out(wire.source_shape) * spikes).sum()) / activity.steps
    return total
