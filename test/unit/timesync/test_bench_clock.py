# SPDX-License-Identifier: Apache-2.0
"""The targets of the clocks on the benchmark's own samples, and that its peers are what they are called."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

import neuro_ros.timesync
from neuro_ros.cli.benchmarks import clock as bench
from neuro_ros.cli.benchmarks._clock_peers import AlphaBeta, Naive, PiServo
from neuro_ros.cli.benchmarks._clock_simulation import DELAYS, LATENCY_NS, delays_ns, offset_ns, one_way
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing

S = 1_000_000_000


@pytest.mark.parametrize("kind", DELAYS)
def test_the_targets_of_the_one_way_clock_hold(counts, kind):
    minutes = counts(f"simulated minutes of {kind} delays", reduced=30, full=600)
    figures = bench.follow_one_way(kind, minutes / 60)
    ours = figures["ours"]
    assert ours.lock_s <= 10.0
    assert ours.p99_ns < 500_000 / 10  # the target is 0.5 ms; a tenth of it is what we claim
    assert ours.worst_ns < bench._BIN_NS / 50
    assert ours.outside <= 0.05
    assert ours.holdover_ns < 1_000_000
    assert ours.backward == 0
    peers = [figure for name, figure in figures.items() if name != "ours"]
    assert len(peers) == 4
    assert all(ours.p99_ns < figure.p99_ns and ours.spread_p99_ns < figure.spread_p99_ns for figure in peers)
    naive = figures["naive, first offset"]
    assert naive.worst_ns > 40e-6 * minutes * 60 * S  # no skew, so it leaves by that much


def test_a_sample_costs_less_than_a_thousandth_of_a_second():
    arrivals, clock = one_way("exponential", 1 / 20, 1), neuro_ros.timesync.OneWayClock()
    begin = time.thread_time()
    for sensor_ns, host_ns in zip(arrivals.sensor_ns, arrivals.host_ns, strict=True):
        clock.add(sensor_ns, host_ns)
        clock.estimate(host_ns)
    assert (time.thread_time() - begin) / len(arrivals.sensor_ns) < 1e-3  # which is 1 % of a core at 10 Hz


def test_the_simulated_clock_drifts_as_described():
    t_s = np.arange(0.0, 36_000.0, 1.0)
    skew_ppm = np.diff(offset_ns(t_s)) / 1e3
    assert skew_ppm[:1800].mean() == pytest.approx(50.25, abs=0.01)
    assert (skew_ppm[:1800].min(), skew_ppm[:1800].max()) == pytest.approx((40.4, 60.1), abs=0.1)
    assert skew_ppm[-1800:].mean() == pytest.approx(59.75, abs=0.01)
    assert np.abs(np.diff(skew_ppm)).max() < 0.037  # ppm a second
    arrivals = one_way("exponential", 0.01, 1)
    assert arrivals.truth_at(np.array(arrivals.sensor_ns)).tolist() == arrivals.truth_ns
    assert all(host >= truth for host, truth in zip(arrivals.host_ns, arrivals.truth_ns, strict=True))


@pytest.mark.parametrize(("kind", "median_ms"), [("exponential", 0.74), ("bimodal", None)])
def test_the_simulated_delays_are_as_described(kind, median_ms):
    delay_ms = delays_ns(kind, 200_000, np.random.default_rng(1)) / 1e6
    assert delay_ms.min() == pytest.approx(LATENCY_NS / 1e6, abs=0.001)
    assert np.mean(delay_ms > 5.0) == pytest.approx(0.0075, abs=0.002)
    if median_ms:
        assert np.median(delay_ms) == pytest.approx(median_ms, abs=0.01)
    else:
        assert np.mean(delay_ms < 1.5) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("make", [AlphaBeta, lambda: PiServo(PiServo.SOFTWARE), lambda: PiServo(PiServo.HARDWARE)])
def test_a_peer_converges_on_a_path_without_jitter(make):
    peer, off_ns = make(), []
    for k in range(20_000):
        time_ns = k * S // 10
        peer.take(time_ns, 7 * S + round(time_ns * 50e-6))
        if peer.line is not None:
            off_ns.append(peer.line.to_host_ns(time_ns) - time_ns - 7 * S - round(time_ns * 50e-6))
    assert peer.locked
    assert abs(off_ns[-1]) < 1000
    assert peer.held.skew_ppb == pytest.approx(50_000.0, rel=0.02)


def test_the_alpha_beta_filter_sets_deviations_aside_and_begins_anew_when_they_persist():
    peer = AlphaBeta()
    for k in range(600):
        peer.take(k * S // 10, 0)
    assert peer.locked
    for k in range(600, 610):
        peer.take(k * S // 10, 50_000_000)
    assert peer.locked
    assert peer.line.to_host_ns(0) == 0
    peer.take(61 * S, 50_000_000)
    peer.take(62 * S, 50_000_000)
    assert not peer.locked
    assert peer.line.to_host_ns(62 * S) == 62 * S + 50_000_000


def test_naive_keeps_the_first_offset():
    peer = Naive()
    for k in range(10):
        peer.take(k, 100 + k)
    assert peer.held.to_host_ns(1000) == 1100


def test_rows_of_the_benchmark(monkeypatch):
    monkeypatch.setattr(bench, "_HOURS", 0.05)
    monkeypatch.setattr(bench, "_TWO_WAY_HOURS", 0.05)
    monkeypatch.setattr(bench, "_COST_ROUNDS", 2)
    missing = Missing()
    rows = list(bench.benchmarks(missing))
    assert all(math.isfinite(row.ours) for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    costs = [row for row in rows if "cost" in row.name]
    assert [row.name.partition(":")[0] for row in costs] == ["one-way", "two-way"]
    assert all(set(row.peers) == set(bench.PEERS) for row in costs)
    assert missing.names == []
    assert sum("two-way" in row.name for row in rows) > 5


def test_two_way_rows_take_any_estimator_of_that_contract():
    class Single:
        """The offset of the latest exchange, as it is."""

        def add(self, t1, t2, t3, t4):
            self.line = neuro_ros.timesync.ClockMap(t4, t4 + ((t2 - t1) - (t4 - t3)) // 2)

        def estimate(self, now_ns):
            return SimpleNamespace(clock=self.line, state=neuro_ros.timesync.ClockState.LOCKED, sigma_ns=150_000.0)

    level = bench.follow_two_way(0.05, estimator=Single)
    tilted = bench.follow_two_way(0.05, asymmetry_ns=1_000_000, estimator=Single)
    assert level["ours"].p50_ns < 150_000
    assert tilted["ours"].p50_ns == pytest.approx(500_000, abs=50_000)  # half the asymmetry, which nobody sees
    assert tilted["ours"].outside > 0.9
    assert tilted["ours"].outside_slack < 0.05
    assert tilted["alpha-beta as MAVROS"].p50_ns == pytest.approx(500_000, abs=50_000)


def test_a_figure_of_zero_has_no_ratio():
    assert Benchmark("backward steps", "", 0, {"peer": 7}).times_best_peer is None
