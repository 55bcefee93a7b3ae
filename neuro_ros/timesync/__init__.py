# SPDX-License-Identifier: Apache-2.0
"""Clocks: how a sensor's time relates to this host's time, and how well that is known."""

from neuro_ros.timesync.clock_map import ClockMap
from neuro_ros.timesync.edges import LatencyEdges
from neuro_ros.timesync.envelope import Envelope, fit_envelope, lower_hull
from neuro_ros.timesync.monotonic import MonotonicMap
from neuro_ros.timesync.one_way import ClockEstimate, OneWayClock, OneWayCounters
from neuro_ros.timesync.settings import OneWaySettings, TimesyncError
from neuro_ros.timesync.states import ClockState

__all__ = [
    "ClockEstimate",
    "ClockMap",
    "ClockState",
    "Envelope",
    "LatencyEdges",
    "MonotonicMap",
    "OneWayClock",
    "OneWayCounters",
    "OneWaySettings",
    "TimesyncError",
    "fit_envelope",
    "lower_hull",
]
