# SPDX-License-Identifier: Apache-2.0
"""Clocks: how the time of a sensor or of another host relates to this host's, and how well that is known."""

from neuro_ros.timesync.clock_map import ClockMap
from neuro_ros.timesync.edges import LatencyEdges
from neuro_ros.timesync.envelope import Envelope, fit_envelope, lower_hull
from neuro_ros.timesync.envelope_pair import EnvelopePair, fit_pair
from neuro_ros.timesync.exchange import Exchange, Frame, FrameType
from neuro_ros.timesync.monotonic import MonotonicMap
from neuro_ros.timesync.one_way import ClockEstimate, OneWayClock, OneWayCounters
from neuro_ros.timesync.port import PortSettings, PortState, PtpPort
from neuro_ros.timesync.servo import LinearRegressionServo, MedianDelay, PiServo, ServoOutput, ServoState
from neuro_ros.timesync.settings import OneWaySettings, TimesyncError
from neuro_ros.timesync.slewed import SlewedClock, SlewSettings
from neuro_ros.timesync.states import ClockState
from neuro_ros.timesync.temperature import TemperatureHint
from neuro_ros.timesync.two_way import TwoWayCounters, TwoWayEstimate, TwoWayEstimator
from neuro_ros.timesync.two_way_settings import TwoWaySettings

__all__ = [
    "ClockEstimate",
    "ClockMap",
    "ClockState",
    "Envelope",
    "EnvelopePair",
    "Exchange",
    "Frame",
    "FrameType",
    "LatencyEdges",
    "LinearRegressionServo",
    "MedianDelay",
    "MonotonicMap",
    "OneWayClock",
    "OneWayCounters",
    "OneWaySettings",
    "PiServo",
    "PortSettings",
    "PortState",
    "PtpPort",
    "ServoOutput",
    "ServoState",
    "SlewSettings",
    "SlewedClock",
    "TemperatureHint",
    "TimesyncError",
    "TwoWayCounters",
    "TwoWayEstimate",
    "TwoWayEstimator",
    "TwoWaySettings",
    "fit_envelope",
    "fit_pair",
    "lower_hull",
]
