# SPDX-License-Identifier: Apache-2.0
"""What thermal_compensation keeps on disk, so that its restart does not throw a compensated network back to nominal.

One small JSON file, written as a whole or not at all. It is only worth something while the chip is as warm as it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from neuro_ros.documents import DocumentError, read_json, write_atomically
from neuro_ros.thermal import ThermalError

__all__ = ["Remembered", "ThermalMemory"]

_FORMAT, _VERSION = "neuro_ros.thermal_memory", 1
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Remembered:
    """The compensation in force.

    Parameters
    ----------
    saved_ns : int
        Host time [ns].
    model_id, silicon_profile : str
        Of which network, on which silicon.
    compensation_id : int
        Of the register values.
    celsius : float
        Temperature that they were chosen for [degree Celsius].
    requested_s : list of list of float
        Programmed time constants of synapse and membrane, one pair a layer [s]; infinite ones stand as null.
    """

    saved_ns: int
    model_id: str
    silicon_profile: str
    compensation_id: int
    celsius: float
    requested_s: list[list[float]]


class ThermalMemory:
    """The file.

    Parameters
    ----------
    path : str
        Empty = none: nothing is kept.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser() if path else None

    def __bool__(self) -> bool:
        return self._path is not None

    def load(self) -> Remembered | None:
        """Return what is kept; None when there is no file yet.

        Raises
        ------
        ThermalError
            The file is damaged or foreign.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            content = read_json(self._path, _MOST_BYTES, _FORMAT, _VERSION)
            pairs = [
                [float("inf") if value is None else float(value) for value in pair] for pair in content["requested_s"]
            ]
            return Remembered(
                int(content["saved_ns"]),
                str(content["model_id"]),
                str(content["silicon_profile"]),
                int(content["compensation_id"]),
                float(content["celsius"]),
                pairs,
            )
        except DocumentError as error:
            raise ThermalError(f"{self._path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ThermalError(f"{self._path}: not what thermal_compensation keeps: {error!r}") from None

    def save(self, remembered: Remembered) -> None:
        """Write; an older file is whole when that fails.

        Raises
        ------
        ThermalError
            The file cannot be written.
        """
        if self._path is None:
            return
        content = {"format": _FORMAT, "version": _VERSION, **asdict(remembered)}
        content["requested_s"] = [
            [None if value == float("inf") else value for value in pair] for pair in remembered.requested_s
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(content).encode())
        except OSError as error:
            raise ThermalError(f"{self._path}: cannot be written: {error.strerror}") from error
