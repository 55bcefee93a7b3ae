# SPDX-License-Identifier: Apache-2.0
"""The canary's part in a roll-out: two arms on the same windows, the evidence about the one on trial, and the rules.

The network's node says where a roll-out stands (`RolloutStatus`); this says what the rules make of it. Answers of both
arms to one window, and its label, come in any order; they are brought together here, in bounded memory.
This module refuses to know about services.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from neuro_ros.canary import (
    Answer,
    ArmComparison,
    Command,
    Evidence,
    Phase,
    Proposal,
    Standing,
    propose,
)
from neuro_ros.cores.arm_judge import ArmJudge
from neuro_ros.cores.messages import Gesture, RolloutStatus
from neuro_ros.cores.parameters.canary import CanaryParameters

__all__ = ["ABOUT_MODELS", "RolloutWatch", "SwitchRequest"]

#: Windows of which only one answer, or no label, is there; three seconds at 20 Hz.
_WAITING = 64
#: A label comes at most so many windows after the answers to its window.
_LABEL_WAITS = 10
#: Alarms about spikes, which count in every phase.
_RATE_ALARMS = ("self_test", "spike_rate", "dead_neurons", "saturated_neurons")
#: Further alarms about the network itself, which count while it is published.
_PUBLISHED_ALARMS = ("margin", "accuracy", "step_time")
#: Alarms that a model can be to blame for; the others are about camera, clock, computer and temperature.
ABOUT_MODELS = _RATE_ALARMS + _PUBLISHED_ALARMS
_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class SwitchRequest:
    """A switch that the rules ask for.

    Parameters
    ----------
    command : Command
        What to do.
    on_trial : str
        The model that it is about.
    reason : str
        One line.
    share, canary_s : float
        For CANARY.
    """

    command: Command
    on_trial: str
    reason: str
    share: float = 0.0
    canary_s: float = 0.0


@dataclass(slots=True)
class _Pair:
    """What is known of one window."""

    trial: Answer | None = None
    other: Answer | None = None
    label: int = -1


class RolloutWatch:
    """Follows a roll-out and weighs the evidence.

    Parameters
    ----------
    parameters : CanaryParameters
        Validated; may be replaced through the attribute of the same name.

    Attributes
    ----------
    status : RolloutStatus
        The last one heard; of phase BASELINE before.
    comparison : ArmComparison
        Since the phase began.
    """

    def __init__(self, parameters: CanaryParameters) -> None:
        self.parameters = parameters
        self.status = RolloutStatus()
        self.comparison = ArmComparison(block=parameters.rollout.block_windows)
        self._pairs: OrderedDict[_Key, _Pair] = OrderedDict()

    @property
    def on_trial(self) -> str:
        """The model that evidence is about; empty = none."""
        status = self.status
        return status.candidate_id or (status.live_id if status.previous_id else "")

    @property
    def phase(self) -> Phase:
        """Where the roll-out stands."""
        return Phase(self.status.phase) if self.status.phase in list(Phase) else Phase.BASELINE

    def take(self, status: RolloutStatus) -> None:
        """Take the word of the network's node; another phase or model begins anew."""
        before = (self.status.phase, self.status.since, self.on_trial)
        self.status = status
        if (status.phase, status.since, self.on_trial) != before:
            self.comparison = ArmComparison(block=self.parameters.rollout.block_windows)
            self._pairs.clear()

    def gesture(self, message: Gesture) -> None:
        """Take an answer of either arm, whichever is published."""
        on_trial = self.on_trial
        if not on_trial or message.model_id not in (self.status.live_id, on_trial, self.status.previous_id):
            return
        pair = self._pair(message)
        answer = Answer(message.class_index, message.confidence)
        if message.model_id == on_trial:
            pair.trial = answer
        else:
            pair.other = answer
        self._settle()

    def truth(self, message: Gesture) -> None:
        """Take a label."""
        if self.on_trial and message.class_index >= 0:
            self._pair(message).label = message.class_index

    def _pair(self, message: Gesture) -> _Pair:
        key = (message.header.frame_id, message.epoch, message.sequence)
        return self._pairs.setdefault(key, _Pair())

    def _settle(self) -> None:
        """Compare what is complete, oldest first; a label may take a little longer than the answers."""
        while self._pairs:
            key, pair = next(iter(self._pairs.items()))
            complete = pair.trial is not None and pair.other is not None
            waits = len(self._pairs) <= (_LABEL_WAITS if complete and pair.label < 0 else _WAITING)
            if waits and not (complete and pair.label >= 0):
                return
            del self._pairs[key]
            if pair.trial is not None and pair.other is not None:
                self.comparison.add(pair.other, pair.trial, pair.label)

    def evidence(self, judge: ArmJudge | None, thermal_event: str) -> Evidence:
        """Return what is known of the model on trial.

        Parameters
        ----------
        judge : ArmJudge or None
            Of that model; None = there was no telemetry of it yet.
        thermal_event : str
            What is wrong with the temperature; empty = nothing.
        """
        drop, error, by_labels = self.comparison.drop()
        raised = judge.board.raised if judge is not None else {}
        published = self.phase in (Phase.CANARY, Phase.PROMOTED)
        return Evidence(
            windows=self.comparison.windows,
            accuracy_drop=drop,
            accuracy_error=0.0 if math.isnan(error) else error,
            by_labels=by_labels,
            spike_rate_anomaly="; ".join(raised[name] for name in _RATE_ALARMS if name in raised),
            alarm="; ".join(raised[name] for name in _PUBLISHED_ALARMS if name in raised) if published else "",
            thermal_event=thermal_event,
        )

    def request(self, evidence: Evidence, now_ns: int) -> SwitchRequest | None:
        """Return what the rules ask for; None = nothing, or a switch is under way already."""
        settings = self.parameters.rollout
        status = self.status
        if not settings.automatic or status.switching:
            return None
        rules = settings.rules()
        # The end of a CANARY for a time is the business of whoever has the clock of the windows.
        standing = Standing(self.phase, self.on_trial, status.since)
        proposal: Proposal | None = propose(rules, standing, evidence, now_ns)
        if proposal is None:
            return None
        begins = proposal.command is Command.CANARY
        return SwitchRequest(
            proposal.command,
            self.on_trial,
            proposal.reason,
            rules.share if begins else 0.0,
            rules.canary_s if begins else 0.0,
        )
