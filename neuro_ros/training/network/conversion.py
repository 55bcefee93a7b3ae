# SPDX-License-Identifier: Apache-2.0
"""From a network trained in floating point to integers: thresholds and scales from data, and what they cost.

A master weight is in units of its threshold, so a layer has one number to choose, the threshold mantissa: a large one
rounds few weights to zero and clips many, a small one the other way round. Layer by layer the one is taken whose
integer spikes are closest to those of floating point on a calibration batch, among those that keep the accumulator's
bound; layers behind see the integer spikes of those before, so that they make up for what was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neuro_ros.snn import NetworkError
from neuro_ros.snn.limits import ACCUMULATOR_LIMIT, ACTIVATION_SHIFT
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.network.population import VTH_LIMIT, SpikingLayer
from neuro_ros.training.network.weights import WEIGHT_GRID

__all__ = ["LayerReport", "matched_spikes", "quantise"]

#: The grid's end over the largest weight; below 1 the largest are clipped.
HEADROOMS = (0.5, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class LayerReport:
    """What quantising did to a layer.

    Attributes
    ----------
    name : str
    vth : int
        Threshold mantissa chosen.
    zeros, clipped : float
        Fractions of the weights that the grid rounds to zero, and clips.
    float_rate, integer_rate : float
        Spikes a neuron and step on the calibration batch.
    precision, recall : float
        Of the integer spikes within one step of those in floating point, see `matched_spikes`.
    wraps, clips : int
        Overflows of u and of v on the calibration batch.
    """

    name: str
    vth: int
    zeros: float
    clipped: float
    float_rate: float
    integer_rate: float
    precision: float
    recall: float
    wraps: int
    clips: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total > 0.0 else 0.0


def matched_spikes(spikes: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
    """Return precision and recall of spikes against a reference, within one step.

    Parameters
    ----------
    spikes, reference : (steps, ...) tensor
        0 or 1. Each spike is matched with at most one of the same neuron: in the same step, else in the next, else
        in the one before.

    Returns
    -------
    precision, recall : float
        Of `spikes` matched, of `reference` matched; NaN where there are none, so that silence is no success.
    """
    mine, theirs = spikes.bool().clone(), reference.bool().clone()
    totals = int(mine.sum()), int(theirs.sum())
    matched = 0
    for ours, others in ((mine, theirs), (mine[:-1], theirs[1:]), (mine[1:], theirs[:-1])):
        both = ours & others
        matched += int(both.sum())
        ours &= ~both
        others &= ~both
    precision, recall = (matched / total if total else float("nan") for total in totals)
    return precision, recall


def _fits_accumulator(layer: SpikingLayer) -> bool:
    """Whether the worst sum of same-sign weights of one neuron stays within 2^24."""
    try:
        bounds = [projection.bounds() for projection in layer.export().projections]
    except NetworkError:
        return False
    lowest, highest = (np.sum([pair[k] for pair in bounds], axis=0) for k in range(2))
    return max(-int(lowest.min()), int(highest.max())) << ACTIVATION_SHIFT <= ACCUMULATOR_LIMIT


def _report(layer: SpikingLayer, spikes: torch.Tensor, reference: torch.Tensor) -> tuple[LayerReport, torch.Tensor]:
    before = layer.counts.copy()
    out = layer(spikes)
    wraps, clips = (int(n) for n in layer.counts - before)
    layer.counts[:] = before
    zeros, clipped = layer.weight_report()
    precision, recall = matched_spikes(out, reference)
    rates = float(reference.mean()), float(out.mean())
    return (
        LayerReport(layer.spec.name, int(layer.vth), zeros, clipped, *rates, precision, recall, wraps, clips),
        out,
    )


@torch.no_grad()
def quantise(
    network: IntegerNetwork, spikes: torch.Tensor, headrooms: Sequence[float] = HEADROOMS
) -> list[LayerReport]:
    """Choose every layer's threshold mantissa, and let the network compute in integers from now on.

    Parameters
    ----------
    network : IntegerNetwork
        Trained with ``arithmetic="float"``; changed in place.
    spikes : (steps, batch, c, h, w) float32
        A typical batch.
    headrooms : sequence of float
        Candidates: the grid's end over the largest weight.

    Returns
    -------
    list of LayerReport
        One a layer.

    Raises
    ------
    TrainingError
        If a layer is silent on the batch, so that nothing can be chosen, or no candidate keeps the accumulator's
        bound; the network is then as it was.
    """
    training, thresholds = network.training, [layer.vth.clone() for layer in network.populations]
    network.eval()
    try:
        with network.computing("float"):
            references = network.all_spikes(spikes)
        network.arithmetic = "integer"
        reports = []
        for layer, reference in zip(network.populations, references, strict=True):
            best = _best(layer, spikes, reference, headrooms)
            layer.vth.fill_(best.vth)
            spikes = layer(spikes)
            reports.append(best)
    except TrainingError:
        for layer, threshold in zip(network.populations, thresholds, strict=True):
            layer.vth.copy_(threshold)
        network.arithmetic = "float"
        raise
    finally:
        network.train(training)
    return reports


def _best(
    layer: SpikingLayer, spikes: torch.Tensor, reference: torch.Tensor, headrooms: Sequence[float]
) -> LayerReport:
    """Return the report of the best candidate."""
    name = layer.spec.name
    if not bool(reference.any()):
        raise TrainingError(f"layer '{name}' is silent on the calibration batch; give one that makes it fire")
    largest = max(1e-6, layer.largest_weight())
    found: list[LayerReport] = []
    for headroom in headrooms:
        vth = round(2.0**layer.spec.weight_exp * WEIGHT_GRID.high / (headroom * largest))
        if not 1 <= vth <= VTH_LIMIT:
            continue
        layer.vth.fill_(vth)
        if _fits_accumulator(layer):
            found.append(_report(layer, spikes, reference)[0])
    if not found:
        raise TrainingError(f"layer '{name}': no threshold keeps its sums within the accumulator; lower the fan-in")
    return max(found, key=lambda report: (report.f1, report.vth))
