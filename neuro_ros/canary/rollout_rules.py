# SPDX-License-Identifier: Apache-2.0
"""What a roll-out is steered by: phases, commands, the evidence about a model on trial, and the rules that weigh it.

This module refuses to know where a roll-out stands; that is `neuro_ros.canary.rollout`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from neuro_ros.canary.errors import RolloutError

__all__ = [
    "TARGETS",
    "Command",
    "Evidence",
    "Phase",
    "Proposal",
    "RolloutRules",
    "Standing",
    "propose",
    "reason_to_roll_back",
]

_S = 1_000_000_000


class Phase(enum.IntEnum):
    """Where a roll-out stands; the numbers of ``CanaryReport``."""

    BASELINE = 0
    SHADOW = 1
    CANARY = 2
    PROMOTED = 3
    ROLLED_BACK = 4


class Command(enum.IntEnum):
    """What may be asked for; the numbers of ``SwitchModel``."""

    SHADOW = 1
    CANARY = 2
    PROMOTE = 3
    ROLLBACK = 4
    CANCEL = 5


#: Where a command leads from a phase; what is not here does not fit.
TARGETS: Mapping[tuple[Phase, Command], Phase] = {
    (Phase.BASELINE, Command.SHADOW): Phase.SHADOW,
    (Phase.PROMOTED, Command.SHADOW): Phase.SHADOW,
    (Phase.ROLLED_BACK, Command.SHADOW): Phase.SHADOW,
    (Phase.SHADOW, Command.CANARY): Phase.CANARY,
    (Phase.CANARY, Command.CANARY): Phase.CANARY,  # another share
    (Phase.SHADOW, Command.PROMOTE): Phase.PROMOTED,
    (Phase.CANARY, Command.PROMOTE): Phase.PROMOTED,
    (Phase.SHADOW, Command.ROLLBACK): Phase.ROLLED_BACK,
    (Phase.CANARY, Command.ROLLBACK): Phase.ROLLED_BACK,
    (Phase.PROMOTED, Command.ROLLBACK): Phase.ROLLED_BACK,
    (Phase.SHADOW, Command.CANCEL): Phase.BASELINE,
    (Phase.CANARY, Command.CANCEL): Phase.BASELINE,
}


@dataclass(frozen=True)
class RolloutRules:
    """What happens without a command.

    Parameters
    ----------
    accuracy_drop : float
        A candidate whose accuracy (by labels, else by proxy) is lower by more than this, 0..1, is rolled back; 0.02.
    sigmas : float
        Standard errors by which the drop must exceed that.
    min_windows : int
        Windows that both arms must have seen before accuracy is judged.
    on_spike_rate : bool
        Whether an anomaly of the candidate's spike rates rolls back.
    on_alarm : bool
        Whether another alarm about a published candidate (margin, accuracy, time of a step) rolls back.
    on_thermal : bool
        Whether a thermal event rolls back. Off by default: it would fire in every warm-up, and temperature is no fault
        of the candidate.
    share : float
        Share of the windows that the candidate is published for in CANARY, where the command names none; 0..1.
    canary_s : float
        CANARY lasts this long [s] and then falls back to SHADOW, or is promoted by the rule below; 0 = until a command.
    canary_after : int
        Windows in SHADOW without a reason to roll back after which CANARY begins by itself; 0 = never.
    promote_after : int
        Windows in CANARY without a reason to roll back after which the candidate is promoted by itself; 0 = never.

    Raises
    ------
    RolloutError
        A value is out of range.
    """

    accuracy_drop: float = 0.02
    sigmas: float = 3.0
    min_windows: int = 400
    on_spike_rate: bool = True
    on_alarm: bool = True
    on_thermal: bool = False
    share: float = 0.1
    canary_s: float = 0.0
    canary_after: int = 0
    promote_after: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("accuracy_drop", 0.0, 1.0),
            ("sigmas", 0.0, 100.0),
            ("min_windows", 1, 10**9),
            ("share", 0.0, 1.0),
            ("canary_s", 0.0, 1e9),
            ("canary_after", 0, 10**9),
            ("promote_after", 0, 10**9),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise RolloutError(f"{name}: {value!r} is outside [{low:g}, {high:g}]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the candidate against the live model, since the phase began.

    Parameters
    ----------
    windows : int
        Windows that both arms have seen.
    accuracy_drop : float
        How much less accurate the model on trial is, 0..1; NaN = not known.
    accuracy_error : float
        Standard error of that.
    by_labels : bool
        False: accuracy is a proxy.
    spike_rate_anomaly : str
        What is wrong with the spike rates of the model on trial; empty = nothing.
    alarm : str
        What another alarm says about the model on trial while it is published; empty = nothing.
    thermal_event : str
        What thermal event happened; empty = none.
    """

    windows: int = 0
    accuracy_drop: float = math.nan
    accuracy_error: float = 0.0
    by_labels: bool = False
    spike_rate_anomaly: str = ""
    alarm: str = ""
    thermal_event: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a roll-out stands, as far as the rules ask.

    Parameters
    ----------
    phase : Phase
        Where.
    on_trial : str
        The model that evidence is about; empty = none.
    since_ns : int
        Host time at which the phase began [ns].
    canary_s : float
        CANARY lasts this long [s]; 0 = until a command.
    """

    phase: Phase
    on_trial: str
    since_ns: int = 0
    canary_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the rules ask for.

    Parameters
    ----------
    command : Command
        What to do.
    target : Phase
        Where that leads.
    reason : str
        One line.
    """

    command: Command
    target: Phase
    reason: str


def propose(rules: RolloutRules, standing: Standing, evidence: Evidence, now_ns: int) -> Proposal | None:
    """Return what the rules ask for; None = to wait. A reason to roll back comes before everything else."""
    phase = standing.phase
    if not standing.on_trial:
        return None
    reason = reason_to_roll_back(rules, evidence, standing.on_trial)
    if reason:
        return Proposal(Command.ROLLBACK, TARGETS[(phase, Command.ROLLBACK)], reason)
    enough = f"{evidence.windows} windows without a reason to roll back"
    if phase is Phase.CANARY:
        if rules.promote_after and evidence.windows >= max(rules.promote_after, rules.min_windows):
            return Proposal(Command.PROMOTE, Phase.PROMOTED, enough)
        if standing.canary_s and now_ns - standing.since_ns >= standing.canary_s * _S:
            return Proposal(Command.CANARY, Phase.SHADOW, f"CANARY was to last {standing.canary_s:g} s")
    if phase is Phase.SHADOW and rules.canary_after and evidence.windows >= max(rules.canary_after, rules.min_windows):
        return Proposal(Command.CANARY, Phase.CANARY, enough)
    return None


def reason_to_roll_back(rules: RolloutRules, evidence: Evidence, on_trial: str) -> str:
    """Return why the model `on_trial` is to be rolled back; empty = there is no reason."""
    if rules.on_spike_rate and evidence.spike_rate_anomaly:
        return f"spike rates of {on_trial}: {evidence.spike_rate_anomaly}"
    if rules.on_alarm and evidence.alarm:
        return f"alarm about {on_trial}: {evidence.alarm}"
    if rules.on_thermal and evidence.thermal_event:
        return f"thermal event: {evidence.thermal_event}"
    drop, floor = evidence.accuracy_drop, rules.accuracy_drop + rules.sigmas * evidence.accuracy_error
    if evidence.windows >= rules.min_windows and drop > floor:
        kind = "accuracy" if evidence.by_labels else "proxy accuracy"
        return (
            f"{kind} of {on_trial} is lower by {drop:.1%} over {evidence.windows} windows, "
            f"limit {rules.accuracy_drop:.1%} (standard error {evidence.accuracy_error:.1%})"
        )
    return ""
