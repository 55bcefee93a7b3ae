# SPDX-License-Identifier: Apache-2.0
"""Cores of a chip that are too full, and what to move where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["CoreUtilisationAlarm", "Move", "suggest_remap"]

#: Moves that are named in the text; the first ones move most.
_NAMED = 3
#: A core cannot be fuller than so many times full, whatever a message says.
_MOST = 100.0


@dataclass(frozen=True, slots=True)
class Move:
    """Move a load (share of one core) from one core to another."""

    source: int
    target: int
    load: float


def suggest_remap(utilisation: Sequence[float], limit_share: float) -> tuple[list[Move], int]:
    """Say how to bring every core down to a limit.

    The fullest core gives to the emptiest until one of the two is at the limit, and so on. Loads are taken as
    divisible, which neurons nearly are; what a move costs in memory, `neuro_ros map` works out.

    Parameters
    ----------
    utilisation : sequence of float
        Of each core, 0..1; NaN or anything that is no utilisation = unused by the network and free.
    limit_share : float
        To be kept, above 0.

    Returns
    -------
    moves : list of Move
        In order, the largest surplus first.
    cores_short : int
        Cores that are needed beyond those given; 0 when the moves suffice.
    """
    load = [value if 0.0 <= value < _MOST else 0.0 for value in utilisation]
    moves = []
    for _ in range(2 * len(load)):  # every move fills one core to the limit or empties one down to it
        source = max(range(len(load)), key=load.__getitem__)
        target = min(range(len(load)), key=load.__getitem__)
        amount = min(load[source] - limit_share, limit_share - load[target])
        if amount <= 1e-9:
            break
        moves.append(Move(source, target, amount))
        load[source] -= amount
        load[target] += amount
    surplus = math.fsum(max(0.0, value - limit_share) for value in load)
    return moves, math.ceil(surplus / limit_share - 1e-9) if surplus > 1e-9 else 0


class CoreUtilisationAlarm:
    """A core that has no room left for bursts."""

    name: ClassVar[str] = "core_utilisation"
    advice: ClassVar[str] = "map the model again with `neuro_ros map`, spread over more cores"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """What is too full."""

        share: float = limit(0.7, "utilisation of a core from which it is raised", minimum=0.01, maximum=1.0)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Judge the last report that has cores."""
        reports = [report for report in observation.reports if report.core_utilisation]
        if not reports:
            return Verdict(None)
        cores = reports[-1].core_utilisation
        full = [k for k, value in enumerate(cores) if value > limits.share]
        if not full:
            return Verdict(False)
        worst = max(full, key=cores.__getitem__)
        moves, short = suggest_remap(cores, limits.share)
        text = f"{len(full)} of {len(cores)} cores are over {limits.share:.0%} full, core {worst} {cores[worst]:.0%}"
        if moves:
            named = [f"{move.load:.0%} from core {move.source} to core {move.target}" for move in moves[:_NAMED]]
            text += "; move " + ", ".join(named) + (f" and {len(moves) - _NAMED} more" if len(moves) > _NAMED else "")
        if short:
            text += f"; {short} more core{'s are' if short > 1 else ' is'} needed"
        return Verdict(True, text)
