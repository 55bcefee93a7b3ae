# SPDX-License-Identifier: Apache-2.0
"""Current-based leaky integrate-and-fire neurons over time, forward in the engine's integers.

Forward, per neuron and step t, with the synaptic sum a of the step before (one step of delay per connection)::

    u_t = trunc(u_{t-1} (4096 - (du + 1)) / 4096) + (a_{t-1} << 6)      one subtraction of 2^24 outside 24 bits
    w_t = trunc(v_{t-1} (4096 - dv) / 4096) + u_t + bias                clipped to +-(2^23 - 1)
    s_t = w_t > (vth << 6)
    v_t = 0 where s_t, else w_t

Backward, the roundings, the wrap and the reset are taken as constant (straight through), the step as the fast
sigmoid's slope ``g(x) = 1 / (1 + beta abs(x))^2`` at ``x = w_t / (vth << 6) - 1``; g(0) = 1, without a factor beta.
With ``G_t`` the gradient arriving at s_t::

    gw_t = G_t g(x_t) / (vth << 6) + (1 - s_t) k_v gw_{t+1}      zero where w_t was clipped
    gu_t = gw_t + k_u gu_{t+1}
    ga_{t-1} = 64 gu_t

The loops are numba, over steps with all neurons of all samples in one row: what they cost is memory traffic.

References
----------
F. Zenke and S. Ganguli, SuperSpike, Neural Computation 30 (2018), doi:10.1162/neco_a_01086.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch

from neuro_ros.training.errors import TrainingError

__all__ = ["LifScan", "surrogate_slope"]

_LIMIT = 1 << 23
_TURN = 1 << 24


def surrogate_slope(x: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the surrogate derivative of the spike at distance `x` from the threshold.

    Parameters
    ----------
    x : tensor
        (v - threshold) / threshold.
    beta : float
        Sharpness, above 0.

    Returns
    -------
    tensor
        1 / (1 + beta abs(x))^2.
    """
    return 1.0 / (1.0 + beta * x.abs()) ** 2


@nb.njit(cache=True, nogil=True)
def _forward(a, keep_u, keep_v, threshold, bias, u, v, spikes, level, counts):  # type: ignore[no-untyped-def]
    steps, n = a.shape
    inverse = np.float32(1.0 / threshold)
    wraps = 0
    clips = 0
    for t in range(steps):
        for i in range(n):
            # Division of a non-negative product by a shift, then the sign: rounding toward zero.
            ui = u[i]
            ui = (ui * keep_u) >> 12 if ui >= 0 else -((-ui * keep_u) >> 12)
            if t > 0:
                ui += np.int64(a[t - 1, i]) << 6
            if ui > _LIMIT:
                ui -= _TURN
                wraps += 1
            elif ui <= -_LIMIT:
                ui += _TURN
                wraps += 1
            vi = v[i]
            vi = ((vi * keep_v) >> 12 if vi >= 0 else -((-vi * keep_v) >> 12)) + ui + bias[i]
            if vi > _LIMIT - 1:
                vi = _LIMIT - 1
                clips += 1
            elif vi < -(_LIMIT - 1):
                vi = -(_LIMIT - 1)
                clips += 1
            level[t, i] = np.float32(vi) * inverse
            u[i] = ui
            if vi > threshold:
                spikes[t, i] = 1.0
                v[i] = 0
            else:
                spikes[t, i] = 0.0
                v[i] = vi
    counts[0] += wraps
    counts[1] += clips


@nb.njit(cache=True, nogil=True, fastmath=True)
def _backward(grad, level, threshold, keep_u, keep_v, beta, out):  # type: ignore[no-untyped-def]
    steps, n = grad.shape
    gw = np.zeros(n, np.float32)
    gu = np.zeros(n, np.float32)
    scale = np.float32(1.0 / threshold)
    edge = np.float32((_LIMIT - 1) / threshold)
    one = np.float32(1.0)
    for t in range(steps - 1, -1, -1):
        for i in range(n):
            x = level[t, i] - one
            slope = one / (one + beta * abs(x))
            carried = keep_v * gw[i] if x <= 0.0 else np.float32(0.0)
            g = grad[t, i] * slope * slope * scale + carried
            if abs(level[t, i]) >= edge:
                g = np.float32(0.0)
            gw[i] = g
            gu[i] = g + keep_u * gu[i]
            if t > 0:
                out[t - 1, i] = np.float32(64.0) * gu[i]
    for i in range(n):
        out[steps - 1, i] = 0.0  # what arrives in the last step is seen only after it


class LifScan(torch.autograd.Function):
    """A population over all steps of a batch: ``apply(a, du, dv, vth, bias, beta, counts)``.

    Parameters
    ----------
    a : (steps, ...) float32
        Synaptic sums, whole numbers below 2^24, already shifted by the weight exponent.
    du, dv, vth : int
        Registers, as in `neuro_ros.snn.Lif`.
    bias : (neurons of one step,) int64 array or None
        Effective bias.
    beta : float
        Sharpness of the surrogate.
    counts : (2,) int64 array
        Incremented by the number of wraps of u and of clips of v.

    Returns
    -------
    (steps, ...) float32
        Spikes, 0 or 1.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        du: int,
        dv: int,
        vth: int,
        bias: np.ndarray[Any, Any] | None,
        beta: float,
        counts: np.ndarray[Any, Any],
    ) -> torch.Tensor:
        """Run the integers; see the module for the equations."""
        if vth < 1:
            raise TrainingError(f"vth is {vth}; training needs a threshold of at least 1")
        flat = a.detach().contiguous().reshape(a.shape[0], -1).numpy()
        n = flat.shape[1]
        spikes = torch.empty(flat.shape, dtype=torch.float32)
        level = torch.empty(flat.shape, dtype=torch.float32)
        offset = np.zeros(n, np.int64) if bias is None else np.resize(bias, n)
        u, v = np.zeros(n, np.int64), np.zeros(n, np.int64)
        _forward(flat, 4095 - du, 4096 - dv, vth << 6, offset, u, v, spikes.numpy(), level.numpy(), counts)
        ctx.save_for_backward(level)
        ctx.registers = (du, dv, vth, beta)
        return spikes.reshape(a.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Run time backwards; see the module for the equations."""
        (level,) = ctx.saved_tensors
        du, dv, vth, beta = ctx.registers
        grad = grads[0].contiguous().reshape(level.shape).numpy()
        out = torch.empty_like(level)
        _backward(
            grad, level.numpy(), float(vth << 6), np.float32((4095 - du) / 4096), np.float32((4096 - dv) / 4096),
            np.float32(beta), out.numpy(),
        )  # fmt: skip
        return out.reshape(grads[0].shape), None, None, None, None, None, None
