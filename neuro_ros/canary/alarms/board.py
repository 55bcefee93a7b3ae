# SPDX-License-Identifier: Apache-2.0
"""All alarms behind a common hysteresis.

An alarm looks at an `Observation` and says bad, good, or nothing. Nothing means that there is no evidence, as in a
still scene: it neither raises nor clears. It takes several bad verdicts in a row to raise an alarm and more good ones
to clear it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from neuro_ros.canary.alarms.base import Alarm
from neuro_ros.canary.alarms.context import ClockAlarm, PolarityAlarm, ThermalAlarm
from neuro_ros.canary.alarms.cores import CoreUtilisationAlarm
from neuro_ros.canary.alarms.dead import DeadNeuronsAlarm
from neuro_ros.canary.alarms.decisions import AccuracyAlarm, MarginAlarm
from neuro_ros.canary.alarms.latency import LatencyAlarm, StepTimeAlarm
from neuro_ros.canary.alarms.losses import EventsDroppedAlarm, WindowsLostAlarm
from neuro_ros.canary.alarms.rates import SaturatedNeuronsAlarm, SpikeRateAlarm
from neuro_ros.canary.alarms.self_test import SelfTestAlarm
from neuro_ros.canary.errors import CanaryError
from neuro_ros.canary.observation import Observation

__all__ = ["ALARMS", "AlarmBoard", "AlarmLimits", "alarm_names"]

#: A class that is an `Alarm`; mypy does not take a nested class for an attribute of a protocol.
_AlarmClass = Any

#: Every alarm. A new one is a class in a module of this folder and one entry here; its limits become parameters of the
#: node under its name.
ALARMS: tuple[_AlarmClass, ...] = (
    LatencyAlarm,
    StepTimeAlarm,
    WindowsLostAlarm,
    EventsDroppedAlarm,
    SelfTestAlarm,
    SpikeRateAlarm,
    DeadNeuronsAlarm,
    SaturatedNeuronsAlarm,
    MarginAlarm,
    AccuracyAlarm,
    ClockAlarm,
    ThermalAlarm,
    PolarityAlarm,
    CoreUtilisationAlarm,
)


def alarm_names(alarms: Iterable[_AlarmClass] = ALARMS) -> list[str]:
    """Return the names of the alarms, in the order of the table."""
    return [alarm.name for alarm in alarms]


#: The limits of all alarms: one field an alarm, under its name.
AlarmLimits: Any = dataclasses.make_dataclass(
    "AlarmLimits",
    [(alarm.name, alarm.Limits, field(default_factory=alarm.Limits)) for alarm in ALARMS],
    frozen=True,
    namespace={"__doc__": "When each alarm is raised and cleared.", "__module__": __name__},
)


@dataclass(slots=True)
class _Entry:
    alarm: Alarm
    raised: bool = False
    run: int = 0  # verdicts in a row that contradict `raised`
    text: str = ""
    judged: int = 0  # verdicts with evidence


class AlarmBoard:
    """Every alarm of a table with its hysteresis.

    Parameters
    ----------
    limits : AlarmLimits, optional
        May be replaced through the attribute of the same name.
    alarms : iterable of alarm classes
        The table.

    Raises
    ------
    CanaryError
        Two alarms have one name.
    """

    def __init__(self, limits: Any = None, alarms: Iterable[_AlarmClass] = ALARMS) -> None:
        table = tuple(alarms)
        if len(set(alarm_names(table))) != len(table):
            raise CanaryError(f"alarms {', '.join(alarm_names(table))} must have different names")
        self.limits = AlarmLimits() if limits is None else limits
        self._entries = {alarm.name: _Entry(alarm()) for alarm in table}

    def observe(self, observation: Observation) -> None:
        """Have every alarm judge one observation; one that is switched off is cleared."""
        for name, entry in self._entries.items():
            limits = getattr(self.limits, name, None)
            if limits is None:  # an alarm of somebody else, which has no parameters
                limits = entry.alarm.Limits()
            verdict = entry.alarm.judge(observation, limits)
            if not limits.enabled:
                entry.raised, entry.run, entry.text = False, 0, ""
                continue
            if verdict.bad is None:
                continue
            entry.judged += 1
            if verdict.bad:
                entry.text = verdict.text
            entry.run = entry.run + 1 if verdict.bad != entry.raised else 0
            if entry.run >= (limits.clear_after if entry.raised else limits.raise_after):
                entry.raised, entry.run = verdict.bad, 0

    @property
    def raised(self) -> dict[str, str]:
        """Names of the raised alarms and why, in the order of the table."""
        return {name: entry.text for name, entry in self._entries.items() if entry.raised}

    @property
    def advice(self) -> dict[str, str]:
        """Names of the raised alarms and what to do."""
        return {name: entry.alarm.advice for name, entry in self._entries.items() if entry.raised}

    @property
    def judged(self) -> dict[str, int]:
        """How often each alarm had evidence to judge by."""
        return {name: entry.judged for name, entry in self._entries.items()}
