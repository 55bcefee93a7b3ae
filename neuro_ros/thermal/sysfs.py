# SPDX-License-Identifier: Apache-2.0
"""Temperatures from the Linux kernel: thermal zones and hwmon, both in thousandths of a degree Celsius, signed.

The numbers in the kernel's paths change from boot to boot and when a device is plugged in again, so a sensor is its
zone's type, or its chip's name, input and label; it is looked for anew when its file is gone.

References
----------
Linux kernel documentation, "Generic Thermal Sysfs driver How To" and "Naming and data format standards for sysfs
files".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
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
    find_again : Callable[[], Mapping[str, Path]], optional
        Where the files of all sources are now, for when this one is gone.
    """

    def __init__(self, path: Path, source: str, find_again: Callable[[], dict[str, Path]] | None = None) -> None:
        self.path = path
        self.source = source
        self._find_again = find_again

    def read(self, now_ns: int) -> float:  # noqa: ARG002 - the file is always of now
        """Return the temperature [degree Celsius].

        Raises
        ------
        SensorError
            The file is gone, cannot be read, or holds no integer; or the chip says that its sensor is faulty.
        """
        try:
            text = self._content()
        except OSError as error:
            raise SensorError(f"{self.path}: {error.strerror or error}") from error
        if _text(self.path.with_name(self.path.name.replace("_input", "_fault"))) == "1":
            raise SensorError(f"{self.path}: the chip reports a fault of this sensor")
        if not re.fullmatch(r"[+-]?\d{1,9}", text):
            raise SensorError(f"{self.path}: {text[:32]!r} is no number of millidegrees")
        return int(text) * _MILLI

    def _content(self) -> str:
        try:
            return self.path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            moved = self._find_again().get(self.source) if self._find_again is not None else None
            if moved is None or moved == self.path:
                raise
            self.path = moved
            return self.path.read_text(encoding="ascii", errors="replace").strip()

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""


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


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    for zone in sorted((root / "class" / "thermal").glob("thermal_zone*"), key=_number):
        if (zone / "temp").exists():
            yield f"thermal_zone/{_text(zone / 'type') or zone.name}", zone / "temp"


def _inputs(root: Path) -> Iterator[tuple[str, Path]]:
    for chip in sorted((root / "class" / "hwmon").glob("hwmon*"), key=_number):
        name = _text(chip / "name") or chip.name
        for file in sorted(chip.glob("temp*_input"), key=_number):
            item = file.name.removesuffix("_input")
            label = _text(chip / f"{item}_label")
            yield f"hwmon/{name}/{item}" + (f"/{label}" if label else ""), file


def _unique(found: Iterator[tuple[str, Path]]) -> dict[str, Path]:
    """Return source to file; the second of two alike is called ``...#2``."""
    times: Counter[str] = Counter()
    files = {}
    for source, file in found:
        times[source] += 1
        files[source if times[source] == 1 else f"{source}#{times[source]}"] = file
    return files


def _sensors(files: Callable[[], dict[str, Path]]) -> list[TemperatureSensor]:
    found: list[TemperatureSensor] = [SysfsSensor(file, source, files) for source, file in files().items()]
    return sorted(found, key=_preference)


def find_thermal_zones(options: SensorOptions) -> list[TemperatureSensor]:
    """List thermal zones, named ``thermal_zone/TYPE``, processors first."""
    return _sensors(lambda: _unique(_zones(options.sysfs_root)))


def find_hwmon(options: SensorOptions) -> list[TemperatureSensor]:
    """List hwmon inputs, named ``hwmon/CHIP/tempN`` and, where there is one, ``/LABEL``, processors first."""
    return _sensors(lambda: _unique(_inputs(options.sysfs_root)))


register_sensor("thermal_zone", find_thermal_zones, "class/thermal/thermal_zone*/temp", automatic=True)
register_sensor("hwmon", find_hwmon, "class/hwmon/hwmon*/temp*_input", automatic=True)
