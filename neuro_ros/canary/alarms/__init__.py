# SPDX-License-Identifier: Apache-2.0
"""Alarms: one small class each, in one table, behind a common hysteresis."""

from neuro_ros.canary.alarms.base import Alarm
from neuro_ros.canary.alarms.board import ALARMS, AlarmBoard, AlarmLimits, alarm_names
from neuro_ros.canary.alarms.cores import Move, suggest_remap

__all__ = ["ALARMS", "Alarm", "AlarmBoard", "AlarmLimits", "Move", "alarm_names", "suggest_remap"]
