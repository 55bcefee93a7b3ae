# SPDX-License-Identifier: Apache-2.0
"""The kinds of connection: weights on the grid of the hardware, and the shapes that they join.

A connection is a linear map from the cells of a source population (c, y, x) to
those of a target; `neuro_ros.snn.network.Projection` says which source and how
late. A source that is not flat is flattened in C order by `Dense`, so there is no
layer for it. One-to-one is a `SumPool2d` of kernel 1 where one weight will do;
sparse weights are zeros of a `Dense`.

A new kind is one frozen dataclass with the members of `Connection`; a back end
that does not know it refuses the network by name.

References
----------
Grid and truncation of the weights are those of Lava 0.10.0
(`lava/utils/weightutils.py`): see `neuro_ros.snn.limits.weight_grid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError
from .limits import WEIGHT_EXP_RANGE, Shape, cells_of, check_range, frozen_array, weight_grid

__all__ = ["Connection", "Conv2d", "Dense", "SumPool2d"]

Extremes = tuple[NDArray[np.int64], NDArray[np.int64]]


@runtime_checkable
class Connection(Protocol):
    """What every kind of connection offers, whatever its weights look like."""

    kind: ClassVar[str]

    @property
    def weight(self) -> NDArray[np.int16]:
        """Effective weights, in the layout of the kind."""

    @property
    def weight_exp(self) -> int:
        """Shift of the sum, left; right with floor when negative."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (channels, height, width) of the population it feeds, or raise `NetworkError`."""

    def extremes(self) -> Extremes:
        """Return per output channel the sums of the negative and of the positive weights of one target."""

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return the number of synapses of every source, in the shape of the input."""

    def parameters(self) -> dict[str, Any]:
        """Return the JSON-able scalars of this connection, without its tensors."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of this connection by name."""


def _check_weights(connection: Any, ndim: int) -> None:
    """Freeze weight, weight_exp and the declared width of `connection` after checking them against each other."""
    lowest, highest, step = weight_grid(connection.weight_bits, connection.sign_mode)
    weight = frozen_array("weight", connection.weight, ndim, np.int16, (lowest, highest))
    off_grid = int(np.count_nonzero(weight & (step - 1)))
    if off_grid:
        what = "odd values" if step == 2 else f"values that are no multiple of {step}"
        grid = "is even" if step == 2 else f"has steps of {step}"
        raise NetworkError(
            f"weight has {off_grid} {what} of {weight.size}; the {connection.weight_bits} bit "
            f"{connection.sign_mode}-sign grid {grid}, round with neuro_ros.snn.quantisation.quantise_weights"
        )
    object.__setattr__(connection, "weight", weight)
    object.__setattr__(connection, "weight_bits", int(connection.weight_bits))
    object.__setattr__(connection, "weight_exp", check_range("weight_exp", connection.weight_exp, WEIGHT_EXP_RANGE))


def _width(connection: Any) -> dict[str, Any]:
    return {name: getattr(connection, name) for name in ("weight_exp", "weight_bits", "sign_mode")}


def _pair(what: str, value: Any, low: int) -> tuple[int, int]:
    if isinstance(value, (int, np.integer)):
        value = (value, value)
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise NetworkError(f"{what} is {value!r}; give one integer or (vertical, horizontal)")
    return check_range(what, value[0], (low, 1024)), check_range(what, value[1], (low, 1024))


def _extremes(weight: NDArray[np.int16], taps: int = 1) -> Extremes:
    """Sum the negative and the positive weights of each row of (targets, sources)."""
    lowest = np.minimum(weight, 0).sum(axis=1, dtype=np.int64)
    return lowest * taps, np.maximum(weight, 0).sum(axis=1, dtype=np.int64) * taps


class _Sliding:
    """Geometry shared by the kinds whose kernel slides over the plane: `kernel`, `stride`, `padding`, `dilation`."""

    def _geometry(self) -> tuple[tuple[int, int], ...]:
        raise NotImplementedError

    def _plane(self, input_shape: Shape) -> tuple[int, int]:
        """Return (height, width) of the output."""
        extents = []
        for axis, (kernel, stride, padding, dilation) in enumerate(zip(*self._geometry(), strict=True)):
            reach = dilation * (kernel - 1) + 1
            extents.append((input_shape[1 + axis] + 2 * padding - reach) // stride + 1)
        if min(extents) < 1:
            k_y, k_x = self._geometry()[0]
            raise NetworkError(
                f"kernel {k_y}x{k_x} is larger than the padded input {input_shape}; use a smaller kernel or dilation"
            )
        return extents[0], extents[1]

    def _places(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return per (y, x) of the input how many kernel places reach a target; fewer at the border."""
        reached = []
        for axis, targets in enumerate(self._plane(input_shape)):
            kernel, stride, padding, dilation = (pair[axis] for pair in self._geometry())
            taps = np.zeros(input_shape[1 + axis], np.int64)
            for tap in range(kernel):  # one tap at a time: no array longer than the axis
                sources = np.arange(targets) * stride - padding + tap * dilation
                taps[sources[(sources >= 0) & (sources < taps.size)]] += 1
            reached.append(taps)
        return np.asarray(np.multiply.outer(*reached))


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all connection over the source flattened in (c, y, x) order.

    Parameters
    ----------
    weight : (n_out, n_in) int16
        Effective weights on the grid of `weight_bits` and `sign_mode`. Columns follow C order (c, y, x).
    weight_exp : int
        The sum is shifted left by it, or right with floor when negative; -7..7.
    weight_bits : int
        Declared width of a synapse, 1..8.
    sign_mode : str
        ``mixed``, ``excitatory`` or ``inhibitory``.
    """

    weight: NDArray[np.int16]
    weight_exp: int = 0
    weight_bits: int = 8
    sign_mode: str = "mixed"
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        _check_weights(self, 2)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (n_out, 1, 1); the input must flatten to n_in cells."""
        cells = cells_of(input_shape)
        if self.weight.shape[1] != cells:
            raise NetworkError(f"weight has {self.weight.shape[1]} columns, the input {input_shape} has {cells} cells")
        return self.weight.shape[0], 1, 1

    def extremes(self) -> Extremes:
        """Return per target the sums of its negative and of its positive weights."""
        return _extremes(self.weight)

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return n_out for every source; a zero weight is a synapse too."""
        return np.full(input_shape, self.weight.shape[0], np.int64)

    def parameters(self) -> dict[str, Any]:
        """Return the scalars of this connection."""
        return _width(self)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the weights."""
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class Conv2d(_Sliding):
    """Correlation over (c, y, x), zero padded, as torch and NIR define it.

    Parameters
    ----------
    weight : (c_out, c_in / groups, k_y, k_x) int16
        Effective weights on the grid of `weight_bits` and `sign_mode`.
    stride, padding : int or (int, int)
        Vertical, horizontal.
    weight_exp, weight_bits, sign_mode
        As for `Dense`.
    dilation : int or (int, int)
        Distance of neighbouring taps of the kernel, vertical and horizontal.
    groups : int
        Input and output channels fall into so many blocks, each connected to its own only.
    """

    weight: NDArray[np.int16]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    weight_exp: int = 0
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    weight_bits: int = 8
    sign_mode: str = "mixed"
    kind: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        _check_weights(self, 4)
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, _pair(name, getattr(self, name), low))
        object.__setattr__(self, "groups", check_range("groups", self.groups, (1, self.weight.shape[0])))
        if self.weight.shape[0] % self.groups:
            raise NetworkError(f"{self.weight.shape[0]} output channels do not divide into {self.groups} groups")

    def _geometry(self) -> tuple[tuple[int, int], ...]:
        k_y, k_x = self.weight.shape[2:]
        return (k_y, k_x), self.stride, self.padding, self.dilation

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (c_out, height, width) for an input of (c_in, height, width)."""
        c_out, c_in = self.weight.shape[0], self.weight.shape[1] * self.groups
        if c_in != input_shape[0]:
            raise NetworkError(f"weight has {c_in} input channels but the input {input_shape} has {input_shape[0]}")
        return c_out, *self._plane(input_shape)

    def extremes(self) -> Extremes:
        """Return per output channel the sums over a whole kernel; targets at the border see less."""
        return _extremes(self.weight.reshape(self.weight.shape[0], -1))

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return c_out / groups x the kernel places that reach a target; fewer at the border and between strides."""
        self.output_shape(input_shape)
        plane = self.weight.shape[0] // self.groups * self._places(input_shape)
        return np.broadcast_to(plane, input_shape).copy()

    def parameters(self) -> dict[str, Any]:
        """Return the scalars of this connection."""
        pairs = {name: list(getattr(self, name)) for name in ("stride", "padding", "dilation")}
        return {**pairs, "groups": self.groups, **_width(self)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the kernels."""
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class SumPool2d(_Sliding):
    """Sum over a window of the plane, channel by channel, times one weight for all; zero padded.

    Parameters
    ----------
    weight : int
        The effective weight of every synapse, on the grid of `weight_bits` and `sign_mode`; kept as a 0-d array.
    kernel : int or (int, int)
        Vertical, horizontal. 1 connects one to one.
    stride : int or (int, int), optional
        Default: the kernel, so that windows tile the plane.
    padding : int or (int, int)
        Vertical, horizontal.
    weight_exp, weight_bits, sign_mode
        As for `Dense`.
    """

    weight: Any
    kernel: tuple[int, int]
    stride: Any = None
    padding: tuple[int, int] = (0, 0)
    weight_exp: int = 0
    weight_bits: int = 8
    sign_mode: str = "mixed"
    kind: ClassVar[str] = "sum_pool2d"

    def __post_init__(self) -> None:
        _check_weights(self, 0)
        stride = self.kernel if self.stride is None else self.stride
        for name, value, low in (("kernel", self.kernel, 1), ("stride", stride, 1), ("padding", self.padding, 0)):
            object.__setattr__(self, name, _pair(name, value, low))

    def _geometry(self) -> tuple[tuple[int, int], ...]:
        return self.kernel, self.stride, self.padding, (1, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (c, height, width); rows and columns that no whole window covers are left out."""
        return input_shape[0], *self._plane(input_shape)

    def extremes(self) -> Extremes:
        """Return, for the one kind of target, the sums over a whole window."""
        return _extremes(self.weight.reshape(1, 1), self.kernel[0] * self.kernel[1])

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return the windows that each source lies in."""
        return np.broadcast_to(self._places(input_shape), input_shape).copy()

    def parameters(self) -> dict[str, Any]:
        """Return the scalars of this connection."""
        return {**{name: list(getattr(self, name)) for name in ("kernel", "stride", "padding")}, **_width(self)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the weight."""
        return {"weight": self.weight}
