# SPDX-License-Identifier: Apache-2.0
"""What the running network would take of a chip: energy, power and busy cores, estimated from its own counters.

The network is mapped once, at configure. From then on a window costs nothing here: the figures are computed when
telemetry is published, from operations that were counted anyway. Every figure is an estimate of the chip named in the
parameters, whatever back end runs the network.

This module refuses to know about messages, clocks and back ends.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.snn_statistics import Period
from neuro_ros.snn import Model
from neuro_ros.snn.chips import (
    Architecture,
    ChipError,
    CoreLoad,
    chip_profile,
    estimate_energy,
    map_network,
    overload,
)

__all__ = ["ChipEstimate"]

_LOG = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000
#: Arrays of telemetry stay below 100 entries, so that plotting tools read all of them.
_MAX_CORES_PUBLISHED = 99


class ChipEstimate:
    """A model on a chip, and what it did there since activation.

    Parameters
    ----------
    model : Model
    chip : str
        Name of a profile.
    power_budget_w : float
        As the parameter of this name; 0 = none.
    placement_seed : int
        As the parameter of this name; -1 = along the rows.

    Attributes
    ----------
    mapping : ChipMapping
        A network that does not fit is mapped all the same; `health` says so.
    energy_j, power_w : float
        Since activation [J], and over the last period [W]; NaN = not known.
    utilisation : (cores,) float
        Share of a step that each core worked in the last period; NaN = not known.

    Raises
    ------
    ChipError
        When there is no such chip, a budget is set although the chip's energies are not published, or a placement is
        asked for where a layer is a core of its own and its place follows from what it needs.
    """

    def __init__(self, model: Model, chip: str, power_budget_w: float = 0.0, placement_seed: int = -1) -> None:
        profile = chip_profile(chip)
        if placement_seed >= 0 and profile.architecture is Architecture.LAYER_A_CORE:
            raise ChipError(
                f"placement_seed {placement_seed}: chip {chip} has a core for each layer and is not free to place "
                "them; set it to -1"
            )
        self._has_energy = not math.isnan(estimate_energy(profile, 0.0, 0.0, 1.0).power_w)
        if power_budget_w > 0.0 and not self._has_energy:
            raise ChipError(
                f"power_budget_w {power_budget_w:g} W cannot be judged for chip {chip}: "
                "its energy per operation is not published; set it to 0"
            )
        self.mapping = map_network(
            model.network,
            profile,
            model.window_length_ns / _NS_PER_S / model.bins,
            placement_seed=placement_seed if placement_seed >= 0 else None,
        )
        # Everybody may read the diagnostics: how cores are placed is told, but not the seed.
        self._placement = "random" if placement_seed >= 0 else "along the rows"
        self._profile = profile
        self._load = CoreLoad(self.mapping)
        self._neurons = sum(core.neurons for core in self.mapping.cores)
        self._refused = "; ".join(
            f"{violation.layer or 'network'}: {violation.limit} {violation.value:g}, limit {violation.maximum:g}"
            for violation in self.mapping.violations
        )
        if self._refused:
            _LOG.warning("model %s does not fit %s: %s", model.model_id, profile.title, self._refused)
        else:
            _LOG.info(
                "model %s on %s: %d cores, estimates only", model.model_id, profile.title, len(self.mapping.cores)
            )
        self.restart(None)

    def restart(self, now_ns: int | None) -> None:
        """Count energy from zero; None = time starts with the first `update`."""
        self.energy_j = self.power_w = math.nan
        self.utilisation: NDArray[np.float64] = np.full(len(self.mapping.cores), np.nan)
        self._since_ns = now_ns
        self._total_j = 0.0

    def update(self, period: Period, now_ns: int) -> None:
        """Take in what happened since the last call.

        Parameters
        ----------
        period : Period
            Counters since the last call.
        now_ns : int
            Host time. The static part goes by time, not by windows: a chip without input still draws it.
        """
        self.utilisation = self._load.utilisation(period.layer_synaptic_ops, period.steps)
        since_ns, self._since_ns = self._since_ns, now_ns
        duration_s = 0.0 if since_ns is None else max(0, now_ns - since_ns) / _NS_PER_S
        estimate = estimate_energy(
            self._profile, int(period.layer_synaptic_ops.sum()), self._neurons * period.steps, duration_s
        )
        self._total_j += estimate.total_j
        self.energy_j, self.power_w = self._total_j, estimate.power_w

    def fields(self) -> dict[str, Any]:
        """Return the fields of `SnnTelemetry` that are known here."""
        known = not np.isnan(self.utilisation).any()
        return {
            "energy_estimate_j": self.energy_j,
            "power_estimate_w": self.power_w,
            "core_utilisation_max": float(self.utilisation.max()),
            "core_utilisation_median": float(np.median(self.utilisation)),
            "core_utilisation": self.utilisation[:_MAX_CORES_PUBLISHED].tolist() if known else [],
        }

    def health(self, power_budget_w: float) -> Health:
        """Judge the budget, the busiest core, and whether the network fits at all."""
        values = {
            "chip": self._profile.name,
            "cores": len(self.mapping.cores),
            "placement": self._placement,
            "cores_available": self._profile.limit("cores"),
            "energy_estimate_j": self.energy_j,
            "power_estimate_w": self.power_w,
            "power_budget_w": power_budget_w,
            "core_utilisation_max": float(self.utilisation.max()),
        }
        busy = overload(self.utilisation, self._load.layers)
        if self._refused:
            text = f"the model does not fit {self._profile.name}: {self._refused}"
            return Health("chip", HealthLevel.WARN, text, values)
        if power_budget_w > 0.0 and not self._has_energy:
            text = f"power_budget_w cannot be judged: no energy per operation is published for {self._profile.name}"
            return Health("chip", HealthLevel.WARN, text, values)
        if 0.0 < power_budget_w < self.power_w:
            text = f"estimated power {self.power_w:.3g} W is above power_budget_w {power_budget_w:g} W"
            return Health("chip", HealthLevel.WARN, text, values)
        if busy is not None:
            return Health("chip", HealthLevel.WARN, busy.text, values)
        text = f"{len(self.mapping.cores)} cores of {self._profile.title}, energy is an estimate"
        return Health("chip", HealthLevel.OK, text, values)
