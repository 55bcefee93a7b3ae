# SPDX-License-Identifier: Apache-2.0
"""Knows who must hear an output from its first message on, and whether they do.

A number of subscribers alone does not tell: the middleware matches each pair of a publisher and a subscription for
itself, so that of three the two that matter less may come first. Nodes can therefore be named. What is done meanwhile
is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

__all__ = ["Audience"]


class Audience:
    """Those who must be matched with a publisher.

    Parameters
    ----------
    node : rclpy.node.Node
        Owner of the publisher.
    topic : str
        As the publisher was made with, relative to the node.
    publisher : rclpy.publisher.Publisher
        Of the topic.
    wanted : int
        So many subscriptions at least, whoever's they are.
    nodes : Sequence[str]
        Names of nodes, relative to the namespace of `node` or absolute, one of whose subscriptions must be among them;
        empty names count for nothing.

    Attributes
    ----------
    topic, wanted
        As given.
    """

    def __init__(self, node: Node, topic: str, publisher: Any, wanted: int, nodes: Sequence[str]) -> None:
        self.topic, self.wanted = topic, wanted
        self._node, self._publisher = node, publisher
        self._nodes = {name: name if name[0] == "/" else _full(node.get_namespace(), name) for name in nodes if name}

    @property
    def there(self) -> int:
        """Subscriptions that are matched now."""
        return int(self._publisher.get_subscription_count())

    def missing(self) -> str:
        """Say who is missing, to be read after "waiting for"; empty when all are there."""
        there = self.there  # first: whoever comes in between is known then, and not yet counted
        if there < self.wanted:
            return f"{self.wanted} subscribers of {self.topic}, {there} there"
        if not self._nodes:
            return ""
        known = self._known()
        if absent := [name for name, full in self._nodes.items() if full not in known]:
            return f"{', '.join(absent)} to hear {self.topic}"
        # One that is known and not matched yet may be any of them.
        return f"{len(known)} subscribers of {self.topic}, {there} there" if there < len(known) else ""

    def _known(self) -> list[str]:
        """Return the node of each subscription that can be matched."""
        offered = self._publisher.qos_profile
        return [
            _full(info.node_namespace, info.node_name)
            for info in self._node.get_subscriptions_info_by_topic(self.topic)  # remaps it, whatever its docstring says
            if _fits(offered, info.qos_profile)
        ]


def _fits(offered: QoSProfile, wanted: QoSProfile) -> bool:
    """Return False when a subscription asks for more than our publishers offer, none of which has a deadline.

    rclpy's own comparison takes a deadline that was discovered as infinite for one that is asked for.
    """
    stored = DurabilityPolicy.TRANSIENT_LOCAL
    lossless = ReliabilityPolicy.RELIABLE
    return (wanted.durability != stored or offered.durability == stored) and (
        wanted.reliability != lossless or offered.reliability == lossless
    )


def _full(namespace: str, name: str) -> str:
    return f"{namespace.rstrip('/')}/{name}"
