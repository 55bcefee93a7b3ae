# SPDX-License-Identifier: Apache-2.0
"""From sensor time to host time for one camera: by the published clock model, else by the latest arrival.

Notes
-----
Without a usable model, ``host = arrival - (newest - t)`` with the sensor time of the newest event and the host time at
which it arrived: right up to the transport's latency, and said to be UNLOCKED. This module refuses to estimate
anything; that is the work of ``clock_sync``.
"""

from __future__ import annotations

import math

from neuro_ros.cores.messages import ClockModel
from neuro_ros.timesync.clock_map import ClockMap

__all__ = ["SensorTime"]

#: A model that puts the newest event this far from its arrival describes another run of the sensor's clock [ns].
_TRUST_NS = 1_000_000_000
#: No oscillator is off by a part in a thousand; what is beyond is damage [ppb].
_MAX_SKEW_PPB = 1e6


class SensorTime:
    """What is known about one sensor's clock.

    Attributes
    ----------
    models, models_refused, models_distrusted : int
        Models taken, models that made no sense, and conversions in which the model contradicted the arrivals.
    """

    def __init__(self) -> None:
        self.models = self.models_refused = self.models_distrusted = 0
        self._map: ClockMap | None = None
        self._map_state = ClockModel.UNLOCKED
        self._pair: tuple[int, int] | None = None

    @property
    def newest_ns(self) -> int | None:
        """Sensor time of the latest arrival, None before the first."""
        return None if self._pair is None else self._pair[0]

    def learn(self, model: ClockModel) -> bool:
        """Take a clock model; return False when it makes no sense, and keep the one before."""
        if model.state == ClockModel.UNLOCKED:
            self._map, self._map_state = None, ClockModel.UNLOCKED
            self.models += 1
            return True
        known = model.state in (ClockModel.TRACKING, ClockModel.LOCKED, ClockModel.HOLDOVER)
        if not known or not math.isfinite(model.skew_ppb) or not abs(model.skew_ppb) <= _MAX_SKEW_PPB:
            self.models_refused += 1
            return False
        self._map = ClockMap(model.reference_sensor_ns, model.reference_host_ns, model.skew_ppb)
        self._map_state = model.state
        self.models += 1
        return True

    def observe(self, sensor_ns: int, arrival_ns: int) -> None:
        """Note that sensor time had come to `sensor_ns` when the host's clock showed `arrival_ns`."""
        self._pair = (sensor_ns, arrival_ns)

    def forget_arrivals(self) -> None:
        """Forget the latest arrival, which says nothing about a sensor clock that starts anew."""
        self._pair = None

    def host_ns(self, sensor_ns: int) -> tuple[int, int]:
        """Return host time [ns] and clock state of a sensor time; (0, UNLOCKED) when nothing is known."""
        if self._map is not None:
            contradicted = False
            if self._pair is not None:
                newest_ns, arrival_ns = self._pair
                contradicted = abs(self._map.to_host_ns(newest_ns) - arrival_ns) > _TRUST_NS
            if not contradicted:
                return max(0, self._map.to_host_ns(sensor_ns)), self._map_state
            self.models_distrusted += 1
        if self._pair is None:
            return 0, ClockModel.UNLOCKED
        newest_ns, arrival_ns = self._pair
        return max(0, arrival_ns - (newest_ns - sensor_ns)), ClockModel.UNLOCKED

    def sensor_ns(self, host_ns: int) -> int | None:
        """Return the sensor time that the latest arrival lets expect at a host time; None before the first."""
        if self._pair is None:
            return None
        newest_ns, arrival_ns = self._pair
        return newest_ns + (host_ns - arrival_ns)
