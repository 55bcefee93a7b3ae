# SPDX-License-Identifier: Apache-2.0
"""The acted gestures: who moves, along which path, and where the limbs then are in the image.

Plain first form: a flat (two-dimensional) upper body with two-link arms. The hands follow class-specific
paths, the elbows follow from the two-link geometry. This module knows no pixels' physics (`dvs.py`) and no
time stamps of events (`simulator.py`).

Coordinates are *body units*: x to the right of the image, y downwards, origin midway between the shoulders;
one unit is one pixel of a 128 x 128 sensor at size 1. Side -1 is the person's right (image left), +1 the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.gestures.labels import LABELS

__all__ = ["LIMB_FIELDS", "Action", "ParameterRangeError", "Subject", "SubjectRanges", "hand_targets", "limbs"]

# Lengths and radii in body units. A forearm of 21 units on a 128 pixel sensor is a person who stands so that
# the upper body with stretched arms just fills the image.
SHOULDER_HALF_WIDTH = 15.0
UPPER_ARM_LENGTH = 21.0
FOREARM_LENGTH = 21.0
HAND_LENGTH = 5.0
UPPER_ARM_RADIUS = 4.4
FOREARM_RADIUS = 3.6
HAND_RADIUS = 4.6
REST_HAND = (19.0, 40.0)

# Columns of the limb table that `limbs` fills and `dvs.py` draws, in drawing order (later covers earlier).
LIMB_FIELDS = ("x0", "y0", "x1", "y1", "radius", "luminance", "texture_amplitude", "texture_frequency", "texture_phase")
LIMBS_PER_ARM = 3
N_OTHER_VARIANTS = 5


class ParameterRangeError(NeuroRosError, ValueError):
    """A simulator parameter outside its range."""


@dataclass(frozen=True)
class SubjectRanges:
    """Half-open uniform ranges from which a subject's properties are drawn.

    Attributes
    ----------
    speed : tuple of float
        Factor on each gesture's nominal frequency.
    amplitude : tuple of float
        Factor on each gesture's nominal path size.
    size : tuple of float
        Scale of the body in the image (1 / distance).
    shift_px : tuple of float
        Displacement of the body per axis, in pixels of a 128 pixel sensor.
    contrast : tuple of float
        Natural logarithm of the luminance ratio between limbs and background; the sign is drawn too.
    """

    speed: tuple[float, float] = (0.75, 1.35)
    amplitude: tuple[float, float] = (0.8, 1.2)
    size: tuple[float, float] = (0.85, 1.15)
    shift_px: tuple[float, float] = (-7.0, 7.0)
    contrast: tuple[float, float] = (0.6, 1.3)

    def __post_init__(self) -> None:
        for name in ("speed", "amplitude", "size", "shift_px", "contrast"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ParameterRangeError(f"range {name}=({low}, {high}) is not finite and ascending")
            if name != "shift_px" and low <= 0.0:
                raise ParameterRangeError(f"range {name} starts at {low}; it must be above 0")


@dataclass(frozen=True)
class Subject:
    """One person: build, position, clothes and way of moving. Drawn from a seed by `Subject.from_seed`.

    Attributes
    ----------
    speed, amplitude, size : float
        Factors, see `SubjectRanges`.
    shift_x_px, shift_y_px : float
        Displacement in pixels of a 128 pixel sensor.
    lead : int
        Side (-1 right, +1 left) that strums the guitar and beats first.
    background, skin, sleeve : float
        Luminances, relative.
    texture : tuple of float
        Amplitude, frequency (rad per unit), and phase of the clothes' stripes.
    seed : int
        Seed of everything else that belongs to the person (background pattern).
    """

    speed: float = 1.0
    amplitude: float = 1.0
    size: float = 1.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    lead: int = -1
    background: float = 0.4
    skin: float = 1.0
    sleeve: float = 0.8
    texture: tuple[float, float, float] = (0.2, 0.9, 0.0)
    seed: int = 0

    @classmethod
    def from_seed(cls, seed: int, ranges: SubjectRanges | None = None) -> Subject:
        """Draw a subject.

        Parameters
        ----------
        seed : int
            Non-negative; equal seeds give equal subjects.
        ranges : SubjectRanges, optional
            Where to draw from.

        Returns
        -------
        Subject
        """
        ranges = ranges or SubjectRanges()
        if seed < 0:
            raise ParameterRangeError(f"subject seed {seed} is negative; use 0 or above")
        rng = np.random.default_rng([0x5B1EC7, seed])

        def draw(low_high: tuple[float, float]) -> float:
            return float(low_high[0] + (low_high[1] - low_high[0]) * rng.random())

        background = draw((0.25, 0.6))
        sign = 1.0 if rng.random() < 0.6 else -1.0
        sleeve = background * math.exp(sign * draw(ranges.contrast))
        skin = background * math.exp((1.0 if rng.random() < 0.7 else -1.0) * draw(ranges.contrast))
        return cls(
            speed=draw(ranges.speed),
            amplitude=draw(ranges.amplitude),
            size=draw(ranges.size),
            shift_x_px=draw(ranges.shift_px),
            shift_y_px=draw(ranges.shift_px),
            lead=1 if rng.random() < 0.2 else -1,
            background=background,
            skin=skin,
            sleeve=sleeve,
            texture=(draw((0.1, 0.35)), draw((0.5, 1.4)), draw((0.0, 2.0 * math.pi))),
            seed=seed,
        )

    def mirrored(self) -> Subject:
        """Return the subject as seen in a mirror: the other side leads, and stands on the other side."""
        return replace(self, lead=-self.lead, shift_x_px=-self.shift_x_px)


@dataclass(frozen=True)
class Action:
    """One performance of a gesture by somebody: phase, small irregularities, and for `other` what is done.

    Attributes
    ----------
    label : int
        Class index.
    phase : float
        Phase at time zero, in turns.
    pace : float
        Factor on the subject's speed for this performance.
    wobble : tuple of float
        Phases (rad) of the slow wander that every body shows: right x, right y, left x, left y.
    variant : int
        For `other`: which of the motions, 0 to 4.
    wobble_px : float
        Size of the wander in body units; 0 gives the exact paths.
    """

    label: int
    phase: float = 0.0
    pace: float = 1.0
    wobble: tuple[float, float, float, float] = field(default=(0.0, 1.0, 2.0, 3.0))
    variant: int = 0
    wobble_px: float = 0.9

    @classmethod
    def draw(cls, label: int, rng: np.random.Generator) -> Action:
        """Draw a performance of the gesture with class index `label`."""
        turn = 2.0 * math.pi
        return cls(
            label=label,
            phase=float(rng.random()),
            pace=0.92 + 0.16 * float(rng.random()),
            wobble=(turn * rng.random(), turn * rng.random(), turn * rng.random(), turn * rng.random()),
            variant=int(N_OTHER_VARIANTS * rng.random()),
        )


# Nominal frequency of each gesture in Hz, at speed 1.
_FREQUENCY_HZ = (2.2, 2.4, 2.4, 1.3, 1.3, 1.3, 1.3, 1.7, 2.4, 2.8, 1.0)


def _rest(side: int) -> tuple[float, float]:
    return side * REST_HAND[0], REST_HAND[1]


def _wave(side: int, size: float, phi: float) -> tuple[float, float]:
    # The forearm swings about a raised elbow; the hand draws an arc above the shoulder.
    angle = 0.62 * size * math.sin(phi)
    return side * (25.0 + 22.0 * math.sin(angle)), 6.0 - 24.0 * math.cos(angle)


def _circle(side: int, rotation: int, size: float, phi: float) -> tuple[float, float]:
    # rotation +1 with the factor -side in x makes mirrored arms mirror images of each other at equal phase:
    # side -1, rotation +1 is (cos, sin) with y downwards, which is clockwise in the image.
    # The nearly stretched arm swings about a point beside the shoulder.
    radius = 22.0 * size
    return side * 24.0 - side * radius * math.cos(rotation * phi), 1.0 + radius * math.sin(rotation * phi)


def _other(variant: int, side: int, lead: int, size: float, phi: float) -> tuple[float, float]:
    swing = 0.5 - 0.5 * math.cos(phi)
    if variant == 0:  # both stretched arms rise sideways to above the head and sink again
        angle = 0.35 + 2.3 * min(1.0, size) * swing
        return side * (SHOULDER_HALF_WIDTH + 38.0 * math.sin(angle)), 38.0 * math.cos(angle)
    if variant == 1:  # both hands lift something from the belly to above the head
        return side * 9.0, 30.0 - 50.0 * min(1.1, size) * swing
    if variant == 2:  # both hands sweep to the same side and back
        return side * 7.0 + 20.0 * size * math.sin(phi), 14.0 + 4.0 * math.cos(2.0 * phi)
    if variant == 3:  # one arm points straight out to the side and sinks again
        if side != lead:
            return _rest(side)
        x, y = _rest(side)
        return x + (side * 52.0 - x) * swing, y + (-2.0 - y) * swing
    # one hand swipes across the chest while the other one rises and sinks slowly
    if side == lead:
        return side * (10.0 + 26.0 * size * math.sin(phi)), 10.0 + 5.0 * math.sin(0.5 * phi)
    return side * 22.0, 20.0 + 16.0 * math.sin(0.7 * phi)


def hand_targets(subject: Subject, action: Action, t_s: float) -> tuple[tuple[float, float], tuple[float, float]]:
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
        ((x, y) of the right hand, (x, y) of the left hand), body units.
    """
    label = LABELS[action.label]
    size = subject.amplitude
    phi = 2.0 * math.pi * (action.phase + _FREQUENCY_HZ[action.label] * subject.speed * action.pace * t_s)
    hands: list[tuple[float, float]] = []
    for side in (-1, 1):
        beat = phi if side == subject.lead else phi + math.pi
        if label == "hand_clap":
            hand = (side * (3.0 + 20.0 * size * (0.5 - 0.5 * math.cos(phi))), 20.0)
        elif label == "arm_roll":
            # Forearms across the chest turn about each other: in the image up and down in opposition.
            hand = (-side * 3.0 + side * 3.0 * math.cos(beat), 15.0 + 9.0 * size * math.sin(beat))
        elif label == "air_drums":
            # Sticks: quicker down than up.
            hand = (side * 17.0, 24.0 + 11.0 * size * math.sin(beat + 0.5 * math.sin(beat)))
        elif label == "air_guitar":
            if side == subject.lead:
                hand = (side * 5.0 + side * 3.0 * math.sin(phi), 28.0 + 8.0 * size * math.sin(phi))
            else:
                slide = 5.0 * math.sin(0.23 * phi)
                hand = (side * (36.0 + slide), 2.0 - 0.3 * slide)
        elif label == "other":
            hand = _other(action.variant, side, subject.lead, size, phi)
        elif (label == "right_hand_wave") == (side == -1) and label.endswith("wave"):
            hand = _wave(side, size, phi)
        elif label.startswith("right_arm" if side == -1 else "left_arm"):
            clockwise = not label.endswith("counter_clockwise")
            hand = _circle(side, 1 if clockwise == (side == -1) else -1, size, phi)
        else:
            hand = _rest(side)
        hands.append(hand)
    w = action.wobble
    d = action.wobble_px
    (rx, ry), (lx, ly) = hands
    return (
        (rx + d * math.sin(5.1 * t_s + w[0]), ry + d * math.sin(4.3 * t_s + w[1])),
        (lx + d * math.sin(4.7 * t_s + w[2]), ly + d * math.sin(5.6 * t_s + w[3])),
    )


def _elbow(side: int, hand_x: float, hand_y: float) -> tuple[float, float, float, float]:
    """Return elbow and reachable wrist of the two-link arm, the elbow bent outwards and down."""
    shoulder_x = side * SHOULDER_HALF_WIDTH
    dx, dy = hand_x - shoulder_x, hand_y
    distance = math.hypot(dx, dy)
    reach = UPPER_ARM_LENGTH + FOREARM_LENGTH - 0.5
    if distance > reach:  # stretched arm: the wrist stays on the line towards the target
        dx, dy = dx * reach / distance, dy * reach / distance
        distance = reach
    distance = max(distance, 1.0)
    height = math.sqrt(max(UPPER_ARM_LENGTH**2 - 0.25 * distance**2, 0.0))  # equal links: the elbow is above the middle
    nx, ny = -dy / distance, dx / distance
    if nx * side + 0.5 * ny < 0.0:  # of the two solutions the one that points outwards and down
        nx, ny = -nx, -ny
    return shoulder_x + 0.5 * dx + height * nx, 0.5 * dy + height * ny, shoulder_x + dx, dy


def limbs(
    subject: Subject,
    hands: tuple[tuple[float, float], tuple[float, float]],
    scale_px: float,
    centre_px: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Return the limb table of both arms in pixels.

    Parameters
    ----------
    subject : Subject
    hands : tuple
        Right and left hand, body units, from `hand_targets` or a blend of two.
    scale_px : float
        Pixels per body unit.
    centre_px : tuple of float
        Image position of the point midway between the shoulders.

    Returns
    -------
    (6, 9) float64
        Right upper arm, forearm, hand, then the left ones; columns `LIMB_FIELDS`.
    """
    table = np.empty((2 * LIMBS_PER_ARM, len(LIMB_FIELDS)))
    amplitude, frequency, phase = subject.texture
    cx, cy = centre_px
    for row, side in ((0, -1), (LIMBS_PER_ARM, 1)):
        ex, ey, wx, wy = _elbow(side, *hands[0 if side == -1 else 1])
        length = max(math.hypot(wx - ex, wy - ey), 1e-6)
        tip_x, tip_y = wx + HAND_LENGTH * (wx - ex) / length, wy + HAND_LENGTH * (wy - ey) / length
        parts = (
            (side * SHOULDER_HALF_WIDTH, 0.0, ex, ey, UPPER_ARM_RADIUS, subject.sleeve, amplitude, frequency, phase),
            (ex, ey, wx, wy, FOREARM_RADIUS, subject.sleeve, amplitude, frequency, phase + 1.0),
            (wx, wy, tip_x, tip_y, HAND_RADIUS, subject.skin, 0.5 * amplitude, 1.3, phase),
        )
        for i, (x0, y0, x1, y1, radius, luminance, a, f, p) in enumerate(parts):
            table[row + i] = (
                cx + scale_px * x0, cy + scale_px * y0, cx + scale_px * x1, cy + scale_px * y1,
                scale_px * radius, luminance, a, f / scale_px, p,
            )  # fmt: skip
    return table
