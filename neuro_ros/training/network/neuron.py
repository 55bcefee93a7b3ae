# SPDX-License-Identifier: Apache-2.0
"""Current-based leaky integrate-and-fire neurons over time, forward in the engine's integers.

Forward, per neuron and step t, with the synaptic sum a of the step before (one step of delay per connection)::

    u_t = trunc(u_{t-1} (4096 - (du + 1)) / 4096) + (a_{t-1} << 6)      one subtraction of 2^24 outside 24 bits
    w_t = trunc(v_{t-1} (4096 - dv) / 4096) + u_t + bias                clipped to +-(2^23 - 1)
    s_t = w_t > (vth << 6)
    v_t = 0 where s_t, else w_t

and v frozen at 0 for `refractory` steps after a spike. Backward, the roundings, the wrap and the reset are taken as
constant (straight through), the step as a slope g of `neuro_ros.training.network.surrogate` at
``x = w_t / (vth << 6) - 1``. With ``G_t`` the gradient arriving at s_t::

    gw_t = G_t g(x_t) / (vth << 6) + (1 - s_t) k_v gw_{t+1}      zero where w_t was clipped or the neuron rests
    gu_t = gw_t + k_u gu_{t+1}
    ga_{t-1} = 64 gu_t

``arithmetic="float"`` leaves out trunc, wrap and clipping: the network that the integers stand for, for comparing.
A learnable reset value in place of the 0 is for research; no engine has it. On the CPU the loops are numba, on other
devices torch (`neuro_ros.training.network.torch_neuron`): the same spikes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.kernels import CHUNK, LIMIT, advance, advance_any, retreat, retreat_plain
from neuro_ros.training.network.surrogate import surrogate_kind, surrogate_slope
from neuro_ros.training.network.threads import over_chunks

__all__ = ["ARITHMETICS", "LifState", "Neuron", "scan", "surrogate_slope"]

ARITHMETICS = ("integer", "float")
_NO_EDGE = float(np.float32(3e38))  # of a level: in floating point nothing is clipped


@dataclass(frozen=True)
class Neuron:
    """What a population computes.

    Attributes
    ----------
    du, dv, vth, refractory : int
        Registers, as in `neuro_ros.snn.Lif`; training needs a threshold of at least 1.
    beta : float
        Sharpness of the surrogate, above 0.
    surrogate : str
        One of `neuro_ros.training.network.surrogate.SURROGATES`.
    arithmetic : str
        ``integer`` or ``float``.
    """

    du: int
    dv: int
    vth: int
    refractory: int = 0
    beta: float = 4.0
    surrogate: str = "fast_sigmoid"
    arithmetic: str = "integer"

    def __post_init__(self) -> None:
        if self.vth < 1:
            raise TrainingError(f"vth is {self.vth}; training needs a threshold of at least 1")
        if self.arithmetic not in ARITHMETICS:
            raise TrainingError(f"arithmetic is {self.arithmetic!r}; known are {', '.join(ARITHMETICS)}")
        surrogate_kind(self.surrogate)

    @property
    def threshold(self) -> int:
        """What v is compared with."""
        return self.vth << 6

    @property
    def edge(self) -> float:
        """The level at and beyond which v was clipped."""
        return float(np.float32((LIMIT - 1) / self.threshold)) if self.arithmetic == "integer" else _NO_EDGE

    @property
    def keep_u(self) -> np.float32:
        """Share of u that a step keeps."""
        return np.float32((4095 - self.du) / 4096)

    @property
    def keep_v(self) -> np.float32:
        """Share of v that a step keeps."""
        return np.float32((4096 - self.dv) / 4096)


@dataclass(frozen=True, eq=False)
class LifState:
    """A population of every sample between two chunks of time; never part of a graph.

    Attributes
    ----------
    u, v : (batch, cells) float64
        Whole numbers in integer arithmetic.
    pending : (1 + delay, batch, cells) float32
        Sums in flight, the next to arrive first.
    resting : (batch, cells) int32
        Steps that each neuron still rests.
    heard : (delay, batch, c, h, w) float32, optional
        The last spikes of the sources, where their channels are delayed by different times.
    """

    u: torch.Tensor
    v: torch.Tensor
    pending: torch.Tensor
    resting: torch.Tensor
    heard: torch.Tensor | None = None

    @classmethod
    def at_rest(cls, batch: int, cells: int, delay: int = 0, device: torch.device | None = None) -> LifState:
        """Return the state of a population that has seen nothing."""
        zeros = torch.zeros(batch, cells, dtype=torch.float64, device=device)
        pending = torch.zeros(1 + delay, batch, cells, device=device)
        return cls(zeros, zeros.clone(), pending, torch.zeros(batch, cells, dtype=torch.int32, device=device))

    def where(self, kept: torch.Tensor) -> LifState:
        """Return the state with the samples outside the (batch,) mask `kept` put to rest."""
        mask = ~kept[:, None]
        heard = None if self.heard is None else self.heard.masked_fill(mask[..., None, None], 0)
        u, v, pending, resting = (x.masked_fill(mask, 0) for x in (self.u, self.v, self.pending, self.resting))
        return LifState(u, v, pending, resting, heard)


class _Scan(torch.autograd.Function):
    """A population over some steps, in numba; see `scan`. Also returns u, v and the resting counters after them."""

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        bias: torch.Tensor | None,
        reset: torch.Tensor | None,
        neuron: Neuron,
        state: LifState | None,
        counts: np.ndarray[Any, Any],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the integers; see the module for the equations."""
        steps, batch = a.shape[:2]
        flat = a.detach().reshape(steps, -1).contiguous().numpy()
        n = flat.shape[1]
        spikes, level = torch.empty(flat.shape), torch.empty(flat.shape)
        offset = np.zeros(n) if bias is None else np.resize(bias.detach().numpy().astype(np.float64), n)
        state = LifState.at_rest(batch, n // batch) if state is None else state
        u, v, resting = (x.clone().reshape(-1) for x in (state.u, state.v, state.resting))
        first = state.pending[0].reshape(-1).contiguous()
        target = 0.0 if reset is None else float(reset.detach())
        plain = neuron.arithmetic == "integer" and neuron.refractory == 0 and reset is None
        arrays = [x.numpy() for x in (first, u, v, resting, spikes, level)]
        found: list[np.ndarray[Any, Any]] = []

        def run(begin: int, end: int) -> None:
            first, u, v, resting, spikes, level = arrays
            mine = np.zeros(2, np.int64)
            registers = (4095 - neuron.du, 4096 - neuron.dv, neuron.threshold)
            if plain:
                advance(begin, end, flat, first, *registers, offset, u, v, spikes, level, mine)
            else:
                advance_any(
                    begin, end, flat, first, *registers, offset, u, v, resting, neuron.refractory, target,
                    neuron.arithmetic == "integer", np.float32(neuron.edge), spikes, level, mine,
                )  # fmt: skip
            found.append(mine)

        over_chunks(run, n, CHUNK)
        counts += np.sum(found, axis=0)
        ctx.save_for_backward(level)
        ctx.neuron, ctx.shape = neuron, a.shape
        u, v, resting = (x.reshape(batch, -1) for x in (u, v, resting))
        ctx.mark_non_differentiable(u, v, resting)
        return spikes.reshape(a.shape), u, v, resting

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Run time backwards; see the module for the equations."""
        (level,) = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        batch = ctx.shape[1]
        grad = grads[0].contiguous().reshape(level.shape).numpy()
        steps, n = level.shape
        flat, beta = level.numpy(), np.float32(neuron.beta)
        threshold = float(neuron.threshold)
        plain = neuron.surrogate == "fast_sigmoid" and neuron.arithmetic == "integer" and neuron.refractory == 0
        if plain and not any(ctx.needs_input_grad[1:3]):
            out = torch.empty_like(level)
            out_flat = out.numpy()

            def run_plain(begin: int, end: int) -> None:
                retreat_plain(begin, end, grad, flat, threshold, neuron.keep_u, neuron.keep_v, beta, out_flat)

            over_chunks(run_plain, n, CHUNK)
            return out.reshape(ctx.shape), None, None, None, None, None
        arriving = np.empty((steps + 1, n), np.float32)  # row t: the gradient of what arrives in step t
        arriving[steps] = 0.0  # what arrives after the last step is not seen
        gw, gu = np.zeros(n, np.float32), np.zeros(n, np.float32)
        of_bias, of_reset = np.zeros(n), np.zeros(n)
        kind = surrogate_kind(neuron.surrogate)

        def run(begin: int, end: int) -> None:
            retreat(
                begin, end, grad, flat, threshold, neuron.keep_u, neuron.keep_v, beta, kind, np.float32(neuron.edge),
                gw, gu, of_bias, of_reset, arriving,
            )  # fmt: skip

        over_chunks(run, n, CHUNK)
        bias_grad = torch.from_numpy(of_bias.reshape(batch, -1).sum(0)).float() if ctx.needs_input_grad[1] else None
        reset_grad = torch.tensor(of_reset.sum(), dtype=torch.float32) if ctx.needs_input_grad[2] else None
        return torch.from_numpy(arriving[1:]).reshape(ctx.shape), bias_grad, reset_grad, None, None, None


def delayed(a: torch.Tensor, state: LifState) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums as late as the state's delay makes them, and what is in flight after them."""
    steps = a.shape[0]
    delay = state.pending.shape[0] - 1
    if steps > delay:
        flight = a.detach()[steps - 1 - delay :].flatten(2).clone()
    else:
        flight = torch.cat([state.pending[steps:], a.detach().flatten(2)])
    if delay == 0:
        return a, flight
    return torch.cat([state.pending[1:].reshape(delay, *a.shape[1:]), a])[:steps], flight


def scan(
    a: torch.Tensor,
    neuron: Neuron,
    counts: np.ndarray[Any, Any],
    bias: torch.Tensor | None = None,
    state: LifState | None = None,
    reset: torch.Tensor | None = None,
) -> tuple[torch.Tensor, LifState]:
    """Run a population over the steps of a batch.

    Parameters
    ----------
    a : (steps, batch, ...) float32
        Synaptic sums, whole numbers below 2^24 in integer arithmetic, shifted by the weight exponent.
    neuron : Neuron
        Registers and surrogate.
    counts : (2,) int64 array
        Incremented by the number of wraps of u and of clips of v.
    bias : (cells,) tensor, optional
        Effective bias of the neurons of one sample.
    state : LifState, optional
        Where the batch stands; by default at rest. Not changed.
    reset : scalar tensor, optional
        v after a spike, below the threshold; by default 0, which is what engines have.

    Returns
    -------
    spikes : (steps, batch, ...) float32
        0 or 1.
    state : LifState
        After the last step.

    Raises
    ------
    TrainingError
        If the state is one of another batch, or a reset value meets a refractory time.
    """
    if reset is not None and neuron.refractory:
        raise TrainingError("a learnable reset and a refractory time exclude each other: v rests at 0")
    batch, cells = a.shape[1], a[0, 0].numel()
    state = LifState.at_rest(batch, cells, device=a.device) if state is None else state
    if state.u.shape != (batch, cells):
        raise TrainingError(f"the state is one of {tuple(state.u.shape)} neurons, the batch has {(batch, cells)}")
    late, flight = delayed(a, state)
    if a.device.type == "cpu":
        spikes, u, v, resting = _Scan.apply(late, bias, reset, neuron, state, counts)
    else:
        from neuro_ros.training.network.torch_neuron import torch_scan

        spikes, u, v, resting = torch_scan(late, bias, reset, neuron, state, counts)
    return spikes, replace(state, u=u, v=v, pending=flight, resting=resting)
