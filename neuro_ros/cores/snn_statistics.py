# SPDX-License-Identifier: Apache-2.0
"""Counters of the inference node and the figures of a telemetry period.

This module refuses to know about messages, policies and clocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn import Engine, WindowResult

__all__ = ["Period", "WindowCounters", "percentile"]

#: A neuron that spikes in more than this share of the steps is saturated.
SATURATED_SHARE = 0.9


@dataclass
class WindowCounters:
    """What happened to windows since activation. ``received == processed + skipped`` at any time.

    Parameters
    ----------
    received, processed : int
        Windows that arrived; windows that went through the network.
    late_skipped, repeated, refused, failed : int
        Windows that were skipped whole: too old by policy; seen before; unusable (geometry, encoding, data); lost to
        a failure of the back end.
    late : int
        Windows older than the limit, processed or skipped.
    lost : int
        Windows that never arrived, from gaps in the sequence; a full queue makes such gaps.
    missed_inactive : int
        Windows published while the node was inactive.
    incomplete : int
        Windows that say of themselves that events are missing.
    withheld : int
        Windows withheld by the camera: run as zero input or ended by a reset.
    gaps, backwards : int
        Times that something was missing, and that sensor time ran backwards.
    """

    received: int = 0
    processed: int = 0
    late_skipped: int = 0
    repeated: int = 0
    refused: int = 0
    failed: int = 0
    late: int = 0
    lost: int = 0
    missed_inactive: int = 0
    incomplete: int = 0
    withheld: int = 0
    gaps: int = 0
    backwards: int = 0

    @property
    def skipped(self) -> int:
        """Windows that arrived and were not run, whatever the reason."""
        return self.late_skipped + self.repeated + self.refused + self.failed

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name, `skipped` included."""
        return {**{item.name: getattr(self, item.name) for item in fields(self)}, "skipped": self.skipped}


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values: the least one that `share` of them do not exceed.

    Parameters
    ----------
    ascending : sequence of float
        Sorted.
    share : float
        0..1.

    Returns
    -------
    float
        NaN when there are no values.
    """
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


@dataclass
class Period:
    """What the network did since the last telemetry message.

    Parameters
    ----------
    cells : int
        Input cells of one step.
    neurons : tuple of int
        Neurons of each layer.
    """

    cells: int
    neurons: tuple[int, ...]
    steps: int = 0
    input_spikes: int = 0
    layer_spikes: NDArray[np.int64] = field(init=False)
    layer_synaptic_ops: NDArray[np.int64] = field(init=False)
    window_times_s: list[float] = field(default_factory=list)
    step_times_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layer_spikes = np.zeros(len(self.neurons), np.int64)
        self.layer_synaptic_ops = np.zeros(len(self.neurons), np.int64)

    def add(self, result: WindowResult) -> None:
        """Count one window of any origin."""
        self.steps += result.bins
        self.input_spikes += result.input_spikes
        self.layer_spikes += result.layer_spikes
        self.layer_synaptic_ops += result.layer_synaptic_ops

    def time(self, duration_s: float, bins: int) -> None:
        """Note how long a window took in the back end."""
        if duration_s >= 0.0:
            self.window_times_s.append(duration_s)
            self.step_times_s.append(duration_s / bins)

    @property
    def firing_rates(self) -> list[float]:
        """Mean spikes a neuron and step, a layer each."""
        if not self.steps:
            return [math.nan] * len(self.neurons)
        return [
            int(spikes) / (count * self.steps) for spikes, count in zip(self.layer_spikes, self.neurons, strict=True)
        ]

    @property
    def input_rate(self) -> float:
        """Mean share of active input cells a step."""
        return self.input_spikes / (self.cells * self.steps) if self.steps else math.nan

    def dead_and_saturated(self, engine: Engine | None) -> tuple[list[int], list[int]]:
        """Return, a layer each, how many neurons never spiked and how many spiked nearly always.

        Without a single input event a silent neuron proves nothing, so none counts as dead then; and without a back
        end nothing is known, which diagnostics say.
        """
        if not self.steps or engine is None:
            zeros = [0] * len(self.neurons)
            return zeros, list(zeros)
        spikes = engine.neuron_spikes()
        limit = SATURATED_SHARE * self.steps
        dead = [int((layer == 0).sum()) if self.input_spikes else 0 for layer in spikes]
        return dead, [int((layer > limit).sum()) for layer in spikes]

    def percentiles(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return p50, p95 and p99 of the step times and of the window times [s]."""
        steps, windows = sorted(self.step_times_s), sorted(self.window_times_s)
        shares = (0.5, 0.95, 0.99)
        p_steps = tuple(percentile(steps, share) for share in shares)
        p_windows = tuple(percentile(windows, share) for share in shares)
        return p_steps, p_windows  # type: ignore[return-value]
