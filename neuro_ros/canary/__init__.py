# SPDX-License-Identifier: Apache-2.0
"""The canary: what the running network does, and whether that is a reason to worry."""

from neuro_ros.canary.alarms import (
    Alarm,
    AlarmBoard,
    AlarmLimits,
    CanaryError,
    LayerReport,
    Observation,
    Verdict,
    alarm_names,
    register_alarm,
)
from neuro_ros.canary.statistics import GestureStatistics, GestureSummary
from neuro_ros.canary.window import RecentValues, percentile

__all__ = [
    "Alarm",
    "AlarmBoard",
    "AlarmLimits",
    "CanaryError",
    "GestureStatistics",
    "GestureSummary",
    "LayerReport",
    "Observation",
    "RecentValues",
    "Verdict",
    "alarm_names",
    "percentile",
    "register_alarm",
]
