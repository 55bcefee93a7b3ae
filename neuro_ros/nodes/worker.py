# SPDX-License-Identifier: Apache-2.0
"""One thread, one bounded queue: whatever is heavy in a node runs here, so that the executor never waits.

Posted calls are dropped by policy when the queue is full, and counted; requests (transitions, diagnostics) are never
dropped. What the calls do is not known here, nor is ROS.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

__all__ = ["OverflowPolicy", "PostedCall", "Worker", "drop_oldest"]


@dataclass(frozen=True, slots=True, eq=False)
class PostedCall:
    """A call that waits in the queue.

    Parameters
    ----------
    kind : str
        What it is, for the counters and the overflow policy, e.g. ``receive spikes``.
    function : Callable[[], object]
        Runs in the worker; must not raise (the poster catches what it wants to report).
    droppable : bool
        False for what the overflow policy must not see.
    argument : object
        What the call is about (the message), for an overflow policy that looks inside.
    """

    kind: str
    function: Callable[[], Any]
    droppable: bool = True
    argument: Any = None


#: Chooses what to drop: given the waiting droppable calls, oldest first, and the new one, returns one of them.
OverflowPolicy = Callable[[list[PostedCall], PostedCall], PostedCall]


def drop_oldest(waiting: list[PostedCall], new: PostedCall) -> PostedCall:
    """Drop the call that has waited longest: what is newest matters most to a robot."""
    return waiting[0] if waiting else new


class Worker:
    """Runs calls one after the other in a thread of its own.

    Parameters
    ----------
    name : str
        Thread name.
    limit : int
        Droppable calls that may wait.
    policy : OverflowPolicy
        What goes when one more comes.

    Attributes
    ----------
    dropped : dict of str to int
        Calls dropped by the policy, by kind.
    """

    def __init__(self, name: str, limit: int, policy: OverflowPolicy = drop_oldest) -> None:
        if limit < 1:
            raise ValueError(f"a worker's queue needs room for 1 call at least, not {limit}")
        self.dropped: dict[str, int] = {}
        self._limit = limit
        self._policy = policy
        self._queue: deque[PostedCall] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Number of calls that wait."""
        return len(self._queue)

    @property
    def alive(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    def post(self, call: PostedCall) -> bool:
        """Queue a call; return False when the policy dropped this very call, or the worker is closed."""
        with self._changed:
            if self._closing:
                return False
            self._queue.append(call)
            if call.droppable and len(self._queue) > self._limit and self._overflow(call):
                return False
            self._changed.notify()
            return True

    def _overflow(self, call: PostedCall) -> bool:
        """Drop one call when too many droppable ones wait; return True when it was `call`."""
        waiting = [other for other in self._queue if other.droppable and other is not call]
        if len(waiting) < self._limit:
            return False
        victim = self._policy(waiting, call)
        self._queue.remove(victim)
        self.dropped[victim.kind] = self.dropped.get(victim.kind, 0) + 1
        return victim is call

    def request(self, function: Callable[[], Any]) -> Future[Any]:
        """Queue a call that is never dropped and return a future of its result."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        if not self.post(PostedCall("request", run, droppable=False)):
            future.cancel()
        return future

    def discard(self) -> int:
        """Forget the droppable calls that wait; return how many, without counting them as dropped."""
        with self._changed:
            kept = [call for call in self._queue if not call.droppable]
            count = len(self._queue) - len(kept)
            self._queue = deque(kept)
        return count

    def close(self, timeout_s: float) -> bool:
        """Run what waits, end the thread; return False when it is still busy after `timeout_s`. Safe twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                call = self._queue.popleft()
            call.function()
