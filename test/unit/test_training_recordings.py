# SPDX-License-Identifier: Apache-2.0
"""Batches from data sets: streamed, seeded, whole at any place, and plain about what cannot be used."""

import json

import numpy as np
import pytest
import torch
from made_events import make_events

from neuro_ros.events import create_recording
from neuro_ros.gestures import LABELS
from neuro_ros.gestures.augmentation import Augmentation
from neuro_ros.gestures.datasets import MemoryCache, StepStream, WindowShape, open_dataset
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.gesture import GestureCrops
from neuro_ros.training.recordings import RecordingCrops, mirror_of, survey
from neuro_ros.training.run.distributed import World

SHAPE = WindowShape(length_ns=20_000_000, bins=4, height=8, width=8)
STILL = Augmentation(flip=0.0, mirror=None, shift=0.0, time_scale=0.0, drop=0.0, noise_hz=0.0)


def write(path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_recording(path, 34, 34) as writer:
        writer.write(events)


def make_folders(root, classes=("cat", "dog"), count=6):
    for label, name in enumerate(classes):
        for number in range(count):
            write(root / name / f"{number}.npz", make_events(seed=100 * label + number))
    return open_dataset(root)


def test_every_recording_comes_once_an_epoch_in_a_seeded_order(tmp_path):
    dataset = make_folders(tmp_path)
    cache = MemoryCache()
    found = survey(dataset, "train", SHAPE, cache)
    assert (len(found.entries), found.per_class, found.skipped) == (8, (4, 4), 0)
    crops = RecordingCrops(dataset, found, SHAPE, 2, 4, seed=3, cache=cache)
    assert crops.updates_per_epoch == 2
    drawn = [crops.draw() for _ in range(4)]
    for epoch in (drawn[:2], drawn[2:]):
        labels = np.concatenate([labels[0].numpy() for _, labels, _ in epoch])
        assert sorted(labels.tolist()) == [0] * 4 + [1] * 4
    again = RecordingCrops(dataset, found, SHAPE, 2, 4, seed=3, cache=cache)
    again.set_random_state({**crops.random_state(), "drawn": 3})  # a run that goes on draws what it would have drawn
    assert all(bool((a == b).all()) for a, b in zip(again.draw(), drawn[3], strict=True))
    for wrong in ({"seed": 4}, {"recordings": "0"}):
        with pytest.raises(TrainingError, match="start anew"):
            again.set_random_state({**crops.random_state(), **wrong})
    assert not bool((drawn[0][0] == drawn[2][0]).all())


def test_processes_draw_together_what_one_draws_alone(tmp_path):
    dataset = make_folders(tmp_path)
    found = survey(dataset, "train", SHAPE)
    alone = RecordingCrops(dataset, found, SHAPE, 2, 4, seed=3)
    pair = [RecordingCrops(dataset, found, SHAPE, 2, 2, seed=3, world=World(rank, 2)) for rank in (0, 1)]
    assert {crops.updates_per_epoch for crops in (alone, *pair)} == {2}
    for _ in range(3):
        whole, halves = alone.draw(), [crops.draw() for crops in pair]
        for k, part in enumerate(whole):
            assert bool((part == torch.cat([half[k] for half in halves], dim=1)).all())


def test_a_crop_is_the_recording_s_own_steps(tmp_path):
    dataset = make_folders(tmp_path)
    found = survey(dataset, "train", SHAPE)
    crops = RecordingCrops(dataset, found, SHAPE, 3, 1, seed=1, augmentation=STILL)
    known = {entry.label: [] for entry in found.entries}
    for entry in found.entries:
        bits = dataset.tensor(entry, SHAPE).steps.bits
        known[entry.label].append(np.unpackbits(bits, axis=1).reshape(-1, 2, 8, 8))
    for _ in range(6):
        spikes, labels, age = (part.numpy()[:, 0] for part in crops.draw())
        begin = int(age[0])
        assert any(np.array_equal(cells[begin : begin + 12], spikes) for cells in known[int(labels[0])])


def test_short_recordings_are_filled_up_and_a_whole_one_is_judged_after_an_empty_tail(tmp_path):
    dataset = make_folders(tmp_path)
    found = survey(dataset, "train", SHAPE)
    length = found.longest_steps
    windows = length // SHAPE.bins + 2
    spikes, labels, age = RecordingCrops(dataset, found, SHAPE, windows, 2, seed=1).draw()
    assert spikes.shape[0] == length + 8
    assert not spikes[length:].any()
    assert (labels[:length] >= 0).all()
    assert (labels[length:] == -1).all()
    assert age[:, 0].tolist() == list(range(length + 8))
    crops = RecordingCrops(dataset, found, SHAPE, windows, 2, seed=1, judged="recording", tail_steps=3)
    spikes, labels, _ = crops.draw()
    assert crops.shape.bins == spikes.shape[0] == length + 8 + 3
    assert (labels[-1] >= 0).all()


def test_unusable_recordings_are_named_and_a_class_without_any_other_is_refused(tmp_path):
    dataset = make_folders(tmp_path)
    train = dataset.of_split("train")
    train[0].path.write_bytes(b"nonsense")
    short = make_events(50)
    short["t"] = short["t"][0] + np.arange(50) * 1000
    write(train[1].path, short)
    dataset = open_dataset(tmp_path)
    seen = []
    found = survey(dataset, "train", SHAPE, progress=lambda done, of: seen.append((done, of)))
    assert (len(found.entries), found.per_class, found.skipped) == (6, (2, 4), 2)
    assert set(dataset.skipped) == {train[0].name, train[1].name}
    assert "less than half of a window of 20 ms" in dataset.skipped[train[1].name]
    assert seen[-1] == (8, 8)
    for entry in train[:4]:
        entry.path.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match=r"no usable train recording of class cat; the first: .*npz"):
        survey(open_dataset(tmp_path), "train", SHAPE)


def test_a_recording_that_vanishes_while_training_is_left_out_and_all_of_them_stop_it(tmp_path):
    dataset = make_folders(tmp_path)
    found = survey(dataset, "train", SHAPE)
    crops = RecordingCrops(dataset, found, SHAPE, 2, 8, seed=1)
    for entry in found.entries[:7]:
        entry.path.unlink()
    _, labels, _ = crops.draw()
    assert set(labels[0].tolist()) == {found.entries[7].label}
    assert len(dataset.skipped) == 7
    found.entries[7].path.unlink()
    with pytest.raises(TrainingError, match="none of the 8 training recordings can be read"):
        crops.draw()


@pytest.mark.parametrize("wrong", [{"windows": 0}, {"batch": 0}, {"judged": "hope"}])
def test_batches_that_cannot_be_are_refused(tmp_path, wrong):
    dataset = make_folders(tmp_path)
    found = survey(dataset, "train", SHAPE)
    with pytest.raises(TrainingError, match=r"at least 1|judged is 'hope'"):
        RecordingCrops(dataset, found, SHAPE, **{"windows": 1, "batch": 1, "seed": 0, **wrong})


def test_only_gestures_that_have_their_mirror_image_are_flipped():
    assert mirror_of(LABELS) == (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)
    assert mirror_of(("left_hand_wave", "right_hand_wave", "other")) == (1, 0, 2)
    assert mirror_of(("left_hand_wave", "other")) is None
    assert mirror_of(("cat", "dog")) is None


def test_gestures_in_a_row_go_on_from_where_they_were_saved():
    stream = StepStream(
        np.random.default_rng(1).integers(0, 256, (60, 256), np.uint8), np.full(60, 3), np.arange(60)
    )  # fmt: skip
    crops, later = (GestureCrops([stream], 20, 2, seed=5) for _ in range(2))
    try:
        crops.draw()
        state = json.loads(json.dumps(crops.random_state()))
        expected = [crops.draw() for _ in range(2)]
        later.set_random_state(state)
        for batch in expected:
            assert all(bool((a == b).all()) for a, b in zip(later.draw(), batch, strict=True))
    finally:
        crops.close()
        later.close()
