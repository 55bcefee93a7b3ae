# SPDX-License-Identifier: Apache-2.0
"""The widths of the registers, and the checks that keep a description inside them.

Every limit of the network description stands here once. It refuses to know what
a layer is; the other modules of the description import from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError

__all__ = [
    "ACCUMULATOR_LIMIT",
    "ACTIVATION_SHIFT",
    "BIAS_EXP_RANGE",
    "BIAS_MANT_RANGE",
    "DECAY_RANGE",
    "DELAY_RANGE",
    "INPUT_BITS_RANGE",
    "MAX_CELLS",
    "MAX_IN_FLIGHT",
    "MAX_LAYERS",
    "MAX_PROJECTIONS",
    "REFRACTORY_RANGE",
    "SIGN_MODES",
    "VTH_RANGE",
    "WEIGHT_BITS_RANGE",
    "WEIGHT_EXP_RANGE",
    "WEIGHT_RANGE",
    "Shape",
    "cells_of",
    "check_range",
    "frozen_array",
    "weight_grid",
]

Shape = tuple[int, int, int]

WEIGHT_RANGE = (-256, 254)  # signed 9 bit with the lowest bit dropped: an 8 bit mixed-sign synapse
WEIGHT_BITS_RANGE = (1, 8)
WEIGHT_EXP_RANGE = (-7, 7)  # signed 4 bit register; -8 has no counterpart on Loihi 1
SIGN_MODES = ("mixed", "excitatory", "inhibitory")
DECAY_RANGE = (0, 4095)  # unsigned 12 bit
VTH_RANGE = (0, 131071)  # unsigned 17 bit
BIAS_MANT_RANGE = (-4096, 4095)  # signed 13 bit
BIAS_EXP_RANGE = (0, 7)  # unsigned 3 bit
DELAY_RANGE = (0, 62)  # unsigned 6 bit, of which one value is kept for the step that every connection takes
REFRACTORY_RANGE = (0, 63)  # unsigned 6 bit, as wide as the delay counter; Lava declares no integer width
INPUT_BITS_RANGE = (0, 8)  # 0: binary spikes; a graded payload on Loihi 2 has at least 8 bit
ACTIVATION_SHIFT = 6  # synaptic input and threshold are aligned to the top of the 24 bit state
ACCUMULATOR_LIMIT = 1 << 24  # beyond it one subtraction no longer brings u back into 24 bits
MAX_CELLS = 1 << 20  # of one population; keeps every flat index well inside 32 bits
MAX_LAYERS = 1024
MAX_PROJECTIONS = 64  # of one layer
MAX_IN_FLIGHT = 1 << 26  # sum over the populations of cells x steps of delayed input: 256 MiB of int32


def cells_of(shape: Shape) -> int:
    """Return the number of cells of a population of `shape`."""
    return shape[0] * shape[1] * shape[2]


def check_range(what: str, value: Any, limits: tuple[int, int]) -> int:
    """Return `value` as an int, or raise `NetworkError` unless it is a whole number within `limits`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise NetworkError(f"{what} is {value!r}, which is not an integer; give a whole register value")
    if not limits[0] <= value <= limits[1]:
        raise NetworkError(f"{what} is {value}, outside {limits[0]}..{limits[1]}; rescale the layer")
    return int(value)


def frozen_array(what: str, value: Any, ndim: int, dtype: type, limits: tuple[int, int]) -> NDArray[Any]:
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


def weight_grid(weight_bits: int = 8, sign_mode: str = "mixed") -> tuple[int, int, int]:
    """Return (lowest, highest, step) of the effective weights that a synapse of that width can hold.

    A synapse drops the lowest ``8 - weight_bits`` bits, and one more where it also holds a sign:
    8 bit mixed is -256..254 in steps of 2, 8 bit excitatory 0..255 in steps of 1. Inhibitory is the
    negative of excitatory.

    Raises
    ------
    NetworkError
        When there is no such width or mode.
    """
    if sign_mode not in SIGN_MODES:
        raise NetworkError(f"sign_mode is {sign_mode!r}; known are {', '.join(SIGN_MODES)}")
    step = 1 << (8 - check_range("weight_bits", weight_bits, WEIGHT_BITS_RANGE) + (sign_mode == "mixed"))
    if sign_mode == "mixed":
        return WEIGHT_RANGE[0], 256 - step, step
    return (0, 256 - step, step) if sign_mode == "excitatory" else (step - 256, 0, step)
