# SPDX-License-Identifier: Apache-2.0
"""Parameters of canary: the limits of every alarm stand with the alarm itself, in `neuro_ros.canary.alarms`."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.canary.alarms import AlarmLimits
from neuro_ros.canary.rollout_rules import RolloutRules
from neuro_ros.cores.parameters._fields import ParameterError, parameter

__all__ = ["CanaryParameters", "RolloutParameters"]


@dataclass(frozen=True)
class RolloutParameters:
    """What a model on trial is rolled back, or goes on, by itself for."""

    automatic: bool = parameter(True, "the rules below are carried out; false = they are for people", dynamic=True)
    network: str = parameter("snn_inference", "name of the node that runs the models, whose switch_model is called")
    accuracy_drop: float = parameter(
        0.02,
        "a model on trial whose accuracy on the same windows (by labels, else by mean confidence) is lower by more "
        "than this is rolled back",
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )
    sigmas: float = parameter(
        3.0, "standard errors by which the drop must exceed that", minimum=0.0, maximum=100.0, dynamic=True
    )
    min_windows: int = parameter(
        400,
        "windows that both models must have seen in a phase before accuracy is judged",
        minimum=1,
        maximum=1_000_000_000,
        dynamic=True,
    )
    block_windows: int = parameter(
        40,
        "windows in a row whose mean counts as one, because neighbours are right or wrong together",
        minimum=1,
        maximum=100_000,
        dynamic=True,
    )
    on_spike_rate: bool = parameter(
        True,
        "the alarms self_test, spike_rate, dead_neurons and saturated_neurons of the model on trial roll it back",
        dynamic=True,
    )
    on_alarm: bool = parameter(
        True, "the alarms margin, accuracy and step_time roll it back while it is published", dynamic=True
    )
    on_thermal: bool = parameter(
        False, "the alarm thermal rolls it back, although it is no fault of the model", dynamic=True
    )
    canary_after: int = parameter(
        0,
        "windows in SHADOW without a reason to roll back after which CANARY begins by itself, min_windows at least; "
        "0 = never",
        minimum=0,
        maximum=1_000_000_000,
        dynamic=True,
    )
    share: float = parameter(
        0.1, "share of the windows in a CANARY that begins by itself", minimum=0.001, maximum=1.0, dynamic=True
    )
    canary_s: float = parameter(
        0.0,
        "a CANARY that begins by itself falls back to SHADOW after this time; 0 = it lasts until a command or rule",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )
    promote_after: int = parameter(
        0,
        "windows in CANARY without a reason to roll back after which the model is promoted by itself, min_windows at "
        "least; 0 = never",
        minimum=0,
        maximum=1_000_000_000,
        dynamic=True,
    )

    def __post_init__(self) -> None:
        if self.automatic and not self.network:
            raise ParameterError("rollout.automatic needs rollout.network, the node to call, which is empty")

    def rules(self) -> RolloutRules:
        """Return the rules."""
        return RolloutRules(
            accuracy_drop=self.accuracy_drop,
            sigmas=self.sigmas,
            min_windows=self.min_windows,
            on_spike_rate=self.on_spike_rate,
            on_alarm=self.on_alarm,
            on_thermal=self.on_thermal,
            share=self.share,
            canary_s=self.canary_s,
            canary_after=self.canary_after,
            promote_after=self.promote_after,
        )


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
    rollout: RolloutParameters = field(default_factory=RolloutParameters)
