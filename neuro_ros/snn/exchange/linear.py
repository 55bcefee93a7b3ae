# SPDX-License-Identifier: Apache-2.0
"""Linear maps in floating point, as other libraries have them between two populations, and their composition.

A population of ours is fed by one map. Where a file has several in a row without
neurons in between (a pool, then a convolution; two matrices), they are one linear
map: `compose` finds it, exactly. Convolutions and pools compose to a convolution
where the borders allow it; everything composes to a matrix. This module knows
neither files nor registers.

Notes
-----
A pool of kernel k1, stride s1 followed by a convolution of kernel k2, stride s2, padding p2 is a convolution of kernel
``k1 + (k2 - 1) * s1``, stride ``s1 * s2``, padding ``p1 + p2 * s1``. The padding of the second map puts zeros where the
composed one would see what lies behind the first map's border; so it has to be zero, or the first map's windows beyond
its border have to lie outside of the input altogether.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.limits import Shape, cells_of

from .base import ExchangeError

__all__ = ["ConvMap", "DenseMap", "LinearMap", "compose", "identity", "pool", "zeros_like_output"]

Pair = tuple[int, int]
Floats = NDArray[np.float64]

#: Weights of a map that a composition may become; 2^24 of them are 128 MiB.
MAX_MATRIX = 1 << 24
#: Synapses of one output channel of a convolution. 346 x 260 px with 7 x 7 taps on two channels have 2^23.
MAX_SYNAPSES = 1 << 27
_MAX_WORK = 1 << 33  # multiplications that making a matrix may take: some seconds
_BATCH = 64  # unit impulses that go through a map at a time, fewer through a large one


@dataclass(frozen=True, eq=False)
class DenseMap:
    """A matrix over the flattened (c, y, x) input.

    Parameters
    ----------
    weight : (n_out, n_in) float64
    """

    weight: Floats

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (n_out, 1, 1), or raise `ExchangeError` where the input does not fit."""
        if self.weight.shape[1] != cells_of(input_shape):
            raise ExchangeError(f"weight has {self.weight.shape[1]} columns, the input {input_shape} does not")
        return self.weight.shape[0], 1, 1

    def apply(self, x: Floats) -> Floats:
        """Return (n, n_out, 1, 1) for an input of (n, c, y, x)."""
        return (x.reshape(len(x), -1) @ self.weight.T)[:, :, None, None]

    def scaled(self, factor: Floats) -> DenseMap:
        """Return the map with every output multiplied; `factor` is (), or (n_out, 1, 1)."""
        return DenseMap(self.weight * np.reshape(factor, (-1, 1)))

    def gathered(self, factor: Floats) -> DenseMap:
        """Return the map with every input multiplied; `factor` broadcasts to the input's (n_in,)."""
        return DenseMap(self.weight * np.reshape(factor, (1, -1)))


@dataclass(frozen=True, eq=False)
class ConvMap:
    """A correlation over (c, y, x), zero padded; a pool is one with a group a channel.

    Parameters
    ----------
    weight : (c_out, c_in / groups, k_y, k_x) float64
    stride, padding, dilation : (int, int)
        Vertical, horizontal.
    groups : int
    is_pool : bool
        All weights are the same and there is a group a channel: what the kinds of connection call a pool.
    """

    weight: Floats
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    is_pool: bool = False

    @property
    def extent(self) -> Pair:
        """Rows and columns that the dilated kernel spans."""
        k_y, k_x = self.weight.shape[2:]
        return (k_y - 1) * self.dilation[0] + 1, (k_x - 1) * self.dilation[1] + 1

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (c_out, height, width), or raise `ExchangeError` where the input does not fit."""
        c_out, c_in = self.weight.shape[0], self.weight.shape[1] * self.groups
        if c_in != input_shape[0] or c_out % self.groups:
            raise ExchangeError(
                f"kernels {self.weight.shape} in {self.groups} groups do not fit the input {input_shape}"
            )
        height, width = (
            (input_shape[1 + axis] + 2 * self.padding[axis] - self.extent[axis]) // self.stride[axis] + 1
            for axis in (0, 1)
        )
        if height < 1 or width < 1:
            raise ExchangeError(f"a kernel of {self.extent} is larger than the padded input {input_shape}")
        padded = c_in * (input_shape[1] + 2 * self.padding[0]) * (input_shape[2] + 2 * self.padding[1])
        if max(padded, height * width * self.weight[0].size) > MAX_SYNAPSES:
            raise ExchangeError(
                f"kernels {self.weight.shape}, padding {self.padding} on {input_shape}: too many synapses"
            )
        return c_out, height, width

    def synapses(self, input_shape: Shape) -> int:
        """Return the synapses of one output channel."""
        _, height, width = self.output_shape(input_shape)
        return height * width * self.weight[0].size

    def apply(self, x: Floats) -> Floats:
        """Return (n, c_out, height, width) for an input of (n, c, y, x)."""
        _, height, width = self.output_shape((x.shape[1], x.shape[2], x.shape[3]))
        (p_y, p_x), (s_y, s_x), (d_y, d_x) = self.padding, self.stride, self.dilation
        padded = np.pad(x, ((0, 0), (0, 0), (p_y, p_y), (p_x, p_x)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axis=(2, 3))
        windows = windows[:, :, ::s_y, ::s_x, ::d_y, ::d_x][:, :, :height, :width]
        per_out, per_in = self.weight.shape[0] // self.groups, self.weight.shape[1]
        parts = [
            np.tensordot(
                windows[:, group * per_in : (group + 1) * per_in],
                self.weight[group * per_out : (group + 1) * per_out],
                axes=((1, 4, 5), (1, 2, 3)),
            )
            for group in range(self.groups)
        ]
        return np.ascontiguousarray(np.concatenate(parts, axis=3).transpose(0, 3, 1, 2))

    def scaled(self, factor: Floats) -> ConvMap:
        """Return the map with every output channel multiplied; `factor` is (), or (c_out, 1, 1)."""
        factor = np.asarray(factor, np.float64)
        uniform = factor.size == 1
        return replace(self, weight=self.weight * factor.reshape(-1, 1, 1, 1), is_pool=self.is_pool and uniform)

    def full(self) -> ConvMap:
        """Return the same map without groups and without dilation, at the cost of zeros.

        Raises
        ------
        ExchangeError
            When there are too many of them.
        """
        c_out, per_in = self.weight.shape[:2]
        if c_out * per_in * self.groups * self.extent[0] * self.extent[1] > MAX_MATRIX:
            raise ExchangeError(f"kernels of {self.extent} would have more than {MAX_MATRIX} weights")
        per_out = c_out // self.groups
        weight = np.zeros((c_out, per_in * self.groups, *self.extent))
        for group in range(self.groups):
            rows = slice(group * per_out, (group + 1) * per_out)
            weight[rows, group * per_in : (group + 1) * per_in, :: self.dilation[0], :: self.dilation[1]] = self.weight[
                rows
            ]
        return ConvMap(weight, self.stride, self.padding)


LinearMap = DenseMap | ConvMap


def pool(channels: int, kernel: Pair, stride: Pair, padding: Pair = (0, 0), weight: float = 1.0) -> ConvMap:
    """Return a sum pool times `weight`."""
    kernels = np.full((channels, 1, *kernel), float(weight))
    return ConvMap(kernels, stride, padding, groups=channels, is_pool=True)


def identity(shape: Shape, weight: Any = 1.0) -> ConvMap:
    """Return the map of every cell to itself, times one number or one a channel."""
    kernels = np.ones((shape[0], 1, 1, 1)) * np.reshape(np.asarray(weight, np.float64), (-1, 1, 1, 1))
    return ConvMap(kernels, groups=shape[0], is_pool=np.size(weight) == 1)


def zeros_like_output(linear: LinearMap, input_shape: Shape) -> Floats:
    """Return zeros in the shape of a map's output."""
    return np.zeros(linear.output_shape(input_shape))


def _is_exact(first: ConvMap, second: ConvMap, input_shape: Shape) -> bool:
    """Tell whether what the second map's padding hides could not have been seen through the first one anyway."""
    middle = first.output_shape(input_shape)
    for axis in (0, 1):
        before = -first.stride[axis] - first.padding[axis] + first.extent[axis] <= 0
        after = middle[1 + axis] * first.stride[axis] - first.padding[axis] >= input_shape[1 + axis]
        if second.padding[axis] and not (before and after):
            return False
    return True


def _compose_convolutions(first: ConvMap, second: ConvMap) -> ConvMap:
    """Return one convolution for two; the borders have been looked at."""
    outer = second.full().weight
    depthwise = first.groups == first.weight.shape[0] and first.weight.shape[1] == 1
    k1 = first.extent
    s1 = first.stride
    extent = tuple(k1[axis] + (outer.shape[2 + axis] - 1) * s1[axis] for axis in (0, 1))
    inner = first.full().weight
    if outer.shape[0] * inner.shape[1] * extent[0] * extent[1] > MAX_MATRIX:
        raise ExchangeError(f"kernels of {extent} would have more than {MAX_MATRIX} weights")
    weight = np.zeros((outer.shape[0], inner.shape[1], *extent))
    for y in range(outer.shape[2]):
        for x in range(outer.shape[3]):
            tap = outer[:, :, y, x]
            if depthwise:
                part = tap[:, :, None, None] * inner[np.arange(len(inner)), np.arange(len(inner))][None]
            else:
                part = np.tensordot(tap, inner, axes=(1, 0))
            weight[:, :, y * s1[0] : y * s1[0] + k1[0], x * s1[1] : x * s1[1] + k1[1]] += part
    stride = (s1[0] * second.stride[0], s1[1] * second.stride[1])
    padding = (first.padding[0] + second.padding[0] * s1[0], first.padding[1] + second.padding[1] * s1[1])
    channels = weight.shape[0]
    if depthwise and second.groups == channels == weight.shape[1]:  # a pool of a pool
        own = weight[np.arange(channels), np.arange(channels)][:, None]
        return ConvMap(own, stride, padding, groups=channels, is_pool=bool((own == own.flat[0]).all()))
    return ConvMap(weight, stride, padding)


def as_matrix(linear: LinearMap, input_shape: Shape, rows: Floats | None = None) -> DenseMap:
    """Return a map as a matrix, or ``rows @`` that matrix without making it.

    Raises
    ------
    ExchangeError
        When it would have more than `MAX_MATRIX` weights.
    """
    n_in, n_out = cells_of(input_shape), cells_of(linear.output_shape(input_shape)) if rows is None else len(rows)
    if n_in * n_out > MAX_MATRIX:
        raise ExchangeError(f"two maps in a row would become a matrix of {n_out} x {n_in}, above {MAX_MATRIX} weights")
    each = linear.synapses(input_shape) if isinstance(linear, ConvMap) else n_in
    if n_in * each * len(linear.weight) > _MAX_WORK:
        raise ExchangeError(f"two maps in a row would take too long to make a matrix of {n_out} x {n_in} of")
    batch = max(1, min(_BATCH, MAX_MATRIX // each))
    weight = np.zeros((n_out, n_in))
    for start in range(0, n_in, batch):
        count = min(batch, n_in - start)
        impulses = np.zeros((count, n_in))
        impulses[np.arange(count), start + np.arange(count)] = 1.0
        response = linear.apply(impulses.reshape(count, *input_shape)).reshape(count, -1)
        weight[:, start : start + count] = (response if rows is None else response @ rows.T).T
    return DenseMap(weight)


def compose(first: LinearMap, second: LinearMap, input_shape: Shape) -> LinearMap:
    """Return the one map that does what `first` and then `second` do.

    Parameters
    ----------
    first, second : LinearMap
    input_shape : (int, int, int)
        Of `first`.

    Raises
    ------
    ExchangeError
        When they do not fit each other, or the result is too large.
    """
    middle = first.output_shape(input_shape)
    if isinstance(second, ConvMap):
        output = second.output_shape(middle)
        if isinstance(first, ConvMap) and _is_exact(first, second, input_shape):
            composed = _compose_convolutions(first, second)
            if composed.output_shape(input_shape) == output:
                return composed
        matrix = as_matrix(second, middle)
    else:
        second.output_shape(middle)
        matrix = second
    if isinstance(first, DenseMap):
        return DenseMap(matrix.weight @ first.weight)
    return as_matrix(first, input_shape, rows=matrix.weight)
