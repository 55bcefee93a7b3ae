# SPDX-License-Identifier: Apache-2.0
"""Parameters of canary."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.canary.alarms import AlarmLimits
from neuro_ros.cores.parameters._fields import parameter

__all__ = ["AlarmParameters", "CanaryParameters"]


@dataclass(frozen=True)
class AlarmParameters:
    """When an alarm is raised and cleared."""

    raise_after: int = parameter(
        AlarmLimits.raise_after, "bad reports in a row that raise an alarm", minimum=1, maximum=1000, dynamic=True
    )
    clear_after: int = parameter(
        AlarmLimits.clear_after, "good reports in a row that clear it", minimum=1, maximum=1000, dynamic=True
    )
    latency_p99_s: float = parameter(
        AlarmLimits.latency_p99_s,
        "alarm latency: 99 % of the windows must keep this, from closed to gesture",
        unit="s",
        minimum=1e-4,
        maximum=60.0,
        dynamic=True,
    )
    latency_min_samples: int = parameter(
        AlarmLimits.latency_min_samples,
        "gestures in the period below which no latency is judged",
        minimum=1,
        maximum=100_000,
        dynamic=True,
    )
    windows_lost: int = parameter(
        AlarmLimits.windows_lost,
        "alarm windows_lost: windows that may be lost within ten telemetry reports",
        minimum=0,
        maximum=1_000_000,
        dynamic=True,
    )
    dead_input_s: float = parameter(
        AlarmLimits.dead_input_s,
        "alarm dead_neurons: time with input within which every layer must spike",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    )
    dead_min_input_rate: float = parameter(
        AlarmLimits.dead_min_input_rate,
        "share of active input cells a step from which time counts as input; a still scene stays below",
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )
    dead_neurons: int = parameter(
        AlarmLimits.dead_neurons,
        "neurons of a layer that may stay silent all that time; 0 = any number short of all",
        minimum=0,
        maximum=100_000_000,
        dynamic=True,
    )


@dataclass(frozen=True)
class CanaryParameters:
    """Over what time the network is judged, and by which limits."""

    period_s: float = parameter(
        10.0, "length of the sliding period behind rates, percentiles and shares", unit="s", minimum=0.5, maximum=3600.0
    )
    report_period_s: float = parameter(1.0, "time between two reports", unit="s", minimum=0.05, maximum=60.0)
    capacity: int = parameter(
        4096, "gestures kept at most for the percentiles, whatever the period", minimum=16, maximum=1_000_000
    )
    telemetry_timeout_s: float = parameter(
        5.0,
        "diagnostics warn when the network has said nothing for this long",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    )
    alarm: AlarmParameters = field(default_factory=AlarmParameters)

    def limits(self) -> AlarmLimits:
        """Return the limits of the alarms."""
        alarm = self.alarm
        return AlarmLimits(
            raise_after=alarm.raise_after,
            clear_after=alarm.clear_after,
            latency_p99_s=alarm.latency_p99_s,
            latency_min_samples=alarm.latency_min_samples,
            windows_lost=alarm.windows_lost,
            dead_input_s=alarm.dead_input_s,
            dead_min_input_rate=alarm.dead_min_input_rate,
            dead_neurons=alarm.dead_neurons,
        )
