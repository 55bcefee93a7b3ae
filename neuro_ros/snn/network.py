# SPDX-License-Identifier: Apache-2.0
"""The network description: integers with declared widths, checked when they are built.

One layer is one connection followed by one population of current-based
leaky integrate-and-fire neurons. Everything here is in register units; physical
units live on the other side of `neuro_ros.snn.quantisation`. The step that these
integers describe, `>>` being an arithmetic shift and `trunc` rounding toward zero::

    a  = (sum of weights whose source spiked in the previous step) << weight_exp
    u  = trunc(u * (4096 - (du + 1)) / 4096) + (a << 6)
    u  = u - 2^24 where u > 2^23,  u + 2^24 where u <= -2^23      (wraps, once)
    v  = trunc(v * (4096 - dv) / 4096) + u + bias
    v  = clip(v, -(2^23 - 1), 2^23 - 1)                            (saturates)
    s  = v > (vth << 6)                                            (strict)
    v  = 0 where s                                                 (u is kept)

with ``bias = bias_mant << bias_exp``, which is not shifted by 6.

A new kind of connection is one frozen dataclass with the members of
`Connection`; a back end that does not know it refuses the network by name.

References
----------
The equations are those of the bit-accurate LIF and Dense processes of Lava
0.10.0 (`lava/proc/lif/models.py`, `lava/proc/dense/models.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError

__all__ = [
    "ACCUMULATOR_LIMIT",
    "BIAS_EXP_RANGE",
    "BIAS_MANT_RANGE",
    "DECAY_RANGE",
    "VTH_RANGE",
    "WEIGHT_EXP_RANGE",
    "WEIGHT_RANGE",
    "Connection",
    "Conv2d",
    "Dense",
    "Layer",
    "Lif",
    "Network",
    "Shape",
]

Shape = tuple[int, int, int]

WEIGHT_RANGE = (-256, 254)  # signed 9 bit with the lowest bit dropped: an 8 bit mixed-sign synapse
WEIGHT_EXP_RANGE = (-7, 7)  # signed 4 bit register; -8 has no counterpart on Loihi 1
DECAY_RANGE = (0, 4095)  # unsigned 12 bit
VTH_RANGE = (0, 131071)  # unsigned 17 bit
BIAS_MANT_RANGE = (-4096, 4095)  # signed 13 bit
BIAS_EXP_RANGE = (0, 7)  # unsigned 3 bit
ACTIVATION_SHIFT = 6  # synaptic input and threshold are aligned to the top of the 24 bit state
ACCUMULATOR_LIMIT = 1 << 24  # beyond it one subtraction no longer brings u back into 24 bits
MAX_CELLS = 1 << 20  # of one population; keeps every flat index well inside 32 bits


def _check_range(what: str, value: int, limits: tuple[int, int]) -> None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise NetworkError(f"{what} is {value!r}, which is not an integer; give a whole register value")
    if not limits[0] <= value <= limits[1]:
        raise NetworkError(f"{what} is {value}, outside {limits[0]}..{limits[1]}; rescale the layer")


def _frozen_array(what: str, value: Any, ndim: int, dtype: type, limits: tuple[int, int]) -> NDArray[Any]:
    """Copy `value` into a read-only array of `dtype` after checking that nothing is lost by it."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise NetworkError(f"{what} has dtype {array.dtype}, not an integer type; quantise it first")
    if array.ndim != ndim:
        raise NetworkError(f"{what} has {array.ndim} dimensions {array.shape}, {ndim} are needed")
    if array.size == 0:
        raise NetworkError(f"{what} is empty {array.shape}; every dimension must be at least 1")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < limits[0] or highest > limits[1]:
        raise NetworkError(f"{what} spans {lowest}..{highest}, outside {limits[0]}..{limits[1]}; clip or rescale it")
    array = np.array(array, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


def _effective_weights(value: Any, ndim: int) -> NDArray[np.int16]:
    weight = _frozen_array("weight", value, ndim, np.int16, WEIGHT_RANGE)
    odd = int(np.count_nonzero(weight & 1))
    if odd:
        raise NetworkError(
            f"weight has {odd} odd values of {weight.size}; the 8 bit mixed-sign grid is even, "
            "round with neuro_ros.snn.quantisation.quantise_weights"
        )
    return weight


def _worst_case(fan_in: int, weight: NDArray[np.int16], weight_exp: int) -> int:
    """Largest magnitude that a << 6 can take when all sources spike with the largest weight."""
    total = fan_in * int(np.abs(weight.astype(np.int32)).max())
    # the floor of a negative sum is the larger magnitude
    shifted = total << weight_exp if weight_exp >= 0 else -((-total) >> -weight_exp)
    return shifted << ACTIVATION_SHIFT


def _pair(what: str, value: Any, low: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2:
        raise NetworkError(f"{what} is {value!r}; give one integer or (vertical, horizontal)")
    for number in pair:
        _check_range(what, number, (low, 1024))
    return int(pair[0]), int(pair[1])


@runtime_checkable
class Connection(Protocol):
    """What every kind of connection offers, whatever its weights look like."""

    kind: ClassVar[str]

    @property
    def weight_exp(self) -> int:
        """Shift of the sum, left; right with floor when negative."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (channels, height, width) of the population it feeds, or raise `NetworkError`."""

    def worst_case(self) -> int:
        """Return the largest magnitude that the aligned input ``a << 6`` can take."""

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return the number of synapses of every source, in the shape of the input."""

    def parameters(self) -> dict[str, Any]:
        """Return the JSON-able scalars of this connection, without its tensors."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of this connection by name."""


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all connection over the flattened (c, y, x) input.

    Parameters
    ----------
    weight : (n_out, n_in) int16
        Effective weights: even, within -256..254. Columns follow C order (c, y, x).
    weight_exp : int
        The sum is shifted left by it, or right with floor when negative; -7..7.
    """

    weight: NDArray[np.int16]
    weight_exp: int = 0
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        _check_range("weight_exp", self.weight_exp, WEIGHT_EXP_RANGE)
        object.__setattr__(self, "weight", _effective_weights(self.weight, 2))
        object.__setattr__(self, "weight_exp", int(self.weight_exp))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (n_out, 1, 1); the input must flatten to n_in cells."""
        cells = input_shape[0] * input_shape[1] * input_shape[2]
        if self.weight.shape[1] != cells:
            raise NetworkError(f"weight has {self.weight.shape[1]} columns, the input {input_shape} has {cells} cells")
        return self.weight.shape[0], 1, 1

    def worst_case(self) -> int:
        """Return n_in x max abs w, shifted as the hardware shifts it."""
        return _worst_case(self.weight.shape[1], self.weight, self.weight_exp)

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return n_out for every source; a zero weight is a synapse too."""
        return np.full(input_shape, self.weight.shape[0], np.int64)

    def parameters(self) -> dict[str, Any]:
        """Return the scalars of this connection."""
        return {"weight_exp": self.weight_exp}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the weights."""
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Correlation over (c, y, x), zero padded, as torch and NIR define it.

    Parameters
    ----------
    weight : (c_out, c_in, k_y, k_x) int16
        Effective weights: even, within -256..254.
    stride, padding : int or (int, int)
        Vertical, horizontal.
    weight_exp : int
        As for `Dense`.
    """

    weight: NDArray[np.int16]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    weight_exp: int = 0
    kind: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        _check_range("weight_exp", self.weight_exp, WEIGHT_EXP_RANGE)
        object.__setattr__(self, "weight", _effective_weights(self.weight, 4))
        object.__setattr__(self, "weight_exp", int(self.weight_exp))
        object.__setattr__(self, "stride", _pair("stride", self.stride, 1))
        object.__setattr__(self, "padding", _pair("padding", self.padding, 0))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (c_out, height, width) for an input of (c_in, height, width)."""
        c_out, c_in, k_y, k_x = self.weight.shape
        if c_in != input_shape[0]:
            raise NetworkError(f"weight has {c_in} input channels but the input {input_shape} has {input_shape[0]}")
        height = (input_shape[1] + 2 * self.padding[0] - k_y) // self.stride[0] + 1
        width = (input_shape[2] + 2 * self.padding[1] - k_x) // self.stride[1] + 1
        if height < 1 or width < 1:
            raise NetworkError(
                f"kernel {k_y}x{k_x} is larger than the padded input {input_shape}; use a smaller kernel"
            )
        return c_out, height, width

    def worst_case(self) -> int:
        """Return c_in x k_y x k_x x max abs w, shifted as the hardware shifts it."""
        _, c_in, k_y, k_x = self.weight.shape
        return _worst_case(c_in * k_y * k_x, self.weight, self.weight_exp)

    def fan_out(self, input_shape: Shape) -> NDArray[np.int64]:
        """Return c_out x the kernel places that reach a target; fewer at the border and between strides."""
        _, height, width = self.output_shape(input_shape)
        reached = []
        for axis, extent, targets in ((0, input_shape[1], height), (1, input_shape[2], width)):
            taps = np.zeros(extent, np.int64)
            for target in range(targets):
                start = target * self.stride[axis] - self.padding[axis]
                taps[max(start, 0) : max(start + self.weight.shape[2 + axis], 0)] += 1
            reached.append(taps)
        plane = self.weight.shape[0] * np.multiply.outer(*reached)
        return np.broadcast_to(plane, input_shape).copy()

    def parameters(self) -> dict[str, Any]:
        """Return the scalars of this connection."""
        return {"stride": list(self.stride), "padding": list(self.padding), "weight_exp": self.weight_exp}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the kernels."""
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class Lif:
    """Registers of one population of current-based leaky integrate-and-fire neurons.

    Parameters
    ----------
    du, dv : int
        Decay of current and voltage a step, in 1/4096; 0..4095. The hardware adds 1 to `du`.
    vth : int
        Threshold mantissa, compared as ``v > vth << 6``; 0..131071.
    bias_mant : int or array of int
        Bias mantissa, -4096..4095: one for all, one a channel (c,), or one a neuron (c, h, w).
    bias_exp : int
        The mantissa is shifted left by it; 0..7.
    """

    du: int
    dv: int
    vth: int
    bias_mant: Any = 0
    bias_exp: int = 0
    kind: ClassVar[str] = "lif"

    def __post_init__(self) -> None:
        _check_range("du", self.du, DECAY_RANGE)
        _check_range("dv", self.dv, DECAY_RANGE)
        _check_range("vth", self.vth, VTH_RANGE)
        _check_range("bias_exp", self.bias_exp, BIAS_EXP_RANGE)
        mantissa = np.asarray(self.bias_mant)
        if mantissa.ndim not in (0, 1, 3):
            raise NetworkError(f"bias_mant has shape {mantissa.shape}; give a scalar, (channels,) or (c, h, w)")
        object.__setattr__(
            self, "bias_mant", _frozen_array("bias_mant", mantissa, mantissa.ndim, np.int16, BIAS_MANT_RANGE)
        )
        for name in ("du", "dv", "vth", "bias_exp"):
            object.__setattr__(self, name, int(getattr(self, name)))

    def bias_mantissas(self, shape: Shape) -> NDArray[np.int16]:
        """Return the bias mantissa of every neuron of a population of `shape`."""
        mantissa = self.bias_mant
        if mantissa.ndim == 1:
            if mantissa.shape[0] != shape[0]:
                raise NetworkError(f"bias_mant has {mantissa.shape[0]} values for {shape[0]} channels")
            mantissa = mantissa[:, None, None]
        elif mantissa.ndim == 3 and mantissa.shape != shape:
            raise NetworkError(f"bias_mant has shape {mantissa.shape} for a population of {shape}")
        return np.broadcast_to(mantissa, shape)

    def bias(self, shape: Shape) -> NDArray[np.int32]:
        """Return the effective bias of every neuron, ``bias_mant << bias_exp``."""
        return self.bias_mantissas(shape).astype(np.int32) << self.bias_exp

    def parameters(self) -> dict[str, Any]:
        """Return the scalar registers."""
        return {"du": self.du, "dv": self.dv, "vth": self.vth, "bias_exp": self.bias_exp}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the bias mantissas, as given."""
        return {"bias_mant": self.bias_mant}


@dataclass(frozen=True, eq=False)
class Layer:
    """A named connection with the population that it feeds."""

    name: str
    connection: Connection
    neuron: Lif

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.replace("_", "").isalnum():
            raise NetworkError(f"layer name {self.name!r} must be letters, digits and underscores")


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward stack of layers over a binary (c, y, x) input.

    Parameters
    ----------
    layers : sequence of Layer
        In order of the flow; the last population has one neuron a class.
    input_shape : (int, int, int)
        Channels, height, width of the input; channel 0 is OFF, 1 is ON.

    Raises
    ------
    NetworkError
        When a register, a shape or the accumulator bound is broken. The text
        names the layer, the value, the limit and the remedy.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    shapes: tuple[Shape, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        shape = tuple(self.input_shape)
        if len(shape) != 3:
            raise NetworkError(f"input_shape is {shape}; give (channels, height, width)")
        for number in shape:
            _check_range("input_shape", number, (1, MAX_CELLS))
        shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        object.__setattr__(self, "input_shape", shape)
        self._check_cells("input", shape)
        if not self.layers:
            raise NetworkError("the network has no layers; give at least one")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise NetworkError(f"layer names {names} are not unique; rename the double ones")
        shapes: list[Shape] = []
        for layer in self.layers:
            try:
                shape = layer.connection.output_shape(shape)
                layer.neuron.bias_mantissas(shape)
            except NetworkError as error:
                raise NetworkError(f"layer '{layer.name}': {error}") from None
            self._check_cells(f"layer '{layer.name}'", shape)
            worst = layer.connection.worst_case()
            if worst > ACCUMULATOR_LIMIT:
                raise NetworkError(
                    f"layer '{layer.name}': the worst-case accumulator fan-in x max|w| << weight_exp << 6 is {worst}, "
                    f"{worst - ACCUMULATOR_LIMIT} above 2^24 = {ACCUMULATOR_LIMIT}; "
                    "lower max|w|, weight_exp or the fan-in"
                )
            shapes.append(shape)
        object.__setattr__(self, "shapes", tuple(shapes))

    @staticmethod
    def _check_cells(what: str, shape: Shape) -> None:
        cells = shape[0] * shape[1] * shape[2]
        if cells > MAX_CELLS:
            raise NetworkError(
                f"{what}: shape {shape} has {cells} cells, the limit is {MAX_CELLS}; use a larger stride"
            )

    @property
    def depth(self) -> int:
        """Number of connections between input and output; one step of delay each."""
        return len(self.layers)

    @property
    def classes(self) -> int:
        """Number of output neurons."""
        return int(np.prod(self.shapes[-1]))

    def layer_index(self, name: str) -> int:
        """Return the position of the layer called `name`, or raise `NetworkError`."""
        for index, layer in enumerate(self.layers):
            if layer.name == name:
                return index
        raise NetworkError(f"no layer '{name}'; the layers are {', '.join(layer.name for layer in self.layers)}")

    def topology(self) -> dict[str, Any]:
        """Return what decides whether a state fits: input shape, names, kinds and population shapes."""
        return {
            "input_shape": list(self.input_shape),
            "layers": [
                {
                    "name": layer.name,
                    "connection": layer.connection.kind,
                    "neuron": layer.neuron.kind,
                    "shape": list(shape),
                }
                for layer, shape in zip(self.layers, self.shapes, strict=True)
            ],
        }

    def topology_digest(self) -> str:
        """Return the SHA-256 of the topology, in hexadecimal."""
        text = json.dumps(self.topology(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()
