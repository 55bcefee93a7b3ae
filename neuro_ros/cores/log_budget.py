# SPDX-License-Identifier: Apache-2.0
"""Bounds what a core has to say to the log, and counts what was left unsaid.

A core keeps no log; it hands lines to its shell. Something that flaps would fill a disk with them. This module refuses
to know about loggers; time here is any steady count of nanoseconds.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LogBudget"]

_HOUR_NS = 3600 * 1_000_000_000


class LogBudget:
    """At most so many lines in any hour.

    Parameters
    ----------
    lines_per_hour : int
        The budget; the last line of an exhausted one says that it is.

    Attributes
    ----------
    suppressed : int
        Lines left unsaid since construction.
    """

    def __init__(self, lines_per_hour: int) -> None:
        self.suppressed = 0
        self._times: deque[int] = deque(maxlen=lines_per_hour)
        self._waiting: list[str] = []

    def say(self, line: str, steady_ns: int) -> None:
        """Take a line, or count it when the budget is spent."""
        times = self._times
        if len(times) == times.maxlen and steady_ns - times[0] < _HOUR_NS:
            self.suppressed += 1
            return
        times.append(steady_ns)
        if len(times) == times.maxlen and steady_ns - times[0] < _HOUR_NS:
            line += f" ({times.maxlen} lines within an hour; what follows is counted in the diagnostics only)"
        self._waiting.append(line)

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._waiting = self._waiting, []
        return lines
