# SPDX-License-Identifier: Apache-2.0
"""Event-camera pixels looking at moving limbs: rendering and the contrast threshold, in numba.

The pixel model, per pixel and step: L = log(luminance). Whenever L differs from the remembered level by the
pixel's ON (OFF) threshold, one ON (OFF) event is emitted and the remembered level moves by that threshold. L is
taken as linear within a step, which gives each event its own time. Background noise is a Poisson process over all
pixels. Only pixels under or near a moving limb are looked at, so the cost follows what moves, not the sensor size.

Plain first form: no refractory time, no bandwidth limit, no leak, no hot pixels. This module knows no gestures.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt

__all__ = ["KEY_P_BITS", "KEY_X_BITS", "KEY_Y_BITS", "DvsPixels", "draw_background"]

# A step's events are sorted as one integer each: time in us above, then y, x, polarity.
KEY_P_BITS = 1
KEY_X_BITS = 14
KEY_Y_BITS = 14
_MARGIN_PX = 2.0  # soft edge of a limb: half a pixel each side, and room for rounding


@nb.njit(cache=True, nogil=True)
def _random(state: npt.NDArray[np.uint64]) -> float:
    # splitmix64: one word of state that survives between steps, so that slicing does not change the stream.
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@nb.njit(cache=True, nogil=True)
def _box(limb, width, height):  # type: ignore[no-untyped-def]
    reach = limb[4] + _MARGIN_PX
    x0 = max(0, math.floor(min(limb[0], limb[2]) - reach))
    y0 = max(0, math.floor(min(limb[1], limb[3]) - reach))
    x1 = min(width, math.ceil(max(limb[0], limb[2]) + reach) + 1)
    y1 = min(height, math.ceil(max(limb[1], limb[3]) + reach) + 1)
    return x0, y0, x1, y1


@nb.njit(cache=True, nogil=True)
def _restore(scene, background, limbs):  # type: ignore[no-untyped-def]
    height, width = scene.shape
    for i in range(limbs.shape[0]):
        x0, y0, x1, y1 = _box(limbs[i], width, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                scene[y, x] = background[y, x]


@nb.njit(cache=True, nogil=True)
def _draw(scene, limbs):  # type: ignore[no-untyped-def]
    height, width = scene.shape
    for i in range(limbs.shape[0]):
        limb = limbs[i]
        x0, y0, x1, y1 = _box(limb, width, height)
        ax, ay = limb[0], limb[1]
        ux, uy = limb[2] - ax, limb[3] - ay
        length = math.sqrt(ux * ux + uy * uy)
        if length > 1e-9:
            ux, uy = ux / length, uy / length
        radius, luminance = limb[4], limb[5]
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
                stripe = 1.0 + limb[6] * math.sin(limb[7] * along + limb[8])
                scene[y, x] += cover * (luminance * stripe - scene[y, x])


@nb.njit(cache=True, nogil=True)
def _compare(scene, seen, level, memory, on, off, limbs, step_us, keys, n, lost):  # type: ignore[no-untyped-def]
    """Emit the events of one step for all pixels in the boxes of `limbs`; return the number of keys."""
    height, width = scene.shape
    capacity = keys.size
    for i in range(limbs.shape[0]):
        x0, y0, x1, y1 = _box(limbs[i], width, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if scene[y, x] == seen[y, x]:  # unchanged, or done already in an overlapping box
                    continue
                seen[y, x] = scene[y, x]
                before = level[y, x]
                now = math.log(scene[y, x])
                level[y, x] = now
                slope = now - before
                remembered = memory[y, x]
                polarity = 1 if slope > 0.0 else 0
                threshold = on[y, x] if polarity == 1 else -off[y, x]
                while (polarity == 1 and now - remembered >= threshold) or (
                    polarity == 0 and now - remembered <= threshold
                ):
                    remembered += threshold
                    t = int(step_us * (remembered - before) / slope)
                    t = min(max(t, 0), step_us - 1)
                    if n < capacity:
                        keys[n] = (((t << KEY_Y_BITS) | y) << KEY_X_BITS | x) << KEY_P_BITS | polarity
                        n += 1
                    else:
                        lost[0] += 1
                memory[y, x] = remembered
    return n


@nb.njit(cache=True, nogil=True)
def _step(scene, background, seen, level, memory, on, off, old, new, step_us, noise, noise_due, random, keys, lost):  # type: ignore[no-untyped-def]
    """Advance one step and return the number of sorted keys of its events."""
    height, width = scene.shape
    _restore(scene, background, old)
    _draw(scene, new)
    n = _compare(scene, seen, level, memory, on, off, old, step_us, keys, 0, lost)
    n = _compare(scene, seen, level, memory, on, off, new, step_us, keys, n, lost)
    while noise_due[0] < step_us:
        t = int(noise_due[0])
        x = int(_random(random) * width)
        y = int(_random(random) * height)
        polarity = 1 if _random(random) < 0.5 else 0
        if n < keys.size:
            keys[n] = (((t << KEY_Y_BITS) | y) << KEY_X_BITS | x) << KEY_P_BITS | polarity
            n += 1
        else:
            lost[0] += 1
        noise_due[0] -= math.log(1.0 - _random(random)) / noise
    noise_due[0] -= step_us
    keys[:n].sort()
    return n


def draw_background(
    width: int, height: int, luminance: float, body: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Return the still part of the scene: a smooth pattern and the torso and head before it.

    Parameters
    ----------
    width, height : int
        Sensor size in pixels.
    luminance : float
        Mean luminance of the pattern, relative.
    body : (n, 9) float64
        Still body parts as limbs (`neuro_ros.gestures.body.LIMB_FIELDS`), drawn in order.
    seed : int
        Seed of the pattern.

    Returns
    -------
    (height, width) float64
        Luminance, above 0.
    """
    rng = np.random.default_rng([0xBAC6, seed])
    y, x = np.mgrid[0:height, 0:width] / float(max(width, height))
    pattern = np.zeros((height, width))
    for _ in range(6):
        kx, ky, phase = 30.0 * (rng.random() - 0.5), 30.0 * (rng.random() - 0.5), 2.0 * math.pi * rng.random()
        pattern += 0.06 * np.sin(kx * x + ky * y + phase)
    scene = luminance * np.exp(pattern)
    _draw(scene, body)
    return scene


class DvsPixels:
    """The sensor: per-pixel memory and thresholds, stepped by limb tables.

    Parameters
    ----------
    width, height : int
        Sensor size in pixels, up to 16384 each.
    threshold : float
        Mean contrast threshold, in units of natural log luminance.
    threshold_spread : float
        Standard deviation of the thresholds over pixels and polarities, relative to the mean.
    noise_hz : float
        Rate of background events per pixel.
    step_us : int
        Step in microseconds.
    seed : int
        Seed of thresholds and noise.

    Attributes
    ----------
    lost : int
        Events that did not fit into a step's buffer; 0 in any sane scene, counted because nothing is lost silently.
    """

    def __init__(
        self,
        width: int,
        height: int,
        threshold: float,
        threshold_spread: float,
        noise_hz: float,
        step_us: int,
        seed: int,
    ) -> None:
        self.step_us = step_us
        rng = np.random.default_rng([0xD5, seed])
        low, high = 0.4 * threshold, 2.0 * threshold  # a pixel with a threshold near 0 would fire for ever
        shape = (2, height, width)
        thresholds = np.clip(threshold * (1.0 + threshold_spread * rng.standard_normal(shape)), low, high)
        self._on, self._off = thresholds[0].copy(), thresholds[1].copy()
        # Mean number of noise events per microsecond over the whole sensor; the floor avoids a division by zero.
        self._noise = max(noise_hz * width * height * 1e-6, 1e-12)
        self._random = np.array([rng.integers(1, 2**63)], np.uint64)
        self._noise_due = np.array([-math.log(1.0 - float(rng.random())) / self._noise])
        self._keys = np.empty(64 * width * height // 8 + 1024, np.int64)
        self._lost = np.zeros(1, np.int64)
        self._background = np.ones((height, width))
        self._scene = self._seen = self._background.copy()
        self._level = self._memory = np.zeros((height, width))
        self._limbs = np.empty((0, 9))

    @property
    def lost(self) -> int:
        """Events that did not fit into a step's buffer since construction."""
        return int(self._lost[0])

    def look(self, background: npt.NDArray[np.float64], limbs: npt.NDArray[np.float64]) -> None:
        """Face a new still scene with limbs in it, fully adapted: no events come of the change itself.

        Parameters
        ----------
        background : (height, width) float64
            Luminance, above 0.
        limbs : (n, 9) float64
            Limbs at the start.
        """
        self._background = background
        self._scene = background.copy()
        _draw(self._scene, limbs)
        self._seen = self._scene.copy()
        self._level = np.log(self._scene)
        self._memory = self._level.copy()
        self._limbs = limbs

    def step(self, limbs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Advance one step in which the limbs move to their new places.

        Parameters
        ----------
        limbs : (n, 9) float64
            Limbs at the end of the step; kept until the next step.

        Returns
        -------
        (events,) int64
            Sorted keys: (time in us within the step, y, x, polarity); a view valid until the next step.
        """
        n = _step(
            self._scene, self._background, self._seen, self._level, self._memory, self._on, self._off,
            self._limbs, limbs, self.step_us, self._noise, self._noise_due, self._random, self._keys, self._lost,
        )  # fmt: skip
        self._limbs = limbs
        return self._keys[:n]
