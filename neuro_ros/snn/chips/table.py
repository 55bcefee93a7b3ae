# SPDX-License-Identifier: Apache-2.0
"""The chips that this package knows. A new chip is a module with a ``PROFILE`` and one entry here."""

from __future__ import annotations

import importlib

from .figures import ChipError
from .profile import ChipProfile

__all__ = ["chip_names", "chip_profile", "register_chip"]

_MODULES = {
    "loihi1": "neuro_ros.snn.chips.loihi1",
    "loihi2": "neuro_ros.snn.chips.loihi2",
    "speck": "neuro_ros.snn.chips.speck",
}


def chip_names() -> tuple[str, ...]:
    """Return the names of all profiles."""
    return tuple(_MODULES)


def register_chip(name: str, module: str) -> None:
    """Add a chip whose profile is the attribute ``PROFILE`` of `module`.

    Raises
    ------
    ChipError
        When the name is taken.
    """
    if name in _MODULES:
        raise ChipError(f"chip '{name}' is registered already by {_MODULES[name]}")
    _MODULES[name] = module


def chip_profile(name: str) -> ChipProfile:
    """Return a profile by name.

    Raises
    ------
    ChipError
        When there is no such chip.
    """
    if name not in _MODULES:
        raise ChipError(f"there is no chip profile '{name}'; there are {', '.join(_MODULES)}")
    profile: ChipProfile = importlib.import_module(_MODULES[name]).PROFILE
    return profile
