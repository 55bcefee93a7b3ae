# SPDX-License-Identifier: Apache-2.0
"""Which sources a part of a population needs, and how many synapses they have into it, without listing a synapse.

Every kind of connection is a product of its axes: the synapses of source (c, y, x) into the targets of a box are
``channels[c] * rows[y] * columns[x]``. Counts of axons, synapses and operations of a box are then products of sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.network import Connection, Conv2d, Dense, Network, Shape

from .figures import ChipError

__all__ = ["INPUT", "Counts", "Wire", "wires"]

Counts = NDArray[np.int64]

INPUT = -1  # index of the network's input where a population could stand


def _taps(extent: int, low: int, high: int, kernel: int, stride: int, padding: int, dilation: int) -> Counts:
    """Return per source of one axis how many kernel places of the targets low..high reach it."""
    sources = np.add.outer(np.arange(low, high) * stride - padding, np.arange(kernel) * dilation).ravel()
    return np.bincount(sources[(sources >= 0) & (sources < extent)], minlength=extent).astype(np.int64)


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

    def __post_init__(self) -> None:
        if not isinstance(self.connection, (Dense, Conv2d)):
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
        extent, connection = self.source_shape[axis], self.connection
        if axis == 0:
            return np.full(extent, high - low, np.int64)
        if isinstance(connection, Conv2d):
            kernel = connection.weight.shape[1 + axis]
            return _taps(extent, low, high, kernel, connection.stride[axis - 1], connection.padding[axis - 1], 1)
        return np.ones(extent, np.int64)  # the targets of a dense layer lie along the channels, and each sees all

    def stored_weights(self, low: int, high: int) -> int:
        """Return the weights of the target channels low..high, each kernel counted once."""
        weight = self.connection.tensors()["weight"]
        return (high - low) * (weight.size // weight.shape[0])


def wires(network: Network) -> tuple[Wire, ...]:
    """Return all connections of a network."""
    return tuple(
        Wire(
            index - 1 if index else INPUT,
            index,
            layer.name,
            layer.connection,
            network.shapes[index - 1] if index else network.input_shape,
            network.shapes[index],
        )
        for index, layer in enumerate(network.layers)
    )
