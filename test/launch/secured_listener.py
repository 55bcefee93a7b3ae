# SPDX-License-Identifier: Apache-2.0
"""Listens to `gesture`, then tries to say one itself; prints what came of both, one line each."""

import sys

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation

from neuro_ros.msg import Gesture
from neuro_ros.nodes import qos


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Listen until interrupted; the arguments are those of ROS."""
    rclpy.init()
    node = rclpy.create_node("_ros2cli_listener", start_parameter_services=False)
    node.create_subscription(Gesture, "gesture", lambda message: say(f"heard {message.sequence}"), qos.WINDOWS)
    try:
        node.create_publisher(Gesture, "gesture", qos.WINDOWS)
        say("may publish")
    except rclpy_implementation.RCLError:
        say("may not publish")
    rclpy.spin(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
