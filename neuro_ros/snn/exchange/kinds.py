# SPDX-License-Identifier: Apache-2.0
"""Which kind of connection a linear map becomes, and the other way: the one place that knows both vocabularies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.connections import Connection, Conv2d, Dense, SumPool2d
from neuro_ros.snn.limits import Shape
from neuro_ros.snn.network import Projection

from .base import ExchangeError
from .linear import ConvMap, DenseMap, LinearMap, pool

__all__ = ["Grid", "QuantisedProjection", "linear_map"]


@dataclass(frozen=True)
class Grid:
    """The integers that a synapse can hold, see `neuro_ros.snn.limits.weight_grid`."""

    weight_bits: int = 8
    sign_mode: str = "mixed"


@dataclass(frozen=True, eq=False)
class QuantisedProjection:
    """A map whose weights are integers, with what else the projection needs.

    Parameters
    ----------
    linear : LinearMap
        For the geometry.
    weight : int16, in the shape of the map's weights
    weight_exp : int
    grid : Grid
    source : str
    delays : uint8, () or (c, h, w) of the source
    """

    linear: LinearMap
    weight: NDArray[np.int16]
    weight_exp: int
    grid: Grid
    source: str
    delays: NDArray[np.uint8]

    def connection(self) -> Connection:
        """Return the connection."""
        bits, sign = self.grid.weight_bits, self.grid.sign_mode
        if isinstance(self.linear, DenseMap):
            return Dense(self.weight, self.weight_exp, bits, sign)
        linear = self.linear
        if linear.is_pool:
            kernel = (self.weight.shape[2], self.weight.shape[3])
            weight = np.asarray(self.weight.flat[0])
            return SumPool2d(weight, kernel, linear.stride, linear.padding, self.weight_exp, bits, sign)
        return Conv2d(
            self.weight, linear.stride, linear.padding, self.weight_exp, linear.dilation, linear.groups, bits, sign
        )

    def projection(self) -> Projection:
        """Return the projection, with one delay where they are all the same."""
        delays = self.delays
        common = (delays == delays.flat[0]).all()
        return Projection(self.connection(), self.source, np.asarray(delays.flat[0]) if common else delays)


def linear_map(connection: Connection, input_shape: Shape) -> LinearMap:
    """Return the map of a connection, its weights in register units without the exponent.

    Raises
    ------
    ExchangeError
        When the kind is unknown here.
    """
    weight = np.asarray(connection.weight, np.float64)
    if isinstance(connection, Dense):
        return DenseMap(weight)
    if isinstance(connection, Conv2d):
        return ConvMap(weight, connection.stride, connection.padding, connection.dilation, connection.groups)
    if isinstance(connection, SumPool2d):
        return pool(input_shape[0], connection.kernel, connection.stride, connection.padding, float(weight))
    raise ExchangeError(f"a connection of kind {connection.kind!r} has no counterpart there")
