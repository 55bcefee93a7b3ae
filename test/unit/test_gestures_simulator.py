# SPDX-License-Identifier: Apache-2.0
"""The gesture simulator: equal seeds give equal events, time never runs backwards, the truth is told."""

import hashlib
import itertools
import struct
import zlib

import numpy as np
import pytest

from neuro_ros.gestures import (
    LABELS,
    LIGHTS,
    SPLIT_TABLE,
    SPLITS,
    STEP_NS,
    Conditions,
    GestureSimulator,
    GestureStream,
    ParameterRangeError,
    Subject,
    SubjectRanges,
    subject_seeds,
)
from neuro_ros.gestures.labels import LabelError
from neuro_ros.gestures.pictures import gesture_strip
from neuro_ros.gestures.subject import draw_from

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


def test_the_plain_look_is_what_the_shipped_model_was_trained_on():
    # Taken before depth, light, shake and background came in, whose zeros change nothing.
    digests = {
        "hand_clap": "7a832f3eede2eae2973857aa0208c1eb167db1deb70d695c053b7df5e145a967",
        "left_arm_clockwise": "1850696cee7255b087e4a5bcadf0efc6e5e9604ff7f78c02bff77e561b95088a",
        "other": "e0634e6875e116129a1f9b8525bb7137325be8bc2e3c07e3fe4e4c1cdcb6d6c4",
    }
    for label, digest in digests.items():
        events = GestureSimulator(seed=5).clip(label, 0.3, subject_seed=3 + LABELS.index(label))
        assert hashlib.sha256(events.tobytes()).hexdigest() == digest
    stream = GestureStream(
        seed=9, gestures=12, gesture_duration_s=0.35, subject_seed=30000, gestures_per_subject=3, width=96, height=64,
        noise_hz=2.0, threshold=0.2, threshold_spread=0.1,
    )  # fmt: skip
    digest = hashlib.sha256(b"".join(piece.events.tobytes() for piece in stream))
    assert digest.hexdigest() == "c164909e3ef2bf88b9d22db89a4d7637c95c665faed584c94c925da899438c48"


@pytest.mark.parametrize("split", ["train", "hard"])
@pytest.mark.parametrize("label", [0, 3, 7, 10])
def test_full_conditions_keep_order_area_and_seed(split, label):
    first, again = (GestureSimulator(seed=2, split=split) for _ in range(2))
    subject = SPLITS[split][0] + label
    events = first.clip(label, 0.3, subject)
    assert events.tobytes() == again.clip(label, 0.3, subject).tobytes()
    assert (np.diff(events["t"]) >= 0).all()
    assert (events["t"] % 1000 == 0).all()
    assert events["t"][-1] < 300_000_000
    assert max(events["x"].max(), events["y"].max()) < 128
    assert 500 < events.size < 200_000


def test_slices_of_full_conditions_hold_the_same_stream():
    options = {"gesture_duration_s": 0.1, "gestures": 4, "gestures_per_subject": 2, "split": "hard"}
    fine = GestureStream(seed=9, slice_ns=STEP_NS, subject_seed=1_000_000, **options)
    coarse = GestureStream(seed=9, slice_ns=30 * STEP_NS, subject_seed=1_000_000, **options)
    assert b"".join(p.events.tobytes() for p in fine) == b"".join(p.events.tobytes() for p in coarse)
    assert fine.lost == coarse.lost == 0


@pytest.mark.parametrize(
    "stronger",
    [{"shake_px": 1.5}, {"background_px_s": 40.0, "clutter": 1.0}, {"light": "dim"}, {"light": "bright"}],
)
def test_each_strength_of_the_conditions_changes_the_events(stronger):
    plain, changed = (
        GestureSimulator(seed=2, conditions=Conditions(**given), noise_hz=0.0).clip(0, 0.2, 3)
        for given in ({}, stronger)
    )
    assert plain.tobytes() != changed.tobytes()
    if "light" not in stronger:
        assert changed.size > 1.2 * plain.size


def test_a_flat_trunk_shakes_with_the_camera_and_not_with_the_background():
    stream = GestureStream(seed=1, conditions=Conditions(background_px_s=30.0), labels=[0], gesture_duration_s=0.5)
    before = stream.scene
    for _ in range(80):
        next(stream)
    # Below the hands and inside the trunk nothing changed; the wall beside it moved.
    assert np.array_equal(before[88:96, 62:66], stream.scene[88:96, 62:66])
    assert not np.array_equal(before[:8, :30], stream.scene[:8, :30])


def test_splits_share_no_subject():
    ranges = sorted(SPLITS.values())
    assert len(ranges) == 4
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ranges))
    with pytest.raises(ParameterRangeError, match="10001"):
        subject_seeds("test", 10_001)
    with pytest.raises(ParameterRangeError, match="secret"):
        subject_seeds("secret", 1)
    with pytest.raises(ParameterRangeError, match="secret"):
        GestureSimulator(seed=1, split="secret")


def test_training_validation_and_test_are_drawn_alike_and_the_hard_test_lies_outside():
    train, hard = SPLIT_TABLE["train"], SPLIT_TABLE["hard"]
    for name in ("validation", "test"):
        assert (SPLIT_TABLE[name].subjects, SPLIT_TABLE[name].conditions) == (train.subjects, train.conditions)
    usual, unusual = (
        [(Subject.from_seed(seed, split.subjects), split.draw_conditions(1, seed)) for seed in subject_seeds(name, 300)]
        for name, split in (("train", train), ("hard", hard))
    )
    pace = (0.92, 1.08)  # of a single performance
    speeds = [subject.speed for subject, _ in usual]
    assert all(
        s.speed * pace[1] < min(speeds) * pace[0] or s.speed * pace[0] > max(speeds) * pace[1] for s, _ in unusual
    )
    for values in (
        lambda subject, conditions: subject.size,
        lambda subject, conditions: conditions.noise,
        lambda subject, conditions: conditions.shake_px,
    ):
        inside = [values(*who) for who in usual]
        assert all(not min(inside) <= values(*who) <= max(inside) for who in unusual)
    lights = {conditions.light for _, conditions in usual}
    assert lights == set(LIGHTS)
    assert 0.15 < np.mean([not conditions.moving for _, conditions in usual]) < 0.35
    assert {subject.lead for subject, _ in usual} == {-1, 1}
    # Distance 0.6 to 1.4; displaced by up to a fifth of the image, less where there is no room.
    sizes = np.array([subject.size for subject, _ in usual])
    shifts = np.array([abs(subject.shift_x_px) for subject, _ in usual])
    assert 1.4 * sizes.min() == pytest.approx(0.6 * sizes.max(), rel=0.02)
    assert 20.0 < shifts.max() <= 25.6
    assert (shifts + 48.0 * sizes <= 64.0 + 1e-9).all()


def test_ranges_of_two_pieces_are_drawn_from_both():
    rng = np.random.default_rng(1)
    drawn = np.array([draw_from((0.0, 1.0, 5.0, 8.0), rng) for _ in range(2000)])
    assert ((drawn < 1.0) | ((drawn >= 5.0) & (drawn < 8.0))).all()
    assert abs((drawn < 1.0).mean() - 0.25) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"light": "moon"}, {"shake_px": -1.0}, {"noise": float("nan")}, {"clutter": 9.0}, {"background_px_s": 1e9}],
)
def test_conditions_outside_their_range_are_refused(wrong):
    with pytest.raises(ParameterRangeError, match=next(iter(wrong))):
        Conditions(**wrong)


def test_clothes_of_any_contrast_are_drawn():
    # What a table cannot hold is clipped, not looked up beside it.
    ranges = SubjectRanges(depth=(1.0, 1.0), shading=(50.0, 50.0), contrast=(3.0, 3.0))
    events = GestureSimulator(seed=1, ranges=ranges).clip(0, 0.1, 1)
    assert (np.diff(events["t"]) >= 0).all()


def test_a_strip_of_pictures_is_a_png_that_shows_events():
    data = gesture_strip(3, seed=1, subject_seed=4, instants=2)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (2 * 128 + 2, 2 * 128 + 2)
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    assert zlib.crc32(data[start : start + 4 + length]) == struct.unpack(">I", data[start + 4 + length :][:4])[0]
    pixels = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8).reshape(height, width + 1)
    assert (pixels[:, 0] == 0).all()
    assert len(np.unique(pixels[:128, 1:129])) > 5  # the scene has greys
    assert {33, 34} <= set(np.unique(pixels[130:, 1:]))  # OFF and ON
    with pytest.raises(ValueError, match="instants"):
        gesture_strip(3, seed=1, subject_seed=4, spacing_ns=1)
