# SPDX-License-Identifier: Apache-2.0
"""A stack of spiking layers whose forward pass computes the integers of the fixed-point engine.

The layers are `neuro_ros.training.network.population`, their neurons `neuro_ros.training.network.neuron`, their weights
`neuro_ros.training.network.weights`. The module knows no task and no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from neuro_ros.snn import Network
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.neuron import ARITHMETICS, LifState
from neuro_ros.training.network.population import SpikingLayer
from neuro_ros.training.network.specs import ConvSpec, DenseSpec
from neuro_ros.training.network.surrogate import surrogate_kind
from neuro_ros.training.network.weights import Rounding

__all__ = ["ConvSpec", "DenseSpec", "IntegerNetwork", "SpikingLayer", "StreamState"]


@dataclass(frozen=True, eq=False)
class StreamState:
    """A network in the middle of its streams, one a sample of the batch; never part of a graph.

    Attributes
    ----------
    layers : tuple of LifState
        In the order of the layers.
    """

    layers: tuple[LifState, ...]

    def where(self, kept: torch.Tensor) -> StreamState:
        """Return the state with the streams outside the (batch,) bool mask `kept` put to rest, the others untouched."""
        return StreamState(tuple(layer.where(kept) for layer in self.layers))


@dataclass
class _Rates:
    """Spikes a neuron and step of each layer in the last forward pass, attached to the graph."""

    values: list[torch.Tensor] = field(default_factory=list)


class IntegerNetwork(nn.Module):
    """A feed-forward stack of `SpikingLayer`; each may hear itself.

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
    surrogate : str
        One of `neuro_ros.training.network.surrogate.SURROGATES`.
    rounding : Rounding, optional
        Of the weights while training; by default to the nearest, without noise.

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
        surrogate: str = "fast_sigmoid",
        rounding: Rounding | None = None,
    ) -> None:
        super().__init__()
        if not specs:
            raise TrainingError("a network needs at least one layer; none were given")
        if not (beta > 0.0 and gain > 0.0):
            raise TrainingError(f"beta={beta} and gain={gain} must be above 0")
        surrogate_kind(surrogate)
        self.input_shape = input_shape
        layers = []
        for spec in specs:
            layers.append(SpikingLayer(spec, input_shape, beta, gain))
            layers[-1].sparse_gradient = sparse_gradient
            layers[-1].surrogate = surrogate
            layers[-1].rounding = rounding or Rounding()
            input_shape = layers[-1].output_shape
        self.layers = nn.ModuleList(layers)
        self.rates = _Rates()

    @property
    def populations(self) -> list[SpikingLayer]:
        """The layers in order."""
        return [layer for layer in self.layers if isinstance(layer, SpikingLayer)]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def arithmetic(self) -> str:
        """``integer``: the engine's own; ``float``: unrounded weights and states, the network they stand for."""
        return self.populations[0].arithmetic

    @arithmetic.setter
    def arithmetic(self, name: str) -> None:
        if name not in ARITHMETICS:
            raise TrainingError(f"arithmetic is {name!r}; known are {', '.join(ARITHMETICS)}")
        for layer in self.populations:
            layer.arithmetic = name

    @contextmanager
    def computing(self, arithmetic: str) -> Iterator[IntegerNetwork]:
        """Compute with another arithmetic for a while, for comparing both on the same input."""
        before = self.arithmetic
        self.arithmetic = arithmetic
        try:
            yield self
        finally:
            self.arithmetic = before

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Run (steps, batch, c, h, w) float32 spikes from a zero state; return (steps, batch, classes) spikes."""
        return self.all_spikes(spikes)[-1].flatten(2)

    def all_spikes(self, spikes: torch.Tensor) -> list[torch.Tensor]:
        """Return the spikes of every layer, each (steps, batch, c, h, w)."""
        return self.run(spikes)[0]

    def run(self, spikes: torch.Tensor, state: StreamState | None = None) -> tuple[list[torch.Tensor], StreamState]:
        """Run a chunk of the streams from where they stand.

        Parameters
        ----------
        spikes : (steps, batch, c, h, w) float32
            The next steps of every stream.
        state : StreamState, optional
            What the last chunk returned; by default all streams are at rest. Not changed.

        Returns
        -------
        spikes : list of (steps, batch, c, h, w) float32
            Of every layer.
        state : StreamState
            After the chunk, detached: gradients never cross it (truncated backpropagation through time).
        """
        if state is not None and len(state.layers) != len(self.populations):
            raise TrainingError(f"the state has {len(state.layers)} layers, the network {len(self.populations)}")
        outputs, after = [], []
        for k, layer in enumerate(self.populations):
            spikes, own = layer.run(spikes, None if state is None else state.layers[k])
            outputs.append(spikes)
            after.append(own)
        self.rates.values = [out.mean() for out in outputs]
        return outputs, StreamState(tuple(after))

    def export(self) -> Network:
        """Return the engine's network.

        Raises
        ------
        NetworkError
            If a layer breaks a register's range or the accumulator bound.
        ExportError
            If a layer has what no engine has.
        """
        return Network(tuple(layer.export() for layer in self.populations), self.input_shape)
