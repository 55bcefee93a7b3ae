# SPDX-License-Identifier: Apache-2.0
"""Brings the lifecycle nodes of the graph up in order, watches them, and brings them down.

Carries out what `neuro_ros.cores.lifecycle_manager` decides: service calls with futures, heartbeats with their
liveliness, one service for people. It starts no processes.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.task import Future

from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.lifecycle_manager import Command, LifecycleManagerCore, Request, Transition
from neuro_ros.cores.parameters.lifecycle_manager import LifecycleManagerParameters
from neuro_ros.nodes import qos
from neuro_ros.nodes.deferred import Answer, DeferredService
from neuro_ros.nodes.diagnostics import PERIOD_S, DiagnosticsPublisher
from neuro_ros.nodes.parameters import NodeParameters
from neuro_ros.nodes.run import run_node
from neuro_ros.srv import ManageGraph

__all__ = ["LifecycleManagerNode", "main"]

#: How often the rules are applied without an occasion [s]; answers and heartbeats apply them at once.
_TICK_PERIOD_S = 0.1
_NS_PER_S = 1_000_000_000


class LifecycleManagerNode(Node):
    """The manager as a node.

    Parameters
    ----------
    **kwargs
        For `rclpy.node.Node`.

    Attributes
    ----------
    exit_code : int or None
        Not None once the node has nothing more to do and its process may end.

    Raises
    ------
    ParameterError
        An override is unknown or not valid.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("lifecycle_manager", **kwargs)
        parameters = NodeParameters(self, LifecycleManagerParameters, lambda: True, lambda _: None).current
        self.exit_code: int | None = None
        self._settings = parameters
        self._core = LifecycleManagerCore(parameters, self._now_ns())
        self._waiting: Answer | None = None
        self._deadline_ns: int | None = None
        self._change: dict[str, Client] = {}
        self._query: dict[str, Client] = {}
        self._servers: dict[str, int] = dict.fromkeys(parameters.node_names, 0)
        self._open: dict[int, tuple[Request, Client, Future]] = {}
        for name in parameters.node_names:
            self._change[name] = self.create_client(ChangeState, f"{name}/change_state")
            self._query[name] = self.create_client(GetState, f"{name}/get_state")
            events = SubscriptionEventCallbacks(liveliness=functools.partial(self._liveliness, name))
            self.create_subscription(
                State,
                f"{name}/heartbeat",
                functools.partial(self._heartbeat, name),
                qos.heartbeat_subscription(),
                event_callbacks=events,
            )
        self._service = DeferredService(self, ManageGraph, "~/manage_graph", self._manage_graph)
        self._diagnostics = DiagnosticsPublisher(self)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation must not keep a graph from coming up
        self.create_timer(_TICK_PERIOD_S, self._tick, clock=steady)
        self.create_timer(PERIOD_S, self._diagnose, clock=steady)

    def stop_requested(self) -> None:
        """Bring the graph down in reverse order; `exit_code` is set when that is done or takes too long."""
        self._core.give_command(Command.RESET, self._now_ns())
        self._finish_waiting(False, "superseded: the manager is about to end")
        self._deadline_ns = self._now_ns() + round(self._settings.shutdown_timeout_s * _NS_PER_S)
        self._tick()

    # -- events --------------------------------------------------------------------------------------------------

    @staticmethod
    def _now_ns() -> int:
        return time.monotonic_ns()

    def _heartbeat(self, name: str, message: State) -> None:
        self._core.heartbeat(name, message.id, self._now_ns())

    def _liveliness(self, name: str, event: Any) -> None:
        if event.alive_count_change < 0 or event.not_alive_count_change > 0:
            self._core.suspect(name, self._now_ns())
            self._tick()

    def _tick(self) -> None:
        now_ns = self._now_ns()
        for name in self._query:
            self._watch_servers(name, now_ns)
        self._forget_overdue(now_ns)
        for request in self._core.tick(now_ns):
            self._send(request)
        for line in self._core.take_log():
            self._say(line.level, line.text)
        self._check_outcome(now_ns)

    def _watch_servers(self, name: str, now_ns: int) -> None:
        """See how many processes offer a node's services: none = gone, one more = perhaps a new one of a dead node.

        A killed process is still listed for the 20 s of the middleware's own lease; the new one beside it is what
        tells earlier than the heartbeat that the old one has died.
        """
        before, count = self._servers[name], self.count_services(f"{name}/get_state")
        self._servers[name] = count
        if count == 0 and before > 0:
            self._core.gone(name, now_ns)
        elif count > before:
            self._core.suspect(name, now_ns)

    def _say(self, level: HealthLevel, text: str) -> None:
        # One line of source a level: rclpy refuses a call site that changes its severity.
        if level is HealthLevel.ERROR:
            self.get_logger().error(text)
        elif level is HealthLevel.WARN:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    # -- requests ------------------------------------------------------------------------------------------------

    def _send(self, request: Request) -> None:
        """Send a request; one to a service that is not there is left to its deadline."""
        query = request.transition is Transition.QUERY
        client = self._query[request.node] if query else self._change[request.node]
        if not client.service_is_ready():
            return
        if query:
            message: Any = GetState.Request()
        else:
            message = ChangeState.Request()
            message.transition.id = int(request.transition)
        future = client.call_async(message)
        self._open[request.ticket] = (request, client, future)
        future.add_done_callback(functools.partial(self._answered, request))

    def _forget_overdue(self, now_ns: int) -> None:
        """Drop calls past their deadline: a dead server never answers, and the client would keep them for ever."""
        for request, client, future in [call for call in self._open.values() if now_ns >= call[0].deadline_ns]:
            del self._open[request.ticket]
            client.remove_pending_request(future)

    def _answered(self, request: Request, future: Future) -> None:
        self._open.pop(request.ticket, None)
        if future.cancelled() or future.exception() is not None:
            return
        response = future.result()
        if isinstance(response, GetState.Response):
            self._core.answered(request.ticket, self._now_ns(), state_id=response.current_state.id)
        else:
            self._core.answered(request.ticket, self._now_ns(), success=response.success)
        self._tick()

    # -- the service ---------------------------------------------------------------------------------------------

    def _manage_graph(self, request: Any, answer: Answer) -> None:
        """Give a command; the answer is sent when it is settled."""
        try:
            command = Command(request.command)
        except ValueError:
            self._answer(answer, False, f"command {request.command} is not known; 0 STARTUP .. 6 WAKE")
            return
        if self._deadline_ns is not None:
            self._answer(answer, False, "the manager is about to end")
            return
        understood, refusal = self._core.understand(command)
        if understood is None:
            self._answer(answer, not refusal, refusal)
            return
        self._finish_waiting(False, f"superseded by {command.name.lower()}")
        self._waiting = answer
        self._core.give_command(understood, self._now_ns())

    @staticmethod
    def _answer(answer: Answer, success: bool, message: str) -> None:
        answer.response.success = success
        answer.response.message = message
        answer.send()

    def _finish_waiting(self, success: bool, message: str) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._answer(waiting, success, message)

    def _check_outcome(self, now_ns: int) -> None:
        done, troubles = self._core.outcome(now_ns)
        if done:
            self._finish_waiting(not troubles, "; ".join(troubles))
        if self._deadline_ns is not None and (done or now_ns >= self._deadline_ns) and self.exit_code is None:
            for trouble in troubles:
                self.get_logger().warning(f"left behind: {trouble}")
            self.exit_code = 0

    def _diagnose(self) -> None:
        self._diagnostics.publish(self._core.health(self._now_ns()))


def main() -> int:
    """Run the lifecycle manager as a process; return its exit status."""
    return run_node(LifecycleManagerNode)
