# SPDX-License-Identifier: Apache-2.0
"""Parameters of clock_sync."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.cores.parameters._ptp import PtpParameters
from neuro_ros.timesync.settings import OneWaySettings, TimesyncError
from neuro_ros.timesync.two_way_settings import TwoWaySettings

__all__ = ["ClockSyncParameters", "HoldoverParameters", "LockParameters", "PulseParameters", "StepParameters"]


@dataclass(frozen=True)
class LockParameters:
    """What makes an estimate good enough."""

    min_samples: int = parameter(
        OneWaySettings.min_samples, "samples before anything is claimed", minimum=3, maximum=10_000, dynamic=True
    )
    min_span_s: float = parameter(
        OneWaySettings.min_span_s,
        "sensor time that the samples must span before anything is claimed",
        unit="s",
        minimum=0.01,
        maximum=3600.0,
        dynamic=True,
    )
    sigma_s: float = parameter(
        OneWaySettings.lock_sigma_s,
        "LOCKED needs an uncertainty below this",
        unit="s",
        minimum=1e-6,
        maximum=1.0,
        dynamic=True,
    )
    skew_sigma_ppm: float = parameter(
        OneWaySettings.lock_skew_sigma_ppm,
        "LOCKED needs an uncertainty of the skew below this",
        unit="ppm",
        minimum=1e-3,
        maximum=1e6,
        dynamic=True,
    )
    skew_limit_ppm: float = parameter(
        OneWaySettings.skew_limit_ppm,
        "largest skew that is believed of a crystal; a recording played at another rate exceeds it and stays TRACKING",
        unit="ppm",
        minimum=1.0,
        maximum=1e6,
        dynamic=True,
    )


@dataclass(frozen=True)
class PulseParameters:
    """A pulse on a camera's trigger line that comes at a known host time, such as a pulse per second."""

    period_s: float = parameter(
        0.0,
        "rising edges come when host time is a multiple of this, and measure the camera's least latency; 0 = no pulse",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    trigger_id: int = parameter(0, "trigger line of the camera that carries it", minimum=0, maximum=65535)
    sigma_s: float = parameter(
        0.0, "standard uncertainty of the pulse against the host's clock", unit="s", minimum=0.0, maximum=0.1
    )


@dataclass(frozen=True)
class StepParameters:
    """When samples contradict the estimate so much that a clock must have stepped."""

    early_s: float = parameter(
        OneWaySettings.early_s,
        "a sample this much earlier than predicted, plus eight sigma, contradicts the estimate",
        unit="s",
        minimum=1e-5,
        maximum=10.0,
        dynamic=True,
    )
    late_s: float = parameter(
        OneWaySettings.late_s,
        "a sample this much later than predicted, plus eight sigma, is set aside",
        unit="s",
        minimum=1e-4,
        maximum=10.0,
        dynamic=True,
    )
    late_after_s: float = parameter(
        OneWaySettings.late_after_s,
        "an unbroken run of late samples for this long means that a clock stepped",
        unit="s",
        minimum=0.1,
        maximum=600.0,
        dynamic=True,
    )
    reorder_s: float = parameter(
        OneWaySettings.reorder_s,
        "sensor time may go back this far before it counts as a jump; such samples are dropped",
        unit="s",
        minimum=1e-3,
        maximum=10.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class HoldoverParameters:
    """How an estimate ages without samples."""

    after_s: float = parameter(
        OneWaySettings.holdover_after_s,
        "silence after which the estimate is an extrapolation",
        unit="s",
        minimum=0.01,
        maximum=600.0,
        dynamic=True,
    )
    limit_s: float = parameter(
        OneWaySettings.holdover_limit_s,
        "uncertainty at which an extrapolation is given up, and from which no estimate is published",
        unit="s",
        minimum=1e-5,
        maximum=10.0,
        dynamic=True,
    )
    warn_s: float = parameter(
        1e-3,
        "uncertainty of an extrapolation from which the diagnostics warn",
        unit="s",
        minimum=1e-6,
        maximum=10.0,
        dynamic=True,
    )
    wander_ppb_per_s: float = parameter(
        OneWaySettings.wander_ppb_per_s,
        "how fast the skew may change, e.g. with temperature",
        unit="ppb/s",
        minimum=1e-3,
        maximum=1e6,
        dynamic=True,
    )
    ppb_per_celsius: float = parameter(
        100.0,
        "while the temperature moves by a degree a second the skew may change by this much faster; 0 = no hint",
        unit="ppb/degree Celsius",
        minimum=0.0,
        maximum=1e6,
        dynamic=True,
    )


@dataclass(frozen=True)
class ClockSyncParameters:
    """How clocks of sensors and other hosts are estimated, and how often the result is published."""

    publish_period_s: float = parameter(
        0.1,
        "least time between two models of a clock while samples come; changes of state go out at once",
        unit="s",
        minimum=0.001,
        maximum=60.0,
        dynamic=True,
    )
    silent_period_s: float = parameter(
        1.0,
        "pace at which a clock without samples is published again (holdover)",
        unit="s",
        minimum=0.01,
        maximum=60.0,
    )
    max_clocks: int = parameter(8, "clocks that are followed; samples of others are counted", minimum=1, maximum=64)
    window_s: float = parameter(
        OneWaySettings.window_s,
        "sensor time whose samples make the estimate; longer = steadier skew, slower to follow it",
        unit="s",
        minimum=1.0,
        maximum=3600.0,
        dynamic=True,
    )
    capacity: int = parameter(
        OneWaySettings.capacity,
        "points kept in the window of a clock; neighbours are merged beyond",
        minimum=16,
        maximum=4096,
        dynamic=True,
    )
    lock: LockParameters = field(default_factory=LockParameters)
    step: StepParameters = field(default_factory=StepParameters)
    holdover: HoldoverParameters = field(default_factory=HoldoverParameters)
    pulse: PulseParameters = field(default_factory=PulseParameters)
    ptp: PtpParameters = field(default_factory=PtpParameters)
    show_host_clock: bool = parameter(
        True, "show in the diagnostics what chrony or linuxptp of this host say, where they run"
    )

    def __post_init__(self) -> None:
        self.settings()
        self.two_way_settings()

    def settings(self) -> OneWaySettings:
        """Return the estimator's settings.

        Raises
        ------
        ParameterError
            They do not fit each other.
        """
        try:
            return OneWaySettings(
                window_s=self.window_s,
                capacity=self.capacity,
                min_samples=self.lock.min_samples,
                min_span_s=self.lock.min_span_s,
                lock_sigma_s=self.lock.sigma_s,
                lock_skew_sigma_ppm=self.lock.skew_sigma_ppm,
                skew_limit_ppm=self.lock.skew_limit_ppm,
                early_s=self.step.early_s,
                late_s=self.step.late_s,
                late_after_s=self.step.late_after_s,
                reorder_s=self.step.reorder_s,
                holdover_after_s=self.holdover.after_s,
                holdover_limit_s=self.holdover.limit_s,
                wander_ppb_per_s=self.holdover.wander_ppb_per_s,
            )
        except TimesyncError as error:
            raise ParameterError(str(error)) from error

    def two_way_settings(self) -> TwoWaySettings:
        """Return the settings of the two-way estimator.

        Raises
        ------
        ParameterError
            They do not fit each other.
        """
        try:
            return TwoWaySettings(
                window_s=self.ptp.window_s,
                lock_sigma_s=self.ptp.lock_sigma_s,
                early_s=self.ptp.early_s,
                step_samples=self.ptp.step_samples,
                holdover_after_s=max(self.holdover.after_s, 3 * self.ptp.delay_req_interval_s),
                holdover_limit_s=self.holdover.limit_s,
                wander_ppb_per_s=self.holdover.wander_ppb_per_s,
            )
        except TimesyncError as error:
            raise ParameterError(f"ptp: {error}") from error
