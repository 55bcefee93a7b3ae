# SPDX-License-Identifier: Apache-2.0
"""What never reached the network: windows lost on the way, events dropped before they were in a window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["EventsDroppedAlarm", "WindowsLostAlarm"]

#: Telemetry reports over which losses add up, so that a single burst outlives the hysteresis.
_REPORTS = 10


class WindowsLostAlarm:
    """Windows that never reached the network."""

    name: ClassVar[str] = "windows_lost"
    advice: ClassVar[str] = "look for load or a bad link between the camera and the network"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How many are too many."""

        windows: int = limit(0, "windows that may be lost within ten telemetry reports", minimum=0, maximum=1_000_000)

    def __init__(self) -> None:
        self._seen: int | None = None
        self._losses: deque[int] = deque(maxlen=_REPORTS)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Count what was lost between the reports; a count that falls is a new activation, not a gain."""
        if not observation.reports:
            return Verdict(None)
        for report in observation.reports:
            before = 0 if self._seen is None or report.windows_lost < self._seen else self._seen
            self._losses.append(report.windows_lost - before)
            self._seen = report.windows_lost
        lost = sum(self._losses)
        return Verdict(lost > limits.windows, f"{lost} windows lost, limit {limits.windows}")


class EventsDroppedAlarm:
    """Events that were lost before they were in a window."""

    name: ClassVar[str] = "events_dropped"
    advice: ClassVar[str] = "lower the camera's event rate (biases, filters, region), or give the computer less to do"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How many are too many."""

        share: float = limit(
            0.01, "share of the events that may be lost within ten telemetry reports", minimum=0.0, maximum=1.0
        )

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int]] = deque(maxlen=_REPORTS)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the share of the last reports."""
        self._recent.extend((report.events_in, report.events_dropped) for report in observation.reports)
        offered, dropped = (sum(entry[k] for entry in self._recent) for k in (0, 1))
        if not observation.reports or not offered:
            return Verdict(None)
        share = dropped / offered
        text = f"{share:.1%} of the camera's events are lost before the network, limit {limits.share:.1%}"
        return Verdict(share > limits.share, text)
