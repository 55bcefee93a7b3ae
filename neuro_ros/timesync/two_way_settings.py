# SPDX-License-Identifier: Apache-2.0
"""Settings of the two-way estimator, validated as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.timesync.settings import check_settings

__all__ = ["TwoWaySettings"]


@dataclass(frozen=True)
class TwoWaySettings:
    """How `~neuro_ros.timesync.two_way.TwoWayEstimator` judges its evidence.

    Parameters
    ----------
    window_s : float
        Length of time whose exchanges make the estimate [s]. Longer = steadier skew, slower to follow it.
    capacity : int
        Points kept a direction; neighbours are merged (the least delayed survives) beyond.
    min_samples : int
        Exchanges before anything is claimed.
    min_span_s : float
        Time that these must span before anything is claimed [s].
    lock_sigma_s : float
        Uncertainty of the offset below which it counts as settled [s].
    lock_skew_sigma_ppm : float
        Uncertainty of the skew below which it counts as settled [ppm].
    skew_limit_ppm : float
        Largest skew between two crystals that is believed [ppm]; beyond it the estimate stays TRACKING.
    early_s : float
        A message that seems to have travelled this much faster than any before, plus eight sigma, contradicts the
        estimate [s].
    step_samples : int
        Contradicting exchanges in a row, in agreement with each other, that prove a step of a clock.
    max_round_trip_s : float
        Round trips longer than this are dropped [s].
    max_turnaround_s : float
        Longest time between receipt of SYNC and the request that makes one exchange of them [s].
    holdover_after_s : float
        Silence after which the estimate is an extrapolation [s].
    holdover_limit_s : float
        Uncertainty at which an extrapolation is given up, and from which a fit is worth nothing [s].
    wander_ppb_per_s : float
        How fast the skew may change (temperature) [ppb/s]; makes sigma grow with the square of the distance.
    sigma_floor_s : float
        Uncertainty that remains whatever the evidence says: resolution and scatter of the stamps themselves [s].

    Raises
    ------
    TimesyncError
        A value is not finite, not positive, or the limits contradict each other.
    """

    window_s: float = 30.0
    capacity: int = 128
    min_samples: int = 12
    min_span_s: float = 1.0
    lock_sigma_s: float = 1e-4
    lock_skew_sigma_ppm: float = 10.0
    skew_limit_ppm: float = 1000.0
    early_s: float = 1e-4
    step_samples: int = 5
    max_round_trip_s: float = 1.0
    max_turnaround_s: float = 5.0
    holdover_after_s: float = 2.0
    holdover_limit_s: float = 0.02
    wander_ppb_per_s: float = 30.0
    sigma_floor_s: float = 2e-6

    def __post_init__(self) -> None:
        check_settings(self)
