# SPDX-License-Identifier: Apache-2.0
"""The way of a floating point network through the door: every value becomes a register, and a line of the report.

One scale a layer is chosen so that weights, threshold and biases fit and the sum of
same-sign weights of a target stays within the accumulator. Thresholds that differ
between neurons are made one by scaling what feeds each of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neuro_ros.snn import quantisation as q
from neuro_ros.snn.limits import (
    ACCUMULATOR_LIMIT,
    ACTIVATION_SHIFT,
    BIAS_EXP_RANGE,
    BIAS_MANT_RANGE,
    REFRACTORY_RANGE,
    VTH_RANGE,
    Shape,
)
from neuro_ros.snn.network import Layer, Lif, Network

from .base import ExchangeError, noting, refuse_all
from .kinds import Grid, QuantisedProjection
from .linear import ConvMap, Floats, LinearMap
from .physical import FloatLayer, FloatNetwork, FloatProjection, Hints, uniform
from .report import Change, LayerReport, ProjectionReport

__all__ = ["quantise"]


def _common_threshold(layer: FloatLayer) -> tuple[float, Floats | None]:
    """Return one threshold and the factor a neuron (c, h, w) that makes it everybody's; None where it is already."""
    threshold = uniform(layer.threshold)
    if threshold is not None:
        return threshold, None
    values = np.broadcast_to(np.asarray(layer.threshold, np.float64), layer.shape)
    if values.min() <= 0.0:
        raise ExchangeError(
            f"layer '{layer.name}': thresholds from {values.min():g} to {values.max():g}; 0 has no scale"
        )
    common = float(np.median(values))
    return common, common / values


def _rescaled(layer: FloatLayer, linear: LinearMap, factor: Floats | None) -> LinearMap:
    """Return a map with its outputs multiplied by a factor a neuron."""
    if factor is None:
        return linear
    if isinstance(linear, ConvMap):
        planes = factor.reshape(factor.shape[0], -1)
        if not np.allclose(planes, planes[:, :1], rtol=1e-6):
            raise ExchangeError(f"layer '{layer.name}': thresholds differ within a channel of a convolution")
        return linear.scaled(factor[:, :1, :1])
    return linear.scaled(factor.reshape(-1, 1, 1))


def _choose_scale(linears: Sequence[LinearMap], threshold: float, bias: Floats) -> float:
    """Return the largest scale that clips neither weights nor threshold nor bias and keeps the accumulator bound."""
    # a pool's row has as many taps as its window; rows are output channels, as in the bound of the description
    rows = np.hstack([linear.weight.reshape(len(linear.weight), -1) for linear in linears])
    scale = q.fit_scale(rows) if rows.any() else math.inf
    if threshold > 0.0:
        scale = min(scale, VTH_RANGE[1] / threshold)
    peak = float(np.abs(bias).max(initial=0.0))
    if peak > 0.0:
        scale = min(scale, (BIAS_MANT_RANGE[1] << BIAS_EXP_RANGE[1]) / (64.0 * peak))
    return scale if math.isfinite(scale) else 1.0


def _quantise_projection(
    projection: FloatProjection, linear: LinearMap, scale: float, weight_exp: int, grid: Grid
) -> tuple[QuantisedProjection, ProjectionReport]:
    weights = linear.weight
    result = q.quantise_weights(weights, scale, grid.weight_bits, grid.sign_mode)
    mean_square = float(np.mean(weights**2))
    error = float(np.mean((result.weight / scale - weights) ** 2))
    delays = q.delay_steps(projection.delays, 1.0)
    made = QuantisedProjection(linear, result.weight, weight_exp, grid, projection.source, delays.steps)
    stored = 1 if isinstance(linear, ConvMap) and linear.is_pool else weights.size
    report = ProjectionReport(
        projection.source,
        made.connection().kind,
        stored,
        math.sqrt(error / mean_square) if mean_square > 0.0 else 0.0,
        min(result.zeroed, stored),
        min(result.clipped, stored),
        int(delays.steps.max()),
        delays.clipped,
        delays.largest_error_s,
    )
    return made, report


def _smallest(bias: Floats, shape: Shape) -> Floats:
    """Return a bias as one number, one a channel (c,), or one a neuron (c, h, w), whatever is enough."""
    full = np.broadcast_to(bias, shape)
    if (full == full.flat[0]).all():
        return np.asarray(full.flat[0])
    if (full == full[:, :1, :1]).all():
        return np.ascontiguousarray(full[:, 0, 0])
    return full


def _as_hinted(bias: q.QuantisedBias, hints: Hints, shape: Shape) -> q.QuantisedBias:
    """Return the same biases with the exponent and the rank of a file of ours, where that loses nothing."""
    mantissa = np.asarray(bias.mantissa, np.int64)
    effective = np.broadcast_to(mantissa[:, None, None] if mantissa.ndim == 1 else mantissa, shape) << bias.exponent
    shifted = effective >> hints.bias_exp
    fits = BIAS_MANT_RANGE[0] <= shifted.min() and shifted.max() <= BIAS_MANT_RANGE[1]
    if not fits or (shifted << hints.bias_exp != effective).any():
        return bias
    if hints.bias_ndim == 0 and (shifted == shifted.flat[0]).all():
        return replace(bias, mantissa=np.asarray(shifted.flat[0], np.int16), exponent=hints.bias_exp)
    if hints.bias_ndim == 1 and (shifted == shifted[:, :1, :1]).all():
        return replace(bias, mantissa=shifted[:, 0, 0].astype(np.int16), exponent=hints.bias_exp)
    return replace(bias, mantissa=shifted.astype(np.int16), exponent=hints.bias_exp) if hints.bias_ndim == 3 else bias


def _usable(hints: Hints | None, linears: Sequence[LinearMap], threshold: float) -> Hints | None:
    """Return the hints where they clip no weight and no threshold, and keep the accumulator bound."""
    if hints is None or not len(hints.weight_exps) == len(hints.grids) == len(linears):
        return None
    lowest = highest = np.zeros(1)
    for linear, exponent, grid in zip(linears, hints.weight_exps, hints.grids, strict=True):
        scale = hints.scale * 2.0 ** (hints.weight_exps[0] - exponent)
        result = q.quantise_weights(linear.weight, scale, grid.weight_bits, grid.sign_mode)
        if result.clipped:
            return None
        rows = result.weight.reshape(len(result.weight), -1) * 2.0**exponent
        lowest = lowest + np.minimum(rows, 0.0).sum(axis=1)
        highest = highest + np.maximum(rows, 0.0).sum(axis=1)
    if max(-float(lowest.min()), float(highest.max())) > ACCUMULATOR_LIMIT >> ACTIVATION_SHIFT:
        return None
    return None if q.quantise_threshold(threshold, hints.scale, hints.weight_exps[0]).clipped else hints


def _tau(kept: float, step_s: float, discretisation: str) -> float:
    """Return the time constant that leaves `kept` after a step; inf where nothing is lost."""
    if kept >= 1.0:
        return math.inf
    if discretisation == "euler":
        return step_s / (1.0 - kept)
    return -step_s / math.log(kept) if kept > 0.0 else 0.0


def _decays(layer: FloatLayer, network: FloatNetwork) -> tuple[int, int, Change, Change, list[str]]:
    """Return du, dv, the changes of both time constants, and remarks."""
    notes = []
    changes = []
    registers = []
    for what, kept, convert, effective in (
        ("current", layer.kept_u, q.du_from_tau, q.tau_from_du),
        ("voltage", layer.kept_v, q.dv_from_tau, q.tau_from_dv),
    ):
        if not 0.0 <= kept <= 1.0:
            raise ExchangeError(
                f"layer '{layer.name}': {kept:g} of the {what} would be left after a step, outside 0..1"
            )
        value = convert(_tau(kept, 1.0, "exponential"), 1.0)
        left = math.exp(-1.0 / effective(value.register, 1.0)) if effective(value.register, 1.0) > 0.0 else 0.0
        nominal, became = (_tau(share, network.step_s, network.discretisation) for share in (kept, left))
        if what == "current" and kept == 0.0:
            nominal = became = 0.0  # no time constant at all rather than one of one step
        changes.append(Change(nominal, became, value.clipped))
        registers.append(value.register)
        if value.clipped:
            notes.append(f"{kept:.6g} of the {what} is left after a step, the nearest register leaves {left:.6g}")
    return registers[0], registers[1], changes[0], changes[1], notes


def _quantise_layer(layer: FloatLayer, network: FloatNetwork) -> tuple[Layer, LayerReport]:
    threshold, factor = _common_threshold(layer)
    linears = [_rescaled(layer, part.linear, factor) for part in layer.projections]
    bias = np.broadcast_to(np.asarray(layer.bias, np.float64) * (1.0 if factor is None else factor), layer.shape)
    notes = list(layer.notes)
    if factor is not None:
        notes.append("thresholds differ between neurons; weights and biases were scaled so that one is enough")
    hints = _usable(layer.hints, linears, threshold)
    if hints is None and layer.hints is not None:
        notes.append("weights or accumulator overflow with the scale of the file; another one was chosen")
    scale = hints.scale if hints is not None else _choose_scale(linears, threshold, bias)
    exponents = hints.weight_exps if hints is not None else (0,) * len(linears)
    grids = hints.grids if hints is not None else (Grid(),) * len(linears)
    parts = [
        _quantise_projection(projection, linear, scale * 2.0 ** (exponents[0] - exponent), exponent, grid)
        for projection, linear, exponent, grid in zip(layer.projections, linears, exponents, grids, strict=True)
    ]
    vth = q.quantise_threshold(threshold, scale, exponents[0])
    du, dv, tau_syn, tau_mem, remarks = _decays(layer, network)
    biases = q.quantise_bias(_smallest(bias, layer.shape), scale, exponents[0])
    if hints is not None:
        biases = _as_hinted(biases, hints, layer.shape)
    rest = min(layer.refractory_steps, REFRACTORY_RANGE[1])
    if rest != layer.refractory_steps:
        notes.append(f"a refractory period of {layer.refractory_steps} steps was cut to {rest}")
    neuron = Lif(du, dv, vth.register, biases.mantissa, biases.exponent, rest)
    bias_error = np.abs(neuron.bias(layer.shape) / (scale * 2.0 ** exponents[0] * 64.0) - bias).max()
    report = LayerReport(
        layer.name,
        layer.shape,
        scale,
        tuple(report for _, report in parts),
        tau_syn,
        tau_mem,
        Change(threshold, vth.effective, vth.clipped),
        float(bias_error),
        biases.clipped,
        layer.dropped,
        tuple(notes + remarks),
    )
    return Layer(layer.name, [part.projection() for part, _ in parts], neuron), report


def quantise(network: FloatNetwork) -> tuple[Network, tuple[LayerReport, ...]]:
    """Return the integer network and what became of every value.

    Raises
    ------
    ExchangeError
        When a layer cannot be expressed; all such layers are named.
    NetworkError
        When the integers break a limit of the network as a whole.
    """
    layers: list[Layer] = []
    reports: list[LayerReport] = []
    faults: list[str] = []
    for layer in network.layers:
        with noting(faults, f"layer '{layer.name}'"):
            made, report = _quantise_layer(layer, network)
            layers.append(made)
            reports.append(report)
    refuse_all(faults)
    return Network(tuple(layers), network.input_shape, network.input_bits), tuple(reports)
