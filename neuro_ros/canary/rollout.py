# SPDX-License-Identifier: Apache-2.0
"""Rolling out another model: a pure state machine that says which arm is published, and why.

::

    BASELINE ──SHADOW──▶ SHADOW ──CANARY──▶ CANARY ──PROMOTE──▶ PROMOTED
        ▲                  │ ▲ time is up     │                     │
        └─────CANCEL───────┴─┴────────────────┤ rule, ROLLBACK      │ rule, ROLLBACK
                                              ▼                     │
                                         ROLLED_BACK ◀──────────────┘

The *live* model is the one that the robot obeys, the *candidate* is the one on trial. After a promotion the two have
changed places: the *previous* model is kept, and keeps running, so that a roll-back takes effect with the next window.
A new SHADOW confirms a promotion and lets the previous model go.

A switch has two steps, because loading a model takes time and may fail: `request` checks the command and reserves the
machine, `commit` or `abort` ends it. In between every other switch is refused. A model that breaks down is `lost`,
whatever else is under way. Time is the caller's, in nanoseconds.
This module refuses to know about models, messages and files; `as_dict` is what survives a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from neuro_ros.canary.errors import RolloutError
from neuro_ros.canary.rollout_rules import TARGETS, Command, Evidence, Phase, RolloutRules, Standing, propose

__all__ = ["Rollout", "Switch", "Transition"]

_FORMAT = "neuro_ros.rollout"
_VERSION = 1
#: Longest time that CANARY may be limited to [s]: a day.
_LONGEST_CANARY_S = 86_400.0
#: Transitions that are kept; the oldest go first.
_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the history.

    Parameters
    ----------
    at_ns : int
        Host time [ns].
    before, after : Phase
        Phases.
    cause : str
        ``command`` or ``rule``; ``failed`` and ``interrupted`` for switches that did not come about.
    reason : str
        One line.
    live_id, candidate_id : str
        Models from then on.
    """

    at_ns: int
    before: Phase
    after: Phase
    cause: str
    reason: str
    live_id: str
    candidate_id: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch under way.

    Parameters
    ----------
    command : Command
        What was asked for.
    target : Phase
        Phase after `Rollout.commit`.
    candidate_id : str
        For SHADOW: the model to load.
    share : float
        For CANARY: share of the windows.
    canary_s : float
        For CANARY: how long it lasts [s]; 0 = until a command.
    cause, reason : str
        As in `Transition`.
    """

    command: Command
    target: Phase
    candidate_id: str = ""
    share: float = 0.0
    canary_s: float = 0.0
    cause: str = "command"
    reason: str = ""


class Rollout:
    """The state machine.

    Parameters
    ----------
    live_id : str
        Model that is live.
    rules : RolloutRules, optional
        May be replaced through the attribute of the same name.

    Attributes
    ----------
    phase : Phase
        Where it stands.
    live_id, candidate_id, previous_id : str
        The model that the robot obeys, the one on trial, and the one to return to after a promotion; empty = none.
    share : float
        Share of the windows that the candidate is published for; above 0 in CANARY alone.
    canary_s : float
        How long CANARY lasts [s]; 0 = until a command.
    reason : str
        Why it stands there.
    since_ns : int
        Host time at which the phase began [ns].
    history : list of Transition
        Oldest first.
    """

    def __init__(self, live_id: str, rules: RolloutRules | None = None) -> None:
        self.rules = rules or RolloutRules()
        self.phase = Phase.BASELINE
        self.live_id, self.candidate_id, self.previous_id = live_id, "", ""
        self.share = self.canary_s = 0.0
        self.reason = ""
        self.since_ns = 0
        self.history: list[Transition] = []
        self._switch: Switch | None = None

    @property
    def switch(self) -> Switch | None:
        """The switch under way; None = none."""
        return self._switch

    @property
    def on_trial(self) -> str:
        """The model that evidence is about: the candidate, or the promoted one while the previous one is kept."""
        return self.candidate_id or (self.live_id if self.previous_id else "")

    # -- commands ------------------------------------------------------------------------------------------------

    def request(
        self,
        command: Command,
        candidate_id: str = "",
        share: float | None = None,
        canary_s: float | None = None,
        *,
        rule: str = "",
    ) -> Switch:
        """Check a command and begin the switch that it asks for.

        Parameters
        ----------
        command : Command
            What is asked for.
        candidate_id : str
            For SHADOW: the model.
        share : float, optional
            For CANARY: share of the windows; that of the rules by default.
        canary_s : float, optional
            For CANARY: how long [s], 0 = until a command; that of the rules by default.
        rule : str
            Why a rule asks for it; empty = somebody does.

        Returns
        -------
        Switch
            To be ended by `commit` or `abort`.

        Raises
        ------
        RolloutError
            Another switch is under way, the command does not fit the phase, the candidate is the live model, or share
            or time are none. Nothing changes then.
        """
        if self._switch is not None:
            raise RolloutError(f"a switch ({self._switch.command.name}) is under way; one at a time")
        target = TARGETS.get((self.phase, command))
        if target is None:
            fitting = [known.name for phase, known in TARGETS if phase is self.phase]
            raise RolloutError(f"{command.name} does not fit phase {self.phase.name}; it takes {', '.join(fitting)}")
        if command is Command.SHADOW:
            if not candidate_id:
                raise RolloutError("SHADOW needs a candidate model")
            if candidate_id == self.live_id:
                raise RolloutError(f"{candidate_id} is the live model already")
        given = self.rules.share if share is None else share
        if command is Command.CANARY and not 0.0 < given <= 1.0:
            raise RolloutError(f"share {given!r} is outside (0, 1]")
        lasting = self.rules.canary_s if canary_s is None else canary_s
        if command is Command.CANARY and not 0.0 <= lasting <= _LONGEST_CANARY_S:
            raise RolloutError(f"a time of {lasting!r} s is outside [0, {_LONGEST_CANARY_S:g}] s")
        self._switch = Switch(
            command,
            target,
            candidate_id if command is Command.SHADOW else "",
            given if command is Command.CANARY else 0.0,
            lasting if command is Command.CANARY else 0.0,
            "rule" if rule else "command",
            rule or f"{command.name} was asked for",
        )
        return self._switch

    def commit(self, now_ns: int, candidate_id: str = "") -> Transition:
        """End the switch under way well: the phase changes.

        Parameters
        ----------
        now_ns : int
            Host time [ns].
        candidate_id : str
            For SHADOW: what the candidate turned out to be, where `request` was given something else to go by.

        Raises
        ------
        RolloutError
            No switch is under way, or the candidate turned out to be the live model; then the switch stays under way.
        """
        if candidate_id and candidate_id == self.live_id:
            raise RolloutError(f"{candidate_id} is the live model already")
        switch = self._taken()
        if switch.command is Command.SHADOW:
            self.candidate_id, self.previous_id = candidate_id or switch.candidate_id, ""
        elif switch.command is Command.PROMOTE:
            self.previous_id, self.live_id, self.candidate_id = self.live_id, self.candidate_id, ""
        elif switch.command in (Command.ROLLBACK, Command.CANCEL):
            if self.phase is Phase.PROMOTED:
                self.live_id = self.previous_id
            self.candidate_id = self.previous_id = ""
        self.share, self.canary_s = switch.share, switch.canary_s
        return self._enter(switch.target, switch.cause, switch.reason, now_ns)

    def abort(self, reason: str, now_ns: int) -> Transition:
        """End the switch under way badly: nothing changes but the history.

        Raises
        ------
        RolloutError
            No switch is under way.
        """
        switch = self._taken()
        text = f"{switch.command.name} failed: {reason}"
        return self._note(Transition(now_ns, self.phase, self.phase, "failed", text, self.live_id, self.candidate_id))

    def lose(self, model_id: str, reason: str, now_ns: int) -> Transition:
        """Take note that a model has broken down: without it, the roll-out falls back to the other one.

        Parameters
        ----------
        model_id : str
            The candidate; the live one, while the previous one is kept; or the previous one, which nobody can return
            to then: the promotion stands.
        reason : str
            One line.
        now_ns : int
            Host time [ns].

        Raises
        ------
        RolloutError
            It is none of these.
        """
        if model_id and model_id == self.candidate_id:
            phase = Phase.ROLLED_BACK
        elif model_id == self.live_id and self.previous_id:
            self.live_id, phase = self.previous_id, Phase.ROLLED_BACK
        elif model_id and model_id == self.previous_id:
            phase = Phase.BASELINE
        else:
            raise RolloutError(f"{model_id} is neither on trial nor kept")
        self.candidate_id = self.previous_id = ""
        self.share = self.canary_s = 0.0
        switch, self._switch = self._switch, None
        if switch is not None:
            reason += f"; {switch.command.name}, which was under way, did not come about"
        return self._enter(phase, "failed", reason, now_ns)

    def begin_anew(self, live_id: str, reason: str, now_ns: int) -> Transition:
        """Start over with another live model, for want of those of before; the history stays."""
        self.live_id, self.candidate_id, self.previous_id = live_id, "", ""
        self.share = self.canary_s = 0.0
        self._switch = None
        return self._enter(Phase.BASELINE, "interrupted", reason, now_ns)

    def _taken(self) -> Switch:
        if self._switch is None:
            raise RolloutError("no switch is under way")
        switch, self._switch = self._switch, None
        return switch

    def _enter(self, phase: Phase, cause: str, reason: str, now_ns: int) -> Transition:
        before, self.phase, self.reason = self.phase, phase, reason
        self.since_ns = now_ns
        return self._note(Transition(now_ns, before, phase, cause, reason, self.live_id, self.candidate_id))

    def _note(self, transition: Transition) -> Transition:
        self.history.append(transition)
        del self.history[:-_HISTORY]
        return transition

    # -- windows and rules ---------------------------------------------------------------------------------------

    def publishes_candidate(self, sequence: int) -> bool:
        """Say whether the candidate's answer to window `sequence` is the one to publish.

        The share is kept exactly, not by chance: of any n windows in a row, the candidate has n times the share,
        rounded up or down. The same windows are its own in every run.
        """
        if self.phase is not Phase.CANARY:
            return False
        return math.floor((sequence + 1) * self.share) > math.floor(sequence * self.share)

    def judge(self, evidence: Evidence, now_ns: int) -> Switch | None:
        """Say what the rules ask for; a switch is then under way, to be ended by `commit` or `abort`.

        Nothing is asked for while another switch is under way, or when no model is on trial.
        """
        if self._switch is not None:
            return None
        standing = Standing(self.phase, self.on_trial, self.since_ns, self.canary_s)
        proposal = propose(self.rules, standing, evidence, now_ns)
        if proposal is None:
            return None
        begins = proposal.target is Phase.CANARY
        self._switch = Switch(
            proposal.command,
            proposal.target,
            share=self.rules.share if begins else 0.0,
            canary_s=self.rules.canary_s if begins else 0.0,
            cause="rule",
            reason=proposal.reason,
        )
        return self._switch

    # -- to survive a restart ------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: all but the rules, which are parameters."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "phase": self.phase.name,
            "live_id": self.live_id,
            "candidate_id": self.candidate_id,
            "previous_id": self.previous_id,
            "share": self.share,
            "canary_s": self.canary_s,
            "reason": self.reason,
            "since_ns": self.since_ns,
            "switch": None if self._switch is None else self._switch.command.name,
            "history": [{**asdict(t), "before": t.before.name, "after": t.after.name} for t in self.history],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], now_ns: int, rules: RolloutRules | None = None) -> Rollout:
        """Take up a saved roll-out; a switch that was under way did not come about.

        Parameters
        ----------
        values : mapping
            What `as_dict` gave.
        now_ns : int
            Host time [ns].
        rules : RolloutRules, optional
            Rules from now on.

        Raises
        ------
        RolloutError
            It is no roll-out of this version, or contradicts itself.
        """
        try:
            if values["format"] != _FORMAT or values["version"] != _VERSION:
                raise RolloutError(f"it is no roll-out of version {_VERSION}")
            rollout = cls(_text(values["live_id"]), rules)
            rollout.phase = Phase[values["phase"]]
            rollout.candidate_id, rollout.previous_id = _text(values["candidate_id"]), _text(values["previous_id"])
            rollout.share, rollout.reason = float(values["share"]), _text(values["reason"])
            rollout.canary_s = float(values.get("canary_s", 0.0))
            rollout.since_ns = int(values["since_ns"])
            rollout.history = [_transition(entry) for entry in values["history"]][-_HISTORY:]
            interrupted = values["switch"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RolloutError(f"a saved roll-out is not usable: {error!r}") from None
        rollout._check()
        if interrupted is not None:
            rollout._note(
                Transition(
                    now_ns,
                    rollout.phase,
                    rollout.phase,
                    "interrupted",
                    f"{interrupted} was under way at the restart and did not come about",
                    rollout.live_id,
                    rollout.candidate_id,
                )
            )
        return rollout

    def _check(self) -> None:
        """Raise when phase, models and share contradict each other."""
        on_trial = self.phase in (Phase.SHADOW, Phase.CANARY)
        if on_trial != bool(self.candidate_id):
            raise RolloutError(f"phase {self.phase.name} with candidate {self.candidate_id!r} contradicts itself")
        if (self.phase is Phase.PROMOTED) != bool(self.previous_id):
            raise RolloutError(f"phase {self.phase.name} with previous model {self.previous_id!r} contradicts itself")
        if (self.phase is Phase.CANARY) != (self.share > 0.0) or not 0.0 <= self.share <= 1.0:
            raise RolloutError(f"phase {self.phase.name} with share {self.share!r} contradicts itself")
        if not 0.0 <= self.canary_s <= _LONGEST_CANARY_S:
            raise RolloutError(f"a time of {self.canary_s!r} s contradicts itself")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _transition(entry: Mapping[str, Any]) -> Transition:
    if set(entry) != {item.name for item in fields(Transition)}:
        raise ValueError(f"a line of the history has {', '.join(map(str, entry))}")
    texts = (_text(entry[name]) for name in ("cause", "reason", "live_id", "candidate_id"))
    return Transition(int(entry["at_ns"]), Phase[entry["before"]], Phase[entry["after"]], *texts)
