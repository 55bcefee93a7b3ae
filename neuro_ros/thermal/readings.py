# SPDX-License-Identifier: Apache-2.0
"""Readings of several sensors: each is judged by what itself said before, and one of them counts.

A glitch of one sensor must not be measured against another one, so every source has its own plausibility gate; and a
source that has fallen silent does not count, however hot it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from neuro_ros.thermal.gate import GateCounters, PlausibilityGate
from neuro_ros.thermal.sensors import CHOICES, ThermalError

__all__ = ["Readings", "Verdict"]

_S = 1_000_000_000
#: Sources that are told apart; a topic may name anything.
_MOST_SOURCES = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a reading: whether it is believed, and whether its source is the one that counts now."""

    believed: bool
    counts: bool


@dataclass(slots=True)
class _Source:
    gate: PlausibilityGate
    celsius: float = float("nan")
    believed_ns: int | None = None


class Readings:
    """See the module's text.

    Parameters
    ----------
    gate : Mapping[str, Any]
        Arguments of each source's `PlausibilityGate`.
    choice : str
        ``first`` = the first source, in the order in which they first spoke, that is not silent; ``hottest`` = of all
        that are not silent.
    silent_after_s : float
        Time without a believed reading after which a source is silent [s].

    Attributes
    ----------
    source : str
        The one that counts; empty before a reading is believed.
    refused_sources : int
        Readings of sources beyond those that are told apart.

    Raises
    ------
    ThermalError
        There is no such choice.
    """

    def __init__(self, gate: Mapping[str, Any], choice: str, silent_after_s: float) -> None:
        if choice not in CHOICES:
            raise ThermalError(f"sensor choice {choice!r} is not known; known: {', '.join(CHOICES)}")
        self._gate = dict(gate)
        self._choice = choice
        self._sources: dict[str, _Source] = {}
        self.source = ""
        self.refused_sources = 0
        self.limits(gate, silent_after_s)

    def limits(self, gate: Mapping[str, Any], silent_after_s: float) -> None:
        """Replace the limits, keep what is believed."""
        self._gate = dict(gate)
        self._silent_ns = round(silent_after_s * _S)
        for source in self._sources.values():
            source.gate.limits(**self._gate)

    def take(self, name: str, celsius: float, now_ns: int) -> Verdict:
        """Judge a reading [degree Celsius] of source `name` at host time `now_ns` [ns]."""
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= _MOST_SOURCES:
                self.refused_sources += 1
                return Verdict(False, False)
            source = self._sources[name] = _Source(PlausibilityGate(**self._gate))
        believed = source.gate.accept(celsius, now_ns)
        if believed:
            source.celsius, source.believed_ns = celsius, now_ns
        self.source = self._chosen(now_ns)
        return Verdict(believed, self.source in ("", name))

    def _chosen(self, now_ns: int) -> str:
        speaking = {
            name: source.celsius
            for name, source in self._sources.items()
            if source.believed_ns is not None and now_ns - source.believed_ns <= self._silent_ns
        }
        if not speaking:
            return self.source  # nobody better: what was believed last is held
        return next(iter(speaking)) if self._choice == "first" else max(speaking, key=lambda name: speaking[name])

    @property
    def counters(self) -> GateCounters:
        """What became of the readings of all sources."""
        gates = [source.gate.counters for source in self._sources.values()]
        return GateCounters(**{item.name: sum(getattr(g, item.name) for g in gates) for item in fields(GateCounters)})

    def believed(self) -> dict[str, float]:
        """Return the last believed reading of every source [degree Celsius]."""
        return {name: source.celsius for name, source in self._sources.items() if source.believed_ns is not None}
