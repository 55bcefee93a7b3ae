# SPDX-License-Identifier: Apache-2.0
"""DvsGesture (DVS128 Gesture) as IBM distributes it: AEDAT 3.1 recordings of whole trials, and label files.

Beside each ``user01_fluorescent.aedat`` lies ``user01_fluorescent_labels.csv`` with the header
``class,startTime_usec,endTime_usec`` and a line for each gesture; class 1 to 11 is class index 0 to 10 here.
``trials_to_train.txt`` and ``trials_to_test.txt`` list the recordings of the 23 and the 6 subjects of either split.
Validation is carved out of the training subjects, so that no person is in two splits.

Known of the distributed files: in ``user22_led_labels.csv`` a gesture ends behind the beginning of the next one; such
an end is drawn back to it, and that is counted in `DvsGesture.shortened`.

Not tested on the real data set, which was not at hand: the tests make files of this description.

References
----------
Amir et al., "A low power, fully event-based gesture recognition system", CVPR 2017, doi:10.1109/CVPR.2017.781, and
the data set's own README (research.ibm.com/interactive/dvsgesture).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuro_ros.gestures.datasets.base import Dataset, DatasetError, DatasetOptions, Entry, Sample, carve, read_events
from neuro_ros.gestures.labels import LABELS

__all__ = ["DvsGesture", "matches"]

_LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
_HEADER = ("class", "startTime_usec", "endTime_usec")
_SUBJECT = re.compile(r"user(\d+)_", re.IGNORECASE)
_MAX_LABEL_BYTES = 1 << 20
_NS_PER_US = 1000
# Later than any recording, and still within 64 bits as nanoseconds.
_MAX_US = 1 << 50


def matches(path: Path) -> bool:
    """Recognise the folder by its lists of trials."""
    return path.is_dir() and any((path / name).is_file() for name in _LISTS.values())


def _read_text(path: Path) -> list[str]:
    """Read a small text file as lines."""
    if path.stat().st_size > _MAX_LABEL_BYTES:
        raise DatasetError(f"{path}: {path.stat().st_size} bytes are no list of labels")
    return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def read_labels(path: Path) -> list[tuple[int, int, int]]:
    """Read a label file.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    list of (class index, start_ns, end_ns)
        In the order of their starts.

    Raises
    ------
    DatasetError
        With the line, if one is not three whole numbers, the class is not 1 to 11, or a gesture ends before it begins.
    """
    lines = _read_text(path)
    if not lines or tuple(part.strip() for part in lines[0].split(",")) != _HEADER:
        raise DatasetError(f"{path}: the first line is not {','.join(_HEADER)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            label, start_us, end_us = (int(part) for part in line.split(","))
        except ValueError:
            raise DatasetError(f"{path}: line {number} is not three whole numbers: {line[:60]!r}") from None
        if not 1 <= label <= len(LABELS):
            raise DatasetError(f"{path}: line {number} has class {label}; classes are 1 to {len(LABELS)}")
        if not 0 <= start_us < end_us <= _MAX_US:
            raise DatasetError(f"{path}: line {number}: a gesture from {start_us} to {end_us} us cannot be")
        rows.append((label - 1, start_us * _NS_PER_US, end_us * _NS_PER_US))
    if not rows:
        raise DatasetError(f"{path}: no gesture is labelled in it")
    return sorted(rows, key=lambda row: row[1])


class DvsGesture(Dataset):
    """The folder that the archive unpacks to, see the module.

    Parameters
    ----------
    path : pathlib.Path
    options : DatasetOptions

    Attributes
    ----------
    shortened : int
        Gestures whose end was drawn back to the beginning of the next one.

    Raises
    ------
    DatasetError
        If a list of trials is missing or names somebody of the other one too, or no trial is usable.
    """

    kind = "dvsgesture"

    def __init__(self, path: Path, options: DatasetOptions) -> None:
        self.shortened = 0
        self._options = replace(options, encoding=None)
        trials = self._trials(path)
        train = {subject for split, _, subject in trials if split == "train"}
        both = train & {subject for split, _, subject in trials if split == "test"}
        if both:
            raise DatasetError(f"{path}: user {', '.join(sorted(both))} is in both {' and '.join(_LISTS.values())}")
        validation = carve(train, options.validation_share, options.split_seed)
        unusable: dict[str, str] = {}
        entries: list[Entry] = []
        for split, file, subject in trials:
            entries += self._gestures(file, "validation" if subject in validation else split, subject, unusable)
        if not entries:
            first = next(iter(unusable.values()), "the lists name no trial")
            raise DatasetError(f"{path}: no trial is usable; {first}")
        super().__init__(path, LABELS, entries)
        for name, reason in unusable.items():
            self.skip(name, reason)

    @staticmethod
    def _trials(path: Path) -> list[tuple[str, Path, str]]:
        """Return (split, recording, subject) of each trial in the lists."""
        found = []
        for split, name in _LISTS.items():
            if not (path / name).is_file():
                raise DatasetError(f"{path}: no DvsGesture without {name}")
            for line in _read_text(path / name):
                trial = line.strip()
                if not trial:
                    continue
                subject = _SUBJECT.match(trial)
                if subject is None or Path(trial).name != trial or "\\" in trial:
                    raise DatasetError(f"{path / name}: {trial[:60]!r} is no trial; they are called user01_led.aedat")
                found.append((split, path / trial, str(int(subject[1]))))
        return found

    def _gestures(self, file: Path, split: str, subject: str, unusable: dict[str, str]) -> list[Entry]:
        """Return the entries of a trial; none, and the reason in `unusable`, where it is missing or its labels are."""
        labels = file.with_name(f"{file.stem}_labels.csv")
        try:
            missing = next((needed for needed in (file, labels) if not needed.is_file()), None)
            if missing is not None:
                raise DatasetError(f"{missing}: in the list of trials, but not there")
            rows = read_labels(labels)
        except DatasetError as error:
            unusable[file.name] = str(error)
            return []
        entries = []
        for number, (label, start_ns, end_ns) in enumerate(rows):
            if number + 1 < len(rows) and rows[number + 1][1] < end_ns:
                end_ns = rows[number + 1][1]
                self.shortened += 1
            if end_ns > start_ns:
                entries.append(
                    Entry(f"{file.name}:{number}", file, label, split, f"user{int(subject):02d}", start_ns, end_ns)
                )
        return entries

    def load(self, entry: Entry) -> Sample:
        """See `Dataset.load`."""
        return read_events(entry, self._options)

    def _identity(self) -> list[Any]:
        return [self._options.width, self._options.height]
