# SPDX-License-Identifier: Apache-2.0
"""One other host's clock as clock_sync follows it: estimator, output clock and what was last said of them.

The estimator says where the master's clock is; the output clock, whose line is what others convert with, gets there
without running backwards. Until it is there, the uncertainty that is published contains the difference, and the state
is not LOCKED.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.messages import ClockModel, Header
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.timesync import ClockState, TwoWayEstimate, TwoWayEstimator
from neuro_ros.timesync.exchange import Exchange
from neuro_ros.timesync.servo import LinearRegressionServo, MedianDelay, PiServo, ServoState
from neuro_ros.timesync.slewed import SlewedClock

__all__ = ["HostClock"]

_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _View:
    """The estimate with what the output clock still lacks."""

    estimate: TwoWayEstimate
    state: ClockState
    residual_ns: float


class HostClock:
    """Follows the clock of one grandmaster.

    Parameters
    ----------
    clock_id : str
        Identity of the grandmaster's clock.
    parameters : ClockSyncParameters
        Validated parameters; replaced with :meth:`reconfigure`.
    """

    def __init__(self, clock_id: str, parameters: ClockSyncParameters) -> None:
        self.clock_id = clock_id
        self.heard_ns: int | None = None  # steady time of the newest exchange
        self.published_ns: int | None = None  # steady time
        self.state = ClockState.UNLOCKED  # as last published
        self._parameters = parameters
        self._estimator = TwoWayEstimator(parameters.two_way_settings())
        self._output = SlewedClock(parameters.ptp.slew())
        self._delay = MedianDelay()
        self._round_trip_ns = math.nan
        interval_s, step_s = parameters.ptp.delay_req_interval_s, parameters.ptp.step_threshold_s
        self._servo: PiServo | LinearRegressionServo | None = None
        if parameters.ptp.servo == "pi":
            self._servo = PiServo(interval_s, step_s=step_s)
        elif parameters.ptp.servo == "linreg":
            self._servo = LinearRegressionServo(interval_s, step_s=step_s)

    @property
    def steps(self) -> int:
        """Jumps of the output clock after the first setting."""
        return self._output.steps

    def reconfigure(self, parameters: ClockSyncParameters) -> None:
        """Apply new limits."""
        self._parameters = parameters
        self._estimator.settings = parameters.two_way_settings()
        self._output.settings = parameters.ptp.slew()

    def add(self, exchange: Exchange, now_ns: int, steady_ns: int) -> None:
        """Take an exchange that was completed at our time `now_ns` [ns]."""
        self.heard_ns = steady_ns
        if not self._estimator.add(exchange.t1_ns, exchange.t2_ns, exchange.t3_ns, exchange.t4_ns):
            return
        self._round_trip_ns = exchange.round_trip_ns
        clock = self._estimator.estimate(now_ns).clock
        if clock is None:
            return
        if self._servo is None or not self._output.is_set:
            self._output.follow(clock, now_ns)
        if self._servo is not None:
            self._serve(self._servo, exchange, now_ns)

    def _serve(self, servo: PiServo | LinearRegressionServo, exchange: Exchange, now_ns: int) -> None:
        """Have a servo of linuxptp steer the output clock."""
        delay_ns = self._delay.add(exchange.round_trip_ns // 2)
        offset_ns = self._output.read(exchange.t2_ns) - exchange.t1_ns - delay_ns
        answer = servo.sample(offset_ns, exchange.t2_ns)
        if answer.state is ServoState.JUMP:
            self._output.set(self._output.read(now_ns) - offset_ns, now_ns, 0.0)
            self._output.steps += 1
        if answer.state is not ServoState.UNLOCKED:
            self._output.steer(answer.ppb, now_ns)

    def _look(self, now_ns: int) -> _View:
        estimate = self._estimator.estimate(now_ns)
        if estimate.clock is None or not self._output.is_set:
            return _View(estimate, ClockState.UNLOCKED, math.nan)
        residual_ns = self._output.read(now_ns) - estimate.clock.to_sensor_ns(now_ns)
        state = estimate.state
        if state is ClockState.LOCKED and abs(residual_ns) > self._parameters.ptp.lock_sigma_s * _S:
            state = ClockState.TRACKING
        return _View(estimate, state, float(residual_ns))

    def model(self, now_ns: int, steady_ns: int) -> ClockModel:
        """Say what is known at our time `now_ns` [ns]; it counts as published."""
        view = self._look(now_ns)
        self.published_ns, self.state = steady_ns, view.state
        model = ClockModel(
            header=Header(stamp=now_ns, frame_id=self.clock_id),
            clock_id=self.clock_id,
            samples=view.estimate.samples,
            state=int(view.state),
        )
        line = self._output.line(now_ns)
        if view.state is not ClockState.UNLOCKED and line is not None:
            # A point of today on the line: whoever extrapolates has not far to go.
            model.reference_sensor_ns = self._output.read(now_ns)
            model.reference_host_ns = now_ns
            model.skew_ppb = line.skew_ppb
            model.sigma_ns = math.hypot(view.estimate.sigma_ns, view.residual_ns)
            model.offset_ns = view.estimate.offset_ns
            model.mean_path_delay_ns = view.estimate.mean_path_delay_ns
        return model

    def peek(self, now_ns: int) -> ClockState:
        """Return the state at our time `now_ns` [ns]."""
        return self._look(now_ns).state

    def health(self, now_ns: int) -> Health:
        """Judge this clock."""
        view = self._look(now_ns)
        estimate = view.estimate
        figures: dict[str, object] = {
            "state": view.state.name,
            "offset_us": estimate.offset_ns / 1e3,
            "sigma_us": estimate.sigma_ns / 1e3,
            "mean_path_delay_us": estimate.mean_path_delay_ns / 1e3,
            "round_trip_us": self._round_trip_ns / 1e3,
            "skew_ppm": estimate.skew_ppb / 1e3,
            "skew_sigma_ppm": estimate.skew_sigma_ppb / 1e3,
            "output_residual_us": view.residual_ns / 1e3,
            "output_steps": self._output.steps,
            "exchanges_in_window": estimate.samples,
            "silence_s": estimate.silence_ns / _S,
            **asdict(self._estimator.counters),
        }
        level = HealthLevel.OK
        if view.state is ClockState.UNLOCKED:
            level, text = HealthLevel.WARN, f"UNLOCKED, {estimate.samples} exchanges so far"
        else:
            text = (
                f"{view.state.name}, offset {estimate.offset_ns / 1e3:+.1f} us, "
                f"sigma {estimate.sigma_ns / 1e3:.1f} us, "
                f"path {estimate.mean_path_delay_ns / 1e3:.1f} us, skew {estimate.skew_ppb / 1e3:+.2f} ppm"
            )
        if not estimate.plausible:
            level = HealthLevel.WARN
            text += ": no two crystals differ by that much"
        elif view.state is ClockState.HOLDOVER:
            text += f", no exchange for {estimate.silence_ns / _S:.1f} s"
            level = HealthLevel.WARN
        return Health(f"clock {self.clock_id}", level, text, figures)
