# SPDX-License-Identifier: Apache-2.0
"""Paired timing: every contender runs once a round, in turn, and each round counts for all of them."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from neuro_ros.cli.benchmarks._stand_ins import stand_ins

__all__ = ["Benchmark", "Missing", "paired_median_s"]


@dataclass(frozen=True)
class Benchmark:
    """One figure of ours beside the same figure of the peers.

    Parameters
    ----------
    name : str
        What was measured, with the size of the work.
    unit : str
        Unit of all figures.
    ours : float
        Median of ours.
    peers : Mapping[str, float]
        Median of each peer that is installed.
    higher_is_better : bool
        True for rates, False for times.
    """

    name: str
    unit: str
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    higher_is_better: bool = False

    @property
    def times_best_peer(self) -> float | None:
        """How many times better than the best peer we are; None without peers, or where ours is none of a bad thing."""
        if not self.peers or (self.ours == 0 and not self.higher_is_better):
            return None
        if self.higher_is_better:
            return self.ours / max(self.peers.values())
        return min(self.peers.values()) / self.ours

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peers": dict(self.peers),
            "times_best_peer": self.times_best_peer,
        }


class Missing:
    """Imports peers, and remembers the ones that are not installed and those that were not comparable."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.left_out: list[str] = []

    def try_import(self, name: str, unused: tuple[str, ...] = ()) -> ModuleType | None:
        """Return the module, or None after noting that it is missing.

        Parameters
        ----------
        name : str
            Dotted.
        unused : tuple of str
            Packages that the module imports and that what is measured does not need; where they are not installed,
            empty ones stand in for them.
        """
        try:
            with stand_ins(unused):
                return importlib.import_module(name)
        except ImportError:
            package = name.partition(".")[0]
            if package not in self.names:
                self.names.append(package)
            return None

    def leave_out(self, peer: str) -> None:
        """Note a peer that does not do the same work, with what it did."""
        self.left_out.append(peer)


def paired_median_s(
    contenders: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median duration [s] of each contender over `rounds`, run in turn after one warm-up each.

    With ``clock=time.thread_time``, contenders that stay in this thread are measured by the processor time that they
    take: what else runs on the machine would make the long ones wait, and not the short ones.
    """
    for run in contenders.values():
        run()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = clock()
            run()
            samples[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in samples.items()}
