# SPDX-License-Identifier: Apache-2.0
"""The weights of a projection in the order in which the kernel walks them, and the tables that say where.

The sources of a population are numbered in (y, x, c) order, those of the input in (c, y, x) order, as windows hold
them. Either way they fall into lines of one y: a line of a population runs over (x, c), one of the input over x. A
source at the padded coordinate q reaches the targets t with q = t * stride + tap * dilation, for rows as for columns.
So what is reached is the sum of a part that depends on the line and of one that depends on the place within it.

The targets of one row of a kernel are one run over (x_out, c_out) where neighbouring taps reach neighbouring columns
and all channels; else there is a run a tap, over the channels of its group.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from . import _fields
from ._lanes import LANES
from ._product_tables import with_product
from .connections import Connection, Conv2d, Dense, SumPool2d
from .errors import UnsupportedLayerError
from .limits import Shape, cells_of

__all__ = ["ProjectionTables", "magic", "projection_tables"]

NEVER = 1 << 62  # spikes of one step

# What a spike, a row of its kernel and a vector of that row cost on the walk [ns], on an EPYC of the Zen 3 generation.
# Only the ratio to the figures of `_product_tables` matters, and only for the time: the sums are the same.
SPIKE_NS, ROW_NS, VECTOR_NS = 6.0, 1.0, 0.45

# Kinds of runs a phase of the stride beyond which runs are cut into taps, so that tables stay as small as the weights.
_MOST_KINDS = 16

# Columns of the tables before they are packed.
_TARGET, _WEIGHT, _CLASS, _FACTOR = range(4)


@dataclass(frozen=True, eq=False)
class ProjectionTables:
    """What the kernel needs to walk one projection; see `_fields.Tables`.

    Parameters
    ----------
    fields : dict
        Of `_fields.PROJECTION`.
    weights, lines, places, classes, products, image_lines : ndarray
    image_size : int
        Cells of the image of a product.
    """

    fields: dict[str, int]
    weights: NDArray[np.int16]
    lines: NDArray[np.uint64]
    places: NDArray[np.uint64]
    classes: NDArray[np.int32]
    products: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    image_lines: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    image_size: int = 0


def magic(divisor: int) -> int:
    """Return what a flat index is multiplied by to divide it, see `_fields.MAGIC_SHIFT`."""
    return (1 << _fields.MAGIC_SHIFT) // divisor + 1


def projection_tables(
    connection: Connection, shape_in: Shape, shape_out: Shape, from_input: bool, layer: str
) -> ProjectionTables:
    """Return the tables of a connection; `UnsupportedLayerError` naming the `layer` when its kind is unknown."""
    if isinstance(connection, Dense):
        return _dense_tables(connection, shape_in, from_input)
    if isinstance(connection, (Conv2d, SumPool2d)):
        return _sliding_tables(connection, shape_in, shape_out, from_input)
    raise UnsupportedLayerError("fixed", layer, f"connection kind {connection.kind!r} is unknown to it")


def _whole_vectors(number: int, vectors: int = 1) -> int:
    return -(-number // (vectors * LANES)) * vectors * LANES


def _shifted(connection: Connection) -> NDArray[np.int16]:
    # -256 << 7 is the least int16 and 255 << 7 below the largest: the shift never loses a bit
    return connection.weight << np.int16(max(connection.weight_exp, 0))


def _dense_tables(connection: Dense, shape_in: Shape, from_input: bool) -> ProjectionTables:
    """Return one row of weights a source, padded with zeros."""
    weight = _shifted(connection)
    targets = weight.shape[0]
    rows = weight.T
    if not from_input:
        rows = weight.reshape(targets, *shape_in).transpose(2, 3, 1, 0).reshape(-1, targets)
    pitch = _whole_vectors(targets, _fields.NARROW)
    table = np.zeros((rows.shape[0], pitch), np.int16)
    table[:, :targets] = rows
    none = np.zeros(0, np.uint64)
    fields = {"kind": _fields.DENSE, "pitch": pitch, "synapses": targets, "cells": cells_of(shape_in)}
    return ProjectionTables(fields, table.ravel(), none, none, np.zeros((0, len(_fields.CLASS)), np.int32))


@dataclass(frozen=True)
class _Axis:
    """One axis of a sliding kernel.

    Attributes
    ----------
    reach : list of list of (target, tap)
        Per source coordinate, targets descending.
    target_step, tap_step : int
        From one of these pairs to the next.
    """

    kernel: int
    stride: int
    padding: int
    dilation: int
    sources: int
    targets: int

    @property
    def reach(self) -> list[list[tuple[int, int]]]:
        reach = []
        for source in range(self.sources):
            ahead = [(source + self.padding - tap * self.dilation, tap) for tap in range(self.kernel)]
            pairs = [(place // self.stride, tap) for place, tap in ahead if place % self.stride == 0]
            reach.append([(target, tap) for target, tap in pairs if 0 <= target < self.targets])
        return reach

    def phase(self, source: int) -> tuple[int, ...]:
        """Return the taps that would lead from a source somewhere if the plane had no border, targets ascending."""
        taps = range(self.kernel)
        return tuple(t for t in reversed(taps) if (source + self.padding - t * self.dilation) % self.stride == 0)

    @property
    def target_step(self) -> int:
        return self.dilation // gcd(self.stride, self.dilation)

    @property
    def tap_step(self) -> int:
        return self.stride // gcd(self.stride, self.dilation)


class _Kernels:
    """Rows of weights for the runs of targets that occur, each padded with zeros to whole vectors."""

    def __init__(self, connection: Conv2d | SumPool2d, channels_in: int, along_x: _Axis) -> None:
        if isinstance(connection, SumPool2d):
            # Channel to channel, all alike: one kernel serves all.
            self._weight = np.broadcast_to(_shifted(connection), (1, 1, *connection.kernel))
            self.groups, self.shared = channels_in, True
        else:
            self._weight = _shifted(connection)
            self.groups, self.shared = connection.groups, False
        rows = self._weight.shape[2]
        self.width = 1 if self.shared else self._weight.shape[0] // self.groups  # channels that one source reaches
        self.joined = self.groups == 1 and along_x.target_step == 1
        taps = [tuple(tap for _, tap in reversed(pairs)) for pairs in along_x.reach]
        phases = [along_x.phase(source) for source in range(along_x.sources)]
        # A run that the border cuts short is a part of the whole one, as long as it still ends with a vector.
        whole = not self.joined or self.width % LANES == 0
        if not whole and len(set(taps)) > _MOST_KINDS * len(set(phases)):
            self.joined, whole = False, True
        own = phases if whole else taps
        self._kinds = {kind: number for number, kind in enumerate(dict.fromkeys(own))}
        self.run_pitch = _whole_vectors(self.width)
        self._step = self.width if self.joined else self.run_pitch
        self.pitch = max(_whole_vectors(max(map(len, own)) * self._step), LANES)
        self.starts = [
            self._kinds[kind] * rows * self.pitch + (kind.index(run[0]) * self._step if run else 0)
            for kind, run in zip(own, taps, strict=True)
        ]
        self.of_channel = 0 if self.shared else len(self._kinds) * rows * self.pitch

    def table(self) -> NDArray[np.int16]:
        """Return (c_in, kind of run, kernel row, tap x channel), taps in the order of ascending targets."""
        width = self.width
        _, per_group, rows, _ = self._weight.shape
        channels_in = 1 if self.shared else per_group * self.groups
        table = np.zeros((channels_in, len(self._kinds), rows, self.pitch), np.int16)
        # (group, channel in, channel out, row, column) -> (channel in, row, column, channel out)
        grouped = self._weight.reshape(-1, width, per_group, *self._weight.shape[2:]) if not self.shared else None
        by_source = (
            self._weight.transpose(1, 2, 3, 0)
            if grouped is None
            else grouped.transpose(0, 2, 3, 4, 1).reshape(channels_in, rows, -1, width)
        )
        for taps, kind in self._kinds.items():
            for number, tap in enumerate(taps):
                start = number * self._step
                table[:, kind, :, start : start + width] = by_source[:, :, tap, :]
        return table.ravel()


def _sliding_tables(
    connection: Conv2d | SumPool2d, shape_in: Shape, shape_out: Shape, from_input: bool
) -> ProjectionTables:
    """Return the tables of a kernel that slides over the plane."""
    (c_in, h_in, w_in), (c_out, _, w_out) = shape_in, shape_out
    dilation = getattr(connection, "dilation", (1, 1))
    kernel = connection.kernel if isinstance(connection, SumPool2d) else connection.weight.shape[2:]
    along_y, along_x = (
        _Axis(kernel[k], connection.stride[k], connection.padding[k], dilation[k], shape_in[1 + k], shape_out[1 + k])
        for k in (0, 1)
    )
    columns = along_x.reach
    kernels = _Kernels(connection, c_in, along_x)
    lines = np.zeros((h_in, 4), np.int64)
    for y, pairs in enumerate(along_y.reach):
        if pairs:
            lines[y] = (pairs[0][0] * w_out * c_out, pairs[0][1] * kernels.pitch, 0, len(pairs))
    places = np.zeros((w_in, 4), np.int64)
    shapes = np.zeros((w_in, 2), np.int64)  # runs and vectors a run
    for x, pairs in enumerate(columns):
        if pairs:
            synapses = len(pairs) * kernels.width
            places[x] = (pairs[-1][0] * c_out, kernels.starts[x], 0, synapses)
            shapes[x] = (1, synapses) if kernels.joined else (len(pairs), kernels.width)
    shapes[:, 1] = -(-shapes[:, 1] // LANES)
    channels = np.arange(c_in)
    of_channel = np.stack([channels // (c_in // kernels.groups) * kernels.width, channels * kernels.of_channel], axis=1)
    if from_input:
        lines = np.tile(lines, (c_in, 1))
        lines[:, : _WEIGHT + 1] += np.repeat(of_channel, h_in, axis=0)
        line_length = w_in
    else:
        places = np.repeat(places, c_in, axis=0)
        places[:, : _WEIGHT + 1] += np.tile(of_channel, (w_in, 1))
        shapes = np.repeat(shapes, c_in, axis=0)
        line_length = w_in * c_in
    classes = _classes(lines, places, shapes)
    fields = {
        "kind": _fields.LINES,
        "cells": cells_of(shape_in),
        "line_length": line_length,
        "line_magic": magic(line_length),
        "row_target": along_y.target_step * w_out * c_out,
        "row_weight": along_y.tap_step * kernels.pitch,
        "run_target": along_x.target_step * c_out,
        "run_weight": kernels.run_pitch,
        "number_classes": len(classes),
        "product_from": NEVER,
    }
    tables = ProjectionTables(fields, kernels.table(), _packed(lines), _packed(places), classes)
    if not isinstance(connection, Conv2d) or connection.groups > 1 or connection.dilation != (1, 1):
        return tables
    walk_ns = _walk_ns(lines[:, _FACTOR], shapes)
    return with_product(tables, connection, shape_in, shape_out, from_input, walk_ns)


def _walk_ns(rows: NDArray[np.int64], shapes: NDArray[np.int64]) -> float:
    """Estimate what a spike costs on the walk [ns]."""
    return SPIKE_NS + float(rows.mean()) * (ROW_NS + VECTOR_NS * float(shapes.prod(axis=1).mean()))


def _classes(lines: NDArray[np.int64], places: NDArray[np.int64], shapes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Give sources that reach alike one class, write it into `lines` and `places`, and return `_fields.CLASS` rows."""
    rows, of_line = np.unique(lines[:, _FACTOR], return_inverse=True)
    kinds, of_place = np.unique(shapes, axis=0, return_inverse=True)
    of_place = of_place.ravel()
    lines[:, _CLASS] = of_line * len(kinds)
    places[:, _CLASS] = of_place
    sources = np.multiply.outer(np.bincount(of_line), np.bincount(of_place)).ravel()
    queue = np.cumsum(sources) - sources
    return np.column_stack([queue, np.repeat(rows, len(kinds)), np.tile(kinds, (len(rows), 1))]).astype(np.int32)


def _packed(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Pack (target, weight, class, factor) into two words a row, so that two rows are added in two additions."""
    words = rows.astype(np.uint64)
    return (words[:, 0::2] | words[:, 1::2] << np.uint64(32)).ravel()
