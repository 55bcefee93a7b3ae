# SPDX-License-Identifier: Apache-2.0
"""Holds an input of a node back until those are there who wait for its answers.

The middleware matches each pair of a publisher and a subscription for itself. A camera that begins when it has met the
network may so be answered by a network that has not met the recorder: the first gestures of a run are heard by nobody,
and a volatile topic does not repeat them. Every node can count its own subscribers only, so each waits for its own, in
the order against the stream: the camera for whoever hears `spikes`, and the network does not hear them before `gesture`
is heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.nodes.audience import Audience

__all__ = ["HeldInput"]

#: How often the subscribers are looked at [s].
_LOOK_PERIOD_S = 0.02


class HeldInput:
    """An input that is subscribed once an output has its subscribers, or when it has waited long enough.

    Parameters
    ----------
    node : rclpy.node.Node
        Owner; its executor looks.
    audience : Audience
        Who must hear which output.
    timeout_s : float
        After this time the input is subscribed all the same.
    subscribe : Callable[[], None]
        Opens the input; called once, in the executor.

    Attributes
    ----------
    missed : bool
        True when the time was over before all were there.
    """

    def __init__(self, node: Node, audience: Audience, timeout_s: float, subscribe: Callable[[], None]) -> None:
        self.missed = False
        self._node, self._audience, self._subscribe = node, audience, subscribe
        self._until_s = time.monotonic() + timeout_s
        self._timer: Any = None
        if not self._look():
            self._timer = node.create_timer(_LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> bool:
        """Open the input if it is time; return True when it was."""
        missing = self._audience.missing()
        if missing:
            if time.monotonic() < self._until_s:
                return False
            self.missed = True
            self._node.get_logger().warning(f"waited for {missing}; going on without")
        self.close()
        self._subscribe()
        return True

    @property
    def waiting(self) -> bool:
        """True while the input is held back."""
        return self._timer is not None

    def health(self) -> Health:
        """Say who is waited for."""
        there = self._audience.there
        values = {"subscribers": there, "wanted": self._audience.wanted, "missed": self.missed}
        if self.waiting:
            # They may be there by now, and the timer about to find out.
            missing = self._audience.missing() or f"the subscribers of {self._audience.topic}"
            return Health("listeners", HealthLevel.OK, f"waiting for {missing}", values)
        return Health("listeners", HealthLevel.OK, f"{there} subscribers of {self._audience.topic}", values)

    def close(self) -> None:
        """Wait no longer; safe twice."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._node.destroy_timer(timer)
