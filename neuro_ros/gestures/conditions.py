# SPDX-License-Identifier: Apache-2.0
"""What a recording is taken under: light, a camera that hovers, a background that moves. Strengths, zero = absent.

This module knows no subjects and no pixels' equations; it turns a light level into the sensor's numbers and a
strength into displacements over time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.body import LIMB_FIELDS
from neuro_ros.gestures.dvs import PixelModel
from neuro_ros.gestures.subject import ParameterRangeError, Range, check_range, draw_from

__all__ = ["LIGHTS", "PLAIN", "CameraMotion", "ConditionRanges", "Conditions", "Light"]


@dataclass(frozen=True)
class Light:
    """What a light level does to the pixels, see `PixelModel`.

    Attributes
    ----------
    noise_hz, leak_hz, bandwidth_hz : float
        At mean luminance.
    """

    noise_hz: float
    leak_hz: float
    bandwidth_hz: float


#: Three levels, about a decade of illuminance apart. In light the photoreceptor is quick and the parasitic photocurrent
#: leaks; in the dark it is slow and noisy. The numbers are chosen, in the orders of magnitude that the references of
#: `dvs.py` tell, and not measured on any sensor.
LIGHTS: dict[str, Light] = {
    "bright": Light(noise_hz=0.05, leak_hz=0.2, bandwidth_hz=1000.0),
    "indoor": Light(noise_hz=0.3, leak_hz=0.1, bandwidth_hz=200.0),
    "dim": Light(noise_hz=1.0, leak_hz=0.05, bandwidth_hz=50.0),
}

# The pixels' properties that no light changes, where a light is given.
_REFRACTORY_US, _HOT_SHARE, _JITTER_US = 300.0, 0.0005, 60.0


@dataclass(frozen=True)
class Conditions:
    """Conditions of a recording; the defaults are the plain ones.

    Attributes
    ----------
    light : str
        A key of `LIGHTS`, or empty for ideal pixels.
    noise : float
        Factor on the light's shot noise and on the share of hot pixels.
    shake_px : float
        Root mean square displacement per axis of the image by a hovering camera that pitches and yaws, in pixels of a
        128 pixel sensor. Roll is left out.
    background_px_s : float
        Speed of the background, in pixels of a 128 pixel sensor; above 0 somebody walks by in it, too.
    clutter : float
        Contrast of the things in the background, see `draw_background`.

    Raises
    ------
    ParameterRangeError
        If a value is outside its range.
    """

    light: str = ""
    noise: float = 1.0
    shake_px: float = 0.0
    background_px_s: float = 0.0
    clutter: float = 0.0

    def __post_init__(self) -> None:
        if self.light and self.light not in LIGHTS:
            raise ParameterRangeError(f"simulator: light {self.light!r} is not one of {', '.join(LIGHTS)}")
        limits = (("noise", 10.0), ("shake_px", 8.0), ("background_px_s", 60.0), ("clutter", 1.5))
        for name, high in limits:
            if not 0.0 <= getattr(self, name) <= high:
                raise ParameterRangeError(f"simulator: {name}={getattr(self, name)} is outside 0..{high:g}")

    @property
    def moving(self) -> bool:
        """Whether camera or background move."""
        return self.shake_px > 0.0 or self.background_px_s > 0.0

    def pixels(
        self, threshold: float = 0.25, threshold_spread: float = 0.06, noise_hz: float | None = None
    ) -> PixelModel:
        """Return the sensor in this light.

        Parameters
        ----------
        threshold, threshold_spread : float
            See `PixelModel`.
        noise_hz : float, optional
            Instead of what the light makes; ideal pixels have 0.5 by default.

        Returns
        -------
        PixelModel
        """
        if not self.light:
            return PixelModel(threshold, threshold_spread, 0.5 if noise_hz is None else noise_hz)
        light = LIGHTS[self.light]
        return PixelModel(
            threshold,
            threshold_spread,
            self.noise * light.noise_hz if noise_hz is None else noise_hz,
            light.leak_hz,
            light.bandwidth_hz,
            _REFRACTORY_US,
            self.noise * _HOT_SHARE,
            _JITTER_US,
            noise_in_the_dark=True,
        )


PLAIN = Conditions()


@dataclass(frozen=True)
class ConditionRanges:
    """From what conditions are drawn (`Range`: uniform, half-open); the defaults are the plain ones.

    Attributes
    ----------
    lights : tuple of str
        One of them, all as likely.
    noise, shake_px, background_px_s, clutter : tuple of float
        See `Conditions`.
    still : float
        Share of recordings with a camera on a stand before a wall: neither shake nor moving background.
    """

    lights: tuple[str, ...] = ("",)
    noise: Range = (1.0, 1.0)
    shake_px: Range = (0.0, 0.0)
    background_px_s: Range = (0.0, 0.0)
    clutter: Range = (0.0, 0.0)
    still: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name not in ("lights", "still"):
                check_range(item.name, getattr(self, item.name), 0.0)
        if not self.lights or not 0.0 <= self.still <= 1.0:
            raise ParameterRangeError(
                f"conditions: lights={self.lights}, still={self.still}; give a light, and a share"
            )

    def draw(self, seed: int, subject_seed: int) -> Conditions:
        """Draw the conditions under which a subject is recorded by a sensor.

        Parameters
        ----------
        seed : int
            Of the sensor and the performances.
        subject_seed : int
            Who acts.

        Returns
        -------
        Conditions
        """
        rng = np.random.default_rng([0xC0D, seed, subject_seed])
        light = self.lights[int(len(self.lights) * rng.random())]
        moves = rng.random() >= self.still
        noise, shake, speed, clutter = (
            draw_from(ends, rng) for ends in (self.noise, self.shake_px, self.background_px_s, self.clutter)
        )
        return Conditions(light, noise, shake if moves else 0.0, speed if moves else 0.0, clutter)


_PASSER_SHADING = 0.2


@numba.njit(cache=True, nogil=True)
@no_type_check
def _sum_of_waves(waves, t_s):
    """Return the sum of waves, rows of amplitude, rate [rad/s] and phase."""
    total = 0.0
    for i in range(waves.shape[0]):
        total += waves[i, 0] * math.sin(waves[i, 1] * t_s + waves[i, 2])
    return total


@numba.njit(cache=True, nogil=True)
@no_type_check
def _walk(passers, t_s, width, unit, shift_x, shift_y, table):
    for i in range(passers.shape[0]):
        start, top, radius, luminance, velocity = passers[i]
        x = (start + velocity * t_s) % (width + 4.0 * radius) - 2.0 * radius + shift_x
        y = top + 0.6 * unit * math.sin(9.0 * t_s + start) + shift_y
        table[i, 0], table[i, 1], table[i, 2], table[i, 3] = x, y, x, 4.0 * top + 200.0 * unit
        table[i, 4], table[i, 5], table[i, 6], table[i, 11] = radius, 1.3 * radius, luminance, _PASSER_SHADING


# Frequencies [Hz] and relative amplitudes of a hovering camera: slow corrections, and a little of the propellers.
_SHAKE = ((0.37, 1.0), (0.83, 0.8), (1.7, 0.5), (3.3, 0.25), (6.1, 0.1), (17.0, 0.03))
# The background moves to and fro, for a quarter of its period at about its full speed.
_BACKGROUND_HZ = (0.19, 0.13)
_VERTICAL_SHARE = 0.3
_PASSERS_BY = 1
_PASSER_LOG_CONTRAST = (0.3, 0.8)


class CameraMotion:
    """By how much the image, and the background within it, are displaced over time; and who walks by.

    Parameters
    ----------
    conditions : Conditions
    width, height : int
        Of the sensor [px].
    luminance : float
        Of the background, relative.
    seed : int
    """

    def __init__(self, conditions: Conditions, width: int, height: int, luminance: float, seed: int) -> None:
        rng = np.random.default_rng([0x5AC3, seed])
        unit = min(width, height) / 128.0
        frequencies, weights = np.array(_SHAKE).T
        amplitudes = weights * math.sqrt(2.0 / float((weights**2).sum())) * conditions.shake_px * unit
        # Frequencies differ a little between recordings, and between the axes.
        self._shake = np.empty((2, len(frequencies), 3))
        self._shake[:, :, 0] = amplitudes
        self._shake[:, :, 1] = 2.0 * math.pi * frequencies * rng.uniform(0.8, 1.25, (2, len(frequencies)))
        self._shake[:, :, 2] = rng.uniform(0.0, 2.0 * math.pi, (2, len(frequencies)))
        speed = conditions.background_px_s * unit
        self._drift = np.array(
            [
                [[share * speed / (2.0 * math.pi * hz), 2.0 * math.pi * hz, rng.uniform(0.0, 2.0 * math.pi)]]
                for share, hz in zip((1.0, _VERTICAL_SHARE), _BACKGROUND_HZ, strict=True)
            ]
        )
        excursion = float(amplitudes.sum() + self._drift[:, 0, 0].max())
        #: Border that the background needs on each side.
        self.margin_px = math.ceil(excursion) + 2 if conditions.moving else 0
        passers = self._draw_passers(rng, width, height, luminance, speed, unit) if speed > 0.0 else []
        self._passers = np.array(passers, np.float64).reshape(-1, 5)
        self._width, self._unit = float(width), unit

    @staticmethod
    def _draw_passers(
        rng: np.random.Generator, width: int, height: int, luminance: float, speed: float, unit: float
    ) -> list[tuple[float, ...]]:
        rows: list[tuple[float, ...]] = []
        for _ in range(_PASSERS_BY):
            contrast = float(rng.uniform(*_PASSER_LOG_CONTRAST)) * (1.0 if rng.random() < 0.5 else -1.0)
            radius = unit * float(rng.uniform(4.0, 9.0))
            top = height * float(rng.uniform(0.1, 0.4)) + radius
            velocity = speed * float(rng.uniform(0.6, 1.4)) * (1.0 if rng.random() < 0.5 else -1.0)
            rows.append((width * float(rng.random()), top, radius, luminance * math.exp(contrast), velocity))
        return rows

    def shake_px(self, t_s: float) -> tuple[float, float]:
        """Return by how much the camera displaces the image at a time, (x, y)."""
        return _sum_of_waves(self._shake[0], t_s), _sum_of_waves(self._shake[1], t_s)

    def drift_px(self, t_s: float) -> tuple[float, float]:
        """Return by how much the background is displaced of itself at a time, (x, y)."""
        return _sum_of_waves(self._drift[0], t_s), _sum_of_waves(self._drift[1], t_s)

    def passers_by(self, t_s: float, shift_px: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Return who walks by, far behind the subject, as limbs (n, 12)."""
        table = np.zeros((len(self._passers), len(LIMB_FIELDS)))
        _walk(self._passers, t_s, self._width, self._unit, *shift_px, table)
        return table
