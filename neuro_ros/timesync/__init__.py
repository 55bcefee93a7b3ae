# SPDX-License-Identifier: Apache-2.0
"""Clocks: how a sensor's time relates to this host's time, and how well that is known."""

from neuro_ros.timesync.clock_map import ClockMap
from neuro_ros.timesync.envelope import Envelope, fit_envelope, lower_hull
from neuro_ros.timesync.one_way import ClockEstimate, OneWayClock, OneWayCounters
from neuro_ros.timesync.settings import OneWaySettings, TimesyncError
from neuro_ros.timesync.states import ClockState
from neuro_ros.timesync.two_way import TwoWayCounters, TwoWayEstimate, TwoWayEstimator
from neuro_ros.timesync.two_way_settings import TwoWaySettings

__all__ = [
    "ClockEstimate",
    "ClockMap",
    "ClockState",
    "Envelope",
    "OneWayClock",
    "OneWayCounters",
    "OneWaySettings",
    "TimesyncError",
    "TwoWayCounters",
    "TwoWayEstimate",
    "TwoWayEstimator",
    "TwoWaySettings",
    "fit_envelope",
    "lower_hull",
]
