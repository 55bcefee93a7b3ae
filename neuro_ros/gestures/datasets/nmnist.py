# SPDX-License-Identifier: Apache-2.0
"""N-MNIST: folders of ``.bin`` or ``.bs2`` files, ``Train/DIGIT`` and ``Test/DIGIT``, or packed in ``.npz`` files.

A packed file holds the columns ``x``, ``y``, ``p``, ``t`` [us] of all recordings behind each other, ``offsets``
(recording i is ``[offsets[i], offsets[i + 1])``) and ``label``. A folder with one file whose name has *train* in it and
one with *test* is both splits; a single file is training. The data set is never bundled with this package.

N-MNIST has no validation split: it is carved out of training, a share of each digit. A digit has no mirror image that
is a digit, so do not flip.

References
----------
Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades", Front. Neurosci.
9:437, 2015, doi:10.3389/fnins.2015.00437.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuro_ros.events import EVENT_DTYPE
from neuro_ros.gestures.datasets.base import Dataset, DatasetError, DatasetOptions, Entry, Sample, read_events
from neuro_ros.gestures.datasets.folder import divide

__all__ = ["NmnistFolders", "PackedNmnist", "matches", "open_nmnist"]

_LABELS = tuple(str(digit) for digit in range(10))
_SIDE_PX = 34
_SUFFIXES = (".bin", ".bs2")
_COLUMNS = ("x", "y", "p", "t", "offsets", "label")
# Unpacked, of a packed file; all of N-MNIST has 250 million events and belongs into folders.
_MAX_UNPACKED_BYTES = 1 << 30


def _split_folders(path: Path) -> dict[str, Path]:
    return {item.name.lower(): item for item in sorted(path.iterdir()) if item.is_dir()}


def _packed_files(path: Path) -> dict[str, Path]:
    """Return the packed files of a path by split."""
    if path.is_file():
        return {"train": path} if path.suffix.lower() == ".npz" else {}
    files = [item for item in sorted(path.iterdir()) if item.suffix.lower() == ".npz" and item.is_file()]
    found: dict[str, Path] = {}
    for split in ("train", "test"):
        of = [item for item in files if split in item.stem.lower()]
        if len(of) > 1:
            raise DatasetError(f"{path}: {len(of)} files could be the {split} split; name the file, or leave one")
        if of:
            found[split] = of[0]
    return found


def _is_packed(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in _COLUMNS} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def matches(path: Path) -> bool:
    """Recognise folders of digits below Train, or a packed file."""
    packed = _packed_files(path)
    if packed:
        return any(_is_packed(file) for file in packed.values())
    train = _split_folders(path).get("train") if path.is_dir() else None
    if train is None:
        return False
    digits = [item for item in train.iterdir() if item.is_dir() and item.name in _LABELS]
    return any(next((f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES), None) for folder in digits)


def open_nmnist(path: Path, options: DatasetOptions) -> Dataset:
    """Open N-MNIST as folders or as packed files.

    Raises
    ------
    DatasetError
        If it is neither, or what it holds does not fit together.
    """
    packed = _packed_files(path)
    return PackedNmnist(path, packed, options) if packed else NmnistFolders(path, options)


class NmnistFolders(Dataset):
    """Files of one recording each, see the module."""

    kind = "nmnist"

    def __init__(self, path: Path, options: DatasetOptions) -> None:
        folders = _split_folders(path) if path.is_dir() else {}
        if "train" not in folders:
            raise DatasetError(
                f"{path}: no N-MNIST: neither a folder Train with a folder for each digit nor .npz files"
            )
        entries = []
        for split in ("train", "test"):
            for digit, label in enumerate(_LABELS):
                folder = folders[split] / label if split in folders else None
                if folder is None or not folder.is_dir():
                    continue  # a digit without training recordings is refused for all data sets alike
                files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES]
                entries += [Entry(str(file.relative_to(path)), file, digit, split) for file in files]
        self._options = DatasetOptions(encoding="nmnist", width=_SIDE_PX, height=_SIDE_PX)
        super().__init__(path, _LABELS, divide(entries, options))

    def load(self, entry: Entry) -> Sample:
        """See `Dataset.load`."""
        return read_events(entry, self._options)


class PackedNmnist(Dataset):
    """Many recordings in one file for each split, see the module."""

    kind = "nmnist-packed"

    def __init__(self, path: Path, files: dict[str, Path], options: DatasetOptions) -> None:
        self._columns: dict[Path, dict[str, npt.NDArray[np.generic]]] = {}
        entries = []
        for split, file in files.items():
            columns = _load(file)
            self._columns[file] = columns
            for part, label in enumerate(columns["label"].tolist()):
                entries.append(Entry(f"{file.name}:{part}", file, int(label), split, part=part))
        if "train" not in files:
            raise DatasetError(f"{path}: there is a test file but no training file")
        super().__init__(path, _LABELS, divide(entries, options))

    def load(self, entry: Entry) -> Sample:
        """See `Dataset.load`."""
        columns = self._columns[entry.path]
        start, stop = (int(columns["offsets"][entry.part + k]) for k in (0, 1))
        if stop == start:
            raise DatasetError(f"{entry.name}: no events")
        events = np.zeros(stop - start, EVENT_DTYPE)
        for name in ("x", "y", "p"):
            events[name] = columns[name][start:stop]
        events["t"] = columns["t"][start:stop].astype(np.int64) * 1000
        if int(events["x"].max()) >= _SIDE_PX or int(events["y"].max()) >= _SIDE_PX:
            raise DatasetError(f"{entry.name}: an event lies beyond {_SIDE_PX}x{_SIDE_PX} px")
        return Sample(entry, events, _SIDE_PX, _SIDE_PX)


def _load(file: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read a packed file and check that its parts fit together."""
    try:
        with zipfile.ZipFile(file) as archive:
            held = {item.filename: item.file_size for item in archive.infolist()}
        missing = [name for name in _COLUMNS if f"{name}.npy" not in held]
        if missing:
            raise DatasetError(f"{file}: a packed data set has {', '.join(_COLUMNS)}; {', '.join(missing)} is missing")
        size = sum(held[f"{name}.npy"] for name in _COLUMNS)
        if size > _MAX_UNPACKED_BYTES:
            raise DatasetError(f"{file}: {size} bytes unpacked, more than {_MAX_UNPACKED_BYTES}; use folders")
        with np.load(file, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in _COLUMNS}
    except (
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        RuntimeError,
        MemoryError,
    ) as error:
        raise DatasetError(f"{file}: not readable as a packed data set: {' '.join(str(error).split())}") from error
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "iub":
            raise DatasetError(f"{file}: {name} is not one row of whole numbers")
    events, offsets, labels = len(columns["t"]), columns["offsets"].astype(np.int64), columns["label"]
    lengths = {name: len(columns[name]) for name in ("x", "y", "p", "t")}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"{file}: the columns differ in length, {lengths}")
    if len(offsets) != len(labels) + 1:
        raise DatasetError(f"{file}: {len(offsets)} offsets do not fit {len(labels)} labels; there is one more of them")
    if offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        raise DatasetError(f"{file}: the offsets do not run from 0 up to the {events} events")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(_LABELS):
        raise DatasetError(f"{file}: labels from {labels.min()} to {labels.max()} are not digits")
    return columns
