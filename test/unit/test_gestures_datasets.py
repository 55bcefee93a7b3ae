# SPDX-License-Identifier: Apache-2.0
"""Data sets: what is read, how it is divided, and what happens to what cannot be used. All files are made here."""

import logging

import pytest
from made_events import make_events

from neuro_ros.events import create_recording
from neuro_ros.gestures import LABELS, GestureSimulator, ParameterRangeError
from neuro_ros.gestures.datasets import (
    DATASETS,
    DatasetError,
    DatasetOptions,
    SampleCache,
    SimulatedGestures,
    StepStream,
    WindowShape,
    base,
    open_dataset,
    to_steps,
)
from neuro_ros.gestures.datasets.steps import StepsError
from neuro_ros.gestures.simulator import LabelInterval

SPLIT_NAMES = ("train", "validation", "test")
SHAPE = WindowShape(bins=5, height=16, width=16)


def write(path, events, form=None, size=34):
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_recording(path, size, size, form) as writer:
        writer.write(events)


# --- class folders --------------------------------------------------------------------------------------------------
def make_folders(root, classes=("cat", "dog"), names=("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), suffix=".npz"):
    for k, label in enumerate(classes):
        for n, name in enumerate(names):
            write(root / label / f"{name}{suffix}", make_events(seed=100 * k + n))
    return root


def test_class_folders_are_divided_by_recording_and_each_is_in_one_split(tmp_path):
    dataset = open_dataset(make_folders(tmp_path))
    assert (dataset.kind, dataset.labels) == ("folder", ("cat", "dog"))
    names = [entry.name for split in SPLIT_NAMES for entry in dataset.of_split(split)]
    assert sorted(names) == sorted(entry.name for entry in dataset.entries)
    for split, each in (("train", 6), ("validation", 2), ("test", 2)):  # of each class
        labels = [entry.label for entry in dataset.of_split(split)]
        assert labels == [0] * each + [1] * each


def test_the_division_is_seeded_and_stays_when_a_recording_comes_in(tmp_path):
    root = make_folders(tmp_path)
    first, again, other = (
        open_dataset(root, options=DatasetOptions(split_seed=seed)).of_split("test") for seed in (1, 1, 2)
    )
    assert first == again != other
    write(root / "cat" / "new.npz", make_events(seed=999))
    names = {entry.name for entry in open_dataset(root, options=DatasetOptions(split_seed=1)).of_split("test")}
    assert len(names ^ {entry.name for entry in first}) <= 2


def test_subjects_in_the_names_are_divided_as_a_whole(tmp_path):
    names = [f"subject_{k:05d}{take}" for k in range(6) for take in ("", "_again")]
    dataset = open_dataset(make_folders(tmp_path, names=names))
    found = {split: {entry.subject for entry in dataset.of_split(split)} for split in SPLIT_NAMES}
    assert found["train"] | found["validation"] | found["test"] == {str(k) for k in range(6)}
    assert sum(map(len, found.values())) == 6


def test_split_folders_are_kept_and_a_missing_validation_is_carved_out_of_training(tmp_path):
    for split in ("train", "test"):
        make_folders(tmp_path / split)
    dataset = open_dataset(tmp_path)
    assert {entry.name.split("/")[0] for entry in dataset.of_split("test")} == {"test"}
    assert len(dataset.of_split("test")) == 20
    assert {entry.name.split("/")[0] for entry in dataset.of_split("validation")} == {"train"}
    assert (len(dataset.of_split("train")), len(dataset.of_split("validation"))) == (16, 4)
    make_folders(tmp_path / "val")
    assert len(open_dataset(tmp_path).of_split("train")) == 20


def test_gesture_folders_come_in_the_order_of_the_labels_and_given_labels_keep_their_index(tmp_path):
    root = make_folders(tmp_path, classes=("other", "air_drums"))
    assert open_dataset(root).labels == ("air_drums", "other")
    dataset = open_dataset(root, options=DatasetOptions(labels=LABELS))
    assert dataset.labels == LABELS
    assert {entry.label for entry in dataset.entries} == {8, 10}
    with pytest.raises(DatasetError, match="class folder other is not among the labels"):
        open_dataset(root, options=DatasetOptions(labels=("air_drums", "cat")))


def test_recordings_of_any_format_are_read_and_texts_beside_them_are_not(tmp_path):
    events = make_events()
    for label in ("a", "b"):
        for suffix in (".npz", ".raw", ".aedat4", ""):  # the last is a bag
            write(tmp_path / label / f"one{suffix}", events)
        (tmp_path / label / "notes.csv").write_text("not a recording")
    dataset = open_dataset(tmp_path)
    samples = [sample for split in SPLIT_NAMES for sample in dataset.samples(split)]
    assert len(samples) == 8
    for sample in samples:
        assert (sample.width, sample.height) == (34, 34)
        assert sample.events[["t", "x", "y", "p"]].tolist() == events[["t", "x", "y", "p"]].tolist()
    assert not dataset.skipped


def test_simulated_recordings_are_a_data_set(tmp_path, capsys):
    from neuro_ros.cli.command import main

    words = [
        "simulate",
        str(tmp_path),
        "--subjects",
        "3",
        "--seconds",
        "0.06",
        "--label",
        "arm_roll",
        "--label",
        "other",
    ]
    assert main(words) == 0
    dataset = open_dataset(tmp_path)
    assert dataset.labels == ("arm_roll", "other")
    assert {entry.subject for entry in dataset.entries} == {"0", "1", "2"}
    (expected,) = (entry for entry in dataset.of_split("test") if entry.label == 0)
    clip = GestureSimulator(seed=0, split="train").clip("arm_roll", 0.06, int(expected.subject))
    assert dataset.load(expected).events["t"].tolist() == clip["t"].tolist()


def test_simulated_subjects_are_a_data_set_of_four_splits(tmp_path):
    subjects = {"train": 1, "validation": 1, "test": 1, "hard": 1}
    dataset = SimulatedGestures(subjects, seconds=0.06, seed=4)
    assert len(dataset.entries) == 44
    cache = SampleCache(tmp_path)
    for split in subjects:
        entries = dataset.of_split(split)
        assert [entry.label for entry in entries] == list(range(11))
        sample = dataset.load(entries[7])
        clip = GestureSimulator(seed=4, split=split).clip(7, 0.06, int(entries[7].subject))
        assert sample.events.tobytes() == clip.tobytes()
        first, again = ([t.steps.bits.tobytes() for t in dataset.tensors(split, cache=cache)] for _ in range(2))
        assert first == again
    assert (cache.hits, cache.misses) == (44, 44)
    plain = SimulatedGestures({"train": 1}, seconds=0.06, seed=4, plain=True)
    assert plain.load(plain.entries[0]).events.tobytes() == GestureSimulator(seed=4).clip(0, 0.06, 0).tobytes()
    next(iter(plain.tensors("train", cache=cache)))
    assert cache.misses == 45
    for wrong in ({}, {"test": 1}):
        with pytest.raises(DatasetError, match="recording"):
            SimulatedGestures(wrong)
    with pytest.raises(ParameterRangeError, match="secret"):
        SimulatedGestures({"train": 1, "secret": 1})


def test_a_hard_folder_is_a_split(tmp_path):
    for split in ("train", "hard"):
        make_folders(tmp_path / split)
    dataset = open_dataset(tmp_path)
    assert len(dataset.of_split("hard")) == 20
    assert len(dataset.of_split("validation")) == 4


# --- bad input ------------------------------------------------------------------------------------------------------
def test_an_empty_class_one_class_and_no_class_are_refused_with_the_name(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="no data set is recognised"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="unknown kind"):
        open_dataset(tmp_path, "imagenet")
    make_folders(tmp_path, classes=("cat",))
    with pytest.raises(DatasetError, match="of one class, cat"):
        open_dataset(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DatasetError, match=r"dog: the class folder holds no recording"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"test_share": 0.0}, {"validation_share": 0.7, "test_share": 0.4}, {"labels": ("a",)}, {"labels": ("a", "a")}],
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(DatasetError, match=r"shares|labels"):
        DatasetOptions(**wrong)


def test_unreadable_recordings_are_named_skipped_and_counted_once(tmp_path, caplog):
    root = make_folders(tmp_path)
    bad = [entry.path for entry in open_dataset(root).of_split("train")[:3]]
    bad[0].write_bytes(b"nonsense")
    bad[1].write_bytes(b"")
    write(bad[2], make_events(0))
    dataset = open_dataset(root)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert len(list(dataset.samples("train"))) == 9
            assert len(list(dataset.tensors("train", SHAPE))) == 9
    assert set(dataset.skipped) == {str(path.relative_to(root)) for path in bad}
    assert "no events" in dataset.skipped[str(bad[2].relative_to(root))]
    assert len(caplog.records) == 3
    for path in root.rglob("*.npz"):
        path.write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"none of the 12 recordings of train is usable"):
        list(open_dataset(root).samples("train"))


def test_a_recording_of_absurd_size_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "MAX_EVENTS", 100)
    root = make_folders(tmp_path)
    first = open_dataset(root).of_split("train")[0]
    write(first.path, make_events(101))
    dataset = open_dataset(root)
    assert len(list(dataset.samples("train"))) == 11
    assert "more than 100 events" in dataset.skipped[first.name]


# --- order, tensors and cache -----------------------------------------------------------------------------------------
def test_the_order_is_the_seed_s(tmp_path):
    dataset = open_dataset(make_folders(tmp_path))

    def order(seed):
        return [sample.entry.name for sample in dataset.samples("train", seed)]

    assert order(None) == [entry.name for entry in dataset.of_split("train")]
    assert order(3) == order(3) != order(4)
    assert order((3, 0)) != order((3, 1))
    assert sorted(order(3)) == sorted(order(None))


def test_tensors_are_the_node_s_windows_with_the_label_at_each_step(tmp_path):
    dataset = open_dataset(make_folders(tmp_path))
    for sample, tensor in zip(dataset.samples("train"), dataset.tensors("train", SHAPE), strict=True):
        label = sample.entry.label
        steps = to_steps(sample.events, [LabelInterval(0, 1 << 40, label)], 34, 34, SHAPE)
        assert tensor.steps.bits.tobytes() == steps.bits.tobytes()
        assert tensor.steps.labels.tolist() == [label] * len(steps.bits)
        assert tensor.steps.age_steps.tolist() == list(range(len(steps.bits)))


def test_the_cache_gives_the_same_tensors_and_notices_a_changed_file_and_shape(tmp_path):
    root = make_folders(tmp_path / "data")
    cache = SampleCache(tmp_path / "cache")

    def read(shape=SHAPE):
        return [tensor.steps.bits.tobytes() for tensor in open_dataset(root).tensors("train", shape, cache=cache)]

    first = read()
    assert (cache.hits, cache.misses) == (0, 12)
    assert read() == first
    assert (cache.hits, cache.misses) == (12, 12)
    read(WindowShape(bins=10, height=16, width=16))
    assert cache.misses == 24
    write(open_dataset(root).of_split("train")[0].path, make_events(60, seed=77))
    assert read()[0] != first[0]
    assert cache.misses == 25


def test_a_stream_survives_its_bytes_and_foreign_bytes_are_no_stream():
    steps = to_steps(make_events(), [LabelInterval(0, 1 << 40, 3)], 34, 34, SHAPE)
    again = StepStream.from_bytes(steps.to_bytes(), SHAPE, 3)
    assert again is not None
    assert again.bits.tobytes() == steps.bits.tobytes()
    for data in (b"", b"x", steps.to_bytes()[:-1]):
        assert StepStream.from_bytes(data, SHAPE, 3) is None


def test_a_recording_that_makes_too_many_steps_is_refused(monkeypatch):
    monkeypatch.setattr("neuro_ros.gestures.datasets.steps.MAX_STEPS", 20)
    with pytest.raises(StepsError, match="more than 20 steps"):
        to_steps(make_events(until_ns=1_000_000_000), [], 34, 34, SHAPE)


def test_each_kind_is_one_line_of_the_table():
    assert [kind.name for kind in DATASETS] == ["dvsgesture", "nmnist", "folder"]
