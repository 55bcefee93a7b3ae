# SPDX-License-Identifier: Apache-2.0
"""What the camera sees: limbs drawn over a background, in luminance and in its logarithm, in numba.

A limb is a tapered capsule with a soft edge of one pixel, stripes or a weave, and darker towards its rim. The
background is larger than the image, so that a camera that shakes, or a background that moves, looks at another part of
it. Only what is under or near a limb is drawn anew while camera and background stand still, so that the cost follows
what moves, not the sensor's size. This module knows no events and no gestures.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "Background",
    "draw_background",
    "draw_limbs",
    "limb_box",
    "restore",
    "shift_background",
]

_MARGIN_PX = 2.0  # soft edge of a limb: half a pixel each side, and room for rounding
_WAVES = 6
_WAVE_AMPLITUDE = 0.06
# Of a limb's luminance, within which its logarithm is right.
_LEAST_SHADE, _MOST_SHADE = 0.3, 3.0
# Things in front of the wall, per image of a background with clutter.
_THINGS = 14


@numba.njit(cache=True, nogil=True)
@no_type_check
def limb_box(limb, width, height):
    """Return the box (x0, y0, x1, y1), half-open, outside of which a limb is not seen."""
    reach = max(limb[4], limb[5]) + _MARGIN_PX
    x0 = max(0, math.floor(min(limb[0], limb[2]) - reach))
    y0 = max(0, math.floor(min(limb[1], limb[3]) - reach))
    x1 = min(width, math.ceil(max(limb[0], limb[2]) + reach) + 1)
    y1 = min(height, math.ceil(max(limb[1], limb[3]) + reach) + 1)
    return x0, y0, x1, y1


@numba.njit(cache=True, nogil=True)
@no_type_check
def restore(scene, target, luminance, logarithm, limbs):
    """Put the still background back where limbs were."""
    height, width = scene.shape
    for i in range(limbs.shape[0]):
        x0, y0, x1, y1 = limb_box(limbs[i], width, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                scene[y, x] = luminance[y, x]
                target[y, x] = logarithm[y, x]


@numba.njit(cache=True, nogil=True)
@no_type_check
def shift_background(scene, target, luminance, logarithm, left, top):
    """Fill the image with the part of a larger background whose corner lies at (left, top), between its pixels."""
    height, width = scene.shape
    x0, y0 = math.floor(left), math.floor(top)
    fx, fy = left - x0, top - y0
    w00, w01, w10, w11 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy
    for y in range(height):
        # Rows as arrays of their own, or the compiler would not take several pixels at a time.
        for source, out in ((luminance, scene), (logarithm, target)):
            a, b = source[y + y0, x0 : x0 + width + 1], source[y + y0 + 1, x0 : x0 + width + 1]
            row = out[y]
            for x in range(width):
                row[x] = w00 * a[x] + w01 * a[x + 1] + w10 * b[x] + w11 * b[x + 1]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _draw_flat(scene, covered, limb):
    """Draw a limb of constant radius with plain stripes."""
    height, width = scene.shape
    x0, y0, x1, y1 = limb_box(limb, width, height)
    ax, ay = limb[0], limb[1]
    ux, uy = limb[2] - ax, limb[3] - ay
    length = math.sqrt(ux * ux + uy * uy)
    if length > 1e-9:
        ux, uy = ux / length, uy / length
    radius, luminance = limb[4], limb[6]
    for y in range(y0, y1):
        for x in range(x0, x1):
            px, py = x - ax, y - ay
            along = px * ux + py * uy
            clamped = min(max(along, 0.0), length)
            dx, dy = px - clamped * ux, py - clamped * uy
            squared = dx * dx + dy * dy
            if squared >= (radius + 0.5) ** 2:
                continue
            cover = min(1.0, radius + 0.5 - math.sqrt(squared))
            stripe = 1.0 + limb[7] * math.sin(limb[8] * along + limb[9])
            scene[y, x] += cover * (luminance * stripe - scene[y, x])
            covered[y, x] = 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _row_range(limb, ux, uy, py, x0, x1, reach):
    """Return the pixels of a row in which the strip along a limb lies, of those from x0 to x1."""
    if abs(uy) < 1e-3:
        return x0, x1
    a, b = limb[0] + (py * ux - reach) / uy, limb[0] + (py * ux + reach) / uy
    return max(x0, math.floor(min(a, b))), min(x1, math.ceil(max(a, b)) + 1)


@numba.njit(cache=True, nogil=True, inline="always")
@no_type_check
def _wave(turns):
    """Return a wave of period 1 made of parabolas, which is a sine to within 6 %."""
    t = turns - np.floor(turns + 0.5)
    return 8.0 * t * (1.0 - 2.0 * abs(t))


@numba.njit(cache=True, nogil=True, error_model="numpy")  # a check of divisors would be a branch
@no_type_check
def _draw_solid(scene, target, limb, columns, covers):
    """Draw a tapered, shaded limb, with its logarithm."""
    height, width = scene.shape
    x0, y0, x1, y1 = limb_box(limb, width, height)
    ax, luminance = limb[0], limb[6]
    ux, uy = limb[2] - ax, limb[3] - limb[1]
    length = math.sqrt(ux * ux + uy * uy)
    ux, uy = (ux / length, uy / length) if length > 1e-9 else (1.0, 0.0)
    outer0, reach = limb[4] + 0.5, max(limb[4], limb[5]) + 1.0
    growth = (limb[5] - limb[4]) / length if length > 1e-9 else 0.0
    rim_shade = limb[11] / max(limb[4] * limb[5], 1e-9)
    turns = 1.0 / (2.0 * math.pi)
    amplitude, along_rate, phase, across_rate = limb[7], turns * limb[8], turns * limb[9], turns * limb[10]
    log_luminance = math.log(luminance)
    for y in range(y0, y1):
        py = y - limb[1]
        start, stop = _row_range(limb, ux, uy, py, x0, x1, reach)
        if stop <= start:
            continue
        row, log_row, places = scene[y, start:stop], target[y, start:stop], columns[start:stop]
        # Without branches, so that the compiler takes several pixels at a time.
        for i in range(len(places)):
            px = places[i] - ax
            along = px * ux + py * uy
            clamped = min(max(along, 0.0), length)
            dx, dy = px - clamped * ux, py - clamped * uy
            squared = dx * dx + dy * dy
            weave = _wave(across_rate * (py * ux - px * uy) + 0.25)
            shade = (1.0 - rim_shade * squared) * (1.0 + amplitude * _wave(along_rate * along + phase) * weave)
            shade = min(max(shade, _LEAST_SHADE), _MOST_SHADE)
            cover = min(max(outer0 + growth * clamped - math.sqrt(squared), 0.0), 1.0)
            covers[i] = cover
            row[i] += cover * (luminance * shade - row[i])
            # The first terms of 2 artanh((s - 1) / (s + 1)): off by less than a hundredth of a threshold.
            z = (shade - 1.0) / (shade + 1.0)
            zz = z * z
            logarithm = log_luminance + 2.0 * z * (1.0 + zz * (1.0 / 3.0 + zz * (1.0 / 5.0 + zz * (1.0 / 7.0))))
            log_row[i] = logarithm if cover == 1.0 else log_row[i]
        for i in range(len(places)):
            if 0.0 < covers[i] < 1.0:
                log_row[i] = math.log(row[i])


@numba.njit(cache=True, nogil=True)
@no_type_check
def _take_logarithm(scene, target, covered, limbs):
    """Take the logarithm of what limbs cover, and clear the marks."""
    height, width = scene.shape
    for i in range(limbs.shape[0]):
        x0, y0, x1, y1 = limb_box(limbs[i], width, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if covered[y, x]:
                    target[y, x] = math.log(scene[y, x])
                    covered[y, x] = 0


@numba.njit(cache=True, nogil=True)
@no_type_check
def draw_limbs(scene, target, covered, limbs):
    """Draw limbs in order; shaded limbs are the solid ones, of the others the logarithm is still to be taken."""
    flat = 0
    columns = np.arange(scene.shape[1]) * 1.0
    covers = np.empty(scene.shape[1])
    for i in range(limbs.shape[0]):
        if limbs[i, 11] > 0.0:
            _draw_solid(scene, target, limbs[i], columns, covers)
        else:
            _draw_flat(scene, covered, limbs[i])
            flat += 1
    if flat:
        _take_logarithm(scene, target, covered, limbs)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _logarithm(values, out):
    # Not numpy's, which differs in the last bit from the one that the moving part takes.
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            out[y, x] = math.log(values[y, x])


class Background:
    """What stands behind the limbs, a margin larger than the image on each side.

    Parameters
    ----------
    luminance : (height + 2 margin, width + 2 margin) float64
        Relative, above 0.
    margin_px : int
        How far the image may move; at least 1 for one that moves at all.

    Attributes
    ----------
    luminance, logarithm : float64
        Of the given shape.
    """

    def __init__(self, luminance: npt.NDArray[np.float64], margin_px: int = 0) -> None:
        self.luminance = np.ascontiguousarray(luminance, np.float64)
        self.logarithm = np.empty_like(self.luminance)
        _logarithm(self.luminance, self.logarithm)
        self.margin_px = margin_px

    @property
    def height(self) -> int:
        """Rows of the image."""
        return self.luminance.shape[0] - 2 * self.margin_px

    @property
    def width(self) -> int:
        """Columns of the image."""
        return self.luminance.shape[1] - 2 * self.margin_px

    def corner(self, shift_px: tuple[float, float]) -> tuple[float, float]:
        """Return where the image's upper left corner looks when all is displaced by `shift_px`, kept inside."""
        most = self.margin_px - 1e-6
        x, y = (min(max(self.margin_px - shift, 0.0), self.margin_px + most) for shift in shift_px)
        return x, y


def draw_background(
    width: int,
    height: int,
    luminance: float,
    body: npt.NDArray[np.float64],
    seed: int,
    clutter: float = 0.0,
    margin_px: int = 0,
) -> Background:
    """Return the still part of the scene: a smooth pattern, things before it, and still body parts.

    Parameters
    ----------
    width, height : int
        Sensor size in pixels.
    luminance : float
        Mean luminance of the pattern, relative.
    body : (n, 12) float64
        Still body parts as limbs (`neuro_ros.gestures.body.LIMB_FIELDS`), drawn in order.
    seed : int
        Seed of the pattern.
    clutter : float
        Contrast of the things: standard deviation of the natural logarithm of their luminance ratio to the wall.
    margin_px : int
        Border on each side that an image which moves may look at.

    Returns
    -------
    Background
    """
    rng = np.random.default_rng([0xBAC6, seed])
    y, x = np.mgrid[-margin_px : height + margin_px, -margin_px : width + margin_px] / float(max(width, height))
    pattern = np.zeros(x.shape)
    for _ in range(_WAVES):
        kx, ky, phase = 30.0 * (rng.random() - 0.5), 30.0 * (rng.random() - 0.5), 2.0 * math.pi * rng.random()
        pattern += _WAVE_AMPLITUDE * np.sin(kx * x + ky * y + phase)
    if clutter > 0.0:
        pattern += clutter * _things(x, y, np.random.default_rng([0xC1A7, seed]))
    scene = luminance * np.exp(pattern)
    moved = body.copy()
    moved[:, :4] += margin_px
    draw_limbs(scene, np.empty_like(scene), np.zeros(scene.shape, np.uint8), moved)
    return Background(scene, margin_px)


def _things(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return upright and lying rectangles (windows, shelves, poles) of random contrast, blurred as by a lens."""
    things = np.zeros(x.shape)
    for _ in range(_THINGS):
        cx, cy = 1.3 * rng.random() - 0.15, 1.3 * rng.random() - 0.15
        across, down = 0.02 + 0.3 * rng.random() ** 2, 0.02 + 0.3 * rng.random() ** 2
        inside = (np.abs(x - cx) < across) & (np.abs(y - cy) < down)
        things[inside] = rng.standard_normal()
    for axis in (0, 1):
        things = 0.5 * things + 0.25 * (np.roll(things, 1, axis) + np.roll(things, -1, axis))
    return things
