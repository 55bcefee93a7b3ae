# SPDX-License-Identifier: Apache-2.0
"""A temperature that moves widens how fast a sensor's skew may change, for as long as that is in the window."""

import math

import pytest

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.messages import ClockSample, Header, ThermalCompensation
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.timesync import TemperatureHint

S = 1_000_000_000
NOW = 1_700_000_000 * S


def test_the_fastest_change_within_the_window_counts():
    hint = TemperatureHint(60.0)
    for second in range(100):
        hint.update(25.0 + max(0.0, min(20.0, second - 20.0)), second * S)  # a degree a second from 20 to 40 s
        assert hint.rate(second * S) == (0.0 if second < 25 else pytest.approx(1.0)), second
    assert hint.rate(101 * S) == 0.0, "the ramp has left the window"


def test_noise_is_no_movement_and_nonsense_no_temperature():
    hint = TemperatureHint(60.0)
    for k in range(200):
        hint.update(25.0 + (k % 2) * 0.2, k * S // 2)
        hint.update(math.nan, k * S // 2)
    assert hint.rate(100 * S) <= 0.04
    hint.update(30.0, 0)  # the clock was set back
    assert hint.rate(0) == 0.0


def sigmas(celsius_per_s, **parameters):
    """Follow a clock for 120 s beside a temperature that begins to move after 60 s; return sigma once a second."""
    core = ClockSyncCore(build(ClockSyncParameters, parameters))
    core.activate(NOW)
    found = []
    for index in range(1200):
        now_ns = NOW + index * S // 10
        if index % 5 == 0:
            celsius = 25.0 + celsius_per_s * max(0.0, index / 10 - 60.0)
            core.receive("thermal/compensation", ThermalCompensation(temperature_celsius=celsius), now_ns)
        sample = ClockSample(Header(now_ns, "cam_optical"), "cam", index * S // 10, now_ns, index)
        outputs = core.receive("clock/sample", sample, now_ns)
        if index % 10 == 9:
            found.append(outputs[-1].message.sigma_ns)
    return found


def test_sigma_grows_while_the_temperature_moves_and_only_then():
    still, moving = sigmas(0.0), sigmas(1.0)
    assert moving[:60] == still[:60]
    # 100 ppb/s more over the half window of 30 s: w d^2 / 2 = 45 us.
    assert moving[100] == pytest.approx(math.hypot(still[100], 0.0) + 45_000, rel=0.15)
    assert sigmas(1.0, **{"holdover.ppb_per_celsius": 0.0}) == still


def test_an_unknown_temperature_is_no_hint():
    assert sigmas(math.nan) == sigmas(0.0)
