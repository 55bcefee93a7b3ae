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

from typing import Any, no_type_check

import numba as nb
import numpy as np
import torch

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.threads import over_chunks

__all__ = ["LifScan", "surrogate_slope"]

_LIMIT = 1 << 23
_TURN = 1 << 24
_CHUNK = 4096  # neurons that go through all steps together: their state stays in the second cache


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


@nb.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _forward(begin, end, a, keep_u, keep_v, threshold, bias, u, v, spikes, level, counts):
    """Advance neurons begin..end over all steps.

    The state is held in float64 and truncated through int32: products stay below 2^36 and the factors are multiples
    of 1 / 4096, so that every value is exact, and the compiler has vector instructions for all of it, which it lacks
    for products of 64-bit integers.
    """
    steps = a.shape[0]
    inverse = np.float32(1.0 / threshold)
    limit = np.float64(_LIMIT)
    highest = np.float64(_LIMIT - 1)
    turn = np.float64(_TURN)
    ku = keep_u / 4096.0
    kv = keep_v / 4096.0
    firing = np.float64(threshold)
    wraps = 0
    clips = 0
    for low in range(begin, end, _CHUNK):
        high = min(low + _CHUNK, end)
        n = high - low
        us, vs, bs = u[low:high], v[low:high], bias[low:high]
        for t in range(steps):
            # Three short loops: in one, the compiler gives up on telling so many arrays apart.
            if t > 0:
                sums = a[t - 1, low:high]
                for i in range(n):
                    us[i] = np.float64(np.int32(us[i] * ku)) + 64.0 * np.float64(sums[i])
            else:
                for i in range(n):
                    us[i] = np.float64(np.int32(us[i] * ku))
            found = 0
            for i in range(n):
                x = us[i]
                found += 1 if (x > limit) | (x <= -limit) else 0
            if found:
                wraps += found
                for i in range(n):
                    x = us[i]
                    us[i] = x - turn if x > limit else (x + turn if x <= -limit else x)
            found = 0
            for i in range(n):
                x = np.float64(np.int32(vs[i] * kv)) + us[i] + bs[i]
                found += 1 if (x > highest) | (x < -highest) else 0
                vs[i] = min(max(x, -highest), highest)
            clips += found
            levels, fired = level[t, low:high], spikes[t, low:high]
            for i in range(n):
                x = vs[i]
                levels[i] = np.float32(x) * inverse
                fired[i] = np.float32(1.0) if x > firing else np.float32(0.0)
            for i in range(n):
                x = vs[i]
                vs[i] = 0.0 if x > firing else x
    counts[0] = wraps
    counts[1] = clips


@nb.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _backward(begin, end, grad, level, threshold, keep_u, keep_v, beta, out):
    steps = grad.shape[0]
    n = end - begin
    gw = np.zeros(n, np.float32)
    gu = np.zeros(n, np.float32)
    scale = np.float32(1.0 / threshold)
    edge = np.float32((_LIMIT - 1) / threshold)
    one = np.float32(1.0)
    for t in range(steps - 1, -1, -1):
        grads, levels, outs = grad[t, begin:end], level[t, begin:end], out[max(t - 1, 0), begin:end]
        for i in range(n):
            x = levels[i] - one
            slope = one / (one + beta * abs(x))
            carried = keep_v * gw[i] if x <= 0.0 else np.float32(0.0)
            g = grads[i] * slope * slope * scale + carried
            if abs(levels[i]) >= edge:
                g = np.float32(0.0)
            gw[i] = g
            gu[i] = g + keep_u * gu[i]
            if t > 0:
                outs[i] = np.float32(64.0) * gu[i]
    out[steps - 1, begin:end] = 0.0  # what arrives in the last step is seen only after it


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
        offset = np.zeros(n) if bias is None else np.resize(bias, n).astype(np.float64)
        u, v = np.zeros(n), np.zeros(n)
        spikes_out, level_out = spikes.numpy(), level.numpy()
        found: list[np.ndarray[Any, Any]] = []

        def run(begin: int, end: int) -> None:
            mine = np.zeros(2, np.int64)
            _forward(begin, end, flat, 4095 - du, 4096 - dv, vth << 6, offset, u, v, spikes_out, level_out, mine)
            found.append(mine)

        over_chunks(run, n, _CHUNK)
        counts += np.sum(found, axis=0)
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
        flat, out_flat = level.numpy(), out.numpy()
        keep_u, keep_v = np.float32((4095 - du) / 4096), np.float32((4096 - dv) / 4096)

        def run(begin: int, end: int) -> None:
            _backward(begin, end, grad, flat, float(vth << 6), keep_u, keep_v, np.float32(beta), out_flat)

        over_chunks(run, flat.shape[1], _CHUNK)
        return out.reshape(grads[0].shape), None, None, None, None, None, None
