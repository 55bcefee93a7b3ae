# SPDX-License-Identifier: Apache-2.0
"""What belongs to a saved state beside the network: the clock of each stream, and how saving went.

This module refuses to know about files and threads; whoever writes tells it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.messages import ClockModel
from neuro_ros.snn import NetworkState, StateClock

__all__ = ["StateRecord"]

_NS_PER_S = 1_000_000_000
_CLOCK_STATES = {ClockModel.TRACKING: "TRACKING", ClockModel.LOCKED: "LOCKED", ClockModel.HOLDOVER: "HOLDOVER"}


class StateRecord:
    """The last clock model of each stream, and the last save.

    Parameters
    ----------
    max_streams : int
        So many clocks are remembered; the one that was silent longest makes room.
    """

    def __init__(self, max_streams: int) -> None:
        self._max_streams = max_streams
        self._clocks: OrderedDict[str, ClockModel] = OrderedDict()
        self._saved_at_ns: int | None = None
        self._error = ""
        self._saves = self._failures = 0
        self._snapshot_s = self._write_s = self._longest_write_s = math.nan

    def hear(self, message: ClockModel) -> None:
        """Remember the clock model of a stream."""
        self._clocks[message.header.frame_id] = message
        self._clocks.move_to_end(message.header.frame_id)
        while len(self._clocks) > self._max_streams:
            self._clocks.popitem(last=False)

    def dated(self, state: NetworkState) -> NetworkState:
        """Return the state with the clock model of its stream, where one is known that says something."""
        clock = self._clocks.get(state.stream_id)
        if clock is None or clock.state not in _CLOCK_STATES or not math.isfinite(clock.skew_ppb + clock.sigma_ns):
            return state
        return replace(
            state,
            clock=StateClock(
                clock.clock_id,
                clock.reference_sensor_ns,
                clock.reference_host_ns,
                clock.skew_ppb,
                clock.sigma_ns,
                _CLOCK_STATES[clock.state],
            ),
        )

    def snapshot_took(self, duration_s: float) -> None:
        """Take note of how long the network waited for a snapshot of all streams."""
        self._snapshot_s = duration_s

    def saved(self, now_ns: int, duration_s: float = math.nan) -> None:
        """Take note that a snapshot is on disk, safely, and how long that took."""
        self._saved_at_ns, self._error, self._write_s = now_ns, "", duration_s
        self._longest_write_s = max(duration_s, self._longest_write_s) if self._saves else duration_s
        self._saves += 1

    def failed(self, reason: str) -> None:
        """Take note that a snapshot could not be written."""
        self._error = reason
        self._failures += 1

    def age_s(self, now_ns: int) -> float:
        """Return the age of the last state on disk [s]; NaN = never saved."""
        return math.nan if self._saved_at_ns is None else (now_ns - self._saved_at_ns) / _NS_PER_S

    def health(self, now_ns: int, values: Mapping[str, object]) -> Health:
        """Judge the last save; `values` are what the network tells beside."""
        figures = {
            **values,
            "save_age_s": self.age_s(now_ns),
            "saves": self._saves,
            "saves_failed": self._failures,
            "snapshot_s": self._snapshot_s,
            "write_s": self._write_s,
            "write_longest_s": self._longest_write_s,
        }
        if self._error:
            return Health("state", HealthLevel.ERROR, f"the last save failed: {self._error}", figures)
        return Health("state", HealthLevel.OK, "never saved" if self._saved_at_ns is None else "saved", figures)
