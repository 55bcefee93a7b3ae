# SPDX-License-Identifier: Apache-2.0
"""A sensor that measures nothing: profiles over time, for demonstrations and tests. Always labelled ``simulated/...``.

A profile is one function of the elapsed time, registered under its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neuro_ros.thermal.sensors import SensorOptions, TemperatureSensor, ThermalError, register_sensor

__all__ = ["PROFILES", "SimulatedProfile", "SimulatedSensor"]

_S = 1_000_000_000


@dataclass(frozen=True)
class SimulatedProfile:
    """A temperature over time.

    Parameters
    ----------
    profile : str
        ``constant`` (start), ``ramp`` (start to end within duration_s, then end) or ``step`` (start, from duration_s
        on end).
    start_celsius, end_celsius : float
        Temperatures [degree Celsius].
    duration_s : float
        Time of the ramp, or until the step [s].

    Raises
    ------
    ThermalError
        Unknown profile, a value that is not finite, or no positive duration.
    """

    profile: str = "constant"
    start_celsius: float = 25.0
    end_celsius: float = 25.0
    duration_s: float = 60.0

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ThermalError(f"simulated profile {self.profile!r} is not known; known: {', '.join(PROFILES)}")
        if not (math.isfinite(self.start_celsius) and math.isfinite(self.end_celsius)):
            raise ThermalError(f"simulated {self.start_celsius!r} to {self.end_celsius!r} degree Celsius: not finite")
        if not 0 < self.duration_s < math.inf:
            raise ThermalError(f"simulated duration {self.duration_s!r} s: must be finite and above 0")

    def at(self, elapsed_s: float) -> float:
        """Return the temperature [degree Celsius] `elapsed_s` after the first reading."""
        return PROFILES[self.profile](self, elapsed_s)


#: Shapes by name: functions of the profile and the elapsed time [s] that give degrees Celsius.
PROFILES: Mapping[str, Callable[[SimulatedProfile, float], float]] = {
    "constant": lambda profile, _: profile.start_celsius,
    "ramp": lambda profile, elapsed_s: (
        profile.start_celsius
        + (profile.end_celsius - profile.start_celsius) * min(1.0, max(0.0, elapsed_s / profile.duration_s))
    ),
    "step": lambda profile, elapsed_s: profile.start_celsius if elapsed_s < profile.duration_s else profile.end_celsius,
}


class SimulatedSensor:
    """Plays a profile from its first reading on.

    Parameters
    ----------
    profile : SimulatedProfile
        What to play.
    """

    def __init__(self, profile: SimulatedProfile) -> None:
        self.source = f"simulated/{profile.profile}"
        self._profile = profile
        self._start_ns: int | None = None

    def read(self, now_ns: int) -> float:
        """Return the temperature [degree Celsius] at host time `now_ns`."""
        # A trial reading at time 0 is none of a clock's; the profile starts with the first real one.
        if now_ns and self._start_ns is None:
            self._start_ns = now_ns
        return self._profile.at((now_ns - (self._start_ns or now_ns)) / _S)


def _find(options: SensorOptions) -> list[TemperatureSensor]:
    return [SimulatedSensor(SimulatedProfile(**options.simulated))]  # type: ignore[arg-type]


register_sensor("simulated", _find, "a simulated profile", real=False)
