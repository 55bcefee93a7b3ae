# SPDX-License-Identifier: Apache-2.0
"""Augmentation of events and tensors: pure, seeded, and honest about labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import EVENT_DTYPE
from neuro_ros.gestures import MIRROR, Action, GestureSimulator, Subject, hand_targets
from neuro_ros.gestures.augmentation import (
    Augmentation,
    AugmentationError,
    add_noise,
    add_noise_steps,
    augment_events,
    augment_steps,
    drop_events,
    drop_steps,
    flip_events,
    flip_label,
    flip_steps,
    scale_time,
    scale_time_steps,
    shift_events,
    shift_steps,
    warp_events,
    warp_matrix,
    warp_steps,
)

WIDTH, HEIGHT = 40, 30
NOTHING = Augmentation(flip=0.0, shift=0.0, time_scale=0.0, drop=0.0, noise_hz=0.0)


def make_events(count=500, seed=0):
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = 5_000_000 + np.sort(rng.integers(0, 300_000, count)) * 1000
    events["x"], events["y"] = rng.integers(0, WIDTH, count), rng.integers(0, HEIGHT, count)
    events["p"] = rng.integers(0, 2, count)
    return events


def rows(events):
    return events[["t", "x", "y", "p"]].tolist()


def make_steps(seed=0, steps=12):
    rng = np.random.default_rng(seed)
    return (rng.random((steps, 2, 8, 10)) < 0.2).astype(np.float32), rng.integers(-1, 11, steps)


def test_a_flip_swaps_the_labels_in_pairs():
    assert [flip_label(label) for label in range(11)] == [0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10]
    assert flip_label(-1) == -1
    assert all(flip_label(flip_label(label)) == label for label in range(11))


def test_a_flip_of_events_is_the_mirrored_person_s_gesture():
    # A right hand wave, flipped, has its events where the mirrored subject's left hand waves.
    subject, action = Subject(), Action(label=1, wobble_px=0.0)
    mirrored = Action(label=flip_label(1), wobble_px=0.0)
    right, _ = hand_targets(subject, action, 0.1)
    _, left = hand_targets(subject.mirrored(), mirrored, 0.1)
    assert math.isclose(right[0], -left[0])
    events = GestureSimulator(seed=1, noise_hz=0.0).clip(1, 0.3, 4)
    flipped = flip_events(events, 128)
    assert np.median(events["x"]) < 64 < np.median(flipped["x"])
    assert rows(flip_events(flipped, 128)) == rows(events)
    assert flipped["t"].tolist() == events["t"].tolist()


def test_a_shift_loses_what_leaves_and_wraps_nothing():
    events = make_events()
    shifted = shift_events(events, 7, -4, WIDTH, HEIGHT)
    kept = (events["x"] < WIDTH - 7) & (events["y"] >= 4)
    assert shifted["x"].tolist() == (events["x"][kept] + 7).tolist()
    assert shifted["y"].tolist() == (events["y"][kept] - 4).tolist()
    assert shifted["t"].tolist() == events["t"][kept].tolist()
    assert len(shift_events(events, WIDTH, 0, WIDTH, HEIGHT)) == 0


def test_time_is_scaled_from_the_first_event_on():
    events = make_events()
    scaled = scale_time(events, 1.5)
    assert scaled["t"][0] == events["t"][0]
    assert np.abs((scaled["t"] - scaled["t"][0]) - 1.5 * (events["t"] - events["t"][0])).max() <= 1
    assert rows(scale_time(events, 1.0)) == rows(events)
    assert len(scale_time(events[:0], 2.0)) == 0
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(AugmentationError, match="scaled"):
            scale_time(events, wrong)
        with pytest.raises(AugmentationError, match="scaled"):
            scale_time_steps(*make_steps(), wrong)


def test_events_are_dropped_at_their_share_and_noise_comes_at_its_rate():
    events = make_events(20_000)
    assert abs(len(drop_events(events, 0.3, np.random.default_rng(1))) / 20_000 - 0.7) < 0.02
    noisy = add_noise(events, 20.0, WIDTH, HEIGHT, np.random.default_rng(1))
    expected = 20.0 * WIDTH * HEIGHT * 0.3
    assert abs(len(noisy) - len(events) - expected) < 5.0 * math.sqrt(expected)
    assert (np.diff(noisy["t"]) >= 0).all()
    assert (noisy["t"][0], noisy["t"][-1]) == (events["t"][0], events["t"][-1])
    assert noisy["x"].max() < WIDTH
    assert noisy["y"].max() < HEIGHT
    assert len(add_noise(events[:0], 20.0, WIDTH, HEIGHT, np.random.default_rng(1))) == 0


@given(seed=st.integers(0, 2**32 - 1), label=st.integers(-1, 10))
def test_augmented_events_are_seeded_inside_the_sensor_and_leave_the_given_ones_alone(seed, label):
    events = make_events()
    before = events.copy()
    how = Augmentation(shift=0.3)
    first, again = (augment_events(events, label, WIDTH, HEIGHT, np.random.default_rng(seed), how) for _ in range(2))
    assert rows(first[0]) == rows(again[0])
    assert first[1] == again[1]
    assert first[1] in (label, flip_label(label))
    assert rows(events) == rows(before)
    varied = first[0]
    assert (np.diff(varied["t"]) >= 0).all()
    assert not len(varied) or (varied["x"].max() < WIDTH and varied["y"].max() < HEIGHT)


@pytest.mark.parametrize("seed", range(5))
def test_no_strength_is_no_change(seed):
    events = make_events()
    varied, label = augment_events(events, 3, WIDTH, HEIGHT, np.random.default_rng(seed), NOTHING)
    assert (rows(varied), label) == (rows(events), 3)
    spikes, labels = make_steps()
    varied_spikes, varied_labels = augment_steps(spikes, labels, np.random.default_rng(seed), NOTHING)
    assert np.array_equal(varied_spikes, spikes)
    assert np.array_equal(varied_labels, labels)


def test_the_label_swaps_exactly_when_the_image_is_flipped():
    only_flip = Augmentation(shift=0.0, time_scale=0.0, drop=0.0, noise_hz=0.0)
    events = make_events()
    spikes, labels = make_steps()
    seen = set()
    for seed in range(30):
        varied, label = augment_events(events, 3, WIDTH, HEIGHT, np.random.default_rng(seed), only_flip)
        flipped = rows(varied) == rows(flip_events(events, WIDTH))
        assert flipped or rows(varied) == rows(events)
        assert label == (MIRROR[3] if flipped else 3)
        varied_spikes, varied_labels = augment_steps(spikes, labels, np.random.default_rng(seed), only_flip)
        assert np.array_equal(varied_spikes, spikes[..., ::-1] if flipped else spikes)
        assert varied_labels.tolist() == [flip_label(int(n)) if flipped else int(n) for n in labels]
        seen.add(flipped)
    assert seen == {True, False}


def test_a_data_set_without_mirror_images_is_never_flipped():
    always = Augmentation(flip=1.0, mirror=None, shift=0.0, time_scale=0.0, drop=0.0, noise_hz=0.0)
    events = make_events()
    assert rows(augment_events(events, 6, WIDTH, HEIGHT, np.random.default_rng(0), always)[0]) == rows(events)
    spikes, labels = make_steps()
    assert np.array_equal(augment_steps(spikes, labels, np.random.default_rng(0), always)[0], spikes)


def test_tensors_are_flipped_shifted_dropped_and_made_noisy():
    spikes, labels = make_steps()
    flipped, swapped = flip_steps(spikes, labels)
    assert np.array_equal(flipped[..., 0], spikes[..., -1])
    assert swapped.tolist() == [flip_label(int(n)) for n in labels]
    moved = shift_steps(spikes, -3, 2)
    assert np.array_equal(moved[..., 2:, :-3], spikes[..., :-2, 3:])
    assert not moved[..., :2, :].any()
    assert not moved[..., -3:].any()
    many = np.ones((20, 2, 32, 32), np.float32)
    assert abs(drop_steps(many, 0.25, np.random.default_rng(1)).mean() - 0.75) < 0.01
    noisy = add_noise_steps(np.zeros_like(many), 0.1, np.random.default_rng(1))
    assert abs(noisy.mean() - 0.1) < 0.01
    assert set(np.unique(add_noise_steps(many, 0.1, np.random.default_rng(1)))) == {1.0}


@given(factor=st.floats(0.4, 2.5), seed=st.integers(0, 1000))
def test_time_of_a_tensor_is_scaled_with_its_labels(factor, seed):
    spikes, labels = make_steps(seed, steps=30)
    scaled, scaled_labels = scale_time_steps(spikes, labels, factor)
    assert scaled.shape == spikes.shape
    for k in range(30):
        first = int(k / factor)
        if first >= 30:
            assert not scaled[k].any()
            assert scaled_labels[k] == -1
        else:
            assert scaled_labels[k] == labels[first]
            assert (scaled[k] >= spikes[first]).all()
    if factor <= 1.0:  # nothing is lost when time is compressed
        assert np.array_equal(scaled.max(axis=0), spikes.max(axis=0))


def test_a_warp_moves_events_and_cells_alike():
    events = np.zeros(3, EVENT_DTYPE)
    events["x"], events["y"], events["t"] = [15, 30, 2], [2, 16, 16], [0, 1, 2]
    quarter = warp_matrix(90.0, 1.0, 1.0, 0.0)  # about (15.5, 15.5): what was at the top comes to the right
    turned = warp_events(events, quarter, 32, 32)
    assert list(zip(turned["x"].tolist(), turned["y"].tolist(), strict=True)) == [(29, 15), (15, 30), (15, 2)]
    spikes = np.zeros((1, 2, 32, 32), np.float32)
    spikes[0, 1, events["y"], events["x"]] = 1.0
    cells = warp_steps(spikes, quarter)
    assert sorted(zip(*np.nonzero(cells[0, 1])[::-1], strict=True)) == [(15, 2), (15, 30), (29, 15)]
    assert not cells[0, 0].any()
    assert np.array_equal(warp_steps(spikes, warp_matrix(0.0, 1.0, 1.0, 0.0), 3, -2), shift_steps(spikes, 3, -2))


def test_a_magnified_image_has_no_holes_and_loses_its_border():
    spikes = np.ones((2, 1, 20, 20), np.float32)
    assert warp_steps(spikes, warp_matrix(0.0, 2.0, 2.0, 0.0)).all()
    smaller = warp_steps(spikes, warp_matrix(0.0, 0.5, 0.5, 0.0))
    assert smaller[0, 0].sum() == 100.0
    corners = np.zeros(1, EVENT_DTYPE)
    assert len(warp_events(corners, warp_matrix(0.0, 2.0, 2.0, 0.0), 20, 20)) == 0
    with pytest.raises(AugmentationError, match="magnified by 0"):
        warp_matrix(0.0, 0.0, 1.0, 0.0)


def test_warps_are_seeded_and_keep_to_their_strength():
    how = Augmentation(flip=0.0, shift=0.0, time_scale=0.0, drop=0.0, noise_hz=0.0, rotate_deg=10.0, zoom=0.2)
    for seed in range(20):
        matrix = how.draw_warp(np.random.default_rng(seed))
        assert np.array_equal(matrix, how.draw_warp(np.random.default_rng(seed)))
        assert 0.4 < np.linalg.det(matrix) < np.exp(0.5)
        assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 10.0
    spikes, labels = make_steps()
    varied, varied_labels = augment_steps(spikes, labels, np.random.default_rng(3), how)
    assert varied.shape == spikes.shape
    assert not np.array_equal(varied, spikes)
    assert np.array_equal(varied_labels, labels)
    events = make_events()
    moved, _ = augment_events(events, 1, WIDTH, HEIGHT, np.random.default_rng(3), how)
    assert set(moved["t"].tolist()) <= set(events["t"].tolist())
    assert moved["x"].max() < WIDTH


@pytest.mark.parametrize(
    "wrong", [{"flip": 2.0}, {"drop": 1.0}, {"noise_hz": float("nan")}, {"zoom": -0.1}, {"mirror": (1, 2, 0)}]
)
def test_strengths_that_cannot_be_are_refused(wrong):
    with pytest.raises(AugmentationError, match=next(iter(wrong))):
        Augmentation(**wrong)
