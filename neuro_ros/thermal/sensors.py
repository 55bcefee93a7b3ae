# SPDX-License-Identifier: Apache-2.0
"""What a temperature sensor is, and the registry of those there are.

A kind of sensor is one function that lists what it finds, registered under its name; `open_sensors` chooses. This
module refuses to know about files and buses, and about whether a reading can be true (`gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from neuro_ros.errors import NeuroRosError

__all__ = [
    "CHOICES",
    "SensorError",
    "SensorNotReadyError",
    "SensorOptions",
    "TemperatureSensor",
    "ThermalError",
    "available_sensors",
    "open_sensor",
    "open_sensors",
    "register_sensor",
]

#: Which of several sensors counts: the first in order of preference, or at any time the hottest.
CHOICES = ("first", "hottest")


class ThermalError(NeuroRosError):
    """No sensor as asked for, or a profile that makes no sense."""


class SensorError(NeuroRosError):
    """A reading failed: the sensor is gone, or what it says is no number. The next one may succeed."""


class SensorNotReadyError(SensorError):
    """The sensor is there and answers, but has nothing to say yet."""


class TemperatureSensor(Protocol):
    """One sensor.

    Attributes
    ----------
    source : str
        What it is, e.g. ``thermal_zone/x86_pkg_temp``, ``hwmon/coretemp/temp1``, ``tmp102/i2c-1/0x48``,
        ``simulated/ramp``; unique on this machine.
    """

    source: str

    def read(self, now_ns: int) -> float:
        """Return the temperature [degree Celsius] at host time `now_ns` [ns]; raises `SensorError`."""

    def close(self) -> None:
        """Hold nothing until the next reading; safe twice."""


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
    i2c : Mapping[str, object]
        Where a chip on a bus is, see `~neuro_ros.thermal.tmp102.I2cAddress`.
    """

    name: str = ""
    sysfs_root: Path = Path("/sys")
    minimum_celsius: float = -55.0
    maximum_celsius: float = 150.0
    simulated: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    i2c: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class _Kind:
    find: Callable[[SensorOptions], list[TemperatureSensor]]
    looked_for: str
    automatic: bool


_KINDS: dict[str, _Kind] = {}


def register_sensor(
    kind: str, find: Callable[[SensorOptions], list[TemperatureSensor]], looked_for: str, *, automatic: bool
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
    automatic : bool
        True when ``auto`` may choose it: readings are measured, and to look for one touches nothing. A bus is not
        probed unasked, because some chips take a reading for a command.
    """
    _KINDS[kind] = _Kind(find, looked_for, automatic)


def available_sensors(options: SensorOptions | None = None, *, kind: str = "auto") -> list[TemperatureSensor]:
    """Return every sensor of `kind` whose source contains the wanted name, in order of preference.

    ``auto`` = every kind that may be looked for unasked, in order of registration.

    Raises
    ------
    ThermalError
        There is no such kind.
    """
    options = options or SensorOptions()
    if kind != "auto" and kind not in _KINDS:
        raise ThermalError(f"sensor kind {kind!r} is not known; known: auto, {', '.join(_KINDS)}")
    found = [sensor for entry in _entries(kind) for sensor in entry.find(options)]
    return [sensor for sensor in found if options.name.lower() in sensor.source.lower()]


def _entries(kind: str) -> list[_Kind]:
    return [entry for name, entry in _KINDS.items() if name == kind or (kind == "auto" and entry.automatic)]


def open_sensor(kind: str, options: SensorOptions | None = None, *, now_ns: int = 0) -> TemperatureSensor:
    """Return the first sensor of `kind` that gives a reading in range now; see `open_sensors`."""
    return open_sensors(kind, options, now_ns=now_ns)[0]


def open_sensors(
    kind: str, options: SensorOptions | None = None, *, choice: str = "first", now_ns: int = 0
) -> list[TemperatureSensor]:
    """Return the sensors of `kind` that give a reading in range now, or are about to.

    Parameters
    ----------
    kind : str
        A registered kind, or ``auto`` for all that may be looked for unasked.
    options : SensorOptions
        Where to look, and for which.
    choice : str
        ``first``: one, the first that reads. ``hottest``: all that read.
    now_ns : int
        Host time of the trial reading [ns].

    Returns
    -------
    list of TemperatureSensor
        At least one, in order of preference.

    Raises
    ------
    ThermalError
        None is found, or none gives a reading in range; the text tells what was looked for and what each said.
    """
    options = options or SensorOptions()
    if choice not in CHOICES:
        raise ThermalError(f"sensor choice {choice!r} is not known; known: {', '.join(CHOICES)}")
    usable: list[TemperatureSensor] = []
    refused = []
    for sensor in available_sensors(options, kind=kind):
        try:
            value = sensor.read(now_ns)
        except SensorNotReadyError:
            value = options.minimum_celsius
        except SensorError as error:
            sensor.close()
            refused.append(f"{sensor.source}: {error}")
            continue
        if not options.minimum_celsius <= value <= options.maximum_celsius:
            sensor.close()
            refused.append(
                f"{sensor.source}: {value:g} degree Celsius is outside "
                f"[{options.minimum_celsius:g}, {options.maximum_celsius:g}]"
            )
            continue
        usable.append(sensor)
        if choice == "first":
            break
    if usable:
        return usable
    text = f"no temperature sensor: looked for {', '.join(entry.looked_for for entry in _entries(kind))}"
    text += f" under {options.sysfs_root}" if kind in ("auto", "thermal_zone", "hwmon") else ""
    text += f" with {options.name!r} in the name" if options.name else ""
    if refused:
        text += f"; refused {'; '.join(refused)}"
    raise ThermalError(f"{text}; set another sensor, or sensor_fallback to 'simulated' (labelled as such)")
