# SPDX-License-Identifier: Apache-2.0
"""The output clock never runs backwards, and the servos of linuxptp do what they are known for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_hosts import START, Clock, Path, S, exchanges

from neuro_ros.timesync import ClockMap, TimesyncError, TwoWayEstimator
from neuro_ros.timesync.servo import LinearRegressionServo, MedianDelay, PiServo, ServoState
from neuro_ros.timesync.slewed import SlewedClock, SlewSettings

# -- the output clock --------------------------------------------------------------------------------------------------


def test_a_clock_that_was_never_set_says_so():
    clock = SlewedClock()
    assert not clock.is_set
    assert clock.line(START) is None
    with pytest.raises(TimesyncError, match="is_set"):
        clock.read(START)


corrections = st.tuples(
    st.integers(0, 3 * S),  # time since the last
    st.integers(-25_000_000, 25_000_000),  # error of the new target
    st.floats(-500e3, 500e3),  # its skew
)


@given(st.lists(corrections, max_size=30), st.lists(st.integers(0, S), min_size=1, max_size=5))
def test_output_time_runs_forwards_but_for_counted_steps(rows, reads):
    clock = SlewedClock()
    now_ns = START
    clock.follow(ClockMap(now_ns, now_ns, 0.0), now_ns)
    shown_ns = clock.read(now_ns)
    for wait_ns, error_ns, skew_ppb in rows:
        for read_ns in sorted(reads):
            if read_ns <= wait_ns:
                assert clock.read(now_ns + read_ns) >= shown_ns
                shown_ns = clock.read(now_ns + read_ns)
        now_ns += wait_ns
        before_ns, steps = clock.read(now_ns), clock.steps
        assert before_ns >= shown_ns
        stepped = clock.follow(ClockMap(before_ns + error_ns, now_ns, skew_ppb), now_ns)
        assert stepped == (abs(error_ns) > 20_000_000) == (clock.steps > steps)
        shown_ns = clock.read(now_ns)
        assert stepped or shown_ns == before_ns  # no jump where none is counted


def test_an_error_is_taken_off_in_time_and_the_rate_is_the_targets_afterwards():
    clock = SlewedClock(SlewSettings(slew_time_s=2.0, max_slew_ppm=500.0))
    target = ClockMap(START, START, 40_000.0)
    clock.set(START - 600_000, START, 0.0)
    assert not clock.follow(target, START)
    assert clock.line(START).skew_ppb == pytest.approx(40_000 - 300_000, rel=1e-2)
    assert abs(clock.read(START + 2 * S + 1000) - target.to_sensor_ns(START + 2 * S + 1000)) <= 2
    assert clock.line(START + 3 * S).skew_ppb == 40_000.0
    assert abs(clock.read(START + 100 * S) - target.to_sensor_ns(START + 100 * S)) <= 2
    # A large one takes longer, at the largest rate.
    clock.set(START + 10_000_000, START, 0.0)
    clock.follow(target, START)
    assert clock.read(START + 10 * S) - target.to_sensor_ns(START + 10 * S) == pytest.approx(5_000_000, abs=1000)


def test_the_output_clock_of_a_noisy_estimate_never_runs_backwards():
    rng = np.random.default_rng(1)
    estimator, output = TwoWayEstimator(), SlewedClock()
    clock, path = Clock(5 * S, 50, swing_ppm=3), Path(rng)
    last_ns, errors = 0, []
    for t1, t2, t3, t4, true_ns in exchanges(clock, path, path, 120.0):
        estimator.add(t1, t2, t3, t4)
        now_ns = clock.at(true_ns)
        estimate = estimator.estimate(now_ns)
        if estimate.clock is None:
            continue
        output.follow(estimate.clock, now_ns)
        for read_ns in (now_ns, now_ns + 10_000_000):
            assert output.read(read_ns) > last_ns
            last_ns = output.read(read_ns)
        errors.append(abs(output.read(now_ns) - true_ns))
    assert output.steps == 0
    assert np.percentile(errors[100:], 99) < 100e3


def test_slew_settings_are_checked():
    for values in ({"step_threshold_s": 0.0}, {"slew_time_s": math.nan}, {"max_slew_ppm": 1e6}):
        with pytest.raises(TimesyncError):
            SlewSettings(**values)


# -- servos ------------------------------------------------------------------------------------------------------------


def drive(servo, seconds, seed=1, skew_ppm=50.0, offset_ns=5 * S):
    """Let a servo steer an output clock by single exchanges; return its errors [ns], ten a second."""
    rng = np.random.default_rng(seed)
    clock, path = Clock(offset_ns, skew_ppm), Path(rng)
    output, median = SlewedClock(), MedianDelay()
    errors, jumps = [], 0
    for t1, t2, t3, t4, true_ns in exchanges(clock, path, path, seconds):
        if not output.is_set:
            output.set(t2, t2, 0.0)
        delay_ns = median.add(((t2 - t1) + (t4 - t3)) // 2)
        offset = output.read(t2) - t1 - delay_ns
        answer = servo.sample(offset, t2)
        if answer.state is ServoState.JUMP:
            jumps += 1
            output.set(output.read(t2) - offset, t2, 0.0)
        if answer.state is not ServoState.UNLOCKED:
            output.steer(answer.ppb, t2)
        errors.append(output.read(clock.at(true_ns)) - true_ns)
    return np.array(errors), jumps


def test_the_constants_are_those_of_software_time_stamps():
    one = PiServo(1.0)
    assert (one.kp, one.ki) == (0.1, 0.001)
    fast = PiServo(0.125)
    assert fast.kp == pytest.approx(0.1 * 0.125**-0.3)
    assert fast.ki == pytest.approx(0.001 * 0.125**0.4)
    slow = PiServo(1e6)
    assert (slow.kp, slow.ki) == (pytest.approx(0.7e-6), pytest.approx(0.3e-6))


def test_pi_measures_the_frequency_jumps_once_and_converges():
    errors, jumps = drive(PiServo(0.1), 300.0)
    assert jumps == 1
    assert abs(errors[350]) > S  # 0.016 / ki = 40 s of nothing but looking
    assert np.median(np.abs(errors[1500:])) < 200e3


def test_linear_regression_jumps_once_and_converges_sooner():
    errors, jumps = drive(LinearRegressionServo(0.1), 120.0)
    assert jumps == 1
    assert np.median(np.abs(errors[300:])) < 200e3


@pytest.mark.parametrize("servo", [PiServo(0.1, max_ppb=1e5), LinearRegressionServo(0.1, max_ppb=1e5)])
def test_the_frequency_stays_within_its_limit(servo):
    rng = np.random.default_rng(0)
    for k in range(2000):
        answer = servo.sample(int(rng.normal(0, 1e9)), START + k * S // 10)
        assert abs(answer.ppb) <= 1e5


@pytest.mark.parametrize("make", [PiServo, LinearRegressionServo])
def test_a_step_beyond_the_threshold_makes_them_jump_again(make):
    servo = make(0.1, step_s=0.02)
    states = [servo.sample(0 if k < 1000 else 10**9, START + k * S // 10).state for k in range(2000)]
    assert ServoState.JUMP in states[1000:]
    backwards = servo.sample(0, START)  # our clock was set back: no exception, and no jump at once
    assert backwards.state is not ServoState.JUMP
