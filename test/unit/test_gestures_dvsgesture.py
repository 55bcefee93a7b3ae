# SPDX-License-Identifier: Apache-2.0
"""DvsGesture as a data set. The files follow its description byte by byte; the real ones were not at hand."""

import pytest
from made_datasets import HEADER, make_dvsgesture
from made_events import make_events

from neuro_ros.gestures import LABELS
from neuro_ros.gestures.datasets import (
    DatasetError,
    DatasetOptions,
    dvsgesture,
    open_dataset,
)

SPLIT_NAMES = ("train", "validation", "test")


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
