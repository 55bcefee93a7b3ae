# SPDX-License-Identifier: Apache-2.0
"""The roll-out as a state machine: commands, rules, one switch at a time, history, and a restart at any moment."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from neuro_ros.canary import Command, Evidence, Phase, Rollout, RolloutError, RolloutRules
from neuro_ros.cores.messages import CanaryReport
from neuro_ros.resources import message_definition_paths

S = 1_000_000_000
GOOD = Evidence(windows=1000, accuracy_drop=0.0, accuracy_error=0.01)
BAD = Evidence(windows=1000, accuracy_drop=0.10, accuracy_error=0.01)


def do(rollout, command, *arguments, at=0, **options):
    rollout.request(command, *arguments, **options)
    return rollout.commit(at)


def started(*commands, rules=None):
    rollout = Rollout("old", rules)
    for command in commands:
        do(rollout, command, *(["new"] if command is Command.SHADOW else []))
    return rollout


def test_the_numbers_are_those_of_the_messages():
    for phase in Phase:
        assert getattr(CanaryReport, phase.name) == phase
    text = message_definition_paths()["neuro_ros/srv/SwitchModel"].read_text()
    for command in Command:
        assert f"uint8 {command.name}={command.value}" in text


def test_the_straight_way():
    rollout = Rollout("old")
    assert do(rollout, Command.SHADOW, "new", at=1).after is Phase.SHADOW
    assert (rollout.live_id, rollout.candidate_id, rollout.on_trial) == ("old", "new", "new")
    do(rollout, Command.CANARY, share=0.25, at=2)
    assert (rollout.phase, rollout.share) == (Phase.CANARY, 0.25)
    do(rollout, Command.PROMOTE, at=3)
    assert (rollout.live_id, rollout.candidate_id, rollout.previous_id) == ("new", "", "old")
    assert (rollout.on_trial, rollout.share) == ("new", 0.0)
    assert [(t.at_ns, t.before.name, t.after.name, t.cause) for t in rollout.history] == [
        (1, "BASELINE", "SHADOW", "command"),
        (2, "SHADOW", "CANARY", "command"),
        (3, "CANARY", "PROMOTED", "command"),
    ]
    do(rollout, Command.SHADOW, "newer")  # confirms the promotion
    assert (rollout.live_id, rollout.candidate_id, rollout.previous_id) == ("new", "newer", "")


@pytest.mark.parametrize(
    "commands",
    [
        (Command.SHADOW,),
        (Command.SHADOW, Command.CANARY),
        (Command.SHADOW, Command.PROMOTE),
        (Command.SHADOW, Command.CANARY, Command.PROMOTE),
    ],
)
def test_rolling_back_returns_to_the_old_model_from_everywhere(commands):
    rollout = started(*commands)
    assert do(rollout, Command.ROLLBACK).after is Phase.ROLLED_BACK
    assert (rollout.live_id, rollout.candidate_id, rollout.previous_id, rollout.share) == ("old", "", "", 0.0)
    assert not any(rollout.publishes_candidate(sequence) for sequence in range(100))
    assert do(rollout, Command.SHADOW, "newer").after is Phase.SHADOW


def test_a_command_that_does_not_fit_changes_nothing():
    allowed = {
        Phase.BASELINE: {Command.SHADOW},
        Phase.SHADOW: {Command.CANARY, Command.PROMOTE, Command.ROLLBACK, Command.CANCEL},
        Phase.CANARY: {Command.CANARY, Command.PROMOTE, Command.ROLLBACK, Command.CANCEL},
        Phase.PROMOTED: {Command.SHADOW, Command.ROLLBACK},
        Phase.ROLLED_BACK: {Command.SHADOW},
    }
    ways = {
        Phase.BASELINE: (),
        Phase.SHADOW: (Command.SHADOW,),
        Phase.CANARY: (Command.SHADOW, Command.CANARY),
        Phase.PROMOTED: (Command.SHADOW, Command.PROMOTE),
        Phase.ROLLED_BACK: (Command.SHADOW, Command.ROLLBACK),
    }
    for phase, commands in ways.items():
        for command in Command:
            rollout = started(*commands)
            assert rollout.phase is phase
            before = rollout.as_dict()
            if command in allowed[phase]:
                rollout.request(command, "another")
                continue
            with pytest.raises(RolloutError, match=f"{command.name} does not fit phase {phase.name}"):
                rollout.request(command, "another")
            assert rollout.as_dict() == before


def test_two_switches_at_once_are_refused():
    rollout = Rollout("old")
    rollout.request(Command.SHADOW, "new")
    for command in Command:
        with pytest.raises(RolloutError, match=r"a switch \(SHADOW\) is under way"):
            rollout.request(command, "other")
    assert rollout.judge(BAD, 0) is None
    transition = rollout.abort("the file is damaged", 5)
    assert (transition.cause, transition.reason) == ("failed", "SHADOW failed: the file is damaged")
    assert (rollout.phase, rollout.candidate_id) == (Phase.BASELINE, "")
    rollout.request(Command.SHADOW, "new")
    rollout.commit(6)
    for end in (lambda: rollout.commit(7), lambda: rollout.abort("", 7)):
        with pytest.raises(RolloutError, match="no switch is under way"):
            end()


@pytest.mark.parametrize(
    ("command", "options", "named"),
    [
        (Command.SHADOW, {}, "needs a candidate"),
        (Command.SHADOW, {"candidate_id": "old"}, "live model already"),
        (Command.CANARY, {"share": 0.0}, "share"),
        (Command.CANARY, {"share": 1.5}, "share"),
        (Command.CANARY, {"share": math.nan}, "share"),
    ],
)
def test_arguments_that_make_no_sense(command, options, named):
    rollout = Rollout("old") if command is Command.SHADOW else started(Command.SHADOW)
    with pytest.raises(RolloutError, match=named):
        rollout.request(command, **options)
    assert rollout.switch is None


@given(st.floats(0.001, 1.0), st.integers(0, 500), st.integers(1, 500))
def test_the_share_is_kept_in_any_stretch_of_windows(share, first, length):
    rollout = started(Command.SHADOW)
    do(rollout, Command.CANARY, share=share)
    published = [rollout.publishes_candidate(first + index) for index in range(length)]
    assert abs(sum(published) - share * length) < 1.0 + 1e-6


# -- rules -------------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_documented_ones():
    rules = RolloutRules()
    assert (rules.accuracy_drop, rules.on_spike_rate, rules.on_thermal) == (0.02, True, False)
    assert (rules.canary_after, rules.promote_after, rules.canary_s) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "commands", [(Command.SHADOW,), (Command.SHADOW, Command.CANARY), (Command.SHADOW, Command.PROMOTE)]
)
@pytest.mark.parametrize(
    ("evidence", "rules", "named"),
    [
        (BAD, {}, "proxy accuracy of new is lower by 10.0% over 1000 windows, limit 2.0%"),
        (Evidence(1000, 0.10, 0.01, by_labels=True), {}, "accuracy of new is lower"),
        (Evidence(10, 0.10, 0.01), {}, ""),  # too few windows
        (Evidence(1000, 0.10, 0.03), {}, ""),  # within three standard errors
        (Evidence(1000, 0.019, 0.0), {}, ""),
        (Evidence(1000, math.nan, math.nan), {}, ""),
        (Evidence(0, spike_rate_anomaly="layer conv fires 40 % less"), {}, "spike rates of new: layer conv"),
        (Evidence(0, spike_rate_anomaly="layer conv fires 40 % less"), {"on_spike_rate": False}, ""),
        (Evidence(0, thermal_event="throttled"), {}, ""),  # it would fire in every warm-up
        (Evidence(0, thermal_event="throttled"), {"on_thermal": True}, "thermal event: throttled"),
        (Evidence(0, alarm="the margin is small"), {}, "alarm about new: the margin is small"),
        (Evidence(0, alarm="the margin is small"), {"on_alarm": False}, ""),
        (GOOD, {}, ""),
    ],
)
def test_rules_that_roll_back(commands, evidence, rules, named):
    rollout = started(*commands, rules=RolloutRules(**rules))
    switch = rollout.judge(evidence, 7 * S)
    if not named:
        assert switch is None
        return
    assert (switch.command, switch.cause) == (Command.ROLLBACK, "rule")
    assert named in switch.reason
    transition = rollout.commit(7 * S)
    assert (transition.after, rollout.live_id, transition.at_ns) == (Phase.ROLLED_BACK, "old", 7 * S)
    assert rollout.judge(evidence, 8 * S) is None  # nothing is on trial any more


@pytest.mark.parametrize("commands", [(), (Command.SHADOW, Command.ROLLBACK)])
def test_without_a_model_on_trial_no_rule_fires(commands):
    assert started(*commands).judge(BAD, 0) is None


def test_rules_that_go_on_by_themselves():
    rollout = started(Command.SHADOW, rules=RolloutRules(canary_after=500, promote_after=800, share=0.5))
    assert rollout.judge(Evidence(499), 0) is None
    assert rollout.judge(Evidence(500), 0).target is Phase.CANARY
    rollout.commit(0)
    assert rollout.share == 0.5
    assert rollout.judge(Evidence(799), 0) is None
    assert rollout.judge(Evidence(800), 0).target is Phase.PROMOTED
    rollout.commit(0)
    assert rollout.live_id == "new"
    assert [t.cause for t in rollout.history] == ["command", "rule", "rule"]


def test_a_canary_for_a_time_falls_back_to_shadow():
    rollout = started(Command.SHADOW, rules=RolloutRules(canary_s=60.0))
    do(rollout, Command.CANARY, share=1.0, at=100 * S)
    assert all(rollout.publishes_candidate(sequence) for sequence in range(50))
    assert rollout.judge(GOOD, 159 * S) is None
    assert rollout.judge(GOOD, 160 * S).target is Phase.SHADOW
    rollout.commit(160 * S)
    assert (rollout.phase, rollout.candidate_id, rollout.share) == (Phase.SHADOW, "new", 0.0)
    assert not any(rollout.publishes_candidate(sequence) for sequence in range(100))


def test_the_time_of_a_canary_is_that_of_the_command():
    rollout = started(Command.SHADOW)
    with pytest.raises(RolloutError, match=r"a time of -1\.0 s is outside"):
        rollout.request(Command.CANARY, canary_s=-1.0)
    do(rollout, Command.CANARY, canary_s=5.0, at=0)
    again = Rollout.from_dict(rollout.as_dict(), S)
    assert again.judge(Evidence(), 5 * S - 1) is None
    assert again.judge(Evidence(), 5 * S).target is Phase.SHADOW


def test_a_candidate_may_turn_out_to_be_the_live_model():
    rollout = Rollout("old")
    rollout.request(Command.SHADOW, "a/file")
    with pytest.raises(RolloutError, match="old is the live model already"):
        rollout.commit(1, "old")
    rollout.abort("it is the live one", 2)
    rollout.request(Command.SHADOW, "a/file")
    rollout.commit(3, "new")
    assert (rollout.phase, rollout.candidate_id) == (Phase.SHADOW, "new")


@pytest.mark.parametrize(
    ("commands", "lost", "phase", "live"),
    [
        ((Command.SHADOW,), "new", Phase.ROLLED_BACK, "old"),
        ((Command.SHADOW, Command.CANARY), "new", Phase.ROLLED_BACK, "old"),
        ((Command.SHADOW, Command.PROMOTE), "new", Phase.ROLLED_BACK, "old"),
        ((Command.SHADOW, Command.PROMOTE), "old", Phase.BASELINE, "new"),
    ],
)
def test_a_model_that_breaks_down_leaves_the_other_one(commands, lost, phase, live):
    rollout = started(*commands)
    rollout.request(Command.ROLLBACK)
    transition = rollout.lose(lost, "its back end failed", 9)
    assert (rollout.phase, rollout.live_id, rollout.candidate_id, rollout.previous_id) == (phase, live, "", "")
    assert (transition.cause, rollout.switch) == ("failed", None)
    assert transition.reason == "its back end failed; ROLLBACK, which was under way, did not come about"
    with pytest.raises(RolloutError, match="neither on trial nor kept"):
        rollout.lose(live, "there is no other one", 10)


@pytest.mark.parametrize(
    "changes",
    [{"accuracy_drop": -0.1}, {"accuracy_drop": math.nan}, {"share": 2.0}, {"min_windows": 0}, {"sigmas": -1.0}],
)
def test_rules_that_make_no_sense_are_refused(changes):
    with pytest.raises(RolloutError, match=next(iter(changes))):
        RolloutRules(**changes)


# -- restart -----------------------------------------------------------------------------------------------------------


def test_a_switch_under_way_at_the_restart_did_not_come_about():
    rollout = started(Command.SHADOW)
    rollout.request(Command.PROMOTE)
    again = Rollout.from_dict(json.loads(json.dumps(rollout.as_dict())), 9)
    assert (again.phase, again.live_id, again.switch) == (Phase.SHADOW, "old", None)
    assert (again.history[-1].cause, again.history[-1].at_ns) == ("interrupted", 9)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"version": 2},
        {"phase": "FLYING"},
        {"candidate_id": ""},
        {"previous_id": "older"},
        {"share": 0.5},
        {"canary_s": -1.0},
        {"share": math.nan},
        {"live_id": 5},
        {"history": [{}]},
        {"history": 3},
        {"since_ns": None},
    ],
)
def test_a_saved_rollout_that_contradicts_itself_is_refused(change):
    values = {**started(Command.SHADOW).as_dict(), **change}
    with pytest.raises(RolloutError) as caught:
        Rollout.from_dict(values, 0)
    assert "\n" not in str(caught.value)
    del values["phase"]
    with pytest.raises(RolloutError):
        Rollout.from_dict(values, 0)


class Machine(RuleBasedStateMachine):
    """Any order of commands, rules, failures and restarts."""

    def __init__(self):
        super().__init__()
        self.rules = RolloutRules(canary_after=1000, promote_after=2000, canary_s=50.0)
        self.rollout = Rollout("m0", self.rules)
        self.now_ns = 0

    @rule(command=st.sampled_from(Command), model=st.sampled_from(["", "m0", "m1", "m2"]), share=st.floats(0.0, 1.2))
    def ask(self, command, model, share):
        before = self.rollout.as_dict()
        try:
            self.rollout.request(command, model, share)
        except RolloutError:
            assert self.rollout.as_dict() == before

    @rule(well=st.booleans())
    def end(self, well):
        self.now_ns += S
        if self.rollout.switch is not None:
            live, target = self.rollout.live_id, self.rollout.switch.target
            transition = self.rollout.commit(self.now_ns) if well else self.rollout.abort("no", self.now_ns)
            assert transition is self.rollout.history[-1]
            assert self.rollout.phase is (target if well else transition.before)
            if not well:
                assert self.rollout.live_id == live

    @rule(windows=st.integers(0, 5000), drop=st.floats(-1.0, 1.0), anomaly=st.sampled_from(["", "odd"]))
    def look(self, windows, drop, anomaly):
        self.now_ns += 20 * S
        self.rollout.judge(Evidence(windows, drop, 0.01, spike_rate_anomaly=anomaly), self.now_ns)

    @rule(model=st.sampled_from(["m0", "m1", "m2"]))
    def lose(self, model):
        kept = {self.rollout.candidate_id, self.rollout.previous_id} | (
            {self.rollout.live_id} if self.rollout.previous_id else set()
        )
        if model in kept:
            self.rollout.lose(model, "broken", self.now_ns)
            assert self.rollout.live_id != model
        else:
            with pytest.raises(RolloutError):
                self.rollout.lose(model, "broken", self.now_ns)

    @rule()
    def restart(self):
        switch = self.rollout.switch
        values = json.loads(json.dumps(self.rollout.as_dict()))
        again = Rollout.from_dict(values, self.now_ns, self.rules)
        for name in ("phase", "live_id", "candidate_id", "previous_id", "share", "canary_s", "reason"):
            assert getattr(again, name) == getattr(self.rollout, name)
        assert len(again.history) == min(200, len(self.rollout.history) + (switch is not None))
        self.rollout = again

    @invariant()
    def never_contradicts_itself(self):
        rollout = self.rollout
        assert rollout.live_id
        assert rollout.live_id not in (rollout.candidate_id, rollout.previous_id)
        assert bool(rollout.candidate_id) == (rollout.phase in (Phase.SHADOW, Phase.CANARY))
        assert bool(rollout.previous_id) == (rollout.phase is Phase.PROMOTED)
        if rollout.phase is not Phase.CANARY:
            assert not any(rollout.publishes_candidate(sequence) for sequence in range(100))
        assert len(rollout.history) <= 200


TestMachine = Machine.TestCase
