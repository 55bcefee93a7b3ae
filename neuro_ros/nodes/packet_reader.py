# SPDX-License-Identifier: Apache-2.0
"""Takes a quick topic's messages in a thread of the caller, past the executor.

The executor of rclpy gathers all entities of the node anew for each message: about half a millisecond where a camera
sends a packet a millisecond. A wait set of this one subscription does it in a tenth, and what has arrived meanwhile is
taken without waiting. What the messages mean is not known here.
"""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile

__all__ = ["PacketReader"]

_NS_PER_S = 1_000_000_000


class _NobodysGroup(CallbackGroup):
    """What is in this group no executor touches."""

    def can_execute(self, _entity: Any) -> bool:
        """Return False."""
        return False

    def beginning_execution(self, _entity: Any) -> bool:
        """Return False."""
        return False

    def ending_execution(self, _entity: Any) -> None:
        """Do nothing."""


class PacketReader:
    """A subscription that its owner reads.

    Parameters
    ----------
    node : rclpy.node.Node
        Owns the subscription.
    message_class : type
        Of the topic.
    topic : str
        Relative to the node.
    profile : QoSProfile
        Its depth is what can wait in the middleware.

    Attributes
    ----------
    topic : str
        As given.

    Notes
    -----
    :meth:`wait` and :meth:`take` belong to one thread, construction and :meth:`close` to the executor's; close it after
    that thread has ended.
    """

    def __init__(self, node: Node, message_class: type, topic: str, profile: QoSProfile) -> None:
        self.topic = topic
        self._node = node
        self._group = _NobodysGroup()  # nodes keep groups weakly
        self._subscription: Any = node.create_subscription(
            message_class, topic, lambda _message: None, profile, callback_group=self._group
        )
        self._wait_set = _rclpy.WaitSet(1, 0, 0, 0, 0, 0, node.context.handle)

    def wait(self, timeout_s: float) -> bool:
        """Wait until a message is there, so long at most; return True when one may be."""
        subscription = self._subscription
        if subscription is None:  # closed: its thread was left behind
            return False
        try:
            with subscription.handle:
                self._wait_set.clear_entities()
                self._wait_set.add_subscription(subscription.handle)
                self._wait_set.wait(round(timeout_s * _NS_PER_S))
                return bool(self._wait_set.get_ready_entities("subscription"))
        except _rclpy.InvalidHandle:
            return False

    def take(self) -> tuple[Any, dict[str, Any]] | None:
        """Return the next message and what the middleware knows about it, None when none is there."""
        subscription = self._subscription
        if subscription is None:
            return None
        try:
            with subscription.handle:
                taken: tuple[Any, dict[str, Any]] | None = subscription.handle.take_message(
                    subscription.msg_type, subscription.raw
                )
        except _rclpy.InvalidHandle:
            return None
        return taken

    @property
    def publishers(self) -> int:
        """Publishers that are matched."""
        return int(self._subscription.handle.get_publisher_count())

    def close(self) -> None:
        """Destroy the subscription; safe twice."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)
