# SPDX-License-Identifier: Apache-2.0
"""The calibration file of a chip: measured time constants over temperature, checked before anybody believes them.

A file is JSON, so that people can read it and no code runs when it is read::

    {"format": "neuro_ros.thermal", "version": 1, "chip": "A7", "reference_celsius": 25.0,
     "populations": {"*": {"membrane": {"celsius": [-40.0, 25.0, 85.0], "tau_s": [0.0239, 0.02, 0.0164]}}},
     "origin": "measured 2026-03-02, ..."}

``*`` stands for every population without an entry of its own. What has no curve does not drift. Only ratios to the
value at the reference temperature matter, so ``tau_s`` may be any response that is proportional to a time constant.

This module refuses to know how the figures were measured: see `neuro_ros.thermal.measurement`.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from neuro_ros.documents import DocumentError, read_json, write_atomically
from neuro_ros.thermal.sensors import ThermalError

__all__ = ["ANY_LAYER", "KINDS", "CalibrationTable", "Curve", "load_table", "save_table"]

ANY_LAYER = "*"
KINDS = ("synapse", "membrane")
_FORMAT, _VERSION = "neuro_ros.thermal", 1
#: Two points are a line, for which the profile ``linear`` is there, and no measurement of its own error.
_LEAST_POINTS = 3
_MOST_POINTS = 10_000
_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class Curve:
    """A time constant over temperature.

    Parameters
    ----------
    celsius : tuple of float
        Strictly ascending, three or more [degree Celsius].
    tau_s : tuple of float
        One a temperature, above 0, never turning round: physics has one sign [s].

    Raises
    ------
    ThermalError
        What was given is not such a curve; the text names the place.
    """

    celsius: tuple[float, ...]
    tau_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.celsius) != len(self.tau_s):
            raise ThermalError(f"{len(self.celsius)} temperatures for {len(self.tau_s)} time constants; give pairs")
        if not _LEAST_POINTS <= len(self.celsius) <= _MOST_POINTS:
            raise ThermalError(f"{len(self.celsius)} points; a table needs {_LEAST_POINTS} to {_MOST_POINTS}")
        for celsius, tau_s in zip(self.celsius, self.tau_s, strict=True):
            if not -273.15 <= celsius < math.inf:
                raise ThermalError(f"a temperature of {celsius} degree Celsius; measure it again")
            if not 0.0 < tau_s < math.inf:
                raise ThermalError(f"a time constant of {tau_s} s at {celsius:g} degree Celsius; it must be above 0")
        for low, high in pairwise(self.celsius):
            if not low < high:
                raise ThermalError(f"{high:g} follows {low:g} degree Celsius; temperatures must ascend, sort them")
        sign = self.tau_s[-1] - self.tau_s[0]
        for place, (before, after) in enumerate(pairwise(self.tau_s)):
            if (after - before) * sign < 0.0 or (sign == 0.0 and after != before):
                raise ThermalError(
                    f"the time constant turns round between {self.celsius[place]:g} and {self.celsius[place + 1]:g} "
                    f"degree Celsius ({before:g} s to {after:g} s); measure again, or smooth with "
                    "neuro_ros calibrate-thermal"
                )

    def at(self, celsius: float) -> float:
        """Return the time constant [s], linear between the points and constant beyond them."""
        place = bisect_right(self.celsius, celsius)
        if place == 0:
            return self.tau_s[0]
        if place == len(self.celsius):
            return self.tau_s[-1]
        low, high = self.celsius[place - 1], self.celsius[place]
        before, after = self.tau_s[place - 1], self.tau_s[place]
        return before + (after - before) * (celsius - low) / (high - low)


@dataclass(frozen=True)
class CalibrationTable:
    """The curves of one chip.

    Parameters
    ----------
    curves : Mapping[str, Mapping[str, Curve]]
        Population, or ``*`` for all others, to ``synapse`` and ``membrane``.
    reference_celsius : float
        Temperature at which programmed time constants are effective [degree Celsius]; inside every curve.
    chip : str
        Which chip was measured.
    origin : str
        How, for people.

    Raises
    ------
    ThermalError
        There is no curve, one of an unknown kind, or one that does not reach the reference.
    """

    curves: Mapping[str, Mapping[str, Curve]]
    reference_celsius: float = 25.0
    chip: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        if not any(self.curves.values()):
            raise ThermalError("the table holds no curve; give one of membrane or synapse")
        for layer, kinds in self.curves.items():
            for kind, curve in kinds.items():
                if kind not in KINDS:
                    raise ThermalError(f"population {layer!r}: {kind!r} is not one of {', '.join(KINDS)}")
                if not curve.celsius[0] <= self.reference_celsius <= curve.celsius[-1]:
                    raise ThermalError(
                        f"population {layer!r}, {kind}: measured from {curve.celsius[0]:g} to {curve.celsius[-1]:g}, "
                        f"which leaves out the reference of {self.reference_celsius:g} degree Celsius"
                    )

    @property
    def range_celsius(self) -> tuple[float, float]:
        """The temperatures that every curve covers [degree Celsius]."""
        curves = [curve for kinds in self.curves.values() for curve in kinds.values()]
        return max(curve.celsius[0] for curve in curves), min(curve.celsius[-1] for curve in curves)

    def ratio(self, layer: str, kind: str, celsius: float) -> float:
        """Return the time constant at `celsius` over that at the reference; 1 where nothing was measured."""
        for name in (layer, ANY_LAYER):
            curve = self.curves.get(name, {}).get(kind)
            if curve is not None:
                return curve.at(celsius) / curve.at(self.reference_celsius)
        return 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return what a file holds."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "chip": self.chip,
            "reference_celsius": self.reference_celsius,
            "populations": {
                layer: {
                    kind: {"celsius": list(curve.celsius), "tau_s": list(curve.tau_s)} for kind, curve in kinds.items()
                }
                for layer, kinds in self.curves.items()
            },
            "origin": self.origin,
        }


def save_table(table: CalibrationTable, path: str | os.PathLike[str]) -> None:
    """Write a table as a whole or not at all.

    Raises
    ------
    ThermalError
        The file cannot be written; an older one is whole.
    """
    try:
        write_atomically(Path(path), (json.dumps(table.as_dict(), indent=1) + "\n").encode())
    except OSError as error:
        raise ThermalError(f"{path}: cannot be written: {error.strerror}") from error


def load_table(path: str | os.PathLike[str]) -> CalibrationTable:
    """Read and check a table.

    Raises
    ------
    ThermalError
        The file is missing, foreign, of another version, or what it holds is no calibration.
    """
    try:
        return _from_dict(read_json(Path(path), _MOST_BYTES, _FORMAT, _VERSION))
    except (ThermalError, DocumentError) as error:
        raise ThermalError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ThermalError(f"{path}: not a calibration table: {error!r}") from None


def _from_dict(content: Mapping[str, Any]) -> CalibrationTable:
    curves = {
        layer: {kind: _curve(layer, kind, entry) for kind, entry in kinds.items()}
        for layer, kinds in content["populations"].items()
    }
    return CalibrationTable(
        curves, float(content["reference_celsius"]), str(content.get("chip", "")), str(content.get("origin", ""))
    )


def _curve(layer: str, kind: str, entry: Mapping[str, Any]) -> Curve:
    try:
        return Curve(_floats(entry["celsius"]), _floats(entry["tau_s"]))
    except ThermalError as error:
        raise ThermalError(f"population {layer!r}, {kind}: {error}") from None


def _floats(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is no list of numbers")
    return tuple(float(value) for value in values)
