# SPDX-License-Identifier: Apache-2.0
"""The clock_sync node: follows the clocks of sensors and other hosts, with a latched publisher of its own for each.

The two-way exchange needs to know when a message departs: the time is taken between its conversion and its publication,
by the clock that also stamps arrivals, and the core is told right afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.lifecycle import LifecycleState

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.core import Clocks, Health, Output
from neuro_ros.cores.messages import ClockModel, PtpMessage
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.host_watch import HostClockWatch, port_identity
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node

__all__ = ["ClockSyncNode", "main"]


class ClockSyncNode(LifecycleShell):
    """Lifecycle node around `ClockSyncCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        self._keys: dict[str, str] = {}  # clock_id -> which of the shell's publishers
        self._departures: list[tuple[PtpMessage, int]] = []
        self._watch: HostClockWatch | None = None
        super().__init__("clock_sync", self._make_core, ClockSyncParameters, **kwargs)

    @staticmethod
    def _make_core(parameters: ClockSyncParameters, clocks: Clocks) -> ClockSyncCore:
        wanted = parameters.ptp.role != "off" and not parameters.ptp.identity
        return ClockSyncCore(parameters, clocks, identity=port_identity() if wanted else "")

    def configured(self) -> None:
        """Begin to look after the host's own clock discipline."""
        if self.parameters.show_host_clock:
            self._watch = HostClockWatch()

    def extra_health(self) -> Sequence[Health]:
        """Log what the core has to say, and show what disciplines this host's clock."""
        if self.core is not None:
            for line in self.core.take_news():
                self.get_logger().info(line)
        return () if self._watch is None else self._watch.health()

    def departing(self, output: Output) -> None:
        """Take the time of timing messages; it must be the last thing before they go."""
        if isinstance(output.message, PtpMessage):
            self._departures.append((output.message, self.now_ns()))

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish outputs, the model of each clock on the publisher of that clock; tell the core of departures."""
        super().publish(
            [
                Output(self._key(output.topic, output.message.clock_id), output.message)
                if isinstance(output.message, ClockModel)
                else output
                for output in outputs
            ]
        )
        departures, self._departures = self._departures, []
        for message, departure_ns in departures:
            self.invoke("departed", message, departure_ns)

    def released(self) -> None:
        """Forget the clocks; the shell destroys their publishers."""
        self._keys.clear()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

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
