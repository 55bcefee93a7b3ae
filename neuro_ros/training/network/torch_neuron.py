# SPDX-License-Identifier: Apache-2.0
"""The neurons of `neuro_ros.training.network.neuron` in torch alone, for devices that numba's loops do not reach.

One step after the other over all neurons, in float64, which holds every value of the integers exactly: the spikes are
those of the compiled loops, the gradients equal within float32's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuro_ros.training.network.kernels import LIMIT
from neuro_ros.training.network.surrogate import surrogate_slope

if TYPE_CHECKING:
    from neuro_ros.training.network.neuron import LifState, Neuron

__all__ = ["torch_scan"]


class _TorchScan(torch.autograd.Function):
    """As `neuro_ros.training.network.neuron.scan` does, on any device."""

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        bias: torch.Tensor | None,
        reset: torch.Tensor | None,
        neuron: Neuron,
        state: LifState,
        counts: np.ndarray[Any, Any],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Step through time."""
        exact = neuron.arithmetic == "integer"
        flat = a.detach().flatten(2)
        u, v, resting = state.u.clone(), state.v.clone(), state.resting.clone()
        offset = torch.zeros((), dtype=torch.float64, device=a.device) if bias is None else bias.detach().double()
        target = torch.zeros((), dtype=torch.float64, device=a.device) if reset is None else reset.detach().double()
        spikes, level = torch.empty_like(flat), torch.empty_like(flat)
        wraps = torch.zeros((), dtype=torch.int64, device=a.device)
        clips = wraps.clone()
        highest = float(LIMIT - 1)
        inverse = float(np.float32(1.0 / neuron.threshold))
        for t in range(flat.shape[0]):
            u *= (4095 - neuron.du) / 4096
            w = v * ((4096 - neuron.dv) / 4096)
            if exact:
                u, w = u.trunc(), w.trunc()
            u += 64.0 * (flat[t - 1] if t else state.pending[0])
            if exact:
                above, below = u > LIMIT, u <= -LIMIT
                u += (2.0 * LIMIT) * (below.double() - above.double())
                wraps += (above | below).sum()
            w += u + offset
            free = resting == 0
            if exact:
                clips += ((w.abs() > highest) & free).sum()
                w.clamp_(-highest, highest)
            fired = (w > neuron.threshold) & free
            spikes[t] = fired
            level[t] = torch.where(free, w.float() * inverse, neuron.edge)
            v = torch.where(free, torch.where(fired, target, w), v)
            resting = torch.where(fired, neuron.refractory, (resting - 1).clamp(min=0)).int()
        counts += np.array([int(wraps), int(clips)])
        ctx.save_for_backward(level)
        ctx.neuron, ctx.shape = neuron, a.shape
        ctx.mark_non_differentiable(u, v, resting)
        return spikes.reshape(a.shape), u, v, resting

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Step back through time."""
        (level,) = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        grad = grads[0].reshape(level.shape)
        keep_u, keep_v = float(neuron.keep_u), float(neuron.keep_v)
        gw, gu = torch.zeros_like(level[0]), torch.zeros_like(level[0])
        of_bias = torch.zeros_like(gw)
        of_reset = torch.zeros_like(gw)
        out = torch.zeros_like(level)
        for t in range(level.shape[0] - 1, -1, -1):
            x = level[t] - 1.0
            fired = x > 0.0
            of_reset += torch.where(fired & (level[t] < neuron.edge), keep_v * gw, 0.0)
            gw = grad[t] * surrogate_slope(x, neuron.beta, neuron.surrogate) / neuron.threshold + torch.where(
                fired, 0.0, keep_v * gw
            )
            gw = torch.where(level[t].abs() >= neuron.edge, 0.0, gw)
            gu = gw + keep_u * gu
            of_bias += gw
            if t:
                out[t - 1] = 64.0 * gu
        bias_grad = of_bias.sum(0) if ctx.needs_input_grad[1] else None
        reset_grad = of_reset.sum() if ctx.needs_input_grad[2] else None
        return out.reshape(ctx.shape), bias_grad, reset_grad, None, None, None


def torch_scan(
    a: torch.Tensor,
    bias: torch.Tensor | None,
    reset: torch.Tensor | None,
    neuron: Neuron,
    state: LifState,
    counts: np.ndarray[Any, Any],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return spikes, u, v and resting counters; the arguments are those of `neuro_ros.training.network.neuron.scan`."""
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] = _TorchScan.apply(
        a, bias, reset, neuron, state, counts
    )
    return result
