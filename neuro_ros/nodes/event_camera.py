# SPDX-License-Identifier: Apache-2.0
"""The event_camera node: packets of a driver, a recording or the simulator, as spike tensors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import EventPacket
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources import open_source
from neuro_ros.cores.sources.base import Source
from neuro_ros.cores.sources.player import Player
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node
from neuro_ros.nodes.worker import PostedCall

__all__ = ["EventCameraNode", "main"]

#: How often the number of subscribers is looked at before a recording starts [s].
_SUBSCRIBER_POLL_S = 0.02
#: Without a pace, the source waits for the middleware of its subscribers, but never longer than this a time [s].
_DELIVERY_WAIT_S = 0.1
#: The queue holds so many times the packets beyond which the overload policy begins to act.
_QUEUE_FACTOR = 4
#: What `PostedCall.kind` says of a packet.
_PACKET_CALL = "receive events"
#: A recording that comes later than this is worth a warning [s].
_LAG_WARN_S = 0.5


class EventCameraNode(LifecycleShell):
    """Lifecycle node around `EventCameraCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        self._source: Source | None = None
        self._player: Player | None = None
        self._waiting = False
        super().__init__("event_camera", EventCameraCore, EventCameraParameters, **kwargs)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give packets a queue and a worker, then configure as every node; what is played has a thread already."""
        parameters = self.parameters
        self._queue_limit = _QUEUE_FACTOR * parameters.overload.packets if parameters.source == "topic" else None
        return super().on_configure(state)

    def overflow(self, waiting: list[PostedCall], new: PostedCall) -> PostedCall:
        """Let the oldest packet go when the core is not even asked in time; the gap in the numbers is counted."""
        return next((call for call in waiting if call.kind == _PACKET_CALL), new)

    def configured(self) -> None:
        """Open the source, so that whatever is wrong with it is said now."""
        self.core.waiting = lambda: 0 if self._driver is None else self._driver.queue_depth
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

    def run(self, stop_event: threading.Event) -> None:
        """Play the source into the core until it ends or the node is deactivated."""
        source = self._source
        if source is None:
            return
        try:
            if not self._wait_for_subscribers(stop_event):
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

    def _wait_for_subscribers(self, stop_event: threading.Event) -> bool:
        """Return True once enough subscriptions are matched, False when stopped before."""
        wanted = self.parameters.wait_for_subscribers
        self._waiting = True
        while self.subscription_count("spikes") < wanted:
            if stop_event.wait(_SUBSCRIBER_POLL_S):
                return False
        self._waiting = False
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
            wanted = self.parameters.wait_for_subscribers
            matched = self.subscription_count("spikes")
            text = f"waiting for {wanted} subscribers of spikes, {matched} there" if self._waiting else "not playing"
            return (Health("player", HealthLevel.OK, text, {"subscribers": matched, "wanted": wanted}),)
        values = {"lag_s": player.lag_s, "max_lag_s": player.max_lag_s, "passes": player.passes}
        if player.lag_s > _LAG_WARN_S:
            return (Health("player", HealthLevel.WARN, f"{player.lag_s:.2f} s behind the recording's pace", values),)
        return (Health("player", HealthLevel.OK, "playing", values),)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(EventCameraNode)


if __name__ == "__main__":
    sys.exit(main())
