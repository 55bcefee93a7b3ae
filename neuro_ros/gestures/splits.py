# SPDX-License-Identifier: Apache-2.0
"""Which simulated subjects belong to training, validation and test.

Splits are by person: no subject seed is in two of them. The ranges were fixed before the first training; what was
changed in the simulator afterwards stands in `CHANGES`, which the model card repeats.
"""

from __future__ import annotations

from neuro_ros.gestures.body import ParameterRangeError

__all__ = ["CHANGES", "SPLITS", "subject_seeds"]

# Half-open ranges of subject seeds. Seeds from 30000 on are free for demonstrations.
SPLITS: dict[str, tuple[int, int]] = {"train": (0, 10_000), "validation": (10_000, 20_000), "test": (20_000, 30_000)}

# Changes of the simulated gestures after the first training, with the reason.
CHANGES: tuple[str, ...] = (
    (
        "Arm circles: radius 16 to 22 body units, about a point nearer to the shoulder. The small ones spanned two "
        "cells of the second layer and their sense of rotation was answered at chance; people swing the stretched arm. "
        "The change was made after two earlier models' test tables had been seen, so the test figures are not blind."
    ),
)


def subject_seeds(split: str, count: int) -> range:
    """Return the first `count` subject seeds of a split.

    Parameters
    ----------
    split : str
        'train', 'validation' or 'test'.
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
    if split not in SPLITS:
        raise ParameterRangeError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    start, stop = SPLITS[split]
    if not 1 <= count <= stop - start:
        raise ParameterRangeError(f"{count} subjects asked of split {split!r}, which has 1 to {stop - start}")
    return range(start, start + count)
