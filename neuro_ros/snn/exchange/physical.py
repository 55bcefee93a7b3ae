# SPDX-License-Identifier: Apache-2.0
"""A network as other libraries have it, in floating point: what every format is read into.

`neuro_ros.snn.exchange.registers` makes integers out of it. One step of a layer, in
floating point, w being already multiplied by all gains::

    i  = kept_u * i + sum of w whose source spiked a step (and the delay) ago
    v  = kept_v * v + i + bias
    s  = v > threshold
    v  = 0 where s

with ``kept = 1 - step / tau`` or ``exp(-step / tau)``, whichever the file's library
uses. Other orders of update and resets of other libraries have no place here; what
differs because of them is what `neuro_ros.snn.exchange.difference` does not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro_ros.snn.limits import Shape
from neuro_ros.snn.network import INPUT

from .kinds import Grid
from .linear import LinearMap

__all__ = ["INPUT", "FloatLayer", "FloatNetwork", "FloatProjection", "Hints", "uniform"]


@dataclass(frozen=True)
class Hints:
    """Choices that a file of our own keeps beside the physical values, so that the same integers come back.

    They never stand for a value: where they do not fit what the file says, they are ignored.
    """

    scale: float
    weight_exps: tuple[int, ...]
    grids: tuple[Grid, ...]
    bias_exp: int = 0
    bias_ndim: int = 0


@dataclass(frozen=True, eq=False)
class FloatProjection:
    """One linear map into a layer.

    Parameters
    ----------
    linear : LinearMap
    source : str
        `INPUT` or the name of a layer.
    delays : float or array of the source's shape (c, h, w)
        In steps, beyond the one that every connection has.
    """

    linear: LinearMap
    source: str = INPUT
    delays: Any = 0.0


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A population in floating point with what feeds it; see the module for the equations.

    Parameters
    ----------
    name : str
    projections : tuple of FloatProjection
    shape : (int, int, int)
    kept_u, kept_v : float
        What is left of current and voltage after a step, 0..1; 0 for a current that lasts one step.
    threshold, bias : float or array that broadcasts to `shape`
    refractory_steps : int
        Steps after a spike in which the neuron does not move.
    hints : Hints, optional
    dropped, notes : tuple of str
        For the report.
    """

    name: str
    projections: tuple[FloatProjection, ...]
    shape: Shape
    kept_u: float
    kept_v: float
    threshold: Any
    bias: Any = 0.0
    refractory_steps: int = 0
    hints: Hints | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """Layers in order of the flow, over an input of (c, y, x); see `quantise` for the rest.

    Parameters
    ----------
    layers : tuple of FloatLayer
    input_shape : (int, int, int)
    step_s : float
        Of one network step; 1 where the file counts in steps.
    discretisation : str
        How `kept` and time constants belong together, see `neuro_ros.snn.exchange.base.ImportOptions`.
    notes : tuple of str
    remarks : mapping
        What a file of ours keeps about the model around the network.
    input_bits : int
        Width of the payload of the input, 0 where it is binary.
    """

    layers: tuple[FloatLayer, ...]
    input_shape: Shape
    step_s: float = 1.0
    discretisation: str = "exponential"
    notes: tuple[str, ...] = ()
    remarks: Mapping[str, Any] = field(default_factory=dict)
    input_bits: int = 0

    def shape_of(self, source: str) -> Shape:
        """Return the shape of the input or of a layer."""
        if source == INPUT:
            return self.input_shape
        return next(layer.shape for layer in self.layers if layer.name == source)


def uniform(value: Any) -> float | None:
    """Return the one number that an array consists of, up to rounding; None where there are several."""
    array = np.asarray(value, np.float64)
    low, high = float(array.min()), float(array.max())
    return low if high - low <= 1e-6 * max(abs(low), abs(high)) or low == high else None
