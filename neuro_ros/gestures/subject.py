# SPDX-License-Identifier: Apache-2.0
"""Who acts, and how somebody performs a gesture once: plain numbers drawn from seeds and ranges.

This module knows neither the paths of the gestures (`paths.py`) nor pixels. A trait whose value is zero is absent:
a subject drawn from the default ranges is flat, upright and still, with plain clothes.

Lengths are in *body units*: one unit is one pixel of a 128 x 128 sensor at size 1, some 13 mm on an adult. Side -1 is
the person's right (image left), +1 the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np

from neuro_ros.errors import NeuroRosError

__all__ = ["N_OTHER_VARIANTS", "Action", "ParameterRangeError", "Range", "Subject", "SubjectRanges", "draw_from"]

#: Ends of pieces, (low, high) or (low, high, low, high): drawn uniformly from all of them together, half-open.
Range = tuple[float, ...]

N_OTHER_VARIANTS = 5

_HALF_SENSOR_PX = 64.0
# How far the hands come from the point between the shoulders, sideways and upwards [body units].
_REACH_SIDEWAYS, _REACH_UPWARDS = 48.0, 34.0
# The point between the shoulders lies so far from the upper edge when nobody is displaced.
_ORIGIN_FROM_TOP_PX = 50.0


class ParameterRangeError(NeuroRosError, ValueError):
    """A simulator parameter outside its range."""


def check_range(name: str, ends: Range, least: float = -math.inf) -> None:
    """Refuse a range that is not made of finite, ascending pairs.

    Parameters
    ----------
    name : str
        For the error.
    ends : tuple of float
        What to check.
    least : float
        Lowest end allowed.

    Raises
    ------
    ParameterRangeError
        With the name.
    """
    pairs = list(zip(ends[::2], ends[1::2], strict=False))
    if not ends or len(ends) % 2 or not all(math.isfinite(v) for v in ends) or any(a > b for a, b in pairs):
        raise ParameterRangeError(f"range {name}={ends} is not finite and ascending")
    if min(ends) < least:
        raise ParameterRangeError(f"range {name} starts at {min(ends)}; it must be at least {least:g}")


def draw_from(ends: Range, rng: np.random.Generator) -> float:
    """Draw a value from a range; one number of the generator is used."""
    at = float(rng.random())
    if len(ends) == 2:
        return float(ends[0] + (ends[1] - ends[0]) * at)
    lengths = [high - low for low, high in zip(ends[::2], ends[1::2], strict=True)]
    at *= sum(lengths)
    for low, length in zip(ends[::2], lengths, strict=True):
        if at < length:
            return float(low + at)
        at -= length
    return float(ends[-1])


@dataclass(frozen=True)
class SubjectRanges:
    """Ranges (see `Range`) from which a subject's properties are drawn; the defaults are the plain look.

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
    left_handed : float
        Share of subjects whose left hand leads.
    in_view : bool
        Whether a near subject is displaced less, so that the hands do not leave the image by it.
    depth : tuple of float
        Factor on how far the hands act in front of the body; with 0 the body is flat and seen without perspective.
    build : tuple of float
        Factor on the thickness of limbs and trunk; arms get longer by half as much.
    yaw_rad, lean_rad : tuple of float
        How the body is turned about the vertical axis (positive: its left side is nearer), and bent forward.
    elbow_rad : tuple of float
        How far the elbows are raised from hanging.
    sway : tuple of float
        Slow movement of the trunk, in body units.
    unevenness : tuple of float
        How unevenly the beat goes, in turns of phase.
    weave : tuple of float
        Frequency of the clothes' pattern across the limb, in rad per body unit; 0 gives stripes along it.
    shading : tuple of float
        By how much a limb is darker at its rim, as a share.
    """

    speed: Range = (0.75, 1.35)
    amplitude: Range = (0.8, 1.2)
    size: Range = (0.85, 1.15)
    shift_px: Range = (-7.0, 7.0)
    contrast: Range = (0.6, 1.3)
    left_handed: float = 0.2
    in_view: bool = False
    depth: Range = (0.0, 0.0)
    build: Range = (1.0, 1.0)
    yaw_rad: Range = (0.0, 0.0)
    lean_rad: Range = (0.0, 0.0)
    elbow_rad: Range = (0.0, 0.0)
    sway: Range = (0.0, 0.0)
    unevenness: Range = (0.0, 0.0)
    weave: Range = (0.0, 0.0)
    shading: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                check_range(item.name, value)
                if item.name in ("speed", "amplitude", "size", "contrast", "build") and min(value) <= 0.0:
                    raise ParameterRangeError(f"range {item.name} starts at {min(value)}; it must be above 0")
        if not 0.0 <= self.left_handed <= 1.0:
            raise ParameterRangeError(f"left_handed is {self.left_handed}, not a share from 0 to 1")


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
    depth, build, yaw_rad, lean_rad, elbow_rad, sway, unevenness, weave, shading : float
        See `SubjectRanges`.
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
    depth: float = 0.0
    build: float = 1.0
    yaw_rad: float = 0.0
    lean_rad: float = 0.0
    elbow_rad: float = 0.0
    sway: float = 0.0
    unevenness: float = 0.0
    weave: float = 0.0
    shading: float = 0.0

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

        def draw(ends: Range) -> float:
            return draw_from(ends, rng)

        background = draw((0.25, 0.6))
        sign = 1.0 if rng.random() < 0.6 else -1.0
        sleeve = background * math.exp(sign * draw(ranges.contrast))
        skin = background * math.exp((1.0 if rng.random() < 0.7 else -1.0) * draw(ranges.contrast))
        subject = cls(
            speed=draw(ranges.speed),
            amplitude=draw(ranges.amplitude),
            size=draw(ranges.size),
            shift_x_px=draw(ranges.shift_px),
            shift_y_px=draw(ranges.shift_px),
            lead=1 if rng.random() < ranges.left_handed else -1,
            background=background,
            skin=skin,
            sleeve=sleeve,
            texture=(draw((0.1, 0.35)), draw((0.5, 1.4)), draw((0.0, 2.0 * math.pi))),
            seed=seed,
        )
        # A generator of its own: what is drawn here does not move what was drawn above.
        rng = np.random.default_rng([0x7EA175, seed])
        subject = replace(
            subject,
            depth=draw(ranges.depth),
            build=draw(ranges.build),
            yaw_rad=draw(ranges.yaw_rad),
            lean_rad=draw(ranges.lean_rad),
            elbow_rad=draw(ranges.elbow_rad),
            sway=draw(ranges.sway),
            unevenness=draw(ranges.unevenness),
            weave=draw(ranges.weave),
            shading=draw(ranges.shading),
        )
        return subject._kept_in_view(max(map(abs, ranges.shift_px))) if ranges.in_view else subject

    def _kept_in_view(self, largest_px: float) -> Subject:
        """Return the subject displaced no more than its size leaves room for."""
        room_x_px = max(0.0, _HALF_SENSOR_PX - _REACH_SIDEWAYS * self.size)
        room_y_px = max(0.0, _ORIGIN_FROM_TOP_PX - _REACH_UPWARDS * self.size)
        return replace(
            self,
            shift_x_px=self.shift_x_px * min(1.0, room_x_px / max(largest_px, 1e-9)),
            shift_y_px=self.shift_y_px * min(1.0, room_y_px / max(largest_px, 1e-9)),
        )

    def mirrored(self) -> Subject:
        """Return the subject as seen in a mirror: the other side leads, and stands on the other side."""
        return replace(self, lead=-self.lead, shift_x_px=-self.shift_x_px, yaw_rad=-self.yaw_rad)


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
