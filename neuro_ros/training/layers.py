# SPDX-License-Identifier: Apache-2.0
"""Torch modules whose forward pass computes the integers of the fixed-point engine.

A layer holds real-valued master weights in units of its threshold. The forward pass puts them on the synapse's grid,
even integers in -256..254, by ``clip(2 round(w vth / 2), -256, 254)``, and the backward pass takes that as the factor
vth (straight through), with the gradient masked where the clipping acts and would push further out. Sums of such
weights over binary spikes are whole numbers below 2^24, which float32 holds exactly.

The module knows no task and no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from neuro_ros.snn import Conv2d, Dense, Layer, Lif, Network
from neuro_ros.training.convolution import SpikeConv2d
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.neuron import LifScan

__all__ = ["ConvSpec", "DenseSpec", "IntegerNetwork", "QuantiseWeights", "SpikingLayer"]

WEIGHT_LOW, WEIGHT_HIGH = -256.0, 254.0
# Thresholds that leave a third of the weights' range free for growth: see `SpikingLayer`.
HEADROOM = 1.5
VTH_LIMIT = (1 << 17) - 1


@dataclass(frozen=True)
class ConvSpec:
    """A convolution and its neurons, in physical shape and register decays."""

    name: str
    channels: int
    kernel: int
    stride: int
    padding: int
    du: int
    dv: int


@dataclass(frozen=True)
class DenseSpec:
    """A dense connection and its neurons."""

    name: str
    neurons: int
    du: int
    dv: int


class QuantiseWeights(torch.autograd.Function):
    """Even 8-bit mixed-sign weights from master weights: ``apply(weight, scale)``."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: float) -> torch.Tensor:
        """Return the effective integers as float32."""
        wanted = 2.0 * torch.round(weight.detach() * (0.5 * scale))
        ctx.save_for_backward(wanted > WEIGHT_HIGH, wanted < WEIGHT_LOW)
        ctx.scale = scale
        return wanted.clamp(WEIGHT_LOW, WEIGHT_HIGH)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Pass the gradient on, but not where it would drive a clipped weight further out."""
        above, below = ctx.saved_tensors
        grad = grads[0] * ctx.scale
        # Descent moves against the gradient: a negative one drives a weight up.
        blocked = (above & (grad < 0.0)) | (below & (grad > 0.0))
        return grad.masked_fill(blocked, 0.0), None


class SpikingLayer(nn.Module):
    """One connection and its population.

    Parameters
    ----------
    spec : ConvSpec or DenseSpec
        What to build.
    input_shape : (int, int, int)
        Channels, height, width that come in.
    beta : float
        Sharpness of the surrogate.
    gain : float
        Factor on torch's default initialisation, for layers that would otherwise start silent.

    Notes
    -----
    The threshold mantissa follows from the initial weights, ``vth = 254 / (1.5 max abs(w))``: then no weight is
    clipped at the start and few are rounded to zero.
    """

    def __init__(self, spec: ConvSpec | DenseSpec, input_shape: tuple[int, int, int], beta: float, gain: float) -> None:
        super().__init__()
        self.spec = spec
        self.input_shape = input_shape
        self.beta = beta
        self.sparse_gradient = False
        if isinstance(spec, ConvSpec):
            shape: tuple[int, ...] = (spec.channels, input_shape[0], spec.kernel, spec.kernel)
            size = [(n + 2 * spec.padding - spec.kernel) // spec.stride + 1 for n in input_shape[1:]]
            self.output_shape = (spec.channels, size[0], size[1])
        else:
            shape = (spec.neurons, int(np.prod(input_shape)))
            self.output_shape = (spec.neurons, 1, 1)
        self.weight = nn.Parameter(torch.empty(shape))
        bound = gain / float(np.prod(shape[1:])) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.vth: torch.Tensor
        self.register_buffer("vth", torch.tensor(1, dtype=torch.int64))
        self.set_threshold()
        self.counts = np.zeros(2, np.int64)

    def set_threshold(self) -> None:
        """Let the threshold mantissa follow from the largest master weight."""
        largest = max(float(self.weight.detach().abs().max()), 1e-6)
        self.vth.fill_(min(max(round(WEIGHT_HIGH / (HEADROOM * largest)), 1), VTH_LIMIT))

    def effective_weight(self) -> torch.Tensor:
        """Return the integers that the engine will hold, as float32 with a straight-through gradient."""
        result: torch.Tensor = QuantiseWeights.apply(self.weight, float(self.vth))
        return result

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Run (steps, batch, c, h, w) spikes through; return (steps, batch, c', h', w')."""
        steps, batch = spikes.shape[:2]
        weight = self.effective_weight()
        if isinstance(self.spec, ConvSpec):
            a = SpikeConv2d.apply(
                spikes.flatten(0, 1), weight, self.spec.stride, self.spec.padding, self.sparse_gradient
            )
        else:
            a = spikes.flatten(0, 1).flatten(1) @ weight.t()
        a = a.reshape(steps, batch, *self.output_shape)
        out: torch.Tensor = LifScan.apply(a, self.spec.du, self.spec.dv, int(self.vth), None, self.beta, self.counts)
        return out

    def export(self) -> Layer:
        """Return the layer of the engine's network with exactly these integers."""
        weight = self.effective_weight().detach().numpy().astype(np.int16)
        connection: Conv2d | Dense
        if isinstance(self.spec, ConvSpec):
            connection = Conv2d(weight, (self.spec.stride,) * 2, (self.spec.padding,) * 2, 0)
        else:
            connection = Dense(weight, 0)
        return Layer(self.spec.name, connection, Lif(self.spec.du, self.spec.dv, int(self.vth)))


@dataclass
class _Rates:
    """Spikes a neuron and step of each layer in the last forward pass, attached to the graph."""

    values: list[torch.Tensor] = field(default_factory=list)


class IntegerNetwork(nn.Module):
    """A feed-forward stack of `SpikingLayer`.

    Parameters
    ----------
    specs : sequence of ConvSpec or DenseSpec
        Layers in order.
    input_shape : (int, int, int)
        Channels, height, width.
    beta : float
        Sharpness of the surrogate, above 0.
    gain : float
        Factor on the default initialisation.
    sparse_gradient : bool
        Take the gradient of convolution weights from the spikes: quicker, and the same bits at any number of threads,
        but not the bits of torch's dense sum.

    Raises
    ------
    TrainingError
        If there are no layers or a value is outside its range.
    """

    def __init__(
        self,
        specs: Sequence[ConvSpec | DenseSpec],
        input_shape: tuple[int, int, int],
        beta: float = 4.0,
        gain: float = 1.0,
        sparse_gradient: bool = False,
    ) -> None:
        super().__init__()
        if not specs:
            raise TrainingError("a network needs at least one layer; none were given")
        if not (beta > 0.0 and gain > 0.0):
            raise TrainingError(f"beta={beta} and gain={gain} must be above 0")
        self.input_shape = input_shape
        layers = []
        for spec in specs:
            layers.append(SpikingLayer(spec, input_shape, beta, gain))
            layers[-1].sparse_gradient = sparse_gradient
            input_shape = layers[-1].output_shape
        self.layers = nn.ModuleList(layers)
        self.rates = _Rates()

    @property
    def populations(self) -> list[SpikingLayer]:
        """The layers in order."""
        return [layer for layer in self.layers if isinstance(layer, SpikingLayer)]

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Run (steps, batch, c, h, w) float32 spikes from a zero state; return (steps, batch, classes) spikes."""
        return self.all_spikes(spikes)[-1].flatten(2)

    def all_spikes(self, spikes: torch.Tensor) -> list[torch.Tensor]:
        """Return the spikes of every layer, each (steps, batch, c, h, w)."""
        outputs = []
        for layer in self.populations:
            spikes = layer(spikes)
            outputs.append(spikes)
        self.rates.values = [out.mean() for out in outputs]
        return outputs

    def export(self) -> Network:
        """Return the engine's network.

        Raises
        ------
        NetworkError
            If a layer breaks a register's range or the accumulator bound.
        """
        return Network(tuple(layer.export() for layer in self.populations), self.input_shape)
