# SPDX-License-Identifier: Apache-2.0
"""What a layer is, before there are weights: its connection and the registers of its neurons."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.snn import NetworkError
from neuro_ros.snn.limits import DECAY_RANGE, DELAY_RANGE, REFRACTORY_RANGE, WEIGHT_EXP_RANGE, check_range
from neuro_ros.training.errors import TrainingError

__all__ = ["ConvSpec", "DenseSpec"]


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
        for delay in spec.delays:
            check_range("delays", delay, DELAY_RANGE)
    except NetworkError as error:
        raise TrainingError(f"layer '{spec.name}': {error}") from None
    if spec.learnable_reset and spec.refractory:
        raise TrainingError(f"layer '{spec.name}': a learnable reset and a refractory time exclude each other")
    if spec.delays and (spec.delay or spec.weight_exp < 0):
        what = "one for all" if spec.delay else "a right shift, which rounds each delay's sum by itself,"
        raise TrainingError(f"layer '{spec.name}': delays by channel and {what} exclude each other")


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
    delays : tuple of int
        In place of it one for each source channel: what a place says now meets what its neighbour said before, which
        is how a direction is heard.
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
    delays: tuple[int, ...] = ()

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
    delays: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check(self)
        if self.recurrent and (self.delay or self.learnable_reset):
            what = "delay" if self.delay else "learnable_reset"
            raise TrainingError(f"layer '{self.name}': {what} of a recurrent layer cannot be trained; leave it out")
