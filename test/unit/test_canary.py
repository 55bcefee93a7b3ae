# SPDX-License-Identifier: Apache-2.0
"""canary: exact percentiles in bounded memory, margins, and alarms that know a still scene."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.canary import (
    AlarmBoard,
    AlarmLimits,
    CanaryError,
    GestureStatistics,
    LayerReport,
    Observation,
    RecentValues,
    Verdict,
    alarm_names,
    percentile,
    register_alarm,
)
from neuro_ros.canary import alarms as alarms_module
from neuro_ros.canary.statistics import margin

S = 1_000_000_000


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_exact_by_nearest_rank(values, q):
    result = percentile(sorted(values), q)
    assert result == np.percentile(values, q * 100, method="inverted_cdf")
    assert result in values


def test_no_value_has_no_percentile():
    assert math.isnan(percentile([], 0.5))


def test_values_leave_after_the_period_and_never_outgrow_the_capacity():
    recent = RecentValues(10.0, 16)
    for index in range(100):
        recent.add(float(index), 1000 * S + index * S)
    recent.add(math.nan, 1099 * S)
    assert recent.values(1099 * S) == [float(v) for v in range(89, 100)]
    for index in range(100):
        recent.add(float(index), 1100 * S)
    assert len(recent.values(1100 * S)) == 16


def test_a_clock_that_steps_back_forgets_the_future():
    recent = RecentValues(10.0, 16)
    recent.add(1.0, 5000 * S)
    recent.add(2.0, 100 * S)
    assert recent.values(101 * S) == [2.0]


@pytest.mark.parametrize(
    ("counts", "expected"), [([10, 0, 0], 1.0), ([6, 4], 0.2), ([5, 5], 0.0), ([0, 0], math.nan), ([3], math.nan)]
)
def test_margins(counts, expected):
    assert margin(counts) == pytest.approx(expected, nan_ok=True)


def test_a_summary_of_gestures():
    statistics = GestureStatistics(10.0, 100)
    for index in range(20):
        statistics.add(index * S // 2, (index + 1) * 1e-3, index % 2 - 1, [6, 4])
    summary = statistics.summary(10 * S)
    assert (summary.latency_p50_s, summary.latency_p95_s, summary.latency_p99_s) == (0.010, 0.019, 0.020)
    assert (summary.decided_share, summary.windows, summary.latency_samples) == (0.5, 20, 20)
    assert summary.decision_margin == pytest.approx(0.2)
    later = statistics.summary(30 * S)
    assert math.isnan(later.latency_p99_s)
    assert math.isnan(later.decided_share)
    assert statistics.windows == 20


# -- alarms ------------------------------------------------------------------------------------------------------------


def report(second, *, input_rate=0.05, rates=(0.1, 0.02), dead=(3, 5), lost=0):
    return LayerReport(second * S, input_rate, ("conv", "out"), rates, dead, lost)


def run(board, observations):
    """Return which alarms are raised after each observation."""
    history = []
    for observation in observations:
        board.observe(observation)
        history.append(tuple(board.raised))
    return history


def test_a_still_scene_raises_nothing_for_an_hour():
    still = [Observation(reports=(report(t, input_rate=0.0, rates=(0.0, 0.0), dead=(512, 11)),)) for t in range(3600)]
    nothing = [Observation() for _ in range(3600)]
    assert set(run(AlarmBoard(), still + nothing)) == {()}


def test_a_working_network_raises_nothing():
    working = [Observation(0.008, 200, (report(t),)) for t in range(600)]
    assert set(run(AlarmBoard(), working)) == {()}


def test_latency_is_raised_after_two_and_cleared_after_five():
    slow, edge, good = Observation(0.06, 100), Observation(0.045, 100), Observation(0.01, 100)
    few = Observation(9.0, 19)
    history = run(AlarmBoard(), [few] * 5 + [slow, good, slow, slow, edge, good, good, good, good, edge, good, good])
    raised = [bool(names) for names in history]
    assert raised == [False] * 8 + [True] * 7 + [False] * 2
    assert history[8] == ("latency",)


def test_lost_windows_are_raised_once_and_cleared():
    lost = [0] * 5 + [3] * 40
    history = run(AlarmBoard(), [Observation(reports=(report(t, lost=n),)) for t, n in enumerate(lost)])
    assert history[4] == ()
    assert history[6] == ("windows_lost",)  # two bad reports, 1 s after the loss
    assert history[-1] == ()


def test_a_new_activation_is_no_loss():
    history = run(
        AlarmBoard(AlarmLimits(windows_lost=5)),
        [Observation(reports=(report(t, lost=n),)) for t, n in enumerate([4, 4, 0, 0, 1, 1])],
    )
    assert set(history) == {()}


def test_a_dead_layer_is_found_after_ten_seconds_of_input():
    dead = [Observation(reports=(report(t, rates=(0.1, 0.0), dead=(3, 11)),)) for t in range(20)]
    board = AlarmBoard()
    history = run(board, dead)
    assert history.index(("dead_neurons",)) == 11  # 10 s, and the second verdict
    assert "layer out silent over 10 s of input" in board.raised["dead_neurons"]
    alive = [Observation(reports=(report(t),)) for t in range(20, 40)]
    assert run(board, alive)[-1] == ()


def test_time_without_input_does_not_count_towards_death():
    mixed = []
    for t in range(60):  # one second of input in ten
        moving = t % 10 == 0
        mixed.append(Observation(reports=(report(t, input_rate=0.05 if moving else 0.0, rates=(0.1, 0.0)),)))
    assert set(run(AlarmBoard(), mixed)) == {()}


def test_dead_neurons_are_bounded_by_the_least_count():
    limits = AlarmLimits(dead_neurons=10, raise_after=1)
    varying = [Observation(reports=(report(t, dead=(50 if t % 3 else 9, 5)),)) for t in range(30)]
    assert set(run(AlarmBoard(limits), varying)) == {()}
    steady = [Observation(reports=(report(t, dead=(50 if t % 3 else 11, 5)),)) for t in range(30)]
    assert run(AlarmBoard(limits), steady)[-1] == ("dead_neurons",)


@given(
    st.lists(
        st.tuples(st.floats(), st.integers(-(2**40), 2**40), st.integers(0, 2**40), st.floats(), st.integers(0, 99)),
        max_size=30,
    )
)
def test_no_telemetry_breaks_the_board(rows):
    board = AlarmBoard()
    for value, stamp, lost, rate, dead in rows:
        layer = LayerReport(stamp, value, ("a", "b"), (rate,), (dead, dead), lost)
        board.observe(Observation(value, dead, (layer,)))
    assert set(board.raised) <= set(alarm_names())


def test_a_new_alarm_is_a_class_and_a_registration(monkeypatch):
    monkeypatch.setattr(alarms_module, "_ALARMS", dict(alarms_module._ALARMS))

    class Always:
        def judge(self, observation, limits):
            return Verdict(True, "always")

    register_alarm("always", Always)
    board = AlarmBoard(dataclasses.replace(AlarmLimits(), raise_after=1))
    board.observe(Observation())
    assert board.raised == {"always": "always"}


@pytest.mark.parametrize("changes", [{"latency_p99_s": math.nan}, {"dead_input_s": math.inf}, {"windows_lost": -1}])
def test_limits_that_make_no_sense_are_refused(changes):
    with pytest.raises(CanaryError, match=next(iter(changes))):
        AlarmLimits(**changes)
