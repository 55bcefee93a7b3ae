# SPDX-License-Identifier: Apache-2.0
"""Logic of clock_sync: samples of sensor clocks and timing messages in, models of clocks out.

One `~neuro_ros.timesync.OneWayClock` a `clock_id`. A model is published when a sample has changed it, at most once a
period, at once when its state changes, and at the timer's pace while no samples come, because the uncertainty of an
extrapolation grows. A recording that is played at another rate than its own shows that rate as skew: the model is right
and usable, stays TRACKING, and the diagnostics say so.

The estimation itself is `neuro_ros.timesync`'s. Deactivation keeps the estimates; after a pause the first samples
either agree with the extrapolation or prove a step.

The temperature that thermal_compensation believes is a hint: while it moves, the skew of a sensor may change faster.

The clocks of other hosts, over the topic ``ptp``, are the business of `neuro_ros.cores.ptp_part`; with the role ``off``
that part is not there and the topic is neither read nor written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import (
    ClockModel,
    ClockSample,
    ExternalTrigger,
    Header,
    PtpMessage,
    ThermalCompensation,
)
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.cores.ptp_part import PtpPart
from neuro_ros.timesync import ClockEstimate, ClockState, OneWayClock, TemperatureHint

__all__ = ["ClockSyncCore"]

_S = 1_000_000_000
_TIMER = "silent"
_PTP_TIMER = "ptp"


@dataclass(slots=True)
class _Clock:
    """One sensor's clock as this core follows it."""

    estimator: OneWayClock
    frame_id: str = ""
    last_sequence: int = -1
    sequence_gaps: int = 0
    arrival_ns: int = 0  # host time of the newest sample, by the one who took it
    received_ns: int = 0  # the same instant by the clock that drives this core
    published_ns: int | None = None
    published_state: ClockState = ClockState.UNLOCKED
    heard: bool = field(default=False)  # a sample came since the timer last fired

    def estimate(self, now_ns: int) -> ClockEstimate:
        """Return the estimate at driver's time `now_ns`; arrival stamps may be of another clock, only pauses count."""
        return self.estimator.estimate(self.arrival_ns + max(0, now_ns - self.received_ns))


class ClockSyncCore(Core):
    """Follows the clocks of sensors, and of other hosts.

    Parameters
    ----------
    parameters : ClockSyncParameters
        Validated parameters.
    clocks : Clocks
        Nothing here is measured by a wall clock; one that knows nothing means a replay.
    identity : str
        Port identity where the parameters give none; empty = unknown, nothing is sent.
    """

    inputs: ClassVar[Mapping[str, type]] = {
        "clock/sample": ClockSample,
        "events/trigger": ExternalTrigger,
        "ptp": PtpMessage,
        "thermal/compensation": ThermalCompensation,
    }
    outputs: ClassVar[Mapping[str, type]] = {"clock/model": ClockModel, "ptp": PtpMessage}

    def __init__(self, parameters: ClockSyncParameters, clocks: Clocks | None = None, identity: str = "") -> None:
        self._parameters = parameters
        self._ptp: PtpPart | None = None
        # What this one core uses: no driver is to subscribe or advertise a topic for nothing.
        unused = set() if parameters.pulse.period_s else {"events/trigger"}
        unused |= {"ptp"} if parameters.ptp.role == "off" else set()
        self.inputs = {topic: kind for topic, kind in type(self).inputs.items() if topic not in unused}  # type: ignore[misc]
        self.outputs = {topic: kind for topic, kind in type(self).outputs.items() if topic not in unused}  # type: ignore[misc]
        if parameters.ptp.role != "off":
            replayed = clocks is not None and clocks.system_ns() == 0
            self._ptp = PtpPart(parameters, parameters.ptp.identity or identity, replayed)
        self._temperature = TemperatureHint(parameters.window_s)
        self._clocks: dict[str, _Clock] = {}
        self._refused_samples = 0
        self._active = False

    def timers(self) -> Mapping[str, int]:
        """Return the timer that publishes clocks without samples, and the pace of the two-way exchange."""
        timers = {_TIMER: round(self._parameters.silent_period_s * _S)}
        return timers if self._ptp is None else {**timers, _PTP_TIMER: self._ptp.tick_ns}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Start to listen; what is known from an earlier activation is published again."""
        self._active = True
        outputs = [self._publish(name, clock, now_ns) for name, clock in self._clocks.items()]
        return outputs if self._ptp is None else [*outputs, *self._ptp.activate(now_ns)]

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent, keep the estimates."""
        self._active = False
        if self._ptp is not None:
            self._ptp.deactivate()
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take a clock sample, an edge of a pulse or a timing message."""
        if isinstance(message, ExternalTrigger):
            self._edge(message)
            return ()
        if isinstance(message, ThermalCompensation):
            self._temperature.update(message.temperature_celsius, now_ns)
            return ()
        if self._ptp is not None and isinstance(message, PtpMessage):
            return self._ptp.receive(message, now_ns)
        if not isinstance(message, ClockSample):
            return ()
        clock = self._clocks.get(message.clock_id)
        if clock is None:
            if not message.clock_id or len(self._clocks) >= self._parameters.max_clocks:
                self._refused_samples += 1
                return ()
            clock = self._clocks[message.clock_id] = _Clock(OneWayClock(self._parameters.settings()))
        if message.sequence > clock.last_sequence + 1 and clock.last_sequence >= 0:
            clock.sequence_gaps += message.sequence - clock.last_sequence - 1
        clock.last_sequence = message.sequence
        clock.frame_id = message.header.frame_id
        clock.heard = True
        clock.estimator.extra_wander_ppb_per_s = self._extra_wander_ppb_per_s(now_ns)
        if clock.estimator.add(message.sensor_ns, message.host_arrival_ns):
            clock.arrival_ns, clock.received_ns = message.host_arrival_ns, now_ns
        due = (
            clock.published_ns is None
            or not 0 <= now_ns - clock.published_ns < self._parameters.publish_period_s * _S  # also after a step back
            or clock.estimate(now_ns).state != clock.published_state
        )
        return [self._publish(message.clock_id, clock, now_ns)] if due else ()

    def _extra_wander_ppb_per_s(self, now_ns: int) -> float:
        return self._parameters.holdover.ppb_per_celsius * self._temperature.rate(now_ns)

    def _edge(self, message: ExternalTrigger) -> None:
        """Measure the least latency of the clock of the camera whose line carries the pulse."""
        pulse = self._parameters.pulse
        if not pulse.period_s or message.id != pulse.trigger_id or message.edge != 1:
            return
        for clock in self._clocks.values():
            if clock.frame_id == message.header.frame_id:
                clock.estimator.add_pulse(message.sensor_time_ns, round(pulse.period_s * _S), pulse.sigma_s * _S)

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Publish the clocks that no sample has come for since the last tick, or go on with the exchange."""
        if timer == _PTP_TIMER:
            return () if self._ptp is None else self._ptp.tick(now_ns)
        outputs = []
        for name, clock in self._clocks.items():
            clock.estimator.extra_wander_ppb_per_s = self._extra_wander_ppb_per_s(now_ns)
            if not clock.heard:
                outputs.append(self._publish(name, clock, now_ns))
            clock.heard = False
        return outputs

    def departed(self, message: PtpMessage, departure_ns: int) -> Sequence[Output]:
        """Take the news that a timing message of ours departed at host time `departure_ns` [ns]."""
        return () if self._ptp is None else self._ptp.departed(message, departure_ns)

    def take_news(self) -> list[str]:
        """Return what is to be logged since the last call, within the budget."""
        return [] if self._ptp is None else self._ptp.log.take()

    def _publish(self, name: str, clock: _Clock, now_ns: int) -> Output:
        estimate = clock.estimate(now_ns)
        clock.published_ns, clock.published_state = now_ns, estimate.state
        model = ClockModel(
            header=Header(stamp=now_ns, frame_id=clock.frame_id),
            clock_id=name,
            sigma_ns=estimate.sigma_ns,
            samples=estimate.samples,
            state=int(estimate.state),
        )
        if estimate.clock is not None:
            model.reference_sensor_ns = estimate.clock.reference_sensor_ns
            model.reference_host_ns = estimate.clock.reference_host_ns
            model.skew_ppb = estimate.clock.skew_ppb
        return Output("clock/model", model)

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits to every clock."""
        if isinstance(parameters, ClockSyncParameters):
            self._parameters = parameters
            self._temperature.window_s = parameters.window_s
            for clock in self._clocks.values():
                clock.estimator.settings = parameters.settings()
            if self._ptp is not None:
                self._ptp.reconfigure(parameters)

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge every clock, and whether there is any."""
        if not self._active:
            return [Health("clocks", HealthLevel.OK, "inactive", {"clocks": len(self._clocks)})]
        figures = {"clocks": len(self._clocks), "refused_samples": self._refused_samples}
        if self._refused_samples:
            text = (
                f"{self._refused_samples} samples without clock_id or of more than {self._parameters.max_clocks} clocks"
            )
            overall = Health("clocks", HealthLevel.WARN, text, figures)
        elif not self._clocks and self._ptp is None:
            overall = Health("clocks", HealthLevel.WARN, "no clock sample yet", figures)
        else:
            overall = Health("clocks", HealthLevel.OK, f"{len(self._clocks)} followed", figures)
        hosts = () if self._ptp is None else self._ptp.diagnose(now_ns)
        return [overall, *(self._judge(name, clock, now_ns) for name, clock in self._clocks.items()), *hosts]

    def _judge(self, name: str, clock: _Clock, now_ns: int) -> Health:
        estimate = clock.estimate(now_ns)
        skew_ppm = estimate.clock.skew_ppb / 1e3 if estimate.clock else float("nan")
        sigma_us = estimate.sigma_ns / 1e3
        figures: dict[str, object] = {
            "state": estimate.state.name,
            "sigma_us": sigma_us,
            "skew_ppm": skew_ppm,
            "skew_sigma_ppm": estimate.skew_sigma_ppb / 1e3,
            "samples_in_window": estimate.samples,
            "silence_s": estimate.silence_ns / _S,
            "sequence_gaps": clock.sequence_gaps,
            "latency_us": estimate.latency_ns / 1e3,
            "extra_wander_ppb_per_s": clock.estimator.extra_wander_ppb_per_s,
            "edges_taken": clock.estimator.edges.taken,
            "edges_refused": clock.estimator.edges.refused,
            **asdict(clock.estimator.counters),
        }
        text = f"{estimate.state.name}, sigma {sigma_us:.1f} us, skew {skew_ppm:+.2f} ppm"
        level = HealthLevel.OK
        if estimate.state is ClockState.UNLOCKED:
            level, text = HealthLevel.WARN, f"UNLOCKED, {estimate.samples} samples so far"
        elif not estimate.plausible:
            level = HealthLevel.WARN
            text += f": no crystal is off by that much; is a recording played at rate {1 / (1 + skew_ppm * 1e-6):.3g}?"
        elif estimate.state is ClockState.HOLDOVER:
            # Without events there are no samples; a still scene is no fault until the extrapolation grows poor.
            text += f", no sample for {estimate.silence_ns / _S:.1f} s"
            if sigma_us > self._parameters.holdover.warn_s * 1e6:
                level = HealthLevel.WARN
        return Health(f"clock {name}", level, text, figures)
