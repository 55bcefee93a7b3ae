# SPDX-License-Identifier: Apache-2.0
"""Temperatures from the Linux kernel: thermal zones and hwmon, both in thousandths of a degree Celsius, signed.

References
----------
Linux kernel documentation, "Generic Thermal Sysfs driver How To" and "Naming and data format standards for sysfs
files".
"""

from __future__ import annotations

import re
from pathlib import Path

from neuro_ros.thermal.sensors import SensorError, SensorOptions, TemperatureSensor, register_sensor

__all__ = ["SysfsSensor", "find_hwmon", "find_thermal_zones"]

_MILLI = 1e-3
#: Types and chips that measure what computes come first; batteries and radios are hot for reasons of their own.
_PREFERRED = ("x86_pkg", "coretemp", "k10temp", "cpu", "soc", "tj", "tmp102")


class SysfsSensor:
    """One file of the kernel that holds a temperature.

    Parameters
    ----------
    path : Path
        The file, in millidegrees Celsius.
    source : str
        What to call it.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    def read(self, now_ns: int) -> float:  # noqa: ARG002 - the file is always of now
        """Return the temperature [degree Celsius].

        Raises
        ------
        SensorError
            The file is gone, cannot be read, or holds no integer.
        """
        try:
            text = self.path.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise SensorError(f"{self.path}: {error.strerror or error}") from error
        if not re.fullmatch(r"[+-]?\d{1,9}", text):
            raise SensorError(f"{self.path}: {text[:32]!r} is no number of millidegrees")
        return int(text) * _MILLI


def _text(path: Path) -> str:
    """Return the file's first words without characters that would confuse a label; empty when unreadable."""
    try:
        return re.sub(r"[^\w.+-]+", "_", path.read_text(encoding="ascii", errors="replace").strip())
    except OSError:
        return ""


def _number(path: Path) -> int:
    """Return the first number in a file name, for 2 before 10."""
    digits = re.search(r"\d+", path.name)
    return int(digits.group()) if digits else 0


def _preference(sensor: TemperatureSensor) -> int:
    source = sensor.source.lower()
    return next((rank for rank, word in enumerate(_PREFERRED) if word in source), len(_PREFERRED))


def find_thermal_zones(options: SensorOptions) -> list[TemperatureSensor]:
    """List thermal zones, named ``thermal_zone/TYPE``, processors first."""
    zones = sorted((options.sysfs_root / "class" / "thermal").glob("thermal_zone*"), key=_number)
    found: list[TemperatureSensor] = [
        SysfsSensor(zone / "temp", f"thermal_zone/{_text(zone / 'type') or zone.name}")
        for zone in zones
        if (zone / "temp").exists()
    ]
    return sorted(found, key=_preference)


def find_hwmon(options: SensorOptions) -> list[TemperatureSensor]:
    """List hwmon inputs, named ``hwmon/CHIP/tempN``, processors first."""
    found: list[TemperatureSensor] = []
    for chip in sorted((options.sysfs_root / "class" / "hwmon").glob("hwmon*"), key=_number):
        name = _text(chip / "name") or chip.name
        for file in sorted(chip.glob("temp*_input"), key=_number):
            found.append(SysfsSensor(file, f"hwmon/{name}/{file.name.removesuffix('_input')}"))  # noqa: PERF401
    return sorted(found, key=_preference)


register_sensor("thermal_zone", find_thermal_zones, "class/thermal/thermal_zone*/temp", real=True)
register_sensor("hwmon", find_hwmon, "class/hwmon/hwmon*/temp*_input", real=True)
