# SPDX-License-Identifier: Apache-2.0
"""Estimate another host's clock from two-way exchanges (t1, t2, t3, t4).

The master sends at t1, we receive at t2, we send at t3, the master receives at t4; t1 and t4 are the master's time, t2
and t3 ours. With ``offset = ours - master`` and delays that are never negative

    t2 - t1 = offset + delay_there          t4 - t3 = delay_back - offset

so each direction is a cloud of points above a line, and (IEEE 1588-2019 clause 11.3)

    offset = ((t2 - t1) - (t4 - t3)) / 2    mean_path_delay = ((t2 - t1) + (t4 - t3)) / 2

is taken of the two *lower envelopes* instead of single exchanges (`envelope_pair`). That is minimum-round-trip
selection carried to its end: the quickest messages of either direction count, even if they never met in one exchange,
the skew comes from the same lines, and waiting of any length in a queue changes nothing. An asymmetry of the least
delays themselves cannot be seen by any two-way method; half of it is the error it makes, and ``sigma_ns`` does not
contain it.

The gate: no message travels faster than the quickest. An exchange that says so in either direction contradicts the
estimate (a master's lie, a clock that was set). It is set aside and counted; several in a row that agree with each
other prove a step, and the estimator starts again from them. Until there is an estimate, exchanges that disagree with
the median by more than their round trip explains are left out.

States are those of the one-way clock: UNLOCKED, TRACKING, LOCKED (with hysteresis), HOLDOVER with an uncertainty that
grows. All times are integers [ns]. This module reads no clock and refuses to know about messages.

Examples
--------
A master that is 1 s behind us, 1 ms away:

>>> clock, s = TwoWayEstimator(), 1_000_000_000
>>> for k in range(1, 100):
...     t1 = k * s // 10
...     used = clock.add(t1, t1 + s + 1_000_000, t1 + s + 2_000_000, t1 + 3_000_000)
>>> estimate = clock.estimate(t1 + s)
>>> estimate.state.name, estimate.offset_ns, estimate.mean_path_delay_ns
('LOCKED', 1000000000.0, 1000000.0)
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from neuro_ros.timesync.clock_map import PPB, ClockMap
from neuro_ros.timesync.cloud import DelayCloud
from neuro_ros.timesync.envelope_pair import EnvelopePair, fit_pair
from neuro_ros.timesync.exchange import Exchange
from neuro_ros.timesync.states import ClockState
from neuro_ros.timesync.two_way_settings import TwoWaySettings

__all__ = ["TwoWayCounters", "TwoWayEstimate", "TwoWayEstimator"]

_S = 1_000_000_000
#: Sigmas of the prediction that are added to the limit for an early message.
_GATE_SIGMAS = 8.0
#: LOCKED is left at this multiple of the limits that lead into it.
_UNLOCK_RATIO = 2.0
#: Two exchanges that agree may still differ by this beside their round trips [ns]: stamps of busy hosts.
_AGREE_NS = 500_000
#: The lines of a settled estimate are fitted anew at most this often [ns of master time]: a fifth of the cost at 10 Hz.
_REFIT_NS = _S // 2


@dataclass(slots=True)
class TwoWayCounters:
    """What became of the exchanges since construction.

    Parameters
    ----------
    exchanges : int
        Offered.
    absurd : int
        Dropped: times that no clock shows, a negative round trip, or a turnaround beyond the limit.
    slow : int
        Dropped: round trip beyond the limit.
    out_of_order : int
        Dropped: not newer than the newest one.
    outliers : int
        Dropped: contradicted the estimate (or the majority before there was one), but not for long enough to be a step.
    steps : int
        Times the estimate was thrown away because a clock stepped.
    expired : int
        Times a holdover lasted until it was worth nothing.
    """

    exchanges: int = 0
    absurd: int = 0
    slow: int = 0
    out_of_order: int = 0
    outliers: int = 0
    steps: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class TwoWayEstimate:
    """What is known about the master's clock at one instant.

    Parameters
    ----------
    state : ClockState
        How far the rest can be trusted.
    clock : ClockMap or None
        The line from master's time ("sensor") to ours ("host"); None while UNLOCKED.
    offset_ns : float
        Ours minus master's now [ns]; NaN while UNLOCKED.
    skew_ppb : float
        Rate of our clock against the master's, minus one [ppb]: positive = the master's is slow; NaN while UNLOCKED.
    mean_path_delay_ns : float
        Mean of the least delays of the two directions [ns]; NaN while UNLOCKED. Half the asymmetry is at most this.
    sigma_ns, skew_sigma_ppb : float
        Standard uncertainty of offset [ns], without half the asymmetry, and of skew [ppb]; NaN while UNLOCKED.
    samples : int
        Exchanges in the window.
    silence_ns : int
        Our time since the last exchange [ns].
    plausible : bool
        False when the skew is more than any two crystals'.
    """

    state: ClockState
    clock: ClockMap | None
    offset_ns: float
    skew_ppb: float
    mean_path_delay_ns: float
    sigma_ns: float
    skew_sigma_ppb: float
    samples: int
    silence_ns: int
    plausible: bool


class TwoWayEstimator:
    """Bounded-memory estimator of one master's clock; see the module's text.

    Parameters
    ----------
    settings : TwoWaySettings, optional
        Limits; may be replaced at any time through the attribute of the same name.

    Attributes
    ----------
    counters : TwoWayCounters
        What became of the exchanges.
    """

    def __init__(self, settings: TwoWaySettings | None = None) -> None:
        self.settings = settings or TwoWaySettings()
        self.counters = TwoWayCounters()
        self._restart(())

    def _restart(self, exchanges: tuple[Exchange, ...]) -> None:
        """Forget everything but the counters, then take `exchanges`."""
        self._suspects: list[Exchange] = []
        self._early: list[Exchange] = []  # before there is an estimate
        self._there = DelayCloud(self.settings.capacity)
        self._back = DelayCloud(self.settings.capacity)
        self._origin = (exchanges[0].t1_ns, exchanges[0].t2_ns) if exchanges else (0, 0)
        self._newest: Exchange | None = None
        self._pair: EnvelopePair | None = None
        self._fitted_ns = -_S
        self._locked = False
        for exchange in exchanges:
            self._insert(exchange)

    # -- taking exchanges ----------------------------------------------------------------------------------------------

    def add(self, t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int) -> bool:
        """Take one exchange; True when it is believed (used now, or after a restart that it caused).

        Parameters
        ----------
        t1_ns, t4_ns : int
            Departure of SYNC and arrival of our request, in the master's time, corrections applied [ns].
        t2_ns, t3_ns : int
            Arrival of SYNC and departure of our request, in our time [ns].
        """
        self.counters.exchanges += 1
        exchange = Exchange(t1_ns, t2_ns, t3_ns, t4_ns)
        fault = exchange.fault(self.settings.max_turnaround_s, self.settings.skew_limit_ppm)
        if fault:
            self.counters.absurd += 1
            return False
        if exchange.round_trip_ns > self.settings.max_round_trip_s * _S:
            self.counters.slow += 1
            return False
        newest = self._newest
        if newest is None:
            self._origin = (t1_ns, t2_ns)
            self._insert(exchange)
            return True
        fresh = t4_ns > newest.t4_ns and t1_ns >= newest.t1_ns
        if self._contradicts(exchange, newest) or not (fresh or exchange.agrees(newest, self._slack(exchange, newest))):
            return self._suspect(exchange)
        if not fresh:
            self.counters.out_of_order += 1
            return False
        self._discard_suspects()
        self._insert(exchange)
        return True

    def _slack(self, one: Exchange, other: Exchange) -> int:
        """How far two honest offsets may differ beside their round trips [ns]; rises with the time between them."""
        return _AGREE_NS + round(abs(one.t4_ns - other.t4_ns) * self.settings.skew_limit_ppm * 1e-6)

    def _contradicts(self, exchange: Exchange, newest: Exchange) -> bool:
        """Tell whether a message would have been faster than is possible."""
        pair = self._pair
        if pair is None:
            return False
        early, margin = self.settings.early_s * _S, _GATE_SIGMAS
        x1, y1 = self._there_point(exchange)
        x4, y4 = self._back_point(exchange)
        far = abs(exchange.t4_ns - newest.t4_ns) > self.settings.window_s * _S * 1000
        return (
            far
            or y1 - pair.there.at(x1) < -(early + margin * self._sigma_ns(x1))
            or y4 - pair.back.at(x4) < -(early + margin * self._sigma_ns(x4))
        )

    def _suspect(self, exchange: Exchange) -> bool:
        """Set a contradicting exchange aside; start again when the run of them proves a step."""
        run = self._suspects
        if run:
            last = run[-1]
            fresh = exchange.t4_ns > last.t4_ns and exchange.t1_ns >= last.t1_ns
            if not (fresh and exchange.agrees(last, self._slack(exchange, last))):
                self._discard_suspects()
                run = self._suspects
        run.append(exchange)
        if len(run) < self.settings.step_samples:
            return False
        self.counters.steps += 1
        self._restart(tuple(run))
        return True

    def _discard_suspects(self) -> None:
        self.counters.outliers += len(self._suspects)
        self._suspects = []

    def _there_point(self, exchange: Exchange) -> tuple[int, int]:
        """Return (master's time, offset plus delay), relative to the origin [ns]."""
        x = exchange.t1_ns - self._origin[0]
        return x, exchange.t2_ns - self._origin[1] - x

    def _back_point(self, exchange: Exchange) -> tuple[int, int]:
        """Return (master's time, delay minus offset), relative to the origin [ns]."""
        x = exchange.t4_ns - self._origin[0]
        return x, x - (exchange.t3_ns - self._origin[1])

    def _insert(self, exchange: Exchange) -> None:
        self._newest = exchange
        if self._pair is None:
            self._early.append(exchange)
            if len(self._early) > self.settings.capacity:
                del self._early[1:-1:2]  # at a high rate every other one: they must span the least time
            self._start()
            return
        self._put(exchange)
        x = exchange.t4_ns - self._origin[0]
        if not self._locked or x - self._fitted_ns >= _REFIT_NS:
            self._refit(x)

    def _put(self, exchange: Exchange) -> None:
        oldest = exchange.t4_ns - self._origin[0] - round(self.settings.window_s * _S)
        self._there.add(*self._there_point(exchange), oldest)
        self._back.add(*self._back_point(exchange), oldest)

    def _start(self) -> None:
        """Make the first lines when there is enough to tell a majority from a lie."""
        early = self._early
        settings = self.settings
        if len(early) < settings.min_samples or early[-1].t4_ns - early[0].t4_ns < settings.min_span_s * _S:
            return
        middle = statistics.median(exchange.offset_ns - early[0].offset_ns for exchange in early) + early[0].offset_ns
        slack = _AGREE_NS + (early[-1].t4_ns - early[0].t4_ns) * settings.skew_limit_ppm * 1e-6
        honest = [item for item in early if abs(item.offset_ns - middle) <= item.round_trip_ns / 2 + slack]
        if len(honest) < settings.min_samples or honest[-1].t4_ns - honest[0].t4_ns < settings.min_span_s * _S:
            return
        self.counters.outliers += len(early) - len(honest)
        self._early = []
        self._origin = (honest[0].t1_ns, honest[0].t2_ns)
        for exchange in honest:
            self._put(exchange)
        self._refit(honest[-1].t4_ns - self._origin[0])
        if self._pair is None:  # worth nothing: go on collecting
            self._early = honest

    def _refit(self, x: int) -> None:
        self._fitted_ns = x
        if len(self._back) < self.settings.min_samples or self._back.span_ns < self.settings.min_span_s * _S:
            if self._pair is None:
                return
            # After a long silence the window holds too little for a line of its own: the old one bridges the gap.
            self._locked = False
            return
        pair = self._pair = fit_pair(self._there.points, self._back.points)
        if pair is None or self._sigma_ns(x) > self.settings.holdover_limit_s * _S:
            newest = self._newest
            self._restart(())
            self._newest = newest
            return
        self._there.fit, self._back.fit = pair.there, pair.back
        ratio = _UNLOCK_RATIO if self._locked else 1.0
        self._locked = (
            self._sigma_ns(x) <= ratio * self.settings.lock_sigma_s * _S
            and pair.slope_sigma <= ratio * self.settings.lock_skew_sigma_ppm * 1e-6
            and self._plausible()
        )

    # -- what is known -------------------------------------------------------------------------------------------------

    def _plausible(self) -> bool:
        return self._pair is None or abs(self._pair.there.slope) <= self.settings.skew_limit_ppm * 1e-6

    def _sigma_ns(self, x: int) -> float:
        """Return the standard uncertainty of the offset at relative master's time `x` [ns]."""
        pair = self._pair
        if pair is None:
            return math.nan
        # Scatter at the end and along the slope come from the same samples, so they add up in line.
        scatter = pair.sigma + pair.slope_sigma * max(0, x - pair.back.x_last)
        # A skew that changes by w a second bends the truth away from the line by w d^2 / 2.
        wander = 0.5 * self.settings.wander_ppb_per_s * PPB * ((x - pair.back.x_mean) / _S) ** 2 * _S
        return math.sqrt((self.settings.sigma_floor_s * _S) ** 2 + scatter**2 + wander**2)

    def estimate(self, now_ns: int) -> TwoWayEstimate:
        """Return what is known at our time `now_ns` [ns].

        Changes nothing but one thing: a holdover that is worth nothing any more is given up, and counted.
        """
        nan, newest = math.nan, self._newest
        samples = max(len(self._back), len(self._early))
        silence_ns = max(0, now_ns - newest.t3_ns) if newest else 0
        pair = self._pair
        if pair is None or newest is None:
            return TwoWayEstimate(ClockState.UNLOCKED, None, nan, nan, nan, nan, nan, samples, silence_ns, True)
        x = newest.t4_ns - self._origin[0] + silence_ns  # master's time now; the skew does not matter to sigma
        sigma_ns = self._sigma_ns(x)
        if silence_ns > self.settings.holdover_after_s * _S:
            if sigma_ns > self.settings.holdover_limit_s * _S:
                self.counters.expired += 1
                self._restart(())
                return TwoWayEstimate(ClockState.UNLOCKED, None, nan, nan, nan, nan, nan, 0, 0, True)
            state = ClockState.HOLDOVER
        else:
            state = ClockState.LOCKED if self._locked else ClockState.TRACKING
        there, back = pair.there, pair.back
        reference = back.x_last
        # Twice the offset at the reference, in whole nanoseconds, so that no epoch time is ever a float.
        twice = there.at(reference) - back.at(reference)
        clock = ClockMap(
            reference_sensor_ns=self._origin[0] + reference,
            reference_host_ns=self._origin[1] + reference + twice // 2,
            skew_ppb=there.slope / PPB,
        )
        return TwoWayEstimate(
            state=state,
            clock=clock,
            offset_ns=float(now_ns - clock.to_sensor_ns(now_ns)),
            skew_ppb=there.slope / PPB,
            mean_path_delay_ns=(there.at(reference) + back.at(reference)) / 2,
            sigma_ns=sigma_ns,
            skew_sigma_ppb=pair.slope_sigma / PPB,
            samples=samples,
            silence_ns=silence_ns,
            plausible=self._plausible(),
        )
