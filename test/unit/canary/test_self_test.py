# SPDX-License-Identifier: Apache-2.0
"""The self-test: the same weights answer the same, on a state of their own; other weights are named by their layer."""

import dataclasses

import numpy as np
import pytest
from canary_reports import build_baseline, report
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro_ros.canary import AlarmBoard, BaselineError, Observation, SelfTestAnswer, build_probe
from neuro_ros.cli.benchmarks import _canary_trial as trial
from neuro_ros.cores.canary_self_test import SelfTest
from neuro_ros.cores.files import model_path
from neuro_ros.snn import LendsWeights, create_engine, load_model
from neuro_ros.thermal import Die, DriftingEngine, create_silicon

S = 1_000_000_000
NOW = 1_700_000_000 * S


@pytest.fixture(scope="module")
def model():
    return load_model(model_path("gesture"))


def run(test, engine, now_ns=NOW, period_s=60.0):
    test.begin(engine, now_ns, period_s)
    steps = 0
    while test.under_way:
        test.step()
        steps += 1
    return steps


def answer(model, engine=None):
    engine = engine or create_engine(model, "fixed")
    test = SelfTest(model, engine)
    run(test, engine)
    return test.answer


# -- the stimulus ------------------------------------------------------------------------------------------------------


def test_the_stimulus_is_the_same_for_ever():
    # Changing it makes every baseline out of date: then change this number, too.
    probe = build_probe((2, 32, 32), 10)
    assert probe.identity == 784_900_953
    assert build_probe((2, 32, 32), 10) is probe
    assert build_probe((2, 32, 32), 5).identity != probe.identity


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_the_stimulus_fits_any_input(channels, height, width, bins):
    build_probe.cache_clear()
    probe = build_probe((channels, height, width), bins)
    cells = bins * channels * height * width
    for window in probe.windows:
        assert (np.diff(window.astype(np.int64)) > 0).all()
        assert window.size == 0 or window[-1] < cells
    assert sum(window.size for window in probe.windows)


# -- the answer --------------------------------------------------------------------------------------------------------


def test_the_same_weights_answer_the_same_whatever_the_live_state_does(model):
    engine = create_engine(model, "fixed")
    test = SelfTest(model, engine)
    rng = np.random.default_rng(1)
    windows = [np.flatnonzero(rng.random(model.bins * model.cells) < 0.05).astype(np.uint32) for _ in range(4)]
    steps = run(test, engine)
    first = test.answer
    assert min(first.spikes) > 0, "every layer speaks"
    alone = create_engine(model, "fixed")
    engine.set_registers(model.network.layers[0].name, du=4000)  # as compensation does
    alone.set_registers(model.network.layers[0].name, du=4000)
    test.begin(engine, NOW + 60 * S, 60.0)
    for window in windows:  # window by window between those of a stream
        ours, theirs = (one.run_window(window, model.bins) for one in (engine, alone))
        assert (ours.layer_spikes == theirs.layer_spikes).all()
        test.step()
    while test.under_way:
        test.step()
    assert (test.answer, test.done, test.answered_ns) == (first, 2, NOW + 60 * S)
    for ours, theirs in zip(engine.neuron_spikes(), alone.neuron_spikes(), strict=True):
        assert (ours == theirs).all()
    assert steps == len(build_probe(model.network.input_shape, model.bins).windows)


def test_constant_time_and_a_drifting_chip_answer_the_same(model):
    usual = answer(model)
    assert answer(model, create_engine(model, "fixed", constant_time=True)) == usual
    drifting = DriftingEngine(create_engine(model, "fixed"), Die(create_silicon("linear"), 80.0))
    drifting.run_window(np.zeros(0, np.uint32), model.bins)
    assert answer(model, drifting) == usual


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
def test_weights_of_any_layer_that_are_scaled_are_found_and_named(model, factor):
    usual = answer(model)
    for index, layer in enumerate(model.network.layers):
        found = answer(trial.change_weights(model, layer.name, lambda weight: factor * weight))
        assert found.first_difference(usual) == index
        assert found.spikes[index] != usual.spikes[index], "the count alone would tell"


def test_dead_channels_of_any_layer_are_found_and_named(model):
    usual = answer(model)
    for index, layer in enumerate(model.network.layers):
        dead = max(1, model.network.shapes[index][0] // 4)

        def change(weight, dead=dead):
            return np.where(trial.channels(weight) < dead, 0.0, weight)

        assert answer(trial.change_weights(model, layer.name, change)).first_difference(usual) == index


def test_one_weight_off_by_the_least_step_is_found_in_the_first_layers(model):
    usual = answer(model)
    rng = np.random.default_rng(5)
    for index in (0, 1, 2):
        name = model.network.layers[index].name

        def change(weight):
            changed = weight.copy()
            at = rng.integers(weight.size)
            changed.flat[at] += 2.0 if changed.flat[at] < 254 else -2.0
            return changed

        assert answer(trial.change_weights(model, name, change)).first_difference(usual) == index


def test_bits_that_flip_in_memory_are_found_by_the_next_test(model):
    engine = create_engine(model, "fixed")
    test = SelfTest(model, engine)
    run(test, engine)
    before = test.answer
    engine.program.tables.weights[::100] ^= 8
    assert run(test, engine, NOW + 59 * S) == 0, "it is not due yet"
    run(test, engine, NOW + 60 * S)
    assert test.answer.first_difference(before) == 0


def test_when_a_test_is_due(model):
    engine = create_engine(model, "fixed")
    test = SelfTest(model, engine)
    assert run(test, engine, period_s=0.0) == 0
    assert (test.answer, test.reason) == (None, "switched off")
    assert run(test, None) == 0
    assert run(test, engine) > 0
    assert run(test, engine, NOW + 1) == 0
    assert run(test, engine, NOW - S) > 0, "the clock stepped back"
    other = create_engine(model, "fixed")  # the back end was started again
    assert run(test, other, NOW + 100 * S) > 0
    test.restart()
    assert (test.answer, test.done) == (None, 0)


def test_a_back_end_without_a_second_state_has_no_test_and_says_so(model):
    class Elsewhere:
        backend = "lava"

        def __init__(self, model):
            self.model = model

    engine = Elsewhere(model)
    assert not isinstance(engine, LendsWeights)
    test = SelfTest(model, engine)
    assert run(test, engine) == 0
    assert (test.answer, test.reason) == (None, "back end lava has no second state beside the live one")
    engine.lend_weights = lambda: None  # as an emulated chip around such a back end
    assert run(SelfTest(model, engine), engine) == 0


# -- the alarm ---------------------------------------------------------------------------------------------------------

USUAL = SelfTestAnswer(7, (100, 10), (1, 2))


def judged(answers, baseline=None, board=None, **values):
    """Return what is raised after each of some answers, ten seconds apart."""
    baseline = baseline or dataclasses.replace(build_baseline(scenes=10), self_test=USUAL)
    board = board or AlarmBoard()
    texts = []
    for second, found in enumerate(answers):
        shown = report(10 * second, self_test=found, self_test_ns=0 if found is None else 10 * second * S + 1)
        values.setdefault("model_id", baseline.model_id)
        for _ in range(3):  # telemetry repeats the last answer
            board.observe(Observation(reports=(shown,), baseline=baseline, **values))
        texts.append(board.raised.get("self_test", ""))
    return texts, board.judged["self_test"]


def test_one_wrong_answer_is_enough_and_one_right_one_clears():
    wrong = SelfTestAnswer(7, (100, 15), (1, 3))
    texts, count = judged([None, USUAL, wrong, USUAL])
    assert count == 3
    assert [bool(text) for text in texts] == [False, False, True, False]
    assert texts[2] == (
        "layer out answers the self-test with 15 spikes instead of 10, 50% more: it is not the layer that was measured"
    )
    ((text,), _) = judged([SelfTestAnswer(7, (100, 10), (9, 9))])
    assert text.startswith("layer conv answers the self-test with 100 spikes as usual, but not with the same ones")


def test_no_evidence_without_something_to_compare_with():
    wrong = SelfTestAnswer(7, (1, 1), (1, 1))
    old = build_baseline(scenes=10)
    assert old.self_test is None
    assert judged([wrong], old) == ([""], 0)
    assert judged([SelfTestAnswer(8, (1, 1), (1, 1))]) == ([""], 0)  # another stimulus


def test_a_model_without_a_baseline_of_its_own_is_another_one_unless_it_is_on_trial():
    wrong = SelfTestAnswer(7, (90, 10), (1, 2))
    ((text,), _) = judged([wrong], model_id="m-ffffffffffff")
    assert text == (
        "layer conv answers the self-test with 90 spikes instead of 100, 10% less: it is not the one of "
        "m-0123456789ab, which stands in for m-ffffffffffff"
    )
    assert judged([wrong], model_id="m-ffffffffffff", on_trial=True) == ([""], 0)
    ((text,), _) = judged([wrong], on_trial=True)  # its own baseline
    assert text
    ((text,), _) = judged([SelfTestAnswer(7, (1, 1, 1), (1, 1, 1))])
    assert text == "the layers are conv, out, not those of the baseline"


@pytest.mark.parametrize(
    "values", [(0, (), ()), (0, (1,), ()), (1 << 32, (1,), (1,)), (0, (-1,), (1,)), (0, (1,), (-1,))]
)
def test_an_answer_that_cannot_be_is_refused(values):
    with pytest.raises(BaselineError):
        SelfTestAnswer(*values)
