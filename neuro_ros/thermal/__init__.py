# SPDX-License-Identifier: Apache-2.0
"""Temperature: sensors, whether a reading can be true, and what a chip's silicon needs at it."""

from neuro_ros.thermal import simulated as _simulated  # noqa: F401 - registers its sensor
from neuro_ros.thermal import sysfs as _sysfs  # noqa: F401 - registers its sensors
from neuro_ros.thermal import tmp102 as _tmp102  # noqa: F401 - registers its sensors
from neuro_ros.thermal.calibration import CalibrationTable, Curve, load_table, save_table
from neuro_ros.thermal.chip import Die, DriftingEngine
from neuro_ros.thermal.compensation import Compensator, Population, RegisterSet, populations
from neuro_ros.thermal.dead_band import DeadBand
from neuro_ros.thermal.gate import GateCounters, PlausibilityGate
from neuro_ros.thermal.readings import Readings, Verdict
from neuro_ros.thermal.sensors import (
    CHOICES,
    SensorError,
    SensorNotReadyError,
    SensorOptions,
    TemperatureSensor,
    ThermalError,
    available_sensors,
    open_sensor,
    open_sensors,
    register_sensor,
)
from neuro_ros.thermal.silicon import (
    Drift,
    SiliconOptions,
    SiliconProfile,
    create_silicon,
    register_silicon,
    silicon_profiles,
)
from neuro_ros.thermal.throttle import Throttle
from neuro_ros.thermal.watch import ThermalState, ThermalWatch

__all__ = [
    "CHOICES",
    "CalibrationTable",
    "Compensator",
    "Curve",
    "DeadBand",
    "Die",
    "Drift",
    "DriftingEngine",
    "GateCounters",
    "PlausibilityGate",
    "Population",
    "Readings",
    "RegisterSet",
    "SensorError",
    "SensorNotReadyError",
    "SensorOptions",
    "SiliconOptions",
    "SiliconProfile",
    "TemperatureSensor",
    "ThermalError",
    "ThermalState",
    "ThermalWatch",
    "Throttle",
    "Verdict",
    "available_sensors",
    "create_silicon",
    "load_table",
    "open_sensor",
    "open_sensors",
    "populations",
    "register_sensor",
    "register_silicon",
    "save_table",
    "silicon_profiles",
]
