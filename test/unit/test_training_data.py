# SPDX-License-Identifier: Apache-2.0
"""Training data: cut as the node cuts it, labelled by step, and mirrored together with its labels."""

import hashlib

import numpy as np
import pytest

from neuro_ros.events import EventBatch, Geometry, Windower
from neuro_ros.gestures import MIRROR, GestureSimulator
from neuro_ros.gestures.datasets.steps import StepsError
from neuro_ros.training.data import Crops, StepStream, WindowShape, augment, simulate_streams, to_steps
from neuro_ros.training.errors import TrainingError


@pytest.fixture(scope="module")
def recording():
    return GestureSimulator(seed=1).sequence([0, 3], 0.225, subject_seed=2)


def test_steps_are_the_windower_s_bins_bit_for_bit(recording):
    events, intervals = recording
    steps = to_steps(events, intervals, 128, 128)
    windower = Windower(50_000_000, 10, Geometry.fit(128, 128, 32, 32), 128, 128)
    expected = b"".join(w.bitmap.tobytes() for w in [*windower.push(EventBatch(events)), *windower.flush()])
    assert steps.bits.tobytes() == expected
    assert steps.bits.shape == (90, 256)


def test_each_step_has_its_label_and_age(recording):
    steps = to_steps(*recording, 128, 128)
    assert steps.labels.tolist() == [0] * 45 + [3] * 45
    assert steps.age_steps.tolist() == [*range(45), *range(45)]


def test_steps_outside_every_interval_are_unknown(recording):
    events, intervals = recording
    assert to_steps(events, intervals[1:], 128, 128).labels.tolist() == [-1] * 45 + [3] * 45


def test_a_recording_without_events_is_refused(recording):
    events, intervals = recording
    with pytest.raises(StepsError, match="no window"):
        to_steps(events[:0], intervals, 128, 128)
    with pytest.raises(StepsError, match="whole bytes"):
        to_steps(events, intervals, 128, 128, WindowShape(height=3, width=3))


def test_mirroring_flips_the_image_and_swaps_the_labels():
    spikes = np.zeros((4, 2, 6, 8), np.float32)
    spikes[:, 1, 2, 1] = 1.0
    labels = np.array([1, 3, -1, 7])
    seen = set()
    for seed in range(20):
        out, out_labels = augment(spikes, labels, np.random.default_rng(seed), max_shift_px=0, max_drop=0.0)
        if out[0, 1, 2, 6] == 1.0:
            assert out_labels.tolist() == [MIRROR[1], MIRROR[3], -1, 7]
            seen.add("mirrored")
        else:
            assert out[0, 1, 2, 1] == 1.0
            assert out_labels.tolist() == labels.tolist()
            seen.add("plain")
        assert out.sum() == spikes.sum()
    assert seen == {"mirrored", "plain"}


def test_shifting_never_wraps_around():
    spikes = np.zeros((1, 1, 4, 4), np.float32)
    spikes[0, 0, 0, 0] = 1.0
    for seed in range(40):
        out, _ = augment(spikes, np.array([0]), np.random.default_rng(seed), max_shift_px=1, max_drop=0.0)
        ys, xs = np.nonzero(out[0, 0])
        assert all(y <= 1 for y in ys)
        assert all(x <= 1 or x >= 2 for x in xs)  # right half only for the mirrored one


def test_crops_are_deterministic_and_carry_age(recording):
    streams = [to_steps(*recording, 128, 128)]
    first, again = (Crops(streams, 40, 3, seed=5).draw() for _ in range(2))
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    spikes, labels, age = Crops(streams, 40, 3, seed=6, augmented=False).draw()
    assert spikes.shape == (40, 3, 2, 32, 32)
    assert labels.shape == age.shape == (40, 3)
    assert set(np.unique(spikes.numpy())) == {0.0, 1.0}


@pytest.mark.parametrize(("steps", "batch"), [(5, 1), (15, 1), (100, 1), (10, 0)])
def test_crops_that_do_not_fit_are_refused(steps, batch):
    stream = StepStream(np.zeros((50, 256), np.uint8), np.zeros(50, np.int64), np.arange(50))
    with pytest.raises(TrainingError, match=r"crops of|batch is"):
        Crops([stream], steps, batch, seed=1)


def test_simulated_streams_hold_every_gesture_once():
    (stream,) = simulate_streams([3], 0.3, seed=1)
    starts = np.flatnonzero(stream.age_steps == 0)
    assert sorted(stream.labels[starts].tolist()) == list(range(11))


def test_subjects_who_act_few_gestures_act_different_ones():
    streams = simulate_streams([3, 4], 0.3, seed=1, gestures=3)
    acted = [stream.labels[stream.age_steps == 0].tolist() for stream in streams]
    assert [len(set(labels)) for labels in acted] == [3, 3]
    assert acted[0] != acted[1]


def test_streams_of_a_split_are_its_own_look():
    plain, full = (simulate_streams([3], 0.3, seed=1, split=split)[0] for split in ("", "train"))
    assert sorted(full.labels[full.age_steps == 0].tolist()) == list(range(11))
    assert plain.bits.tobytes() != full.bits.tobytes()


def test_crops_of_a_seed_are_those_that_the_shipped_model_was_trained_on():
    # Taken before the augmentation moved to gestures: equal seeds draw equal numbers in an equal order.
    rng = np.random.default_rng(7)
    spikes = (rng.random((6, 2, 8, 8)) < 0.3).astype(np.float32)
    digest = hashlib.sha256()
    for seed in range(12):
        out, labels = augment(spikes, np.arange(6), np.random.default_rng(seed))
        digest.update(np.ascontiguousarray(out).tobytes() + labels.tobytes())
    assert digest.hexdigest() == "d7352fa4036a96a2e7c26812906fa8bf72ebd1e48280bfd6e9481afc7a47b9a1"
