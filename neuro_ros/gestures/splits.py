# SPDX-License-Identifier: Apache-2.0
"""Which simulated subjects belong to training, validation, test and the hard test, and from what they are drawn.

Splits are by person: no subject seed is in two of them. Their ranges stand in one table, `SPLIT_TABLE`, fixed before
the first training on it; what is changed in the simulator afterwards stands in `CHANGES`, which the model card repeats.

Training, validation and test are drawn from the same ranges. In the hard test four of them lie wholly outside those of
training, all four at once: people who move quicker or slower, who stand nearer or farther, more noise, and more shake.

The *plain* look (default ranges of `SubjectRanges` and `ConditionRanges`: a flat body before a still wall, ideal
pixels) is the first form of the simulator, and no split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from neuro_ros.gestures.conditions import ConditionRanges, Conditions
from neuro_ros.gestures.subject import ParameterRangeError, SubjectRanges

__all__ = ["CHANGES", "SPLITS", "SPLIT_TABLE", "Split", "split_named", "subject_seeds"]

# Size in the image of somebody at distance 1: stretched arms span four fifths of it.
_SIZE_AT_1 = 0.8


def _sizes(*distances: float) -> tuple[float, ...]:
    """Return the sizes, ascending, that belong to ascending distances; uniform in size is near more often than far."""
    return tuple(_SIZE_AT_1 / distance for distance in reversed(distances))


@dataclass(frozen=True)
class Split:
    """A split: who, and under which conditions.

    Attributes
    ----------
    seeds : tuple of int
        Half-open range of subject seeds.
    subjects : SubjectRanges
        From what each is drawn.
    conditions : ConditionRanges
        From what the conditions of a recording are drawn.
    """

    seeds: tuple[int, int]
    subjects: SubjectRanges
    conditions: ConditionRanges

    def draw_conditions(self, seed: int, subject_seed: int) -> Conditions:
        """Return the conditions of a subject before the sensor with a seed."""
        return self.conditions.draw(seed, subject_seed)


_EVERYDAY_SUBJECTS = SubjectRanges(
    speed=(0.7, 1.4),
    amplitude=(0.75, 1.2),
    size=_sizes(0.6, 1.4),
    shift_px=(-25.6, 25.6),  # 20 % of the image, less where somebody stands near
    contrast=(0.4, 1.3),
    left_handed=0.3,
    in_view=True,
    depth=(0.7, 1.2),
    build=(0.85, 1.2),
    yaw_rad=(-0.35, 0.35),
    lean_rad=(-0.08, 0.2),
    elbow_rad=(-0.15, 0.45),
    sway=(0.3, 1.6),
    unevenness=(0.0, 0.06),
    weave=(0.0, 0.9),
    shading=(0.1, 0.4),
)
_EVERYDAY_CONDITIONS = ConditionRanges(
    lights=("bright", "indoor", "dim"),
    noise=(0.5, 1.5),
    shake_px=(0.0, 1.0),
    background_px_s=(0.0, 12.0),
    clutter=(0.0, 0.6),
    still=0.25,
)
# Outside also when the pace of a single performance (0.92 to 1.08) is counted to the speed.
_HARD_SUBJECTS = replace(_EVERYDAY_SUBJECTS, speed=(0.45, 0.59, 1.65, 1.95), size=_sizes(0.5, 0.57, 1.5, 1.8))
_HARD_CONDITIONS = replace(_EVERYDAY_CONDITIONS, noise=(2.0, 3.0), shake_px=(1.3, 2.2), still=0.0)

#: The ranges of each split. Seeds from 30000 on are free for demonstrations, so the hard test lies far above.
SPLIT_TABLE: dict[str, Split] = {
    "train": Split((0, 10_000), _EVERYDAY_SUBJECTS, _EVERYDAY_CONDITIONS),
    "validation": Split((10_000, 20_000), _EVERYDAY_SUBJECTS, _EVERYDAY_CONDITIONS),
    "test": Split((20_000, 30_000), _EVERYDAY_SUBJECTS, _EVERYDAY_CONDITIONS),
    "hard": Split((1_000_000, 1_010_000), _HARD_SUBJECTS, _HARD_CONDITIONS),
}

#: Half-open ranges of subject seeds.
SPLITS: dict[str, tuple[int, int]] = {name: split.seeds for name, split in SPLIT_TABLE.items()}

# Changes of the simulated gestures after the first training, with the reason.
CHANGES: tuple[str, ...] = (
    (
        "Arm circles: radius 16 to 22 body units, about a point nearer to the shoulder. The small ones spanned two "
        "cells of the second layer and their sense of rotation was answered at chance; people swing the stretched arm. "
        "The change was made after two earlier models' test tables had been seen, so the test figures are not blind."
    ),
)


def split_named(name: str) -> Split:
    """Return a split of the table.

    Raises
    ------
    ParameterRangeError
        If there is no such split.
    """
    if name not in SPLIT_TABLE:
        raise ParameterRangeError(f"unknown split {name!r}; choose one of {', '.join(SPLIT_TABLE)}")
    return SPLIT_TABLE[name]


def subject_seeds(split: str, count: int) -> range:
    """Return the first `count` subject seeds of a split.

    Parameters
    ----------
    split : str
        A key of `SPLIT_TABLE`.
    count : int
        How many, 1 to 10000.

    Returns
    -------
    range

    Raises
    ------
    ParameterRangeError
        If there is no such split, or not so many subjects in it.
    """
    start, stop = split_named(split).seeds
    if not 1 <= count <= stop - start:
        raise ParameterRangeError(f"{count} subjects asked of split {split!r}, which has 1 to {stop - start}")
    return range(start, start + count)
