# SPDX-License-Identifier: Apache-2.0
"""Publishes health on ``/diagnostics``; whose health it is and what it means is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from neuro_ros.cores.core import Health
from neuro_ros.nodes import qos

__all__ = ["PERIOD_S", "DiagnosticsPublisher"]

#: Every node reports so often [s].
PERIOD_S = 1.0


class DiagnosticsPublisher:
    """Turns `Health` into ``diagnostic_msgs/DiagnosticArray``, names prefixed with the node's.

    Parameters
    ----------
    node : rclpy.node.Node
        Whose health it is.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Any = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def publish(self, statuses: Iterable[Health]) -> None:
        """Send one array with all statuses."""
        message = DiagnosticArray(status=[self._status(health) for health in statuses])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _status(self, health: Health) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([int(health.level)]),
            name=f"{self._node.get_name()}: {health.name}",
            message=health.message,
            hardware_id=self._node.get_fully_qualified_name().lstrip("/"),
            values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
        )
