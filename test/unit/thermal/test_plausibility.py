# SPDX-License-Identifier: Apache-2.0
"""Which readings are believed, which of several sensors counts, how a temperature ages, when it matters."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.thermal import (
    DeadBand,
    PlausibilityGate,
    Readings,
    ThermalError,
    ThermalState,
    ThermalWatch,
    Throttle,
)

S = 1_000_000_000
GATE = {
    "minimum_celsius": -55.0,
    "maximum_celsius": 150.0,
    "max_rate_celsius_per_s": 5.0,
    "noise_celsius": 2.0,
    "confirmations": 3,
}
# -- plausibility ------------------------------------------------------------------------------------------------------


def gate(confirmations=3):
    return PlausibilityGate(-55.0, 150.0, 5.0, 2.0, confirmations)


def judge(a_gate, *readings):
    """Give readings half a second apart."""
    judge.now_ns += 1000 * S
    return [a_gate.accept(value, judge.now_ns + index * S // 2) for index, value in enumerate(readings)]


judge.now_ns = 0


def test_the_first_readings_must_agree():
    assert judge(gate(), 40.0, 40.1, 40.2, 40.3) == [False, False, True, True]
    # 0 degrees before the first conversion, 85 degrees after a power-on reset
    assert judge(gate(), 0.0, 40.0, 85.0, 40.0, 40.1, 40.1) == [False, False, False, False, False, True]


def test_one_glitch_changes_nothing_and_a_real_jump_is_believed_after_three():
    assert judge(gate(2), 40.0, 40.0, 85.0, 40.0, -128.0, 40.1) == [False, True, False, True, False, True]
    assert judge(gate(2), 40.0, 40.0, 60.0, 60.2, 60.1) == [False, True, False, True, True]


def test_silicon_may_heat_as_fast_as_allowed():
    assert judge(gate(2), 40.0, 40.0, 44.4, 48.8, 53.4) == [False, True, True, True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -128.0, 150.1])
def test_what_is_out_of_range_is_never_believed(value):
    a_gate = gate()
    assert not any(judge(a_gate, *[value] * 10))
    assert a_gate.counters.out_of_range == 10


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40))
def test_every_reading_is_counted_once_and_only_finite_ones_pass(values):
    a_gate = gate()
    passed = [value for value, good in zip(values, judge(a_gate, *values), strict=True) if good]
    assert all(-55.0 <= value <= 150.0 for value in passed)
    counters = a_gate.counters
    assert counters.accepted + counters.out_of_range + counters.implausible == len(values)


# -- ageing ------------------------------------------------------------------------------------------------------------


def test_hold_then_stale_then_failsafe_and_back():
    watch = ThermalWatch(5.0, 30.0, 0.0)
    watch.start(100 * S)
    assert watch.state(100 * S) is ThermalState.STALE  # nothing measured yet
    watch.update(40.0, 101 * S)
    ages = {1: ThermalState.NOMINAL, 5: ThermalState.NOMINAL, 6: ThermalState.STALE, 31: ThermalState.FAILSAFE}
    for age_s, state in ages.items():
        assert watch.state((101 + age_s) * S) is state
        assert watch.celsius == 40.0  # held
    watch.update(50.0, 200 * S)
    assert (watch.state(200 * S), watch.celsius) == (ThermalState.NOMINAL, 50.0)


def test_never_a_reading_ends_in_failsafe():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.start(100 * S)
    assert watch.state(131 * S) is ThermalState.FAILSAFE
    assert math.isnan(watch.celsius)


def test_the_low_pass_settles_without_overshoot():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.update(20.0, 0)
    seen = []
    for step in range(1, 41):
        watch.update(60.0, step * S // 2)
        seen.append(watch.celsius)
    assert seen == sorted(seen)
    assert seen[3] == pytest.approx(60.0 - 40.0 * 0.8**4)  # dt / (tau + dt) = 0.2 a step
    assert 59.9 < seen[-1] <= 60.0


def test_time_that_runs_back_does_no_harm():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.update(20.0, 100 * S)
    watch.update(30.0, 50 * S)
    assert watch.celsius == 20.0
    assert watch.state(51 * S) is ThermalState.NOMINAL


@pytest.mark.parametrize("value", [0.0, 85.0])
def test_what_chips_say_before_they_have_measured_is_not_believed_for_long(value):
    assert not any(judge(gate(), *[value] * 29)), "a start with a power-on value"
    assert judge(gate(), *[value] * 30)[-1], "but a temperature may well be that"
    a_gate = gate()
    assert judge(a_gate, 40.0, 40.0, 40.0, *[value] * 20, 40.0) == [False, False, True, *[False] * 20, True]


def test_a_sensor_that_was_away_for_long_vouches_for_nothing():
    a_gate = gate(2)
    assert judge(a_gate, 40.0, 40.0) == [False, True]
    assert [a_gate.accept(85.5, judge.now_ns + 60 * S), a_gate.accept(41.0, judge.now_ns + 60 * S)] == [False, True]


def test_a_power_on_value_that_is_reached_by_heating_is_believed_at_once():
    assert judge(gate(1), 84.0, 84.5, 85.0, 85.0, 85.5) == [True] * 5


# -- several sources ---------------------------------------------------------------------------------------------------
def readings(choice, confirmations=1, silent_after_s=5.0):
    return Readings({**GATE, "confirmations": confirmations}, choice, silent_after_s)


def test_the_hottest_source_counts_until_it_is_silent():
    several = readings("hottest")
    for second in range(4):
        verdicts = [several.take(name, celsius, second * S) for name, celsius in (("a", 40.0), ("b", 50.0))]
        assert several.source == "b"
    assert [verdict.counts for verdict in verdicts] == [False, True]
    for second in range(4, 12):  # b is unplugged
        last = several.take("a", 40.0, second * S)
    assert (several.source, last.counts) == ("a", True)
    assert several.take("b", 51.0, 12 * S).counts


def test_the_first_source_counts_however_hot_the_others_are():
    several = readings("first")
    several.take("a", 40.0, 0)
    assert not several.take("b", 50.0, 0).counts
    assert several.source == "a"
    assert several.take("b", 50.0, 6 * S).counts, "a has fallen silent"
    assert several.take("a", 40.0, 7 * S).counts, "and is back"


def test_a_glitch_of_one_source_neither_counts_nor_touches_the_others():
    several = readings("hottest", confirmations=3)
    for k in range(5):
        several.take("a", 40.0, k * S // 2)
        several.take("b", 50.0, k * S // 2)
    assert not several.take("a", 120.0, 3 * S).believed
    assert several.source == "b"
    assert several.believed() == {"a": 40.0, "b": 50.0}
    assert several.counters.implausible == 5


def test_sources_are_bounded_and_choices_are_checked():
    several = readings("first")
    for k in range(100):
        several.take(f"s{k}", 20.0, 0)
    assert several.refused_sources == 36
    with pytest.raises(ThermalError, match="'mean' is not known"):
        readings("mean")


# -- dead band ---------------------------------------------------------------------------------------------------------
def follow(band, *values, start_s=0.0, period_s=0.5):
    return [band.update(value, round((start_s + k * period_s) * S)) for k, value in enumerate(values)]


def settled(width=2.0, celsius=25.0):
    band = DeadBand(width)
    follow(band, *[celsius] * 20)
    return band


def test_inside_the_band_nothing_moves():
    assert set(follow(settled(), 26.9, 23.1, 25.0, 27.0, start_s=10.0)) == {25.0}


def test_outside_it_is_followed_until_it_is_still():
    band = settled()
    ramp = [25.0 + 0.5 * k for k in range(1, 40)]
    seen = follow(band, *ramp, start_s=10.0)
    assert seen[:4] == [25.0] * 4
    assert seen[4:] == ramp[4:], "a ramp is followed in every step"
    still = follow(band, *[ramp[-1] + 0.1] * 30, start_s=30.0)
    assert still[-1] == ramp[-1] + 0.1
    assert follow(band, ramp[-1] + 1.9, start_s=50.0) == [ramp[-1] + 0.1]


def test_noise_inside_the_band_never_moves_it():
    band = settled()
    noise = [25.0 + 1.9 * math.sin(k) for k in range(400)]
    assert set(follow(band, *noise, start_s=10.0)) == {25.0}


@given(st.lists(st.floats(-40.0, 85.0), min_size=1, max_size=60), st.floats(0.0, 5.0))
def test_what_is_acted_on_is_never_further_away_than_the_band(values, width):
    band = DeadBand(width)
    for k, value in enumerate(values):
        assert abs(band.update(value, k * S // 2) - value) <= width


# -- throttling --------------------------------------------------------------------------------------------------------
def test_levels_are_entered_at_their_limits_and_left_below_them():
    throttle = Throttle(80.0, 90.0, 5.0)
    up = {79.9: 0, 80.0: 1, 89.9: 1, 90.0: 2, 120.0: 2}
    down = {85.1: 2, 85.0: 2, 84.9: 1, 75.0: 1, 74.9: 0}
    for celsius, level in [*up.items(), *down.items()]:
        assert throttle.update(celsius) == level, celsius
    assert throttle.changes == 4


def test_a_jump_passes_both_levels_and_an_unknown_temperature_none():
    throttle = Throttle(80.0, 90.0, 5.0)
    assert throttle.update(95.0) == 2
    assert throttle.update(math.nan) == 2
    assert throttle.update(20.0) == 0


@pytest.mark.parametrize("limits", [(90.0, 80.0, 5.0), (80.0, 80.0, 5.0), (80.0, 90.0, 0.0), (math.nan, 90.0, 5.0)])
def test_limits_without_an_order_are_refused(limits):
    with pytest.raises(ThermalError, match="throttle"):
        Throttle(*limits)


@given(st.lists(st.floats(60.0, 110.0), max_size=60))
def test_a_wobble_within_the_hysteresis_changes_no_level_twice(values):
    throttle = Throttle(80.0, 90.0, 5.0)
    before = None
    for value in values:
        level = throttle.update(value)
        assert value < 90.0 or level == 2
        assert value >= 75.0 or level == 0
        if before is not None and abs(value - before[0]) < 5.0:
            assert abs(level - before[1]) <= 1
        before = (value, level)
