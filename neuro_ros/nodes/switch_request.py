# SPDX-License-Identifier: Apache-2.0
"""Calls ``switch_model`` of the node that runs the models, for what the rules of a roll-out ask; never waits.

A request that was refused, or not answered, is sent again at the next occasion that still wants it.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from neuro_ros.canary import Command
from neuro_ros.cores.canary_rollout import SwitchRequest
from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.srv import SwitchModel

__all__ = ["RuleCaller"]

#: A call without an answer is given up after so long [s]; the one that is called answers between two windows.
_PATIENCE_S = 5.0
#: What was accepted is not asked for again for so long [s]: the word of it is on its way.
_REST_S = 2.0


class RuleCaller:
    """What was asked of the node that runs the models, and what it has answered.

    Parameters
    ----------
    node : rclpy.node.Node
        Owner; its executor calls everything here.
    network : str
        Name of the node that runs the models, relative to the namespace.
    """

    def __init__(self, node: Node, network: str) -> None:
        self._node = node
        self._name = f"{network}/switch_model"
        self._client: Client = node.create_client(SwitchModel, self._name)
        self._pending: Future | None = None
        self._sent_s = 0.0
        self._accepted: tuple[Command, str] | None = None
        self._accepted_s = 0.0
        self._calls = 0
        self._trouble = ""

    def want(self, request: SwitchRequest | None) -> None:
        """Ask for a switch; None = nothing is wanted now."""
        if request is None:
            self._trouble = ""
            return
        if self._pending is not None:
            if time.monotonic() - self._sent_s < _PATIENCE_S:
                return
            self._trouble = f"{self._name} does not answer"
            self.forget()
        if (request.command, request.on_trial) == self._accepted and time.monotonic() - self._accepted_s < _REST_S:
            return
        if not self._client.service_is_ready():
            self._trouble = f"{self._name} is not there"
            return
        self._sent_s, self._calls = time.monotonic(), self._calls + 1
        message = SwitchModel.Request(
            command=int(request.command),
            share=request.share,
            duration_s=request.canary_s,
            on_trial=request.on_trial,
            rule=request.reason,
        )
        self._pending = self._client.call_async(message)
        self._pending.add_done_callback(lambda future: self._answered(request, future))

    def _answered(self, request: SwitchRequest, future: Future) -> None:
        if future is not self._pending:
            return
        self._pending = None
        response: Any = None if future.cancelled() or future.exception() is not None else future.result()
        what = f"{request.command.name} of {request.on_trial}: {request.reason}"
        if response is not None and response.accepted:
            self._trouble = ""
            self._accepted, self._accepted_s = (request.command, request.on_trial), time.monotonic()
            self._node.get_logger().warning(what)
            return
        self._trouble = "no answer" if response is None else response.message
        self._node.get_logger().warning(f"{what}; refused: {self._trouble}", throttle_duration_sec=30.0)

    def forget(self) -> None:
        """Take no notice of an answer that is still to come."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._client.remove_pending_request(pending)

    def health(self) -> Health:
        """Say whether what the rules asked for was done."""
        values = {"calls": self._calls, "pending": self._pending is not None, "trouble": self._trouble}
        if self._trouble:
            return Health("rules", HealthLevel.ERROR, f"the rules are not carried out: {self._trouble}", values)
        return Health("rules", HealthLevel.OK, f"{self._calls} switches asked for", values)

    def close(self) -> None:
        """Release the client."""
        self.forget()
        self._node.destroy_client(self._client)
