# SPDX-License-Identifier: Apache-2.0
"""Any folder of class folders with recordings of any readable format.

``CLASS/recording`` or ``SPLIT/CLASS/recording``, the splits being called train, validation (or val, valid), test and
hard.
Without split folders, subjects are divided where the names tell them (``subject_07.raw``, ``user7_lab.aedat4``), and
otherwise the recordings of each class; the validation split is carved out of training in the same way where only that
is missing. `neuro_ros simulate` writes such folders.

When all classes are gestures of this package they come in its order, otherwise in that of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuro_ros.gestures.datasets.base import (
    Dataset,
    DatasetError,
    DatasetOptions,
    Entry,
    Sample,
    carve,
    grouped,
    read_events,
)
from neuro_ros.gestures.labels import LABELS

__all__ = ["ClassFolders", "matches"]

_SPLIT_FOLDERS = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation",
    "test": "test", "testing": "test", "hard": "hard",
}  # fmt: skip
# Beside the recordings of a class may lie texts about them.
_NO_RECORDINGS = {".csv", ".txt", ".md", ".json", ".yaml", ".yml", ".png", ".jpg", ".svg", ".html", ".partial"}
_SUBJECT = re.compile(r"(?:subject|user|person)[-_ ]?(\d+)", re.IGNORECASE)
_MIN_SUBJECTS = 3


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


def _is_bag(path: Path) -> bool:
    return (path / "metadata.yaml").is_file()


def _recordings(path: Path) -> Iterator[Path]:
    for item in sorted(path.iterdir()):
        if item.name.startswith("."):
            continue
        if _is_bag(item) if item.is_dir() else item.is_file() and item.suffix.lower() not in _NO_RECORDINGS:
            yield item


def matches(path: Path) -> bool:
    """Recognise a folder with folders in it."""
    return path.is_dir() and not _is_bag(path) and bool(_folders(path))


def _class_folders(path: Path) -> list[tuple[str, Path]]:
    """Return (split, folder) of each class folder; the split is empty where none is told."""
    folders = _folders(path)
    if folders and all(folder.name.lower() in _SPLIT_FOLDERS for folder in folders):
        return [(_SPLIT_FOLDERS[split.name.lower()], folder) for split in folders for folder in _folders(split)]
    return [("", folder) for folder in folders]


def _order(path: Path, names: Iterable[str], options: DatasetOptions) -> tuple[str, ...]:
    found = sorted(set(names))
    if options.labels is not None:
        foreign = [name for name in found if name not in options.labels]
        if foreign:
            raise DatasetError(
                f"{path}: class folder {', '.join(foreign)} is not among the labels {', '.join(options.labels)}"
            )
        return options.labels
    if all(name in LABELS for name in found):
        return tuple(name for name in LABELS if name in found)
    return tuple(found)


def divide(entries: list[Entry], options: DatasetOptions) -> list[Entry]:
    """Give a split to entries that have none, and a validation split to a training split that lacks one.

    Parameters
    ----------
    entries : list of Entry
        With their split, or an empty one.
    options : DatasetOptions
        Seed and shares.

    Returns
    -------
    list of Entry
        In the same order.
    """
    if not any(entry.split for entry in entries):
        entries = _carved(entries, "", "test", options.test_share, options.split_seed)
        entries = [replace(entry, split=entry.split or "train") for entry in entries]
        share = options.validation_share / (1.0 - options.test_share)
        return _carved(entries, "train", "validation", share, options.split_seed)
    if not any(entry.split == "validation" for entry in entries):
        return _carved(entries, "train", "validation", options.validation_share, options.split_seed)
    return entries


def _carved(entries: list[Entry], source: str, target: str, share: float, seed: int) -> list[Entry]:
    """Move a share of the entries of a split to another one: subjects if they are known, else some of each class."""
    of = [entry for entry in entries if entry.split == source]
    subjects = {entry.subject for entry in of}
    if all(subjects) and len(subjects) >= _MIN_SUBJECTS:
        chosen = carve(subjects, share, seed)
        moved = {entry.name for entry in of if entry.subject in chosen}
    else:
        groups = grouped(of, lambda entry: entry.label).values()
        moved = {name for group in groups for name in carve((entry.name for entry in group), share, seed)}
    return [replace(entry, split=target) if entry.name in moved else entry for entry in entries]


class ClassFolders(Dataset):
    """A folder of class folders, see the module.

    Parameters
    ----------
    path : pathlib.Path
    options : DatasetOptions

    Raises
    ------
    DatasetError
        If a class is empty or not among the given labels, or there is only one class.
    """

    kind = "folder"

    def __init__(self, path: Path, options: DatasetOptions) -> None:
        if not path.is_dir():
            raise DatasetError(f"{path}: not a folder of class folders")
        folders = _class_folders(path)
        labels = _order(path, (folder.name for _, folder in folders), options)
        entries = []
        for split, folder in folders:
            found = list(_recordings(folder))
            if not found:
                raise DatasetError(f"{folder}: the class folder holds no recording; fill or remove it")
            for item in found:
                subject = _SUBJECT.search(item.name)
                entries.append(
                    Entry(
                        str(item.relative_to(path)), item, labels.index(folder.name), split,
                        subject=str(int(subject[1])) if subject else "",
                    )
                )  # fmt: skip
        self._options = options
        self._gaps_allowed = options.labels is not None
        super().__init__(path, labels, divide(entries, options))

    def load(self, entry: Entry) -> Sample:
        """See `Dataset.load`."""
        return read_events(entry, self._options)

    def _identity(self) -> list[Any]:
        return [self._options.encoding, self._options.width, self._options.height]
