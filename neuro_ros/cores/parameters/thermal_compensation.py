# SPDX-License-Identifier: Apache-2.0
"""Parameters of thermal_compensation."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.cores.parameters._silicon import SiliconParameters

__all__ = [
    "CompensationParameters",
    "I2cParameters",
    "PlausibilityParameters",
    "SimulatedParameters",
    "ThermalCompensationParameters",
    "ThrottleParameters",
    "WatchParameters",
]


@dataclass(frozen=True)
class I2cParameters:
    """Where a TMP102 or TMP112 is."""

    bus: int = parameter(1, "number of the /dev/i2c-* that the chip is on", minimum=0, maximum=255)
    address: int = parameter(
        0x48, "address of the chip, 72 to 75 (0x48 to 0x4b) by the wiring of ADD0", minimum=0x48, maximum=0x4B
    )
    extended: bool = parameter(True, "13 bits, up to 150 degrees; otherwise 12 bits, up to 128 degrees")


@dataclass(frozen=True)
class SimulatedParameters:
    """What the simulated sensor plays."""

    profile: str = parameter(
        "constant",
        "constant (start), ramp (start to end within duration), step (end after duration), flight (start, 15 degrees "
        "colder up there, warm under load, end after landing, within duration)",
        choices=("constant", "ramp", "step", "flight"),
    )
    start_celsius: float = parameter(
        25.0, "temperature at the first reading", unit="degree Celsius", minimum=-273.15, maximum=1000.0
    )
    end_celsius: float = parameter(
        25.0,
        "temperature in the end, for ramp, step and flight",
        unit="degree Celsius",
        minimum=-273.15,
        maximum=1000.0,
    )
    duration_s: float = parameter(
        60.0, "length of the ramp or flight, or time of the step", unit="s", minimum=1e-3, maximum=1e6
    )
    dropout_after_s: float = parameter(
        0.0, "time after which the sensor does not answer for a while", unit="s", minimum=0.0, maximum=1e6
    )
    dropout_s: float = parameter(
        0.0, "for how long it does not answer; 0 = it always does", unit="s", minimum=0.0, maximum=1e6
    )


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
        "readings in a row that must agree before a jump, or the very first reading, is believed; ten times as many of "
        "exactly 0 or 85 degrees, which chips say before they have measured",
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
    failsafe_policy: str = parameter(
        "hold",
        "what FAILSAFE does with the register values: hold = they stay, nominal = back to the model's, in small steps",
        choices=("hold", "nominal"),
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
class CompensationParameters:
    """How the drift of a chip is cancelled; all of it idle on digital silicon."""

    model: str = parameter(
        "gesture", "model file, or the name of a shipped model, whose time constants are to stay effective"
    )
    dead_band_celsius: float = parameter(
        2.0,
        "a temperature that stays so near to the one that was last acted on changes no register",
        unit="degree Celsius",
        minimum=0.0,
        maximum=50.0,
        dynamic=True,
    )
    max_step: float = parameter(
        0.005,
        "largest relative change of a time constant in one update, so that none causes a burst of spikes",
        minimum=1e-4,
        maximum=1.0,
        dynamic=True,
    )
    min_period_s: float = parameter(
        0.25, "least time between two updates", unit="s", minimum=0.0, maximum=3600.0, dynamic=True
    )
    memory: str = parameter(
        "",
        "file in which the register values in force are kept, so that a restart of this node goes on from them; empty "
        "= none, then the telemetry of the network tells that there are some",
    )


@dataclass(frozen=True)
class ThrottleParameters:
    """How much load a temperature allows; set the limits below those at which the kernel slows the processor down."""

    level1_celsius: float = parameter(
        85.0,
        "from this temperature on the shadow model is off",
        unit="degree Celsius",
        minimum=-273.15,
        maximum=1000.0,
        dynamic=True,
    )
    level2_celsius: float = parameter(
        95.0,
        "from this temperature on the lifecycle manager is asked for standby",
        unit="degree Celsius",
        minimum=-273.15,
        maximum=1000.0,
        dynamic=True,
    )
    hysteresis_celsius: float = parameter(
        5.0,
        "a level is left when the temperature has fallen so far below its limit",
        unit="degree Celsius",
        minimum=0.1,
        maximum=100.0,
        dynamic=True,
    )
    manager: str = parameter(
        "lifecycle_manager", "name of the lifecycle manager that is asked for standby; empty = nobody is asked"
    )


@dataclass(frozen=True)
class ThermalCompensationParameters:
    """Where the temperature comes from and what follows from it."""

    sensor: str = parameter(
        "auto",
        "source of readings: thermal_zone or hwmon (Linux), tmp102 or tmp112 (I2C, needs smbus2), simulated, topic "
        "(somebody else publishes temperature), auto = the first of thermal_zone and hwmon that gives a plausible "
        "reading",
        choices=("auto", "thermal_zone", "hwmon", "tmp102", "tmp112", "simulated", "topic"),
    )
    sensor_choice: str = parameter(
        "first",
        "which of several sensors counts: first = only the first is read (by topic: the first that spoke and is not "
        "silent), hottest = all are read and the hottest counts",
        choices=("first", "hottest"),
    )
    sensor_name: str = parameter(
        "", "part of the sensor's name, e.g. cpu, coretemp/temp1 or a label; by topic of its frame_id; empty = any"
    )
    sensor_fallback: str = parameter(
        "none",
        "what to do where auto finds no sensor: none = configure fails, simulated = go on with the simulated one, "
        "labelled as such, with a warning in the diagnostics",
        choices=("none", "simulated"),
    )
    sysfs_root: str = parameter("/sys", "folder of the kernel's files; another one for tests and containers")
    read_period_s: float = parameter(0.5, "time between two readings", unit="s", minimum=0.01, maximum=3600.0)
    i2c: I2cParameters = field(default_factory=I2cParameters)
    simulated: SimulatedParameters = field(default_factory=SimulatedParameters)
    plausibility: PlausibilityParameters = field(default_factory=PlausibilityParameters)
    watch: WatchParameters = field(default_factory=WatchParameters)
    silicon: SiliconParameters = field(default_factory=SiliconParameters)
    compensation: CompensationParameters = field(default_factory=CompensationParameters)
    throttle: ThrottleParameters = field(default_factory=ThrottleParameters)

    def __post_init__(self) -> None:
        low, high = self.plausibility.minimum_celsius, self.plausibility.maximum_celsius
        if not low < high:
            raise ParameterError(f"plausibility.minimum_celsius: {low:g} must be below maximum_celsius ({high:g})")
        self.silicon.check("silicon", low, high)
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
        if not self.throttle.level1_celsius < self.throttle.level2_celsius:
            raise ParameterError(
                f"throttle.level1_celsius: {self.throttle.level1_celsius:g} must be below level2_celsius "
                f"({self.throttle.level2_celsius:g})"
            )
        if self.sensor != "topic" and not self.read_period_s <= self.watch.stale_after_s:
            raise ParameterError(
                f"read_period_s: {self.read_period_s:g} s must not be above watch.stale_after_s "
                f"({self.watch.stale_after_s:g} s), or every reading is stale"
            )
