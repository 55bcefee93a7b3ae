# SPDX-License-Identifier: Apache-2.0
"""Conversion across replaced models: host time never runs backwards, differences are worked off, steps are counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores.messages import ClockModel
from neuro_ros.cores.sensor_time import SensorTime
from neuro_ros.timesync import ClockMap, MonotonicMap, TimesyncError

S = 1_000_000_000
HOST = 1_700_000_000 * S

moves = st.lists(
    st.tuples(
        st.integers(0, 3 * S),  # sensor time that goes by
        st.integers(-15_000_000, 15_000_000),  # by how much the new model is off
        st.floats(-400_000.0, 400_000.0),  # its skew [ppb]
    ),
    min_size=1,
    max_size=40,
)


@given(moves)
def test_host_time_never_runs_backwards_below_the_step_threshold(moves):
    clock, sensor_ns, last_ns = MonotonicMap(step_s=10.0), 0, 0
    clock.follow(ClockMap(0, HOST, 0.0))
    for elapsed_ns, off_ns, skew_ppb in moves:
        for part in (0, elapsed_ns // 2, elapsed_ns):
            host_ns = clock.to_host_ns(sensor_ns + part)
            assert host_ns >= last_ns
            last_ns = host_ns
        sensor_ns += elapsed_ns
        clock.follow(ClockMap(sensor_ns, HOST + sensor_ns + off_ns, skew_ppb))
        assert clock.to_host_ns(sensor_ns) == last_ns  # what was said is said again
    assert clock.steps == 0


@pytest.mark.parametrize("difference_ns", [-10_000_000, -7, 7, 10_000_000])
def test_a_difference_is_worked_off_at_the_rate_and_then_the_model_holds_exactly(difference_ns):
    clock = MonotonicMap(slew_ppm=500.0)
    clock.follow(ClockMap(0, HOST))
    clock.to_host_ns(0)
    model = ClockMap(0, HOST + difference_ns, 50_000.0)
    clock.follow(model)
    off_ns = [clock.to_host_ns(t) - model.to_host_ns(t) for t in range(0, 25 * S, S // 10)]
    assert off_ns[0] == -difference_ns
    assert np.abs(np.diff(off_ns)).max() <= 50_000 + 1  # 500 ppm of 0.1 s
    assert off_ns[-1] == 0
    after_s = abs(difference_ns) / 500e-6 / S
    assert off_ns[math.ceil(after_s * 10) + 1] == 0
    assert clock.steps == 0


def test_another_clock_is_taken_at_once_and_counted():
    clock = MonotonicMap(step_s=0.02)
    clock.follow(ClockMap(0, HOST))
    clock.to_host_ns(5 * S)
    clock.follow(ClockMap(0, HOST - 3600 * S))
    assert clock.to_host_ns(5 * S) == HOST - 3595 * S
    assert clock.steps == 1


def test_a_sensor_time_from_far_ahead_does_not_spoil_what_follows():
    clock = MonotonicMap()
    clock.follow(ClockMap(0, HOST))
    clock.to_host_ns(3600 * S)  # a damaged time
    model = ClockMap(S, HOST + S + 1000, 50_000.0)
    clock.follow(model)
    assert clock.to_host_ns(2 * S) == model.to_host_ns(2 * S)
    clock.to_host_ns(4 * S)
    assert clock.to_host_ns(3 * S) == model.to_host_ns(3 * S)  # a little earlier is no other run


def test_limits_and_order_of_calls_are_checked():
    for slew_ppm, step_s in ((0.0, 1.0), (1e6, 1.0), (math.nan, 1.0), (500.0, 0.0), (500.0, math.inf)):
        with pytest.raises(TimesyncError):
            MonotonicMap(slew_ppm, step_s)
    with pytest.raises(TimesyncError, match="follow"):
        MonotonicMap().to_host_ns(0)


# -- the camera's side -------------------------------------------------------------------------------------------------


def model(sensor_ns, host_ns, skew_ppb=0.0, state=ClockModel.LOCKED):
    return ClockModel(
        clock_id="cam", reference_sensor_ns=sensor_ns, reference_host_ns=host_ns, skew_ppb=skew_ppb, state=state
    )


def test_stamps_of_a_camera_never_run_backwards_when_models_change():
    time, rng, last_ns, back_of_newest = SensorTime(), np.random.default_rng(1), 0, 0
    for k in range(1, 2000):
        sensor_ns = k * 1000
        noise_ns = int(rng.normal(0.0, 20_000.0))
        back_of_newest += HOST + sensor_ns + noise_ns < last_ns
        assert time.learn(model(sensor_ns, HOST + sensor_ns + noise_ns))
        host_ns, state = time.host_ns(sensor_ns)
        assert (state, host_ns >= last_ns) == (ClockModel.LOCKED, True)
        last_ns = host_ns
    assert back_of_newest > 500  # which is what converting with the newest model would have done
    assert time.steps == 0


def play(time, seconds, rng, begin_s=0, skew=0.0, rate_hz=20):
    """Arrivals with 0.6 ms + exponential(0.2 ms); return the errors of the stamps [ns]."""
    errors = []
    for k in range(begin_s * rate_hz, (begin_s + seconds) * rate_hz):
        sensor_ns = k * S // rate_hz
        truth_ns = HOST + sensor_ns + round(sensor_ns * skew) + 600_000
        time.observe(sensor_ns, truth_ns + round(rng.exponential(0.2e-3) * S))
        errors.append(time.host_ns(sensor_ns)[0] - truth_ns)
    return np.array(errors)


def test_a_model_that_nobody_renews_is_moved_onto_the_arrivals_by_slewing():
    time, rng = SensorTime(), np.random.default_rng(2)
    time.learn(model(0, HOST + 600_000, skew_ppb=0.0))
    errors = play(time, 600, rng, skew=50e-6)  # leaves the model by 5 ms every 100 s
    assert 4 <= time.rebased <= 6
    assert time.steps == 0
    assert np.abs(np.diff(errors)).max() < 50_000  # 500 ppm of 50 ms and no more: nothing jumps
    assert np.abs(errors).max() < 7_000_000
    assert time.state == ClockModel.UNLOCKED


def test_as_long_as_models_come_they_are_believed_not_the_arrivals():
    time, rng = SensorTime(), np.random.default_rng(3)
    for second in range(60):
        time.learn(model(0, HOST + 600_000 - 8_000_000))
        play(time, 1, rng, begin_s=second)
    assert time.rebased == 0
    assert 8_000_000 <= time.residual_ns < 8_100_000
    assert time.state == ClockModel.LOCKED


def test_asking_for_the_state_changes_nothing():
    asked, quiet = SensorTime(), SensorTime()
    for time in (asked, quiet):
        time.learn(model(0, HOST))
        time.observe(2 * S, HOST + 2 * S)
        time.host_ns(S)
    assert asked.state == ClockModel.LOCKED
    for time in (asked, quiet):
        time.learn(model(0, HOST + 1_000_000))
    assert asked.host_ns(3 * S) == quiet.host_ns(3 * S)


def test_a_model_of_another_run_is_not_followed_and_unlocked_begins_anew():
    time = SensorTime()
    time.learn(model(0, HOST))
    time.observe(5 * S, HOST + 3600 * S)
    assert time.host_ns(5 * S) == (HOST + 3600 * S, ClockModel.UNLOCKED)
    assert time.models_distrusted == 1
    time.learn(model(0, 0, math.nan, ClockModel.UNLOCKED))
    time.learn(model(5 * S, HOST + 3600 * S - 1_000_000))
    assert time.host_ns(5 * S) == (HOST + 3600 * S - 1_000_000, ClockModel.LOCKED)
    assert time.steps == 0
