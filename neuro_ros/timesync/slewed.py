# SPDX-License-Identifier: Apache-2.0
"""An output clock: the master's time as a function of ours, steered without jumps.

An estimate moves a little with every exchange. Whoever converts times with one estimate after the other would see time
run backwards now and then; this clock takes the difference off by running a little faster or slower for a while, and
jumps only beyond a threshold, which is counted. Between two corrections it is a straight line with a positive slope, so
its time never runs backwards unless it steps or our own clock does.

This module reads no clock and refuses to know where the target comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuro_ros.timesync.clock_map import PPB, ClockMap
from neuro_ros.timesync.settings import TimesyncError

__all__ = ["SlewSettings", "SlewedClock"]

_S = 1_000_000_000


@dataclass(frozen=True)
class SlewSettings:
    """How `SlewedClock` is steered.

    Parameters
    ----------
    step_threshold_s : float
        Errors above this are taken off at once [s].
    slew_time_s : float
        Errors below it are taken off in about this time [s] ...
    max_slew_ppm : float
        ... unless that asked for more than this change of rate [ppm].

    Raises
    ------
    TimesyncError
        A value is not finite or not positive, or the rate could become negative.
    """

    step_threshold_s: float = 0.02
    slew_time_s: float = 2.0
    max_slew_ppm: float = 500.0

    def __post_init__(self) -> None:
        for name in ("step_threshold_s", "slew_time_s", "max_slew_ppm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise TimesyncError(f"{name}: {value!r} must be finite and above 0")
        if self.max_slew_ppm > 100_000:
            raise TimesyncError(f"max_slew_ppm: {self.max_slew_ppm:g} is more than a tenth of the rate")


class SlewedClock:
    """A monotonic clock that follows a master's; see the module's text.

    Parameters
    ----------
    settings : SlewSettings, optional
        May be replaced at any time through the attribute of the same name.

    Attributes
    ----------
    steps : int
        Jumps after the first setting.
    """

    def __init__(self, settings: SlewSettings | None = None) -> None:
        self.settings = settings or SlewSettings()
        self.steps = 0
        self._line: ClockMap | None = None
        self._until_ns = 0  # our time at which the slew ends
        self._rest: ClockMap | None = None  # the line from there on

    @property
    def is_set(self) -> bool:
        """True once the clock shows a time."""
        return self._line is not None

    def line(self, now_ns: int) -> ClockMap | None:
        """Return the line from master's time to ours that holds at our time `now_ns`; None before the first setting."""
        return self._rest if self._rest is not None and now_ns >= self._until_ns else self._line

    def read(self, now_ns: int) -> int:
        """Return the master's time at our time `now_ns` [ns].

        Raises
        ------
        TimesyncError
            The clock has not been set.
        """
        line = self.line(now_ns)
        if line is None:
            raise TimesyncError("the clock has not been set; look at is_set first")
        return line.to_sensor_ns(now_ns)

    def follow(self, target: ClockMap, now_ns: int) -> bool:
        """Steer towards a line from master's time to ours; True when that took a step.

        Parameters
        ----------
        target : ClockMap
            Where the master's clock is thought to be.
        now_ns : int
            Our time [ns].
        """
        wanted_ns = target.to_sensor_ns(now_ns)
        if self._line is None:
            self.set(wanted_ns, now_ns, target.skew_ppb)
            return True
        error_ns = wanted_ns - self.read(now_ns)
        if abs(error_ns) > self.settings.step_threshold_s * _S:
            self.steps += 1
            self.set(wanted_ns, now_ns, target.skew_ppb)
            return True
        limit = self.settings.max_slew_ppm * 1e-6
        extra = max(-limit, min(limit, error_ns / (self.settings.slew_time_s * _S)))
        self._run(now_ns, target.skew_ppb, extra, 0 if extra == 0 else round(error_ns / extra))
        return False

    def set(self, master_ns: int, now_ns: int, skew_ppb: float) -> None:
        """Show `master_ns` at our time `now_ns` [ns], and run on at the rate of `skew_ppb`."""
        self._line, self._rest = ClockMap(master_ns, now_ns, skew_ppb), None

    def steer(self, ppb: float, now_ns: int) -> None:
        """Run `ppb` slower than our own clock from our time `now_ns` on, as a servo says."""
        if self._line is not None:
            # A rate of 1 - a against ours is a skew of 1 / (1 - a) - 1 of the line from it to ours.
            slower = ppb * PPB
            self.set(self.read(now_ns), now_ns, slower / (1.0 - slower) / PPB)

    def _run(self, now_ns: int, skew_ppb: float, extra: float, duration_ns: int) -> None:
        """Run at the target's rate plus `extra` for a while, then at the target's rate."""
        shown_ns = self.read(now_ns)
        rate = 1.0 / (1.0 + skew_ppb * PPB) + extra
        self._line = ClockMap(shown_ns, now_ns, (1.0 / rate - 1.0) / PPB)
        self._until_ns = now_ns + duration_ns
        self._rest = ClockMap(self._line.to_sensor_ns(self._until_ns), self._until_ns, skew_ppb)
