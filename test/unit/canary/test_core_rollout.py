# SPDX-License-Identifier: Apache-2.0
"""The canary's part in a roll-out: pairs of answers in any order, the evidence, and what the rules make of it."""

import dataclasses
import itertools
import math
import random

import numpy as np
import pytest
from canary_reports import build_baseline

from neuro_ros.canary import Command, SelfTestAnswer
from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import (
    CanaryReport,
    Gesture,
    Header,
    RolloutStatus,
    SnnTelemetry,
    SpikeTensor,
    ThermalCompensation,
)
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.events.tensor import encode_tensor

S = 1_000_000_000
NOW = 1_700_000_000 * S
BINS, SIDE = 10, 32
LIVE, TRIAL = "m-0123456789ab", "m-ba9876543210"
SHADOW, CANARY, PROMOTED, ROLLED_BACK = 1, 2, 3, 4


def status(phase, since_s=0, **changes):
    promoted = phase == PROMOTED
    values = {
        "phase": phase,
        "since": NOW + since_s * S,
        "live_id": TRIAL if promoted else LIVE,
        "candidate_id": TRIAL if phase in (SHADOW, CANARY) else "",
        "previous_id": LIVE if promoted else "",
        "share": 0.5 if phase == CANARY else 0.0,
        "reason": "it was asked for",
    }
    return RolloutStatus(**{**values, **changes})


def answer(sequence, model_id, confidence=0.9, class_index=2):
    return Gesture(Header(NOW, "cam"), sequence, 1, model_id, "", class_index, confidence, [1, 0, 8, 1], 0.004, 0.002)


def truth(sequence, label=2):
    return Gesture(Header(NOW, "cam"), sequence, 1, "", "", label)


def core_with(*baselines, **values):
    values = {"rollout.min_windows": 40, "rollout.block_windows": 10, **values}
    core = CanaryCore(build(CanaryParameters, values), baselines=baselines)
    core.activate(NOW)
    return core


def show(core, count, start=0, trial=0.9, live=0.9, labels=False, trial_class=2):
    """Both answers to so many windows, each on the topic that a share of one half gives it."""
    for sequence in range(start, start + count):
        topics = ("gesture", "gesture/shadow")
        if sequence % 2:
            topics = topics[::-1]
        if labels:
            core.receive("truth", truth(sequence), NOW)
        core.receive(topics[0], answer(sequence, LIVE, live), NOW)
        core.receive(topics[1], answer(sequence, TRIAL, trial, trial_class), NOW)


def report(core, now_ns=NOW):
    (output,) = core.tick("report", now_ns)
    return output.message


@pytest.mark.parametrize("phase", [SHADOW, CANARY, PROMOTED])
def test_a_worse_model_on_trial_is_to_be_rolled_back_in_every_phase(phase):
    core = core_with()
    core.receive("rollout", status(phase), NOW)
    show(core, 39 + 10, trial=0.7)
    assert report(core).phase == phase
    assert core.request is None, "the last answers wait for a label, and 39 windows are not enough"
    show(core, 2, 49, trial=0.7)
    found = report(core)
    request = core.request
    assert (request.command, request.on_trial) == (Command.ROLLBACK, TRIAL)
    assert f"proxy accuracy of {TRIAL} is lower by 20.0% over 41 windows" in request.reason
    assert found.candidate_id == ("" if phase == PROMOTED else TRIAL)
    assert found.reason.startswith(f"{('', 'SHADOW', 'CANARY', 'PROMOTED')[phase]}: it was asked for")
    (health,) = [item for item in core.diagnose(NOW) if item.name == "rollout"]
    assert (health.level, health.values["on_trial"]) == (HealthLevel.WARN, TRIAL)


def test_an_equal_model_is_left_alone_and_goes_on_by_rule_only_when_asked_to():
    core = core_with()
    core.receive("rollout", status(SHADOW), NOW)
    show(core, 500)
    report(core)
    assert core.request is None
    core.reconfigure(
        replace(core._parameters, {"rollout.canary_after": 100, "rollout.share": 0.25, "rollout.canary_s": 30.0})
    )
    report(core)
    assert (core.request.command, core.request.share, core.request.canary_s) == (Command.CANARY, 0.25, 30.0)
    core.receive("rollout", status(CANARY, 10), NOW)
    core.reconfigure(replace(core._parameters, {"rollout.promote_after": 100}))
    show(core, 90, 500)
    report(core)
    assert core.request is None, "another phase begins anew"
    show(core, 100, 590)
    report(core)
    assert core.request.command is Command.PROMOTE


def test_labels_count_more_than_confidence():
    core = core_with()
    core.receive("rollout", status(SHADOW), NOW)
    show(core, 100, labels=True, trial=0.95, trial_class=3)
    report(core)
    assert f"accuracy of {TRIAL} is lower by 100.0%" in core.request.reason
    assert "proxy" not in core.request.reason


@pytest.mark.parametrize("seed", range(3))
def test_answers_and_labels_in_any_order_give_the_same(seed):
    def run(shuffled):
        core = core_with()
        core.receive("rollout", status(SHADOW), NOW)
        rng = random.Random(seed)
        right = [rng.random() < 0.7 for _ in range(200)]
        for start in range(0, 200, 5):
            messages = []
            for sequence in range(start, start + 5):
                messages += [
                    ("gesture", answer(sequence, LIVE)),
                    ("gesture/shadow", answer(sequence, TRIAL, 0.8, 2 if right[sequence] else 1)),
                    ("truth", truth(sequence)),
                ]
            if shuffled:
                rng.shuffle(messages)
            for topic, message in messages:
                core.receive(topic, message, NOW)
        return core._watch.comparison

    straight, mixed = run(False), run(True)
    assert mixed.drop() == pytest.approx(straight.drop(), abs=0.02)
    assert mixed.drop()[2]
    assert straight.windows - mixed.windows <= 5


def test_missing_answers_and_strangers_are_forgotten_in_bounded_memory():
    core = core_with()
    core.receive("rollout", status(SHADOW), NOW)
    for sequence in range(1000):
        core.receive("gesture", answer(sequence, LIVE), NOW)
        core.receive("gesture/shadow", answer(sequence, "other-1"), NOW)
        core.receive("truth", truth(10_000 + sequence), NOW)
    assert core._watch.comparison.windows == 0
    assert len(core._watch._pairs) <= 200


def test_nothing_is_asked_for_without_a_model_on_trial_or_while_a_switch_is_under_way():
    core = core_with()
    show(core, 100, trial=0.1)
    report(core)
    assert core.request is None
    core.receive("rollout", status(SHADOW), NOW)
    show(core, 100, 100, trial=0.1)
    report(core)
    assert core.request is not None
    core.receive("rollout", status(SHADOW, switching="PROMOTE"), NOW)
    report(core)
    assert core.request is None
    core.receive("rollout", status(ROLLED_BACK, 5), NOW)
    assert report(core).phase == CanaryReport.ROLLED_BACK
    assert core.request is None
    manual = core_with(**{"rollout.automatic": False})
    manual.receive("rollout", status(SHADOW), NOW)
    show(manual, 100, trial=0.1)
    report(manual)
    assert manual.request is None


def moving_window(sequence):
    cells = np.zeros((BINS, 2, SIDE, SIDE), np.uint8)
    cells[:6, 1, 4:20, 5:9] = 1
    cells[6:, 0, 4:20, 5:9] = 1
    encoding, data = encode_tensor(np.packbits(cells.ravel()), cells.size)
    return SpikeTensor(
        Header(NOW, "cam"), sequence, 1, bins=BINS, channels=2, height=SIDE, width=SIDE, encoding=encoding,
        active=int(cells.sum()), events_in=1000, data=data, clock_state=SpikeTensor.CLOCK_LOCKED,
    )  # fmt: skip


def telemetry(second, **changes):
    values = {
        "header": Header(NOW + second * S),
        "model_id": LIVE,
        "arm": "live",
        "layer": ["conv", "out"],
        "firing_rate": [0.1, 0.06],
        "dead_neurons": [300, 5],
        "saturated_neurons": [0, 0],
        "input_rate": 0.05,
    }
    return SnnTelemetry(**{**values, **changes})


def both(core, second, trial_rate):
    for index in range(20):
        sequence, now = second * 20 + index, NOW + second * S + index * S // 20
        core.receive("spikes", moving_window(sequence), now)
        core.receive("gesture", answer(sequence, LIVE), now)
        core.receive("gesture/shadow", answer(sequence, TRIAL), now)
    end = NOW + (second + 1) * S
    core.receive("snn/telemetry", telemetry(second + 1), end)
    rates = [0.1 * trial_rate, 0.06]
    core.receive("snn/telemetry", telemetry(second + 1, arm="shadow", model_id=TRIAL, firing_rate=rates), end)
    return report(core, end)


def test_spike_rates_of_the_candidate_are_judged_apart_from_those_of_the_live_model():
    core = core_with(build_baseline("m-0123456789ab"), **{"rollout.accuracy_drop": 1.0})
    core.receive("rollout", status(SHADOW), NOW)
    for second in range(60):
        found = both(core, second, 0.5)
        if core.request is not None:
            break
    assert core.request.command is Command.ROLLBACK
    assert core.request.reason.startswith(f"spike rates of {TRIAL}: ")
    assert 10 < second < 40
    assert list(found.alarms) == ["candidate_spike_rate"]
    assert core.alarms == {}, "the live model is well"
    # Whoever promotes it all the same: what is known of it goes with it.
    core.receive("rollout", status(PROMOTED, 60), NOW)
    found = report(core, NOW + 61 * S)
    assert list(found.alarms) == ["spike_rate"]
    assert core.request.command is Command.ROLLBACK
    off = replace(core._parameters, {"rollout.on_spike_rate": False})
    core.reconfigure(off)
    report(core, NOW + 62 * S)
    assert core.request is None


def test_a_candidate_answers_for_itself_in_its_self_test():
    live, own = (
        dataclasses.replace(build_baseline(name), self_test=SelfTestAnswer(7, (100, 10), (1, checksum)))
        for name, checksum in ((LIVE, 2), (TRIAL, 3))
    )

    def answered(model_id, arm, checksum):
        values = {"self_test_probe": 7, "self_test_spikes": [100, 10], "self_test_checksum": [1, checksum]}
        return telemetry(1, model_id=model_id, arm=arm, self_test_stamp=NOW, **values)

    def found(checksum, *baselines):
        core = core_with(*baselines)
        core.receive("rollout", status(SHADOW), NOW)
        core.receive("snn/telemetry", answered(LIVE, "live", 2), NOW)
        core.receive("snn/telemetry", answered(TRIAL, "shadow", checksum), NOW)
        return list(report(core).alarms), core.request

    assert found(3, live, own) == ([], None)
    alarms, request = found(2, live, own)  # the live one's answer is none of its own
    assert (alarms, request.command) == (["candidate_self_test"], Command.ROLLBACK)
    assert request.reason.startswith(f"spike rates of {TRIAL}: layer out answers the self-test with")
    assert found(4, live) == ([], None), "another version was said to be one, and has no baseline of its own"


def test_heat_is_no_reason_unless_asked_for():
    hot = ThermalCompensation(temperature_celsius=95.0, state=ThermalCompensation.NOMINAL, throttle_level=1)
    for on, expected in itertools.product((False, True), (False, True)):
        core = core_with(**{"rollout.on_thermal": on, "alarm.thermal.enabled": expected})
        core.receive("rollout", status(SHADOW), NOW)
        for second in range(10):
            core.receive("thermal/compensation", hot, NOW + second * S)
            report(core, NOW + second * S)
        assert (core.request is not None) == (on and expected)


def test_rules_are_parameters_with_ranges():
    for values in ({"rollout.share": 0.0}, {"rollout.accuracy_drop": math.nan}, {"rollout.network": ""}):
        with pytest.raises(ParameterError):
            build(CanaryParameters, values)


def test_without_a_roll_out_reports_are_as_ever():
    core = core_with()
    for second in range(3):
        core.receive("gesture", answer(second, LIVE), NOW + second * S)
        core.receive("snn/telemetry", telemetry(second), NOW + second * S)
        found = report(core, NOW + second * S)
    assert (found.phase, found.candidate_id, found.reason) == (CanaryReport.BASELINE, "", "")
