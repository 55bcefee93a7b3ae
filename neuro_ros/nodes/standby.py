# SPDX-License-Identifier: Apache-2.0
"""Asks the lifecycle manager for standby and for its end, until it has answered.

A request is sent, or sent again, at an occasion that the owner gives, never waited for. What was answered stands until
something else is wanted: a person who resumes a hot graph is not overruled.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.srv import ManageGraph

__all__ = ["StandbyRequest"]

#: A request without a good answer is sent again after so long [s]; the manager answers when the graph has settled.
_RETRY_S = 10.0


class StandbyRequest:
    """What is wanted of the manager, and what it has answered.

    Parameters
    ----------
    node : rclpy.node.Node
        Owner.
    manager : str
        Name of the lifecycle manager, relative to the node's namespace.
    """

    def __init__(self, node: Node, manager: str) -> None:
        self._node = node
        self._name = f"{manager}/manage_graph"
        self._client: Client = node.create_client(ManageGraph, self._name)
        self._lock = threading.Lock()  # the core's thread wants, the executor answers
        self._wanted: bool | None = None
        self._confirmed: bool | None = None
        self._sent_s = float("-inf")
        self._pending: Future | None = None
        self._trouble = ""

    def want(self, standby: bool) -> None:
        """Ask for standby, or for its end, unless that is what was answered last."""
        with self._lock:
            changed, self._wanted = standby != self._wanted, standby
            if changed:
                self._trouble = ""
            overdue = time.monotonic() - self._sent_s >= _RETRY_S
            if self._confirmed == standby or not (changed or overdue):
                return
            if not self._client.service_is_ready():
                self._trouble = f"{self._name} is not there"
                return
            self._forget()
            self._sent_s = time.monotonic()
            request = ManageGraph.Request(command=ManageGraph.Request.STANDBY if standby else ManageGraph.Request.WAKE)
            self._pending = self._client.call_async(request)
            self._pending.add_done_callback(lambda future: self._answered(standby, future))

    def _answered(self, standby: bool, future: Future) -> None:
        with self._lock:
            if self._pending is None or future is not self._pending:
                return  # something else was wanted meanwhile
            self._pending = None
            response: Any = None if future.cancelled() or future.exception() is not None else future.result()
            if response is not None and response.success:
                self._confirmed, self._trouble = standby, ""
            else:
                self._trouble = "no answer" if response is None else response.message
        what = "standby" if standby else "the end of standby"
        if self._trouble:
            self._node.get_logger().warning(f"asked for {what}: {self._trouble}", throttle_duration_sec=30.0)
        elif standby:
            self._node.get_logger().warning("too hot: the graph is in standby until it has cooled down")

    def _forget(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._client.remove_pending_request(pending)

    def forget(self) -> None:
        """Want nothing any more: what the manager was told is not known to be so later."""
        with self._lock:
            self._wanted = self._confirmed = None
            self._sent_s = float("-inf")
            self._trouble = ""
            self._forget()

    def health(self) -> Health:
        """Say what is wanted and whether the manager has done it."""
        with self._lock:
            wanted, confirmed, trouble = self._wanted, self._confirmed, self._trouble
        values = {"wanted": str(wanted), "confirmed": str(confirmed), "trouble": trouble}
        if not wanted:
            return Health("standby", HealthLevel.OK, "not needed", values)
        if confirmed:
            return Health("standby", HealthLevel.WARN, "the graph was put into standby", values)
        return Health("standby", HealthLevel.ERROR, f"asked for: {trouble or 'no answer yet'}", values)

    def close(self) -> None:
        """Release the client."""
        self.forget()
        self._node.destroy_client(self._client)
