# SPDX-License-Identifier: Apache-2.0
"""Mapping to a chip whose cores each hold one whole layer and differ in their memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuro_ros.snn.network import Conv2d, Dense, Layer, Network, Shape, SumPool2d

from .profile import ChipProfile
from .report import Violation
from .wiring import Wire, wires

__all__ = ["WholeLayer", "assign", "check_layers", "whole_layers"]

_CURRENT_LASTS_ONE_STEP = 4095  # du: the hardware adds 1, and 4096 / 4096 of the current decay


@dataclass(frozen=True)
class WholeLayer:
    """What one layer asks of a core.

    Parameters
    ----------
    name : str
    kernel_weights, neurons : int
        Entries of its two memories.
    in_axons : int
        Source cells that reach it.
    out_axons : int
        Layers that it feeds, times its neurons.
    synapses : int
        Pairs of a source and a neuron.
    """

    name: str
    kernel_weights: int
    neurons: int
    in_axons: int
    out_axons: int
    synapses: int

    def fits(self, profile: ChipProfile, core: int) -> bool:
        """Return whether both memories of a core suffice."""
        return (
            self.kernel_weights <= profile.limits["kernel_memory_per_core"].values[core]
            and self.neurons <= profile.limits["neuron_memory_per_core"].values[core]
        )


def whole_layers(network: Network) -> list[WholeLayer]:
    """Return what each layer of a network asks of a core."""
    all_wires = wires(network)
    found = []
    for index, layer in enumerate(network.layers):
        incoming = [wire for wire in all_wires if wire.target == index]
        neurons = _cells(network.shapes[index])
        found.append(
            WholeLayer(
                layer.name,
                sum(_kernel(wire)[0] for wire in incoming),
                neurons,
                sum(_cells(wire.source_shape) for wire in incoming),
                neurons * sum(wire.source == index for wire in all_wires),
                sum(int(wire.connection.fan_out(wire.source_shape).sum()) for wire in incoming),
            )
        )
    return found


def _cells(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def assign(layers: Sequence[WholeLayer], profile: ChipProfile) -> list[int]:
    """Return the core of each layer, -1 where none is left that suits it.

    Bipartite matching by augmenting paths: a layer may push another one to a core that suits that one as well.
    """
    cores = int(profile.limit("cores"))
    holder: list[int | None] = [None] * cores

    def find(layer: int, seen: set[int]) -> bool:
        for core in range(cores):
            if core in seen or not layers[layer].fits(profile, core):
                continue
            seen.add(core)
            current = holder[core]
            if current is None or find(current, seen):
                holder[core] = layer
                return True
        return False

    for index in range(len(layers)):
        find(index, set())
    return [holder.index(index) if index in holder else -1 for index in range(len(layers))]


def check_layers(network: Network, profile: ChipProfile) -> list[Violation]:
    """Return all that the layers ask for beyond what a core of this chip can do, whatever core takes them."""
    found = []
    all_wires = wires(network)
    for index, (layer, need) in enumerate(zip(network.layers, whole_layers(network), strict=True)):
        incoming = [wire for wire in all_wires if wire.target == index]
        values = [
            ("kernel_memory_per_core", need.kernel_weights, ""),
            ("neuron_memory_per_core", need.neurons, ""),
            ("states_per_neuron", _states(layer), "u and v" if _states(layer) == 2 else ""),
            ("input_side", max(max(wire.source_shape[1:]) for wire in incoming), ""),
            ("output_side", max(network.shapes[index][1:]), ""),
            ("features", network.shapes[index][0], ""),
            ("targets_per_layer", sum(wire.source == index for wire in all_wires), ""),
        ]
        for wire in incoming:
            values += _kernel_values(wire)
        for name, value, note in values:
            if value > profile.limit(name):
                found.append(Violation(layer.name, name, value, profile.limit(name), note))
        for wire in incoming:
            found += _allowed(wire, profile)
    return found


def _states(layer: Layer) -> int:
    """Return the state variables that a neuron of the layer needs: a current that lasts one step needs none."""
    return 1 if layer.neuron.du == _CURRENT_LASTS_ONE_STEP else 2


def _kernel(wire: Wire) -> tuple[int, int, int]:
    """Return (weights stored, height, width) of the kernel that stands for a connection on such a core."""
    connection = wire.connection
    sources, targets = wire.source_shape[0], wire.target_shape[0]
    if isinstance(connection, Conv2d):  # zeros in between, and for the channels of the other groups
        height, width = (
            dilation * (extent - 1) + 1
            for dilation, extent in zip(connection.dilation, connection.weight.shape[2:], strict=True)
        )
        return targets * sources * height * width, height, width
    if isinstance(connection, Dense):
        return connection.weight.size, *wire.source_shape[1:]
    return targets * sources, 1, 1  # the pooling itself needs no weights


def _kernel_values(wire: Wire) -> list[tuple[str, int, str]]:
    connection = wire.connection
    note = "a dense layer is a kernel as large as its input" if isinstance(connection, Dense) else ""
    values = [("kernel_side", max(_kernel(wire)[1:]), note)]
    if isinstance(connection, (Conv2d, SumPool2d)):
        values.append(("padding", max(connection.padding), ""))
    return values


def _allowed(wire: Wire, profile: ChipProfile) -> list[Violation]:
    """Return a violation for each stride or pooling size that is not among the allowed ones."""
    connection = wire.connection
    if isinstance(connection, SumPool2d):
        name, values, extra = "pooling", connection.kernel, connection.kernel != connection.stride
    elif isinstance(connection, Conv2d):
        name, values, extra = "strides", connection.stride, False
    else:
        return []
    allowed = profile.limits[name]
    text = f"allowed are {', '.join(f'{value:g}' for value in allowed.values)}"
    found = [
        Violation(wire.name, name, value, allowed.top, text)
        for value in sorted(set(values))
        if allowed.known and value not in allowed.values
    ]
    if extra:
        found.append(Violation(wire.name, name, max(values), allowed.top, "windows must tile: stride = kernel"))
    return found
