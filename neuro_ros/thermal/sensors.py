# SPDX-License-Identifier: Apache-2.0
"""What a temperature sensor is, and the registry of those there are.

A kind of sensor is one function that lists what it finds, registered under its name; `open_sensor` chooses. This module
refuses to know about files and buses, and about whether a reading can be true (`gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from neuro_ros.errors import NeuroRosError

__all__ = [
    "SensorError",
    "SensorOptions",
    "TemperatureSensor",
    "ThermalError",
    "available_sensors",
    "open_sensor",
    "register_sensor",
]


class ThermalError(NeuroRosError):
    """No sensor as asked for, or a profile that makes no sense."""


class SensorError(NeuroRosError):
    """A reading failed: the sensor is gone, or what it says is no number. The next one may succeed."""


class TemperatureSensor(Protocol):
    """One sensor.

    Attributes
    ----------
    source : str
        What it is, e.g. ``thermal_zone/x86_pkg_temp``, ``hwmon/coretemp/temp1``, ``simulated/ramp``.
    """

    source: str

    def read(self, now_ns: int) -> float:
        """Return the temperature [degree Celsius] at host time `now_ns` [ns]; raises `SensorError`."""


@dataclass(frozen=True)
class SensorOptions:
    """Where sensors are looked for and which is meant.

    Parameters
    ----------
    name : str
        Part of the source's name that must match (case does not matter), e.g. ``cpu``; empty = any.
    sysfs_root : Path
        Where the kernel's files are, ``/sys``; a test gives a folder of its own.
    minimum_celsius, maximum_celsius : float
        A sensor whose present reading is outside is not chosen [degree Celsius].
    simulated : Mapping[str, object]
        Settings of the simulated sensor, see `~neuro_ros.thermal.simulated.SimulatedProfile`.
    """

    name: str = ""
    sysfs_root: Path = Path("/sys")
    minimum_celsius: float = -55.0
    maximum_celsius: float = 150.0
    simulated: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class _Kind:
    find: Callable[[SensorOptions], list[TemperatureSensor]]
    looked_for: str
    real: bool


_KINDS: dict[str, _Kind] = {}


def register_sensor(
    kind: str, find: Callable[[SensorOptions], list[TemperatureSensor]], looked_for: str, *, real: bool
) -> None:
    """Add a kind of sensor.

    Parameters
    ----------
    kind : str
        Its name, the value of the node's parameter.
    find : Callable
        Lists the sensors of this kind, best first; empty when there is none.
    looked_for : str
        What is told to the user when there is none, e.g. ``/sys/class/thermal/thermal_zone*``.
    real : bool
        True when readings are measured, so that ``auto`` may choose it.
    """
    _KINDS[kind] = _Kind(find, looked_for, real)


def available_sensors(options: SensorOptions | None = None, *, kind: str = "auto") -> list[TemperatureSensor]:
    """Return every sensor of `kind` whose source contains the wanted name, in order of preference.

    ``auto`` = every real kind, in order of registration.

    Raises
    ------
    ThermalError
        There is no such kind.
    """
    options = options or SensorOptions()
    if kind != "auto" and kind not in _KINDS:
        raise ThermalError(f"sensor kind {kind!r} is not known; known: auto, {', '.join(_KINDS)}")
    kinds = [entry for name, entry in _KINDS.items() if name == kind or (kind == "auto" and entry.real)]
    found = [sensor for entry in kinds for sensor in entry.find(options)]
    return [sensor for sensor in found if options.name.lower() in sensor.source.lower()]


def open_sensor(kind: str, options: SensorOptions | None = None, *, now_ns: int = 0) -> TemperatureSensor:
    """Return the first sensor of `kind` that gives a reading in range now.

    Parameters
    ----------
    kind : str
        A registered kind, or ``auto`` for the first real one of all kinds.
    options : SensorOptions
        Where to look, and for which.
    now_ns : int
        Host time of the trial reading [ns].

    Raises
    ------
    ThermalError
        None is found, or none gives a reading in range; the text tells what was looked for and what each said.
    """
    options = options or SensorOptions()
    refused = []
    for sensor in available_sensors(options, kind=kind):
        try:
            value = sensor.read(now_ns)
        except SensorError as error:
            refused.append(f"{sensor.source}: {error}")
            continue
        if options.minimum_celsius <= value <= options.maximum_celsius:
            return sensor
        refused.append(
            f"{sensor.source}: {value:g} degree Celsius is outside "
            f"[{options.minimum_celsius:g}, {options.maximum_celsius:g}]"
        )
    entries = [entry for name, entry in _KINDS.items() if name == kind or (kind == "auto" and entry.real)]
    text = f"no temperature sensor: looked for {', '.join(entry.looked_for for entry in entries)}"
    text += f" under {options.sysfs_root}" if kind != "simulated" else ""
    text += f" with {options.name!r} in the name" if options.name else ""
    if refused:
        text += f"; refused {'; '.join(refused)}"
    raise ThermalError(f"{text}; set another sensor, or sensor_fallback to 'simulated' (labelled as such)")
