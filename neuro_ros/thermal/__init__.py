# SPDX-License-Identifier: Apache-2.0
"""Temperature: sensors, whether a reading can be true, and what a chip's silicon needs at it."""

from neuro_ros.thermal import simulated as _simulated  # noqa: F401 - registers its sensor
from neuro_ros.thermal import sysfs as _sysfs  # noqa: F401 - registers its sensors
from neuro_ros.thermal.gate import GateCounters, PlausibilityGate
from neuro_ros.thermal.sensors import (
    SensorError,
    SensorOptions,
    TemperatureSensor,
    ThermalError,
    available_sensors,
    open_sensor,
    register_sensor,
)
from neuro_ros.thermal.silicon import RegisterSet, SiliconProfile, create_silicon, register_silicon, silicon_profiles
from neuro_ros.thermal.watch import ThermalState, ThermalWatch

__all__ = [
    "GateCounters",
    "PlausibilityGate",
    "RegisterSet",
    "SensorError",
    "SensorOptions",
    "SiliconProfile",
    "TemperatureSensor",
    "ThermalError",
    "ThermalState",
    "ThermalWatch",
    "available_sensors",
    "create_silicon",
    "open_sensor",
    "register_sensor",
    "register_silicon",
    "silicon_profiles",
]
