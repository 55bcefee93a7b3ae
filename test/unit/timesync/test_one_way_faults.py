# SPDX-License-Identifier: Apache-2.0
"""What the one-way estimator does about clocks that stop, wrap, shift a little, and about a host that is busy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.timesync import ClockState, OneWayClock, OneWaySettings, TimesyncError

S = 1_000_000_000
HOST = 1_700_000_000 * S
SENSOR = 5_000 * S
LATENCY_NS = 600_000
STEP_NS = S // 10


class Line:
    """Samples at 10 Hz of a sensor clock 50 ppm slow; `lag_ns` is added to arrivals, `shift_ns` to the truth."""

    def __init__(self, seed=1, clock=None):
        self.rng = np.random.default_rng(seed)
        self.clock = clock or OneWayClock()
        self.k = 0
        self.lag_ns = self.shift_ns = 0
        self.states = []

    def truth_ns(self, sensor_ns):
        since = sensor_ns - SENSOR
        return HOST + since + round(since * 50e-6) + LATENCY_NS + self.shift_ns

    @property
    def sensor_ns(self):
        return SENSOR + self.k * STEP_NS

    def feed(self, seconds):
        """Give samples; return the estimate after the last."""
        self.states = []
        for _ in range(round(seconds * 10)):
            self.k += 1
            host_ns = self.truth_ns(self.sensor_ns) + self.lag_ns + round(self.rng.exponential(200e3))
            self.clock.add(self.sensor_ns, host_ns)
            estimate = self.clock.estimate(host_ns)
            self.states.append(estimate.state)
        return estimate

    def error_ns(self, estimate):
        return estimate.clock.to_host_ns(self.sensor_ns) - self.truth_ns(self.sensor_ns)


# -- a clock that stands still -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("still_s", [6, 60, 3600])
def test_a_sensor_clock_that_stops_is_given_up_and_found_again(still_s):
    line = Line()
    assert line.feed(30).state is ClockState.LOCKED
    frozen_ns, host_ns = line.sensor_ns, line.truth_ns(line.sensor_ns)
    first_unlocked = None
    for k in range(1, still_s * 10):
        assert not line.clock.add(frozen_ns, host_ns + k * STEP_NS)
        if line.clock.estimate(host_ns + k * STEP_NS).state is ClockState.UNLOCKED and first_unlocked is None:
            first_unlocked = k / 10
    assert 4.9 <= first_unlocked <= 5.1
    assert line.clock.counters.stopped == 1  # one episode, however long
    line.shift_ns = still_s * S
    estimate = line.feed(10)
    assert estimate.state is ClockState.LOCKED
    assert abs(line.error_ns(estimate)) < 300_000


def test_a_few_repeated_times_are_no_stop():
    line = Line()
    line.feed(30)
    for k in range(1, 40):
        line.clock.add(line.sensor_ns, line.truth_ns(line.sensor_ns) + k * STEP_NS)
    line.feed(1)
    for k in range(1, 40):
        line.clock.add(line.sensor_ns, line.truth_ns(line.sensor_ns) + k * STEP_NS)
    assert line.clock.counters.stopped == 0
    assert line.clock.counters.out_of_order == 78


# -- counters that nobody unwrapped ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "wraps"), [(24, 8), (32, 1)])
def test_a_counter_of_microseconds_that_wraps_is_followed_anew_each_time(bits, wraps):
    period_ns = (1 << bits) * 1000
    clock, rng = OneWayClock(), np.random.default_rng(2)
    begin_ns = period_ns - 15 * S  # locked by the first wrap
    seconds = 30 if wraps == 1 else wraps * period_ns / S
    claimed = right = 0
    for k in range(round(seconds * 10)):
        truth_ns = HOST + k * STEP_NS
        arrival_ns = truth_ns + round(rng.exponential(200e3))
        sensor_ns = (begin_ns + k * STEP_NS) % period_ns
        clock.add(sensor_ns, arrival_ns)
        estimate = clock.estimate(arrival_ns)
        if estimate.state is ClockState.LOCKED:
            claimed += 1
            right += abs(estimate.clock.to_host_ns(sensor_ns) - truth_ns) < 5_000_000
    assert clock.counters.restarts == wraps
    assert claimed > 0.4 * seconds * 10
    # The first two samples after a wrap are not yet proof; the rest of what is called LOCKED is right.
    assert claimed - right <= 2 * wraps


def test_a_wrap_lost_in_silence_is_a_step():
    line = Line()
    line.feed(30)
    line.shift_ns = (1 << 24) * 1000  # the decoder did not see the counter wrap: sensor time is 16.8 s short
    line.feed(4.5)
    assert ClockState.HOLDOVER in line.states  # nothing agrees: an extrapolation
    estimate = line.feed(10)
    assert line.clock.counters.restarts == 1
    assert estimate.state is ClockState.LOCKED
    assert abs(line.error_ns(estimate)) < 300_000


# -- later, but not by much --------------------------------------------------------------------------------------------


def test_a_busy_host_does_not_move_the_line_but_is_told():
    line = Line()
    line.feed(60)
    line.lag_ns = 5_000_000  # each arrival is 5 ms later for ten seconds
    estimate = line.feed(10)
    assert abs(line.error_ns(estimate)) < 100_000
    assert estimate.state is ClockState.TRACKING
    assert 4_500_000 < estimate.sigma_ns < 6_000_000  # it could as well be a clock that was set
    line.lag_ns = 0
    assert line.feed(0.1).state is ClockState.LOCKED  # one quick arrival settles it
    assert line.clock.counters.restarts == 0


@pytest.mark.parametrize("known_s", [8, 30, 60, 300])
def test_a_host_clock_set_on_by_milliseconds_is_never_claimed_to_be_known_better(known_s):
    line = Line(seed=known_s)
    line.feed(known_s)
    line.shift_ns = 5_000_000
    outside = 0
    for _ in range(300):
        estimate = line.feed(0.1)
        late = line.k * STEP_NS / S - known_s
        if estimate.clock is not None and late > 5.1:  # until then nothing tells it from delays
            outside += abs(line.error_ns(estimate)) > 2.0 * estimate.sigma_ns
    assert outside == 0
    assert line.clock.counters.restarts == 1  # believed within a third of the window
    assert estimate.state is ClockState.LOCKED
    assert abs(line.error_ns(estimate)) < 100_000


def test_half_of_the_samples_late_by_milliseconds_is_a_delay_for_ever():
    clock, rng = OneWayClock(), np.random.default_rng(3)
    for k in range(6000):
        delay_ns = rng.exponential(100e3) if rng.random() < 0.5 else 5e6 + rng.exponential(100e3)
        clock.add(k * STEP_NS, HOST + k * STEP_NS + round(delay_ns))
        estimate = clock.estimate(HOST + k * STEP_NS)
    assert clock.counters.restarts == clock.counters.outliers == 0
    assert estimate.state is ClockState.LOCKED
    assert abs(estimate.clock.to_host_ns(k * STEP_NS) - HOST - k * STEP_NS) < 50_000


# -- all at once -------------------------------------------------------------------------------------------------------

#: What happens, for how many samples, by how much [ns].
troubles = st.lists(
    st.tuples(
        st.sampled_from(["fine", "late", "shift", "still", "back", "far"]),
        st.integers(1, 80),
        st.integers(-(10**10), 10**10),
    ),
    min_size=1,
    max_size=12,
)


@given(troubles)
def test_whatever_happens_it_recovers_and_memory_is_bounded(troubles):
    settings = OneWaySettings()
    clock = OneWayClock(settings)
    sensor_ns, host_ns, offset_ns = SENSOR, HOST, 0
    for what, count, amount in [*troubles, ("fine", 700, 0)]:
        offset_ns += amount if what == "shift" else 0
        sensor_ns -= abs(amount) if what == "back" else 0
        for _ in range(count):
            host_ns += STEP_NS
            sensor_ns += 0 if what == "still" else STEP_NS
            arrival_ns = host_ns + offset_ns + (abs(amount) % 50_000_000 if what == "late" else 0)
            clock.add(sensor_ns + (amount * 1000 if what == "far" else 0), arrival_ns)
            estimate = clock.estimate(arrival_ns)
            assert (estimate.clock is None) == (estimate.state is ClockState.UNLOCKED)
            assert estimate.clock is None or math.isfinite(estimate.sigma_ns)
            assert len(clock._cloud.points) <= settings.capacity
            assert len(clock._raised) <= settings.capacity + 1
            assert len(clock._suspects) <= settings.capacity + 1
    assert estimate.state is ClockState.LOCKED
    assert abs(estimate.clock.to_host_ns(sensor_ns) - arrival_ns) < 50_000
    assert clock.counters.samples == sum(count for _, count, _ in troubles) + 700


# -- edges that tell the latency ---------------------------------------------------------------------------------------


def with_edges(line, seconds, jitter_ns=0.0, lie_every=0, pulse=False):
    for second in range(seconds):
        estimate = line.feed(1)
        whole = line.sensor_ns - 37_000_000
        made_ns = line.truth_ns(whole) - LATENCY_NS
        if pulse:  # the sensor time at which the host's clock shows whole seconds
            made_ns = made_ns // S * S
            d = made_ns - HOST - line.shift_ns
            whole = SENSOR + d - round(d * 50e-6 / (1 + 50e-6))
        lie = lie_every and second % lie_every == 0
        seen_ns = whole + round(line.rng.normal(0.0, jitter_ns)) + (3_000_000 if lie else 0)
        line.clock.add_pulse(seen_ns) if pulse else line.clock.add_edge(seen_ns, made_ns)
    return line.clock.estimate(line.truth_ns(line.sensor_ns)) if seconds else estimate


@pytest.mark.parametrize("pulse", [False, True], ids=["pulses of the host", "pulse per second"])
def test_edges_tell_the_latency_that_arrivals_cannot(pulse):
    line = Line()
    before = line.feed(60)
    assert math.isnan(before.latency_ns)
    estimate = with_edges(line, 20, jitter_ns=2_000.0, lie_every=7, pulse=pulse)
    assert estimate.latency_ns == pytest.approx(LATENCY_NS, abs=20_000)
    error_ns = line.error_ns(estimate) + LATENCY_NS  # now against the truth itself
    assert abs(error_ns) < 20_000
    assert abs(error_ns) <= 2.0 * estimate.sigma_ns
    assert line.clock.edges.taken == 20


def test_edges_that_no_latency_explains_are_refused():
    line = Line()
    assert not line.clock.add_edge(SENSOR, HOST)  # nothing to compare it with
    assert not line.clock.add_pulse(SENSOR)
    line.feed(30)
    for off_ns in (-3600 * S, S, 50_000_000):
        assert not line.clock.add_edge(line.sensor_ns, line.truth_ns(line.sensor_ns) + off_ns)
    assert not line.clock.add_edge(line.sensor_ns, line.truth_ns(line.sensor_ns), math.nan)
    assert (line.clock.edges.taken, line.clock.edges.refused) == (0, 4)
    with pytest.raises(TimesyncError, match="period_ns"):
        line.clock.add_pulse(line.sensor_ns, 0)


def test_a_latency_outlives_a_step_of_the_clock():
    line = Line()
    line.feed(30)
    with_edges(line, 10)
    line.shift_ns = -3600 * S
    estimate = line.feed(20)
    assert line.clock.counters.restarts == 1
    assert estimate.latency_ns == pytest.approx(LATENCY_NS, abs=20_000)
