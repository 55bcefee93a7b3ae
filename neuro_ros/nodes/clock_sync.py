# SPDX-License-Identifier: Apache-2.0
"""The clock_sync node: follows the clocks of sensors and other hosts, with a latched publisher of its own for each.

The two-way exchange has a thread of its own while it is active, which waits for timing messages and the next tick: past
the executor, a message costs a tenth. It needs to know when a message departs: the time is taken between its conversion
and its publication, by the clock that also stamps arrivals, and the core is told right afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from rclpy.lifecycle import LifecycleState

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.core import Clocks, Health, Output
from neuro_ros.cores.messages import ClockModel, PtpMessage
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.host_watch import HostClockWatch, port_identity
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.packet_reader import PacketReader
from neuro_ros.nodes.run import run_node

__all__ = ["ClockSyncNode", "main"]

_S = 1_000_000_000
_PTP_TIMER = "ptp"
#: How soon the exchange's thread notices that it shall stop [s].
_READER_WAIT_S = 0.1
#: Messages that are worked on before time is looked at again: a flood must not hold up the ticks.
_READ_AT_ONCE = 32
#: Clocks of other hosts, beside those of sensors, that keep a publisher.
_HOST_CLOCKS = 8
#: Ticks that are made up for after a stall; beyond that they are left out.
_LATE_TICKS = 20


class ClockSyncNode(LifecycleShell):
    """Lifecycle node around `ClockSyncCore`; ``**kwargs`` as in `LifecycleShell`."""

    own_timers: ClassVar[frozenset[str]] = frozenset({_PTP_TIMER})
    read_apart = PtpMessage

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
        core = self.core
        if core is not None:
            for line in self.call(core.take_news).result():
                self.get_logger().info(line)
        return () if self._watch is None else self._watch.health()

    def run(self, stop_event: threading.Event) -> None:
        """Take timing messages and make ticks at the exchange's pace, until the node is deactivated."""
        reader = self.reader
        if reader is None:
            return
        period_s = self.core.timers()[_PTP_TIMER] / _S
        due_s = time.monotonic()
        while not stop_event.is_set():
            now_s = time.monotonic()
            if now_s >= due_s:
                self.invoke("tick", _PTP_TIMER, self.now_ns())
                due_s = max(due_s + period_s, now_s - _LATE_TICKS * period_s)
            elif reader.wait(min(due_s - now_s, _READER_WAIT_S)):
                self._read(reader)

    def _read(self, reader: PacketReader) -> None:
        for _ in range(_READ_AT_ONCE):
            taken = reader.take()
            if taken is None:
                return
            self.receive_apart(taken)

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
        key = self._keys.pop(clock_id, "")
        if not key:
            key = topic if topic not in self._keys.values() else self._make_publisher(topic, clock_id)
        self._keys[clock_id] = key  # the one used last is last
        return key

    def _make_publisher(self, topic: str, clock_id: str) -> str:
        """Make a publisher for one more clock; that of a clock which is long forgotten goes when they become many."""
        if len(self._keys) >= self.parameters.max_clocks + _HOST_CLOCKS:
            oldest = next(name for name, key in self._keys.items() if key != topic)
            self.destroy_lifecycle_publisher(self._outputs.pop(self._keys.pop(oldest)))
        publisher = self.create_lifecycle_publisher(conversion.ros_class(ClockModel), topic, qos.publisher_qos(topic))
        publisher.on_activate(LifecycleState("active", 3))  # made while active: the node's own call is past
        key = f"{topic} of {clock_id}"
        self._outputs[key] = publisher
        return key


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(ClockSyncNode)
