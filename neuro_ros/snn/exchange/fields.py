# SPDX-License-Identifier: Apache-2.0
"""Reads files of nested groups and asks them for checked values: every lack is one line with its place in the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros import hdf5 as h5
from neuro_ros.documents import write_atomically

from .base import ExchangeError
from .linear import Floats

__all__ = ["Fields", "read_fields", "write_tree"]

#: Numbers of one file; a network of 2^25 float32 weights is far beyond what a chip holds.
MAX_BYTES = 1 << 28
_LARGEST = 1e38  # about what float32 holds; squares stay far from the end of float64


class Fields:
    """A group of a file.

    Parameters
    ----------
    entries : mapping
        As `neuro_ros.hdf5.tree` returns it.
    place : str
        Path of the group in the file, for messages.
    """

    def __init__(self, entries: Mapping[str, Any], place: str) -> None:
        self._entries = entries
        self.place = place

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """List what the group holds."""
        return list(self._entries)

    def _get(self, name: str) -> Any:
        if name not in self._entries:
            raise ExchangeError(f"{self.place}/{name} is missing; there are {', '.join(self._entries) or 'no entries'}")
        return self._entries[name]

    def group(self, name: str) -> Fields:
        """Return a group within."""
        value = self._get(name)
        if not isinstance(value, Mapping):
            raise ExchangeError(f"{self.place}/{name} is no group")
        return Fields(value, f"{self.place}/{name}")

    def text(self, name: str) -> str:
        """Return a text, given by itself or as the one entry of an array."""
        value = self._get(name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.flat[0]
        if not isinstance(value, str):
            raise ExchangeError(f"{self.place}/{name} is no text")
        return value

    def texts(self, name: str) -> Any:
        """Return an array of texts."""
        value = self._get(name)
        if not isinstance(value, np.ndarray) or not all(isinstance(entry, str) for entry in value.ravel()):
            raise ExchangeError(f"{self.place}/{name} holds no texts")
        return value

    def array(self, name: str, *ranks: int) -> Floats:
        """Return finite numbers as float64, of one of the `ranks` where any are given, and not empty."""
        value = self._get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise ExchangeError(f"{self.place}/{name} holds no numbers")
        if ranks and value.ndim not in ranks:
            raise ExchangeError(f"{self.place}/{name} has the shape {value.shape}; of rank {ranks} are understood")
        if value.size == 0:
            raise ExchangeError(f"{self.place}/{name} is empty {value.shape}")
        array = value.astype(np.float64)
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise ExchangeError(f"{self.place}/{name} has {bad} values of {array.size} that are not finite")
        if float(np.abs(array).max()) > _LARGEST:
            raise ExchangeError(f"{self.place}/{name} has values beyond {_LARGEST:g}")
        return array

    def number(self, name: str, default: float | None = None) -> float:
        """Return one number, given by itself or as the one entry of an array."""
        if default is not None and name not in self._entries:
            return default
        value = self.array(name)
        if value.size != 1:
            raise ExchangeError(f"{self.place}/{name} has {value.size} values, one is expected")
        return float(value.flat[0])

    def whole(self, name: str, default: int | None = None) -> int:
        """Return one whole number below 2^31."""
        value = self.number(name, default)
        if value != round(value) or abs(value) >= 1 << 31:
            raise ExchangeError(f"{self.place}/{name} is {value:g}, not a whole number in reach")
        return int(value)

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return whole numbers, one or several."""
        values = np.atleast_1d(self.array(name, 0, 1))
        if (values != np.rint(values)).any() or np.abs(values).max() >= 1 << 31:
            raise ExchangeError(f"{self.place}/{name} is {values.tolist()}, not whole numbers in reach")
        return tuple(int(value) for value in values)

    def pair(self, name: str, low: int, default: int | None = None) -> tuple[int, int]:
        """Return (vertical, horizontal) of at least `low` and at most 1024, from two numbers or one."""
        if default is not None and name not in self._entries:
            return default, default
        values = self.wholes(name)
        if len(values) not in (1, 2) or min(values) < low or max(values) > 1024:
            raise ExchangeError(
                f"{self.place}/{name} is {list(values)}; one or two numbers within {low}..1024 are expected"
            )
        return values[0], values[-1]


def read_fields(path: str | os.PathLike[str]) -> Fields:
    """Read an HDF5 file as a whole.

    Raises
    ------
    ExchangeError
        When it is missing, garbled, too large, or holds anything but numbers and texts.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ExchangeError(f"cannot read {path}: {error.strerror or error}") from None
    if not path.is_file() or size == 0:
        raise ExchangeError(f"{path} is no file, or empty")
    try:
        with h5.open_file(path) as file:
            return Fields(h5.tree(file, MAX_BYTES), "")
    except h5.Hdf5Error as error:
        raise ExchangeError(str(error)) from None
    except (*h5.DAMAGE, RecursionError) as error:
        raise ExchangeError(f"{path}: not readable as HDF5: {h5.one_line(error)}") from error


def write_tree(entries: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write an HDF5 file as a whole or not at all.

    Raises
    ------
    ExchangeError
        When it cannot be written; an older file stays as it was.
    """
    try:
        data = h5.create_file(entries)
        write_atomically(Path(path), data)
    except h5.Hdf5Error as error:
        raise ExchangeError(str(error)) from None
    except OSError as error:
        raise ExchangeError(f"cannot write {path}: {error.strerror or error}") from None
