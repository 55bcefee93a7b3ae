# SPDX-License-Identifier: Apache-2.0
"""A network compiled for the kernel: where every population and projection lies in the flat arrays.

Nothing in a `Program` changes while a network runs, so that all engines of one model share it; `new_state` makes what
does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _fields
from ._lanes import BLOCK
from ._tables import ProjectionTables, magic, projection_tables
from .limits import cells_of
from .network import Network, Projection

__all__ = ["Program"]

_CACHE_LINE = 64  # bytes


def _aligned(size: int, dtype: type) -> NDArray[Any]:
    """Return zeros that begin on a cache line: a vector that straddles two lines costs two accesses."""
    size_bytes = size * np.dtype(dtype).itemsize
    memory = np.zeros(size_bytes + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size_bytes].view(dtype)


class Program:
    """The layout and the tables of a network.

    Parameters
    ----------
    network : Network
        What to compile.

    Attributes
    ----------
    tables : _fields.Tables
        For the kernel.
    layer_of : (projections,) int64
        The layer that each row of ``tables.projections`` feeds; a projection with several delays has a row each.

    Raises
    ------
    UnsupportedLayerError
        When a connection is of a kind that the kernel does not know.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        blocks = [-(-cells_of(shape) // BLOCK) for shape in network.shapes]
        block0 = [sum(blocks[:index]) for index in range(len(blocks))]
        # Slots that wait lie behind the populations; those without delays read what is written into their own place.
        waiting, input_block0 = sum(blocks), list(block0)
        for index, slots in enumerate(network.slots):
            if slots > 1:
                input_block0[index] = waiting
                waiting += slots * blocks[index]
        self._offsets = [first * BLOCK for first in block0]
        self._input_offsets = [first * BLOCK for first in input_block0]
        self._blocks = blocks
        self._rows: list[dict[str, int]] = []
        self._parts: list[ProjectionTables] = []
        self._delays: list[NDArray[np.uint8]] = []
        self._populations = np.zeros((len(network.layers), len(_fields.POPULATION)), np.int64)
        for index, (layer, (channels, height, width)) in enumerate(zip(network.layers, network.shapes, strict=True)):
            self.set_fields(
                self._populations,
                index,
                state=self._offsets[index],
                blocks=blocks[index],
                block0=block0[index],
                channels=channels,
                plane=height * width,
                channel_magic=magic(channels),
                input_shift=self.input_shift(index),
                refractory=layer.neuron.refractory,
                slots=network.slots[index],
                input=self._input_offsets[index],
                input_block0=input_block0[index],
            )
            for projection, source in zip(layer.projections, network.sources[index], strict=True):
                self._add(index, projection, source)
        # A run of weights is padded to whole vectors and may end behind its population, where it adds zeros. The last
        # blocks are for sums that are shifted before they are added.
        shifts = any(row["shift"] for row in self._rows)
        self.state_blocks = sum(blocks)
        self.input_blocks = waiting + 1 + (max(blocks) + 1 if shifts else 0)
        self.layer_of = np.array([row["layer"] for row in self._rows], np.int64)
        self.tables = self._join()

    def input_shift(self, index: int) -> int:
        """Return by how much the input of a population is shifted when it is read.

        One projection with a negative weight_exp and one delay needs no sum of its own: its floor is taken then.
        """
        layer = self.network.layers[index]
        if len(layer.projections) > 1 or self.network.slots[index] > 1:
            return 0
        return max(-layer.projections[0].connection.weight_exp, 0)

    def _add(self, index: int, projection: Projection, source: int) -> None:
        """Append the rows of one projection, one for each delay that occurs in it."""
        network, connection = self.network, projection.connection
        shape = network.source_shape(source)
        part = projection_tables(connection, shape, network.shapes[index], source < 0, network.layers[index].name)
        row = {
            "source": source,
            "layer": index,
            "delays": -1,
            "shift": 0 if self.input_shift(index) else max(-connection.weight_exp, 0),
            "weights": sum(each.weights.size for each in self._parts),
            "lines": sum(each.lines.size for each in self._parts) // 2,
            "places": sum(each.places.size for each in self._parts) // 2,
            "classes": sum(len(each.classes) for each in self._parts),
            "products": sum(each.products.size for each in self._parts),
            "image_lines": sum(each.image_lines.size for each in self._parts),
            **part.fields,
        }
        delays = np.unique(projection.delays)
        if delays.size > 1:
            row["delays"] = sum(each.size for each in self._delays)
            own = projection.source_delays(shape)
            self._delays.append(own.ravel() if source < 0 else self.numbered(own))
        self._parts.append(part)
        self._rows += [{**row, "delay": int(delay)} for delay in delays]

    def _join(self) -> _fields.Tables:
        projections = np.zeros((len(self._rows), len(_fields.PROJECTION)), np.int64)
        for projection, row in zip(projections, self._rows, strict=True):
            for name, value in row.items():
                projection[_fields.PROJECTION.index(name)] = value
        parts = self._parts
        size = sum(part.weights.size for part in parts)
        weights = _aligned(size, np.int16)
        np.concatenate([part.weights for part in parts], out=weights)
        return _fields.Tables(
            projections,
            weights,
            np.concatenate([part.lines for part in parts]),
            np.concatenate([part.places for part in parts]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([*self._delays, np.zeros(0, np.uint8)]),
            np.concatenate([part.products for part in parts]),
            np.concatenate([part.image_lines for part in parts]),
        )

    def new_state(self) -> _fields.State:
        """Return the arrays of a network at rest; registers and biases are for the engine to fill in."""
        network, neurons = self.network, self.state_blocks * BLOCK
        most = max(cells_of(shape) for shape in (network.input_shape, *network.shapes))
        u, v, bias, resting = (_aligned(neurons, np.int32) for _ in range(4))
        return _fields.State(
            populations=self._populations.copy(),
            u=u,
            v=v,
            bias=bias,
            resting=resting,
            a=_aligned(self.input_blocks * BLOCK, np.int32),
            biased=np.zeros(self.state_blocks, np.uint8),
            awake=np.zeros(self.input_blocks, np.uint8),
            heads=np.zeros(len(network.layers), np.int64),
            counts=np.zeros(len(network.layers), np.uint64),
            asleep=np.zeros(len(network.layers), np.uint64),
            spikes=np.zeros(neurons, np.uint32),
            queue=np.zeros(most, np.uint64),
            fill=np.zeros(len(self.tables.classes), np.uint32),
            chosen=np.zeros(most, np.uint32),
            payloads=np.zeros(most, np.uint8),
            recent=np.zeros(neurons, np.uint8),
            counted=np.zeros(neurons, np.int64),
            image=np.zeros(max(part.image_size for part in self._parts), np.int16),
            flags=np.zeros(neurons, np.uint8),
        )

    @staticmethod
    def set_fields(populations: NDArray[np.int64], index: int, **values: int) -> None:
        """Write fields of one population."""
        for name, value in values.items():
            populations[index, _fields.POPULATION.index(name)] = value

    def flat(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """Return the neurons of one population, in (y, x, c) order; a view."""
        start = self._offsets[index]
        return array[start : start + cells_of(self.network.shapes[index])]

    def flat_input(self, a: NDArray[np.int32], index: int) -> NDArray[np.int32]:
        """Return what is in flight to one population, (slots, neurons); a view."""
        slots, cells = self.network.slots[index], cells_of(self.network.shapes[index])
        start, size = self._input_offsets[index], self._blocks[index] * BLOCK
        return a[start : start + slots * size].reshape(slots, size)[:, :cells]

    def canonical(self, values: NDArray[Any], index: int) -> NDArray[Any]:
        """Return a copy of the neurons of one population as (..., c, y, x)."""
        channels, height, width = self.network.shapes[index]
        return np.moveaxis(values.reshape(*values.shape[:-1], height, width, channels), -1, -3).copy()

    def numbered(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (..., c, y, x) values in the order of the kernel."""
        moved = np.moveaxis(values, -3, -1)
        return moved.reshape(*moved.shape[:-3], -1)
