# SPDX-License-Identifier: Apache-2.0
"""How well clocks are followed, beside other ways to do it, all on the same seeded samples in the same run.

One way, ten simulated hours at 10 Hz: the sensor's clock is 50 ppm slow, swings by +-10 ppm within half an hour and
drifts by another 10 ppm; delays are 0.6 ms + exponential(0.2 ms), 1 % of the samples up to 20 ms more, or bimodal
(`_clock_simulation`). Errors are of a converted sensor time just after each sample, against the host time at which it
would have arrived with the least delay, while locked. A backward step is a conversion of a time 1 us after a sample
that comes out earlier than the sample's own, converted just before. Ours is converted through the map that the camera
uses. Peers: the first offset for ever, an alpha-beta filter like MAVROS', a PI servo with linuxptp's constants
(`_clock_peers`). The peers average the delays, so that a part of their errors is a constant: "spread" is what remains
when each one's own median error is taken off. Settled is whose errors stay under 0.5 ms for ten seconds.

Two way: an hour of exchanges over such paths, with a least delay that is the same in both directions, or 1 ms longer
back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._clock_peers import AlphaBeta, Naive, Peer, PiServo
from neuro_ros.cli.benchmarks._clock_simulation import DELAYS, RATE_HZ, delays_ns, offset_ns, one_way
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing, paired_median_s
from neuro_ros.timesync import ClockMap, ClockState, MonotonicMap, OneWayClock, TwoWayEstimator

__all__ = ["Figures", "benchmarks", "follow_one_way", "follow_two_way"]

_S = 1_000_000_000
_HOURS, _TWO_WAY_HOURS = 10.0, 1.0
_SEED = 11
_BIN_NS = 5_000_000
_HOLDOVER_SAMPLES = 60 * RATE_HZ
_EPSILON_NS = 1000
_SETTLED_NS, _SETTLED_SAMPLES = 500_000, 10 * RATE_HZ
_ASYMMETRY_NS = 1_000_000
_COST_SAMPLES, _COST_ROUNDS = 600, 15

PEERS: Mapping[str, Callable[[], Peer]] = {
    "naive, first offset": Naive,
    "alpha-beta as MAVROS": AlphaBeta,
    "PI, software constants": lambda: PiServo(PiServo.SOFTWARE),
    "PI, hardware constants": lambda: PiServo(PiServo.HARDWARE),
}


class Follower(Protocol):
    """Takes samples of any kind and converts."""

    def add(self, sample: tuple[int, ...]) -> None:
        """Take a sample."""

    def now(self) -> tuple[ClockMap | None, bool, float]:
        """Return the line to extrapolate by, whether it is locked, and its sigma [ns]."""

    def convert(self, time_ns: int) -> int:
        """Return our time of `time_ns` of the followed clock, by the line there is."""


class _Ours:
    """Either of our estimators, converted through the monotonic map."""

    def __init__(self, estimator: Any, ours: Callable[[tuple[int, ...]], int]) -> None:
        self._estimator, self._ours = estimator, ours
        self._map = MonotonicMap()
        self._estimate: Any = None

    def add(self, sample: tuple[int, ...]) -> None:
        self._estimator.add(*sample)
        self._estimate = self._estimator.estimate(self._ours(sample))
        if self._estimate.clock is not None:
            self._map.follow(self._estimate.clock)

    def now(self) -> tuple[ClockMap | None, bool, float]:
        return self._estimate.clock, self._estimate.state is ClockState.LOCKED, self._estimate.sigma_ns

    def convert(self, time_ns: int) -> int:
        return self._map.to_host_ns(time_ns)


class _Theirs:
    """A peer, fed with the offset of each sample and converted with its line as it is."""

    def __init__(self, peer: Peer, offset: Callable[[tuple[int, ...]], tuple[int, int] | None]) -> None:
        self._peer, self._offset = peer, offset

    def add(self, sample: tuple[int, ...]) -> None:
        found = self._offset(sample)
        if found is not None:
            self._peer.take(*found)

    def now(self) -> tuple[ClockMap | None, bool, float]:
        return self._peer.held, self._peer.locked, math.nan

    def convert(self, time_ns: int) -> int:
        return self._peer.line.to_host_ns(time_ns) if self._peer.line else 0


@dataclass(frozen=True)
class Figures:
    """How well one follower did.

    Parameters
    ----------
    lock_s : float
        Until it called itself locked [s]; NaN when it never did.
    settled_s : float
        Until its errors stayed under 0.5 ms for ten seconds, locked or not [s]; NaN when they never did.
    p50_ns, p99_ns, worst_ns : float
        Of the errors while locked [ns].
    spread_p99_ns : float
        p99 of these errors about their own median [ns].
    outside : float
        Share of these errors beyond two of its sigma; NaN where it has none.
    outside_slack : float
        The same with a constant added to two sigma (half the asymmetry).
    holdover_ns : float
        Worst error of a line that nobody renewed for 60 s [ns].
    backward : int
        Backward steps while locked.
    """

    lock_s: float
    settled_s: float
    p50_ns: float
    p99_ns: float
    spread_p99_ns: float
    worst_ns: float
    outside: float
    outside_slack: float
    holdover_ns: float
    backward: int


def follow(
    follower: Follower, samples: Sequence[tuple[int, ...]], times: list[int], truth: list[int], slack_ns: float = 0.0
) -> Figures:
    """Give `samples` to a follower and judge what it converts.

    Parameters
    ----------
    follower : Follower
        Fresh.
    samples : sequence of tuple
        One after the other.
    times, truth : list of int
        Time of the followed clock at each sample, and what it should be converted to [ns].
    slack_ns : float
        For `Figures.outside_slack`.
    """
    count = len(samples)
    errors, sigmas = np.full(count, np.nan), np.full(count, np.nan)
    locked = np.zeros(count, dtype=np.bool_)
    held: list[int] = []
    backward = 0
    for k, (sample, time_ns, truth_ns) in enumerate(zip(samples, times, truth, strict=True)):
        was_locked = k > 0 and bool(locked[k - 1])
        before_ns = follower.convert(time_ns) if was_locked else 0
        follower.add(sample)
        line, locked[k], sigmas[k] = follower.now()
        if line is None:
            continue
        after_ns = follower.convert(time_ns + _EPSILON_NS)
        errors[k] = after_ns - _EPSILON_NS - truth_ns
        if locked[k]:
            backward += was_locked and after_ns < before_ns
            later = k + _HOLDOVER_SAMPLES
            if k % _HOLDOVER_SAMPLES == 0 and later < count:
                held.append(abs(line.to_host_ns(times[later]) - truth[later]))
    since_s = (np.array(times) - times[0]) / _S
    return Figures(
        lock_s=float(since_s[locked][0]) if locked.any() else math.nan,
        settled_s=_settled_s(np.abs(errors), since_s),
        **_judge(errors[locked], sigmas[locked], slack_ns),
        holdover_ns=float(max(held)) if held else math.nan,
        backward=backward,
    )


def _settled_s(size_ns: NDArray[np.float64], since_s: NDArray[np.float64]) -> float:
    """Return when errors began to stay under the limit for `_SETTLED_SAMPLES`; NaN (no line) is no such error."""
    run = np.convolve(size_ns < _SETTLED_NS, np.ones(_SETTLED_SAMPLES), "valid")
    found = np.flatnonzero(run >= _SETTLED_SAMPLES)
    return float(since_s[found[0]]) if len(found) else math.nan


def _judge(errors: NDArray[np.float64], sigmas: NDArray[np.float64], slack_ns: float) -> dict[str, float]:
    """Return the figures of `Figures` that are about the errors while locked [ns]."""
    if not len(errors):
        return dict.fromkeys(("p50_ns", "p99_ns", "spread_p99_ns", "worst_ns", "outside", "outside_slack"), math.nan)
    size = np.abs(errors)
    told = not np.isnan(sigmas).any()
    return {
        "p50_ns": float(np.quantile(size, 0.5)),
        "p99_ns": float(np.quantile(size, 0.99)),
        "spread_p99_ns": float(np.quantile(np.abs(errors - np.median(errors)), 0.99)),
        "worst_ns": float(size.max()),
        "outside": float(np.mean(size > 2.0 * sigmas)) if told else math.nan,
        "outside_slack": float(np.mean(size > 2.0 * sigmas + slack_ns)) if told else math.nan,
    }


def _arrival_offset(sample: tuple[int, ...]) -> tuple[int, int]:
    sensor_ns, host_ns = sample
    return sensor_ns, host_ns - sensor_ns


def _exchange_offset(sample: tuple[int, ...]) -> tuple[int, int] | None:
    t1, t2, t3, t4 = sample
    if (t4 - t1) - (t3 - t2) > 10_000_000:  # as MAVROS: a round trip above 10 ms says nothing
        return None
    return t4, ((t2 - t1) - (t4 - t3)) // 2


def _one_way_followers() -> dict[str, Follower]:
    ours = _Ours(OneWayClock(), lambda sample: sample[1])
    return {"ours": ours, **{name: _Theirs(make(), _arrival_offset) for name, make in PEERS.items()}}


def follow_one_way(kind: str, hours: float, seed: int = _SEED) -> dict[str, Figures]:
    """Return the figures of ours ("ours") and of each peer on one set of simulated arrivals."""
    arrivals = one_way(kind, hours, seed)
    samples = list(zip(arrivals.sensor_ns, arrivals.host_ns, strict=True))
    return {
        name: follow(follower, samples, arrivals.sensor_ns, arrivals.truth_ns)
        for name, follower in _one_way_followers().items()
    }


def _exchanges(hours: float, asymmetry_ns: int, seed: int) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    """Simulate exchanges; return them with the master's time at each one's end, and ours at that instant."""
    count = round(hours * 3600 * RATE_HZ)
    rng = np.random.default_rng(seed)
    begin_ns = 1_700_000_000 * _S
    t1 = np.arange(1, count + 1, dtype=np.int64) * (_S // RATE_HZ)
    t2 = t1 + delays_ns(DELAYS[0], count, rng)
    t3 = t2 + 5_000_000
    t4 = t3 + delays_ns(DELAYS[0], count, rng) + asymmetry_ns
    ours = [begin_ns + 3_000_000 + t + offset_ns(t / _S) for t in (t2, t3, t4)]
    exchanges = zip((begin_ns + t1).tolist(), ours[0].tolist(), ours[1].tolist(), (begin_ns + t4).tolist(), strict=True)
    return list(exchanges), (begin_ns + t4).tolist(), ours[2].tolist()


def _two_way_followers(estimator: Callable[[], Any] = TwoWayEstimator) -> dict[str, Follower]:
    ours = _Ours(estimator(), lambda sample: sample[2])
    return {"ours": ours, **{name: _Theirs(make(), _exchange_offset) for name, make in PEERS.items()}}


def follow_two_way(
    hours: float, asymmetry_ns: int = 0, seed: int = _SEED, estimator: Callable[[], Any] = TwoWayEstimator
) -> dict[str, Figures]:
    """Return the figures of ours ("ours") and of each peer on one set of simulated exchanges."""
    exchanges, times, truth = _exchanges(hours, asymmetry_ns, seed)
    slack_ns = abs(asymmetry_ns) / 2
    return {
        name: follow(follower, exchanges, times, truth, slack_ns)
        for name, follower in _two_way_followers(estimator).items()
    }


def _row(name: str, unit: str, figures: Mapping[str, Figures], value: Callable[[Figures], float]) -> Benchmark:
    """Return one row; a peer that has no such figure is left out."""
    values = {who: value(figure) for who, figure in figures.items()}
    ours = values.pop("ours")
    return Benchmark(name, unit, ours, {who: found for who, found in values.items() if not math.isnan(found)})


def _rows(title: str, figures: dict[str, Figures]) -> Iterator[Benchmark]:
    waiting = {who: figure for who, figure in figures.items() if not who.startswith("naive")}  # it never says when
    yield _row(f"{title}: until locked", "s", waiting, lambda figure: figure.lock_s)
    yield _row(f"{title}: until settled", "s", waiting, lambda figure: figure.settled_s)
    yield _row(f"{title}: error p50", "us", figures, lambda figure: figure.p50_ns / 1e3)
    yield _row(f"{title}: error p99", "us", figures, lambda figure: figure.p99_ns / 1e3)
    yield _row(f"{title}: spread p99", "us", figures, lambda figure: figure.spread_p99_ns / 1e3)
    yield _row(f"{title}: worst misalignment", "bins", figures, lambda figure: figure.worst_ns / _BIN_NS)
    yield _row(f"{title}: errors beyond two sigma", "%", figures, lambda figure: figure.outside * 100)
    yield _row(f"{title}: worst after 60 s holdover", "us", figures, lambda figure: figure.holdover_ns / 1e3)
    yield _row(f"{title}: backward steps", "", figures, lambda figure: figure.backward)


def _cost(samples: Sequence[tuple[int, ...]], followers: Mapping[str, Follower]) -> dict[str, float]:
    """Return what a sample costs each follower [us], in turn on the same samples, once they have settled."""

    def feeder(follower: Follower) -> Callable[[], object]:
        source = iter(samples)

        def run() -> None:
            for sample in itertools.islice(source, _COST_SAMPLES):
                follower.add(sample)

        return run

    times = paired_median_s({name: feeder(follower) for name, follower in followers.items()}, _COST_ROUNDS)
    return {name: seconds / _COST_SAMPLES * 1e6 for name, seconds in times.items()}


def _cost_hours() -> float:
    return (_COST_ROUNDS + 1) * _COST_SAMPLES / RATE_HZ / 3600


def _two_way() -> Iterator[Benchmark]:
    yield from _rows("two-way", follow_two_way(_TWO_WAY_HOURS))
    skewed = follow_two_way(_TWO_WAY_HOURS, _ASYMMETRY_NS)
    yield _row("two-way, 1 ms longer back: error p99", "us", skewed, lambda figure: figure.p99_ns / 1e3)
    name = "two-way, 1 ms longer back: beyond 2 sigma + 0.5 ms"
    yield _row(name, "%", skewed, lambda figure: figure.outside_slack * 100)
    exchanges, _, _ = _exchanges(_cost_hours(), 0, _SEED)
    costs = _cost(exchanges, _two_way_followers())
    yield Benchmark("two-way: cost of an exchange", "us", costs.pop("ours"), costs)


def benchmarks(missing: Missing) -> Iterator[Benchmark]:  # noqa: ARG001 - of every area; the peers are ours
    """Measure: errors and times, less is better; a cost of 1000 us a sample is 1 % of a core at 10 Hz."""
    for kind in DELAYS:
        yield from _rows(f"one-way, {kind}", follow_one_way(kind, _HOURS))
    arrivals = one_way(DELAYS[0], _cost_hours(), _SEED)
    costs = _cost(list(zip(arrivals.sensor_ns, arrivals.host_ns, strict=True)), _one_way_followers())
    yield Benchmark("one-way: cost of a sample", "us", costs.pop("ours"), costs)
    yield from _two_way()
