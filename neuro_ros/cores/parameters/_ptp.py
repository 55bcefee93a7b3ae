# SPDX-License-Identifier: Apache-2.0
"""Parameters of the two-way exchange between hosts, a group of clock_sync's."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.timesync.exchange import IDENTITY_LIMIT, identity_fault
from neuro_ros.timesync.port import PortSettings
from neuro_ros.timesync.settings import TimesyncError
from neuro_ros.timesync.slewed import SlewSettings
from neuro_ros.timesync.two_way_settings import TwoWaySettings

__all__ = ["PtpParameters"]


@dataclass(frozen=True)
class PtpParameters:
    """Who leads, how often messages go, and what becomes of the measured offset."""

    role: str = parameter(
        "off",
        "off: no two-way exchange; grandmaster: always master; follower: never; auto: as the election says",
        choices=("off", "auto", "grandmaster", "follower"),
    )
    identity: str = parameter(
        "", "port identity CLOCK-NUMBER; empty = from the network card's address and a random number"
    )
    domain: int = parameter(PortSettings.domain, "messages of other domains are not looked at", minimum=0, maximum=255)
    priority1: int = parameter(PortSettings.priority1, "election: compared first, smaller wins", minimum=0, maximum=255)
    clock_class: int = parameter(
        PortSettings.clock_class,
        "election: compared second; 6 = locked to GNSS, 248 = free running",
        minimum=0,
        maximum=255,
    )
    priority2: int = parameter(
        PortSettings.priority2, "election: compared third, before the identities", minimum=0, maximum=255
    )
    sync_interval_s: float = parameter(
        PortSettings.sync_interval_s, "master: time between two SYNC", unit="s", minimum=0.005, maximum=16.0
    )
    delay_req_interval_s: float = parameter(
        PortSettings.delay_req_interval_s,
        "follower: time between two DELAY_REQ",
        unit="s",
        minimum=0.005,
        maximum=16.0,
    )
    announce_interval_s: float = parameter(
        PortSettings.announce_interval_s, "master: time between two ANNOUNCE", unit="s", minimum=0.02, maximum=16.0
    )
    publish_period_s: float = parameter(
        0.5,
        "follower: least time between two models of a master's clock; changes of state go out at once",
        unit="s",
        minimum=0.001,
        maximum=60.0,
        dynamic=True,
    )
    announce_timeout: int = parameter(
        PortSettings.announce_timeout,
        "announce intervals of silence after which a master counts as gone",
        minimum=2,
        maximum=255,
    )
    servo: str = parameter(
        "envelope",
        "how the output clock follows: slewed to the envelope estimate, or linuxptp's pi or linreg",
        choices=("envelope", "pi", "linreg"),
    )
    step_threshold_s: float = parameter(
        SlewSettings.step_threshold_s,
        "errors of the output clock above this are taken off at once, smaller ones by slewing",
        unit="s",
        minimum=1e-5,
        maximum=10.0,
        dynamic=True,
    )
    slew_time_s: float = parameter(
        SlewSettings.slew_time_s,
        "errors of the output clock are taken off in about this time",
        unit="s",
        minimum=0.1,
        maximum=60.0,
        dynamic=True,
    )
    max_slew_ppm: float = parameter(
        SlewSettings.max_slew_ppm, "... at most at this rate", unit="ppm", minimum=1.0, maximum=1e5, dynamic=True
    )
    window_s: float = parameter(
        TwoWaySettings.window_s,
        "time whose exchanges make the estimate; longer = steadier skew, slower to follow it",
        unit="s",
        minimum=1.0,
        maximum=3600.0,
        dynamic=True,
    )
    lock_sigma_s: float = parameter(
        TwoWaySettings.lock_sigma_s,
        "LOCKED needs an uncertainty below this",
        unit="s",
        minimum=1e-6,
        maximum=1.0,
        dynamic=True,
    )
    early_s: float = parameter(
        TwoWaySettings.early_s,
        "a message that seems this much quicker than any before, plus eight sigma, contradicts the estimate",
        unit="s",
        minimum=1e-6,
        maximum=10.0,
        dynamic=True,
    )
    step_samples: int = parameter(
        TwoWaySettings.step_samples,
        "contradicting exchanges in a row that prove a step of a clock",
        minimum=2,
        maximum=1000,
        dynamic=True,
    )
    peer_rate_hz: float = parameter(
        PortSettings.peer_rate_hz,
        "messages a second that one peer may send for long; more are counted and dropped",
        unit="Hz",
        minimum=1.0,
        maximum=1e5,
    )
    max_peers: int = parameter(PortSettings.max_peers, "peers that are known at a time", minimum=1, maximum=1024)
    log_lines_per_hour: int = parameter(
        60, "lines that the exchange may write to the log in any hour; more are counted", minimum=1, maximum=3600
    )

    def __post_init__(self) -> None:
        fault = identity_fault(self.identity) if self.identity else ""
        if fault or len(self.identity) > IDENTITY_LIMIT:
            raise ParameterError(f"ptp.identity: {self.identity!r}: {fault}")
        self.port()
        self.slew()

    def port(self) -> PortSettings:
        """Return the port's settings, with the role ``auto`` in place of ``off``; `ParameterError` when they clash."""
        try:
            return PortSettings(
                role="auto" if self.role == "off" else self.role,
                domain=self.domain,
                priority1=self.priority1,
                clock_class=self.clock_class,
                priority2=self.priority2,
                sync_interval_s=self.sync_interval_s,
                delay_req_interval_s=self.delay_req_interval_s,
                announce_interval_s=self.announce_interval_s,
                announce_timeout=self.announce_timeout,
                peer_rate_hz=self.peer_rate_hz,
                max_peers=self.max_peers,
            )
        except TimesyncError as error:
            raise ParameterError(f"ptp.{error}") from error

    def slew(self) -> SlewSettings:
        """Return how the output clock is steered."""
        return SlewSettings(self.step_threshold_s, self.slew_time_s, self.max_slew_ppm)
