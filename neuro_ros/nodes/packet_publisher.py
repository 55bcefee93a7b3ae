# SPDX-License-Identifier: Apache-2.0
"""Publishes the packets of a bag as a camera's driver does, payloads untouched: for tests and benchmarks.

    python -m neuro_ros.nodes.packet_publisher BAG [--rate R] [--topic events]

All packets are in memory before the first one is sent, so that reading does not slow the sending. Not a node of the
graph: no parameters, no life cycle.
"""

from __future__ import annotations

import argparse
import array
import signal
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from neuro_ros.cores.messages import EventPacket
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import open_recording
from neuro_ros.events.formats.rosbag2 import BagRecording
from neuro_ros.nodes import conversion, qos

__all__ = ["main"]

_NS_PER_S = 1_000_000_000
_POLL_S = 0.005


def _packets(path: str, frame_id: str) -> list[tuple[int, Any]]:
    """Read a bag; return bag time [ns] and message of each packet."""
    packet_class: Any = conversion.ros_class(EventPacket)
    found = []
    with open_recording(path) as recording:
        if not isinstance(recording, BagRecording):
            raise NeuroRosError(f"{path}: {recording.format} holds no packets; give a bag, or convert it to one")
        for time_ns, source in recording.timed_packets():
            message = packet_class()
            message.header.stamp.sec = source.header.stamp.sec
            message.header.stamp.nanosec = source.header.stamp.nanosec
            message.header.frame_id = frame_id or source.header.frame_id
            for name in ("height", "width", "seq", "time_base", "encoding", "is_bigendian"):
                setattr(message, name, getattr(source, name))
            message.events = array.array("B", bytes(source.events))
            found.append((time_ns, message))
    return found


def main() -> int:
    """Publish until the end of the bag; return the exit status."""
    parser = argparse.ArgumentParser(prog="packet_publisher", description=__doc__)
    parser.add_argument("bag")
    parser.add_argument("--topic", default="events")
    parser.add_argument("--rate", type=float, default=1.0, help="pace against the bag's times (default: 1)")
    parser.add_argument("--frame-id", default="", help="default: as in the packets")
    parser.add_argument(
        "--on-signal",
        action="store_true",
        help="begin on SIGUSR1, not as soon as a subscriber is known: it may not know this publisher yet",
    )
    args = parser.parse_args()
    try:
        packets = _packets(args.bag, args.frame_id)
    except NeuroRosError as error:
        sys.stderr.write(f"packet_publisher: {error}\n")
        return 2
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node("camera_driver")
    publisher = node.create_publisher(conversion.ros_class(EventPacket), args.topic, qos.publisher_qos("events"))
    pause = threading.Event()
    signalled = threading.Event()
    signal.signal(signal.SIGUSR1, lambda _number, _frame: signalled.set())
    sys.stdout.write(f"{len(packets)} packets, waiting\n")
    sys.stdout.flush()
    try:
        while publisher.get_subscription_count() == 0 or (args.on_signal and not signalled.is_set()):
            pause.wait(_POLL_S)
        sys.stdout.write("publishing\n")
        sys.stdout.flush()
        begin_ns = time.monotonic_ns()
        behind_ns = 0
        for time_ns, message in packets:
            due_ns = begin_ns + round((time_ns - packets[0][0]) / args.rate)
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                pause.wait(left_ns / _NS_PER_S)
            behind_ns = max(behind_ns, -left_ns)
            publisher.publish(message)
        took_s = (time.monotonic_ns() - begin_ns) / _NS_PER_S
        sys.stdout.write(f"published {len(packets)} packets in {took_s:.3f} s, {behind_ns / 1e6:.1f} ms behind\n")
        sys.stdout.flush()
        while publisher.get_subscription_count() > 0:  # a writer that ends takes what is still queued with it
            pause.wait(_POLL_S)
    except KeyboardInterrupt:
        pass
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
