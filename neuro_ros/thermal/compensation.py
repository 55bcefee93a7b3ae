# SPDX-License-Identifier: Apache-2.0
"""What to program so that a drifting chip shows the time constants that the network was trained with.

The chip turns a programmed time constant p into ``ratio(celsius) * p`` (`neuro_ros.thermal.silicon`). To follow the
drift would double it; so the inverse is programmed, ``p = nominal / ratio(celsius)``, and what the chip then shows is
nominal. Programmed values go there in small steps, because a neuron's potential is a sum over its past and should not
meet another leak all at once. What a 12 bit register cannot say, and what a step has not reached yet, is the error
that remains; it is told, not hidden.

Physical and register values meet in `neuro_ros.snn.quantisation` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuro_ros.snn import Model
from neuro_ros.snn.quantisation import QuantisedValue, du_from_tau, dv_from_tau, tau_from_du, tau_from_dv
from neuro_ros.thermal.sensors import ThermalError
from neuro_ros.thermal.silicon import Drift, SiliconProfile

__all__ = ["Compensator", "Population", "RegisterSet", "drifted_registers", "populations"]


@dataclass(frozen=True, slots=True)
class RegisterSet:
    """Register values for a temperature, one entry a population in each tuple; see ``ThermalCompensation.msg``."""

    layer: tuple[str, ...] = ()
    tau_syn_requested_s: tuple[float, ...] = ()
    tau_mem_requested_s: tuple[float, ...] = ()
    tau_syn_effective_s: tuple[float, ...] = ()
    tau_mem_effective_s: tuple[float, ...] = ()
    du: tuple[int, ...] = ()
    dv: tuple[int, ...] = ()
    clipped: tuple[bool, ...] = ()
    remaining_error: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Population:
    """The decays of one population as the model has them.

    Parameters
    ----------
    layer : str
        Its name in the model.
    du, dv : int
        Registers.
    step_s : float
        Length of a network step [s].
    """

    layer: str
    du: int
    dv: int
    step_s: float

    @property
    def tau_s(self) -> tuple[float, float]:
        """Time constants of synapse and membrane [s]; 0 = forgets in one step, inf = an integrator."""
        return tau_from_du(self.du, self.step_s), tau_from_dv(self.dv, self.step_s)


def populations(model: Model) -> tuple[Population, ...]:
    """Return the populations of a model, in its order."""
    step_s = model.window_length_ns / model.bins * 1e-9
    return tuple(Population(layer.name, layer.neuron.du, layer.neuron.dv, step_s) for layer in model.network.layers)


def _finite(tau_s: float) -> bool:
    return 0.0 < tau_s < math.inf


def _register(tau_s: float, step_s: float, convert: Callable[[float, float], QuantisedValue], least: int) -> tuple:
    """Return (register, what it means [s], clipped), and never an integrator for what leaks."""
    value = convert(tau_s, step_s)
    if value.register < least:
        back = tau_from_dv if convert is dv_from_tau else tau_from_du
        return least, back(least, step_s), True
    return value.register, value.effective, value.clipped


def drifted_registers(du: int, dv: int, drift: Drift, step_s: float) -> tuple[int, int]:
    """Return the registers with which a digital engine behaves like a drifting chip that was given `du`, `dv`.

    What does not leak (`dv` 0) and what forgets at once does not drift.
    """
    shown = []
    for tau_s, ratio, given, convert in (
        (tau_from_du(du, step_s), drift.synapse, du, du_from_tau),
        (tau_from_dv(dv, step_s), drift.membrane, dv, dv_from_tau),
    ):
        if not _finite(tau_s) or ratio == 1.0:
            shown.append(given)
        else:
            shown.append(_register(tau_s * ratio, step_s, convert, 1 if convert is dv_from_tau else 0)[0])
    return shown[0], shown[1]


class Compensator:
    """Programmed time constants on their way to what cancels the drift.

    Parameters
    ----------
    nominal : sequence of Population
        Of the network that runs.
    silicon : SiliconProfile
        How the chip drifts.
    max_step : float
        Largest relative change of a time constant in one step.

    Raises
    ------
    ThermalError
        The step is not within 0 (excluded) to 1.
    """

    def __init__(self, nominal: Sequence[Population], silicon: SiliconProfile, max_step: float) -> None:
        self.nominal = tuple(nominal)
        self.max_step = max_step
        if not 0.0 < max_step <= 1.0:
            raise ThermalError(f"max_step {max_step:g} must be above 0 and at most 1")
        self._silicon = silicon
        self._tau_s: list[tuple[float, float]] = [population.tau_s for population in self.nominal]

    def _target(self, population: Population, celsius: float | None) -> tuple[float, float]:
        if celsius is None:
            return population.tau_s
        drift = self._silicon.drift(population.layer, celsius)
        return population.tau_s[0] / drift.synapse, population.tau_s[1] / drift.membrane

    def approach(self, celsius: float | None) -> None:
        """Move one step toward what cancels the drift at `celsius` [degree Celsius]; None = toward nominal."""
        self._tau_s = [
            tuple(map(self._nearer, now, self._target(population, celsius)))  # type: ignore[misc]
            for population, now in zip(self.nominal, self._tau_s, strict=True)
        ]

    def _nearer(self, now_s: float, target_s: float) -> float:
        if not (_finite(now_s) and _finite(target_s)):
            return target_s
        return min(max(target_s, now_s * (1.0 - self.max_step)), now_s * (1.0 + self.max_step))

    def jump(self, celsius: float) -> None:
        """Go to what cancels the drift at `celsius` at once, e.g. because the chip has been there before."""
        self._tau_s = [self._target(population, celsius) for population in self.nominal]

    @property
    def requested_s(self) -> list[tuple[float, float]]:
        """Programmed time constants of synapse and membrane, one pair a population [s]."""
        return list(self._tau_s)

    def restore(self, requested_s: Sequence[Sequence[float]]) -> None:
        """Go on from programmed time constants of before a restart.

        Raises
        ------
        ThermalError
            They are not of these populations.
        """
        pairs = [(float(pair[0]), float(pair[1])) for pair in requested_s if len(pair) == 2]
        shapes = [tuple(map(_finite, pair)) for pair in pairs]
        if shapes != [tuple(map(_finite, population.tau_s)) for population in self.nominal]:
            raise ThermalError(f"{len(requested_s)} pairs of time constants, not those of {len(self.nominal)} layers")
        self._tau_s = [
            tuple(new if _finite(new) else old for new, old in zip(pair, population.tau_s, strict=True))  # type: ignore[misc]
            for pair, population in zip(pairs, self.nominal, strict=True)
        ]

    def registers(self, celsius: float) -> RegisterSet:
        """Return the registers in force, and what the chip makes of them at `celsius` [degree Celsius]."""
        rows = [
            self._row(population, requested, self._silicon.drift(population.layer, celsius))
            for population, requested in zip(self.nominal, self._tau_s, strict=True)
        ]
        return RegisterSet(*(tuple(column) for column in zip(*rows, strict=True)))

    @staticmethod
    def _row(population: Population, requested_s: tuple[float, float], drift: Drift) -> tuple:
        step_s = population.step_s
        du, syn_s, syn_clipped = _register(requested_s[0], step_s, du_from_tau, 0)
        # A membrane that leaks must not be made an integrator by rounding.
        dv, mem_s, mem_clipped = _register(requested_s[1], step_s, dv_from_tau, min(population.dv, 1))
        effective = (syn_s * drift.synapse, mem_s * drift.membrane)
        errors = [
            abs(shown / wanted - 1.0)
            for shown, wanted in zip(effective, population.tau_s, strict=True)
            if _finite(wanted)
        ]
        return (
            population.layer,
            *requested_s,
            *effective,
            du,
            dv,
            syn_clipped or mem_clipped,
            max(errors, default=0.0),
        )
