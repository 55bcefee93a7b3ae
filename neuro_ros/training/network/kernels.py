# SPDX-License-Identifier: Apache-2.0
"""The compiled loops of `neuro_ros.training.network.neuron`: neurons of all samples in one row, begin..end a call.

What the plain case costs is memory traffic, so it has loops of its own; `advance_any` and `retreat` know everything.
The state is held in float64: products stay below 2^36 and the factors are multiples of 1 / 4096, so that every value
is exact, and the compiler has vector instructions for all of it, which it lacks for products of 64-bit integers.
"""

from __future__ import annotations

from typing import no_type_check

import numba as nb
import numpy as np

__all__ = ["CHUNK", "LIMIT", "advance", "advance_any", "retreat", "retreat_plain"]

LIMIT = 1 << 23
CHUNK = 4096  # neurons that go through all steps together: their state stays in the second cache
_TURN = 1 << 24


@nb.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def advance(begin, end, a, first, keep_u, keep_v, threshold, bias, u, v, spikes, level, counts):
    """Advance neurons in the engine's integers; `first` arrives in the first step, ``a[t]`` in step t + 1."""
    steps = a.shape[0]
    inverse = np.float32(1.0 / threshold)
    limit = np.float64(LIMIT)
    highest = np.float64(LIMIT - 1)
    turn = np.float64(_TURN)
    ku = keep_u / 4096.0
    kv = keep_v / 4096.0
    firing = np.float64(threshold)
    wraps = 0
    clips = 0
    for low in range(begin, end, CHUNK):
        high = min(low + CHUNK, end)
        n = high - low
        us, vs, bs = u[low:high], v[low:high], bias[low:high]
        for t in range(steps):
            # Several short loops: in one, the compiler gives up on telling so many arrays apart.
            sums = a[t - 1, low:high] if t > 0 else first[low:high]
            for i in range(n):
                us[i] = np.float64(np.int32(us[i] * ku)) + 64.0 * np.float64(sums[i])
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


@nb.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def advance_any(
    begin, end, a, first, keep_u, keep_v, threshold, bias, u, v, resting, refractory, reset, exact, edge, spikes, level,
    counts,
):  # fmt: skip
    """Advance neurons with a refractory time, a reset value, or (not `exact`) without rounding, wrap and clipping.

    The level of a resting neuron is `edge`, which lets no gradient pass, as v is constant there.
    """
    highest = np.float64(LIMIT - 1)
    ku = keep_u / 4096.0
    kv = keep_v / 4096.0
    for t in range(a.shape[0]):
        for i in range(begin, end):
            arriving = np.float64(a[t - 1, i] if t > 0 else first[i])
            ui = u[i] * ku
            vi = v[i] * kv
            if exact:
                ui = np.trunc(ui)
                vi = np.trunc(vi)
            ui += 64.0 * arriving
            if exact and (ui > LIMIT or ui <= -LIMIT):
                ui += -_TURN if ui > 0.0 else _TURN
                counts[0] += 1
            u[i] = ui
            if resting[i] > 0:
                resting[i] -= 1
                spikes[t, i] = 0.0
                level[t, i] = edge
                continue
            vi += ui + bias[i]
            if exact and abs(vi) > highest:
                vi = highest if vi > 0.0 else -highest
                counts[1] += 1
            level[t, i] = np.float32(vi) * np.float32(1.0 / threshold)
            if vi > threshold:
                spikes[t, i] = 1.0
                v[i] = reset
                resting[i] = refractory
            else:
                spikes[t, i] = 0.0
                v[i] = vi


@nb.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def retreat_plain(begin, end, grad, level, threshold, keep_u, keep_v, beta, out):
    """Run time backwards for the fast sigmoid; `out` is the gradient of `a`."""
    steps = grad.shape[0]
    n = end - begin
    gw = np.zeros(n, np.float32)
    gu = np.zeros(n, np.float32)
    scale = np.float32(1.0 / threshold)
    edge = np.float32((LIMIT - 1) / threshold)
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


@nb.njit(cache=True, nogil=True)
@no_type_check
def retreat(
    begin, end, grad, level, threshold, keep_u, keep_v, beta, kind, edge, gw, gu, of_bias, of_reset, out
):  # fmt: skip
    """Run time backwards from the carries `gw` and `gu`; ``out[t]`` is the gradient of what arrives in step t.

    Parameters
    ----------
    kind : int
        Place in `neuro_ros.training.network.surrogate.SURROGATES`.
    of_bias, of_reset : (n,) float64
        Incremented by the gradients of each neuron's bias and reset value.
    """
    scale = np.float32(1.0 / threshold)
    one = np.float32(1.0)
    for t in range(grad.shape[0] - 1, -1, -1):
        for i in range(begin, end):
            x = level[t, i] - one
            distance = beta * abs(x)
            if kind == 0:
                slope = one / ((one + distance) * (one + distance))
            elif kind == 1:
                slope = one / (one + distance * distance)
            else:
                slope = max(one - distance, np.float32(0.0))
            carried = np.float32(0.0)
            if x <= 0.0:
                carried = keep_v * gw[i]
            elif level[t, i] < edge:
                of_reset[i] += keep_v * gw[i]
            g = grad[t, i] * slope * scale + carried
            if abs(level[t, i]) >= edge:
                g = np.float32(0.0)
            gw[i] = g
            gu[i] = g + keep_u * gu[i]
            of_bias[i] += g
            out[t, i] = np.float32(64.0) * gu[i]
