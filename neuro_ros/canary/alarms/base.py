# SPDX-License-Identifier: Apache-2.0
"""What an alarm is, and sums over the last few seconds of input that several of them need."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.observation import LayerReport, Observation, Verdict

__all__ = ["Alarm", "InputClock", "RecentSum"]

_S = 1_000_000_000
#: A report that comes later than this after the last one counts for no more [s]: nobody knows what lay between.
_LONGEST_REPORT_S = 2.0
T = TypeVar("T")


class Alarm(Protocol):
    """One judge; made anew for every activation and model, without arguments."""

    #: Under this name it is reported, and its parameters are grouped.
    name: ClassVar[str]
    #: What its parameters are.
    Limits: ClassVar[type[base.Limits]]
    #: What to do about it, in a line.
    advice: ClassVar[str]

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Say what `observation` means under `limits`, which are of the class `Limits`."""


class InputClock:
    """Tells for how long each report lasted."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def duration_s(self, report: LayerReport) -> float:
        """Return the time since the report before [s]; 0 for the first one and after a step back of the clock."""
        last_ns, self._last_ns = self._last_ns, report.stamp_ns
        return 0.0 if last_ns is None else min(_LONGEST_REPORT_S, max(0.0, (report.stamp_ns - last_ns) / _S))


class RecentSum(Generic[T]):
    """Entries with a weight, of which as many are kept as reach a total weight.

    Parameters
    ----------
    weight : float
        The oldest entry goes when the others reach this.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[float, T]] = deque()
        self.weight = 0.0

    def add(self, weight: float, entry: T, enough: float) -> None:
        """Take an entry, and drop the oldest ones as long as the others weigh `enough`."""
        self._entries.append((weight, entry))
        self.weight += weight
        while len(self._entries) > 1 and self.weight - self._entries[0][0] >= enough:
            self.weight -= self._entries.popleft()[0]

    @property
    def entries(self) -> list[T]:
        """The entries, oldest first."""
        return [entry for _, entry in self._entries]
