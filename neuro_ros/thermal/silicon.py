# SPDX-License-Identifier: Apache-2.0
"""How a chip's time constants change with temperature, and which registers cancel that.

A profile is one class, registered under its name. ``digital`` is the truth for Loihi and for our fixed-point engine:
decays are integers a step, a warm chip computes the same spikes as a cold one, and to "compensate" would introduce an
error. Drifting, mixed-signal profiles are further classes behind the same door.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from neuro_ros.thermal.sensors import ThermalError

__all__ = [
    "DigitalSilicon",
    "RegisterSet",
    "SiliconProfile",
    "create_silicon",
    "register_silicon",
    "silicon_profiles",
]


@dataclass(frozen=True, slots=True)
class RegisterSet:
    """Register values for a temperature, one entry a population in each tuple; see ``ThermalCompensation.msg``."""

    layer: tuple[str, ...] = ()
    tau_syn_requested_s: tuple[float, ...] = ()
    tau_mem_requested_s: tuple[float, ...] = ()
    tau_syn_effective_s: tuple[float, ...] = ()
    tau_mem_effective_s: tuple[float, ...] = ()
    du: tuple[int, ...] = ()
    dv: tuple[int, ...] = ()
    clipped: tuple[bool, ...] = ()
    remaining_error: tuple[float, ...] = ()


class SiliconProfile(Protocol):
    """A drift model.

    Attributes
    ----------
    name : str
        Name in the registry.
    """

    name: str

    def registers(self, celsius: float) -> RegisterSet:
        """Return the register values that keep the time constants nominal at `celsius` [degree Celsius]."""


class DigitalSilicon:
    """A chip that does not drift: no population needs other registers, at any temperature."""

    name = "digital"

    def registers(self, celsius: float) -> RegisterSet:  # noqa: ARG002 - it does not matter, that is the point
        """Return the empty set."""
        return RegisterSet()


_PROFILES: dict[str, Callable[[], SiliconProfile]] = {}


def register_silicon(name: str, factory: Callable[[], SiliconProfile]) -> None:
    """Add a profile."""
    _PROFILES[name] = factory


def silicon_profiles() -> list[str]:
    """Return the names of all profiles."""
    return sorted(_PROFILES)


def create_silicon(name: str) -> SiliconProfile:
    """Return a profile by name.

    Raises
    ------
    ThermalError
        There is no such profile.
    """
    if name not in _PROFILES:
        raise ThermalError(f"silicon profile {name!r} is not known; known: {', '.join(silicon_profiles())}")
    return _PROFILES[name]()


register_silicon(DigitalSilicon.name, DigitalSilicon)
