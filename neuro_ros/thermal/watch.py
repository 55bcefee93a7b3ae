# SPDX-License-Identifier: Apache-2.0
"""Keeps the temperature in use and says how far it can be trusted: held, then STALE, then FAILSAFE, and back.

Notes
-----
The temperature in use is a first-order low-pass of the believed readings with time constant tau, discretised backwards:
``T += (reading - T) * dt / (tau + dt)``. Only division and addition, so that it is equal on every machine.
"""

from __future__ import annotations

import enum
import math

__all__ = ["ThermalState", "ThermalWatch"]

_S = 1_000_000_000


class ThermalState(enum.IntEnum):
    """Trust in the temperature; the numbers are those of ``ThermalCompensation.msg``."""

    NOMINAL = 0
    COMPENSATING = 1
    STALE = 2
    FAILSAFE = 3


class ThermalWatch:
    """The temperature in use and the age of the last believed reading.

    Parameters
    ----------
    stale_after_s, failsafe_after_s : float
        Time without a believed reading until STALE and until FAILSAFE [s].
    filter_tau_s : float
        Time constant of the low-pass [s]; 0 = none.
    """

    def __init__(self, stale_after_s: float, failsafe_after_s: float, filter_tau_s: float) -> None:
        self.limits(stale_after_s, failsafe_after_s, filter_tau_s)
        self.celsius = math.nan
        self._last_ns: int | None = None
        self._start_ns = 0

    def limits(self, stale_after_s: float, failsafe_after_s: float, filter_tau_s: float) -> None:
        """Replace the limits, keep the temperature."""
        self._stale_ns, self._failsafe_ns = round(stale_after_s * _S), round(failsafe_after_s * _S)
        self._tau_s = filter_tau_s

    def start(self, now_ns: int) -> None:
        """Begin to wait for readings at host time `now_ns`; a pause does not count as their absence."""
        self._start_ns = now_ns

    def update(self, celsius: float, now_ns: int) -> None:
        """Take a believed reading [degree Celsius] at host time `now_ns` [ns]."""
        age_ns = math.inf if self._last_ns is None else now_ns - self._last_ns
        if age_ns > self._stale_ns:
            self.celsius = celsius  # nothing to smooth with: the old value is too old
        else:
            dt_s = max(0.0, age_ns / _S)
            self.celsius += (celsius - self.celsius) * (dt_s / (self._tau_s + dt_s) if dt_s else 0.0)
        self._last_ns = now_ns

    def age_ns(self, now_ns: int) -> int:
        """Return the time without a believed reading [ns], within this activation."""
        since = self._start_ns if self._last_ns is None else max(self._last_ns, self._start_ns)
        return max(0, now_ns - since)

    def state(self, now_ns: int) -> ThermalState:
        """Return NOMINAL, STALE or FAILSAFE; STALE before the first believed reading."""
        age_ns = self.age_ns(now_ns)
        if age_ns > self._failsafe_ns:
            return ThermalState.FAILSAFE
        if self._last_ns is None or age_ns > self._stale_ns:
            return ThermalState.STALE
        return ThermalState.NOMINAL
