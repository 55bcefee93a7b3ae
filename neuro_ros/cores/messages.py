# SPDX-License-Identifier: Apache-2.0
"""The messages of this package as plain dataclasses, so that node logic runs without ROS.

Each class mirrors the ``.msg`` file of the same name field for field, in the same order; a test compares them. The
meaning and unit of every field stands in the ``.msg`` file alone. Two types differ for convenience, and
`neuro_ros.cores.fields` converts them both ways: ``builtin_interfaces/Time`` is an integer number of nanoseconds here,
and ``uint8[]`` is ``bytes``.

This module refuses to know about rclpy, rosbags and topics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = [
    "ROS_TYPES",
    "WALL_CLOCK_FIELDS",
    "CanaryReport",
    "ClockModel",
    "ClockSample",
    "EventPacket",
    "ExternalTrigger",
    "Gesture",
    "Header",
    "Image",
    "PtpMessage",
    "RolloutStatus",
    "SnnTelemetry",
    "SpikeTensor",
    "Temperature",
    "ThermalCompensation",
]


@dataclass(slots=True)
class Header:
    """``std_msgs/Header``: a host time stamp [ns since the Unix epoch] and a frame, which is the stream id here."""

    stamp: int = 0
    frame_id: str = ""


@dataclass(slots=True)
class SpikeTensor:
    """One window of an event camera's stream as a binary spike tensor (bin, channel, y, x)."""

    ENCODING_COO: ClassVar[int] = 0
    ENCODING_BITMAP: ClassVar[int] = 1
    CLOCK_UNLOCKED: ClassVar[int] = 0
    CLOCK_TRACKING: ClassVar[int] = 1
    CLOCK_LOCKED: ClassVar[int] = 2
    CLOCK_HOLDOVER: ClassVar[int] = 3

    header: Header = field(default_factory=Header)
    sequence: int = 0
    epoch: int = 0
    windows_withheld: int = 0
    window_start: int = 0
    closed_at: int = 0
    sensor_start_ns: int = 0
    sensor_end_ns: int = 0
    bins: int = 0
    channels: int = 0
    height: int = 0
    width: int = 0
    encoding: int = 0
    active: int = 0
    events_in: int = 0
    events_binned: int = 0
    events_filtered: int = 0
    events_dropped: int = 0
    complete: bool = False
    clock_state: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Gesture:
    """What the network read in one window; also used for the shadow arm and for known labels."""

    header: Header = field(default_factory=Header)
    sequence: int = 0
    epoch: int = 0
    model_id: str = ""
    label: str = ""
    class_index: int = 0
    confidence: float = math.nan
    spike_counts: Sequence[int] = ()
    latency_s: float = math.nan
    inference_s: float = math.nan


@dataclass(slots=True)
class SnnTelemetry:
    """State of the running network, once a second."""

    header: Header = field(default_factory=Header)
    model_id: str = ""
    backend: str = ""
    arm: str = ""
    compensation_id_applied: int = 0
    layer: Sequence[str] = ()
    firing_rate: Sequence[float] = ()
    dead_neurons: Sequence[int] = ()
    saturated_neurons: Sequence[int] = ()
    input_rate: float = math.nan
    synaptic_operations: int = 0
    neuron_updates: int = 0
    energy_estimate_j: float = math.nan
    power_estimate_w: float = math.nan
    core_utilisation_max: float = math.nan
    core_utilisation_median: float = math.nan
    core_utilisation: Sequence[float] = ()
    step_time_p50_s: float = math.nan
    step_time_p95_s: float = math.nan
    step_time_p99_s: float = math.nan
    window_time_p50_s: float = math.nan
    window_time_p95_s: float = math.nan
    window_time_p99_s: float = math.nan
    windows_in: int = 0
    windows_skipped: int = 0
    windows_lost: int = 0
    state_resets: int = 0
    state_save_age_s: float = math.nan
    self_test_stamp: int = 0
    self_test_probe: int = 0
    self_test_spikes: Sequence[int] = ()
    self_test_checksum: Sequence[int] = ()


@dataclass(slots=True)
class ClockSample:
    """One observation of a sensor's clock: the sensor time of an event and the host time at which it arrived."""

    header: Header = field(default_factory=Header)
    clock_id: str = ""
    sensor_ns: int = 0
    host_arrival_ns: int = 0
    sequence: int = 0


@dataclass(slots=True)
class ClockModel:
    """How to turn a sensor's (or another host's) time into this host's time, and how far to trust it."""

    UNLOCKED: ClassVar[int] = 0
    TRACKING: ClassVar[int] = 1
    LOCKED: ClassVar[int] = 2
    HOLDOVER: ClassVar[int] = 3

    header: Header = field(default_factory=Header)
    clock_id: str = ""
    reference_sensor_ns: int = 0
    reference_host_ns: int = 0
    skew_ppb: float = math.nan
    sigma_ns: float = math.nan
    offset_ns: float = math.nan
    mean_path_delay_ns: float = math.nan
    samples: int = 0
    state: int = 0


@dataclass(slots=True)
class PtpMessage:
    """A PTP-style timing message between hosts (IEEE 1588 names), two-step."""

    ANNOUNCE: ClassVar[int] = 0
    SYNC: ClassVar[int] = 1
    FOLLOW_UP: ClassVar[int] = 2
    DELAY_REQ: ClassVar[int] = 3
    DELAY_RESP: ClassVar[int] = 4

    type: int = 0
    domain: int = 0
    source_port_identity: str = ""
    requesting_port_identity: str = ""
    sequence_id: int = 0
    timestamp_ns: int = 0
    correction_ns: int = 0
    priority1: int = 0
    priority2: int = 0
    clock_class: int = 0
    grandmaster_identity: str = ""
    steps_removed: int = 0
    log_interval: int = 0


@dataclass(slots=True)
class ThermalCompensation:
    """Register values that keep the network's effective time constants nominal at the present temperature."""

    NOMINAL: ClassVar[int] = 0
    COMPENSATING: ClassVar[int] = 1
    STALE: ClassVar[int] = 2
    FAILSAFE: ClassVar[int] = 3

    header: Header = field(default_factory=Header)
    temperature_celsius: float = math.nan
    source: str = ""
    state: int = 0
    silicon_profile: str = ""
    model_id: str = ""
    compensated_celsius: float = math.nan
    compensation_id: int = 0
    compensation_id_applied: int = 0
    throttle_level: int = 0
    layer: Sequence[str] = ()
    tau_syn_requested_s: Sequence[float] = ()
    tau_mem_requested_s: Sequence[float] = ()
    tau_syn_effective_s: Sequence[float] = ()
    tau_mem_effective_s: Sequence[float] = ()
    du: Sequence[int] = ()
    dv: Sequence[int] = ()
    clipped: Sequence[bool] = ()
    remaining_error: Sequence[float] = ()


@dataclass(slots=True)
class RolloutStatus:
    """Where the roll-out of another model stands, and the decays of the models that run."""

    BASELINE: ClassVar[int] = 0
    SHADOW: ClassVar[int] = 1
    CANARY: ClassVar[int] = 2
    PROMOTED: ClassVar[int] = 3
    ROLLED_BACK: ClassVar[int] = 4

    header: Header = field(default_factory=Header)
    phase: int = 0
    since: int = 0
    live_id: str = ""
    candidate_id: str = ""
    previous_id: str = ""
    share: float = 0.0
    canary_s: float = 0.0
    suspended: bool = False
    switching: str = ""
    cause: str = ""
    reason: str = ""
    step_s: float = math.nan
    live_layer: Sequence[str] = ()
    live_du: Sequence[int] = ()
    live_dv: Sequence[int] = ()
    other_layer: Sequence[str] = ()
    other_du: Sequence[int] = ()
    other_dv: Sequence[int] = ()


@dataclass(slots=True)
class CanaryReport:
    """Health of the network as the canary judges it, and where a roll-out stands."""

    BASELINE: ClassVar[int] = 0
    SHADOW: ClassVar[int] = 1
    CANARY: ClassVar[int] = 2
    PROMOTED: ClassVar[int] = 3
    ROLLED_BACK: ClassVar[int] = 4

    header: Header = field(default_factory=Header)
    model_id: str = ""
    candidate_id: str = ""
    phase: int = 0
    reason: str = ""
    alarms: Sequence[str] = ()
    layer: Sequence[str] = ()
    baseline_rate: Sequence[float] = ()
    observed_rate: Sequence[float] = ()
    latency_p50_s: float = math.nan
    latency_p95_s: float = math.nan
    latency_p99_s: float = math.nan
    decision_margin: float = math.nan
    decided_share: float = math.nan
    windows: int = 0
    explanation: Sequence[str] = ()
    advice: Sequence[str] = ()
    baseline_id: str = ""
    step_time_p99_s: float = math.nan
    accuracy: float = math.nan
    labelled: int = 0
    moving_share: float = math.nan
    on_share: float = math.nan


@dataclass(slots=True)
class ExternalTrigger:
    """An edge on one of the camera's trigger lines, in sensor time."""

    header: Header = field(default_factory=Header)
    id: int = 0
    edge: int = 0
    sensor_time_ns: int = 0
    clock_state: int = 0


@dataclass(slots=True)
class EventPacket:
    """``event_camera_msgs/EventPacket``: a camera driver's packet of encoded events, passed through undecoded."""

    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    seq: int = 0
    time_base: int = 0
    encoding: str = ""
    is_bigendian: bool = False
    events: bytes = b""


@dataclass(slots=True)
class Temperature:
    """``sensor_msgs/Temperature``: a reading [degree Celsius] and its variance (0 = unknown)."""

    header: Header = field(default_factory=Header)
    temperature: float = math.nan
    variance: float = 0.0


@dataclass(slots=True)
class Image:
    """``sensor_msgs/Image``: a picture for people."""

    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = ""
    is_bigendian: int = 0
    step: int = 0
    data: bytes = b""


#: ROS type name of every class here, as it stands in a bag.
ROS_TYPES: dict[type, str] = {
    **{
        cls: f"neuro_ros/msg/{cls.__name__}"
        for cls in (
            SpikeTensor,
            Gesture,
            SnnTelemetry,
            ClockSample,
            ClockModel,
            PtpMessage,
            ThermalCompensation,
            CanaryReport,
            RolloutStatus,
            ExternalTrigger,
        )
    },
    EventPacket: "event_camera_msgs/msg/EventPacket",
    Temperature: "sensor_msgs/msg/Temperature",
    Image: "sensor_msgs/msg/Image",
}

#: Fields that hold measured wall-clock times: they differ from run to run and are left out of replay digests.
WALL_CLOCK_FIELDS: frozenset[str] = frozenset(
    {
        "closed_at",
        "latency_s",
        "inference_s",
        "step_time_p50_s",
        "step_time_p95_s",
        "step_time_p99_s",
        "window_time_p50_s",
        "window_time_p95_s",
        "window_time_p99_s",
        "latency_p50_s",
        "latency_p95_s",
        "latency_p99_s",
        "state_save_age_s",
    }
)
