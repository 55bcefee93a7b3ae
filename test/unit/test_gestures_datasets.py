# SPDX-License-Identifier: Apache-2.0
"""Data sets: what is read, how it is divided, and what happens to what cannot be used. All files are made here.

The DvsGesture files follow the description of the data set, byte by byte; the real ones were not at hand.
"""

import logging
import struct

import numpy as np
import pytest

from neuro_ros.events import EVENT_DTYPE, create_recording
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
    dvsgesture,
    open_dataset,
    to_steps,
)
from neuro_ros.gestures.datasets.steps import StepsError
from neuro_ros.gestures.simulator import LabelInterval

SPLIT_NAMES = ("train", "validation", "test")
SHAPE = WindowShape(bins=5, height=16, width=16)


def make_events(count=50, width=34, height=34, seed=0, until_ns=100_000_000):
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, until_ns // 1000, count)) * 1000
    events["x"], events["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    return events


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
    clip = GestureSimulator(seed=0).clip("arm_roll", 0.06, int(expected.subject))
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


# --- N-MNIST --------------------------------------------------------------------------------------------------------
def five_bytes(events):
    """Write events as N-MNIST's files hold them."""
    rows = []
    for t, x, y, p in events[["t", "x", "y", "p"]].tolist():
        rows.append(bytes([x, y, (p << 7) | (t // 1000 >> 16)]) + struct.pack(">H", t // 1000 & 0xFFFF))
    return b"".join(rows)


def pack(path, recordings, labels, **changes):
    joined = np.concatenate(recordings)
    columns = {
        "x": joined["x"].astype(np.uint8), "y": joined["y"].astype(np.uint8), "p": joined["p"].astype(bool),
        "t": (joined["t"] // 1000).astype(np.uint32), "label": np.array(labels, np.uint8),
        "offsets": np.cumsum([0, *map(len, recordings)]).astype(np.int64),
        "sample_id": np.arange(len(labels), dtype=np.int32),
    }  # fmt: skip
    columns |= changes
    np.savez_compressed(path, **{name: column for name, column in columns.items() if column is not None})


def digits(per_class=5, seed=0):
    labels = [digit for digit in range(10) for _ in range(per_class)]
    return [make_events(40, seed=seed + k) for k in range(len(labels))], labels


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


# --- DvsGesture -----------------------------------------------------------------------------------------------------
def aedat31(events):
    """Write events as the DVS128 files of the data set hold them, 100 a packet."""
    parts = [
        (
            b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
            b"#Start-Time: 2016-09-13 13:23:10 (TZ+0000)\r\n#!END-HEADER\r\n"
        )
    ]
    for start in range(0, len(events), 100):
        piece = events[start : start + 100][["t", "x", "y", "p"]].tolist()
        parts.append(struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(piece), len(piece), len(piece)))
        parts += [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t // 1000) for t, x, y, p in piece]
    return b"".join(parts)


HEADER = "class,startTime_usec,endTime_usec"


def make_dvsgesture(root, users=range(1, 6), test_users=(24, 25), gestures=tuple(range(1, 12))):
    for name, of in (("trials_to_train.txt", users), ("trials_to_test.txt", test_users)):
        trials = []
        for user in of:
            trial = f"user{user:02d}_led"
            events = make_events(1200, 128, 128, seed=user, until_ns=1_200_000_000)
            (root / f"{trial}.aedat").write_bytes(aedat31(events))
            rows = [f"{g},{100_000 * k + 50_000},{100_000 * k + 140_000}" for k, g in enumerate(gestures)]
            (root / f"{trial}_labels.csv").write_text("\n".join([HEADER, *rows]) + "\n")
            trials.append(f"{trial}.aedat")
        (root / name).write_text("\n".join(trials) + "\n\n")
    return root


def test_dvsgesture_is_cut_into_labelled_gestures_of_three_disjoint_sets_of_people(tmp_path):
    dataset = open_dataset(make_dvsgesture(tmp_path))
    assert (dataset.kind, dataset.labels) == ("dvsgesture", LABELS)
    people = {split: {entry.subject for entry in dataset.of_split(split)} for split in SPLIT_NAMES}
    assert people["test"] == {"user24", "user25"}
    assert len(people["validation"]) == 1
    assert people["train"] | people["validation"] == {f"user{k:02d}" for k in range(1, 6)}
    assert not people["train"] & people["validation"]
    assert [entry.label for entry in dataset.of_split("test")] == [*range(11), *range(11)]
    for order in (None, 5):  # also when the trials are read in turns
        for sample in dataset.samples("train", order):
            entry = sample.entry
            whole = make_events(1200, 128, 128, seed=int(entry.subject[4:]), until_ns=1_200_000_000)
            held = whole[(whole["t"] >= entry.start_ns) & (whole["t"] < entry.end_ns)]
            assert sample.events["t"].tolist() == (held["t"] - entry.start_ns).tolist()
            assert sample.events["x"].tolist() == held["x"].tolist()
            assert (sample.width, sample.height) == (128, 128)
    assert dataset.shortened == 0


def test_a_gesture_that_reaches_into_the_next_one_is_shortened(tmp_path):
    make_dvsgesture(tmp_path)
    labels = tmp_path / "user02_led_labels.csv"
    labels.write_text(labels.read_text().replace("9,850000,940000", "9,850000,990000"))
    dataset = open_dataset(tmp_path)
    (entry,) = (e for e in dataset.entries if e.subject == "user02" and e.label == 8)
    assert (entry.start_ns, entry.end_ns) == (850_000_000, 950_000_000)
    assert dataset.shortened == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line is not"),
        ("class,start,end\n1,2,3\n", "first line is not"),
        (HEADER + "\n", "no gesture is labelled"),
        (HEADER + "\n1,5\n", "line 2 is not three whole numbers"),
        (HEADER + "\n1,5,six\n", "line 2 is not three whole numbers"),
        (HEADER + "\n1,5,6\n12,7,8\n", "line 3 has class 12"),
        (HEADER + "\n0,5,6\n", "class 0"),
        (HEADER + "\n1,9,3\n", "from 9 to 3 us cannot be"),
        (HEADER + f"\n1,1,{10**30}\n", "cannot be"),
    ],
)
def test_label_files_that_do_not_fit_cost_their_trial(tmp_path, text, message):
    make_dvsgesture(tmp_path)
    (tmp_path / "user24_led_labels.csv").write_text(text)
    dataset = open_dataset(tmp_path)
    assert message in dataset.skipped["user24_led.aedat"]
    assert {entry.subject for entry in dataset.of_split("test")} == {"user25"}


def test_missing_trials_and_gestures_beyond_a_recording_are_skipped(tmp_path):
    make_dvsgesture(tmp_path)
    (tmp_path / "user24_led.aedat").unlink()
    with (tmp_path / "user25_led_labels.csv").open("a") as labels:
        labels.write("3,9000000,9900000\n")
    dataset = open_dataset(tmp_path)
    assert "but not there" in dataset.skipped["user24_led.aedat"]
    assert len(list(dataset.samples("test"))) == 11
    assert "no events" in dataset.skipped["user25_led.aedat:11"]


def test_lists_of_trials_that_do_not_fit_are_refused(tmp_path):
    make_dvsgesture(tmp_path)
    train, test = tmp_path / "trials_to_train.txt", tmp_path / "trials_to_test.txt"
    kept = test.read_text()
    test.write_text(kept + "user01_led.aedat\n")
    with pytest.raises(DatasetError, match="user 1 is in both"):
        open_dataset(tmp_path)
    for wrong in ("../user01_led.aedat", "readme", "..\\user01_led.aedat"):
        test.write_text(wrong)
        with pytest.raises(DatasetError, match="is no trial"):
            open_dataset(tmp_path)
    test.unlink()
    with pytest.raises(DatasetError, match=r"without trials_to_test.txt"):
        open_dataset(tmp_path)
    test.write_text(kept)
    train.write_text("user01_dark.aedat\n")
    with pytest.raises(DatasetError, match="no training recording of class"):
        open_dataset(tmp_path)
    test.write_text("")
    with pytest.raises(DatasetError, match=r"no trial is usable.*user01_dark"):
        open_dataset(tmp_path)


def test_a_label_file_of_absurd_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(dvsgesture, "_MAX_LABEL_BYTES", 400)
    make_dvsgesture(tmp_path)
    (tmp_path / "user24_led_labels.csv").write_text(HEADER + "\n" + "1,5,6\n" * 100)
    assert "are no list of labels" in open_dataset(tmp_path, options=DatasetOptions()).skipped["user24_led.aedat"]


def test_each_kind_is_one_line_of_the_table():
    assert [kind.name for kind in DATASETS] == ["dvsgesture", "nmnist", "folder"]
