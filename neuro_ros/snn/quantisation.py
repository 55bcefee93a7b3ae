# SPDX-License-Identifier: Apache-2.0
"""The only door between physical and register values.

Outside: time constants in seconds, float weights, thresholds in the unit of the
membrane potential. Inside: decays in 1/4096 a step, even weights, mantissas. The
discretisation is that of an exponential sampled once a step::

    u <- u * exp(-step / tau_syn)     (4096 - (du + 1)) / 4096 = exp(-step / tau_syn)
    v <- v * exp(-step / tau_mem)     (4096 - dv)       / 4096 = exp(-step / tau_mem)

One weight scale a layer turns floats into integers and, with the 6 bit alignment
of the state, thresholds and biases too. Whatever is lost on the way (clipped,
rounded to zero) is counted in a report, never hidden. Delays and refractory periods
become whole steps; an axonal delay counts on top of the one step that every
connection takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError
from .limits import (
    ACCUMULATOR_LIMIT,
    ACTIVATION_SHIFT,
    BIAS_EXP_RANGE,
    BIAS_MANT_RANGE,
    DECAY_RANGE,
    DELAY_RANGE,
    REFRACTORY_RANGE,
    VTH_RANGE,
    WEIGHT_RANGE,
    weight_grid,
)

__all__ = [
    "QuantisedBias",
    "QuantisedDelays",
    "QuantisedValue",
    "QuantisedWeights",
    "choose_scale",
    "delay_steps",
    "du_from_tau",
    "dv_from_tau",
    "fit_scale",
    "largest_weight",
    "quantise_bias",
    "quantise_threshold",
    "quantise_weights",
    "refractory_steps",
    "tau_from_du",
    "tau_from_dv",
]

_UNITY = 4096  # decays are 12 bit fractions


@dataclass(frozen=True)
class QuantisedValue:
    """A register value, what it really means, and whether the register's end was hit.

    Parameters
    ----------
    register : int
    effective : float
        The physical value that the register stands for, in the unit of the input; inf = no decay at all.
    clipped : bool
    """

    register: int
    effective: float
    clipped: bool


@dataclass(frozen=True, eq=False)
class QuantisedWeights:
    """Integer weights on the grid of their width with a report of what the rounding did.

    Parameters
    ----------
    weight : int16, shape of the input; for 8 bit mixed-sign weights even, within -256..254
    scale : float
        Register units a physical unit: weight / scale is what the float became.
    zeroed : int
        Weights that were not zero and are now.
    clipped : int
        Weights beyond the grid, of the wrong sign included.
    largest_error : float
        Physical units, clipped weights included.
    """

    weight: NDArray[np.int16]
    scale: float
    zeroed: int
    clipped: int
    largest_error: float


@dataclass(frozen=True, eq=False)
class QuantisedBias:
    """Bias mantissas with their shared exponent; `clipped` counts those beyond the register."""

    mantissa: NDArray[np.int16]
    exponent: int
    clipped: int


@dataclass(frozen=True, eq=False)
class QuantisedDelays:
    """Axonal delays in steps, how many hit the register's end, and the largest error in seconds (those included)."""

    steps: NDArray[np.uint8]
    clipped: int
    largest_error_s: float


def _require_positive(what: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise NetworkError(f"{what} is {value}; it must be positive and finite")


def _decay(what: str, tau_s: float, step_s: float, offset: int) -> QuantisedValue:
    if math.isnan(tau_s) or tau_s < 0.0:
        raise NetworkError(f"{what} is {tau_s} s; it must be at least 0 (0 = forgets in one step, inf = never)")
    _require_positive("step_s", step_s)
    lost = -math.expm1(-step_s / tau_s) if tau_s > 0.0 else 1.0
    wanted = round(_UNITY * lost) - offset
    register = min(max(wanted, DECAY_RANGE[0]), DECAY_RANGE[1])
    return QuantisedValue(register, _tau(register, step_s, offset), register != wanted)


def _tau(register: int, step_s: float, offset: int) -> float:
    kept = (_UNITY - register - offset) / _UNITY
    if kept <= 0.0:
        return 0.0
    return math.inf if kept >= 1.0 else -step_s / math.log(kept)


def du_from_tau(tau_syn_s: float, step_s: float) -> QuantisedValue:
    """Return the current decay for a synaptic time constant [s] at `step_s` [s] a step.

    The hardware adds 1 to `du`, so even 0 decays: tau_syn cannot exceed about 4096 steps.

    Raises
    ------
    NetworkError
        When the time constant is negative or NaN, or the step is not positive.
    """
    return _decay("tau_syn", tau_syn_s, step_s, 1)


def dv_from_tau(tau_mem_s: float, step_s: float) -> QuantisedValue:
    """Return the voltage decay for a membrane time constant [s]; inf gives 0, an integrator.

    Raises
    ------
    NetworkError
        When the time constant is negative or NaN, or the step is not positive.
    """
    return _decay("tau_mem", tau_mem_s, step_s, 0)


def tau_from_du(du: int, step_s: float) -> float:
    """Return the synaptic time constant [s] that `du` stands for; 0 = forgets in one step."""
    return _tau(du, step_s, 1)


def tau_from_dv(dv: int, step_s: float) -> float:
    """Return the membrane time constant [s] that `dv` stands for; inf = an integrator."""
    return _tau(dv, step_s, 0)


def refractory_steps(refractory_s: float, step_s: float) -> QuantisedValue:
    """Return the refractory period in whole steps; its effective value is in seconds.

    Raises
    ------
    NetworkError
        When the period is negative or not finite, or the step is not positive.
    """
    _require_positive("step_s", step_s)
    if not 0.0 <= refractory_s < math.inf:
        raise NetworkError(f"the refractory period is {refractory_s} s; it must be at least 0 and finite")
    wanted = round(refractory_s / step_s)
    register = min(wanted, REFRACTORY_RANGE[1])
    return QuantisedValue(register, register * step_s, register != wanted)


def delay_steps(delay_s: Any, step_s: float) -> QuantisedDelays:
    """Return axonal delays in whole steps, halves to the even one.

    Parameters
    ----------
    delay_s : float or array of float
        Beyond the one step that every connection takes.
    step_s : float

    Raises
    ------
    NetworkError
        When a delay is negative or not finite, or the step is not positive.
    """
    _require_positive("step_s", step_s)
    values = _finite("delay", delay_s)
    if values.size and values.min() < 0.0:
        raise NetworkError(f"a delay is {values.min()} s; it must be at least 0")
    wanted = np.rint(values / step_s)
    steps = np.minimum(wanted, DELAY_RANGE[1])
    error_s = float(np.abs(steps * step_s - values).max(initial=0.0))
    return QuantisedDelays(steps.astype(np.uint8), int(np.count_nonzero(steps != wanted)), error_s)


def largest_weight(fan_in: int, weight_exp: int = 0) -> int:
    """Return the largest even max abs w that keeps fan-in x max abs w << weight_exp << 6 within 2^24.

    Raises
    ------
    NetworkError
        When not even 2 does.
    """
    bound = ACCUMULATOR_LIMIT >> ACTIVATION_SHIFT
    scaled = bound >> weight_exp if weight_exp >= 0 else bound << -weight_exp
    largest = min(scaled // fan_in, -WEIGHT_RANGE[0]) & ~1
    if largest < 2:
        raise NetworkError(
            f"a fan-in of {fan_in} with weight_exp {weight_exp} exceeds the accumulator "
            "with any weight; lower one of them"
        )
    return largest


def choose_scale(weight: NDArray[Any], fan_in: int, weight_exp: int = 0) -> float:
    """Return the largest scale with which no weight is clipped and the accumulator bound holds.

    All-zero weights give 1.

    Raises
    ------
    NetworkError
        When a weight is not finite, or the fan-in is too large for any weight.
    """
    values = _finite("weight", weight)
    peak = float(np.abs(values).max(initial=0.0))
    return min(largest_weight(fan_in, weight_exp), WEIGHT_RANGE[1]) / peak if peak > 0.0 else 1.0


def fit_scale(
    weight: NDArray[Any], weight_exp: int = 0, payload: int = 1, weight_bits: int = 8, sign_mode: str = "mixed"
) -> float:
    """Return about the largest scale with which no weight is clipped and the accumulator bound holds.

    Unlike `choose_scale` it looks at the sum of same-sign weights of each target, which is what a network is
    checked against, so that the grid is used better wherever weights differ in size. Weights of a sign that the
    grid does not have (none are positive at 1 bit mixed) are left out; `quantise_weights` counts them as clipped.

    Parameters
    ----------
    weight : (targets, ...) float
        All that reaches one target, or one output channel, in a row.
    weight_exp : int
    payload : int
        Greatest value that a source carries.
    weight_bits, sign_mode
        Width of the grid.

    Raises
    ------
    NetworkError
        When a weight is not finite, or no scale leaves any weight but zero.
    """
    rows = _finite("weight", weight)
    rows = rows.reshape(rows.shape[0], -1)
    lowest, highest, step = weight_grid(weight_bits, sign_mode)
    bound = (ACCUMULATOR_LIMIT >> ACTIVATION_SHIFT) / (payload * 2.0**weight_exp)
    limits = []
    for sign, end in ((1, highest), (-1, -lowest)):
        own = np.maximum(sign * rows, 0.0)
        peak, total = float(own.max(initial=0.0)), float(own.sum(axis=1).max(initial=0.0))
        if peak > 0.0 and end > 0:
            limits += [end / peak, bound / total]
    scale = min(limits, default=1.0)
    while limits:  # rounding up may lead beyond the bound; each turn takes at least a thousandth off
        grid = step * np.rint(np.clip(rows * (scale / step), lowest / step, highest / step))
        worst = max(-np.minimum(grid, 0.0).sum(axis=1).min(), np.maximum(grid, 0.0).sum(axis=1).max())
        if worst == 0.0:
            raise NetworkError(
                f"no scale fits {rows.shape[1]} weights a target into the accumulator with weight_exp {weight_exp}; "
                "lower weight_exp or the fan-in"
            )
        if worst <= bound:
            break
        scale *= min(bound / worst, 0.999)
    return scale


def _finite(what: str, value: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(value, np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise NetworkError(f"{what} has {bad} values that are not finite; the training diverged")
    return values


def quantise_weights(
    weight: NDArray[Any], scale: float, weight_bits: int = 8, sign_mode: str = "mixed"
) -> QuantisedWeights:
    """Round float weights to the grid of a width; halves go to the even neighbour of the grid.

    Parameters
    ----------
    weight : array of float
    scale : float
        Register units a physical unit, from `choose_scale`, `fit_scale` or from training.
    weight_bits, sign_mode
        Width of the grid, see `neuro_ros.snn.limits.weight_grid`.

    Raises
    ------
    NetworkError
        When a weight is not finite, the scale is not positive, or there is no such width.
    """
    _require_positive("scale", scale)
    lowest, highest, step = weight_grid(weight_bits, sign_mode)
    values = _finite("weight", weight)
    grid = step * np.rint(values * (scale / step))
    limited = np.clip(grid, lowest, highest)
    integers = limited.astype(np.int16)
    error = float(np.abs(integers / scale - values).max(initial=0.0))
    return QuantisedWeights(
        integers,
        scale,
        int(np.count_nonzero((integers == 0) & (values != 0.0))),
        int(np.count_nonzero(limited != grid)),
        error,
    )


def quantise_threshold(v_threshold: float, scale: float, weight_exp: int = 0) -> QuantisedValue:
    """Return vth for a threshold in the unit of weight sums.

    Input and threshold are both aligned by 6 bits, so vth = v_threshold * scale << weight_exp.

    Raises
    ------
    NetworkError
        When the threshold is negative or not finite.
    """
    _require_positive("scale", scale)
    if not 0.0 <= v_threshold < math.inf:
        raise NetworkError(f"v_threshold is {v_threshold}; it must be at least 0 and finite")
    unit = scale * 2.0**weight_exp
    wanted = round(v_threshold * unit)
    register = min(max(wanted, VTH_RANGE[0]), VTH_RANGE[1])
    return QuantisedValue(register, register / unit, register != wanted)


def quantise_bias(bias: NDArray[Any], scale: float, weight_exp: int = 0) -> QuantisedBias:
    """Return mantissas and the smallest exponent that holds them all; the bias is not aligned by 6 bits.

    Raises
    ------
    NetworkError
        When a bias is not finite or the scale is not positive.
    """
    _require_positive("scale", scale)
    wanted = _finite("bias", bias) * (scale * 2.0**weight_exp * (1 << ACTIVATION_SHIFT))
    mantissa = np.rint(wanted)
    exponent = BIAS_EXP_RANGE[0]
    while exponent < BIAS_EXP_RANGE[1] and (
        mantissa.size and (mantissa.min() < BIAS_MANT_RANGE[0] or mantissa.max() > BIAS_MANT_RANGE[1])
    ):
        exponent += 1
        mantissa = np.rint(wanted / (1 << exponent))
    limited = np.clip(mantissa, *BIAS_MANT_RANGE)
    return QuantisedBias(limited.astype(np.int16), exponent, int(np.count_nonzero(limited != mantissa)))
