# SPDX-License-Identifier: Apache-2.0
"""What an alarm is shown, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuro_ros.canary.baseline import Baseline
from neuro_ros.canary.probe import SelfTestAnswer

__all__ = ["LayerReport", "Observation", "Verdict"]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One telemetry message and the scene that belongs to it: what was seen since the one before.

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
    dead_neurons, saturated_neurons : tuple of int
        Neurons without a spike, and with one in nearly every step; an entry a layer.
    windows_lost : int
        Windows lost since activation.
    moving_share : float
        Share of the windows that showed motion, 0..1; NaN = not known, because no window was seen.
    on_share : float
        Share of ON among the input cells of moving windows, 0..1; NaN = not known.
    events_in, events_dropped : int
        Events offered to the windows, and lost.
    core_utilisation : tuple of float
        Of each core, 0..1; empty = not on a chip.
    leader : int
        Class that led in most windows; -1 = none, or not known.
    isolated, isolated_on : int
        Isolated cells of all windows, see `isolated`, and those of them with polarity ON.
    self_test : SelfTestAnswer or None
        Of the last self-test; None = none was run.
    self_test_ns : int
        When that was begun, by the network's clock [ns].
    """

    stamp_ns: int
    input_rate: float
    layer: tuple[str, ...] = ()
    firing_rate: tuple[float, ...] = ()
    dead_neurons: tuple[int, ...] = ()
    saturated_neurons: tuple[int, ...] = ()
    windows_lost: int = 0
    moving_share: float = math.nan
    on_share: float = math.nan
    events_in: int = 0
    events_dropped: int = 0
    core_utilisation: tuple[float, ...] = ()
    leader: int = -1
    isolated: int = 0
    isolated_on: int = 0
    self_test: SelfTestAnswer | None = None
    self_test_ns: int = 0

    def motion(self, min_input_rate: float) -> float:
        """Return the share of the time with motion; judged by the input rate alone where no window was seen."""
        if not self.input_rate >= min_input_rate:
            return 0.0
        return 1.0 if math.isnan(self.moving_share) else self.moving_share


@dataclass(frozen=True, slots=True)
class Observation:
    """All that an alarm may look at.

    Parameters
    ----------
    latency_p99_s, step_time_p99_s : float
        From a window closed to its gesture, and of one network step, over the last period [s]; NaN = none known.
    latency_samples, step_samples : int
        Windows behind them.
    reports : tuple of LayerReport
        Telemetry since the last observation.
    margins : tuple of (int, float)
        Leading class and margin of the windows with output spikes since the last observation, while the scene moved.
    outcomes : tuple of (int, int)
        Known label and decided class of the decided windows since the last observation.
    clock_state : str
        State of the worst clock model; empty = none known.
    clock_sigma_s : float
        Its uncertainty [s]; NaN = not known.
    stamps_unlocked : bool
        Windows came with stamps that follow no clock model.
    thermal_state : str
        State of thermal compensation; empty = none known.
    temperature_celsius : float
        NaN = not known.
    throttle_level : int
        0 = not throttled.
    baseline : Baseline or None
        What is normal for the live model; None = nobody measured it.
    model_id : str
        The model that is judged; another one than the baseline's where that stands in for it.
    on_trial : bool
        Whether the model is on trial in a roll-out: said to be another version than the one before.
    """

    latency_p99_s: float = math.nan
    latency_samples: int = 0
    step_time_p99_s: float = math.nan
    step_samples: int = 0
    reports: tuple[LayerReport, ...] = ()
    margins: tuple[tuple[int, float], ...] = ()
    outcomes: tuple[tuple[int, int], ...] = ()
    clock_state: str = ""
    clock_sigma_s: float = math.nan
    stamps_unlocked: bool = False
    thermal_state: str = ""
    temperature_celsius: float = math.nan
    throttle_level: int = 0
    baseline: Baseline | None = None
    model_id: str = ""
    on_trial: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an alarm says: bad True or False, None = no evidence; and why, in a line that a pilot understands."""

    bad: bool | None
    text: str = ""
