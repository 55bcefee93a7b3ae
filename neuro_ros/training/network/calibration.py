# SPDX-License-Identifier: Apache-2.0
"""Scales and thresholds from data: before training, so that layers speak."""

from __future__ import annotations

import math

import torch

from neuro_ros.training.network.layers import IntegerNetwork

__all__ = ["calibrate"]


@torch.no_grad()
def calibrate(network: IntegerNetwork, spikes: torch.Tensor, target_rate: float = 0.06) -> list[float]:
    """Scale each layer's weights against its threshold until it fires at about a rate.

    Sparse event input leaves default-initialised layers silent, and a silent layer learns nothing. Layer by layer,
    the factor is found by bisection; the threshold mantissa then follows from the new largest weight.

    Parameters
    ----------
    network : IntegerNetwork
        Changed in place.
    spikes : (steps, batch, c, h, w) float32
        A typical batch.
    target_rate : float
        Spikes a neuron and step.

    Returns
    -------
    list of float
        The rates reached.
    """
    reached = []
    for layer in network.populations:
        if layer.norm is not None:
            layer.norm.measure(layer.sums(spikes.flatten(0, 1), layer.weight), 1.0)
        original = [each.clone() for each in layer.drive()]
        low, high = 0.1, 40.0
        rate = 0.0
        for _ in range(9):
            factor = math.sqrt(low * high)
            layer.rescale(factor, original)
            layer.set_threshold()
            rate = float(layer(spikes).mean())
            low, high = (factor, high) if rate < target_rate else (low, factor)
        reached.append(rate)
        spikes = layer(spikes)
    return reached
