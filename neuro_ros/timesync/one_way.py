# SPDX-License-Identifier: Apache-2.0
"""Estimate a sensor's clock from one-way samples: (sensor time of an event, host time at which it arrived).

The estimator keeps a bounded window of samples, fits the line under them (`envelope`), and says honestly what it knows:

* UNLOCKED until there are enough samples over enough time, and while no line fits them to any use;
* TRACKING while offset or skew are still settling, or the skew is more than any crystal's;
* LOCKED when both uncertainties are below their limits (left again at twice the limit: hysteresis);
* HOLDOVER when samples stop, with an uncertainty that grows, until it is worth nothing: UNLOCKED.

Evidence that contradicts the estimate is set aside and counted. When it persists, a clock has stepped (device
restarted, counter wrapped, recording looped or paused, host clock set), and the estimator starts again from the
contradicting samples. Samples that are all somewhat late contradict nothing, because a busy host delays: the line is
held, but sigma says how much later they are, and after a third of the window they are believed. A sensor clock that
stands still while samples come is not extrapolated.

The constant part of the latency cannot be seen one-way: "host time" here is the arrival time of an event that met the
smallest delay, until edges of known host time tell that delay (`OneWayClock.add_edge`). All times are integers [ns].
This module reads no clock and refuses to know about messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuro_ros.timesync.clock_map import PPB, ClockMap
from neuro_ros.timesync.cloud import DelayCloud
from neuro_ros.timesync.edges import LatencyEdges
from neuro_ros.timesync.envelope import fit_envelope
from neuro_ros.timesync.settings import OneWaySettings, TimesyncError
from neuro_ros.timesync.states import ClockState

__all__ = ["ClockEstimate", "OneWayClock", "OneWayCounters"]

_S = 1_000_000_000
#: The line is fitted anew at most once in this much sensor time [ns]: bounds the work at any sample rate.
_REFIT_NS = _S // 10
#: While LOCKED this is soon enough unless a sample falls below the line: a second bends a crystal by nanoseconds.
_REFIT_LOCKED_NS = _S
#: Samples in a row that prove an early arrival or a backwards jump: an early one is physically impossible, so few do.
_EARLY_RUN = 3
#: Samples in a row, besides their duration, that prove a step to later arrivals or a sensor clock that stopped.
_LATE_RUN = 10
#: Samples that are somewhat late are believed when they fill this part of the window: beyond a half they tilt the line.
_RAISED_SHARE = 1 / 3
#: Sigmas of the prediction that are added to the limits for early and late.
_GATE_SIGMAS = 8.0
#: LOCKED is left at this multiple of the limits that lead into it.
_UNLOCK_RATIO = 2.0


@dataclass(slots=True)
class OneWayCounters:
    """What became of the samples since construction.

    Parameters
    ----------
    samples : int
        Samples offered.
    out_of_order : int
        Dropped: sensor time not after the newest one, by less than the reorder limit.
    outliers : int
        Dropped: contradicted the estimate, but not for long enough to be a step.
    restarts : int
        Times the estimate was thrown away because a clock stepped.
    expired : int
        Times a holdover lasted until it was worth nothing.
    stopped : int
        Times the estimate was thrown away because the sensor's clock stood still while samples came.
    """

    samples: int = 0
    out_of_order: int = 0
    outliers: int = 0
    restarts: int = 0
    expired: int = 0
    stopped: int = 0


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """What is known about a sensor's clock at one instant.

    Parameters
    ----------
    state : ClockState
        How far the rest can be trusted.
    clock : ClockMap or None
        The line; None while UNLOCKED.
    sigma_ns : float
        Standard uncertainty of a converted time now [ns], without the constant minimum latency unless that is known;
        NaN while UNLOCKED.
    skew_sigma_ppb : float
        Standard uncertainty of the skew [ppb]; NaN while UNLOCKED.
    samples : int
        Observations in the window.
    silence_ns : int
        Host time since the last sample [ns]; 0 without any.
    plausible : bool
        False when the skew is more than any crystal's.
    latency_ns : float
        Constant minimum latency by edges [ns], taken off the line already; NaN while not known.
    """

    state: ClockState
    clock: ClockMap | None
    sigma_ns: float
    skew_sigma_ppb: float
    samples: int
    silence_ns: int
    plausible: bool
    latency_ns: float = math.nan


class OneWayClock:
    """Bounded-memory estimator of one sensor's clock; see the module's text.

    Parameters
    ----------
    settings : OneWaySettings
        Limits; may be replaced at any time through the attribute of the same name.

    Attributes
    ----------
    counters : OneWayCounters
        What became of the samples.
    edges : LatencyEdges
        What became of the edges; a latency outlives restarts, because a clock that steps leaves the way as it was.
    extra_wander_ppb_per_s : float
        How much faster than the settings say the skew may change now, e.g. because the temperature moves [ppb/s].
    """

    def __init__(self, settings: OneWaySettings | None = None) -> None:
        self.settings = settings or OneWaySettings()
        self.counters = OneWayCounters()
        self.edges = LatencyEdges()
        self.extra_wander_ppb_per_s = 0.0
        self._stopped_at_ns: int | None = None
        self._restart(())

    def _restart(self, samples: tuple[tuple[int, int], ...]) -> None:
        """Forget everything but the counters, then take `samples`."""
        self._suspects: list[tuple[int, int]] = []
        self._suspect_kind = ""
        self._raised: list[tuple[int, int]] = []
        self._raised_ns = 0  # the least delay beyond the line among the raised
        self._repeats = 0
        self._cloud = DelayCloud(self.settings.capacity, self.settings.min_samples)
        self._origin = samples[0] if samples else (0, 0)
        self._newest: tuple[int, int] | None = None  # newest sample, absolute (sensor, host)
        self._fit_at_ns = -_REFIT_NS
        self._fit_due = False
        self._locked = False
        for sensor_ns, host_ns in samples:
            self._insert(sensor_ns, host_ns)

    # -- taking samples ------------------------------------------------------------------------------------------------

    def add(self, sensor_ns: int, host_ns: int) -> bool:
        """Take one sample; True when it is believed (used now or after a restart that it caused).

        Parameters
        ----------
        sensor_ns : int
            Unwrapped sensor time of the newest event [ns].
        host_ns : int
            Host time at which it arrived [ns].
        """
        self.counters.samples += 1
        if sensor_ns == self._stopped_at_ns:
            self.counters.out_of_order += 1
            return False
        self._stopped_at_ns = None
        if self._newest is None:
            self._origin = (sensor_ns, host_ns)
            self._insert(sensor_ns, host_ns)
            return True
        step_back_ns = self._newest[0] - sensor_ns
        if 0 <= step_back_ns <= self.settings.reorder_s * _S:
            self.counters.out_of_order += 1
            if step_back_ns == 0:
                self._repeat(sensor_ns, host_ns)
            return False
        kind = "back" if step_back_ns > 0 else self._contradiction(sensor_ns, host_ns)
        if kind:
            return self._suspect(kind, sensor_ns, host_ns)
        self._discard_suspects()
        if len(self._raised) >= _LATE_RUN and host_ns - self._raised[0][1] >= self._raised_limit_ns():
            self.counters.restarts += 1
            self._restart(tuple(self._raised))
            return True
        self._insert(sensor_ns, host_ns)
        return True

    def add_edge(self, sensor_ns: int, host_ns: int, sigma_ns: float = 0.0) -> bool:
        """Take an edge on the sensor's trigger line whose host time is known; True when it is believed.

        Parameters
        ----------
        sensor_ns : int
            Unwrapped sensor time of the edge [ns].
        host_ns : int
            Host time at which it was made [ns].
        sigma_ns : float
            Standard uncertainty of `host_ns` [ns].
        """
        if self._cloud.fit is None:
            return False
        x, y = self._relative(sensor_ns, host_ns)
        return self.edges.add(self._cloud.fit.at(x) - y, math.hypot(self._sigma_ns(x), sigma_ns))

    def add_pulse(self, sensor_ns: int, period_ns: int = _S, sigma_ns: float = 0.0) -> bool:
        """Take an edge of a pulse that comes when host time is a multiple of `period_ns`; True when it is believed.

        Which multiple follows from the line, as long as the latency is less than the period.

        Parameters
        ----------
        sensor_ns : int
            Unwrapped sensor time of the edge [ns].
        period_ns : int
            Host time from pulse to pulse [ns].
        sigma_ns : float
            Standard uncertainty of the pulse [ns].

        Raises
        ------
        TimesyncError
            The period is not positive.
        """
        if period_ns <= 0:
            raise TimesyncError(f"period_ns: {period_ns} must be above 0")
        if self._cloud.fit is None:
            return False
        x = sensor_ns - self._origin[0]
        line_ns = self._origin[1] + x + self._cloud.fit.at(x)
        slack_ns = round(self.settings.early_s * _S)  # a latency near zero may come out negative
        return self.add_edge(sensor_ns, (line_ns + slack_ns) // period_ns * period_ns, sigma_ns)

    def _repeat(self, sensor_ns: int, host_ns: int) -> None:
        """Note that sensor time stands still; give the estimate up when it does so for long."""
        self._repeats += 1
        still_ns = host_ns - self._newest[1] if self._newest else 0
        if self._repeats >= _LATE_RUN and still_ns >= self.settings.late_after_s * _S:
            self.counters.stopped += 1
            self._stopped_at_ns = sensor_ns
            self._restart(())

    def _contradiction(self, sensor_ns: int, host_ns: int) -> str:
        """Return "early" or "late" when the sample contradicts the estimate, else an empty string."""
        if self._cloud.fit is None:
            self._raised = []  # they were late for a line that is not believed any more
            return ""
        x, y = self._relative(sensor_ns, host_ns)
        residual = y - self._cloud.fit.at(x)
        margin = _GATE_SIGMAS * self._sigma_ns(x)
        early_ns = self.settings.early_s * _S + margin
        self._note_raised(residual, early_ns, sensor_ns, host_ns)
        if residual < -early_ns:
            return "early"
        if residual > self.settings.late_s * _S + margin:
            return "late"
        return ""

    def _note_raised(self, residual: int, limit_ns: float, sensor_ns: int, host_ns: int) -> None:
        """Remember a sample that is later than a step to earlier arrivals would have to be, or forget the run."""
        if residual <= limit_ns:
            self._raised = []
            return
        self._raised_ns = min(self._raised_ns, residual) if self._raised else residual
        self._raised.append((sensor_ns, host_ns))
        if len(self._raised) > self.settings.capacity:
            del self._raised[1:-1:2]

    def _raised_limit_ns(self) -> float:
        """Return how long samples may be somewhat late until they are believed [ns]."""
        known_ns = min(self.settings.window_s * _S, self._cloud.span_ns)
        return max(self.settings.late_after_s * _S, _RAISED_SHARE * known_ns)

    def _suspect(self, kind: str, sensor_ns: int, host_ns: int) -> bool:
        """Set a contradicting sample aside; start again when the run of them proves a step."""
        run = self._suspects
        if kind != self._suspect_kind or (run and sensor_ns <= run[-1][0]):
            self._discard_suspects()
            run = self._suspects
        self._suspect_kind = kind
        run.append((sensor_ns, host_ns))
        if kind == "late":
            proven = len(run) >= _LATE_RUN and host_ns - run[0][1] >= self.settings.late_after_s * _S
        else:
            proven = len(run) >= _EARLY_RUN
        if proven:
            self.counters.restarts += 1
            self._restart(tuple(run))
        elif len(run) > self.settings.capacity:
            del run[1:-1:2]  # a long run of late samples stays bounded; its first and last tell its duration
        return proven

    def _discard_suspects(self) -> None:
        self.counters.outliers += len(self._suspects)
        self._suspects, self._suspect_kind = [], ""

    def _relative(self, sensor_ns: int, host_ns: int) -> tuple[int, int]:
        """Return (sensor time, delay plus unknown offset), both relative to the origin [ns]."""
        x = sensor_ns - self._origin[0]
        return x, host_ns - self._origin[1] - x

    def _insert(self, sensor_ns: int, host_ns: int) -> None:
        self._newest = (sensor_ns, host_ns)
        self._repeats = 0
        x, y = self._relative(sensor_ns, host_ns)
        cloud, settings = self._cloud, self.settings
        cloud.capacity, cloud.least = settings.capacity, settings.min_samples
        cloud.add(x, y, x - round(settings.window_s * _S))
        self._fit_due = self._fit_due or not self._locked or (self._cloud.fit is not None and y < self._cloud.fit.at(x))
        if x - self._fit_at_ns >= (_REFIT_NS if self._fit_due else _REFIT_LOCKED_NS):
            self._refit(x)

    def _refit(self, x: int) -> None:
        cloud = self._cloud
        self._fit_at_ns, self._fit_due = x, False
        if len(cloud) < self.settings.min_samples or cloud.span_ns < self.settings.min_span_s * _S:
            return
        cloud.fit = fit_envelope(cloud.points)
        # Samples that fit no line, such as one from before a clock was set, make a line that is worth nothing.
        if self._cloud.fit is None or self._sigma_ns(x) > self.settings.holdover_limit_s * _S:
            self._cloud.fit, self._locked = None, False
            return
        ratio = _UNLOCK_RATIO if self._locked else 1.0
        self._locked = (
            self._sigma_ns(x) <= ratio * self.settings.lock_sigma_s * _S
            and self._cloud.fit.slope_sigma <= ratio * self.settings.lock_skew_sigma_ppm * 1e-6
            and self._plausible()
        )

    # -- what is known -------------------------------------------------------------------------------------------------

    def _plausible(self) -> bool:
        return self._cloud.fit is None or abs(self._cloud.fit.slope) <= self.settings.skew_limit_ppm * 1e-6

    def _sigma_ns(self, x: int) -> float:
        """Return the standard uncertainty of the line at relative sensor time `x` [ns]."""
        fit = self._cloud.fit
        if fit is None:
            return math.nan
        ahead = max(0, x - fit.x_last)
        # Scatter at the end and along the slope come from the same two samples, so they add up in line.
        scatter = fit.sigma + fit.slope_sigma * ahead
        # A skew that changes by w a second bends the truth away from the line by w d^2 / 2.
        wander_ppb_per_s = self.settings.wander_ppb_per_s + self.extra_wander_ppb_per_s
        wander = 0.5 * wander_ppb_per_s * PPB * ((x - fit.x_mean) / _S) ** 2 * _S
        return math.sqrt((self.settings.sigma_floor_s * _S) ** 2 + scatter**2 + wander**2)

    def estimate(self, host_now_ns: int) -> ClockEstimate:
        """Return what is known at host time `host_now_ns` [ns], on the clock of the arrival times.

        Changes nothing but one thing: a holdover that is worth nothing any more is given up, and counted.
        """
        samples = len(self._cloud)
        silence_ns = max(0, host_now_ns - self._newest[1]) if self._newest else 0
        fit = self._cloud.fit
        if fit is None:
            return ClockEstimate(ClockState.UNLOCKED, None, math.nan, math.nan, samples, silence_ns, True)
        x = self._cloud.newest + silence_ns  # sensor time now; the skew times the silence does not matter to sigma
        sigma_ns = self._sigma_ns(x)
        if silence_ns > self.settings.holdover_after_s * _S:
            if sigma_ns > self.settings.holdover_limit_s * _S:
                self.counters.expired += 1
                self._restart(())
                return ClockEstimate(ClockState.UNLOCKED, None, math.nan, math.nan, 0, 0, True)
            state = ClockState.HOLDOVER
        else:
            state = ClockState.LOCKED if self._locked else ClockState.TRACKING
        raised = self._raised
        if len(raised) >= _LATE_RUN and raised[-1][1] - raised[0][1] >= self.settings.late_after_s * _S:
            # Either the host is busy and the line is right, or a clock stepped and it is wrong by this much.
            sigma_ns = math.hypot(sigma_ns, self._raised_ns)
            if state is ClockState.LOCKED:
                state = ClockState.TRACKING
        latency_ns = self.edges.latency_ns
        if latency_ns is not None:
            sigma_ns = math.hypot(sigma_ns, self.edges.sigma_ns)
        x_reference = fit.x_last
        clock = ClockMap(
            reference_sensor_ns=self._origin[0] + x_reference,
            reference_host_ns=self._origin[1] + x_reference + fit.at(x_reference) - (latency_ns or 0),
            skew_ppb=fit.slope / PPB,
        )
        return ClockEstimate(
            state,
            clock,
            sigma_ns,
            fit.slope_sigma / PPB,
            samples,
            silence_ns,
            self._plausible(),
            math.nan if latency_ns is None else float(latency_ns),
        )
