# SPDX-License-Identifier: Apache-2.0
"""The parameters that say which silicon a chip is made of, for the node that compensates it and for its emulation."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.thermal.sensors import ThermalError
from neuro_ros.thermal.silicon import Drift, SiliconOptions, create_silicon

__all__ = ["SiliconParameters"]


@dataclass(frozen=True)
class SiliconParameters:
    """How a chip drifts."""

    profile: str = parameter(
        "digital",
        "drift of the chip with temperature: digital = none, linear = a coefficient a degree, table = a calibration "
        "file",
        choices=("digital", "linear", "table"),
    )
    synapse_per_celsius: float = parameter(
        SiliconOptions.synapse_per_celsius,
        "linear: part of the synaptic time constant that is lost a degree above the reference; negative = it grows",
        unit="1/degree Celsius",
        minimum=-1.0,
        maximum=1.0,
    )
    membrane_per_celsius: float = parameter(
        SiliconOptions.membrane_per_celsius,
        "linear: the same for the membrane's time constant",
        unit="1/degree Celsius",
        minimum=-1.0,
        maximum=1.0,
    )
    reference_celsius: float = parameter(
        SiliconOptions.reference_celsius,
        "linear: temperature at which time constants are as programmed",
        unit="degree Celsius",
        minimum=-55.0,
        maximum=150.0,
    )
    layers: tuple[str, ...] = parameter(
        [""],
        "linear: layers with coefficients of their own, as layer:synapse:membrane; an empty entry stands for none",
    )
    table: str = parameter("", "table: calibration file, as `neuro_ros calibrate-thermal` makes it")
    chip: str = parameter("", "table: refuse a file that was measured on another chip; empty = any")

    def options(self, minimum_celsius: float, maximum_celsius: float) -> SiliconOptions:
        """Return the options of the silicon profile, which must make sense between two temperatures.

        Raises
        ------
        ParameterError
            An entry of `layers` is malformed.
        """
        layers = {}
        for entry in self.layers:
            if not entry:  # a YAML file cannot hold an empty list of strings, [''] stands for it
                continue
            name, *numbers = entry.split(":")
            try:
                synapse, membrane = map(float, numbers)
            except ValueError:
                raise ParameterError(f"layers: {entry!r} is not layer:synapse:membrane with two numbers") from None
            layers[name] = Drift(synapse, membrane)
        return SiliconOptions(
            self.synapse_per_celsius,
            self.membrane_per_celsius,
            self.reference_celsius,
            layers,
            self.table,
            self.chip,
            minimum_celsius,
            maximum_celsius,
        )

    def check(self, group: str, minimum_celsius: float, maximum_celsius: float) -> None:
        """Check what can be checked without reading a file.

        Raises
        ------
        ParameterError
            The coefficients make no chip, or the table has no name; `group` is named.
        """
        try:
            options = self.options(minimum_celsius, maximum_celsius)
            if self.profile == "table" and not self.table:
                raise ParameterError("table: empty; give the file that neuro_ros calibrate-thermal has made")
            if self.profile != "table":
                create_silicon(self.profile, options)
        except (ThermalError, ParameterError) as error:
            raise ParameterError(f"{group}.{error}") from None
