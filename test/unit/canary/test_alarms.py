# SPDX-License-Identifier: Apache-2.0
"""Each alarm: what raises it, what does not, and that a still scene says nothing at all."""

import dataclasses
import math
from typing import ClassVar

import pytest
from canary_reports import healthy, report, run, seconds
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.canary import (
    ALARMS,
    AlarmBoard,
    AlarmLimits,
    CanaryError,
    LayerReport,
    Limits,
    Observation,
    SelfTestAnswer,
    Spread,
    Verdict,
    alarm_names,
    suggest_remap,
)
from neuro_ros.cores.parameters import build, parameter_infos
from neuro_ros.cores.parameters.canary import CanaryParameters


def limits(**changes):
    """``limits(latency__p99_s=0.1)``: all limits with some of them changed."""
    values = {f"alarm.{name.replace('__', '.')}": value for name, value in changes.items()}
    return build(CanaryParameters, values).alarm


# -- the board ---------------------------------------------------------------------------------------------------------


def test_the_table_has_every_alarm_once_and_each_explains_itself():
    assert len(set(alarm_names())) == len(ALARMS) >= 14
    for alarm in ALARMS:
        assert alarm.advice
        assert "\n" not in alarm.advice
        assert issubclass(alarm.Limits, Limits)


def test_every_limit_is_a_parameter_with_its_range():
    infos = parameter_infos(CanaryParameters)
    for alarm in ALARMS:
        for item in dataclasses.fields(alarm.Limits):
            info = infos[f"alarm.{alarm.name}.{item.name}"]
            assert info.description
            assert info.dynamic
            assert info.default == item.default


@pytest.mark.parametrize("moving", [0.0, math.nan])
def test_a_still_scene_raises_nothing_for_an_hour(baseline, moving, counts):
    n = counts("seconds of a still scene", reduced=600, full=3600)
    # With noise of the sensor, which the camera shows as still; and without a single event.
    input_rate = 0.03 if moving == 0.0 else 0.0
    still = seconds(n, baseline, input_rate=input_rate, rates=(0.01, 0.0), dead=(900, 11), moving_share=moving)
    assert set(run(AlarmBoard(), still + [Observation(baseline=baseline)] * n)) == {()}


def test_a_working_network_raises_nothing(baseline, counts):
    n = counts("seconds of a working network", reduced=300, full=3600)
    working = healthy(n, baseline, latency_p99_s=0.008, latency_samples=200, step_time_p99_s=1e-4, step_samples=200)
    board = AlarmBoard()
    assert set(run(board, working)) == {()}
    assert all(board.judged[name] > n / 2 for name in ("latency", "step_time", "spike_rate", "dead_neurons", "margin"))


def test_hysteresis_two_bad_ones_raise_and_five_good_ones_clear():
    slow, edge, good = (Observation(p99_s, 100) for p99_s in (0.06, 0.045, 0.01))
    few = Observation(9.0, 19)
    history = run(AlarmBoard(), [few] * 5 + [slow, good, slow, slow, edge, good, good, good, good, edge, good, good])
    assert [bool(names) for names in history] == [False] * 8 + [True] * 7 + [False] * 2
    assert history[8] == ("latency",)


def test_hysteresis_is_a_parameter_of_each_alarm():
    slow = Observation(0.06, 100, 0.02, 100)
    board = AlarmBoard(limits(latency__raise_after=5, step_time__raise_after=1))
    history = run(board, [slow] * 5)
    assert history == [("step_time",)] * 4 + [("latency", "step_time")]
    board.limits = limits(latency__enabled=False, step_time__clear_after=1)
    assert run(board, [Observation(0.06, 100, 1e-3, 100)]) == [()]


def test_a_new_alarm_is_one_entry_of_the_table():
    class Always:
        name: ClassVar[str] = "always"
        Limits: ClassVar[type] = Limits
        advice: ClassVar[str] = "nothing"

        def judge(self, observation, limits):
            return Verdict(True, "always")

    board = AlarmBoard(alarms=(*ALARMS, Always))
    run(board, [Observation()] * 2)
    assert board.raised == {"always": "always"}
    assert board.advice == {"always": "nothing"}
    with pytest.raises(CanaryError, match="different names"):
        AlarmBoard(alarms=(Always, Always))


@pytest.mark.parametrize(
    ("alarm", "changes"),
    [
        ("latency", {"p99_s": math.nan}),
        ("dead_neurons", {"input_s": math.inf}),
        ("windows_lost", {"windows": -1}),
        ("spike_rate", {"change": 1.0}),
        ("latency", {"raise_after": 0}),
    ],
)
def test_limits_that_make_no_sense_are_refused(alarm, changes):
    cls = next(entry.Limits for entry in ALARMS if entry.name == alarm)
    with pytest.raises(CanaryError, match=next(iter(changes))):
        cls(**changes)


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(
        st.tuples(numbers, st.integers(-(2**40), 2**40), st.integers(0, 2**40), numbers, st.integers(0, 99), numbers),
        max_size=30,
    ),
    st.booleans(),
)
def test_no_figures_break_the_board(baseline, rows, known):
    board = AlarmBoard()
    measured = dataclasses.replace(
        baseline, self_test=SelfTestAnswer(5, (5, 5), (5, 6)), isolated_on=Spread(0.7, 0.1, 0.4, 0.9)
    )
    for value, stamp, lost, rate, count, share in rows:
        layer = LayerReport(
            *(stamp, value, ("conv", "b"), (rate,), (count, count), (count,), lost, share, share, count, count),
            core_utilisation=(value, rate),
            leader=count - 5,
            isolated=count,
            isolated_on=lost,
            self_test=SelfTestAnswer(count, (count,) * (1 + count % 3), (count,) * (1 + count % 3)),
            self_test_ns=stamp,
        )
        observation = Observation(
            *(
                value,
                count,
                rate,
                count,
                (layer,),
                ((count - 5, share),),
                ((count, 1),),
                "HOLDOVER",
                value,
                True,
                "STALE",
            ),
            temperature_celsius=rate,
            throttle_level=count,
            baseline=measured if known else None,
            model_id="n-0" if share > 0.0 else "",
            on_trial=rate > 0.0,
        )
        board.observe(observation)
    assert set(board.raised) <= set(alarm_names())
    assert all("\n" not in text for text in board.raised.values())


# -- losses and times --------------------------------------------------------------------------------------------------


def test_lost_windows_are_raised_once_and_cleared():
    lost = [0] * 5 + [3] * 40
    history = run(AlarmBoard(), [Observation(reports=(report(t, windows_lost=n),)) for t, n in enumerate(lost)])
    assert history[4] == ()
    assert history[6] == ("windows_lost",)  # two bad reports, 1 s after the loss
    assert history[-1] == ()


def test_a_new_activation_is_no_loss():
    lost = [4, 4, 0, 0, 1, 1]
    reports = [Observation(reports=(report(t, windows_lost=n),)) for t, n in enumerate(lost)]
    assert set(run(AlarmBoard(limits(windows_lost__windows=5)), reports)) == {()}


def test_dropped_events_count_by_their_share():
    few = seconds(20, events_in=10_000, events_dropped=90)
    many = seconds(10, start=20, events_in=10_000, events_dropped=5000)
    board = AlarmBoard()
    assert set(run(board, few)) == {()}
    assert run(board, many)[-1] == ("events_dropped",)
    assert "of the camera's events are lost" in board.raised["events_dropped"]


def test_a_slow_step_is_told_with_what_was_usual(baseline):
    board = AlarmBoard()
    run(board, [Observation(step_time_p99_s=0.02, step_samples=50, baseline=baseline)] * 2)
    assert board.raised["step_time"] == (
        "a network step is slow: 99 % within 20 ms, limit 5 ms (0.1 ms when the model was measured)"
    )


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "raised"), [(0.7, True), (0.9, False), (1.1, False), (1.4, True)])
@pytest.mark.parametrize("input_rate", [0.025, 0.07])
def test_a_rate_is_judged_given_the_input_rate(baseline, factor, raised, input_rate):
    rates = (2.0 * input_rate * factor, 0.04)
    history = run(AlarmBoard(), healthy(40, baseline, input_rate=input_rate, rates=rates))
    assert (history[-1] == ("spike_rate",)) is raised
    if raised:
        assert history.index(("spike_rate",)) <= 17  # half of 30 s of input, and three verdicts


def test_the_same_rate_is_right_for_one_input_and_wrong_for_another(baseline):
    assert run(AlarmBoard(), healthy(40, baseline, input_rate=0.05, rates=(0.1, 0.04)))[-1] == ()
    board = AlarmBoard()
    assert run(board, healthy(40, baseline, input_rate=0.03, rates=(0.1, 0.04)))[-1] == ("spike_rate",)
    assert "layer conv fires" in board.raised["spike_rate"]
    assert "more than usual for what the camera shows" in board.raised["spike_rate"]


def test_the_same_rate_is_right_for_one_class_and_wrong_for_another(baseline):
    assert run(AlarmBoard(), healthy(40, baseline, rates=(0.1, 0.08), leader=3, margins=((3, 0.8),)))[-1] == ()
    assert run(AlarmBoard(), healthy(40, baseline, rates=(0.1, 0.08), leader=0, margins=((0, 0.2),)))[-1] == (
        "spike_rate",
    )


def test_rates_are_not_judged_outside_what_was_measured_or_at_the_edge_of_a_still_scene(baseline):
    assert set(run(AlarmBoard(), healthy(60, baseline, input_rate=0.3, rates=(0.1, 0.04)))) == {()}
    assert set(run(AlarmBoard(), healthy(60, baseline, rates=(0.03, 0.04), moving_share=0.6))) == {()}
    assert set(run(AlarmBoard(), healthy(60, None, rates=(0.9, 0.9), margins=()))) == {()}


def test_a_dead_layer_is_found_after_ten_seconds_of_input():
    board = AlarmBoard()
    history = run(board, seconds(20, rates=(0.1, 0.0), dead=(3, 11)))
    assert history.index(("dead_neurons",)) == 11  # 10 s, and the second verdict
    assert "layer out silent over 10 s of input" in board.raised["dead_neurons"]
    assert run(board, seconds(20, start=20))[-1] == ()


def test_time_without_motion_does_not_count_towards_death():
    mixed = []
    for t in range(60):  # one second of motion in ten, under noise all the time
        moving = t % 10 == 0
        mixed += seconds(1, start=t, rates=(0.1, 0.0), moving_share=1.0 if moving else 0.0)
    assert set(run(AlarmBoard(), mixed)) == {()}


def test_how_many_neurons_may_be_silent_is_set_or_measured(baseline):
    own = limits(dead_neurons__neurons=10, dead_neurons__raise_after=1)
    varying = [seconds(1, start=t, dead=(50 if t % 3 else 9, 5))[0] for t in range(30)]
    assert set(run(AlarmBoard(own), varying)) == {()}
    steady = [seconds(1, start=t, dead=(50 if t % 3 else 11, 5))[0] for t in range(30)]
    assert run(AlarmBoard(own), steady)[-1] == ("dead_neurons",)
    assert set(run(AlarmBoard(), healthy(30, baseline, dead=(310, 5)))) == {()}
    board = AlarmBoard()
    assert run(board, healthy(30, baseline, dead=(500, 5)))[-1] == ("dead_neurons",)
    assert "layer conv: 500 neurons silent over 10 s of input, limit 3" in board.raised["dead_neurons"]


def test_saturated_neurons_are_those_beyond_the_baseline(baseline):
    board = AlarmBoard()
    assert run(board, healthy(5, baseline, saturated=(15, 0)))[-1] == ()
    assert run(board, healthy(5, baseline, start=5, saturated=(60, 0)))[-1] == ("saturated_neurons",)
    assert "60 of 1000 neurons fire without pause" in board.raised["saturated_neurons"]


def test_one_more_neuron_of_a_small_layer_is_no_saturation(baseline):
    """Of eleven output neurons one is nine hundredths, and a clear gesture makes its own fire in nearly every step."""
    assert run(AlarmBoard(), healthy(5, baseline, saturated=(0, 1)))[-1] == ()
    board = AlarmBoard()
    assert run(board, healthy(5, baseline, saturated=(0, 2)))[-1] == ("saturated_neurons",)
    assert "layer out: 2 of 11 neurons fire without pause, limit 1" in board.raised["saturated_neurons"]


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_a_margin_is_judged_by_the_class_that_leads(baseline):
    near = healthy(
        60, baseline, rates=(0.1, 0.02), leader=0, margins=((0, 0.2),) * 20
    )  # class 0 has always won by a hair
    assert set(run(AlarmBoard(), near)) == {()}
    board = AlarmBoard()
    worse = healthy(60, baseline, rates=(0.1, 0.08), leader=3, margins=((3, 0.5),) * 20)
    history = run(board, worse)
    assert history[-1] == ("margin",)
    assert history.index(("margin",)) == 16  # 300 windows at 20 Hz, and three verdicts
    assert "the first class leads by 0.50 instead of 0.8" in board.raised["margin"]


@pytest.mark.parametrize(("right", "raised"), [(0.9, False), (0.6, True)])
def test_accuracy_is_judged_by_stretches_of_one_label(baseline, right, raised):
    observations = []
    for t in range(150):
        label = t // 3 % 4  # a gesture of three seconds
        outcomes = tuple((label, label if (t // 3 * 7 + k) % 10 < right * 10 else 9) for k in range(20))
        observations += healthy(1, baseline, start=t, outcomes=outcomes, rates=(0.1, 0.02 * (1 + label)), leader=label)
    board = AlarmBoard(limits(margin__enabled=False))
    history = run(board, observations)
    assert (history[-1] == ("accuracy",)) is raised
    assert set(history[:58]) == {()}  # too few stretches yet
    if raised:
        assert "of the decisions are right instead of" in board.raised["accuracy"]


# -- what the network depends on ---------------------------------------------------------------------------------------


def test_holdover_of_a_still_scene_is_no_reason_but_an_uncertain_clock_under_events_is():
    held = {"clock_state": "HOLDOVER", "clock_sigma_s": 0.02}
    still = seconds(60, input_rate=0.0, rates=(0.0, 0.0), **held)
    assert set(run(AlarmBoard(), still)) == {()}
    board = AlarmBoard()
    assert run(board, seconds(3, **held))[-1] == ("clock",)
    assert "known to 20 ms only (HOLDOVER)" in board.raised["clock"]


def test_a_clock_counts_as_lost_only_after_it_was_there():
    board = AlarmBoard()
    assert set(run(board, seconds(5, clock_state="UNLOCKED"))) == {()}
    assert set(run(board, seconds(5, start=5, clock_state="LOCKED", clock_sigma_s=1e-4))) == {()}
    assert run(board, seconds(3, start=10, clock_state="UNLOCKED"))[-1] == ("clock",)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"thermal_state": "STALE"}, "not known"),
        ({"thermal_state": "FAILSAFE"}, "not known"),
        ({"thermal_state": "NOMINAL", "temperature_celsius": 90.0}, "90.0 degree Celsius"),
        ({"thermal_state": "NOMINAL", "temperature_celsius": 60.0, "throttle_level": 2}, "throttled to level 2"),
        ({"thermal_state": "COMPENSATING", "temperature_celsius": 60.0}, ""),  # every warm-up
        ({"temperature_celsius": 99.0}, ""),  # nobody has said anything
    ],
)
def test_temperature(values, named):
    board = AlarmBoard()
    run(board, [Observation(**values)] * 3)
    assert named in board.raised["thermal"] if named else not board.raised


@pytest.mark.parametrize(("share", "raised"), [(1.0, True), (0.0, True), (0.58, False), (0.5, False)])
def test_polarity(baseline, share, raised):
    board = AlarmBoard()
    assert (run(board, healthy(10, baseline, on_share=share))[-1] == ("polarity",)) is raised


def lit(baseline, mean=0.7, low=0.52, high=0.9):
    return dataclasses.replace(baseline, isolated_on=Spread(mean, 0.1, low, high))


def isolated(count, baseline, share, cells=2000, **values):
    return healthy(count, baseline, isolated=cells, isolated_on=round(share * cells), **values)


@pytest.mark.parametrize(
    ("share", "raised"), [(0.7, False), (0.9, False), (0.52, False), (0.48, False), (0.44, True), (0.1, True)]
)
def test_exchanged_polarities_show_in_the_isolated_cells(baseline, share, raised):
    board = AlarmBoard()
    assert (run(board, isolated(10, lit(baseline), share))[-1] == ("polarity",)) is raised
    assert run(board, isolated(10, lit(baseline), share, start=10, moving_share=0.0))[-1] == (
        ("polarity",) if raised else ()
    ), "a still scene has noise, too"
    if raised:
        expected = f"polarities are exchanged: {share:.0%} of the isolated noise events are ON instead of 70%"
        assert board.raised["polarity"].startswith(expected)


def test_a_sensor_whose_noise_is_off_is_judged_the_other_way_round(baseline):
    off = lit(baseline, 0.3, 0.1, 0.48)
    assert run(AlarmBoard(), isolated(10, off, 0.3))[-1] == ()
    board = AlarmBoard()
    assert run(board, isolated(10, off, 0.7))[-1] == ("polarity",)
    assert "30% of the isolated noise events are OFF instead of 70% (limit 46%)" in board.raised["polarity"]


def test_few_isolated_cells_or_a_baseline_that_says_nothing_are_no_evidence(baseline):
    # 250 cells a second make 5,000 in twenty.
    history = run(AlarmBoard(), isolated(40, lit(baseline), 0.2, cells=250))
    assert history.index(("polarity",)) == 20
    assert set(run(AlarmBoard(), isolated(40, baseline, 0.1))) == {()}
    # A healthy scene went as far as 0.42: beyond that by the tolerance only.
    assert set(run(AlarmBoard(), isolated(40, lit(baseline, low=0.42), 0.40))) == {()}
    assert run(AlarmBoard(), isolated(40, lit(baseline, low=0.42), 0.3))[-1] == ("polarity",)
    # 100 cells have a standard error of 0.05.
    few = limits(polarity__isolated_cells=100)
    assert set(run(AlarmBoard(few), isolated(40, lit(baseline), 0.35, cells=100))) == {()}


def test_a_camera_that_was_found_exchanged_is_not_right_because_it_has_become_dark(baseline):
    board = AlarmBoard()
    run(board, isolated(10, lit(baseline), 0.2))
    assert run(board, isolated(20, lit(baseline), 0.49, start=10))[-1] == ("polarity",)
    assert run(board, isolated(20, lit(baseline), 0.7, start=30))[-1] == ()


# -- cores -------------------------------------------------------------------------------------------------------------


def test_a_full_core_comes_with_a_suggestion():
    board = AlarmBoard()
    assert run(board, seconds(3, core_utilisation=(0.7, 0.2, 0.5)))[-1] == ()
    assert run(board, seconds(3, start=3, core_utilisation=(0.9, 0.2, 0.5)))[-1] == ("core_utilisation",)
    assert board.raised["core_utilisation"] == (
        "1 of 3 cores are over 70% full, core 0 90%; move 20% from core 0 to core 1"
    )
    run(board, seconds(1, start=6, core_utilisation=(0.9, 0.9)))
    assert "; 1 more core is needed" in board.raised["core_utilisation"]


@given(st.lists(st.one_of(st.floats(0.0, 1.0), st.just(math.nan)), min_size=1, max_size=99), st.floats(0.05, 1.0))
def test_a_suggested_remap_brings_every_core_to_the_limit_or_says_how_many_are_missing(loads, limit_share):
    moves, short = suggest_remap(loads, limit_share)
    load = [0.0 if math.isnan(value) else value for value in loads]
    total = math.fsum(load)
    for move in moves:
        assert move.load > 0.0
        load[move.source] -= move.load
        load[move.target] += move.load
    assert math.fsum(load) == pytest.approx(total)
    needed = math.ceil(total / limit_share - 1e-6)
    if needed <= len(load):
        assert short == 0
        assert max(load) <= limit_share + 1e-6
    else:
        assert short == pytest.approx(needed - len(load), abs=1)
        assert short >= 1
    assert len(moves) <= 2 * len(load)


def test_all_limits_are_one_frozen_object():
    assert AlarmLimits() == AlarmLimits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        AlarmLimits().latency = None
