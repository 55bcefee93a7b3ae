# SPDX-License-Identifier: Apache-2.0
"""Every quality of service of the graph, by name, with its reason; no node writes a depth of its own.

A topic is named as in a core: relative, before remapping. What a topic carries is not known here.
"""

from __future__ import annotations

from types import MappingProxyType

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

__all__ = [
    "DIAGNOSTICS",
    "EVENTS_IN",
    "HEARTBEAT",
    "HEARTBEAT_LEASE_S",
    "HEARTBEAT_PERIOD_S",
    "IMAGE",
    "LATCHED",
    "LATCHED_IN",
    "PTP",
    "RECORDER_DEPTH",
    "STANDARD",
    "WINDOWS",
    "heartbeat_subscription",
    "publisher_qos",
    "recorder_qos",
    "subscription_qos",
]


def _profile(
    depth: int,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


#: Windows and what was read in them: none may be lost between our nodes. 10 at 20 Hz ride out a stall of half a second.
WINDOWS = _profile(10)
#: Telemetry, clock samples and everything else without a special need: 10 at 1 Hz to 50 Hz is 0.2 s to 10 s.
STANDARD = _profile(10)
#: State that a late joiner needs at once: the last value only.
LATCHED = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
#: Our side of a latched topic: several clocks share ``clock/model``, each with a publisher of its own that latches one.
LATCHED_IN = _profile(10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
#: Timing messages: one that comes late through retransmission is worse than none.
PTP = _profile(10, ReliabilityPolicy.BEST_EFFORT)
#: Camera packets as sensor data; drivers send up to 1000 a second, so 512 ride out half a second.
EVENTS_IN = _profile(512, ReliabilityPolicy.BEST_EFFORT)
#: Pictures for people: only the newest counts.
IMAGE = _profile(1, ReliabilityPolicy.BEST_EFFORT)
#: Diagnostics, as the aggregator subscribes; ten nodes at 1 Hz share the topic, so 10 is about a second.
DIAGNOSTICS = _profile(10)

#: A node that has not asserted itself for so long counts as dead [s]. Long against a garbage collection or a busy core,
#: short against an operator's patience.
HEARTBEAT_LEASE_S = 2.0
#: How often a node asserts itself [s]: five chances in a lease.
HEARTBEAT_PERIOD_S = 0.4


def _heartbeat() -> QoSProfile:
    profile = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    profile.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    profile.liveliness_lease_duration = Duration(seconds=HEARTBEAT_LEASE_S)
    return profile


#: State of a node, asserted by its executor's own timer: a process that lives but no longer spins falls silent.
HEARTBEAT = _heartbeat()


def heartbeat_subscription() -> QoSProfile:
    """Return what the manager asks of a heartbeat: the same lease, so that its loss is reported as an event."""
    return _heartbeat()


_PUBLISHERS = MappingProxyType(
    {
        "spikes": WINDOWS,
        "gesture": WINDOWS,
        "gesture/shadow": WINDOWS,
        "truth": WINDOWS,
        "clock/model": LATCHED,
        "thermal/compensation": LATCHED,
        "canary/report": LATCHED,
        "rollout": LATCHED,
        "ptp": PTP,
        "events": EVENTS_IN,
        "spikes/image": IMAGE,
    }
)
#: Reliable history of a recorder, in messages a topic: writing may stall for seconds on a slow disk.
RECORDER_DEPTH = 1000


def publisher_qos(topic: str) -> QoSProfile:
    """Return the profile with which a node of the graph publishes a relative topic."""
    return _PUBLISHERS.get(topic, STANDARD)


def subscription_qos(topic: str) -> QoSProfile:
    """Return the profile with which a node of the graph subscribes a relative topic."""
    offered = publisher_qos(topic)
    return LATCHED_IN if offered is LATCHED else offered


def recorder_qos(topic: str) -> QoSProfile:
    """Return the profile with which the recorder subscribes: as the publisher offers it, with a deep history."""
    offered = publisher_qos(topic)
    return _profile(RECORDER_DEPTH, offered.reliability, offered.durability)
