# SPDX-License-Identifier: Apache-2.0
"""Simulated clocks and paths: a clock that drifts with temperature, arrivals with delays; the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DELAYS", "LATENCY_NS", "RATE_HZ", "Arrivals", "delays_ns", "offset_ns", "one_way"]

_S = 1_000_000_000
RATE_HZ = 10
#: The constant part of every delay [ns], which no one-way method can see.
LATENCY_NS = 600_000
DELAYS = ("exponential", "bimodal")
_SENSOR_NS, _HOST_NS = 123_456 * _S, 1_700_000_000 * _S
#: The skew, what a room's temperature adds by turns, and what an enclosure adds that goes on warming.
_SKEW, _SWING, _SWING_PERIOD_S, _RAMP_PER_S = 50e-6, 10e-6, 1800.0, 10e-6 / 36_000.0


@dataclass(frozen=True)
class Arrivals:
    """What a sensor said and when it arrived.

    Parameters
    ----------
    sensor_ns, host_ns : list of int
        Sensor time of each sample and its arrival [ns].
    truth_ns : list of int
        Host time at which each would have arrived with the least delay [ns].
    """

    sensor_ns: list[int]
    host_ns: list[int]
    truth_ns: list[int]

    def truth_at(self, sensor_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the truth [ns] at any sensor times [ns], also a little before the first."""
        since_ns = sensor_ns - self.sensor_ns[0]
        return self.host_zero_ns + since_ns + offset_ns(since_ns / _S) + LATENCY_NS

    @property
    def host_zero_ns(self) -> int:
        """Host time of the first sample [ns]."""
        return self.truth_ns[0] - LATENCY_NS


def offset_ns(t_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how far the host's clock gets ahead of the sensor's [ns] by sensor time `t_s` [s].

    50 ppm, a swing of +-10 ppm with a period of half an hour (35 ppb/s at most), and a ramp of 10 ppm in ten hours.
    """
    swing = _SWING * _SWING_PERIOD_S / (2.0 * np.pi) * (1.0 - np.cos(2.0 * np.pi * t_s / _SWING_PERIOD_S))
    found: NDArray[np.int64] = np.rint((_SKEW * t_s + swing + 0.5 * _RAMP_PER_S * t_s**2) * _S).astype(np.int64)
    return found


def delays_ns(kind: str, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` delays [ns].

    Parameters
    ----------
    kind : str
        "exponential": 0.6 ms + exponential(0.2 ms); "bimodal": half of them so with 0.1 ms, the other half about 3 ms
        (normal, 0.3 ms). Both: 1 % of the samples wait for up to 20 ms more.
    count : int
        How many.
    rng : numpy.random.Generator
        Seeded by the caller.
    """
    if kind == "bimodal":
        quick = rng.exponential(0.1e-3, count)
        delay = np.where(rng.random(count) < 0.5, quick, np.abs(rng.normal(2.4e-3, 0.3e-3, count)))
    else:
        delay = rng.exponential(0.2e-3, count)
    delay += np.where(rng.random(count) < 0.01, rng.uniform(0.0, 0.02, count), 0.0)
    found: NDArray[np.int64] = LATENCY_NS + np.rint(delay * _S).astype(np.int64)
    return found


def one_way(kind: str, hours: float, seed: int) -> Arrivals:
    """Simulate `hours` of samples at `RATE_HZ`."""
    count = round(hours * 3600 * RATE_HZ)
    t_ns = np.arange(count, dtype=np.int64) * (_S // RATE_HZ)
    truth = _HOST_NS + t_ns + offset_ns(t_ns / _S)
    host = truth + delays_ns(kind, count, np.random.default_rng(seed))
    return Arrivals((_SENSOR_NS + t_ns).tolist(), host.tolist(), (truth + LATENCY_NS).tolist())
