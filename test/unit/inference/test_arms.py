# SPDX-License-Identifier: Apache-2.0
"""Two models on the same windows: shadow, canary, promotion and roll-back, and whatever goes wrong with them."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from counting_network import BINS, CLASSES, LENGTH_NS, ONE, SIDE, TWO, counting_model, window

from neuro_ros.canary import Command, Phase, RolloutError
from neuro_ros.cores import stream_network
from neuro_ros.cores.candidate import CandidateError
from neuro_ros.cores.core import Clocks, HealthLevel
from neuro_ros.cores.messages import ThermalCompensation
from neuro_ros.errors import NeuroRosError
from neuro_ros.snn import Dense, EngineError, Layer, Lif, Model, Network, save_model

NOW = 10**18
S = 1_000_000_000


@pytest.fixture
def other_file(tmp_path_factory):
    """Return a candidate that one spike is enough for, in a folder of its own."""
    path = tmp_path_factory.mktemp("candidates") / "quick.safetensors"
    save_model(counting_model("quick", vth=50), path)
    return str(path)


@pytest.fixture
def two(drive, other_file):
    """Return a core that may load the candidate, and what it said, topic to list of messages."""
    driver = drive(model_folders=[other_file.rpartition("/")[0]])
    return Two(driver, other_file)


class Two:
    """A driver as the node has it: what may wait is done after each call."""

    def __init__(self, driver, file):
        self.core, self.driver, self.file = driver.core, driver, file
        self.sequence = 0

    def say(self, outputs):
        heard = {}
        for output in [*outputs, *self.core.afterwards()]:
            heard.setdefault(output.topic, []).append(output.message)
        return heard

    def show(self, cells=TWO, now_ns=NOW, **changes):
        self.sequence += 1
        message = window(self.sequence - 1, cells, **changes)
        return self.say(self.core.receive("spikes", message, now_ns))

    def counts(self, cells=TWO, **changes):
        """Return spikes of class 0 by topic, of one window."""
        heard = self.show(cells, **changes)
        return {topic: [m.spike_counts[0] for m in messages] for topic, messages in heard.items() if topic != "rollout"}

    def switch(self, command, now_ns=NOW, **options):
        if command is Command.SHADOW:
            options = {"path": self.file, **options}
        return self.say(self.core.switch(command, now_ns, **options))

    @property
    def rollout(self):
        return self.core.arms.rollout

    def throttle(self, level):
        message = ThermalCompensation(silicon_profile="digital", throttle_level=level)
        return self.say(self.core.receive("thermal/compensation", message, NOW))


# --- the way ----------------------------------------------------------------------------------------------------------
def test_the_shadow_sees_the_same_windows_and_is_published_on_its_own_topic(two):
    assert set(two.show(ONE)) == {"gesture"}
    (status,) = two.switch(Command.SHADOW)["rollout"]
    assert (status.phase, status.live_id, status.candidate_id) == (1, two.core.model.model_id, status.candidate_id)
    assert status.candidate_id.startswith("quick-")
    assert (status.live_layer, status.live_du, status.live_dv) == (["out"], [4095], [0])
    assert status.other_layer == ["out"]
    # The live one remembers the spike from before, the candidate begins at rest, and one spike is enough for it.
    heard = two.show(ONE)
    (live,), (shadow,) = heard["gesture"], heard["gesture/shadow"]
    assert (live.model_id, shadow.model_id) == (status.live_id, status.candidate_id)
    assert (live.spike_counts[0], shadow.spike_counts[0]) == (1, 1)
    assert (shadow.sequence, shadow.epoch, shadow.header) == (live.sequence, live.epoch, live.header)
    assert two.counts(ONE) == {"gesture": [0], "gesture/shadow": [1]}
    arms = [(m.arm, m.model_id, m.windows_in) for m in two.say(two.core.tick("telemetry", NOW))["snn/telemetry"]]
    assert arms == [("live", status.live_id, 3), ("shadow", status.candidate_id, 2)]


def test_the_published_answer_goes_out_before_the_shadow_runs(two):
    two.switch(Command.SHADOW)
    before = two.core.arms.other.counters.processed
    outputs = two.core.receive("spikes", window(0, TWO), NOW)
    assert [output.topic for output in outputs] == ["gesture"]
    assert two.core.arms.other.counters.processed == before
    assert [output.topic for output in two.core.afterwards()] == ["gesture/shadow"]
    assert two.core.afterwards() == []


def test_a_canary_publishes_its_share_by_sequence_and_the_same_in_every_run(two, drive):
    two.switch(Command.SHADOW)
    two.switch(Command.CANARY, share=0.3)
    published = [two.show()["gesture"][0].model_id.partition("-")[0] for _ in range(100)]
    assert published.count("quick") == 30
    again = Two(drive(model_folders=two.core._parameters.model_folders), two.file)
    again.switch(Command.SHADOW)
    again.switch(Command.CANARY, share=0.3)
    assert [again.show()["gesture"][0].model_id.partition("-")[0] for _ in range(100)] == published
    heard = again.show()
    assert {heard[topic][0].model_id for topic in ("gesture", "gesture/shadow")} == set(again.core.arms.model_ids)
    telemetry = again.say(again.core.tick("telemetry", NOW))["snn/telemetry"]
    assert [message.arm for message in telemetry] == ["live", "canary"]


def test_a_canary_for_a_time_falls_back_to_the_live_model(two):
    two.switch(Command.SHADOW)
    two.switch(Command.CANARY, share=1.0, canary_s=5.0)
    assert two.show(now_ns=NOW + 5 * S - 1)["gesture"][0].model_id.startswith("quick")
    heard = two.show(now_ns=NOW + 5 * S)
    assert heard["gesture"][0].model_id.startswith("counting")
    assert [(m.phase, m.reason) for m in heard["rollout"]] == [(1, "CANARY was to last 5 s")]


def test_a_roll_back_takes_effect_with_the_next_window_and_the_state_is_intact(two, drive):
    rng = np.random.default_rng(8)
    stream = [[(int(b), int(x)) for b, x in enumerate(rng.integers(0, CLASSES, BINS))] for _ in range(60)]
    plain = drive()
    alone = [plain.give(window(n, cells)) for n, cells in enumerate(stream)]
    published = []
    for number, cells in enumerate(stream):
        if number == 10:
            two.switch(Command.SHADOW)
        elif number == 20:
            two.switch(Command.PROMOTE)
        elif number == 40:
            two.switch(Command.ROLLBACK)
        published.append(two.show(cells)["gesture"][0])
    names = [gesture.model_id.partition("-")[0] for gesture in published]
    assert names == ["counting"] * 20 + ["quick"] * 20 + ["counting"] * 20

    def told(gesture):
        return (gesture.sequence, gesture.class_index, gesture.confidence, list(gesture.spike_counts))

    for ours, theirs in zip(published, alone, strict=True):
        if ours.model_id.startswith("counting"):
            assert told(ours) == told(theirs), "as if nothing had happened"
    assert two.core.arms.other is None
    assert [t.after.name for t in two.rollout.history] == ["SHADOW", "PROMOTED", "ROLLED_BACK"]
    counters = two.core.counters
    assert (counters.received, counters.processed, counters.lost) == (60, 60, 0)


def test_after_a_promotion_the_previous_model_goes_on_and_a_new_shadow_lets_it_go(two, tmp_path):
    two.switch(Command.SHADOW)
    two.switch(Command.PROMOTE)
    heard = two.show()
    assert heard["gesture"][0].model_id.startswith("quick")
    assert heard["gesture/shadow"][0].model_id.startswith("counting")
    third = tmp_path / "third.safetensors"
    save_model(counting_model("third", vth=70), two.file.replace("quick", "third"))
    two.switch(Command.SHADOW, path=third.name)
    assert [name.partition("-")[0] for name in two.core.arms.model_ids] == ["quick", "third"]


def test_cancelling_drops_the_candidate(two):
    dropped = []
    two.core.arms.dispose = dropped.append
    two.switch(Command.SHADOW)
    candidate = two.core.arms.other
    two.switch(Command.CANCEL)
    assert dropped == [candidate]
    assert set(two.show()) == {"gesture"}
    candidate.close()


def test_without_a_roll_out_nothing_new_is_said(drive):
    driver = drive()
    assert driver.core.activate(NOW) == []
    assert [output.topic for output in driver.core.receive("spikes", window(0, TWO), NOW)] == ["gesture"]
    assert driver.core.afterwards() == []
    assert [output.topic for output in driver.core.tick("telemetry", NOW)] == ["snn/telemetry"]
    assert driver.health("rollout").level == HealthLevel.OK


# --- bad input --------------------------------------------------------------------------------------------------------
def variant(**changes):
    weight = np.zeros((CLASSES, 2 * SIDE * SIDE), np.int16)
    model = {"labels": ["a", "b", "c"], "window_length_ns": LENGTH_NS, "bins": BINS, "name": "other", **changes}
    shape = model.pop("shape", (2, SIDE, SIDE))
    network = Network([Layer("out", Dense(np.resize(weight, (CLASSES, math.prod(shape)))), Lif(4095, 0, 100))], shape)
    return Model(network, model["labels"], model["window_length_ns"], model["bins"], model["name"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": ["a", "b", "x"]}, r"labels \['a', 'b', 'x'\] instead of \['a', 'b', 'c'\]"),
        ({"shape": (2, SIDE, 2 * SIDE)}, r"\(channels, height, width\) \(2, 4, 8\) instead of \(2, 4, 4\)"),
        ({"window_length_ns": 2 * LENGTH_NS}, "window_length_ns 80000000 instead of 40000000"),
        ({"bins": 8}, "bins 8 instead of 4"),
    ],
)
def test_a_candidate_that_reads_or_says_something_else_is_refused_with_what_differs(two, changes, named):
    path = two.file.replace("quick", "misfit")
    save_model(variant(**changes), path)
    with pytest.raises(CandidateError, match=named):
        two.switch(Command.SHADOW, path=path)
    assert (two.rollout.phase, two.core.arms.other) == (Phase.BASELINE, None)
    assert two.rollout.history[-1].cause == "failed"
    assert two.counts(TWO) == {"gesture": [1]}


def test_files_that_are_no_candidates(two, tmp_path):
    folder = two.file.rpartition("/")[0]
    outside = tmp_path / "outside.safetensors"
    save_model(counting_model("outside", vth=60), outside)
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95garbage.")
    for name, content in (("pickle", b"\x80\x04\x95garbage."), ("empty", b"")):
        Path(folder, f"{name}.safetensors").write_bytes(content)
    Path(folder, "link.safetensors").symlink_to(outside)
    os.mkfifo(f"{folder}/fifo.safetensors")
    for path, named in (
        ("", "needs a candidate"),
        (str(outside), "inside the folders"),
        (f"{folder}/../{tmp_path.name}/outside.safetensors", "inside the folders"),
        (f"{folder}/link.safetensors", "inside the folders"),
        (f"{folder}/missing.safetensors", "no such model file"),
        (f"{folder}/fifo.safetensors", "no such model file"),
        (folder, "model file"),
        ("a\0b", "not a path"),
        (f"{folder}/pickle.safetensors", "not a usable model file"),
        (f"{folder}/empty.safetensors", "not a usable model file"),
        (two.core._parameters.model, "is the live model already"),
    ):
        with pytest.raises(NeuroRosError, match=named) as caught:
            two.switch(Command.SHADOW, path=path)
        assert "\n" not in str(caught.value)
    assert two.rollout.phase is Phase.BASELINE
    assert two.counts(TWO) == {"gesture": [1]}


def test_a_back_end_that_cannot_be_built_leaves_the_live_model_alone(two, monkeypatch):
    def refuse(model, backend, **options):
        raise EngineError(f"no room for {model.name} on {backend}")

    monkeypatch.setattr(stream_network, "create_engine", refuse)
    with pytest.raises(EngineError, match="no room for quick"):
        two.switch(Command.SHADOW)
    assert two.rollout.history[-1].reason == "SHADOW failed: no room for quick on fixed"
    assert two.counts(TWO) == {"gesture": [1]}


def test_a_second_switch_is_refused_while_one_is_under_way(two):
    two.core.arms.begin(Command.SHADOW, two.file)
    for command in Command:
        with pytest.raises(RolloutError, match="is under way"):
            two.core.arms.begin(command, two.file)
    candidate, path = two.core.build_candidate(two.file)
    two.core.arms.commit(NOW, candidate, path)
    assert two.rollout.phase is Phase.SHADOW


def test_a_rule_hits_the_model_that_it_was_about_or_none(two):
    two.switch(Command.SHADOW)
    with pytest.raises(RolloutError, match="gone-1 is not on trial, but quick-"):
        two.core.arms.begin(Command.ROLLBACK, on_trial="gone-1", rule="too bad")
    two.switch(Command.ROLLBACK, on_trial=two.rollout.candidate_id, rule="too bad")
    assert (two.rollout.history[-1].cause, two.rollout.reason) == ("rule", "too bad")


class Breaking:
    """An engine that breaks in a planned window."""

    def __init__(self, engine, error):
        self._engine, self.error, self.armed = engine, error, False

    def run_window(self, *arguments, **options):
        if self.armed:
            raise self.error
        return self._engine.run_window(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self._engine, name)


@pytest.mark.parametrize("error", [EngineError("the worker died"), ZeroDivisionError("division by zero")], ids=repr)
@pytest.mark.parametrize(
    ("commands", "answers", "phase"),
    [
        ((), "counting", Phase.ROLLED_BACK),
        ((Command.CANARY,), "counting", Phase.ROLLED_BACK),
        ((Command.PROMOTE,), "counting", Phase.ROLLED_BACK),
    ],
    ids=["shadow", "canary", "promoted"],
)
def test_a_candidate_that_breaks_in_a_window_is_dropped_and_the_window_is_answered(
    two, commands, answers, phase, error, caplog
):
    two.switch(Command.SHADOW)
    network = two.core.arms.other.network
    network._engine = breaking = Breaking(network.engine, error)
    for command in commands:
        two.switch(command, **({"share": 1.0} if command is Command.CANARY else {}))
    two.show(ONE)
    breaking.armed = True
    heard = two.show(ONE)
    (gesture,) = heard["gesture"]
    assert (gesture.model_id.partition("-")[0], gesture.spike_counts[0]) == (answers, 1)
    assert (two.rollout.phase, two.core.arms.other) == (phase, None)
    (status,) = heard["rollout"]
    assert (status.cause, status.phase) == ("failed", int(phase))
    assert f"failed in window 1: {error}" in status.reason
    assert str(error) in caplog.text
    assert two.driver.health("rollout").level == HealthLevel.WARN
    assert two.counts(TWO) == {"gesture": [1]}
    counters = two.core.counters
    assert counters.received == counters.processed + counters.skipped == 3


def test_a_candidate_that_is_too_slow_is_dropped_before_windows_are_lost(drive, other_file):
    """Time runs only while a network runs: 25 ms of a window of 40 ms each."""
    passed_ns = iter(range(0, 10**15, 25_000_000 // 2))
    clocks = Clocks(lambda: 0, lambda: 1 + next(passed_ns))
    driver = drive(clocks, model_folders=[other_file.rpartition("/")[0]], queue_depth=4)
    two = Two(driver, other_file)
    two.switch(Command.SHADOW)
    for _ in range(50):
        two.show()
    assert two.rollout.phase is Phase.ROLLED_BACK
    assert "pile up" in two.rollout.reason
    assert two.core.counters.processed == 50


def test_one_stall_of_the_computer_drops_nobody(drive, other_file):
    times_ns = iter(range(0, 10**15, 1000))
    stalls = {"left": 0}

    def stopwatch_ns():
        if stalls["left"]:
            stalls["left"] -= 1
            for _ in range(2_000_000):
                next(times_ns)  # two seconds
        return 1 + next(times_ns)

    two = Two(drive(Clocks(lambda: 0, stopwatch_ns), model_folders=[other_file.rpartition("/")[0]]), other_file)
    two.switch(Command.SHADOW)
    for number in range(40):
        stalls["left"] = number == 10
        two.show()
    assert two.rollout.phase is Phase.SHADOW


# --- heat -------------------------------------------------------------------------------------------------------------
def test_heat_ends_the_shadow_and_cooling_brings_it_back(two):
    two.switch(Command.SHADOW)
    two.show()
    (status,) = two.throttle(1)["rollout"]
    assert status.suspended
    assert set(two.show()) == {"gesture"}
    assert two.driver.health("rollout").level == HealthLevel.WARN
    assert "throttle level 1" in two.driver.health("rollout").message
    assert [m.arm for m in two.say(two.core.tick("telemetry", NOW))["snn/telemetry"]] == ["live"]
    assert "rollout" not in two.throttle(1)
    (status,) = two.throttle(0)["rollout"]
    assert not status.suspended
    assert set(two.show()) == {"gesture", "gesture/shadow"}
    assert two.core.arms.other.counters.lost == 0, "nobody asked for what passed meanwhile"
    assert two.core.arms.other.counters.missed_inactive == 1


def test_heat_returns_a_canary_to_the_live_model(two):
    two.switch(Command.SHADOW)
    two.switch(Command.CANARY, share=1.0)
    assert two.show()["gesture"][0].model_id.startswith("quick")
    two.throttle(2)
    heard = two.show()
    assert heard["gesture"][0].model_id.startswith("counting")
    assert "gesture/shadow" not in heard
    two.throttle(0)
    assert two.show()["gesture"][0].model_id.startswith("quick")


def test_each_model_gets_its_own_registers_and_keeps_them_through_a_promotion(two):
    two.switch(Command.SHADOW)
    live, other = two.core.arms.live, two.core.arms.other
    for arm, dv in ((other, 100), (live, 200)):
        message = ThermalCompensation(
            silicon_profile="linear", model_id=arm.model.model_id, compensation_id=dv, layer=["out"], du=[4095], dv=[dv]
        )
        two.say(two.core.receive("thermal/compensation", message, NOW))
    telemetry = two.say(two.core.tick("telemetry", NOW))["snn/telemetry"]
    assert [m.compensation_id_applied for m in telemetry] == [200, 100]
    two.switch(Command.PROMOTE)
    telemetry = two.say(two.core.tick("telemetry", NOW))["snn/telemetry"]
    assert [(m.arm, m.compensation_id_applied) for m in telemetry] == [("live", 100), ("shadow", 200)]
    assert two.driver.health("compensation").level == HealthLevel.OK
    foreign = ThermalCompensation(
        silicon_profile="linear", model_id="gone-1", compensation_id=300, layer=["out"], du=[4095], dv=[300]
    )
    two.say(two.core.receive("thermal/compensation", foreign, NOW))
    assert two.driver.health("compensation").level == HealthLevel.ERROR
    telemetry = two.say(two.core.tick("telemetry", NOW))["snn/telemetry"]
    assert [m.compensation_id_applied for m in telemetry] == [100, 200]


# --- restart ----------------------------------------------------------------------------------------------------------
def restarted(two, drive, **parameters):
    record = json.loads(json.dumps(two.core.arms.record()))
    again = Two(drive(model_folders=two.core._parameters.model_folders, **parameters), two.file)
    again.core.resume(record, NOW + S)
    return again


@pytest.mark.parametrize(
    ("commands", "live", "other"),
    [
        ((), "counting", "quick"),
        ((Command.CANARY,), "counting", "quick"),
        ((Command.PROMOTE,), "quick", "counting"),
        ((Command.ROLLBACK,), "counting", ""),
    ],
)
def test_phase_share_and_live_model_survive_a_restart(two, drive, commands, live, other):
    two.switch(Command.SHADOW)
    for command in commands:
        two.switch(command, **({"share": 0.25} if command is Command.CANARY else {}))
    again = restarted(two, drive)
    assert again.core.model.name == live
    assert (again.core.arms.other.model.name if again.core.arms.other else "") == other
    assert (again.rollout.phase, again.rollout.share) == (two.rollout.phase, two.rollout.share)
    assert [t.reason for t in again.rollout.history] == [t.reason for t in two.rollout.history]
    (status,) = again.core.activate(NOW)
    assert (status.topic, status.message.phase) == ("rollout", int(two.rollout.phase))
    assert again.show()["gesture"][0].model_id.startswith(live if not two.rollout.share else "")


@pytest.mark.parametrize("commands", [(), (Command.PROMOTE,)], ids=["shadow", "promoted"])
def test_a_candidate_that_is_gone_or_another_one_after_the_restart_is_not_taken_up(two, drive, commands):
    two.switch(Command.SHADOW)
    for command in commands:
        two.switch(command)
    save_model(counting_model("changed", vth=55), two.file)
    again = restarted(two, drive)
    assert (again.core.model.name, again.rollout.phase) == ("counting", Phase.ROLLED_BACK)
    assert "now holds changed-" in again.rollout.reason
    assert again.counts(TWO)["gesture"] == [1]


def test_another_configured_model_ends_the_roll_out(two, drive, model_file, tmp_path):
    two.switch(Command.SHADOW)
    two.switch(Command.PROMOTE)
    record = two.core.arms.record()
    driver = drive(model_folders=two.core._parameters.model_folders)
    third = tmp_path / "third.safetensors"
    save_model(counting_model("third", vth=70), third)
    again = Two(type(driver)(str(third)), two.file)
    again.core.resume(record, NOW)
    assert (again.core.model.name, again.rollout.phase) == ("third", Phase.BASELINE)
    assert "the parameter model now names third-" in again.rollout.reason
    again.core.close()


@pytest.mark.parametrize("record", [{}, {"format": "x"}, {"format": "neuro_ros.arms", "version": 1}, {"version": 9}])
def test_a_record_that_is_none_is_refused(drive, record):
    driver = drive()
    with pytest.raises(RolloutError):
        driver.core.resume(record, NOW)
    assert driver.give(window(0, TWO)).class_index == 0


def test_a_window_that_does_not_fit_breaks_both(two):
    two.switch(Command.SHADOW)
    two.show(ONE)
    assert two.say(two.core.receive("spikes", dataclasses.replace(window(1), height=9), NOW)) == {}
    two.sequence = 2
    assert two.counts(ONE) == {"gesture": [0], "gesture/shadow": [1]}, "both begin anew"
    assert two.core.arms.other.counters.gaps == two.core.counters.gaps == 1
