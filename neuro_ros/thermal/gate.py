# SPDX-License-Identifier: Apache-2.0
"""Decides whether a temperature reading can be true.

A reading passes when it is in range and no further from the last believed one than silicon can heat or cool in the time
between. What is in range but too far away may be the start of a new truth: it is believed when a number of readings in
a row agree with each other. The first readings ever must agree in the same way, which is what keeps the 0 degree before
a first conversion and the 85 degree of a power-on reset out. One glitch therefore changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GateCounters", "PlausibilityGate"]

_S = 1_000_000_000


@dataclass(slots=True)
class GateCounters:
    """Readings so far: believed, out of range (NaN included), and too far from what is believed."""

    accepted: int = 0
    out_of_range: int = 0
    implausible: int = 0


class PlausibilityGate:
    """See the module's text.

    Parameters
    ----------
    minimum_celsius, maximum_celsius : float
        Range that can be true [degree Celsius].
    max_rate_celsius_per_s : float
        Fastest change that can be true [degree Celsius/s].
    noise_celsius : float
        Difference that is always allowed: resolution and noise of the sensor [degree Celsius].
    confirmations : int
        Readings in a row that must agree before a new truth is believed, at least 1.

    Attributes
    ----------
    counters : GateCounters
        What became of the readings.
    """

    def __init__(
        self,
        minimum_celsius: float,
        maximum_celsius: float,
        max_rate_celsius_per_s: float,
        noise_celsius: float,
        confirmations: int,
    ) -> None:
        self.counters = GateCounters()
        self.limits(minimum_celsius, maximum_celsius, max_rate_celsius_per_s, noise_celsius, confirmations)
        self._believed: tuple[int, float] | None = None
        self._candidate: tuple[int, float] | None = None
        self._run = 0

    def limits(
        self,
        minimum_celsius: float,
        maximum_celsius: float,
        max_rate_celsius_per_s: float,
        noise_celsius: float,
        confirmations: int,
    ) -> None:
        """Replace the limits, keep what is believed."""
        self._minimum, self._maximum = minimum_celsius, maximum_celsius
        self._rate, self._noise = max_rate_celsius_per_s, noise_celsius
        self._confirmations = confirmations

    def _agrees(self, reading: tuple[int, float], other: tuple[int, float] | None) -> bool:
        if other is None:
            return False
        elapsed_s = max(0, reading[0] - other[0]) / _S  # a clock that stepped back allows the noise alone
        return abs(reading[1] - other[1]) <= self._noise + self._rate * elapsed_s

    def accept(self, celsius: float, now_ns: int) -> bool:
        """Judge one reading [degree Celsius] at host time `now_ns` [ns]; True when it is believed."""
        if not self._minimum <= celsius <= self._maximum:  # positive form, so that NaN fails
            self.counters.out_of_range += 1
            self._candidate, self._run = None, 0
            return False
        reading = (now_ns, celsius)
        if self._agrees(reading, self._believed):
            self._candidate, self._run = None, 0
        else:
            self._run = self._run + 1 if self._agrees(reading, self._candidate) else 1
            self._candidate = reading
            if self._run < self._confirmations:
                self.counters.implausible += 1
                return False
            self._candidate, self._run = None, 0
        self._believed = reading
        self.counters.accepted += 1
        return True
