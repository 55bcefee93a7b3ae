# SPDX-License-Identifier: Apache-2.0
"""The servos of linuxptp, for those who want an output clock that behaves as theirs.

The default of `clock_sync` is neither: it slews towards the envelope estimate (`slewed`, `two_way`). These two get one
offset after the other (output clock minus master's, the path delay taken off by `MedianDelay`) and answer with a
frequency, as ``ptp4l`` does: a proportional-integral controller with its constants for software time stamps, and a
linear regression over the window that predicts best.

References
----------
linuxptp, manual page ptp4l(8), options pi_* and clock_servo; constants as documented there.
"""

from __future__ import annotations

import enum
import statistics
from collections import deque
from dataclasses import dataclass

__all__ = ["LinearRegressionServo", "MedianDelay", "PiServo", "ServoOutput", "ServoState"]

_S = 1_000_000_000
#: Scale, exponent and largest product with the interval of the two constants, software time stamps.
_KP_SCALE, _KP_EXPONENT, _KP_NORM_MAX = 0.1, -0.3, 0.7
_KI_SCALE, _KI_EXPONENT, _KI_NORM_MAX = 0.001, 0.4, 0.3
#: Time over which the first frequency is measured, times ki [s], and its limit [s].
_FREQUENCY_TIME, _FREQUENCY_TIME_MAX_S = 0.016, 1000.0
#: Windows of the regression, in samples.
_SIZES = (4, 8, 16, 32, 64)
_ERROR_SMOOTHING = 0.02
_ERROR_UPDATES = 10
#: A longer window is taken while its error is at most this times the best one's.
_ERROR_RATIO = 1.05


class ServoState(enum.IntEnum):
    """What to do with the output clock."""

    UNLOCKED = 0  # nothing yet
    JUMP = 1  # take the offset off at once, then run at the frequency
    LOCKED = 2  # run at the frequency


@dataclass(frozen=True, slots=True)
class ServoOutput:
    """A servo's answer: how much slower than our own clock the output clock must run [ppb]."""

    state: ServoState
    ppb: float


class MedianDelay:
    """Moving median of the path delay, as ptp4l's default filter.

    Parameters
    ----------
    length : int
        Delays that it looks at.
    """

    def __init__(self, length: int = 10) -> None:
        self._delays: deque[int] = deque(maxlen=length)

    def add(self, delay_ns: int) -> int:
        """Take one delay and return the median of the last ones [ns]."""
        self._delays.append(delay_ns)
        return round(statistics.median(self._delays))


class _Servo:
    """What both servos share.

    Parameters
    ----------
    interval_s : float
        Time between two offsets [s].
    first_step_s, step_s : float
        An offset above this makes the first answer, or a later one, a JUMP [s]; 0 = never later.
    max_ppb : float
        Largest frequency.
    """

    def __init__(
        self, interval_s: float, first_step_s: float = 20e-6, step_s: float = 0.0, max_ppb: float = 9e8
    ) -> None:
        self._interval_s = interval_s
        self._first_step_ns, self._step_ns = first_step_s * _S, step_s * _S
        self._max_ppb = max_ppb
        self._first = True

    def _clip(self, ppb: float) -> float:
        return max(-self._max_ppb, min(self._max_ppb, ppb))

    def _jumps(self, offset_ns: int) -> bool:
        """Tell whether the first answer after a start has to be a jump."""
        first, self._first = self._first, False
        return (first and abs(offset_ns) > self._first_step_ns) or 0 < self._step_ns < abs(offset_ns)


class PiServo(_Servo):
    """Proportional-integral controller; parameters as in `_Servo`.

    Notes
    -----
    ``ppb = kp * offset + drift``, then ``drift += ki * offset`` unless the frequency is at its limit.
    """

    def __init__(
        self, interval_s: float, first_step_s: float = 20e-6, step_s: float = 0.0, max_ppb: float = 9e8
    ) -> None:
        super().__init__(interval_s, first_step_s, step_s, max_ppb)
        self.kp = min(_KP_SCALE * interval_s**_KP_EXPONENT, _KP_NORM_MAX / interval_s)
        self.ki = min(_KI_SCALE * interval_s**_KI_EXPONENT, _KI_NORM_MAX / interval_s)
        self._drift = 0.0
        self._start: tuple[int, int] | None = None
        self._running = False

    def sample(self, offset_ns: int, local_ns: int) -> ServoOutput:
        """Take the offset of the output clock [ns], measured at our time `local_ns` [ns]."""
        if self._running and 0 < self._step_ns < abs(offset_ns):
            self._running, self._start = False, None
        if not self._running:
            return self._begin(offset_ns, local_ns)
        ppb = self.kp * offset_ns + self._drift
        if abs(ppb) <= self._max_ppb:
            self._drift += self.ki * offset_ns
        return ServoOutput(ServoState.LOCKED, self._clip(ppb))

    def _begin(self, offset_ns: int, local_ns: int) -> ServoOutput:
        """Measure the frequency over two samples that are far enough apart."""
        if self._start is None or local_ns <= self._start[1]:
            self._start = (offset_ns, local_ns)
            return ServoOutput(ServoState.UNLOCKED, self._drift)
        elapsed_ns = local_ns - self._start[1]
        if elapsed_ns < min(_FREQUENCY_TIME / self.ki, _FREQUENCY_TIME_MAX_S) * _S:
            return ServoOutput(ServoState.UNLOCKED, self._drift)
        self._drift = self._clip(self._drift + (offset_ns - self._start[0]) / elapsed_ns * _S)
        self._running = True
        state = ServoState.JUMP if self._jumps(offset_ns) else ServoState.LOCKED
        return ServoOutput(state, self._drift)


class LinearRegressionServo(_Servo):
    """Regression over the longest window that predicts about as well as the best one; parameters as in `_Servo`.

    The offsets are first freed of what this servo itself has done to the output clock, so that the points lie on the
    line of the two free-running clocks.
    """

    def __init__(
        self, interval_s: float, first_step_s: float = 20e-6, step_s: float = 0.0, max_ppb: float = 9e8
    ) -> None:
        super().__init__(interval_s, first_step_s, step_s, max_ppb)
        self._restart()

    def _restart(self) -> None:
        self._points: deque[tuple[int, float]] = deque(maxlen=_SIZES[-1])
        self._fits: dict[int, tuple[float, float]] = {}  # size -> (offset now [ns], slope [ns/ns])
        self._errors = dict.fromkeys(_SIZES, 0.0)
        self._updates = dict.fromkeys(_SIZES, 0)
        self._removed_ns = 0.0  # taken off the output clock so far
        self._ppb = 0.0
        self._last_ns: int | None = None

    def sample(self, offset_ns: int, local_ns: int) -> ServoOutput:
        """Take the offset of the output clock [ns], measured at our time `local_ns` [ns]."""
        if self._last_ns is not None and (
            local_ns <= self._last_ns or (self._updates[4] and 0 < self._step_ns < abs(offset_ns))
        ):
            self._restart()
        elapsed_ns = 0 if self._last_ns is None else local_ns - self._last_ns
        self._removed_ns += self._ppb * elapsed_ns / _S
        self._last_ns = local_ns
        free_ns = offset_ns + self._removed_ns
        self._judge(free_ns, elapsed_ns)
        self._points.append((local_ns, free_ns))
        self._fit(local_ns)
        if 4 not in self._fits:
            return ServoOutput(ServoState.UNLOCKED, self._ppb)
        size = self._best()
        now_ns, slope = self._fits[size]
        correct_s = self._interval_s * (1 if size <= 4 else size / 2)
        remaining_ns = now_ns - self._removed_ns
        frequency = slope * _S
        if self._jumps(round(remaining_ns)):
            self._removed_ns += offset_ns
            self._ppb = self._clip(frequency)
            return ServoOutput(ServoState.JUMP, self._ppb)
        self._ppb = self._clip(frequency + remaining_ns / correct_s)
        return ServoOutput(ServoState.LOCKED, self._ppb)

    def _judge(self, free_ns: float, elapsed_ns: int) -> None:
        """Compare what each window has predicted with what came."""
        for size, (offset_ns, slope) in self._fits.items():
            error = abs(offset_ns + slope * elapsed_ns - free_ns)
            weight = _ERROR_SMOOTHING if self._updates[size] >= _ERROR_UPDATES else 1.0 / (self._updates[size] + 1)
            self._errors[size] += weight * (error - self._errors[size])
            self._updates[size] += 1

    def _fit(self, local_ns: int) -> None:
        points = list(self._points)
        for size in _SIZES:
            if len(points) < size:
                break
            window = points[-size:]
            x_mean = sum(x - local_ns for x, _ in window) / size
            y0 = window[-1][1]
            y_mean = sum(y - y0 for _, y in window) / size
            xx = sum((x - local_ns - x_mean) ** 2 for x, _ in window)
            xy = sum((x - local_ns - x_mean) * (y - y0 - y_mean) for x, y in window)
            slope = xy / xx if xx > 0 else 0.0
            self._fits[size] = (y0 + y_mean - slope * x_mean, slope)

    def _best(self) -> int:
        judged = [size for size in self._fits if self._updates[size] >= _ERROR_UPDATES]
        if not judged:
            return min(self._fits)
        best = min(self._errors[size] for size in judged)
        return max(size for size in judged if self._errors[size] <= _ERROR_RATIO * best)
