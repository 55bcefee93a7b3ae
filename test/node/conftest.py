# SPDX-License-Identifier: Apache-2.0
"""What in-process ROS tests share: a fresh context, an executor that the test drives, and waiting by condition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from lifecycle_probe import Probe, ProbeParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from neuro_ros.nodes.lifecycle import LifecycleShell

_numbers = itertools.count()


class Bed:
    """Nodes of one test: their context, their executor, and a plain node called ``tester`` beside them."""

    def __init__(self, eventually: Callable[..., Any], domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        # Names of its own, so that a late message of the test before cannot be taken for one of this.
        self.namespace = f"/test{next(_numbers)}"
        self._eventually = eventually
        self._nodes: list[Node] = []
        self._clients: dict[str, Any] = {}
        self.tester = self.add(Node("tester", context=self.context, namespace=self.namespace))

    def add(self, node: Node) -> Any:
        """Let the executor spin a node, and destroy it at the end."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def make(
        self, cls: Callable[..., Node], *args: Any, parameters: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Make a node in this context and namespace, with parameter overrides, and add it."""
        overrides = [rclpy.Parameter(name, value=value) for name, value in (parameters or {}).items()]
        kwargs = {"context": self.context, "namespace": self.namespace, "parameter_overrides": overrides, **kwargs}
        return self.add(cls(*args, **kwargs))

    def remove(self, node: Node) -> None:
        """Destroy a node before the end."""
        self._nodes.remove(node)
        self.executor.remove_node(node)
        node.destroy_node()

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
        """Spin until the condition holds."""
        return self._eventually(condition, timeout_s=timeout_s, executor=self.executor, what=what)

    def spin(self, count: int = 20) -> None:
        """Give the executor a few turns, for what must *not* happen."""
        for _ in range(count):
            self.executor.spin_once(timeout_sec=0.005)

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Call a service, relative to the namespace, and return the answer."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.tester.create_client(kind, name)
        self.until(client.service_is_ready, timeout_s, f"service {name}")
        future = client.call_async(request)
        self.until(future.done, timeout_s, f"answer of {name}")
        return future.result()

    def change_state(self, node: str, transition: int = 0, label: str = "") -> bool:
        """Ask for a transition by service; return ``success``."""
        request = ChangeState.Request()
        request.transition.id = transition
        request.transition.label = label
        return self.call(ChangeState, f"{node}/change_state", request).success

    def state(self, node: str) -> int:
        """Return a node's state by service."""
        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id

    def collect(self, kind: Any, topic: str, depth: Any = 100) -> list[Any]:
        """Subscribe, and return the list that fills up."""
        received: list[Any] = []
        self.tester.create_subscription(kind, topic, received.append, depth)
        return received

    def close(self) -> None:
        """Destroy everything, last made first; safe twice."""
        while self._nodes:
            node = self._nodes.pop()
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def bed(eventually: Callable[..., Any], ros_domain: int) -> Iterator[Bed]:
    """Return a `Bed` of the test's own."""
    made = Bed(eventually, ros_domain)
    yield made
    made.close()


@pytest.fixture
def probe_class():
    """Return a fresh subclass, so that what one test breaks stays broken for that test alone."""
    return type("FreshProbe", (Probe,), {})


@pytest.fixture
def make_probe(bed, probe_class):
    def make_shell(parameters=None, cls=LifecycleShell, **kwargs):
        return bed.make(cls, "probe", probe_class, ProbeParameters, parameters=parameters, **kwargs)

    return make_shell
