# SPDX-License-Identifier: Apache-2.0
"""Alarms: one small class each, registered under its name, behind a common hysteresis.

An alarm looks at an `Observation` and says bad, good, or nothing. Nothing means that there is no evidence, as in a
still scene: it neither raises nor clears. It takes several bad verdicts in a row to raise an alarm and more good ones
to clear it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

from neuro_ros.errors import NeuroRosError

__all__ = [
    "Alarm",
    "AlarmBoard",
    "AlarmLimits",
    "CanaryError",
    "LayerReport",
    "Observation",
    "Verdict",
    "alarm_names",
    "register_alarm",
]

_S = 1_000_000_000
#: An alarm on a latency calls it good only below this share of the limit, so that it does not flutter.
_GOOD_SHARE = 0.8
#: A report that comes later than this after the last one counts for no more [s]: nobody knows what lay between.
_LONGEST_REPORT_S = 2.0
#: Telemetry reports over which lost windows add up.
_LOSS_REPORTS = 10


class CanaryError(NeuroRosError):
    """Limits that make no sense."""


@dataclass(frozen=True)
class AlarmLimits:
    """When the network gives reason to worry.

    Parameters
    ----------
    raise_after, clear_after : int
        Bad verdicts in a row that raise an alarm, good ones that clear it.
    latency_p99_s : float
        Latency that 99 % of the windows must keep [s].
    latency_min_samples : int
        Gestures in the period below which no latency is judged.
    windows_lost : int
        Windows that may be lost within ten telemetry reports.
    dead_input_s : float
        Time with input within which every layer must spike [s].
    dead_min_input_rate : float
        Share of active input cells a step from which a period counts as input, 0..1.
    dead_neurons : int
        Neurons of a layer that may stay silent over `dead_input_s`; 0 = any number short of all, because how many a
        sparse network leaves silent is a matter of the model.

    Raises
    ------
    CanaryError
        A limit is negative or not finite.
    """

    raise_after: int = 2
    clear_after: int = 5
    latency_p99_s: float = 0.05
    latency_min_samples: int = 20
    windows_lost: int = 0
    dead_input_s: float = 10.0
    dead_min_input_rate: float = 0.001
    dead_neurons: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value < math.inf:
                raise CanaryError(f"{item.name}: {value!r} must be finite and not negative")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One telemetry message: what the layers did since the one before.

    Parameters
    ----------
    stamp_ns : int
        Host time [ns].
    input_rate : float
        Share of active input cells a step, 0..1; NaN = no step run.
    layer : tuple of str
        Names.
    firing_rate : tuple of float
        Spikes a neuron and step, an entry a layer.
    dead_neurons : tuple of int
        Neurons without a spike, an entry a layer.
    windows_lost : int
        Windows lost since activation.
    """

    stamp_ns: int
    input_rate: float
    layer: tuple[str, ...]
    firing_rate: tuple[float, ...]
    dead_neurons: tuple[int, ...]
    windows_lost: int


@dataclass(frozen=True, slots=True)
class Observation:
    """All that an alarm may look at.

    Parameters
    ----------
    latency_p99_s : float
        Of the last period [s]; NaN = none known.
    latency_samples : int
        Gestures behind it.
    reports : tuple of LayerReport
        Telemetry since the last observation.
    """

    latency_p99_s: float = math.nan
    latency_samples: int = 0
    reports: tuple[LayerReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an alarm says: bad True or False, None = no evidence; and why, in a line."""

    bad: bool | None
    text: str = ""


class Alarm(Protocol):
    """One judge; made anew for every activation and model."""

    def judge(self, observation: Observation, limits: AlarmLimits) -> Verdict:
        """Say what `observation` means under `limits`."""


class LatencyAlarm:
    """p99 of window-to-gesture latency above its limit."""

    def judge(self, observation: Observation, limits: AlarmLimits) -> Verdict:
        """Compare; between the limit and its lower edge there is no verdict."""
        p99_s = observation.latency_p99_s
        if observation.latency_samples < max(1, limits.latency_min_samples):
            return Verdict(None)
        text = f"latency p99 {p99_s * 1e3:.1f} ms, limit {limits.latency_p99_s * 1e3:.1f} ms"
        if p99_s > limits.latency_p99_s:
            return Verdict(True, text)
        return Verdict(False if p99_s <= _GOOD_SHARE * limits.latency_p99_s else None, text)


class WindowsLostAlarm:
    """Windows that never reached the network.

    A loss stays bad over some reports, so that a single burst outlives the hysteresis.
    """

    def __init__(self) -> None:
        self._seen: int | None = None
        self._losses: deque[int] = deque(maxlen=_LOSS_REPORTS)

    def judge(self, observation: Observation, limits: AlarmLimits) -> Verdict:
        """Count what was lost between the reports; a count that falls is a new activation, not a gain."""
        if not observation.reports:
            return Verdict(None)
        for report in observation.reports:
            before = 0 if self._seen is None or report.windows_lost < self._seen else self._seen
            self._losses.append(report.windows_lost - before)
            self._seen = report.windows_lost
        lost = sum(self._losses)
        return Verdict(lost > limits.windows_lost, f"{lost} windows lost, limit {limits.windows_lost}")


class DeadNeuronsAlarm:
    """Layers, or too many neurons of one, that stay silent although the scene moves.

    A neuron that is dead is counted in every report, so the least count over the reports is the best bound on the dead
    ones that the reports give.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._history: dict[str, deque[tuple[float, int, bool]]] = {}

    def judge(self, observation: Observation, limits: AlarmLimits) -> Verdict:
        """Judge once there is enough input; reports without input do not count."""
        judged = False
        for report in observation.reports:
            last_ns, self._last_ns = self._last_ns, report.stamp_ns
            if last_ns is None or not report.input_rate >= limits.dead_min_input_rate:
                continue
            duration_s = min(_LONGEST_REPORT_S, max(0.0, (report.stamp_ns - last_ns) / _S))
            judged = True
            for name, rate, dead in zip(report.layer, report.firing_rate, report.dead_neurons, strict=False):
                history = self._history.setdefault(name, deque())
                history.append((duration_s, dead, rate == 0.0))
                while math.fsum(entry[0] for entry in history) - history[0][0] >= limits.dead_input_s:
                    history.popleft()
        if not judged:
            return Verdict(None)
        long_enough = False
        for name, history in self._history.items():
            input_s = math.fsum(entry[0] for entry in history)
            if input_s < limits.dead_input_s:
                continue
            long_enough = True
            if all(silent for _, _, silent in history):
                return Verdict(True, f"layer {name} silent over {input_s:.0f} s of input")
            dead = min(count for _, count, _ in history)
            if 0 < limits.dead_neurons < dead:
                text = f"layer {name}: {dead} neurons silent over {input_s:.0f} s of input, limit {limits.dead_neurons}"
                return Verdict(True, text)
        return Verdict(False if long_enough else None)


_ALARMS: dict[str, Callable[[], Alarm]] = {}


def register_alarm(name: str, factory: Callable[[], Alarm]) -> None:
    """Add an alarm; every `AlarmBoard` made from now on has it."""
    _ALARMS[name] = factory


def alarm_names() -> list[str]:
    """Return the names of all alarms, in order of registration."""
    return list(_ALARMS)


register_alarm("latency", LatencyAlarm)
register_alarm("windows_lost", WindowsLostAlarm)
register_alarm("dead_neurons", DeadNeuronsAlarm)


@dataclass(slots=True)
class _Entry:
    alarm: Alarm
    raised: bool = False
    run: int = 0  # verdicts in a row that contradict `raised`
    text: str = ""


class AlarmBoard:
    """All alarms with their hysteresis.

    Parameters
    ----------
    limits : AlarmLimits
        May be replaced through the attribute of the same name.
    """

    def __init__(self, limits: AlarmLimits | None = None) -> None:
        self.limits = limits or AlarmLimits()
        self._entries = {name: _Entry(factory()) for name, factory in _ALARMS.items()}

    def observe(self, observation: Observation) -> None:
        """Have every alarm judge one observation."""
        for entry in self._entries.values():
            verdict = entry.alarm.judge(observation, self.limits)
            if verdict.bad is None:
                continue
            if verdict.bad:
                entry.text = verdict.text
            entry.run = entry.run + 1 if verdict.bad != entry.raised else 0
            needed = self.limits.clear_after if entry.raised else self.limits.raise_after
            if entry.run >= max(1, needed):
                entry.raised, entry.run = verdict.bad, 0

    @property
    def raised(self) -> dict[str, str]:
        """Names of the raised alarms and why, in order of registration."""
        return {name: entry.text for name, entry in self._entries.items() if entry.raised}
