# SPDX-License-Identifier: Apache-2.0
"""Which sources a part of a population needs, and how many synapses they have into it, without listing a synapse.

Every kind of connection is a product of its axes: the synapses of source (c, y, x) into the targets of a box are
``channels[c] * rows[y] * columns[x]``. Counts of axons, synapses and operations of a box are then products of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.network import Connection, Conv2d, Dense, Network, Shape, SumPool2d

from .figures import ChipError

__all__ = ["INPUT", "Counts", "Wire", "wires"]

Counts = NDArray[np.int64]

INPUT = -1  # index of the network's input where a population could stand


def _taps(extent: int, low: int, high: int, kernel: int, stride: int, padding: int, dilation: int) -> Counts:
    """Return per source of one axis how many kernel places of the targets low..high reach it."""
    sources = np.add.outer(np.arange(low, high) * stride - padding, np.arange(kernel) * dilation).ravel()
    return np.bincount(sources[(sources >= 0) & (sources < extent)], minlength=extent).astype(np.int64)


def _dense_reach(_connection: Dense, extent: int, axis: int, low: int, high: int) -> Counts:
    """Targets lie along the channels, and each sees every source."""
    return np.full(extent, high - low if axis == 0 else 1, np.int64)


def _conv_reach(connection: Conv2d, extent: int, axis: int, low: int, high: int) -> Counts:
    if axis:
        kernel = connection.weight.shape[1 + axis]
        place = axis - 1
        return _taps(
            extent,
            low,
            high,
            kernel,
            connection.stride[place],
            connection.padding[place],
            connection.dilation[place],
        )
    # output channels fall into blocks that see one block of the input channels each
    targets, sources = connection.weight.shape[0] // connection.groups, extent // connection.groups
    blocks = np.bincount(np.arange(low, high) // targets, minlength=connection.groups)
    return np.repeat(blocks, sources).astype(np.int64)


def _pool_reach(connection: SumPool2d, extent: int, axis: int, low: int, high: int) -> Counts:
    if axis:
        place = axis - 1
        return _taps(
            extent, low, high, connection.kernel[place], connection.stride[place], connection.padding[place], 1
        )
    return _taps(extent, low, high, 1, 1, 0, 1)  # channel by channel


#: kind: (factor of one axis, weights of one target neuron)
_KINDS: dict[str, tuple[Callable[..., Counts], Callable[[Any], int]]] = {
    "dense": (_dense_reach, lambda connection: connection.weight.shape[1]),
    "conv2d": (_conv_reach, lambda connection: connection.weight[0].size),
    "sum_pool2d": (_pool_reach, lambda connection: connection.kernel[0] * connection.kernel[1]),
}


@dataclass(frozen=True, eq=False)
class Wire:
    """One connection with its two ends.

    Parameters
    ----------
    source, target : int
        Indices of populations; `INPUT` for the input.
    name : str
        Of the target's layer, for messages.
    connection : Connection
    source_shape, target_shape : Shape
        (channels, height, width).
    delays, max_delay : int
        Number of different axonal delays, and the longest [steps].

    Raises
    ------
    ChipError
        When the kind of connection is unknown here.
    """

    source: int
    target: int
    name: str
    connection: Connection
    source_shape: Shape
    target_shape: Shape
    delays: int = 1
    max_delay: int = 0

    def __post_init__(self) -> None:
        if self.connection.kind not in _KINDS:
            raise ChipError(f"layer '{self.name}': connection kind {self.connection.kind!r} is unknown to the mapper")

    def reach(self, axis: int, low: int, high: int) -> Counts:
        """Return one factor of the synapses that the sources have into the targets low..high of an axis.

        Parameters
        ----------
        axis : int
            0 = channels, 1 = rows, 2 = columns of the target.
        low, high : int
            Half-open range of the target's axis.

        Returns
        -------
        (extent of the source's axis,) int64
        """
        factor, _ = _KINDS[self.connection.kind]
        return factor(self.connection, self.source_shape[axis], axis, low, high)

    @property
    def weight_bits(self) -> int:
        """Declared width of a weight."""
        return int(self.connection.parameters()["weight_bits"])

    @property
    def fan_in(self) -> int:
        """Synapses of one target that is not at a border."""
        _, weights = _KINDS[self.connection.kind]
        return weights(self.connection)

    def stored_weights(self, low: int, high: int) -> int:
        """Return the weights of the target channels low..high, each kernel counted once.

        Sources of another delay need a kernel of their own, because the delay is stored with the weight; in a dense
        connection each source has its own weights anyway.
        """
        copies = 1 if isinstance(self.connection, Dense) else self.delays
        return (high - low) * self.fan_in * copies


def wires(network: Network) -> tuple[Wire, ...]:
    """Return all connections of a network, in the order of their targets."""
    return tuple(
        Wire(
            source,
            target,
            layer.name,
            projection.connection,
            network.source_shape(source),
            network.shapes[target],
            int(np.unique(projection.delays).size),
            projection.max_delay,
        )
        for target, layer in enumerate(network.layers)
        for source, projection in zip(network.sources[target], layer.projections, strict=True)
    )
