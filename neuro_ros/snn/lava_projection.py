# SPDX-License-Identifier: Apache-2.0
"""A projection as a process of Lava, and what is in flight in it.

Lava's shapes are (x, y, c); ours are (c, y, x). Every population is kept in Lava's
order there, so rows and columns of matrices are permuted. Lava's convolution is a
true one (it flips the kernel); ours correlates. Its fixed-point Conv applies neither
``weight_exp`` nor the grid of the weights; so kernels are flipped, transposed and
shifted before they are given. The sign mode is always said: left to itself Lava
takes an all-inhibitory matrix for one that stops at -255.

Runs in the worker process; which process stands for what is decided by
`neuro_ros.snn.lava_support`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .connections import Connection, Conv2d, Dense, SumPool2d
from .errors import UnsupportedLayerError
from .lava_support import process_for
from .limits import Shape, cells_of
from .network import Projection

__all__ = ["LavaProjection", "from_lava", "to_lava"]

Synapses = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]


def to_lava(array: NDArray[Any]) -> NDArray[Any]:
    """Return a (c, y, x) array in the order of Lava, (x, y, c)."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def from_lava(array: NDArray[Any]) -> NDArray[Any]:
    """Return an (x, y, c) array in our order, (c, y, x)."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def _order(shape: Shape) -> NDArray[np.int64]:
    """Return for each flat index of Lava's order the flat index of ours."""
    return to_lava(np.arange(cells_of(shape)).reshape(shape)).ravel()


def _kernels(connection: Conv2d | SumPool2d, channels: int) -> tuple[NDArray[np.int32], int]:
    """Return the kernels (c_out, c_in / groups, k_y, k_x) of a sliding connection and the number of its groups."""
    if isinstance(connection, Conv2d):
        return connection.weight.astype(np.int32), connection.groups
    return np.full((channels, 1, *connection.kernel), int(connection.weight), np.int32), channels


def _places(extent: int, targets: int, tap: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """Return (target, source) rows along one axis for one tap of a kernel, without those in the padding."""
    pairs = np.stack([np.arange(targets), np.arange(targets) * stride - padding + tap * dilation])
    return pairs[:, (pairs[1] >= 0) & (pairs[1] < extent)]


def _synapses(connection: Connection, shape: Shape) -> Synapses:
    """Return flat target, flat source and weight of all synapses, in our order."""
    if isinstance(connection, Dense):
        rows, columns = np.indices(connection.weight.shape)
        return rows.ravel(), columns.ravel(), connection.weight.astype(np.int32).ravel()
    if not isinstance(connection, (Conv2d, SumPool2d)):
        raise UnsupportedLayerError("lava", "?", f"connection kind {connection.kind!r} is unknown to it")
    parts = list(_sliding(connection, shape))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def _sliding(connection: Conv2d | SumPool2d, shape: Shape) -> Iterator[Synapses]:
    """Yield the synapses of each tap of the kernel and each pair of channels that it joins."""
    kernels, groups = _kernels(connection, shape[0])
    _, height, width = connection.output_shape(shape)
    dilation = getattr(connection, "dilation", (1, 1))
    per_group = kernels.shape[0] // groups
    for tap in np.ndindex(*kernels.shape[2:]):
        rows, columns = (
            _places(extent, targets, tap[axis], connection.stride[axis], connection.padding[axis], dilation[axis])
            for axis, (extent, targets) in enumerate(zip(shape[1:], (height, width), strict=True))
        )
        target = (rows[0][:, None] * width + columns[0]).ravel()
        source = (rows[1][:, None] * shape[2] + columns[1]).ravel()
        for c_out, c_own in np.ndindex(*kernels.shape[:2]):
            c_in = c_out // per_group * kernels.shape[1] + c_own
            weight = np.full(target.size, kernels[c_out, c_own, tap[0], tap[1]], np.int32)
            yield c_out * height * width + target, c_in * shape[1] * shape[2] + source, weight


class LavaProjection:
    """One projection: its process, its input in the shape that it takes, and its activations in flight.

    Parameters
    ----------
    lava : SimpleNamespace
        The names that `neuro_ros.snn.lava_shim.require_lava` returns.
    projection : Projection
    source_shape, shape : Shape
        Of the population that it comes from and of the one that it feeds, (c, y, x).
    message_bits : int
        Width of the payload; 0 = binary spikes.

    Attributes
    ----------
    process : Process
        Its ports are ``s_in`` of shape `input_shape` and ``a_out``.
    slots : int
        Steps ahead that it keeps activations for.
    """

    def __init__(
        self, lava: SimpleNamespace, projection: Projection, source_shape: Shape, shape: Shape, message_bits: int
    ) -> None:
        self._shape = shape
        self.kind = process_for(projection, source_shape)
        self.slots = 1 + projection.max_delay
        if self.kind == "Conv":
            self.input_shape: tuple[int, ...] = source_shape[::-1]
            self.process = self._conv(lava, projection.connection, source_shape, message_bits)
            self._buffer = self.process.a_buf
        else:
            self.input_shape = (cells_of(source_shape),)
            self.process = self._matrix(lava, projection, source_shape, message_bits)
            self._buffer = self.process.a_buff

    @staticmethod
    def _conv(lava: SimpleNamespace, connection: Any, source_shape: Shape, message_bits: int) -> Any:
        kernels, groups = _kernels(connection, source_shape[0])
        kernels = kernels[:, :, ::-1, ::-1].transpose(0, 3, 2, 1) << connection.weight_exp
        return lava.Conv(
            weight=np.ascontiguousarray(kernels),
            input_shape=source_shape[::-1],
            padding=connection.padding[::-1],
            stride=connection.stride[::-1],
            dilation=getattr(connection, "dilation", (1, 1))[::-1],
            groups=groups,
            num_message_bits=message_bits,
        )

    def _matrix(self, lava: SimpleNamespace, projection: Projection, source_shape: Shape, message_bits: int) -> Any:
        connection, delays = projection.connection, projection.source_delays(source_shape)
        rows, columns = _order(self._shape), _order(source_shape)
        options: dict[str, Any] = {
            "weight_exp": connection.weight_exp,
            "num_weight_bits": connection.weight_bits,  # type: ignore[attr-defined]  # all kinds declare a width
            "sign_mode": lava.SignMode[connection.sign_mode.upper()],  # type: ignore[attr-defined]  # and a sign mode
            "num_message_bits": message_bits,
        }
        if "Delay" in self.kind:  # said, as the source that is latest may reach no target
            options["max_delay"] = projection.max_delay
        if "Sparse" not in self.kind:
            weight = connection.weight.astype(np.int32)[np.ix_(rows, columns)]
            if self.kind == "DelayDense":
                own = np.broadcast_to(delays.ravel()[columns], weight.shape).astype(int)  # no other dtype is taken
                options["delays"] = np.ascontiguousarray(own)
            return getattr(lava, self.kind)(weights=weight, **options)
        targets, sources, values = _synapses(connection, source_shape)
        size = (rows.size, columns.size)
        place = np.argsort(rows)[targets], np.argsort(columns)[sources]  # argsort of a permutation is its inverse
        if self.kind == "DelaySparse":
            options["delays"] = lava.csr_matrix((delays.ravel()[sources].astype(int), place), size)
        return getattr(lava, self.kind)(weights=lava.csr_matrix((values, place), size), **options)

    def _pack(self, in_flight: NDArray[np.int32]) -> NDArray[np.int32]:
        """Bring (slots, c, h, w) into the shape of the buffer; slots that it lacks must be empty."""
        own = np.stack([to_lava(slot) for slot in in_flight[: self.slots]])
        if self.kind == "Conv":
            return own[0]
        flat = own.reshape(self.slots, -1)
        return np.ascontiguousarray(flat.T) if "Delay" in self.kind else flat[0]

    def start_with(self, in_flight: NDArray[np.int32]) -> None:
        """Let the process start with the activations (slots, c, h, w) in flight."""
        self._buffer.init = self._pack(in_flight)

    def write(self, in_flight: NDArray[np.int32]) -> None:
        """Put the activations (slots, c, h, w) into the running process."""
        self._buffer.set(self._pack(in_flight))

    def read(self) -> NDArray[np.int32]:
        """Return the activations in flight of the running process, (slots, c, h, w)."""
        raw = np.asarray(self._buffer.get())
        flat = raw.T if "Delay" in self.kind else raw
        spatial = flat.reshape(self.slots, *self._shape[::-1])
        return np.stack([from_lava(slot) for slot in spatial]).astype(np.int32)
