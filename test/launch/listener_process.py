# SPDX-License-Identifier: Apache-2.0
"""Prints what it receives on `spikes` and `gesture`, one line a message, until it is stopped."""

import sys

from rclpy.node import Node

from neuro_ros.msg import Gesture, SpikeTensor
from neuro_ros.nodes import qos
from neuro_ros.nodes.run import run_node


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Listener(Node):
    """Subscribes as anybody's node would."""

    def __init__(self) -> None:
        super().__init__("listener")
        # The camera waits for those who listen to spikes, so that one comes last.
        self.create_subscription(Gesture, "gesture", self._gesture, qos.recorder_qos("gesture"))
        self.create_subscription(SpikeTensor, "spikes", self._window, qos.recorder_qos("spikes"))
        say("listening")

    def _window(self, message: SpikeTensor) -> None:
        say(f"window {message.epoch} {message.sequence} {message.events_in}")

    def _gesture(self, message: Gesture) -> None:
        say(f"gesture {message.epoch} {message.sequence}")


if __name__ == "__main__":
    sys.exit(run_node(Listener))
