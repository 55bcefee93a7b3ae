# SPDX-License-Identifier: Apache-2.0
"""Event-camera pixels looking at a scene: the contrast threshold and what is not ideal about it, in numba.

The pixel model, per pixel and step, L being the logarithm of the luminance:

1. The photoreceptor follows L as a low-pass of first order whose corner frequency is proportional to the pixel's
   luminance: l += a (L - l), a = x / (1 + x), x = 2 pi f step luminance / reference (backward Euler, so that any
   step is stable). Without a bandwidth, l = L.
2. l is taken as linear within the step. Whenever l, plus what has leaked, differs from the remembered level by the
   pixel's ON (OFF) threshold, one ON (OFF) event is emitted at that time, and the remembered level moves by that
   threshold. Leakage lowers the remembered level steadily, which makes ON events on its own.
3. After an event the pixel is blind for the refractory time, at whose end it remembers what l is then.
4. Shot noise is a Poisson process over all pixels, rarer where it is bright; hot pixels fire ON on their own.
5. The time of an event is late by a random part of the jitter: the way through the arbiter.

A feature whose number is zero is absent; all zeros are ideal pixels. This module knows no gestures and no limbs but
as boxes in which something may have changed.

References
----------
Lichtsteiner, Posch, Delbruck, "A 128x128 120 dB 15 us latency asynchronous temporal contrast vision sensor", IEEE JSSC
43(2), 2008, doi:10.1109/JSSC.2007.914337 (the pixel). Hu, Liu, Delbruck, "v2e: From video frames to realistic DVS
events", CVPRW 2021, doi:10.1109/CVPRW53098.2021.00144 (what is worth modelling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.render import (
    Background,
    draw_limbs,
    limb_box,
    restore,
    shift_background,
)
from neuro_ros.gestures.subject import ParameterRangeError

__all__ = ["KEY_P_BITS", "KEY_X_BITS", "KEY_Y_BITS", "DvsPixels", "PixelModel"]

# A step's events are sorted as one integer each: time in us above, then y, x, polarity.
KEY_P_BITS = 1
KEY_X_BITS = 14
KEY_Y_BITS = 14
_TIME_SHIFT = KEY_P_BITS + KEY_X_BITS + KEY_Y_BITS
# Relative luminance at which bandwidth and shot noise have their nominal values; that of a mean background.
_REFERENCE_LUMINANCE = 0.4
_HOT_HZ = (5.0, 60.0)

_LIMITS = {
    "threshold": (0.05, 2.0),
    "threshold_spread": (0.0, 0.5),
    "noise_hz": (0.0, 100.0),
    "leak_hz": (0.0, 20.0),
    "bandwidth_hz": (0.0, 1e5),
    "refractory_us": (0.0, 1e5),
    "hot_share": (0.0, 0.05),
    "jitter_us": (0.0, 1000.0),
}


@dataclass(frozen=True)
class PixelModel:
    """The sensor's properties; zeros are ideal.

    Attributes
    ----------
    threshold : float
        Mean contrast threshold, in units of natural log luminance.
    threshold_spread : float
        Standard deviation of the thresholds over pixels and polarities, relative to the mean.
    noise_hz : float
        Rate of background events of a pixel at mean luminance.
    leak_hz : float
        Rate of ON events of a pixel that sees nothing change.
    bandwidth_hz : float
        Corner frequency of a pixel at mean luminance; 0 = unlimited.
    refractory_us : float
        How long a pixel is blind after an event.
    hot_share : float
        Share of pixels that fire on their own, at 5 to 60 Hz each.
    jitter_us : float
        Most that an event's time is late.
    noise_in_the_dark : bool
        Whether shot noise is the more frequent the darker the pixel.

    Raises
    ------
    ParameterRangeError
        If a value is outside its range.
    """

    threshold: float = 0.25
    threshold_spread: float = 0.06
    noise_hz: float = 0.5
    leak_hz: float = 0.0
    bandwidth_hz: float = 0.0
    refractory_us: float = 0.0
    hot_share: float = 0.0
    jitter_us: float = 0.0
    noise_in_the_dark: bool = False

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name not in _LIMITS:
                continue
            low, high = _LIMITS[item.name]
            value = getattr(self, item.name)
            if not low <= value <= high:
                raise ParameterRangeError(f"simulator: {item.name}={value} is outside {low:g}..{high:g}")

    @property
    def everywhere(self) -> bool:
        """Whether pixels change although nothing moves before them."""
        return self.leak_hz > 0.0 or self.bandwidth_hz > 0.0 or self.refractory_us > 0.0


@numba.njit(cache=True, nogil=True)
@no_type_check
def _random(state):
    # splitmix64: one word of state that survives between steps, so that slicing does not change the stream.
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _emit(t, y, x, polarity, jitter_us, random, keys, n, lost):
    """Append an event at a time [us] of the step; return the number of keys."""
    if jitter_us > 0.0:
        t += int(jitter_us * _random(random))
    if n >= keys.size:
        lost[0] += 1
        return n
    keys[n] = (((t << KEY_Y_BITS) | y) << KEY_X_BITS | x) << KEY_P_BITS | polarity
    return n + 1


# Inlined, since handing over so many arrays takes longer than the work.
@numba.njit(cache=True, nogil=True, inline="always")
@no_type_check
def _respond(y, x, now, leak, level, memory, on, off, blind, step_us, refractory_us, jitter_us, random, keys, n, lost):
    """Let one pixel's level go to `now` within the step; return the number of keys.

    The memory has been lowered by `leak` already; here the level is raised by as much instead, until the step's end.
    """
    before = level[y, x]
    level[y, x] = now
    top = now + leak
    slope = top - before
    remembered = memory[y, x] + leak
    if blind[y, x] > 0.0:
        if blind[y, x] >= step_us:
            blind[y, x] -= step_us
            memory[y, x] = now
            return n
        remembered = before + slope * (blind[y, x] / step_us)
        blind[y, x] = 0.0
    polarity = 1 if slope > 0.0 else 0
    threshold = on[y, x] if polarity == 1 else -off[y, x]
    while (polarity == 1 and top - remembered >= threshold) or (polarity == 0 and top - remembered <= threshold):
        remembered += threshold
        t = int(step_us * (remembered - before) / slope)
        t = min(max(t, 0), step_us - 1)
        n = _emit(t, y, x, polarity, jitter_us, random, keys, n, lost)
        if refractory_us > 0.0:
            sees_again_us = t + refractory_us
            if sees_again_us >= step_us:
                blind[y, x] = sees_again_us - step_us
                remembered = top
                break
            remembered = before + slope * (sees_again_us / step_us)
    memory[y, x] = remembered - leak
    return n


@numba.njit(cache=True, nogil=True)
@no_type_check
def _respond_in_boxes(target, level, memory, on, off, blind, limbs, step_us, jitter_us, random, keys, n, lost):
    """Let the ideal pixels in the boxes of `limbs` respond; the others see no change."""
    height, width = target.shape
    for i in range(limbs.shape[0]):
        x0, y0, x1, y1 = limb_box(limbs[i], width, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if target[y, x] != level[y, x]:  # else unchanged, or done already in an overlapping box
                    n = _respond(
                        y, x, target[y, x], 0.0, level, memory, on, off, blind, step_us, 0.0, jitter_us, random, keys,
                        n, lost,
                    )  # fmt: skip
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")  # a check of divisors would be a branch
@no_type_check
def _respond_everywhere(
    scene, target, level, memory, on, off, blind, step_us, corner, leak_share, refractory_us, jitter_us, random, keys,
    n, lost,
):  # fmt: skip
    """Let all pixels respond; `corner` is x of the low-pass at luminance 1, 0 = unlimited."""
    height, width = target.shape
    now = np.empty(width)
    words = np.zeros((width + 7) // 8, np.uint64)
    flags = words.view(np.uint8)
    for y in range(height):
        # Loops without branches over rows of their own, so that the compiler takes several pixels at a time.
        light, log_light, before, remembered = scene[y], target[y], level[y], memory[y]
        on_row, off_row, blind_row = on[y], off[y], blind[y]
        if corner > 0.0:
            for x in range(width):
                follow = corner * light[x]
                now[x] = before[x] + (log_light[x] - before[x]) * (follow / (1.0 + follow))
        else:
            for x in range(width):
                now[x] = log_light[x]
        if leak_share > 0.0:
            for x in range(width):
                remembered[x] -= leak_share * on_row[x]
        for x in range(width):
            apart = now[x] - remembered[x]
            flags[x] = (apart >= on_row[x]) | (apart <= -off_row[x]) | (blind_row[x] > 0.0)
        for i in range(len(words)):
            if words[i] == 0:  # most pixels, most of the time
                continue
            for x in range(8 * i, min(8 * i + 8, width)):
                if flags[x]:
                    n = _respond(
                        y, x, now[x], leak_share * on_row[x], level, memory, on, off, blind, step_us, refractory_us,
                        jitter_us, random, keys, n, lost,
                    )  # fmt: skip
        for x in range(width):
            before[x] = now[x]
    return n


@numba.njit(cache=True, nogil=True)
@no_type_check
def _add_noise(scene, step_us, noise, in_the_dark, due, random, keys, n, lost):
    """Append the shot noise of a step; `noise` is its rate over the whole sensor [1/us]."""
    height, width = scene.shape
    while due[0] < step_us:
        t = int(due[0])
        x = int(_random(random) * width)
        y = int(_random(random) * height)
        polarity = 1 if _random(random) < 0.5 else 0
        # Twice the rate, thinned to it at the reference luminance.
        kept = True
        if in_the_dark:
            kept = _random(random) * (scene[y, x] + _REFERENCE_LUMINANCE) < _REFERENCE_LUMINANCE
        if kept:
            n = _emit(t, y, x, polarity, 0.0, random, keys, n, lost)
        due[0] -= math.log(1.0 - _random(random)) / noise
    due[0] -= step_us
    return n


@numba.njit(cache=True, nogil=True)
@no_type_check
def _add_hot_pixels(places, period_us, due, step_us, random, keys, n, lost):
    """Append the events of hot pixels, each a Poisson process of its own."""
    for i in range(len(due)):
        while due[i] < step_us:
            n = _emit(int(due[i]), places[i, 1], places[i, 0], 1, 0.0, random, keys, n, lost)
            due[i] -= math.log(1.0 - _random(random)) * period_us[i]
        due[i] -= step_us
    return n


class DvsPixels:
    """The sensor: per-pixel memory and thresholds, stepped by limb tables.

    Parameters
    ----------
    width, height : int
        Sensor size in pixels, up to 16384 each.
    model : PixelModel
        Its properties.
    step_us : int
        Step in microseconds.
    seed : int
        Seed of thresholds and noise.

    Attributes
    ----------
    lost : int
        Events that did not fit into a step's buffer; 0 in any sane scene, counted because nothing is lost silently.
    """

    def __init__(self, width: int, height: int, model: PixelModel, step_us: int, seed: int) -> None:
        self.step_us, self.model = step_us, model
        rng = np.random.default_rng([0xD5, seed])
        threshold = model.threshold
        low, high = 0.4 * threshold, 2.0 * threshold  # a pixel with a threshold near 0 would fire for ever
        shape = (2, height, width)
        thresholds = np.clip(threshold * (1.0 + model.threshold_spread * rng.standard_normal(shape)), low, high)
        self._on, self._off = thresholds[0].copy(), thresholds[1].copy()
        # Mean number of noise events per microsecond over the whole sensor; the floor avoids a division by zero.
        twice = 2.0 if model.noise_in_the_dark else 1.0
        self._noise = max(twice * model.noise_hz * width * height * 1e-6, 1e-12)
        self._random = np.array([rng.integers(1, 2**63)], np.uint64)
        self._noise_due = np.array([-math.log(1.0 - float(rng.random())) / self._noise])
        self._own_random = np.array([rng.integers(1, 2**63)], np.uint64)  # of jitter and hot pixels
        hot = round(model.hot_share * width * height)
        self._hot_places = np.column_stack([rng.integers(0, width, hot), rng.integers(0, height, hot)])
        self._hot_period_us = 1e6 / np.exp(rng.uniform(math.log(_HOT_HZ[0]), math.log(_HOT_HZ[1]), hot))
        self._hot_due = self._hot_period_us * rng.exponential(size=hot)
        self._leaked = rng.random((height, width))
        # x of the low-pass, see the module, at luminance 1.
        self._corner = 2.0 * math.pi * model.bandwidth_hz * step_us * 1e-6 / _REFERENCE_LUMINANCE
        self._leak_share = model.leak_hz * step_us * 1e-6
        self._keys = np.empty(64 * width * height // 8 + 1024, np.int64)
        self._late = np.empty(0, np.int64)
        self._lost = np.zeros(1, np.int64)
        self._scene = np.ones((height, width))
        self._target, self._level, self._memory = (np.zeros((height, width)) for _ in range(3))
        self._blind = np.zeros((height, width))
        self._covered = np.zeros((height, width), np.uint8)
        self._limbs = np.empty((0, 12))
        self._background = Background(self._scene)
        self._moving = False

    @property
    def lost(self) -> int:
        """Events that did not fit into a step's buffer since construction."""
        return int(self._lost[0])

    @property
    def scene(self) -> npt.NDArray[np.float64]:
        """Luminance of what is seen now, (height, width); a copy."""
        return self._scene.copy()

    def look(
        self,
        background: Background,
        limbs: npt.NDArray[np.float64],
        moving: bool = False,
        background_shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Face a new scene, fully adapted: no events come of the change itself.

        Parameters
        ----------
        background : Background
            What stands behind the limbs.
        limbs : (n, 12) float64
            Limbs at the start.
        moving : bool
            Whether camera or background will move.
        background_shift_px : tuple of float
            By how much the background is displaced at the start.
        """
        self._background, self._moving = background, moving
        self._show(limbs, background_shift_px, everything=True)
        self._level[:] = self._target
        self._memory[:] = self._target
        if self._leak_share > 0.0:  # leaking for long, each pixel from another moment on
            self._memory -= self._leaked * self._on
        self._blind[:] = 0.0
        self._limbs = limbs

    def _show(self, limbs: npt.NDArray[np.float64], shift_px: tuple[float, float], everything: bool) -> None:
        """Draw the scene."""
        ground = self._background
        if everything:
            left, top = ground.corner(shift_px)
            if ground.margin_px:
                shift_background(self._scene, self._target, ground.luminance, ground.logarithm, left, top)
            else:
                self._scene[:], self._target[:] = ground.luminance, ground.logarithm
        else:
            restore(self._scene, self._target, ground.luminance, ground.logarithm, self._limbs)
        draw_limbs(self._scene, self._target, self._covered, limbs)

    def step(
        self, limbs: npt.NDArray[np.float64], background_shift_px: tuple[float, float] = (0.0, 0.0)
    ) -> npt.NDArray[np.int64]:
        """Advance one step in which the limbs move to their new places.

        Parameters
        ----------
        limbs : (n, 12) float64
            Limbs at the end of the step; kept until the next step.
        background_shift_px : tuple of float
            By how much the background is displaced at the end of the step; only where it was said to move.

        Returns
        -------
        (events,) int64
            Sorted keys: (time in us within the step, y, x, polarity); a view valid until the next step.
        """
        self._show(limbs, background_shift_px, self._moving)
        model, keys, random = self.model, self._keys, self._own_random
        pixels = (self._target, self._level, self._memory, self._on, self._off, self._blind)
        n = 0
        if self._moving or model.everywhere:
            n = _respond_everywhere(
                self._scene, *pixels, self.step_us, self._corner, self._leak_share, model.refractory_us,
                model.jitter_us, random, keys, n, self._lost,
            )  # fmt: skip
        else:
            for boxes in (self._limbs, limbs):
                n = _respond_in_boxes(*pixels, boxes, self.step_us, model.jitter_us, random, keys, n, self._lost)
        n = _add_noise(
            self._scene, self.step_us, self._noise, model.noise_in_the_dark, self._noise_due, self._random, keys, n,
            self._lost,
        )  # fmt: skip
        if len(self._hot_due):
            n = _add_hot_pixels(
                self._hot_places, self._hot_period_us, self._hot_due, self.step_us, random, keys, n, self._lost
            )
        self._limbs = limbs
        return self._in_order(n)

    def _in_order(self, n: int) -> npt.NDArray[np.int64]:
        """Sort a step's events, with those that were late in the last one; keep back what is late in this one."""
        found = self._keys[:n]
        if len(self._late):
            found = np.concatenate([self._late, found])
        found.sort()
        if self.model.jitter_us > 0.0:
            inside = int(np.searchsorted(found, self.step_us << _TIME_SHIFT))
            self._late = found[inside:] - (self.step_us << _TIME_SHIFT)
            found = found[:inside]
        return found
