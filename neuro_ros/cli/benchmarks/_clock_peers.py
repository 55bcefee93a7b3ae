# SPDX-License-Identifier: Apache-2.0
"""Other ways to follow a clock, written from their description, as peers of ours.

All take offset samples (time of the followed clock, how far ours is ahead of it): of one arrival, or of an exchange.
Nobody else publishes an uncertainty. The lines they give are `ClockMap`, so that all are converted with alike.

References
----------
MAVROS ``sys_time`` (gains, convergence window, deviation limits); linuxptp ``pi.c`` (constants, scaling, start).
"""

from __future__ import annotations

import math
from typing import Protocol

from neuro_ros.timesync import ClockMap

__all__ = ["AlphaBeta", "Naive", "Peer", "PiServo"]

_S = 1_000_000_000


class Peer(Protocol):
    """Follows a clock by offset samples.

    Attributes
    ----------
    line : ClockMap or None
        What times are converted by until the next sample.
    locked : bool
        Whether it believes in its line.
    """

    line: ClockMap | None
    locked: bool

    @property
    def held(self) -> ClockMap | None:
        """What times are converted by when samples stop."""

    def take(self, time_ns: int, offset_ns: int) -> None:
        """Take one sample: at `time_ns` of the followed clock ours is `offset_ns` ahead."""


class Naive:
    """The first offset, for ever."""

    def __init__(self) -> None:
        self.line: ClockMap | None = None
        self.locked = False

    def take(self, time_ns: int, offset_ns: int) -> None:
        """Keep the first sample."""
        if self.line is None:
            self.line, self.locked = ClockMap(time_ns, time_ns + offset_ns), True

    @property
    def held(self) -> ClockMap | None:
        """The first offset."""
        return self.line


class AlphaBeta:
    """Offset and skew by exponential smoothing with gains that fall from 0.05 to 0.003 while it converges."""

    WINDOW = 500
    GAINS = (0.05, 0.003)
    DEVIATION_NS = 10_000_000
    DEVIATIONS = 10

    def __init__(self) -> None:
        self.line: ClockMap | None = None
        self._begin()

    def _begin(self) -> None:
        self.locked = False
        self._count = self._deviating = self._time_ns = 0
        self._offset_ns = self._skew_ns = 0.0

    def take(self, time_ns: int, offset_ns: int) -> None:
        """Smooth; set deviating samples aside, begin anew when they persist."""
        if self._count == 0:
            self._offset_ns, self._skew_ns = float(offset_ns), 0.0
        elif self.locked and abs(offset_ns - self._offset_ns) > self.DEVIATION_NS:
            self._deviating += 1
            if self._deviating > self.DEVIATIONS:
                self._begin()
            return
        else:
            progress = self._count / self.WINDOW
            first, last = self.GAINS
            part = 1.0 - math.exp(0.5 * (1.0 - 1.0 / (1.0 - progress))) if progress < 1.0 else 1.0
            gain = part * last + (1.0 - part) * first
            before_ns = self._offset_ns
            self._offset_ns = gain * offset_ns + (1.0 - gain) * (before_ns + self._skew_ns)
            self._skew_ns = gain * (self._offset_ns - before_ns) + (1.0 - gain) * self._skew_ns
        elapsed_ns = time_ns - self._time_ns if self._count else _S
        self._deviating = 0
        self._count += 1
        self._time_ns = time_ns
        self.locked = self._count >= self.WINDOW
        self.line = ClockMap(time_ns, time_ns + round(self._offset_ns), self._skew_ns / elapsed_ns * 1e9)

    @property
    def held(self) -> ClockMap | None:
        """The last offset and skew."""
        return self.line


class PiServo:
    """A clock steered by a PI servo on its frequency.

    Parameters
    ----------
    scales : (kp, ki)
        (0.7, 0.3) for stamps by hardware, (0.1, 0.001) for stamps by software.
    interval_s : float
        Between samples [s].
    """

    HARDWARE = (0.7, 0.3)
    SOFTWARE = (0.1, 0.001)
    MAX_PPB = 9e8
    FIRST_STEP_NS = 20_000

    def __init__(self, scales: tuple[float, float], interval_s: float = 0.1) -> None:
        self.line: ClockMap | None = None
        self.locked = False
        self._kp = min(scales[0] * interval_s**-0.3, 0.7 / interval_s)
        self._ki = min(scales[1] * interval_s**0.4, 0.3 / interval_s)
        self._wait_ns = min(0.016 / self._ki, 1000.0) * _S
        self._first: tuple[int, int] | None = None
        self._drift_ppb = 0.0

    def take(self, time_ns: int, offset_ns: int) -> None:
        """Steer."""
        if self._first is None:
            self._first = (time_ns, offset_ns)
            return
        if not self.locked:
            elapsed_ns = time_ns - self._first[0]
            if elapsed_ns < self._wait_ns:
                return
            self._drift_ppb = (offset_ns - self._first[1]) / elapsed_ns * 1e9
            off_ns = offset_ns - self._first[1]
            start_ns = offset_ns if abs(off_ns) > self.FIRST_STEP_NS else self._first[1]
            self.line, self.locked = ClockMap(time_ns, time_ns + start_ns, self._drift_ppb), True
            return
        if self.line is None:
            raise RuntimeError("a locked servo has a line")
        shown_ns = self.line.to_host_ns(time_ns)
        error_ns = time_ns + offset_ns - shown_ns
        ppb = self._kp * error_ns + self._drift_ppb
        if abs(ppb) < self.MAX_PPB:
            self._drift_ppb += self._ki * error_ns
        ppb = max(-self.MAX_PPB, min(self.MAX_PPB, ppb))
        self.line = ClockMap(time_ns, shown_ns, ppb)

    @property
    def held(self) -> ClockMap | None:
        """The frequency without the part that answers the last error."""
        line = self.line
        return line and ClockMap(line.reference_sensor_ns, line.reference_host_ns, self._drift_ppb)
