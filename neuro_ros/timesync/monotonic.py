# SPDX-License-Identifier: Apache-2.0
"""Convert by a clock model that is replaced now and then, without host time ever running backwards.

Two models of one clock differ by about their uncertainty where they meet. Whoever applies the newest one as it is makes
the host time of a later event earlier than that of an event before it. Here the new model takes over at the latest
sensor time converted so far, where it agrees with what was said there; from there on the difference is worked off at a
bounded rate:

    host(s) = model(s) - sign(difference) * max(0, |difference| - rate * max(0, s - last_sensor))

Only a difference above the step threshold, which is no refinement but another clock, is taken at once and counted, and
so is a sensor time long before the latest, which is another run of the sensor. The line that is published stays the
best estimate; this is for those who convert with it, since they alone know what they have said already.

References
----------
Mills, Martin, Burbank, Kasch, "Network Time Protocol Version 4", RFC 5905, section 12: 500 ppm and a step threshold.
"""

from __future__ import annotations

import math

from neuro_ros.timesync.clock_map import ClockMap
from neuro_ros.timesync.settings import TimesyncError

__all__ = ["MonotonicMap"]

_S = 1_000_000_000
#: Nobody converts a window this long after a later one; a sensor time so far back is another run of the sensor [ns].
_OTHER_RUN_NS = 10 * _S


class MonotonicMap:
    """A clock map whose replacements are slewed; see the module's text.

    Parameters
    ----------
    slew_ppm : float
        Rate at which a difference is worked off [ppm]; 500 is what NTP and Unix use.
    step_s : float
        Difference above which the new model is taken at once [s].

    Attributes
    ----------
    steps : int
        Differences and jumps of sensor time taken at once.

    Raises
    ------
    TimesyncError
        A limit is not finite or not positive, or the rate would stop the clock.

    Examples
    --------
    >>> clock = MonotonicMap()
    >>> clock.follow(ClockMap(0, 1_000_000))
    >>> clock.to_host_ns(5_000)
    1005000
    >>> clock.follow(ClockMap(0, 999_000))  # a microsecond less
    >>> clock.to_host_ns(5_000), clock.to_host_ns(6_000), clock.to_host_ns(1_000_005_000)
    (1005000, 1006000, 1001004000)
    """

    def __init__(self, slew_ppm: float = 500.0, step_s: float = 0.02) -> None:
        if not 0.0 < slew_ppm < 1e6:
            raise TimesyncError(f"slew_ppm: {slew_ppm!r} must be above 0 and below 1e6")
        if not (math.isfinite(step_s) and step_s > 0.0):
            raise TimesyncError(f"step_s: {step_s!r} must be finite and above 0")
        self.steps = 0
        self._rate = slew_ppm * 1e-6
        self._step_ns = step_s * _S
        self._target: ClockMap | None = None
        self._last: tuple[int, int] | None = None
        self._join_ns = self._difference_ns = 0  # where the model took over, and how far it was off there

    @property
    def target(self) -> ClockMap | None:
        """The model that is followed; None before the first."""
        return self._target

    def reset(self) -> None:
        """Forget the model and what was said: the next model is taken as it is."""
        self._target = self._last = None
        self._difference_ns = 0

    def follow(self, clock: ClockMap) -> None:
        """Convert by `clock` from the latest converted sensor time on."""
        self._target, self._difference_ns = clock, 0
        if self._last is None:
            return
        self._join_ns, host_ns = self._last
        difference_ns = clock.to_host_ns(self._join_ns) - host_ns
        if abs(difference_ns) <= self._step_ns:
            self._difference_ns = difference_ns
        else:
            self._step()

    def _step(self) -> None:
        self.steps += 1
        self._last, self._difference_ns = None, 0

    def to_host_ns(self, sensor_ns: int) -> int:
        """Return the host time [ns] of a sensor time [ns]; never less than that of an earlier one, but after a step.

        Raises
        ------
        TimesyncError
            There is no model yet.
        """
        if self._target is None:
            raise TimesyncError("no clock model to convert with: call follow first")
        if self._last is not None and self._last[0] - sensor_ns > _OTHER_RUN_NS:
            self._step()
        host_ns = self._target.to_host_ns(sensor_ns) - self._remaining_ns(sensor_ns)
        if self._last is None:
            self._last = sensor_ns, host_ns
        elif sensor_ns > self._last[0]:
            host_ns = max(host_ns, self._last[1])  # rounding: a nanosecond or two
            self._last = sensor_ns, host_ns
        elif sensor_ns == self._last[0]:
            host_ns = self._last[1]
        else:
            host_ns = min(host_ns, self._last[1])
        return host_ns

    def _remaining_ns(self, sensor_ns: int) -> int:
        """Return how much of the difference is not worked off yet at a sensor time [ns]."""
        difference_ns = self._difference_ns
        if not difference_ns:
            return 0
        left_ns = max(0, abs(difference_ns) - int(self._rate * max(0, sensor_ns - self._join_ns)))
        return left_ns if difference_ns > 0 else -left_ns
