# SPDX-License-Identifier: Apache-2.0
"""Wake on motion: hysteresis, the waking window and those before it, each window decided about once and in order."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import SpikeWindow
from neuro_ros.events.wake import MAX_PRE_ROLL, WakeError, WakeOnMotion, WakeSettings

LENGTH_NS = 50_000_000  # one event is 20 a second


def window(number, events, filtered=0, complete=True):
    return SpikeWindow(
        number * LENGTH_NS, (number + 1) * LENGTH_NS, 1, 2, 1, 1, np.zeros(1, np.uint8), 0,
        events + filtered, events, filtered, 0, complete,
    )  # fmt: skip


def play(settings, *counts):
    """Return the numbers of the windows that are sent, and check that each is decided about once, in order."""
    gate = WakeOnMotion(settings)
    decisions = [item for number, count in enumerate(counts) for item in gate.take(window(number, count), number)]
    decisions += gate.flush()
    assert [item.note for item in decisions] == list(range(len(counts)))
    assert all(item.window.start_ns == item.note * LENGTH_NS for item in decisions)
    return [item.note for item in decisions if item.send]


def test_one_threshold_without_memory():
    settings = WakeSettings(100, 100, sleep_after_s=0, pre_roll=0)
    assert play(settings, 4, 5, 4, 4, 6, 0) == [1, 4]


def test_without_a_threshold_all_is_sent():
    assert play(WakeSettings(), 0, 0, 3, 0) == [0, 1, 2, 3]


def test_between_the_thresholds_the_state_stays():
    settings = WakeSettings(200, 100, sleep_after_s=0, pre_roll=0)
    assert play(settings, 9, 10, 5, 9, 4, 9, 9, 10, 5) == [1, 2, 3, 7, 8]


def test_quiet_windows_are_sent_for_a_while():
    settings = WakeSettings(200, 200, sleep_after_s=0.1, pre_roll=0)
    assert play(settings, 10, 0, 0, 0, 0, 10, 0, 0, 10, 0, 0, 0) == [0, 1, 2, 5, 6, 7, 8, 9, 10]


def test_the_windows_before_the_waking_one_are_sent_with_it():
    settings = WakeSettings(200, 200, sleep_after_s=0, pre_roll=2)
    assert play(settings, 0, 0, 0, 0, 10, 0, 10, 0, 0, 0, 0) == [2, 3, 4, 5, 6]
    gate = WakeOnMotion(settings)
    assert gate.take(window(0, 1), "a") == []
    assert gate.take(window(1, 1), "b") == []
    assert [(d.note, d.send) for d in gate.take(window(2, 1), "c")] == [("a", False)]
    assert (gate.waiting, gate.awake, gate.wakings) == (2, False, 0)
    assert [(d.note, d.send) for d in gate.take(window(3, 10), "d")] == [("b", True), ("c", True), ("d", True)]
    assert (gate.waiting, gate.awake, gate.wakings) == (0, True, 1)


def test_what_lies_before_a_jump_of_time_does_not_lead_up_to_a_motion():
    gate = WakeOnMotion(WakeSettings(200, 200, sleep_after_s=0, pre_roll=3))
    gate.take(window(7, 0), 7)
    gate.take(window(8, 0), 8)
    assert [(d.note, d.send) for d in gate.take(window(3, 10), 3)] == [(7, False), (8, False), (3, True)]


def test_filtered_events_wake_nobody_and_dropped_ones_do():
    gate = WakeOnMotion(WakeSettings(200, 200, sleep_after_s=0, pre_roll=0))
    assert not gate.take(window(0, 9, filtered=1000), 0)[0].send
    lossy = dataclasses.replace(window(1, 5), events_in=10, events_dropped=5)
    assert gate.take(lossy, 1)[0].send


def test_a_window_with_a_known_loss_is_sent_and_wakes_nobody():
    gate = WakeOnMotion(WakeSettings(200, 200, sleep_after_s=0, pre_roll=1))
    decisions = gate.take(window(0, 0), 0) + gate.take(window(1, 0, complete=False), 1) + gate.take(window(2, 0), 2)
    decisions += gate.take(window(3, 0), 3)
    assert [(d.note, d.send) for d in decisions] == [(0, True), (1, True), (2, False)]
    assert (gate.awake, gate.wakings) == (False, 0)


def test_new_settings_hold_from_the_next_window_on():
    gate = WakeOnMotion(WakeSettings(200, 200, sleep_after_s=0, pre_roll=2))
    gate.take(window(0, 0), 0)
    gate.take(window(1, 0), 1)
    gate.settings = WakeSettings(200, 200, sleep_after_s=0, pre_roll=0)
    assert [d.send for d in gate.take(window(2, 0), 2)] == [False, False, False]
    gate.settings = WakeSettings()
    assert [d.send for d in gate.take(window(3, 0), 3)] == [True]


@given(
    counts=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60),
    sleep=st.sampled_from([0, 60, 200]),
    sleep_after=st.integers(0, 4),
    pre_roll=st.integers(0, 4),
)
def test_what_is_sent_is_what_the_text_says(counts, sleep, sleep_after, pre_roll):
    settings = WakeSettings(200, sleep, sleep_after * LENGTH_NS / 1e9, pre_roll)
    gate = WakeOnMotion(settings)
    decisions = []
    for number, (count, complete) in enumerate(counts):
        decisions += gate.take(window(number, count, complete=complete), number)
        assert gate.waiting <= pre_roll
    decisions += gate.flush()
    assert [item.note for item in decisions] == list(range(len(counts)))
    # A window is awake when, looking back, an active one comes before enough quiet ones in a row.
    awake, quiet = [], 0
    for count, _ in counts:
        quiet = quiet + 1 if count * 20 < sleep else 0
        before = awake[-1] if awake else False
        awake.append((before or count * 20 >= 200) and quiet <= sleep_after)
    wanted = [is_awake or not complete for is_awake, (_, complete) in zip(awake, counts, strict=True)]
    expected = [any(wanted[number : number + pre_roll + 1]) for number in range(len(counts))]
    assert [item.send for item in decisions] == expected
    # Each window with an active rate is sent, whatever came before.
    assert all(item.send for item, (count, _) in zip(decisions, counts, strict=True) if count * 20 >= 200)


def test_impossible_settings_are_refused():
    for options in (
        {"wake_events_hz": -1},
        {"wake_events_hz": math.nan},
        {"wake_events_hz": 10, "sleep_events_hz": 11},
        {"sleep_after_s": math.inf},
        {"pre_roll": -1},
        {"pre_roll": MAX_PRE_ROLL + 1},
    ):
        with pytest.raises(WakeError, match=r"it must be 0 to"):
            WakeSettings(**options)
