# SPDX-License-Identifier: Apache-2.0
"""Records the topics of the graph into a rosbag2 bag, shows how it goes, and can tell when a recording has been played.

Messages are taken as they are on the wire and handed to `neuro_ros.bringup.bag_writer`; only the few that the progress
line or the end depends on are looked into. Judging a recording is not its business.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from neuro_ros.bringup.bag_writer import BagTopicSpec, BagWriteError, BagWriter
from neuro_ros.bringup.coming_up import ComingUp
from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.cores.parameters.recorder import RecorderParameters
from neuro_ros.nodes import qos
from neuro_ros.nodes.conversion import MessageTypeError, message_class
from neuro_ros.nodes.diagnostics import PERIOD_S, DiagnosticsPublisher
from neuro_ros.nodes.parameters import NodeParameters
from neuro_ros.nodes.run import run_node

__all__ = ["RecorderNode", "main"]

#: How often the end is looked for and, on a terminal, the progress line is redrawn [s].
_TICK_PERIOD_S = 0.25
#: How often progress is a new line where stderr is no terminal [s].
_LINE_PERIOD_S = 5.0
#: After the last gesture: two rounds of diagnostics, so that the final counters of all nodes are in the bag [s].
_TAIL_S = 2.0 * PERIOD_S
_CLOCK_STATES = ("UNLOCKED", "TRACKING", "LOCKED", "HOLDOVER")


class RecorderNode(Node):
    """The recorder as a node.

    Parameters
    ----------
    **kwargs
        For `rclpy.node.Node`.

    Attributes
    ----------
    exit_code : int or None
        Not None once the bag is closed: 0 when it is what was asked for, 1 otherwise.

    Raises
    ------
    ParameterError
        An override is unknown or not valid, or `path` is missing.
    BagWriteError
        The bag cannot be begun.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("recorder", **kwargs)
        self._settings = NodeParameters(self, RecorderParameters, lambda: True, lambda _: None).current
        if not self._settings.path:
            raise ParameterError("path: is empty; name the folder to make for the bag")
        self.exit_code: int | None = None
        self._lost: dict[str, int] = {}
        self._last: dict[str, Any] = {}
        self._coming_up = ComingUp(self._settings.manager)
        self._finished: tuple[int, int] | None = None  # epoch and sequence of the last window
        self._finished_s = 0.0
        self._tail_from_s: float | None = None
        self._shown_s = 0.0
        classes = self._available(self._settings.topic_types())
        specs = {topic: self._spec(topic, self._settings.topic_types()[topic]) for topic in classes}
        self._bag = BagWriter(Path(self._settings.path), specs, self._settings.queue_bytes)
        # A camera that plays something waits for those who hear spikes, and learns of subscriptions in their order:
        # that one comes last, so that what else the camera says is heard from the beginning, too.
        for topic, cls in sorted(classes.items(), key=lambda item: item[0] == "spikes"):
            events = SubscriptionEventCallbacks(message_lost=functools.partial(self._message_lost, topic))
            callback: Any = functools.partial(self._received, topic, self._looker(topic, cls))
            self.create_subscription(cls, topic, callback, qos.recorder_qos(topic), raw=True, event_callbacks=events)
        self._diagnostics = DiagnosticsPublisher(self)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_TICK_PERIOD_S, self._tick, clock=steady)
        self.create_timer(PERIOD_S, self._diagnose, clock=steady)
        self.get_logger().info(f"recording {len(specs)} topics into {self._bag.path}")

    def _available(self, types: Mapping[str, str]) -> dict[str, type]:
        found = {}
        for topic, name in types.items():
            try:
                found[topic] = message_class(name)
            except MessageTypeError as error:  # noqa: PERF203 - once, at start
                if self._settings.topics == RecorderParameters().topics:
                    # Nobody asked for this one in particular: without a camera's package there is no such camera.
                    self.get_logger().info(f"{topic} is not recorded: {error}")
                else:
                    self.get_logger().warning(f"{topic} is not recorded: {error}")
        return found

    def _spec(self, topic: str, kind: str) -> BagTopicSpec:
        offered = qos.publisher_qos(topic)
        return BagTopicSpec(
            name=self.resolve_topic_name(topic),
            type=kind,
            depth=offered.depth,
            reliable=offered.reliability == ReliabilityPolicy.RELIABLE,
            latched=offered.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        )

    # -- messages ------------------------------------------------------------------------------------------------

    def _looker(self, topic: str, cls: type) -> Any:
        """Return what looks into a topic's messages, or None."""
        look = {"gesture": self._gesture, "clock/model": self._clock_model, "/diagnostics": self._status}.get(topic)
        return None if look is None else lambda payload: look(deserialize_message(payload, cls))

    def _received(self, topic: str, look: Any, payload: bytes, info: Mapping[str, Any]) -> None:
        clock: Any = self.get_clock()
        received = int(info["received_timestamp"])
        if clock.ros_time_is_active or received <= 0:
            received = int(clock.now().nanoseconds)
        self._bag.add(topic, received, payload)
        if look is not None:
            look(payload)

    def _message_lost(self, topic: str, event: Any) -> None:
        self._lost[topic] = int(event.total_count)

    def _gesture(self, message: Any) -> None:
        self._last["gesture"] = (message.epoch, message.sequence)
        self._last["label"] = message.label or "no decision"

    def _clock_model(self, message: Any) -> None:
        if message.state < len(_CLOCK_STATES):
            self._last["clock"] = _CLOCK_STATES[message.state]

    def _status(self, message: Any) -> None:
        if not self._bag.written.get("spikes"):
            for status in message.status:
                self._coming_up.take(status.name, status.message, {item.key: item.value for item in status.values})
        if not self._settings.until_finished or self._finished is not None:
            return
        for status in message.status:
            if status.name != f"{self._settings.camera}: source":
                continue
            values = {item.key: item.value for item in status.values}
            if values.get("state") == "failed":
                self._end(1, f"the source has failed: {status.message}")
            elif values.get("state") == "finished":
                self._finished = (int(values["epoch"]), int(values["last_sequence"]))
                self._finished_s = time.monotonic()

    # -- the end -------------------------------------------------------------------------------------------------

    def stop_requested(self) -> None:
        """Close the bag; `exit_code` is set when that is done."""
        self._end(0, "")

    def _tick(self) -> None:
        self._show(time.monotonic())
        if self._bag.failure:
            self._end(1, "")
        elif self._finished is not None:
            self._look_for_end(*self._finished, time.monotonic())

    def _look_for_end(self, epoch: int, last_sequence: int, now_s: float) -> None:
        gesture = self._last.get("gesture")
        complete = last_sequence < 0 or (gesture is not None and gesture >= (epoch, last_sequence))
        if complete and self._tail_from_s is None:
            self._tail_from_s = now_s
        if self._tail_from_s is not None:
            if now_s - self._tail_from_s >= _TAIL_S:
                self._end(0, "")
        elif now_s - self._finished_s >= self._settings.finish_timeout_s:
            seen = "none" if gesture is None else f"{gesture[1]} of epoch {gesture[0]}"
            self._end(
                1,
                f"no gesture for the last window ({last_sequence} of epoch {epoch}) within "
                f"{self._settings.finish_timeout_s:g} s of the end of the recording; the last one is {seen}",
            )

    def _end(self, code: int, trouble: str) -> None:
        """Close the bag, say what is in it, and let the process end."""
        if self.exit_code is not None:
            return
        try:
            self._bag.close()
        except BagWriteError as error:
            code, trouble = 1, str(error)
        self._show(time.monotonic(), last=True)
        if trouble:
            self.get_logger().error(trouble)
        lost = {**self._lost}
        for topic, count in self._bag.dropped.items():
            if count:
                lost[topic] = lost.get(topic, 0) + count
        if any(lost.values()):
            losses = ", ".join(f"{topic} {count}" for topic, count in lost.items() if count)
            self.get_logger().warning(f"messages lost: {losses}")
        self.get_logger().info(f"{sum(self._bag.written.values())} messages in {self._bag.path}")
        self.exit_code = code

    # -- what people see -----------------------------------------------------------------------------------------

    def _show(self, now_s: float, last: bool = False) -> None:
        if not self._settings.show_progress:
            return
        terminal = sys.stderr.isatty()
        if not (last or terminal or now_s - self._shown_s >= _LINE_PERIOD_S):
            return
        self._shown_s = now_s
        written = self._bag.written
        waiting = "" if written.get("spikes") or last else self._coming_up.text()
        line = waiting or (
            f"windows {written.get('spikes', 0)}  gestures {written.get('gesture', 0)}  "
            f"last {self._last.get('label', '-')}  lost {self._bag.total_dropped + sum(self._lost.values())}  "
            f"clock {self._last.get('clock', '-')}"
        )
        # In place on a terminal, so that an hour of recording does not scroll everything else away.
        sys.stderr.write(f"\r{line}\x1b[K" + ("\n" if last else "") if terminal else f"{line}\n")
        sys.stderr.flush()

    def _health(self) -> Sequence[Health]:
        values: dict[str, object] = {
            "written": sum(self._bag.written.values()),
            "dropped": self._bag.total_dropped,
            "lost_in_transport": sum(self._lost.values()),
            "waiting_bytes": self._bag.waiting_bytes,
            **{f"written {topic}": count for topic, count in self._bag.written.items() if count},
        }
        if self._bag.failure:
            return [Health("bag", HealthLevel.ERROR, self._bag.failure, values)]
        if self._bag.total_dropped or self._lost:
            return [Health("bag", HealthLevel.WARN, "messages were lost", values)]
        return [Health("bag", HealthLevel.OK, f"{values['written']} messages", values)]

    def _diagnose(self) -> None:
        self._diagnostics.publish(self._health())

    def destroy_node(self) -> None:
        """Close the bag if that has not happened, and destroy the node."""
        self._end(0, "")
        super().destroy_node()


def main() -> int:
    """Run the recorder as a process; return its exit status, 0 when the bag is what was asked for."""
    return run_node(RecorderNode)
