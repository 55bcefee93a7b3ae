# SPDX-License-Identifier: Apache-2.0
"""What a layer is, before there are weights: its connection and the registers of its neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn import NetworkError
from neuro_ros.snn.limits import DECAY_RANGE, DELAY_RANGE, REFRACTORY_RANGE, WEIGHT_EXP_RANGE, check_range
from neuro_ros.training.errors import TrainingError

__all__ = ["ConvSpec", "DenseSpec", "source_delays"]


Delays = tuple[int, ...] | tuple[tuple[tuple[int, ...], ...], ...]


def _tile(spec: ConvSpec | DenseSpec) -> NDArray[np.int64]:
    """Return the delays of a layer as a tile (c, y, x); empty where it has one delay for all."""
    try:
        tile = np.array(spec.delays, np.int64)
    except ValueError:
        raise TrainingError(f"layer '{spec.name}': the rows of its delays are not equally long") from None
    if tile.ndim not in (1, 3):
        raise TrainingError(f"layer '{spec.name}': delays are one a source channel, or a tile (c, y, x)")
    return tile.reshape(-1, 1, 1) if tile.ndim == 1 else tile


def source_delays(spec: ConvSpec | DenseSpec, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    """Return the delay of every cell (c, y, x) that a layer hears; None where all have the same.

    Raises
    ------
    TrainingError
        If there are more or fewer channels than in `shape`.
    """
    if not spec.delays:
        return None
    tile = _tile(spec)
    if len(tile) not in (shape[0], 1 if np.ndim(spec.delays) == 3 else shape[0]):
        raise TrainingError(f"layer '{spec.name}' has delays for {len(tile)} channels and hears {shape[0]}")
    places = np.ix_(*(np.arange(size) % own for size, own in zip(shape, tile.shape, strict=True)))
    return tile[places].astype(np.uint8)


def _check(spec: ConvSpec | DenseSpec) -> None:
    """Refuse registers outside their ranges, and what excludes each other, naming the layer."""
    try:
        for name, limits in (
            ("du", DECAY_RANGE),
            ("dv", DECAY_RANGE),
            ("weight_exp", WEIGHT_EXP_RANGE),
            ("refractory", REFRACTORY_RANGE),
            ("delay", DELAY_RANGE),
        ):
            check_range(name, getattr(spec, name), limits)
        for delay in _tile(spec).ravel().tolist():
            check_range("delays", delay, DELAY_RANGE)
    except NetworkError as error:
        raise TrainingError(f"layer '{spec.name}': {error}") from None
    if spec.learnable_reset and spec.refractory:
        raise TrainingError(f"layer '{spec.name}': a learnable reset and a refractory time exclude each other")
    if spec.delays and (spec.delay or spec.weight_exp < 0):
        what = "one for all" if spec.delay else "a right shift, which rounds each delay's sum by itself,"
        raise TrainingError(f"layer '{spec.name}': delays by source and {what} exclude each other")


@dataclass(frozen=True)
class ConvSpec:
    """A convolution and its neurons, in physical shape and register decays.

    Attributes
    ----------
    name : str
        Letters, digits and underscores.
    channels, kernel, stride, padding : int
        Of the convolution.
    du, dv, weight_exp, refractory : int
        Registers, as in `neuro_ros.snn`.
    delay : int
        Axonal delay in steps, of all sources alike, on top of the one that every connection takes.
    delays : tuple of int, or of tuples (c, y, x) of int
        In place of it one for each source channel, or a tile that is repeated over the source cells, of one channel for
        all or of each: what a place says now meets what its neighbour said before, which is how a direction is heard.
    bias : bool
        Whether each channel learns a bias.
    norm : bool
        Whether weights are divided by the spread of the sums, see `neuro_ros.training.network.norm`.
    learnable_reset : bool
        Whether v after a spike is learnt; for research, export refuses it.
    """

    name: str
    channels: int
    kernel: int
    stride: int
    padding: int
    du: int
    dv: int
    weight_exp: int = 0
    refractory: int = 0
    delay: int = 0
    bias: bool = False
    norm: bool = False
    learnable_reset: bool = False
    delays: Delays = ()

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class DenseSpec:
    """A dense connection and its neurons; attributes as of `ConvSpec`, and whether the neurons hear themselves."""

    name: str
    neurons: int
    du: int
    dv: int
    weight_exp: int = 0
    refractory: int = 0
    delay: int = 0
    bias: bool = False
    norm: bool = False
    learnable_reset: bool = False
    recurrent: bool = False
    delays: Delays = ()

    def __post_init__(self) -> None:
        _check(self)
        if self.recurrent and (self.delay or self.learnable_reset):
            what = "delay" if self.delay else "learnable_reset"
            raise TrainingError(f"layer '{self.name}': {what} of a recurrent layer cannot be trained; leave it out")
