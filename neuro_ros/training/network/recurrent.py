# SPDX-License-Identifier: Apache-2.0
"""A population that hears itself: what it sends in step t arrives, through the recurrent weights, in step t + 1.

The sums of a step are not known before the spikes of the step before, so time is walked step by step, forward in the
integers of the engine and backward through the same recursion. With W the recurrent weights, ``ga_t`` the gradient of
the sum that leaves in step t and ``G_t`` the one that arrives at s_t from outside::

    a_t  = (what came in from the layer before)_t + ((W s_t) << weight_exp)
    s_t receives G_t + (W^T ga_t) << weight_exp,        dW = sum over t of ga_t s_t^T << weight_exp
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from neuro_ros.training.network.kernels import advance_any, retreat
from neuro_ros.training.network.neuron import LifState, Neuron
from neuro_ros.training.network.surrogate import surrogate_kind

__all__ = ["recurrent_scan", "shifted"]


def shifted(sums: torch.Tensor, weight_exp: int, exact: bool = True) -> torch.Tensor:
    """Return sums shifted left by `weight_exp`, or right with floor; the gradient is that of the factor."""
    if weight_exp == 0:
        return sums
    scaled = sums * 2.0**weight_exp
    if weight_exp > 0 or not exact:
        return scaled
    return scaled + (scaled.floor() - scaled).detach()  # exact: both terms are multiples of 2^weight_exp below 2^17


class _RecurrentScan(torch.autograd.Function):
    """``apply(a, weight, bias, neuron, state, counts, weight_exp)``: spikes, u, v, resting, pending sum."""

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        neuron: Neuron,
        state: LifState,
        counts: np.ndarray[Any, Any],
        weight_exp: int,
    ) -> tuple[torch.Tensor, ...]:
        """Walk forward."""
        steps, batch = a.shape[:2]
        flat = a.detach().reshape(steps, -1).contiguous()
        n = flat.shape[1]
        spikes, level = torch.empty(steps, n), torch.empty(steps, n)
        offset = np.zeros(n) if bias is None else np.resize(bias.detach().numpy().astype(np.float64), n)
        u, v, resting = (x.clone().reshape(-1) for x in (state.u, state.v, state.resting))
        pending = state.pending[0].reshape(-1).clone()
        exact = neuron.arithmetic == "integer"
        registers = (4095 - neuron.du, 4096 - neuron.dv, neuron.threshold)
        state_arrays = [x.numpy() for x in (u, v, resting)]
        transposed = weight.detach().t().contiguous()
        for t in range(steps):
            advance_any(
                0, n, flat[t : t + 1].numpy(), pending.numpy(), *registers, offset, *state_arrays, neuron.refractory,
                0.0, exact, np.float32(neuron.edge), spikes[t : t + 1].numpy(), level[t : t + 1].numpy(), counts,
            )  # fmt: skip
            back = shifted(spikes[t].reshape(batch, -1) @ transposed, weight_exp, exact)
            pending = flat[t] + back.reshape(-1)
        ctx.save_for_backward(level, spikes, weight)
        ctx.neuron, ctx.shape, ctx.weight_exp = neuron, a.shape, weight_exp
        after = tuple(x.reshape(batch, -1) for x in (u, v, resting, pending))
        ctx.mark_non_differentiable(*after)
        return spikes.reshape(a.shape), *after

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Walk back."""
        level, spikes, weight = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        steps, n = level.shape
        batch = ctx.shape[1]
        grad = grads[0].reshape(steps, n)
        factor = 2.0**ctx.weight_exp
        gw, gu = np.zeros(n, np.float32), np.zeros(n, np.float32)
        of_bias, of_reset = np.zeros(n), np.zeros(n)
        out = torch.zeros(steps, n)  # row t: the gradient of the sum that leaves in step t
        arriving = np.empty((1, n), np.float32)
        kind = surrogate_kind(neuron.surrogate)
        for t in range(steps - 1, -1, -1):
            total = grad[t] + factor * (out[t].reshape(batch, -1) @ weight).reshape(-1)
            retreat(
                0, n, total.reshape(1, n).numpy(), level[t : t + 1].numpy(), float(neuron.threshold), neuron.keep_u,
                neuron.keep_v, np.float32(neuron.beta), kind, np.float32(neuron.edge), gw, gu, of_bias, of_reset,
                arriving,
            )  # fmt: skip
            if t:
                out[t - 1] = torch.from_numpy(arriving[0])
        of_weight = factor * (out.reshape(steps * batch, -1).t() @ spikes.reshape(steps * batch, -1))
        bias_grad = torch.from_numpy(of_bias.reshape(batch, -1).sum(0)).float() if ctx.needs_input_grad[2] else None
        return out.reshape(ctx.shape), of_weight, bias_grad, None, None, None, None


def recurrent_scan(
    a: torch.Tensor,
    weight: torch.Tensor,
    neuron: Neuron,
    counts: np.ndarray[Any, Any],
    bias: torch.Tensor | None = None,
    state: LifState | None = None,
    weight_exp: int = 0,
) -> tuple[torch.Tensor, LifState]:
    """Run a population with a projection to itself; CPU only.

    Parameters
    ----------
    a : (steps, batch, cells, ...) float32
        Sums from the layer before.
    weight : (cells, cells) float32
        Effective weights to (row) and from (column).
    neuron, counts, bias, state
        As for `neuro_ros.training.network.neuron.scan`.
    weight_exp : int
        Shift of the recurrent sums.

    Returns
    -------
    spikes, state
        As `scan` returns them.
    """
    state = LifState.at_rest(a.shape[1], a[0, 0].numel()) if state is None else state
    spikes, u, v, resting, pending = _RecurrentScan.apply(a, weight, bias, neuron, state, counts, weight_exp)
    return spikes, replace(state, u=u, v=v, resting=resting, pending=pending[None])
