# SPDX-License-Identifier: Apache-2.0
"""What a data set is: entries with label, subject and split, read one at a time, in a seeded order.

Memory holds one recording at a time, whatever the data set's size. A recording that cannot be read is skipped, named
in `Dataset.skipped` and in one warning; only when none of a split can be read that is an error.
"""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events import Recording, open_recording
from neuro_ros.gestures.datasets.cache import TensorCache
from neuro_ros.gestures.datasets.steps import StepStream, WindowShape, to_steps
from neuro_ros.gestures.simulator import LabelInterval

__all__ = [
    "MAX_EVENTS",
    "SPLIT_NAMES",
    "Dataset",
    "DatasetError",
    "DatasetOptions",
    "Entry",
    "Sample",
    "TensorSample",
    "carve",
    "read_events",
]

#: Most data sets have the first three; hard is a test outside the ranges of training.
SPLIT_NAMES = ("train", "validation", "test", "hard")
#: Of one sample: half a gigabyte. Beyond it is no gesture, or damage.
MAX_EVENTS = 1 << 25

_logger = logging.getLogger(__name__)
# Changes when what is cached would be another for the same file and shape.
_CACHE_VERSION = 1
_ALWAYS = LabelInterval(-(1 << 63), (1 << 63) - 1, 0)

T = TypeVar("T")


class DatasetError(NeuroRosError):
    """A data set, or a part of it, cannot be used; the text is one line for the user."""


@dataclass(frozen=True)
class DatasetOptions:
    """What the user says about a data set that does not say it itself.

    Attributes
    ----------
    labels : tuple of str, optional
        The classes in index order, where they are not those of the data set; each class there must be among them.
    split_seed : int
        Who or what is carved out for validation and, where the data set has none, for the test.
    validation_share, test_share : float
        How much of it, above 0 and together below 1.
    encoding : str, optional
    width, height : int, optional
        For recordings without a header, as of `neuro_ros.events.open_recording`.
    """

    labels: tuple[str, ...] | None = None
    split_seed: int = 0
    validation_share: float = 0.2
    test_share: float = 0.2
    encoding: str | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        shares = (self.validation_share, self.test_share)
        if not (all(0.0 < share < 1.0 for share in shares) and sum(shares) < 1.0):
            raise DatasetError(f"shares {shares} for validation and test must be above 0 and together below 1")
        if self.labels is not None and (len(set(self.labels)) != len(self.labels) or len(self.labels) < 2):
            raise DatasetError(f"labels {self.labels} must be two or more, each once")


@dataclass(frozen=True)
class Entry:
    """One labelled stretch of a recording.

    Attributes
    ----------
    name : str
        Unique in the data set; for people.
    path : pathlib.Path
        The recording.
    label : int
        Class index.
    split : str
        One of `SPLIT_NAMES`.
    subject : str
        Who acted; empty = unknown.
    start_ns, end_ns : int, optional
        Half-open range of sensor time; None = the whole recording.
    part : int
        Which recording of a packed file; -1 = the file is one recording.
    """

    name: str
    path: Path
    label: int
    split: str
    subject: str = ""
    start_ns: int | None = None
    end_ns: int | None = None
    part: int = -1


@dataclass(frozen=True)
class Sample:
    """A labelled recording in memory.

    Attributes
    ----------
    entry : Entry
        What it is.
    events : (n,) EVENT_DTYPE
        In recorded order; of a stretch, counted from its start.
    width, height : int
        Of the sensor [px].
    """

    entry: Entry
    events: npt.NDArray[np.void]
    width: int
    height: int


@dataclass(frozen=True)
class TensorSample:
    """A labelled recording as network input.

    Attributes
    ----------
    entry : Entry
        What it is.
    steps : StepStream
        One step a bin, each with the label.
    """

    entry: Entry
    steps: StepStream


class Dataset(ABC):
    """Labelled recordings.

    Parameters
    ----------
    path : pathlib.Path
    labels : tuple of str
        Names of the classes, in index order.
    entries : iterable of Entry

    Attributes
    ----------
    path, labels
        As given.
    entries : tuple of Entry
        All, in a fixed order.
    skipped : dict of str to str
        What could not be used so far and why, by name; each is counted once.

    Raises
    ------
    DatasetError
        If there are fewer than two classes, or one has no entry in training.
    """

    #: For people, and for the record of what was trained on it.
    kind = "dataset"
    #: Whether the classes of the data set may be without entries, since the labels were given.
    _gaps_allowed = False

    def __init__(self, path: Path, labels: Sequence[str], entries: Iterable[Entry]) -> None:
        self.path, self.labels = path, tuple(labels)
        self.entries = tuple(entries)
        self.skipped: dict[str, str] = {}
        if not self.entries:
            raise DatasetError(f"{path}: there is no labelled recording in it")
        held = {entry.label for entry in self.entries}
        if len(held) < 2:
            raise DatasetError(f"{path}: all recordings are of one class, {self.labels[held.pop()]}; two are needed")
        trained = {entry.label for entry in self.entries if entry.split == "train"}
        empty = [name for i, name in enumerate(self.labels) if i not in trained]
        if empty and not self._gaps_allowed:
            raise DatasetError(
                f"{path}: no training recording of class {', '.join(empty)}; add some or remove the class"
            )

    def of_split(self, split: str) -> tuple[Entry, ...]:
        """Return the entries of a split, in their fixed order.

        Raises
        ------
        DatasetError
            If there is no such split, or nothing in it.
        """
        if split not in SPLIT_NAMES:
            raise DatasetError(f"unknown split {split!r}; choose one of {', '.join(SPLIT_NAMES)}")
        found = tuple(entry for entry in self.entries if entry.split == split)
        if not found:
            raise DatasetError(f"{self.path}: the split {split} is empty")
        return found

    @abstractmethod
    def load(self, entry: Entry) -> Sample:
        """Read an entry.

        Raises
        ------
        NeuroRosError
            If it cannot be read, or holds no events.
        """

    def samples(self, split: str, seed: int | Sequence[int] | None = None) -> Iterator[Sample]:
        """Read a split, one recording after the other.

        Parameters
        ----------
        split : str
            One of `SPLIT_NAMES`.
        seed : int or sequence of int, optional
            Of the order, for instance (seed, epoch); None = the fixed one.

        Returns
        -------
        iterator of Sample
            Recordings that cannot be read are left out, see `skipped`.

        Raises
        ------
        DatasetError
            If the split is empty, or nothing in it can be read.
        """
        return self._each(split, seed, self.load)

    def tensor(self, entry: Entry, shape: WindowShape | None = None, cache: TensorCache | None = None) -> TensorSample:
        """Read an entry as a spike tensor, from the cache where it is in it.

        Parameters
        ----------
        entry : Entry
        shape : WindowShape, optional
            Window and tensor.
        cache : TensorCache, optional
            Where tensors are kept between passes, and on the disk between processes.

        Raises
        ------
        NeuroRosError
            If it cannot be read, or makes no window.
        """
        shape = shape or WindowShape()
        key = None if cache is None else self._key(entry, shape)
        kept = None if cache is None or key is None else cache.get(key)
        steps = None if kept is None else StepStream.from_bytes(kept, shape, entry.label)
        if steps is None:
            sample = self.load(entry)
            whole = LabelInterval(_ALWAYS.start_ns, _ALWAYS.end_ns, entry.label)
            steps = to_steps(sample.events, [whole], sample.width, sample.height, shape)
            if cache is not None and key is not None:
                cache.put(key, steps.to_bytes())
        return TensorSample(entry, steps)

    def tensors(
        self,
        split: str,
        shape: WindowShape | None = None,
        seed: int | Sequence[int] | None = None,
        cache: TensorCache | None = None,
    ) -> Iterator[TensorSample]:
        """Read a split as spike tensors, one after the other.

        Parameters
        ----------
        split, seed
            As for `samples`.
        shape, cache
            As for `tensor`.

        Returns
        -------
        iterator of TensorSample

        Raises
        ------
        DatasetError
            As for `samples`.
        """
        return self._each(split, seed, lambda entry: self.tensor(entry, shape, cache))

    def _each(self, split: str, seed: int | Sequence[int] | None, load: Callable[[Entry], T]) -> Iterator[T]:
        entries = self.of_split(split)
        order: Iterable[int] = range(len(entries))
        if seed is not None:
            parts = [seed] if isinstance(seed, int) else list(seed)
            order = np.random.default_rng([0x5F0F, *parts]).permutation(len(entries)).tolist()

        def read() -> Iterator[T]:
            good = 0
            for index in order:
                entry = entries[index]
                try:
                    sample = load(entry)
                except NeuroRosError as error:
                    self.skip(entry.name, str(error))
                    continue
                good += 1
                yield sample
            if not good:
                reason = next((self.skipped[e.name] for e in entries if e.name in self.skipped), "")
                raise DatasetError(f"{self.path}: none of the {len(entries)} recordings of {split} is usable: {reason}")

        return read()

    def skip(self, name: str, reason: str) -> None:
        """Note what cannot be used; a warning the first time."""
        if name not in self.skipped:
            self.skipped[name] = reason
            _logger.warning("skipped %s: %s", name, reason)

    def _key(self, entry: Entry, shape: WindowShape) -> str | None:
        """Return a digest of all that decides an entry's tensor but its label; None when the file is gone."""
        try:
            files = sorted(entry.path.iterdir()) if entry.path.is_dir() else [entry.path]
            identity = [
                (str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns)
                for file in files
                if file.is_file()
            ]
        except OSError:
            return None
        place = (entry.start_ns, entry.end_ns, entry.part)
        text = json.dumps([_CACHE_VERSION, self.kind, self._identity(), identity, place, asdict(shape)])
        return hashlib.sha256(text.encode()).hexdigest()

    def _identity(self) -> list[Any]:
        """Return what else decides how an entry is read."""
        return []


def carve(keys: Iterable[str], share: float, seed: int) -> set[str]:
    """Choose a share of keys, at least one and not all, by a seeded hash of each.

    Parameters
    ----------
    keys : iterable of str
        To choose from; equal ones count once.
    share : float
        Of their number.
    seed : int
        Another seed, another choice. A key added later moves at most one other.

    Returns
    -------
    set of str
        Empty where there is only one key.
    """
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    if len(ordered) < 2:
        return set()
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])


def grouped(entries: Iterable[Entry], by: Callable[[Entry], Hashable]) -> dict[Hashable, list[Entry]]:
    """Return the entries in groups."""
    groups: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(by(entry), []).append(entry)
    return groups


def read_events(entry: Entry, options: DatasetOptions) -> Sample:
    """Read the events of an entry from a recording of any readable format.

    Parameters
    ----------
    entry : Entry
    options : DatasetOptions
        For recordings without a header.

    Returns
    -------
    Sample

    Raises
    ------
    RecordingError
        If the recording cannot be read.
    DatasetError
        If it holds no events, or more than `MAX_EVENTS`.
    """
    with open_recording(entry.path, options.encoding, options.width, options.height) as recording:
        found = _read_events(entry, recording)
    if entry.start_ns is not None:
        found["t"] -= entry.start_ns
    return Sample(entry, found, recording.width, recording.height)


def _read_events(entry: Entry, recording: Recording) -> npt.NDArray[np.void]:
    parts: list[npt.NDArray[np.void]] = []
    count = 0
    for batch in recording.batches(start_ns=entry.start_ns):
        events = batch.events
        if entry.end_ns is not None:
            inside = events["t"] < entry.end_ns
            if not inside.all():
                events = events[inside]
                if not len(events) and int(batch.events["t"].min(initial=1 << 62)) >= entry.end_ns:
                    break  # later ones lie beyond, but for what a sensor's clock does that is set back
        if len(events):
            parts.append(events.copy())
            count += len(events)
        if count > MAX_EVENTS:
            raise DatasetError(f"{entry.name}: more than {MAX_EVENTS} events; cut the recording")
    if not count:
        raise DatasetError(f"{entry.name}: no events")
    return np.concatenate(parts)
