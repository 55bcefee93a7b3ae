# SPDX-License-Identifier: Apache-2.0
"""The clock_sync node: follows sensor clocks, with a latched publisher of its own for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.lifecycle import LifecycleState

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.core import Output
from neuro_ros.cores.messages import ClockModel
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node

__all__ = ["ClockSyncNode", "main"]


class ClockSyncNode(LifecycleShell):
    """Lifecycle node around `ClockSyncCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        self._keys: dict[str, str] = {}  # clock_id -> which of the shell's publishers
        super().__init__("clock_sync", ClockSyncCore, ClockSyncParameters, **kwargs)

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish outputs, the model of each clock on the publisher of that clock."""
        super().publish(
            [
                Output(self._key(output.topic, output.message.clock_id), output.message)
                if isinstance(output.message, ClockModel)
                else output
                for output in outputs
            ]
        )

    def released(self) -> None:
        """Forget the clocks; the shell destroys their publishers."""
        self._keys.clear()

    def _key(self, topic: str, clock_id: str) -> str:
        """Return the publisher for a clock; the first has the topic's own.

        A latched topic keeps one message a publisher, so clocks that shared one would hide each other from a
        late joiner.
        """
        if clock_id not in self._keys:
            if not self._keys:
                self._keys[clock_id] = topic
                return topic
            publisher = self.create_lifecycle_publisher(
                conversion.ros_class(ClockModel), topic, qos.publisher_qos(topic)
            )
            publisher.on_activate(LifecycleState("active", 3))  # made while active: the node's own call is past
            key = self._keys[clock_id] = f"{topic} of {clock_id}"
            self._outputs[key] = publisher
        return self._keys[clock_id]


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(ClockSyncNode)
