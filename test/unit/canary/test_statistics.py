# SPDX-License-Identifier: Apache-2.0
"""Values of the last seconds in bounded memory, and what gestures say in figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.canary import GestureStatistics, RecentValues, leader, margin
from neuro_ros.canary.window import percentile

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
    ("counts_", "expected"), [([10, 0, 0], 1.0), ([6, 4], 0.2), ([5, 5], 0.0), ([0, 0], math.nan), ([3], math.nan)]
)
def test_margins(counts_, expected):
    assert margin(counts_) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("counts_", "expected"), [([1, 3, 3], 1), ([4], 0), ([0, 0], -1), ([], -1)])
def test_leaders(counts_, expected):
    assert leader(counts_) == expected


def test_a_summary_of_gestures():
    statistics = GestureStatistics(10.0, 100)
    for index in range(20):
        statistics.add(index * S // 2, (index + 1) * 1e-3, index % 2 - 1, [6, 4], (index + 1) * 1e-5)
    summary = statistics.summary(10 * S)
    times = (summary.latency_p50_s, summary.latency_p95_s, summary.latency_p99_s, summary.step_time_p99_s)
    assert times == pytest.approx((0.010, 0.019, 0.020, 2e-4), rel=0.0101)
    assert (summary.decided_share, summary.windows, summary.latency_samples) == (0.5, 20, 20)
    assert summary.decision_margin == pytest.approx(0.2)
    later = statistics.summary(30 * S)
    assert math.isnan(later.latency_p99_s)
    assert math.isnan(later.decided_share)
    assert statistics.windows == 20
