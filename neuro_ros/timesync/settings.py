# SPDX-License-Identifier: Apache-2.0
"""Settings of the one-way clock estimator, and what those of both estimators have in common; validated as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from neuro_ros.errors import NeuroRosError

__all__ = ["OneWaySettings", "TimesyncError", "check_settings"]


class TimesyncError(NeuroRosError):
    """A setting of the clock estimators is out of range or does not fit the others."""


def check_settings(settings: Any) -> None:
    """Check what the settings of both estimators have in common.

    Parameters
    ----------
    settings : dataclass of numbers
        With `capacity`, `min_samples`, `min_span_s`, `window_s`, `holdover_limit_s` and `lock_sigma_s`.

    Raises
    ------
    TimesyncError
        A value is not finite, not positive, or the limits contradict each other.
    """
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not (math.isfinite(value) and value > 0):
            raise TimesyncError(f"{item.name}: {value!r} must be finite and above 0")
    capacity, samples = settings.capacity, settings.min_samples
    if capacity < 2 * samples:
        raise TimesyncError(f"capacity: {capacity} is below twice min_samples ({samples}); raise it or ask for less")
    if settings.min_span_s > settings.window_s:
        raise TimesyncError(
            f"min_span_s: {settings.min_span_s:g} s is longer than window_s ({settings.window_s:g} s), never reached"
        )
    limit_s, sigma_s = settings.holdover_limit_s, settings.lock_sigma_s
    if limit_s <= sigma_s:
        raise TimesyncError(f"holdover_limit_s: {limit_s:g} s must be above lock_sigma_s ({sigma_s:g} s)")


@dataclass(frozen=True)
class OneWaySettings:
    """How `~neuro_ros.timesync.one_way.OneWayClock` judges its evidence.

    Parameters
    ----------
    window_s : float
        Length of sensor time whose samples make the estimate [s]. Longer = steadier skew, slower to follow it.
    capacity : int
        Points kept in the window; neighbours are merged (the least delayed survives) beyond that.
    min_samples : int
        Samples before anything is claimed.
    min_span_s : float
        Sensor time that the samples must span before anything is claimed [s].
    lock_sigma_s : float
        Uncertainty below which the offset counts as settled [s].
    lock_skew_sigma_ppm : float
        Uncertainty below which the skew counts as settled [ppm].
    skew_limit_ppm : float
        Largest skew a crystal is believed to have [ppm]; beyond it the estimate stays TRACKING. Crystals stay within
        +-100 ppm, so more means that the "sensor" is a recording that is not played at its own pace.
    early_s : float
        A sample this much earlier than predicted, plus eight sigma, contradicts the estimate [s]. When all samples are
        this much later, but no later than `late_s`, the host is busy or a clock was set: sigma tells how much later,
        and they are believed after a third of the window.
    late_s : float
        A sample this much later than predicted, plus eight sigma, is set aside until it is clear whether it was
        delayed or a clock stepped [s].
    late_after_s : float
        An unbroken run of late samples for this long means that a clock stepped, one of samples with the same sensor
        time that the sensor's clock stands still [s].
    reorder_s : float
        Sensor time may go back this far before it counts as a jump [s]; such samples are dropped.
    holdover_after_s : float
        Silence after which the estimate is an extrapolation [s].
    holdover_limit_s : float
        Uncertainty at which an extrapolation is given up, and from which a fit is worth nothing [s].
    wander_ppb_per_s : float
        How fast the skew may change (temperature) [ppb/s]; makes sigma grow with the square of the distance. 30 covers
        a crystal that swings by +-5 ppm within ten minutes (52 ppb/s at most) at two sigma.
    sigma_floor_s : float
        Uncertainty that remains whatever the evidence says: resolution of arrival stamps [s].

    Raises
    ------
    TimesyncError
        A value is not finite, not positive, or the limits contradict each other.
    """

    window_s: float = 60.0
    capacity: int = 256
    min_samples: int = 20
    min_span_s: float = 1.0
    lock_sigma_s: float = 2e-4
    lock_skew_sigma_ppm: float = 10.0
    skew_limit_ppm: float = 1000.0
    early_s: float = 2e-3
    late_s: float = 0.02
    late_after_s: float = 5.0
    reorder_s: float = 0.1
    holdover_after_s: float = 2.0
    holdover_limit_s: float = 0.02
    wander_ppb_per_s: float = 30.0
    sigma_floor_s: float = 2e-6

    def __post_init__(self) -> None:
        check_settings(self)
