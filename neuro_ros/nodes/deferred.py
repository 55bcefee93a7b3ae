# SPDX-License-Identifier: Apache-2.0
"""A service whose answer may be given after its callback has returned, so that the executor never waits for it.

A coroutine as callback would do the same in the documentation, but a pending one starves ``spin_once`` in rclpy 7.1: it
is taken up again at every turn, before anything else is looked at. What is answered is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from rclpy.node import Node

__all__ = ["Answer", "DeferredService"]


class Answer:
    """The answer to one request, to be given once, now or later.

    Attributes
    ----------
    response : object
        The service's response, to be filled before :meth:`send`.
    """

    def __init__(self, response: Any, send: Callable[[Any, Any], None]) -> None:
        self.response = response
        self._send = send
        self._header: Any = None
        self._ready = False
        self._sent = False

    def send(self) -> None:
        """Send the response; further calls do nothing."""
        self._ready = True
        self._go()

    def accept(self, header: Any) -> None:
        """Take the address to answer to, which rclpy hands out after the callback."""
        self._header = header
        self._go()

    def _go(self) -> None:
        if self._ready and self._header is not None and not self._sent:
            self._sent = True
            self._send(self.response, self._header)


class DeferredService:
    """A service of a node with a single-threaded executor.

    Parameters
    ----------
    node : rclpy.node.Node
        Owner.
    kind : type
        Service type.
    name : str
        Service name.
    callback : Callable[[object, Answer], None]
        Called with the request and the answer to fill and send.
    """

    def __init__(self, node: Node, kind: type, name: str, callback: Callable[[Any, Answer], None]) -> None:
        self._node = node
        self._callback = callback
        self._asked: Answer | None = None
        self._service = cast(Any, node.create_service(kind, name, self._called))
        self._send = self._service.send_response
        # The executor calls the callback and then this, in one go; the header is known only here.
        self._service.send_response = self._respond

    def destroy(self) -> None:
        """Withdraw the service; answers that are still open are never sent."""
        self._node.destroy_service(self._service)

    def _called(self, request: Any, response: Any) -> Any:
        self._asked = Answer(response, self._send)
        self._callback(request, self._asked)
        return response

    def _respond(self, response: Any, header: Any) -> None:
        answer, self._asked = self._asked, None
        if answer is None:  # an answer that was not asked for here
            self._send(response, header)
        else:
            answer.accept(header)
