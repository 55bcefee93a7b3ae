# SPDX-License-Identifier: Apache-2.0
"""The registers of a population of neurons; what they do each step stands in `neuro_ros.snn.network`.

A new kind of neuron is one frozen dataclass with the members of `Lif`; a back end
that does not know it refuses the network by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError
from .limits import (
    BIAS_EXP_RANGE,
    BIAS_MANT_RANGE,
    DECAY_RANGE,
    REFRACTORY_RANGE,
    VTH_RANGE,
    Shape,
    check_range,
    frozen_array,
)

__all__ = ["Lif"]


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
    refractory : int
        Steps after a spike in which v stays at 0, so that the next spike comes
        at the earliest ``refractory + 1`` steps later; 0..63, 0 = none.
    """

    du: int
    dv: int
    vth: int
    bias_mant: Any = 0
    bias_exp: int = 0
    refractory: int = 0
    kind: ClassVar[str] = "lif"

    def __post_init__(self) -> None:
        for name, limits in (
            ("du", DECAY_RANGE),
            ("dv", DECAY_RANGE),
            ("vth", VTH_RANGE),
            ("bias_exp", BIAS_EXP_RANGE),
            ("refractory", REFRACTORY_RANGE),
        ):
            object.__setattr__(self, name, check_range(name, getattr(self, name), limits))
        mantissa = np.asarray(self.bias_mant)
        if mantissa.ndim not in (0, 1, 3):
            raise NetworkError(f"bias_mant has shape {mantissa.shape}; give a scalar, (channels,) or (c, h, w)")
        object.__setattr__(
            self, "bias_mant", frozen_array("bias_mant", mantissa, mantissa.ndim, np.int16, BIAS_MANT_RANGE)
        )

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
        names = ("du", "dv", "vth", "bias_exp", "refractory")
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the bias mantissas, as given."""
        return {"bias_mant": self.bias_mant}
