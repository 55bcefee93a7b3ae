# SPDX-License-Identifier: Apache-2.0
"""The live model and at most one other beside it, and which of their answers is published: the roll-out, carried out.

`neuro_ros.canary.Rollout` says where a roll-out stands; here the arms follow it. The arm that is published runs first,
so that its answer does not wait for the other one's, which runs when the first has been sent (`afterwards`). After a
promotion the two have changed places and both go on: a roll-back takes effect with the next window, from a state that
has seen every window before it.

An arm on trial that fails, or that takes so long that windows pile up, is dropped; the live model never depends on it.
This module refuses to know about files, threads and who asks for a switch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from neuro_ros.canary import Command, Evidence, Phase, Rollout, RolloutError, Switch, Transition
from neuro_ros.cores.arm import Arm
from neuro_ros.cores.core import Clocks, Health, HealthLevel, Output
from neuro_ros.cores.messages import Gesture, Header, RolloutStatus, SnnTelemetry, SpikeTensor, ThermalCompensation
from neuro_ros.errors import NeuroRosError

__all__ = ["Arms"]

_LOG = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000
_FORMAT, _VERSION = "neuro_ros.arms", 1
#: From this throttle level on, there is no power for a second arm.
_THROTTLED = 1
#: Windows in a row with half a queue of work behind them, after which the arm on trial is dropped: one stall of the
#: computer, however long, makes fewer.
_BEHIND_WINDOWS = 5
#: Transitions shown in the diagnostics; all of them are in the answer of the service.
_SHOWN = 5


class Arms:
    """What runs, and what of it is published.

    Parameters
    ----------
    live : Arm
        The configured model.
    clocks : Clocks
        For measured durations only.

    Attributes
    ----------
    live, other : Arm
        `other` is the candidate, or the model to return to after a promotion; None = there is none.
    rollout : Rollout
        Where it stands.
    dispose : Callable[[Arm], None]
        Takes an arm that is not needed any more; closes it at once by default.
    """

    def __init__(self, live: Arm, clocks: Clocks) -> None:
        self.live = live
        self.other: Arm | None = None
        self.rollout = Rollout(live.model.model_id)
        self.dispose: Callable[[Arm], None] = Arm.close
        self._configured_id = live.model.model_id
        self._paths: dict[str, str] = {}  # model id to the file that the model came from
        self._clocks = clocks
        self._throttled = False
        self._waiting: tuple[Arm, SpikeTensor, NDArray[Any], int] | None = None
        self._took_ns = 0
        self._behind_ns = self._behind_windows = 0
        self._last_ns = 0
        self._news = False
        self._record_error = ""
        self._behind_limit_ns = live.parameters.queue_depth * live.model.window_length_ns // 2

    # ---------------------------------------------------------------- windows

    @property
    def all(self) -> tuple[Arm, ...]:
        """Every arm, the live one first."""
        return (self.live,) if self.other is None else (self.live, self.other)

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The models of all arms."""
        return tuple(arm.model.model_id for arm in self.all)

    @property
    def running(self) -> tuple[Arm, ...]:
        """The arms that windows go through."""
        return (self.live,) if self.suspended else self.all

    @property
    def suspended(self) -> bool:
        """True while the second arm does not run because the processor is too hot."""
        return self._throttled and self.other is not None

    def window(self, message: SpikeTensor, cells: NDArray[Any], now_ns: int) -> list[Output]:
        """Run a window that fits through the arm that is published; the other one waits for `afterwards`."""
        if self.other is None or self.suspended:
            gesture = self._take(self.live, message, cells, now_ns)
        else:
            gesture = self._first_of_two(message, cells, now_ns)
        outputs = [] if gesture is None else [Output("gesture", gesture)]
        return outputs + self.news(now_ns)

    def _first_of_two(self, message: SpikeTensor, cells: NDArray[Any], now_ns: int) -> Gesture | None:
        """Run a window through the arm that is published, and have the other one wait for it."""
        self._end_canary(now_ns)
        started_ns = self._clocks.stopwatch_ns()
        first, second = self.live, self.other
        if second is not None and self.rollout.publishes_candidate(message.sequence):
            first, second = second, first
        gesture = self._take(first, message, cells, now_ns)
        if self.other is None:  # the first one has failed: the one that is left answers
            return self._take(self.live, message, cells, now_ns)
        if second is not None:
            self._waiting = (second, message, cells, now_ns)
        self._took_ns = self._clocks.stopwatch_ns() - started_ns
        return gesture

    def afterwards(self) -> list[Output]:
        """Run the window that waits through the arm that is not published."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return []
        arm, message, cells, now_ns = waiting
        started_ns = self._clocks.stopwatch_ns()
        gesture = self._take(arm, message, cells, now_ns)
        self._keep_up(self._took_ns + self._clocks.stopwatch_ns() - started_ns, now_ns)
        outputs = [] if gesture is None else [Output("gesture/shadow", gesture)]
        return outputs + self.news(now_ns)

    def _take(self, arm: Arm, message: SpikeTensor, cells: NDArray[Any], now_ns: int) -> Gesture | None:
        """Run a window through an arm; one on trial is dropped when it fails."""
        on_trial = self.other is not None and arm.model.model_id in (self.rollout.on_trial, self.rollout.previous_id)
        if arm is not self.live:
            arm.counters.received += 1
        if not on_trial:
            return arm.take(message, cells, now_ns)
        try:
            return arm.take(message, cells, now_ns, strict=True)
        except Exception as error:  # noqa: BLE001 - a model on trial may fail in its own ways; the other one goes on
            self.drop(arm, f"{arm.model.model_id} failed in window {message.sequence}: {error}", now_ns)
            return None

    def _keep_up(self, took_ns: int, now_ns: int) -> None:
        """Drop the arm on trial when two of them take so long that windows pile up, before the queue is full."""
        since_ns, self._last_ns = now_ns - self._last_ns, now_ns  # a slower camera leaves more time
        behind_ns = max(0, self._behind_ns + took_ns - max(since_ns, self.live.model.window_length_ns))
        self._behind_ns = min(behind_ns, 3 * self._behind_limit_ns // 2)
        self._behind_windows = self._behind_windows + 1 if self._behind_ns > self._behind_limit_ns else 0
        if self.other is None or self._behind_windows < _BEHIND_WINDOWS:
            return
        text = f"two models take {took_ns / _NS_PER_S:.3f} s a window, and windows of {self._window_s:g} s pile up"
        on_trial = self.rollout.on_trial
        self.drop(self.live if self.live.model.model_id == on_trial else self.other, text, now_ns)

    @property
    def _window_s(self) -> float:
        return self.live.model.window_length_ns / _NS_PER_S

    def _end_canary(self, now_ns: int) -> None:
        """Fall back to SHADOW when the time of CANARY is up; other rules are the canary's."""
        if self.rollout.phase is Phase.CANARY and self.rollout.judge(Evidence(), now_ns) is not None:
            self._changed(self.rollout.commit(now_ns))

    def throttle(self, message: ThermalCompensation) -> None:
        """Rest the second arm at the throttle level of a message, and let it run again below."""
        throttled = message.throttle_level >= _THROTTLED
        if throttled == self._throttled:
            return
        self._throttled = throttled
        if self.other is not None:
            self._news = True
            self._waiting = None
            self.other.rest()
            what = f"{self.other.model.model_id} {'rests' if throttled else 'runs again'}"
            _LOG.warning("throttle level %d: %s beside %s", message.throttle_level, what, self.live.model.model_id)

    def begin_self_tests(self, now_ns: int) -> None:
        """Begin the self-tests that are due, of the arms that run."""
        for arm in self.running:
            arm.begin_self_test(now_ns)

    def go_on_with_self_tests(self) -> None:
        """Run one window of a self-test that is under way: the next window of a stream waits for no more than that."""
        arm = next((arm for arm in self.running if arm.self_test.under_way), None)
        if arm is not None:
            arm.self_test.step()

    # ---------------------------------------------------------------- switches

    def begin(
        self,
        command: Command,
        path: str = "",
        share: float | None = None,
        canary_s: float | None = None,
        *,
        on_trial: str = "",
        rule: str = "",
    ) -> Switch:
        """Begin a switch, to be ended by `commit` or `abort`; arguments as in `Rollout.request`.

        Parameters
        ----------
        command, share, canary_s, rule
            See `Rollout.request`.
        path : str
            For SHADOW: the candidate's file.
        on_trial : str
            Refuse unless this model is on trial; empty = whichever.

        Raises
        ------
        RolloutError
            It does not fit where the roll-out stands; nothing changes then.
        """
        if on_trial and on_trial != self.rollout.on_trial:
            raise RolloutError(f"{on_trial} is not on trial, but {self.rollout.on_trial or 'no model'}")
        switch = self.rollout.request(command, path, share, canary_s, rule=rule)
        self._news = True
        return switch

    def commit(self, now_ns: int, candidate: Arm | None = None, path: str = "") -> Transition:
        """End the switch under way well; `candidate`, from the file `path`, is for SHADOW.

        Raises
        ------
        RolloutError
            No switch is under way any more, or the candidate is the live model; `candidate` is the caller's then.
        """
        before = self.rollout.phase
        command = self.rollout.switch.command if self.rollout.switch is not None else None
        transition = self.rollout.commit(now_ns, candidate.model.model_id if candidate is not None else "")
        if candidate is not None:
            self._retire()
            self._paths = {self.live.model.model_id: self._paths.get(self.live.model.model_id, "")}
            self._paths[candidate.model.model_id] = path
            candidate.parameters = self.live.parameters
            candidate.restart(now_ns)
            self.other, self._behind_ns, self._behind_windows = candidate, 0, 0
        elif command is Command.PROMOTE:
            self._exchange()
        elif command in (Command.ROLLBACK, Command.CANCEL):
            if before is Phase.PROMOTED:
                self._exchange()
            self._retire()
        self._changed(transition)
        return transition

    def abort(self, reason: str, now_ns: int) -> None:
        """End the switch under way badly: nothing changes but the history. Without one, nothing happens."""
        if self.rollout.switch is not None:
            self._changed(self.rollout.abort(reason, now_ns))

    def drop(self, arm: Arm, reason: str, now_ns: int) -> None:
        """Go on without an arm: the candidate, the promoted model, or the one that was kept for a roll-back."""
        transition = self.rollout.lose(arm.model.model_id, reason, now_ns)
        if arm is self.live:
            self._exchange()
        self._retire()
        self._changed(transition)

    def _exchange(self) -> None:
        """Have the arms change places; the books stay where they are."""
        if self.other is None:
            raise RolloutError("there is no second model to change places with")
        old, new = self.live, self.other
        self.live, self.other = new, old
        new.books, old.books = old.books, new.books
        new.network.resets, old.network.resets = old.network.resets, new.network.resets

    def _retire(self) -> None:
        arm, self.other, self._waiting = self.other, None, None
        if arm is not None:
            self.dispose(arm)

    def _changed(self, transition: Transition) -> None:
        self._news = True
        level = logging.WARNING if transition.cause in ("rule", "failed") else logging.INFO
        before, after = transition.before.name, transition.after.name
        _LOG.log(level, "roll-out: %s to %s, %s is live: %s", before, after, transition.live_id, transition.reason)

    # ---------------------------------------------------------------- what is told

    def news(self, now_ns: int) -> list[Output]:
        """Return the status when it has changed since the last call."""
        news, self._news = self._news, False
        return [Output("rollout", self.status(now_ns))] if news else []

    def activate(self, now_ns: int) -> list[Output]:
        """Count anew, and say where the roll-out stands if there ever was one."""
        for arm in self.all:
            arm.restart(now_ns)
            arm.rest()
        self._waiting = None
        self._news = self._news or bool(self.rollout.history)
        return self.news(now_ns)

    def status(self, now_ns: int) -> RolloutStatus:
        """Return where the roll-out stands."""
        rollout, other = self.rollout, self.other
        live_decays = self.live.decays()
        other_decays: Mapping[str, list[Any]] = other.decays() if other else {"layer": [], "du": [], "dv": []}
        return RolloutStatus(
            header=Header(now_ns, ""),
            phase=int(rollout.phase),
            since=rollout.since_ns,
            live_id=rollout.live_id,
            candidate_id=rollout.candidate_id,
            previous_id=rollout.previous_id,
            share=rollout.share,
            canary_s=rollout.canary_s,
            suspended=self.suspended,
            switching="" if rollout.switch is None else rollout.switch.command.name,
            cause=rollout.history[-1].cause if rollout.history else "",
            reason=rollout.history[-1].reason if rollout.history else "",
            step_s=self._window_s / self.live.model.bins,
            live_layer=live_decays["layer"],
            live_du=live_decays["du"],
            live_dv=live_decays["dv"],
            other_layer=other_decays["layer"],
            other_du=other_decays["du"],
            other_dv=other_decays["dv"],
        )

    def telemetry(self, now_ns: int, save_age_s: float) -> list[SnnTelemetry]:
        """Return the figures of every arm that runs, the live one first."""
        found = [self.live.telemetry("live", now_ns, save_age_s)]
        if self.other is not None and not self.suspended:
            role = "canary" if self.rollout.phase is Phase.CANARY else "shadow"
            found.append(self.other.telemetry(role, now_ns, save_age_s))
        return found

    def health(self) -> Health:
        """Say where the roll-out stands, how the second arm does, and what happened last."""
        rollout, other = self.rollout, self.other
        last = rollout.history[-1] if rollout.history else None
        values: dict[str, object] = {
            "phase": rollout.phase.name,
            "live_id": rollout.live_id,
            "candidate_id": rollout.candidate_id,
            "previous_id": rollout.previous_id,
            "share": rollout.share,
            "switching": "" if rollout.switch is None else rollout.switch.command.name,
            "suspended": self.suspended,
        }
        if other is not None:
            values |= {f"other_{name}": value for name, value in other.figures.items()}
            values |= {f"other_windows_{name}": getattr(other.counters, name) for name in ("processed", "lost")}
        for number, transition in enumerate(reversed(rollout.history[-_SHOWN:])):
            text = f"{transition.before.name} to {transition.after.name} ({transition.cause}): {transition.reason}"
            values[f"history_{number}"] = text
        if self._record_error:
            return Health("rollout", HealthLevel.ERROR, f"not kept: {self._record_error}", values)
        if last is None:
            return Health("rollout", HealthLevel.OK, "no candidate yet", values)
        text = f"{rollout.phase.name}, {rollout.live_id} is live: {last.reason}"
        if self.suspended and other is not None:
            text = f"throttle level 1: {other.model.model_id} rests, {rollout.live_id} alone runs"
            return Health("rollout", HealthLevel.WARN, text, values)
        worrying = last.cause == "failed" or (last.cause == "rule" and rollout.phase is Phase.ROLLED_BACK)
        return Health("rollout", HealthLevel.WARN if worrying else HealthLevel.OK, text, values)

    # ---------------------------------------------------------------- to survive a restart

    def note_record(self, error: str) -> None:
        """Take note that the record was written (empty), or why it could not be."""
        self._record_error = error

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON, for `resume`."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "configured_id": self._configured_id,
            "paths": dict(self._paths),
            "rollout": self.rollout.as_dict(),
        }

    def resume(self, record: Mapping[str, Any], load: Callable[[str], Arm], now_ns: int) -> None:
        """Take up a roll-out of before a restart, as far as its models are still there and the same.

        Parameters
        ----------
        record : mapping
            What `record` gave.
        load : Callable[[str], Arm]
            Makes an arm of the model in a file; raises `NeuroRosError` when it cannot.
        now_ns : int
            Host time [ns].

        Raises
        ------
        RolloutError
            It is no record of this version; nothing changes then.
        """
        try:
            if record["format"] != _FORMAT or record["version"] != _VERSION:
                raise RolloutError(f"it is no record of version {_VERSION} of a roll-out")
            paths = {str(name): str(path) for name, path in record["paths"].items()}
            rollout = Rollout.from_dict(record["rollout"], now_ns, self.rollout.rules)
            configured_id = record["configured_id"]
        except (KeyError, TypeError, AttributeError) as error:
            raise RolloutError(f"a saved roll-out is not usable: {error!r}") from None
        configured = self.live
        self.rollout, self._paths, self._news = rollout, paths, True
        if configured_id != self._configured_id:
            text = f"the parameter model now names {self._configured_id}, no longer {configured_id}"
            self._changed(rollout.begin_anew(self._configured_id, text, now_ns))
            return
        arms = {configured.model.model_id: configured}
        for model_id in (rollout.live_id, rollout.candidate_id, rollout.previous_id):
            needed = model_id in (rollout.live_id, rollout.candidate_id, rollout.previous_id)
            if model_id and needed and model_id not in arms:
                arm, reason = _load(model_id, paths.get(model_id, ""), load)
                if arm is not None:
                    arms[model_id] = arm
                else:
                    self._changed(self._without(model_id, reason, now_ns))
        self.live = arms.pop(rollout.live_id)
        self.other = arms.pop(rollout.candidate_id or rollout.previous_id, None)
        for arm in arms.values():
            self.dispose(arm)

    def _without(self, model_id: str, reason: str, now_ns: int) -> Transition:
        """Go on after a restart without a model that is not there any more."""
        rollout = self.rollout
        if model_id in (rollout.candidate_id, rollout.previous_id) or rollout.previous_id:
            return rollout.lose(model_id, reason, now_ns)
        return rollout.begin_anew(self._configured_id, reason, now_ns)

    def close(self) -> None:
        """Release the back ends; safe twice."""
        for arm in self.all:
            arm.close()


def _load(model_id: str, path: str, load: Callable[[str], Arm]) -> tuple[Arm | None, str]:
    """Return the arm of a model of before the restart, or None and why there is none."""
    try:
        arm = load(path)
    except NeuroRosError as error:
        return None, f"{model_id} could not be taken up after the restart: {error}"
    if arm.model.model_id != model_id:
        arm.close()
        return None, f"{model_id} could not be taken up after the restart: {path} now holds {arm.model.model_id}"
    return arm, ""
