# SPDX-License-Identifier: Apache-2.0
"""The event_camera node: packets of a driver, a recording or the simulator, as spike tensors."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rclpy.duration import Duration

from neuro_ros.cores.core import Health, HealthLevel, Output
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import EventPacket
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources import open_source
from neuro_ros.cores.sources.base import Source
from neuro_ros.cores.sources.player import Player
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion
from neuro_ros.nodes.audience import Audience
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.packet_reader import PacketReader
from neuro_ros.nodes.run import run_node

__all__ = ["EventCameraNode", "main"]

#: How often the subscribers are looked at before a recording starts [s].
_SUBSCRIBER_POLL_S = 0.02
#: Without a pace, the source waits for the middleware of its subscribers, but never longer than this a time [s].
_DELIVERY_WAIT_S = 0.1
#: So many times the packets beyond which the overload policy begins to act are held; more wait in the middleware, which
#: drops the oldest of its own and so makes gaps in their numbers.
_QUEUE_FACTOR = 2
_HELD_BYTES = 64 << 20
#: How soon a silent camera's reader notices that it shall stop [s].
_READER_WAIT_S = 0.02
#: A recording that comes later than this is worth a warning [s].
_LAG_WARN_S = 0.5


class EventCameraNode(LifecycleShell):
    """Lifecycle node around `EventCameraCore`; ``**kwargs`` as in `LifecycleShell`."""

    read_apart = EventPacket

    def __init__(self, **kwargs: Any) -> None:
        self._source: Source | None = None
        self._player: Player | None = None
        self._audience: Audience | None = None  # while it is waited for
        self._packets: deque[tuple[Any, Mapping[str, Any]]] = deque()
        super().__init__("event_camera", EventCameraCore, EventCameraParameters, **kwargs)

    def configured(self) -> None:
        """Open the source, so that whatever is wrong with it is said now."""
        self.core.waiting = self._packets.__len__
        self.core.oldest_ns = self._oldest_ns
        self.core.wanted = lambda topic: self.subscription_count(topic) > 0
        if self.parameters.source == "topic":
            conversion.ros_class(EventPacket)  # names the package to install where it is missing
            return
        self._source = open_source(self.parameters)
        if self._source is not None:
            self.core.set_sensor(self._source.width, self._source.height, self._source.counters)

    def released(self) -> None:
        """Close the source."""
        source, self._source = self._source, None
        self._player = None
        if source is not None:
            source.close()

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish windows before all else of the same call: the network waits for them, nobody for a label."""
        super().publish(sorted(outputs, key=lambda output: output.topic != "spikes"))

    def _stop_inputs(self) -> None:
        super()._stop_inputs()
        self._packets.clear()

    def run(self, stop_event: threading.Event) -> None:
        """Take packets, or play the source into the core until it ends, until the node is deactivated."""
        if self.reader is not None:
            self._read_packets(self.reader, stop_event)
        else:
            self._play(stop_event)

    def _read_packets(self, reader: PacketReader, stop_event: threading.Event) -> None:
        waiting = self._packets
        held_bytes = 0
        limit = _QUEUE_FACTOR * self.parameters.overload.packets
        while not stop_event.is_set():
            if not waiting and not reader.wait(_READER_WAIT_S):
                continue
            while len(waiting) < limit and held_bytes < _HELD_BYTES and (taken := reader.take()) is not None:
                waiting.append(taken)
                held_bytes += len(taken[0].events)
            if not waiting:
                continue
            oldest = waiting.popleft()
            held_bytes -= len(oldest[0].events)
            self.receive_apart(oldest)

    def _oldest_ns(self) -> int | None:
        """Return when the packet arrived that has waited longest; None while none waits."""
        try:
            return self._arrival_ns(self._packets[0][1])
        except IndexError:
            return None

    def _play(self, stop_event: threading.Event) -> None:
        source = self._source
        if source is None:
            return
        try:
            if not self._wait_for(self.audience("spikes"), stop_event):
                return
            player = self._player = Player(source, self.parameters)
            unpaced = self.parameters.rate == 0.0
            for piece in player.play(stop_event):
                outputs = self.invoke("feed", piece.batch, self.now_ns(), piece.until_ns, piece.label)
                if unpaced and outputs:
                    self._wait_for_delivery()
            if not stop_event.is_set():
                self.invoke("finish", self.now_ns())
                account = self.core.account
                self.get_logger().info(
                    f"the source has ended: {account.windows_sent} windows of {account.events_read} events"
                )
        except NeuroRosError as error:  # a recording that breaks off
            self.get_logger().error(str(error))
            self.invoke("fail", str(error), self.now_ns())
        finally:
            source.close()

    def _wait_for(self, audience: Audience, stop_event: threading.Event) -> bool:
        """Return True once all are there, False when stopped before."""
        self._audience = audience
        try:
            while audience.missing():
                if stop_event.wait(_SUBSCRIBER_POLL_S):
                    return False
        finally:
            self._audience = None
        return not stop_event.is_set()

    def _wait_for_delivery(self) -> None:
        # A reliable writer that keeps the last few overwrites what is not delivered yet, so being quick would be loss.
        self._outputs["spikes"].wait_for_all_acked(Duration(seconds=_DELIVERY_WAIT_S))

    def extra_health(self) -> Sequence[Health]:
        """Say how the player keeps pace, or what it waits for."""
        player = self._player
        if self._source is None:
            return ()
        if player is None:
            audience = self._audience
            values: dict[str, object] = {
                "subscribers": self.subscription_count("spikes"),
                "wanted": self.parameters.wait_for_subscribers,
            }
            missing = "" if audience is None else audience.missing()
            text = f"waiting for {missing}" if missing else "not playing"
            return (Health("player", HealthLevel.OK, text, values),)
        values = {"lag_s": player.lag_s, "max_lag_s": player.max_lag_s, "passes": player.passes}
        if player.lag_s > _LAG_WARN_S:
            return (Health("player", HealthLevel.WARN, f"{player.lag_s:.2f} s behind the recording's pace", values),)
        return (Health("player", HealthLevel.OK, "playing", values),)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(EventCameraNode)


if __name__ == "__main__":
    sys.exit(main())
