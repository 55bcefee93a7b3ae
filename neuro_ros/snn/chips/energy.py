# SPDX-License-Identifier: Apache-2.0
"""Energy of a run on a chip, estimated: operations that really happened, times published energies, plus static power.

It is an estimate in every use: the energies are those of publications, mostly of circuit simulation, for other networks
and other voltages; spike transport (on Loihi 1 some 2 to 4 pJ a tile), input and output are not in it. Static power
usually dominates, so that half the spikes is far from half the energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .figures import Confidence
from .profile import ChipProfile

__all__ = ["EnergyEstimate", "estimate_energy"]

_J_PER_PJ = 1e-12
_ENERGIES = ("synaptic_operation_pj", "neuron_update_pj", "static_power_w")
_ORDER = (Confidence.UNKNOWN, Confidence.LOW, Confidence.MEDIUM, Confidence.HIGH)


@dataclass(frozen=True)
class EnergyEstimate:
    """An estimate, never a measurement.

    Parameters
    ----------
    synaptic_j, neuron_j, static_j : float
        Parts [J]; NaN where the chip's figure is not published.
    duration_s : float
        Time that the static part covers.
    confidence : Confidence
        That of the worst figure used.
    sources : tuple of str
        Where the figures come from, one line each.
    """

    synaptic_j: float
    neuron_j: float
    static_j: float
    duration_s: float
    confidence: Confidence
    sources: tuple[str, ...]

    @property
    def total_j(self) -> float:
        """Sum of the parts [J]; NaN where one is not known."""
        return self.synaptic_j + self.neuron_j + self.static_j

    @property
    def power_w(self) -> float:
        """Mean power [W]; NaN where a part is not known or no time passed."""
        return self.total_j / self.duration_s if self.duration_s > 0.0 else math.nan


def estimate_energy(
    profile: ChipProfile, synaptic_operations: float, neuron_updates: float, duration_s: float
) -> EnergyEstimate:
    """Estimate what a run would take on a chip.

    Parameters
    ----------
    profile : ChipProfile
    synaptic_operations, neuron_updates : float
        Of the run. Every neuron is updated in every step, and each update is taken as an active one: an upper bound.
    duration_s : float
        Time that the run covers on the chip.

    Returns
    -------
    EnergyEstimate
        Parts whose figure is not published are NaN, and so is their sum.
    """
    synaptic_pj, neuron_pj, static_w = (
        math.nan if profile.cost(name) is None else float(profile.cost(name) or 0.0) for name in _ENERGIES
    )
    figures = [profile.costs[name] for name in _ENERGIES]
    return EnergyEstimate(
        synaptic_operations * synaptic_pj * _J_PER_PJ,
        neuron_updates * neuron_pj * _J_PER_PJ,
        duration_s * static_w,
        duration_s,
        min((figure.confidence for figure in figures), key=_ORDER.index),
        tuple(_line(name, profile) for name in _ENERGIES),
    )


def _line(name: str, profile: ChipProfile) -> str:
    figure = profile.costs[name]
    if not figure.known:
        return f"{name}: not published"
    note = f"; {figure.note}" if figure.note else ""
    return f"{name} {figure.top:g} {figure.unit}: {figure.source} ({figure.confidence.value}{note})"
