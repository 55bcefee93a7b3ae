# SPDX-License-Identifier: Apache-2.0
"""One layer: a connection and its neurons, whose forward pass computes the integers of the fixed-point engine.

Master weights are real numbers in units of the threshold; `neuro_ros.training.network.weights` puts them on the
synapse's grid. Sums of such weights over binary spikes are whole numbers below 2^24, which float32 holds exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from neuro_ros.snn import Conv2d, Dense, Layer, Lif
from neuro_ros.snn.network import Projection
from neuro_ros.training.errors import ExportError, TrainingError
from neuro_ros.training.network.convolution import SpikeConv2d
from neuro_ros.training.network.neuron import LifState, Neuron, scan
from neuro_ros.training.network.norm import SpreadNorm
from neuro_ros.training.network.recurrent import recurrent_scan, shifted
from neuro_ros.training.network.specs import ConvSpec, DenseSpec, source_delays
from neuro_ros.training.network.weights import WEIGHT_GRID, Rounding, bias_grid, on_grid

__all__ = ["SpikingLayer"]

# Thresholds that leave a third of the weights' range free for growth: see `SpikingLayer`.
HEADROOM = 1.5
VTH_LIMIT = (1 << 17) - 1
_HIGHEST_RESET = 0.95  # of the threshold


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

    Attributes
    ----------
    counts : (2,) int64 array
        Wraps of u and clips of v since the layer was made.
    delays : (c, h, w) uint8 array, optional
        Steps by which each source cell is late; None where all are alike.
    surrogate, arithmetic, rounding, sparse_gradient
        As of `IntegerNetwork`, which sets them.

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
        self.surrogate = "fast_sigmoid"
        self.arithmetic = "integer"
        self.rounding = Rounding()
        self.sparse_gradient = False
        if isinstance(spec, ConvSpec):
            shape: tuple[int, ...] = (spec.channels, input_shape[0], spec.kernel, spec.kernel)
            size = [(n + 2 * spec.padding - spec.kernel) // spec.stride + 1 for n in input_shape[1:]]
            self.output_shape = (spec.channels, size[0], size[1])
        else:
            shape = (spec.neurons, int(np.prod(input_shape)))
            self.output_shape = (spec.neurons, 1, 1)
        self.delays = source_delays(spec, input_shape)
        self.weight = nn.Parameter(torch.empty(shape))
        bound = gain / float(np.prod(shape[1:])) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.recurrent: nn.Parameter | None = None
        if isinstance(spec, DenseSpec) and spec.recurrent:
            self.recurrent = nn.Parameter(torch.empty(spec.neurons, spec.neurons))
            nn.init.uniform_(self.recurrent, -(bound := 0.5 * gain / spec.neurons**0.5), bound)
        self.bias = nn.Parameter(torch.zeros(shape[0])) if spec.bias else None
        self.reset = nn.Parameter(torch.zeros(())) if spec.learnable_reset else None
        self.norm = SpreadNorm(shape[0]) if spec.norm else None
        self.vth: torch.Tensor
        self.register_buffer("vth", torch.tensor(1, dtype=torch.int64))
        self.set_threshold()
        self.counts = np.zeros(2, np.int64)

    def __repr__(self) -> str:
        return f"SpikingLayer({self.spec})"

    # --- weights ------------------------------------------------------------------------------------------------------
    def _masters(self) -> list[torch.Tensor]:
        """Return all master weights on the synapse's grid, folded, without gradient."""
        weight = self.weight if self.norm is None else self.norm.fold(self.weight)
        return [each.detach() for each in (weight, self.recurrent) if each is not None]

    def largest_weight(self) -> float:
        """Return the largest magnitude of a master weight, in thresholds."""
        return max(float(each.abs().max()) for each in self._masters())

    def set_threshold(self) -> None:
        """Let the threshold mantissa follow from the largest master weight."""
        largest = max(1e-6, self.largest_weight())
        unit = 2.0**self.spec.weight_exp
        self.vth.fill_(min(max(round(unit * WEIGHT_GRID.high / (HEADROOM * largest)), 1), VTH_LIMIT))

    @property
    def scale(self) -> float:
        """Grid units a threshold."""
        return float(self.vth) / 2.0**self.spec.weight_exp

    def _on_grid(self, master: torch.Tensor) -> torch.Tensor:
        rounding = self.rounding if self.training and torch.is_grad_enabled() else Rounding()
        return on_grid(master, self.scale, WEIGHT_GRID, rounding, self.arithmetic == "integer")

    def effective_weight(self, variance: torch.Tensor | None = None) -> torch.Tensor:
        """Return the integers that the engine will hold, as float32 with a straight-through gradient."""
        return self._on_grid(self.weight if self.norm is None else self.norm.fold(self.weight, variance))

    def effective_bias(self) -> tuple[torch.Tensor | None, int]:
        """Return the bias of every channel, shifted, and its exponent."""
        if self.bias is None:
            return None, 0
        threshold = int(self.vth) << 6
        grid, exponent = bias_grid(threshold)
        return on_grid(self.bias, float(threshold), grid, None, self.arithmetic == "integer"), exponent

    def weight_report(self) -> tuple[float, float]:
        """Return the fractions of weights that are zero on the grid, and that are clipped by it."""
        steps = torch.cat([each.reshape(-1) for each in self._masters()]) * (self.scale / WEIGHT_GRID.step)
        wanted = WEIGHT_GRID.step * steps.round()
        clipped = (wanted < WEIGHT_GRID.low) | (wanted > WEIGHT_GRID.high)
        return float((wanted == 0.0).float().mean()), float(clipped.float().mean())

    def rescale(self, factor: float, reference: list[torch.Tensor]) -> None:
        """Set what drives the neurons to a multiple of `reference`, from `drive`."""
        with torch.no_grad():
            for mine, original in zip(self.drive(), reference, strict=True):
                mine.copy_(original * factor)

    def drive(self) -> list[torch.Tensor]:
        """Return the parameters that the strength of the input is proportional to."""
        if self.norm is not None:
            return [self.norm.gain]
        return [self.weight]

    # --- forward ------------------------------------------------------------------------------------------------------
    def sums(self, spikes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the sums that (n, c, h, w) spikes give with some weights, (n, c', h', w')."""
        if isinstance(self.spec, DenseSpec):
            return (spikes.flatten(1) @ weight.t()).reshape(-1, *self.output_shape)
        if spikes.device.type == "cpu":
            result: torch.Tensor = SpikeConv2d.apply(
                spikes, weight, self.spec.stride, self.spec.padding, self.sparse_gradient
            )
            return result
        # Libraries of devices may transform small kernels, which costs exactness; the sums are whole numbers.
        with torch.backends.cudnn.flags(allow_tf32=False):
            sums = functional.conv2d(spikes, weight, stride=self.spec.stride, padding=self.spec.padding)
        return sums + (sums.round() - sums).detach() if self.arithmetic == "integer" else sums

    def run(self, spikes: torch.Tensor, state: LifState | None = None) -> tuple[torch.Tensor, LifState]:
        """Run (steps, batch, c, h, w) spikes through from a state, by default at rest.

        Returns
        -------
        spikes : (steps, batch, c', h', w') float32
        state : LifState
            After the last step, detached.
        """
        steps, batch = spikes.shape[:2]
        spec, exact = self.spec, self.arithmetic == "integer"
        heard = None
        if self.delays is not None:
            spikes, heard = self._late(spikes, None if state is None else state.heard)
        flat = spikes.flatten(0, 1)
        variance = None
        if self.norm is not None and self.training:
            variance = self.norm.measure(self.sums(flat, self.weight))
        a = self.sums(flat, self.effective_weight(variance)).reshape(steps, batch, *self.output_shape)
        a = shifted(a, spec.weight_exp, exact)
        neuron = Neuron(
            spec.du, spec.dv, int(self.vth), spec.refractory, self.beta, self.surrogate, self.arithmetic
        )  # fmt: skip
        bias, _ = self.effective_bias()
        if bias is not None:
            bias = bias.repeat_interleave(self.output_shape[1] * self.output_shape[2])
        if state is None:
            state = LifState.at_rest(batch, int(np.prod(self.output_shape)), spec.delay, a.device)
        if self.recurrent is None:
            spikes, state = scan(a, neuron, self.counts, bias, state, self._reset_value(neuron, exact))
            return spikes, replace(state, heard=heard)
        if a.device.type != "cpu":
            raise TrainingError(f"layer '{spec.name}' is recurrent; that trains on the CPU only")
        weight = self._on_grid(self.recurrent)
        spikes, state = recurrent_scan(a, weight, neuron, self.counts, bias, state, spec.weight_exp)
        return spikes, replace(state, heard=heard)

    def _late(self, spikes: torch.Tensor, heard: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the spikes as late as each source cell is, and the last ones, which the next chunk needs."""
        delays = torch.from_numpy(self.delays).to(spikes.device)
        steps, longest = len(spikes), int(delays.max())
        if heard is None:
            heard = spikes.new_zeros((longest, *spikes.shape[1:]))
        whole = torch.cat([heard, spikes])
        late = torch.zeros_like(spikes)
        for delay in delays.unique().tolist():
            late = torch.where(delays == delay, whole[longest - delay : longest - delay + steps], late)
        return late, whole[len(whole) - longest :].detach()

    def _reset_value(self, neuron: Neuron, exact: bool) -> torch.Tensor | None:
        if self.reset is None:
            return None
        value = self.reset.clamp(max=_HIGHEST_RESET) * float(neuron.threshold)
        return value + (value.trunc() - value).detach() if exact else value

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Run (steps, batch, c, h, w) spikes through from rest; return (steps, batch, c', h', w')."""
        return self.run(spikes)[0]

    # --- export -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def export(self) -> Layer:
        """Return the layer of the engine's network with exactly these integers.

        Raises
        ------
        ExportError
            If the layer has a learnable reset, which no engine has, or computes in floating point.
        """
        spec = self.spec
        if self.reset is not None:
            raise ExportError(f"layer '{spec.name}' has a learnable reset; the engine's neurons reset to 0")
        if self.arithmetic != "integer":
            raise ExportError(f"layer '{spec.name}' computes in floating point; quantise the network first")
        weight = self.effective_weight().cpu().numpy().astype(np.int16)
        connection: Conv2d | Dense
        if isinstance(spec, ConvSpec):
            connection = Conv2d(weight, (spec.stride,) * 2, (spec.padding,) * 2, spec.weight_exp)
        else:
            connection = Dense(weight, spec.weight_exp)
        delays: Any = spec.delay if self.delays is None else self.delays
        projections = [Projection(connection, delays=delays)]
        if self.recurrent is not None:
            back = self._on_grid(self.recurrent).cpu().numpy().astype(np.int16)
            projections.append(Projection(Dense(back, spec.weight_exp), spec.name))
        bias, exponent = self.effective_bias()
        mantissa = 0 if bias is None else (bias.cpu().numpy().astype(np.int64) >> exponent).astype(np.int16)
        neuron = Lif(spec.du, spec.dv, int(self.vth), mantissa, exponent, spec.refractory)
        return Layer(spec.name, projections, neuron)
