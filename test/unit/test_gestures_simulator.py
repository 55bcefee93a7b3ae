# SPDX-License-Identifier: Apache-2.0
"""The gesture simulator: equal seeds give equal events, time never runs backwards, the truth is told."""

import numpy as np
import pytest

from neuro_ros.gestures import LABELS, STEP_NS, GestureSimulator, GestureStream, ParameterRangeError, subject_seeds
from neuro_ros.gestures.labels import LabelError

STREAM = {"gesture_duration_s": 0.2, "labels": ["hand_clap", "arm_roll", "other"], "gestures": 5, "subject_seed": 4}


def test_equal_seeds_give_equal_events_and_other_seeds_do_not():
    first = GestureSimulator(seed=3).clip("air_drums", 0.2, subject_seed=5)
    again = GestureSimulator(seed=3).clip("air_drums", 0.2, subject_seed=5)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != GestureSimulator(seed=4).clip("air_drums", 0.2, subject_seed=5).tobytes()
    assert first.tobytes() != GestureSimulator(seed=3).clip("air_drums", 0.2, subject_seed=6).tobytes()


@pytest.mark.parametrize("label", LABELS)
def test_events_are_ordered_inside_the_sensor_and_whole_microseconds(label):
    events = GestureSimulator(seed=1, width=96, height=64).clip(label, 0.25, subject_seed=2)
    assert events.size > 500
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"][0] >= 0
    assert events["t"][-1] < 250_000_000
    assert (events["t"] % 1000 == 0).all()
    assert events["x"].max() < 96
    assert events["y"].max() < 64
    assert set(np.unique(events["p"])) == {0, 1}


def test_slices_of_any_length_hold_the_same_stream():
    fine = GestureStream(seed=9, slice_ns=STEP_NS, **STREAM)
    coarse = GestureStream(seed=9, slice_ns=40 * STEP_NS, **STREAM)
    fine_events = np.concatenate([piece.events for piece in fine])
    coarse_events = np.concatenate([piece.events for piece in coarse])
    assert np.array_equal(fine_events, coarse_events)
    assert fine.lost == coarse.lost == 0


def test_slices_carry_their_time_and_label():
    stream = GestureStream(seed=2, start_ns=7_000_000_000, **STREAM)
    begin = 7_000_000_000
    labels = []
    for events, until_ns, label in stream:
        assert until_ns == begin + stream.slice_ns
        assert events.size == 0 or (events["t"][0] >= begin and events["t"][-1] < until_ns)
        held = [i for i in stream.intervals if i.start_ns < until_ns <= i.end_ns]
        assert [i.label for i in held] == [label]
        labels.append(label)
        begin = until_ns
    assert begin == 7_000_000_000 + 5 * 200_000_000
    assert len(labels) == 5 * 40


def test_label_intervals_lie_end_to_end_and_name_each_gesture_of_a_round():
    stream = GestureStream(seed=2, **STREAM)
    for _ in stream:
        pass
    assert [i.start_ns for i in stream.intervals] == [k * 200_000_000 for k in range(5)]
    assert [i.end_ns for i in stream.intervals] == [(k + 1) * 200_000_000 for k in range(5)]
    assert sorted(i.label for i in stream.intervals[:3]) == [0, 7, 10]


def test_memory_of_an_endless_stream_is_bounded():
    stream = GestureStream(seed=2, gesture_duration_s=0.005, width=16, height=16, labels=["hand_clap"])
    for _ in range(1100):
        next(stream)
    assert len(stream.intervals) == GestureStream.KEPT_INTERVALS


def test_a_new_subject_comes_without_a_burst():
    stream = GestureStream(seed=2, gestures_per_subject=1, noise_hz=0.0, **STREAM)
    sizes = [piece.events.size for piece in stream]
    assert stream.subject.seed == STREAM["subject_seed"] + 4
    assert max(sizes) < 128 * 128 // 8


def test_noise_has_its_rate():
    quiet = GestureSimulator(seed=1, noise_hz=0.0).clip(0, 0.5, 1).size
    noisy = GestureSimulator(seed=1, noise_hz=5.0).clip(0, 0.5, 1).size
    expected = 5.0 * 128 * 128 * 0.5
    assert abs(noisy - quiet - expected) < 6.0 * np.sqrt(expected)


def test_sequence_tells_who_did_what_when():
    events, intervals = GestureSimulator(seed=1).sequence(["hand_clap", 4], 0.1, subject_seed=3)
    assert [(i.start_ns, i.end_ns, i.label) for i in intervals] == [(0, 100_000_000, 0), (100_000_000, 200_000_000, 4)]
    assert events["t"][-1] < 200_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 8},
        {"noise_hz": float("nan")},
        {"threshold": 0.0},
        {"slice_ns": STEP_NS + 1},
        {"gesture_duration_s": float("inf")},
        {"start_ns": 5},
        {"labels": []},
        {"subject_seed": -1},
        {"gestures": -1},
    ],
)
def test_parameters_outside_their_range_are_refused_with_the_name(wrong):
    with pytest.raises(ParameterRangeError, match=next(iter(wrong)).split("_seed")[0]):
        GestureStream(seed=1, **wrong)


def test_unknown_label_is_refused():
    with pytest.raises(LabelError, match="jump"):
        GestureSimulator(seed=1).clip("jump", 0.1, 0)


def test_splits_share_no_subject():
    seeds = [set(subject_seeds(split, 10_000)) for split in ("train", "validation", "test")]
    assert not (seeds[0] & seeds[1])
    assert not (seeds[0] & seeds[2])
    assert not (seeds[1] & seeds[2])
    with pytest.raises(ParameterRangeError, match="10001"):
        subject_seeds("test", 10_001)
