# SPDX-License-Identifier: Apache-2.0
"""Takes an input for which somebody waits in a thread of its own, past the executor.

Before and after each message the executor of rclpy looks through all entities of a node: with those of `snn_inference`
0.36 ms of processor time until a window's callback, and 0.34 ms behind it, during which it keeps the interpreter's lock
from the worker that is to run the window. Here it is 0.33 ms from the wake-up to the next wait, and the node takes
1.8 ms a window instead of 2.7 to 3.3, inference included. What is done with a message is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from neuro_ros.nodes.packet_reader import PacketReader

__all__ = ["QuickInput"]

#: How soon the thread notices that it shall stop [s].
_WAIT_S = 0.1


class QuickInput:
    """A subscription with a thread that takes its messages.

    Parameters
    ----------
    node : rclpy.node.Node
        Owns the subscription.
    message_class : type
        Of the topic.
    topic : str
        Relative to the node.
    profile : QoSProfile
        Of the subscription.
    received : Callable[[object, Mapping], None]
        Called in the thread with each message and what the middleware knows about it; must not raise, and should hand
        the message on, since nothing is taken meanwhile.
    """

    def __init__(
        self, node: Node, message_class: type, topic: str, profile: QoSProfile, received: Callable[[Any, Any], None]
    ) -> None:
        self._reader = PacketReader(node, message_class, topic, profile)
        self._received = received
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{node.get_name()}.{topic}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._reader.wait(_WAIT_S):
                while not self._stop.is_set() and (taken := self._reader.take()) is not None:
                    self._received(*taken)

    def close(self, timeout_s: float) -> bool:
        """End the thread and destroy the subscription; return False when the thread was left behind. Safe twice."""
        self._stop.set()
        self._thread.join(timeout_s)
        self._reader.close()
        return not self._thread.is_alive()
