# SPDX-License-Identifier: Apache-2.0
"""The acted gestures: along which path each hand moves, in three dimensions.

The class-specific paths are the whole definition of a gesture here; elbows follow from them (`body.py`). Coordinates
are body units as in the camera's optical frame: x to the right of the image, y downwards, z away from the camera,
origin midway between the shoulders. With `Subject.depth` at 0 all hands stay in the plane of the shoulders.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.labels import LABELS
from neuro_ros.gestures.subject import Action, Subject

__all__ = ["SHOULDER_HALF_WIDTH", "hand_targets", "hands_at", "motion_of"]

SHOULDER_HALF_WIDTH = 15.0
_REST_X, _REST_Y = 19.0, 40.0

# Class indices, as constants that the compiled paths can compare with.
_CLAP = LABELS.index("hand_clap")
_RIGHT_WAVE, _LEFT_WAVE = LABELS.index("right_hand_wave"), LABELS.index("left_hand_wave")
_RIGHT_CLOCKWISE, _RIGHT_COUNTER = (
    LABELS.index("right_arm_clockwise"),
    LABELS.index("right_arm_counter_clockwise"),
)
_LEFT_CLOCKWISE, _LEFT_COUNTER = LABELS.index("left_arm_clockwise"), LABELS.index("left_arm_counter_clockwise")
_ROLL, _DRUMS, _GUITAR = LABELS.index("arm_roll"), LABELS.index("air_drums"), LABELS.index("air_guitar")

# Nominal frequency of each gesture in Hz, at speed 1.
_FREQUENCY_HZ = (2.2, 2.4, 2.4, 1.3, 1.3, 1.3, 1.3, 1.7, 2.4, 2.8, 1.0)
# Of the uneven beat, relative to the gesture's own frequency: no simple ratio, so that no two beats are alike.
_UNEVEN_RATIO = 0.37

# Places in the vector that `motion_of` makes.
(
    _LABEL, _VARIANT, _LEAD, _AMPLITUDE, _DEPTH, _PHASE, _RATE_HZ, _UNEVENNESS, _WOBBLE, _WOBBLE_PHASES,
) = range(10)  # fmt: skip
MOTION_SIZE = _WOBBLE_PHASES + 4


@numba.njit(cache=True, nogil=True)
@no_type_check
def _other(variant, side, lead, size, phi):
    swing = 0.5 - 0.5 * math.cos(phi)
    if variant == 0:  # both stretched arms rise sideways to above the head and sink again
        angle = 0.35 + 2.3 * min(1.0, size) * swing
        return side * (SHOULDER_HALF_WIDTH + 38.0 * math.sin(angle)), 38.0 * math.cos(angle), -4.0
    if variant == 1:  # both hands lift something from the belly to above the head
        return side * 9.0, 30.0 - 50.0 * min(1.1, size) * swing, -20.0
    if variant == 2:  # both hands sweep to the same side and back
        return side * 7.0 + 20.0 * size * math.sin(phi), 14.0 + 4.0 * math.cos(2.0 * phi), -22.0
    if variant == 3:  # one arm points straight out to the side and sinks again
        x, y = side * _REST_X, _REST_Y
        if side != lead:
            return x, y, 0.0
        return x + (side * 52.0 - x) * swing, y + (-2.0 - y) * swing, -8.0 * swing
    # one hand swipes across the chest while the other one rises and sinks slowly
    if side == lead:
        return side * (10.0 + 26.0 * size * math.sin(phi)), 10.0 + 5.0 * math.sin(0.5 * phi), -20.0
    return side * 22.0, 20.0 + 16.0 * math.sin(0.7 * phi), -10.0


@numba.njit(cache=True, nogil=True)
@no_type_check
def _hand(label, variant, side, lead, size, phi):
    """Return (x, y, z) of the hand on one side at a phase [rad]."""
    beat = phi if side == lead else phi + math.pi
    if label == _CLAP:
        return side * (3.0 + 20.0 * size * (0.5 - 0.5 * math.cos(phi))), 20.0, -22.0 - 2.0 * math.cos(phi)
    if label == _ROLL:
        # Forearms across the chest turn about each other: in the image up and down in opposition.
        return (
            -side * 3.0 + side * 3.0 * math.cos(beat),
            15.0 + 9.0 * size * math.sin(beat),
            -20.0 + 8.0 * size * math.cos(beat),
        )
    if label == _DRUMS:
        # Sticks: quicker down than up.
        down = math.sin(beat + 0.5 * math.sin(beat))
        return side * 17.0, 24.0 + 11.0 * size * down, -23.0 + 3.0 * down
    if label == _GUITAR:
        if side == lead:
            return side * 5.0 + side * 3.0 * math.sin(phi), 28.0 + 8.0 * size * math.sin(phi), -13.0
        slide = 5.0 * math.sin(0.23 * phi)
        return side * (36.0 + slide), 2.0 - 0.3 * slide, -12.0
    if label in (_RIGHT_WAVE, _LEFT_WAVE):
        if (label == _RIGHT_WAVE) == (side == -1):
            # The forearm swings about a raised elbow; the hand draws an arc above the shoulder.
            angle = 0.62 * size * math.sin(phi)
            return side * (25.0 + 22.0 * math.sin(angle)), 6.0 - 24.0 * math.cos(angle), -9.0
    elif _RIGHT_CLOCKWISE <= label <= _LEFT_COUNTER:
        if (label <= _RIGHT_COUNTER) == (side == -1):
            # The nearly stretched arm swings about a point beside the shoulder. rotation +1 with the factor -side in
            # x makes mirrored arms mirror images of each other at equal phase: side -1, rotation +1 is (cos, sin)
            # with y downwards, which is clockwise in the image.
            clockwise = label in (_RIGHT_CLOCKWISE, _LEFT_CLOCKWISE)
            rotation = 1 if clockwise == (side == -1) else -1
            radius = 22.0 * size
            x = side * 24.0 - side * radius * math.cos(rotation * phi)
            return x, 1.0 + radius * math.sin(rotation * phi), -10.0 - 4.0 * math.cos(rotation * phi)
    elif label > _GUITAR:
        return _other(variant, side, lead, size, phi)
    return side * _REST_X, _REST_Y, 0.0


@numba.njit(cache=True, nogil=True)
@no_type_check
def hands_at(motion, t_s, hands):
    """Write where both hands are.

    Parameters
    ----------
    motion : (MOTION_SIZE,) float64
        From `motion_of`.
    t_s : float
        Seconds since the start of the performance.
    hands : (2, 3) float64
        Out: right and left hand; x, y, z in body units.
    """
    lead = int(motion[_LEAD])
    phi = 2.0 * math.pi * (motion[_PHASE] + motion[_RATE_HZ] * t_s)
    if motion[_UNEVENNESS] > 0.0:
        uneven = 2.0 * math.pi * _UNEVEN_RATIO * motion[_RATE_HZ] * t_s + motion[_WOBBLE_PHASES]
        phi += 2.0 * math.pi * motion[_UNEVENNESS] * math.sin(uneven)
    for k in range(2):
        side = 2 * k - 1
        x, y, z = _hand(int(motion[_LABEL]), int(motion[_VARIANT]), side, lead, motion[_AMPLITUDE], phi)
        hands[k, 0], hands[k, 1], hands[k, 2] = x, y, motion[_DEPTH] * z
    wander = motion[_WOBBLE]
    hands[0, 0] += wander * math.sin(5.1 * t_s + motion[_WOBBLE_PHASES])
    hands[0, 1] += wander * math.sin(4.3 * t_s + motion[_WOBBLE_PHASES + 1])
    hands[1, 0] += wander * math.sin(4.7 * t_s + motion[_WOBBLE_PHASES + 2])
    hands[1, 1] += wander * math.sin(5.6 * t_s + motion[_WOBBLE_PHASES + 3])


def motion_of(subject: Subject, action: Action) -> npt.NDArray[np.float64]:
    """Return the numbers that decide the paths of the hands, for `hands_at`.

    Parameters
    ----------
    subject : Subject
    action : Action

    Returns
    -------
    (MOTION_SIZE,) float64
    """
    motion = np.empty(MOTION_SIZE)
    motion[:_WOBBLE_PHASES] = (
        action.label, action.variant, subject.lead, subject.amplitude, subject.depth, action.phase,
        _FREQUENCY_HZ[action.label] * subject.speed * action.pace, subject.unevenness, action.wobble_px,
    )  # fmt: skip
    motion[_WOBBLE_PHASES:] = action.wobble
    return motion


def hand_targets(
    subject: Subject, action: Action, t_s: float
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return where the right and the left hand are at a time.

    Parameters
    ----------
    subject : Subject
    action : Action
    t_s : float
        Seconds since the start of the performance.

    Returns
    -------
    tuple
        ((x, y, z) of the right hand, (x, y, z) of the left hand), body units.
    """
    hands = np.empty((2, 3))
    hands_at(motion_of(subject, action), t_s, hands)
    (rx, ry, rz), (lx, ly, lz) = hands.tolist()
    return (rx, ry, rz), (lx, ly, lz)
