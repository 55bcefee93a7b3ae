# SPDX-License-Identifier: Apache-2.0
"""The eleven gesture labels in class-index order and their mirror images.

This module is the only place that spells the labels. It knows nothing about how a gesture looks.

Conventions: the person faces the camera, so the *right* hand appears on the *left* side of the image.
Clockwise and counter-clockwise are as the camera sees them, that is, as drawn in the image.
"""

from __future__ import annotations

from neuro_ros.errors import NeuroRosError

__all__ = ["LABELS", "MIRROR", "LabelError", "label_index", "mirror_index"]

LABELS: tuple[str, ...] = (
    "hand_clap",
    "right_hand_wave",
    "left_hand_wave",
    "right_arm_clockwise",
    "right_arm_counter_clockwise",
    "left_arm_clockwise",
    "left_arm_counter_clockwise",
    "arm_roll",
    "air_drums",
    "air_guitar",
    "other",
)

# A mirror image swaps right and left and, with it, the sense of rotation: 1-2, 3-6, 4-5.
MIRROR: tuple[int, ...] = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)


class LabelError(NeuroRosError, ValueError):
    """A label or class index that is not one of the eleven."""


def label_index(label: str | int) -> int:
    """Return the class index of a label given by name or by index.

    Parameters
    ----------
    label : str or int
        One of `LABELS`, or an index 0..10.

    Returns
    -------
    int
        Class index, 0..10.

    Raises
    ------
    LabelError
        If there is no such label.

    Examples
    --------
    >>> label_index("arm_roll"), label_index(3)
    (7, 3)
    """
    if isinstance(label, str):
        if label in LABELS:
            return LABELS.index(label)
        raise LabelError(f"unknown gesture label {label!r}; choose one of {', '.join(LABELS)}")
    if 0 <= label < len(LABELS):
        return int(label)
    raise LabelError(f"class index {label} is outside 0..{len(LABELS) - 1}")


def mirror_index(label: str | int) -> int:
    """Return the class index that a label becomes when the image is mirrored left to right.

    Parameters
    ----------
    label : str or int
        One of `LABELS`, or an index 0..10.

    Returns
    -------
    int
        Class index of the mirror image.

    Raises
    ------
    LabelError
        If there is no such label.
    """
    return MIRROR[label_index(label)]
