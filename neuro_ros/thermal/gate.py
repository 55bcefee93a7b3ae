# SPDX-License-Identifier: Apache-2.0
"""Decides whether a temperature reading can be true.

A reading passes when it is in range and no further from the last believed one than silicon can heat or cool in the time
between, of which five seconds count at most: a sensor that is back after a minute does not vouch for anything. What is
in range but too far away may be the start of a new truth: it is believed when a number of readings in a row agree with
each other. The first readings ever must agree in the same way. One glitch therefore changes nothing.

Chips that have not measured yet say exactly 0 or exactly 85 degrees, again and again: such values are believed at once
where they are reached by heating or cooling, but a jump to them, or a start with them, needs ten times the readings.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GateCounters", "PlausibilityGate"]

_S = 1_000_000_000
#: What registers hold before the first conversion: TMP102 and most others 0, DS18B20 and its kin 85 [degree Celsius].
#: Theirs on a bus without answer, -128 and -127, are out of any range.
_POWER_ON_CELSIUS = (0.0, 85.0)
#: A power-on value that stays for so many times the readings that others need is a temperature after all.
_POWER_ON_PATIENCE = 10
#: For so long what is believed vouches for what comes [s]: for anything, and for a power-on value.
_VOUCHES_S, _VOUCHES_FOR_POWER_ON_S = 5.0, 1.0


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
        Readings in a row that must agree before a new truth is believed, at least 1; ten times as many of a value
        that chips hold before they have measured.

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
        longest_s = _VOUCHES_FOR_POWER_ON_S if reading[1] in _POWER_ON_CELSIUS else _VOUCHES_S
        # A clock that stepped back allows the noise alone.
        elapsed_s = min(max(0, reading[0] - other[0]) / _S, longest_s)
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
            if self._run < self._confirmations * (_POWER_ON_PATIENCE if celsius in _POWER_ON_CELSIUS else 1):
                self.counters.implausible += 1
                return False
            self._candidate, self._run = None, 0
        self._believed = reading
        self.counters.accepted += 1
        return True
