# SPDX-License-Identifier: Apache-2.0
"""The quantile sketch keeps its error bound, whatever the values, and forgets what is old."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.canary import CanaryError, QuantileSketch, SlidingSketch

S = 1_000_000_000
SHARES = [0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]
#: The logarithm may put a value on the edge of a bucket into its neighbour.
ROUNDING = 1e-9
values = st.lists(st.floats(1e-6, 3600.0), min_size=1, max_size=300)


def exact(numbers, q):
    return float(np.percentile(numbers, q * 100, method="inverted_cdf"))


@given(values, st.sampled_from(SHARES), st.sampled_from([0.001, 0.01, 0.05, 0.3]))
def test_quantiles_keep_the_relative_error_of_the_nearest_rank(numbers, q, error):
    sketch = QuantileSketch(error)
    for number in numbers:
        sketch.add(number)
    assert abs(sketch.quantile(q) - exact(numbers, q)) <= (error + ROUNDING) * exact(numbers, q)
    assert sketch.count == len(numbers)


@pytest.mark.parametrize("draw", ["lognormal", "pareto", "uniform", "two_modes"])
def test_the_bound_holds_on_long_streams_and_is_nearly_reached(draw, counts):
    rng = np.random.default_rng(3)
    n = counts("values of a long stream", reduced=3000, full=1_000_000)
    numbers = {
        "lognormal": lambda: rng.lognormal(-6.0, 1.0, n),
        "pareto": lambda: 1e-4 * (1.0 + rng.pareto(1.1, n)),
        "uniform": lambda: rng.uniform(1e-3, 1e-2, n),
        "two_modes": lambda: np.where(rng.random(n) < 0.97, 1e-3, 0.2) * rng.uniform(0.9, 1.1, n),
    }[draw]()
    numbers = np.clip(numbers, 1e-6, 3600.0)
    sketch = QuantileSketch(0.01)
    for number in numbers.tolist():
        sketch.add(number)
    errors = [
        abs(sketch.quantile(q) / exact(numbers, q) - 1.0) for q in np.arange(0.0037, 1.0, 0.01)
    ]  # no q n is whole
    assert max(errors) <= 0.01 + ROUNDING
    assert max(errors) > 0.007  # the bound is no idle one


@given(values, values, st.sampled_from(SHARES))
def test_merging_is_as_if_one_had_seen_all(first, second, q):
    sketches = [QuantileSketch(), QuantileSketch(), QuantileSketch()]
    for number in first:
        sketches[0].add(number)
        sketches[2].add(number)
    for number in second:
        sketches[1].add(number)
        sketches[2].add(number)
    sketches[0].merge(sketches[1])
    assert sketches[0].quantile(q) == sketches[2].quantile(q)


def test_values_outside_the_range_are_counted_and_said_to_be_at_its_ends():
    sketch = QuantileSketch(0.01, 1e-3, 1.0)
    for number in (-5.0, 0.0, 1e-4, 2.0, math.inf, math.nan):
        sketch.add(number)
    assert (sketch.below, sketch.above, sketch.count) == (3, 2, 5)
    assert (sketch.quantile(0.5), sketch.quantile(1.0)) == (1e-3, 1.0)


@given(st.integers(1, 400))
def test_every_edge_of_a_bucket_is_within_the_bound(number):
    sketch = QuantileSketch(0.01)
    edge = 1e-4 * math.exp(number * math.log(1.01 / 0.99))
    for value in (edge, math.nextafter(edge, 0.0), math.nextafter(edge, 1e9)):
        sketch.clear()
        sketch.add(value)
        assert sketch.quantile(0.5) == pytest.approx(value, rel=0.01 + ROUNDING)


def test_what_makes_no_sense_is_refused():
    for options in (
        {"relative_error": 0.0},
        {"relative_error": 1.0},
        {"relative_error": math.nan},
        {"lowest": 0.0},
        {"highest": math.inf},
        {"lowest": 2.0, "highest": 1.0},
        {"relative_error": 1e-7},
    ):
        with pytest.raises(CanaryError):
            QuantileSketch(**options)
    with pytest.raises(CanaryError, match="cannot be merged"):
        QuantileSketch(0.01).merge(QuantileSketch(0.02))
    for period_s, pieces in ((0.0, 10), (math.nan, 10), (1.0, 0)):
        with pytest.raises(CanaryError):
            SlidingSketch(period_s, pieces)


def test_no_value_has_no_quantile():
    assert math.isnan(QuantileSketch().quantile(0.5))
    count, quantiles = SlidingSketch(10.0).quantiles((0.5, 0.99), 0)
    assert count == 0
    assert all(math.isnan(value) for value in quantiles)


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.floats(1e-3, 1.0)), min_size=1, max_size=200))
def test_a_sliding_sketch_covers_the_period_and_at_most_a_piece_more(steps):
    sliding, now, seen = SlidingSketch(10.0, 10), 1000 * S, []
    for pause, value in steps:
        now += pause
        sliding.add(value, now)
        seen.append((now, value))
    count, (median,) = sliding.quantiles((0.5,), now)
    inside = [value for time, value in seen if now - time <= 10 * S]
    nearly = [value for time, value in seen if now - time <= 11 * S]
    assert len(inside) <= count <= len(nearly)
    kept = [value for time, value in seen[len(seen) - count :]]
    assert median == pytest.approx(exact(kept, 0.5), rel=0.01 + ROUNDING)


def test_a_clock_that_steps_back_forgets_the_future():
    sliding = SlidingSketch(10.0)
    sliding.add(1.0, 5000 * S)
    sliding.add(2.0, 100 * S)
    assert sliding.quantiles((1.0,), 101 * S) == (1, (pytest.approx(2.0, rel=0.01),))
    sliding.clear()
    assert sliding.quantiles((1.0,), 101 * S)[0] == 0
