# SPDX-License-Identifier: Apache-2.0
"""Utilisation of the cores of a finished mapping from the operations of each layer, cheap enough for every second.

A node counts the synaptic operations of a layer, not those of a box. Between two mappings the operations of a layer are
taken to spread over its cores as its synapses do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .report import ChipMapping

__all__ = ["CoreLoad"]


class CoreLoad:
    """How busy the cores of a mapping are.

    Parameters
    ----------
    mapping : ChipMapping

    Attributes
    ----------
    layers : list of str
        The layer of each core.
    known : bool
        False when the chip's times are not published: utilisation stays NaN.
    """

    def __init__(self, mapping: ChipMapping) -> None:
        self.layers = [core.layer for core in mapping.cores]
        profile = mapping.profile
        update_ns, operation_ns = profile.cost("neuron_update_ns"), profile.cost("synaptic_operation_ns")
        self.known = update_ns is not None and operation_ns is not None
        names = list(mapping.layers)
        self._layer = np.array([names.index(core.layer) for core in mapping.cores])
        weights = np.array([core.synapses for core in mapping.cores], np.float64)
        totals = np.bincount(self._layer, weights, len(names))
        self._operation_share = weights / np.maximum(totals[self._layer], 1.0)
        neurons = np.array([core.neurons for core in mapping.cores], np.float64)
        period_ns = mapping.step_period_s * 1e9
        self._idle = neurons * (update_ns or 0.0) / period_ns
        self._per_operation = (operation_ns or 0.0) / period_ns

    def utilisation(self, layer_operations: ArrayLike, steps: int) -> NDArray[np.float64]:
        """Return the share of a step that each core works.

        Parameters
        ----------
        layer_operations : (layers,) int
            Synaptic operations of each layer over some steps.
        steps : int
            How many; 0 = nothing ran.

        Returns
        -------
        (cores,) float64
            NaN when nothing ran or the chip's times are not published; above 1 = a step takes longer than its period.
        """
        if steps < 1 or not self.known:
            return np.full(len(self.layers), np.nan)
        operations = np.asarray(layer_operations, np.float64)[self._layer] / steps
        return self._idle + operations * self._operation_share * self._per_operation
