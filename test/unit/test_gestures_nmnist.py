# SPDX-License-Identifier: Apache-2.0
"""N-MNIST as a data set: folders of .bin and .bs2, and the packed npz. All files are made here."""

import numpy as np
import pytest
from made_datasets import digits, five_bytes, pack

from neuro_ros.gestures.datasets import (
    DatasetError,
    open_dataset,
)

SPLIT_NAMES = ("train", "validation", "test")


@pytest.mark.parametrize("suffix", [".bin", ".bs2"])
def test_nmnist_folders_and_packed_files_hold_the_same(tmp_path, suffix):
    (tmp_path / "packed").mkdir()
    for split, seed in (("Train", 0), ("Test", 500)):
        recordings, labels = digits(seed=seed)
        pack(tmp_path / "packed" / f"nmnist_{split.lower()}.npz", recordings, labels)
        for k, (events, label) in enumerate(zip(recordings, labels, strict=True)):
            folder = tmp_path / "folders" / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{k:05d}{suffix}").write_bytes(five_bytes(events))
    folders, packed = open_dataset(tmp_path / "folders"), open_dataset(tmp_path / "packed")
    assert (folders.kind, packed.kind) == ("nmnist", "nmnist-packed")
    for dataset in (folders, packed):
        assert dataset.labels == tuple("0123456789")
        assert [len(dataset.of_split(split)) for split in SPLIT_NAMES] == [40, 10, 50]
        assert sorted(entry.label for entry in dataset.of_split("validation")) == list(range(10))
    for ours, theirs in zip(folders.samples("test"), packed.samples("test"), strict=True):
        assert ours.entry.label == theirs.entry.label
        assert (ours.width, ours.height) == (theirs.width, theirs.height) == (34, 34)
        assert ours.events[["t", "x", "y", "p"]].tolist() == theirs.events[["t", "x", "y", "p"]].tolist()


def test_a_single_packed_file_is_training(tmp_path):
    pack(tmp_path / "mine.npz", *digits())
    dataset = open_dataset(tmp_path / "mine.npz")
    assert {entry.split for entry in dataset.entries} == {"train", "validation"}
    with pytest.raises(DatasetError, match="split test is empty"):
        dataset.of_split("test")
    with pytest.raises(DatasetError, match="unknown split"):
        dataset.of_split("exam")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(3, np.uint8)}, "differ in length"),
        ({"label": np.zeros(3, np.uint8)}, "offsets do not fit 3 labels"),
        ({"label": np.full(50, 10, np.uint8)}, "not digits"),
        ({"offsets": np.arange(51)}, "do not run from 0 up to the 2000 events"),
        ({"offsets": np.array([0, 100, 50, *range(60, 107), 2000])}, "do not run"),
        ({"t": np.zeros(2000)}, "t is not one row of whole numbers"),
        ({"y": np.zeros((2, 1000), np.uint8)}, "y is not one row"),
        ({"t": np.array([{}] * 2000, object)}, "not readable as a packed data set"),
        ({"p": None}, "p is missing"),
    ],
)
def test_packed_files_whose_parts_do_not_fit_are_refused(tmp_path, changes, message):
    path = tmp_path / "train.npz"
    pack(path, *digits(), **changes)
    with pytest.raises(DatasetError, match=message):
        open_dataset(path, "nmnist")


def test_packed_files_that_are_cut_or_foreign_are_refused(tmp_path):
    path = tmp_path / "train.npz"
    pack(path, *digits())
    data = path.read_bytes()
    for bad in (data[: len(data) // 2], b"PK\x03\x04" + bytes(100), b""):
        path.write_bytes(bad)
        with pytest.raises(DatasetError, match="not readable"):
            open_dataset(path, "nmnist")
    with pytest.raises(DatasetError, match="no N-MNIST"):
        open_dataset(tmp_path / "..", "nmnist")


def test_an_event_beyond_the_sensor_makes_its_recording_unusable(tmp_path):
    recordings, labels = digits()
    recordings[0]["x"][3] = 34
    pack(tmp_path / "train.npz", recordings, labels)
    dataset = open_dataset(tmp_path / "train.npz")
    with pytest.raises(DatasetError, match=r"train.npz:0: an event lies beyond 34x34"):
        dataset.load(dataset.entries[0])
