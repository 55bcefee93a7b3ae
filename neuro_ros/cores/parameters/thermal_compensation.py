# SPDX-License-Identifier: Apache-2.0
"""Parameters of thermal_compensation."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.cores.parameters._fields import ParameterError, parameter

__all__ = ["PlausibilityParameters", "SimulatedParameters", "ThermalCompensationParameters", "WatchParameters"]


@dataclass(frozen=True)
class SimulatedParameters:
    """What the simulated sensor plays."""

    profile: str = parameter(
        "constant",
        "constant (start), ramp (start to end within duration), step (end after duration)",
        choices=("constant", "ramp", "step"),
    )
    start_celsius: float = parameter(
        25.0, "temperature at the first reading", unit="degree Celsius", minimum=-273.15, maximum=1000.0
    )
    end_celsius: float = parameter(
        25.0, "temperature in the end, for ramp and step", unit="degree Celsius", minimum=-273.15, maximum=1000.0
    )
    duration_s: float = parameter(60.0, "length of the ramp, or time of the step", unit="s", minimum=1e-3, maximum=1e6)


@dataclass(frozen=True)
class PlausibilityParameters:
    """Which readings can be true."""

    minimum_celsius: float = parameter(
        -55.0, "readings below are not believed", unit="degree Celsius", minimum=-273.15, maximum=1000.0, dynamic=True
    )
    maximum_celsius: float = parameter(
        150.0, "readings above are not believed", unit="degree Celsius", minimum=-273.15, maximum=1000.0, dynamic=True
    )
    max_rate_celsius_per_s: float = parameter(
        5.0, "fastest change that is believed", unit="degree Celsius/s", minimum=1e-3, maximum=1e6, dynamic=True
    )
    noise_celsius: float = parameter(
        2.0,
        "difference between two readings that is always believed",
        unit="degree Celsius",
        minimum=0.0,
        maximum=100.0,
        dynamic=True,
    )
    confirmations: int = parameter(
        3,
        "readings in a row that must agree before a jump, or the very first reading, is believed",
        minimum=1,
        maximum=100,
        dynamic=True,
    )


@dataclass(frozen=True)
class WatchParameters:
    """How a temperature ages, and from which on it is reported."""

    stale_after_s: float = parameter(
        5.0,
        "time without a believed reading after which the state is STALE; until then the last one is held",
        unit="s",
        minimum=0.01,
        maximum=3600.0,
        dynamic=True,
    )
    failsafe_after_s: float = parameter(
        30.0,
        "time without a believed reading after which the state is FAILSAFE",
        unit="s",
        minimum=0.01,
        maximum=86400.0,
        dynamic=True,
    )
    filter_tau_s: float = parameter(
        2.0,
        "time constant of the low-pass on believed readings; 0 = none",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    )
    warn_celsius: float = parameter(
        85.0,
        "diagnostics warn from this temperature on",
        unit="degree Celsius",
        minimum=-273.15,
        maximum=1000.0,
        dynamic=True,
    )
    error_celsius: float = parameter(
        100.0,
        "diagnostics report an error from this temperature on",
        unit="degree Celsius",
        minimum=-273.15,
        maximum=1000.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class ThermalCompensationParameters:
    """Where the temperature comes from and what follows from it."""

    sensor: str = parameter(
        "auto",
        "source of readings: thermal_zone or hwmon (Linux), simulated, topic (somebody else publishes temperature), "
        "auto = the first real one that gives a plausible reading",
        choices=("auto", "thermal_zone", "hwmon", "simulated", "topic"),
    )
    sensor_name: str = parameter("", "part of the sensor's name, e.g. cpu or coretemp/temp1; empty = any")
    sensor_fallback: str = parameter(
        "none",
        "what to do where auto finds no sensor: none = configure fails, simulated = go on with the simulated one, "
        "labelled as such, with a warning in the diagnostics",
        choices=("none", "simulated"),
    )
    sysfs_root: str = parameter("/sys", "folder of the kernel's files; another one for tests and containers")
    read_period_s: float = parameter(0.5, "time between two readings", unit="s", minimum=0.01, maximum=3600.0)
    silicon_profile: str = parameter(
        "digital", "drift of the chip with temperature; digital = none, compensation does nothing", choices=("digital",)
    )
    simulated: SimulatedParameters = field(default_factory=SimulatedParameters)
    plausibility: PlausibilityParameters = field(default_factory=PlausibilityParameters)
    watch: WatchParameters = field(default_factory=WatchParameters)

    def __post_init__(self) -> None:
        low, high = self.plausibility.minimum_celsius, self.plausibility.maximum_celsius
        if not low < high:
            raise ParameterError(f"plausibility.minimum_celsius: {low:g} must be below maximum_celsius ({high:g})")
        if not self.watch.stale_after_s <= self.watch.failsafe_after_s:
            raise ParameterError(
                f"watch.stale_after_s: {self.watch.stale_after_s:g} s must not be above failsafe_after_s "
                f"({self.watch.failsafe_after_s:g} s)"
            )
        if not self.watch.warn_celsius <= self.watch.error_celsius:
            raise ParameterError(
                f"watch.warn_celsius: {self.watch.warn_celsius:g} must not be above error_celsius "
                f"({self.watch.error_celsius:g})"
            )
        if self.sensor != "topic" and not self.read_period_s <= self.watch.stale_after_s:
            raise ParameterError(
                f"read_period_s: {self.read_period_s:g} s must not be above watch.stale_after_s "
                f"({self.watch.stale_after_s:g} s), or every reading is stale"
            )
