# SPDX-License-Identifier: Apache-2.0
"""From sensor time to host time for one camera: by the published clock model, else by the latest arrival.

Notes
-----
A model that replaces another is slewed in (`~neuro_ros.timesync.MonotonicMap`): while there is a model, the host time
of a later sensor time is never earlier, but after a step, which is counted.

Without a usable model, ``host = arrival - (newest - t)`` with the sensor time of the newest event and the host time at
which it arrived: right up to the transport's latency, and said to be UNLOCKED.

When no model has come for long and even the least delayed arrivals have left the last one, it is moved onto them, by
slewing as well; stamps say UNLOCKED from then on. This module refuses to estimate anything beyond that; it is the work
of ``clock_sync``.
"""

from __future__ import annotations

import math

from neuro_ros.cores.messages import ClockModel
from neuro_ros.cores.watch import ResidualWatch
from neuro_ros.timesync import ClockMap, MonotonicMap

__all__ = ["SensorTime"]

#: A model that puts the newest event this far from its arrival describes another run of the sensor's clock [ns].
_TRUST_NS = 1_000_000_000
#: No oscillator is off by a part in a thousand; what is beyond is damage [ppb].
_MAX_SKEW_PPB = 1e6
#: ``clock_sync`` publishes at least once a second, also in holdover; when it is silent for longer it is gone [ns].
_MODEL_AGE_NS = 10_000_000_000
#: Difference between model and least delayed arrivals that is no uncertainty any more: one bin of 5 ms [ns].
_RESIDUAL_LIMIT_NS = 5_000_000


class SensorTime:
    """What is known about one sensor's clock.

    Attributes
    ----------
    models, models_refused, models_distrusted : int
        Models taken, models that made no sense, and conversions in which the model contradicted the arrivals.
    rebased : int
        Times that a model which nobody renewed was moved onto the arrivals.
    residual_limit_ns : int
        How far arrivals may leave the model before that happens [ns].
    """

    def __init__(self) -> None:
        self.models = self.models_refused = self.models_distrusted = self.rebased = 0
        self.residual_limit_ns = _RESIDUAL_LIMIT_NS
        self._clock = MonotonicMap()
        self._map_state = ClockModel.UNLOCKED
        self._pair: tuple[int, int] | None = None
        self._residual = ResidualWatch()
        self._learned_ns: int | None = None  # host time of the arrival before the latest model, None: see `observe`

    @property
    def newest_ns(self) -> int | None:
        """Sensor time of the latest arrival, None before the first."""
        return None if self._pair is None else self._pair[0]

    @property
    def steps(self) -> int:
        """Times that a model differed too much from the one before to be slewed in."""
        return self._clock.steps

    @property
    def residual_ns(self) -> int | None:
        """How much later than the model says the least delayed arrivals came lately [ns]; None while not known."""
        return self._residual.residual_ns

    @property
    def state(self) -> int:
        """Clock state that a conversion would tell now; unlike `host_ns` this changes nothing."""
        return self._map_state if self._target() is not None else ClockModel.UNLOCKED

    def learn(self, model: ClockModel) -> bool:
        """Take a clock model; return False when it makes no sense, and keep the one before."""
        if model.state == ClockModel.UNLOCKED:
            self._clock.reset()
            self._residual.reset()
            self._map_state = ClockModel.UNLOCKED
            self.models += 1
            return True
        known = model.state in (ClockModel.TRACKING, ClockModel.LOCKED, ClockModel.HOLDOVER)
        if not known or not math.isfinite(model.skew_ppb) or not abs(model.skew_ppb) <= _MAX_SKEW_PPB:
            self.models_refused += 1
            return False
        self._clock.follow(ClockMap(model.reference_sensor_ns, model.reference_host_ns, model.skew_ppb))
        self._map_state = model.state
        self._learned_ns = None
        self.models += 1
        return True

    def observe(self, sensor_ns: int, arrival_ns: int) -> None:
        """Note that sensor time had come to `sensor_ns` when the host's clock showed `arrival_ns`."""
        self._pair = (sensor_ns, arrival_ns)
        clock = self._target()
        if clock is None:
            self._residual.reset()
            return
        self._residual.add(arrival_ns - clock.to_host_ns(sensor_ns), arrival_ns)
        if self._learned_ns is None or arrival_ns < self._learned_ns:
            self._learned_ns = arrival_ns
        residual_ns = self._residual.residual_ns
        if residual_ns is None or arrival_ns - self._learned_ns < _MODEL_AGE_NS:
            return
        if abs(residual_ns) > self.residual_limit_ns:
            self._clock.follow(ClockMap(sensor_ns, clock.to_host_ns(sensor_ns) + residual_ns, clock.skew_ppb))
            self._map_state = ClockModel.UNLOCKED
            self._residual.reset()
            self.rebased += 1

    def forget_arrivals(self) -> None:
        """Forget the latest arrival, which says nothing about a sensor clock that starts anew."""
        self._pair = None
        self._residual.reset()

    def host_ns(self, sensor_ns: int) -> tuple[int, int]:
        """Return host time [ns] and clock state of a sensor time; (0, UNLOCKED) when nothing is known."""
        if self._target() is not None:
            return max(0, self._clock.to_host_ns(sensor_ns)), self._map_state
        self.models_distrusted += self._clock.target is not None
        if self._pair is None:
            return 0, ClockModel.UNLOCKED
        newest_ns, arrival_ns = self._pair
        return max(0, arrival_ns - (newest_ns - sensor_ns)), ClockModel.UNLOCKED

    def _target(self) -> ClockMap | None:
        """Return the model, unless there is none or the latest arrival contradicts it."""
        clock = self._clock.target
        if clock is None or self._pair is None:
            return clock
        newest_ns, arrival_ns = self._pair
        return clock if abs(clock.to_host_ns(newest_ns) - arrival_ns) <= _TRUST_NS else None

    def sensor_ns(self, host_ns: int) -> int | None:
        """Return the sensor time that the latest arrival lets expect at a host time; None before the first."""
        if self._pair is None:
            return None
        newest_ns, arrival_ns = self._pair
        return newest_ns + (host_ns - arrival_ns)
