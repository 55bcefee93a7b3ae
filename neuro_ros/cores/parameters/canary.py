# SPDX-License-Identifier: Apache-2.0
"""Parameters of canary: the limits of every alarm stand with the alarm itself, in `neuro_ros.canary.alarms`."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.canary.alarms import AlarmLimits
from neuro_ros.cores.parameters._fields import parameter

__all__ = ["CanaryParameters"]


@dataclass(frozen=True)
class CanaryParameters:
    """Over what time the network is judged, against what, and by which limits."""

    period_s: float = parameter(
        10.0, "length of the sliding period behind rates, percentiles and shares", unit="s", minimum=0.5, maximum=3600.0
    )
    report_period_s: float = parameter(1.0, "time between two reports", unit="s", minimum=0.05, maximum=60.0)
    capacity: int = parameter(
        4096, "gestures kept at most for shares and margins, whatever the period", minimum=16, maximum=1_000_000
    )
    telemetry_timeout_s: float = parameter(
        5.0,
        "diagnostics warn when the network has said nothing for this long",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    )
    baseline_directory: str = parameter(
        "",
        "folder of baseline files (NAME.baseline.json), besides those of the shipped models; the one whose model id "
        "telemetry names is used",
    )
    alarm: AlarmLimits = field(default_factory=AlarmLimits)
