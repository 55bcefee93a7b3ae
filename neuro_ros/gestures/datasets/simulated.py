# SPDX-License-Identifier: Apache-2.0
"""Simulated gestures as a data set: acted when they are asked for, one recording of each class by each subject.

A subject belongs to a split by its seed (`neuro_ros.gestures.SPLIT_TABLE`), so that this data set has the fourth split,
``hard``. Nothing lies on the disk but, with a cache, the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from neuro_ros.gestures.datasets.base import Dataset, DatasetError, Entry, Sample
from neuro_ros.gestures.datasets.steps import WindowShape
from neuro_ros.gestures.labels import LABELS
from neuro_ros.gestures.simulator import GestureSimulator
from neuro_ros.gestures.splits import SPLIT_TABLE, subject_seeds

__all__ = ["SimulatedGestures"]

# Changes when the simulator gives other events for the same seeds.
_SIMULATOR_VERSION = 1


class SimulatedGestures(Dataset):
    """The gesture simulator as a data set.

    Parameters
    ----------
    subjects : mapping of str to int
        How many subjects of each split; the others are empty.
    seconds : float
        Length of a recording.
    seed : int
        Of sensors and performances.
    plain : bool
        Whether everything has the plain look instead of what the ranges of the splits hold.

    Raises
    ------
    DatasetError
        If no training subjects are asked for.
    ParameterRangeError
        If a split is unknown or has not so many subjects, or a value is outside its range.
    """

    kind = "simulated"

    def __init__(self, subjects: Mapping[str, int], seconds: float = 1.5, seed: int = 1, plain: bool = False) -> None:
        if not 0.05 <= seconds <= 3600.0:
            raise DatasetError(f"recordings of {seconds} s must be 0.05 to 3600 s")
        self.seconds, self.plain = seconds, plain
        self._simulators = {
            split: GestureSimulator(seed=seed, split="" if plain else split)
            for split in SPLIT_TABLE
            if split in subjects
        }
        entries = [
            Entry(f"{split}/{who}/{name}", Path("simulated"), label, split, str(who))
            for split, count in subjects.items()
            for who in subject_seeds(split, count)
            for label, name in enumerate(LABELS)
        ]
        super().__init__(Path("simulated"), LABELS, entries)

    def load(self, entry: Entry) -> Sample:
        """See `Dataset.load`."""
        simulator = self._simulators[entry.split]
        events = simulator.clip(entry.label, self.seconds, int(entry.subject))
        if not len(events):
            raise DatasetError(f"{entry.name}: no events")
        return Sample(entry, events, simulator.width, simulator.height)

    def _key(self, entry: Entry, shape: WindowShape) -> str:
        simulator, split = self._simulators[entry.split], SPLIT_TABLE[entry.split]
        look = None if self.plain else [asdict(split.subjects), asdict(split.conditions)]
        what = [_SIMULATOR_VERSION, simulator.seed, self.seconds, entry.subject, entry.label, look, asdict(shape)]
        return hashlib.sha256(json.dumps([self.kind, *what]).encode()).hexdigest()
