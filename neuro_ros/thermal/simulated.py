# SPDX-License-Identifier: Apache-2.0
"""A sensor that measures nothing: profiles over time, for demonstrations and tests. Always labelled ``simulated/...``.

A profile is one function of the elapsed time, registered under its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from neuro_ros.thermal.sensors import SensorError, SensorOptions, TemperatureSensor, ThermalError, register_sensor

__all__ = ["PROFILES", "SimulatedProfile", "SimulatedSensor"]

_S = 1_000_000_000


@dataclass(frozen=True)
class SimulatedProfile:
    """A temperature over time.

    Parameters
    ----------
    profile : str
        ``constant`` (start), ``ramp`` (start to end within duration_s, then end), ``step`` (start, from duration_s
        on end) or ``flight`` (from start, in the cold up there, warm under load, hot after landing at end; once within
        duration_s, then end).
    start_celsius, end_celsius : float
        Temperatures [degree Celsius].
    duration_s : float
        Time of the ramp or the flight, or until the step [s].
    dropout_after_s, dropout_s : float
        Time after which the sensor does not answer, and for how long [s]; 0 = it always answers.

    Raises
    ------
    ThermalError
        Unknown profile, a value that is not finite, or no positive duration.
    """

    profile: str = "constant"
    start_celsius: float = 25.0
    end_celsius: float = 25.0
    duration_s: float = 60.0
    dropout_after_s: float = 0.0
    dropout_s: float = 0.0

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ThermalError(f"simulated profile {self.profile!r} is not known; known: {', '.join(PROFILES)}")
        if not (math.isfinite(self.start_celsius) and math.isfinite(self.end_celsius)):
            raise ThermalError(f"simulated {self.start_celsius!r} to {self.end_celsius!r} degree Celsius: not finite")
        if not 0 < self.duration_s < math.inf:
            raise ThermalError(f"simulated duration {self.duration_s!r} s: must be finite and above 0")
        if not (0 <= self.dropout_after_s < math.inf and 0 <= self.dropout_s < math.inf):
            raise ThermalError(
                f"simulated drop-out of {self.dropout_s!r} s after {self.dropout_after_s!r} s: not finite, or below 0"
            )

    def at(self, elapsed_s: float) -> float:
        """Return the temperature [degree Celsius] `elapsed_s` after the first reading.

        Raises
        ------
        SensorError
            The sensor does not answer then.
        """
        if 0 <= elapsed_s - self.dropout_after_s < self.dropout_s:
            raise SensorError("the simulated sensor does not answer")
        return PROFILES[self.profile](self, elapsed_s)


#: The flight: part of its duration, and how far the temperature is from the start to 15 degrees below it (-1) or to
#: the end (1). On the ground, climb, cruise in the cold, descent with the computer under load, hover, landed without
#: an air stream.
_FLIGHT = ((0.0, 0.0), (0.12, 0.0), (0.4, -1.0), (0.55, -1.0), (0.75, 0.5), (0.85, 0.5), (0.95, 1.0), (1.0, 1.0))
_FLIGHT_DROP_CELSIUS = 15.0


def _flight(profile: SimulatedProfile, elapsed_s: float) -> float:
    part = min(1.0, max(0.0, elapsed_s / profile.duration_s))
    for (begin, low), (end, high) in pairwise(_FLIGHT):
        if part <= end:
            level = low + (high - low) * (part - begin) / (end - begin)
            break
    if level < 0.0:
        return profile.start_celsius + _FLIGHT_DROP_CELSIUS * level
    return profile.start_celsius + (profile.end_celsius - profile.start_celsius) * level


#: Shapes by name: functions of the profile and the elapsed time [s] that give degrees Celsius.
PROFILES: Mapping[str, Callable[[SimulatedProfile, float], float]] = {
    "constant": lambda profile, _: profile.start_celsius,
    "ramp": lambda profile, elapsed_s: (
        profile.start_celsius
        + (profile.end_celsius - profile.start_celsius) * min(1.0, max(0.0, elapsed_s / profile.duration_s))
    ),
    "step": lambda profile, elapsed_s: profile.start_celsius if elapsed_s < profile.duration_s else profile.end_celsius,
    "flight": _flight,
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

    def close(self) -> None:
        """Do nothing: the profile plays on."""


def _find(options: SensorOptions) -> list[TemperatureSensor]:
    return [SimulatedSensor(SimulatedProfile(**options.simulated))]  # type: ignore[arg-type]


register_sensor("simulated", _find, "a simulated profile", automatic=False)
