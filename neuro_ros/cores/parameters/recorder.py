# SPDX-License-Identifier: Apache-2.0
"""Parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.cores.parameters._fields import ParameterError, parameter

__all__ = ["RecorderParameters"]


@dataclass(frozen=True)
class RecorderParameters:
    """What the recorder writes, where, and when it ends."""

    path: str = parameter("", "folder to make for the bag (rosbag2, mcap); must not exist")
    topics: tuple[str, ...] = parameter(
        [
            "spikes:neuro_ros/msg/SpikeTensor",
            "gesture:neuro_ros/msg/Gesture",
            "gesture/shadow:neuro_ros/msg/Gesture",
            "truth:neuro_ros/msg/Gesture",
            "snn/telemetry:neuro_ros/msg/SnnTelemetry",
            "clock/sample:neuro_ros/msg/ClockSample",
            "clock/model:neuro_ros/msg/ClockModel",
            "temperature:sensor_msgs/msg/Temperature",
            "thermal/compensation:neuro_ros/msg/ThermalCompensation",
            "canary/report:neuro_ros/msg/CanaryReport",
            "rollout:neuro_ros/msg/RolloutStatus",
            "ptp:neuro_ros/msg/PtpMessage",
            "events:event_camera_msgs/msg/EventPacket",
            "events/trigger:neuro_ros/msg/ExternalTrigger",
            "/diagnostics:diagnostic_msgs/msg/DiagnosticArray",
        ],
        "what is recorded, as topic:type; a type whose package is not installed is left out with a warning",
    )
    queue_bytes: int = parameter(
        256 * 1024 * 1024,
        "messages that wait for the disk; beyond it new ones are dropped and counted",
        unit="bytes",
        minimum=1024,
        maximum=2**40,
    )
    until_finished: bool = parameter(
        False, "end once the source of the event camera has finished and the gesture of its last window is recorded"
    )
    camera: str = parameter("event_camera", "node whose diagnostics tell that the source has finished")
    manager: str = parameter(
        "lifecycle_manager", "node whose diagnostics tell what the graph waits for while it comes up"
    )
    finish_timeout_s: float = parameter(
        10.0,
        "how long to wait for that last gesture before ending with exit status 1",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    show_progress: bool = parameter(True, "show a progress line on stderr")

    def __post_init__(self) -> None:
        self.topic_types()

    def topic_types(self) -> dict[str, str]:
        """Return topic to type name.

        Raises
        ------
        ParameterError
            An entry is not ``topic:package/msg/Type``, or a topic stands twice.
        """
        found: dict[str, str] = {}
        for entry in self.topics:
            topic, colon, kind = entry.partition(":")
            if not colon or not topic or kind.count("/") != 2 or topic in found:
                raise ParameterError(f"topics: {entry!r} is not topic:package/msg/Type, or its topic stands twice")
            found[topic] = kind
        if not found:
            raise ParameterError("topics: there is nothing to record; name at least one topic")
        return found
