# SPDX-License-Identifier: Apache-2.0
"""What a moving temperature says about clocks: their skew moves too, so far and no further can it be extrapolated.

A crystal's frequency depends on its temperature. By how much is not known of a given camera or host, and the
thermometer is not on the crystal; so the temperature corrects nothing. It only widens how fast the skew may change, for
as long as the samples of a moving temperature are in the estimator's window.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["TemperatureHint"]

_S = 1_000_000_000
#: Temperatures are compared over so long [ns]: shorter, and the noise of a sensor is taken for a change.
_PIECE_NS = 5 * _S


class TemperatureHint:
    """The fastest change of a temperature within a window.

    Parameters
    ----------
    window_s : float
        How long a change is remembered [s].
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._began: tuple[int, float] | None = None
        self._rates: deque[tuple[int, float]] = deque(maxlen=1024)  # (end of a piece [ns], celsius/s)

    def update(self, celsius: float, now_ns: int) -> None:
        """Take a temperature [degree Celsius] at host time `now_ns` [ns]; NaN = unknown."""
        if not math.isfinite(celsius):
            return
        if self._began is None or now_ns < self._began[0]:  # also after a step back of the clock
            self._began = (now_ns, celsius)
            return
        elapsed_ns = now_ns - self._began[0]
        if elapsed_ns >= _PIECE_NS:
            self._rates.append((now_ns, abs(celsius - self._began[1]) / (elapsed_ns / _S)))
            self._began = (now_ns, celsius)

    def rate(self, now_ns: int) -> float:
        """Return the fastest change within the window [degree Celsius/s]; 0 when nothing is known."""
        while self._rates and not 0 <= now_ns - self._rates[0][0] <= self.window_s * _S:
            self._rates.popleft()
        return max((rate for _, rate in self._rates), default=0.0)
