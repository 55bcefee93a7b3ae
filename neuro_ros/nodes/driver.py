# SPDX-License-Identifier: Apache-2.0
"""Calls a core: one call at a time, inline or in a worker thread, and keeps account of what went wrong.

The shell (`neuro_ros.nodes.lifecycle`) decides when to call what; ROS is not known here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from neuro_ros.cores.core import Core, Health, HealthLevel, Output
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes.worker import OverflowPolicy, PostedCall, Worker, drop_oldest

__all__ = ["CoreDriver", "FailureLog"]

#: A worker that has not answered the diagnostics for so long is worth a warning [s].
BUSY_AFTER_S = 3.0
#: A failure is an ERROR in the diagnostics for so long; afterwards the count alone tells [s].
FAILURE_FRESH_S = 30.0


class FailureLog:
    """Counts failures over the life of a node and tells how fresh the last one is.

    Attributes
    ----------
    counters : dict of str to int
        Failures by kind; ``dropped_from_queue`` is kept here too but is a loss, not a failure.
    last : str
        Text of the last failure.
    """

    def __init__(self) -> None:
        self.counters = {"core_errors": 0, "publish_failures": 0, "unknown_topics": 0, "dropped_from_queue": 0}
        self.last = ""
        self._last_s = float("-inf")
        self._dropped_seen = 0
        self._dropped_s = float("-inf")

    def add(self, kind: str, text: str) -> None:
        """Count one failure of a kind."""
        self.counters[kind] += 1
        self.last = text
        self._last_s = time.monotonic()

    def health(self, state: str, values: dict[str, object], dropped: int, busy_s: float) -> Health:
        """Judge: ERROR for a fresh failure, WARN for a fresh loss or a busy worker.

        Parameters
        ----------
        state : str
            Lifecycle state, the message when all is well.
        values : dict of str to object
            More figures.
        dropped : int
            Calls dropped by the present worker.
        busy_s : float
            For how long the worker has not answered [s].
        """
        now_s = time.monotonic()
        lost = self.counters["dropped_from_queue"] + dropped
        if lost > self._dropped_seen:
            self._dropped_seen, self._dropped_s = lost, now_s
        shown = {"state": state, **self.counters, "dropped_from_queue": lost, "last_error": self.last, **values}
        if now_s - self._last_s < FAILURE_FRESH_S:
            failures = sum(count for kind, count in self.counters.items() if kind != "dropped_from_queue")
            return Health("shell", HealthLevel.ERROR, f"{failures} failures, last: {self.last}", shown)
        if busy_s > BUSY_AFTER_S:
            return Health("shell", HealthLevel.WARN, f"worker busy for {busy_s:.1f} s", shown)
        if now_s - self._dropped_s < FAILURE_FRESH_S:
            return Health("shell", HealthLevel.WARN, f"{lost} dropped from the queue", shown)
        return Health("shell", HealthLevel.OK, state, shown)


class CoreDriver:
    """Drives one core from its construction to its end.

    Parameters
    ----------
    core : Core
        Owned: closed by :meth:`close`.
    publish : Callable[[Sequence[Output]], None]
        Takes the outputs of a call, in the thread that made it; must not raise.
    failed : Callable[[str, Exception], None]
        Told of an exception in a core call: method and error.
    name : str
        Name of the worker thread.
    queue_limit : int or None
        Room in the worker's queue; None = no worker, calls are made inline.
    policy : OverflowPolicy
        What is dropped from a full queue.
    """

    def __init__(
        self,
        core: Core,
        publish: Callable[[Sequence[Output]], None],
        failed: Callable[[str, Exception], None],
        *,
        name: str = "worker",
        queue_limit: int | None = None,
        policy: OverflowPolicy = drop_oldest,
    ) -> None:
        self.core = core
        self.health: tuple[Health, ...] = ()
        self._publish = publish
        self._failed = failed
        self._lock = threading.RLock()
        self._worker = None if queue_limit is None else Worker(name, queue_limit, policy)
        self._question: Future[Any] | None = None
        self._asked_s = 0.0
        self._closed = False

    @property
    def queue_depth(self) -> int:
        """Calls that wait for the worker."""
        return 0 if self._worker is None else self._worker.depth

    @property
    def dropped(self) -> dict[str, int]:
        """Calls dropped by the overflow policy, by kind."""
        return {} if self._worker is None else dict(self._worker.dropped)

    @property
    def busy_s(self) -> float:
        """For how long the last question about the health has gone unanswered [s]."""
        waiting = self._question is not None and not self._question.done()
        return time.monotonic() - self._asked_s if waiting else 0.0

    def submit(self, method: str, *arguments: Any) -> bool:
        """Have a core method called and its outputs published; return False when the call itself was dropped."""
        worker = self._worker
        if worker is None:
            self.invoke(method, *arguments)
            return True
        kind = f"{method} {arguments[0]}" if arguments and isinstance(arguments[0], str) else method
        argument = arguments[1] if len(arguments) > 1 else None
        return worker.post(PostedCall(kind, lambda: self.invoke(method, *arguments), argument=argument))

    def invoke(self, method: str, *arguments: Any) -> Any:
        """Call a core method in this thread, publish its outputs and return them; None after an exception."""
        with self._lock:
            if self._closed:
                return None
            try:
                outputs = getattr(self.core, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - one bad message must not end a robot's day
                self._failed(method, error)
                return None
            if outputs:
                self._publish(outputs)
            self._follow_up()
            return outputs

    def _follow_up(self) -> None:
        """Have the core do what could wait until now, and publish that too."""
        try:
            more = self.core.afterwards()
        except Exception as error:  # noqa: BLE001 - as in `invoke`
            self._failed("afterwards", error)
            return
        if more:
            self._publish(more)

    def reconfigure(self, parameters: Any) -> None:
        """Have new, valid parameters applied after what is queued already; never dropped."""

        def apply() -> None:
            try:
                self.core.reconfigure(parameters)
            except Exception as error:  # noqa: BLE001 - already validated: a failure here is a fault of the core
                self._failed("reconfigure", error)

        self.call(apply)

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` where core calls run, one at a time; return a future of its result. Never dropped."""

        def locked() -> Any:
            with self._lock:
                return function()

        if self._worker is not None:
            return self._worker.request(locked)
        future: Future[Any] = Future()
        try:
            future.set_result(locked())
        except Exception as error:  # noqa: BLE001 - handed to the caller
            future.set_exception(error)
        return future

    def call_and_wait(self, function: Callable[[], Sequence[Output]], timeout_s: float) -> int:
        """Call the core after what is queued already, publish what it says, and wait for that.

        What is still queued when half of the time is over is dropped: a slow back end must not keep the node from
        falling silent.

        Returns
        -------
        int
            Calls dropped.

        Raises
        ------
        NeuroRosError
            The worker is still busy after `timeout_s`, or has ended. Whatever `function` raises.
        """

        def run() -> None:
            self._publish(function())

        future = self.call(run)
        dropped = 0
        for _half in range(2):
            try:
                future.result(timeout_s / 2)
            except CancelledError:  # noqa: PERF203 - two turns at most
                raise NeuroRosError("the worker has ended; clean the node up") from None
            except FutureTimeoutError:
                if future.done():  # the core's own
                    raise
                dropped += self._worker.discard() if self._worker is not None else 0
            else:
                return dropped
        future.cancel()
        raise NeuroRosError(f"the worker is still busy after {timeout_s:g} s; try again")

    def judge(self, now_ns: Callable[[], int]) -> None:
        """Renew :attr:`health` where core calls run; a busy worker answers later and the last answer stands."""
        if self._question is not None and not self._question.done():
            return

        def ask() -> None:
            try:
                self.health = tuple(self.core.diagnose(now_ns()))
            except Exception as error:  # noqa: BLE001 - a fault in a judgement is shown, not fatal
                self._failed("diagnose", error)

        self._asked_s = time.monotonic()
        self._question = self.call(ask)

    def close(self, timeout_s: float) -> bool:
        """End the worker and close the core; return False when the worker was left behind, busy. Safe twice."""
        if self._closed:
            return True
        ended = True
        if self._worker is not None:
            self._worker.discard()
            ended = self._worker.close(timeout_s)
        self._closed = True
        self.core.close()
        return ended
