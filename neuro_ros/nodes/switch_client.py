# SPDX-License-Identifier: Apache-2.0
"""Calls ``switch_model`` for programs without rclpy: a request a line on stdin, an answer a line on stdout, both JSON.

``python -m neuro_ros.nodes.switch_client NODE TIMEOUT_S --ros-args ...``; it ends with its input. A request holds
fields of ``SwitchModel.Request``; an answer those of the response, or ``error``, a line that says why there is none.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from neuro_ros.srv import SwitchModel

__all__ = ["main"]

_EXIT_USAGE = 2


def _ask(node: Node, client: Client, fields: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Call the service once and return its answer as plain values."""
    if not client.wait_for_service(timeout_s):
        return {"error": f"no graph is running here: {client.srv_name} did not appear within {timeout_s:g} s"}
    try:
        request = SwitchModel.Request(**fields)
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        return {"error": f"not a request: {error}"}
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=timeout_s)
    response: Any = future.result() if future.done() else None
    if response is None:
        client.remove_pending_request(future)
        return {"error": f"{client.srv_name} did not answer within {timeout_s:g} s"}
    answer: dict[str, Any] = {}
    for name in response.get_fields_and_field_types():
        value = getattr(response, name)
        answer[name] = [str(item) for item in value] if name == "history" else value
    return answer


def main() -> int:
    """Answer until the input ends; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    try:
        name, timeout_s = arguments[0], float(arguments[1])
    except (IndexError, ValueError):
        sys.stderr.write("switch_client: give the name of the node and a time limit in seconds\n")
        return _EXIT_USAGE
    rclpy.init(args=sys.argv)
    node = Node("switch_client")
    client = node.create_client(SwitchModel, f"{name}/switch_model")
    try:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_ask(node, client, json.loads(line), timeout_s)) + "\n")
            sys.stdout.flush()
    except ExternalShutdownException:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
