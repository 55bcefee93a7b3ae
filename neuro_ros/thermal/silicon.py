# SPDX-License-Identifier: Apache-2.0
"""How a chip's time constants change with temperature.

A profile says what a programmed time constant becomes at a temperature: ``effective = ratio(celsius) * programmed``,
with the ratio 1 at the reference temperature. ``digital`` is the truth for Loihi and for our fixed-point engine: decays
are integers a step, a warm chip computes the same spikes as a cold one, and to "compensate" would introduce an error.
``linear`` and ``table`` are for mixed-signal chips, whose capacitors are discharged by currents that drift.

This module refuses to know about registers: what to program against the drift is `neuro_ros.thermal.compensation`'s.

References
----------
"Digital and functionally deterministic": Loihi in IEEE Circuits and Systems Magazine 22(2), 2022, p. 21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

from neuro_ros.thermal.calibration import ANY_LAYER, CalibrationTable, load_table
from neuro_ros.thermal.sensors import ThermalError

__all__ = [
    "DigitalSilicon",
    "Drift",
    "LinearSilicon",
    "SiliconOptions",
    "SiliconProfile",
    "TableSilicon",
    "create_silicon",
    "register_silicon",
    "silicon_profiles",
]


class Drift(NamedTuple):
    """Effective over programmed time constant of the synapses (current) and membranes (voltage) of a population."""

    synapse: float = 1.0
    membrane: float = 1.0


class SiliconProfile(Protocol):
    """A drift model.

    Attributes
    ----------
    name : str
        Name in the registry.
    drifts : bool
        False when no temperature changes anything.
    """

    name: str
    drifts: bool

    def drift(self, layer: str, celsius: float) -> Drift:
        """Return how the time constants of population `layer` are at `celsius` [degree Celsius]."""

    def covers(self, celsius: float) -> bool:
        """Return whether the profile knows the chip at `celsius`; outside it holds on to its last value."""


class DigitalSilicon:
    """A chip that does not drift, at any temperature."""

    name = "digital"
    drifts = False

    def drift(self, layer: str, celsius: float) -> Drift:  # noqa: ARG002 - it does not matter, that is the point
        """Return no drift."""
        return Drift()

    def covers(self, celsius: float) -> bool:  # noqa: ARG002 - everywhere
        """Return True."""
        return True


@dataclass(frozen=True)
class SiliconOptions:
    """Which chip it is.

    Parameters
    ----------
    synapse_per_celsius, membrane_per_celsius : float
        ``linear``: part of the time constant at 25 degrees that is lost a degree; negative = it grows when warm.
    reference_celsius : float
        ``linear``: temperature at which programmed time constants are effective [degree Celsius].
    layers : Mapping[str, Drift]
        ``linear``: coefficients of populations that differ from the rest.
    table : str
        ``table``: calibration file, see `neuro_ros.thermal.calibration`.
    chip : str
        ``table``: refuse the table of another chip; empty = any.
    minimum_celsius, maximum_celsius : float
        Temperatures at which the profile must make sense.
    """

    synapse_per_celsius: float = 0.003
    membrane_per_celsius: float = 0.003
    reference_celsius: float = 25.0
    layers: Mapping[str, Drift] = field(default_factory=lambda: MappingProxyType({}))
    table: str = ""
    chip: str = ""
    minimum_celsius: float = -55.0
    maximum_celsius: float = 150.0


class LinearSilicon:
    """A chip whose time constants change by a part of their nominal value a degree.

    Parameters
    ----------
    options : SiliconOptions
        Coefficients k: ``ratio = 1 - k (celsius - reference_celsius)``.

    Raises
    ------
    ThermalError
        A coefficient is not finite, or makes a time constant zero or negative in the range.
    """

    name = "linear"
    drifts = True

    def __init__(self, options: SiliconOptions) -> None:
        self._reference = options.reference_celsius
        self._per_celsius = {
            **options.layers,
            ANY_LAYER: Drift(options.synapse_per_celsius, options.membrane_per_celsius),
        }
        for layer in self._per_celsius:
            for celsius in (options.minimum_celsius, options.maximum_celsius):
                self._require_positive(layer, celsius)

    def _require_positive(self, layer: str, celsius: float) -> None:
        for name, slope, ratio in zip(Drift._fields, self._per_celsius[layer], self.drift(layer, celsius), strict=True):
            if not 0.0 < ratio < math.inf:
                where = "" if layer == ANY_LAYER else f" of layer {layer!r}"
                raise ThermalError(
                    f"{name}_per_celsius {slope:g}{where} makes the time constant {ratio:.3g} of its nominal value at "
                    f"{celsius:g} degree Celsius; it must stay above 0 over the plausible range, lower it or the range"
                )

    def drift(self, layer: str, celsius: float) -> Drift:
        """Return ``1 - k (celsius - reference)`` for both."""
        slopes = self._per_celsius.get(layer) or self._per_celsius[ANY_LAYER]
        return Drift(*(1.0 - slope * (celsius - self._reference) for slope in slopes))

    def covers(self, celsius: float) -> bool:  # noqa: ARG002 - a line has no end
        """Return True."""
        return True


class TableSilicon:
    """A chip that was measured; linear between the measured temperatures, constant beyond them.

    Parameters
    ----------
    table : CalibrationTable
        Validated.
    """

    name = "table"
    drifts = True

    def __init__(self, table: CalibrationTable) -> None:
        self.table = table

    def drift(self, layer: str, celsius: float) -> Drift:
        """Return the measured time constants over those at the reference."""
        return Drift(self.table.ratio(layer, "synapse", celsius), self.table.ratio(layer, "membrane", celsius))

    def covers(self, celsius: float) -> bool:
        """Return whether `celsius` lies inside every measured range."""
        low, high = self.table.range_celsius
        return low <= celsius <= high


def _from_table(options: SiliconOptions) -> TableSilicon:
    if not options.table:
        raise ThermalError("silicon profile table needs a calibration file; make one with neuro_ros calibrate-thermal")
    table = load_table(Path(options.table).expanduser())
    if options.chip and options.chip != table.chip:
        raise ThermalError(f"{options.table} was measured on chip {table.chip!r}, not on {options.chip!r}")
    return TableSilicon(table)


_PROFILES: dict[str, Callable[[SiliconOptions], SiliconProfile]] = {}


def register_silicon(name: str, factory: Callable[[SiliconOptions], SiliconProfile]) -> None:
    """Add a profile: `factory` makes it of the options, or raises `ThermalError`."""
    _PROFILES[name] = factory


def silicon_profiles() -> list[str]:
    """Return the names of all profiles."""
    return sorted(_PROFILES)


def create_silicon(name: str, options: SiliconOptions | None = None) -> SiliconProfile:
    """Return a profile by name.

    Raises
    ------
    ThermalError
        There is no such profile, or the options do not make one.
    """
    if name not in _PROFILES:
        raise ThermalError(f"silicon profile {name!r} is not known; known: {', '.join(silicon_profiles())}")
    return _PROFILES[name](options or SiliconOptions())


register_silicon(DigitalSilicon.name, lambda _: DigitalSilicon())
register_silicon(LinearSilicon.name, LinearSilicon)
register_silicon(TableSilicon.name, _from_table)
