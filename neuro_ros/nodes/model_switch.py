# SPDX-License-Identifier: Apache-2.0
"""The service that moves a candidate model through a roll-out: no window waits for it, nor does the executor.

The core's thread reserves the switch, a thread of its own reads the file and builds the back end, the core's thread
ends the switch between two windows, and the executor sends the answer.
"""

from __future__ import annotations

import functools
import json
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from rclpy.node import Node

from neuro_ros.canary import Command, RolloutError
from neuro_ros.cores.arm import Arm
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion
from neuro_ros.nodes.deferred import Answer, DeferredService
from neuro_ros.nodes.worker import PostedCall, Worker

__all__ = ["ModelSwitch"]

_STATUS = 6
#: Jobs that may wait for the loader: one candidate, and arms to be closed.
_WAITING = 16


class ModelSwitch:
    """Serves ``~/switch_model`` from configure to clean-up.

    Parameters
    ----------
    node : Node
        Owner.
    core : SnnInferenceCore
        Whose arms are switched.
    call : Callable[[Callable[[], object]], Future]
        Runs a function where core calls run; raises `NeuroRosError` once the core is gone.
    publish : Callable[[Sequence[Output]], None]
        Publishes outputs of the core.
    now_ns : Callable[[], int]
        Host time [ns].
    active : Callable[[], bool]
        Whether windows are run.
    """

    def __init__(
        self,
        node: Node,
        core: SnnInferenceCore,
        call: Callable[[Callable[[], Any]], Future[Any]],
        publish: Callable[[Any], None],
        now_ns: Callable[[], int],
        active: Callable[[], bool],
    ) -> None:
        self._node, self._core = node, core
        self._call, self._publish, self._now_ns, self._active = call, publish, now_ns, active
        self._loader = Worker(f"{node.get_name()}.loader", _WAITING)
        self._done: deque[tuple[Answer, str]] = deque()
        self._open: list[Answer] = []
        self._closed = False
        self._wake = node.create_guard_condition(self._settle)
        kind = conversion.message_class("neuro_ros/srv/SwitchModel")
        self._service = DeferredService(node, kind, "~/switch_model", self._asked)
        core.arms.dispose = self._dispose

    def _dispose(self, arm: Arm) -> None:
        """Close an arm in the loader: a back end in another process takes its time."""
        if not self._loader.post(PostedCall("close", arm.close, droppable=False)):
            arm.close()

    # -- a request, in the executor ------------------------------------------------------------------------------

    def _asked(self, request: Any, answer: Answer) -> None:
        self._open.append(answer)
        try:
            if request.command == _STATUS:
                self._then(answer, lambda: None)
                return
            command = _command(request.command)
            if not self._active():
                raise RolloutError("the node is inactive; activate it first")
            share = None if request.share == 0.0 else float(request.share)
            begin = functools.partial(
                self._begin, answer, command, request.model_path, share, float(request.duration_s), request.on_trial,
                " ".join(request.rule.split()),
            )  # fmt: skip
            self._then(answer, begin, settled=command is not Command.SHADOW)
        except NeuroRosError as error:
            self._finish(answer, str(error))

    def _then(self, answer: Answer, work: Callable[[], None], *, settled: bool = True) -> None:
        """Do `work` where the core runs; then, or when it fails, answer."""

        def run() -> None:
            try:
                work()
            except NeuroRosError as error:
                self._finish(answer, str(error))
                return
            if settled:
                self._finish(answer, "")

        if self._call(run).cancelled():
            self._finish(answer, "the node is being cleaned up")

    # -- a switch, in the core's thread --------------------------------------------------------------------------

    def _begin(
        self,
        answer: Answer,
        command: Command,
        path: str,
        share: float | None,
        duration_s: float,
        on_trial: str,
        rule: str,
    ) -> None:
        arms = self._core.arms
        if not math.isfinite(duration_s):
            raise RolloutError(f"duration_s {duration_s!r} is no time")
        arms.begin(command, path, share, duration_s, on_trial=on_trial, rule=rule)
        if command is not Command.SHADOW:
            arms.commit(self._now_ns())
            self._publish(arms.news(self._now_ns()))
            return
        self._publish(arms.news(self._now_ns()))
        if not self._loader.post(PostedCall("load", functools.partial(self._load, answer, path), droppable=False)):
            self._abort(answer, "the node is being cleaned up")

    def _commit(self, answer: Answer, candidate: Arm, path: str) -> None:
        arms = self._core.arms
        try:
            arms.commit(self._now_ns(), candidate, path)
        except NeuroRosError as error:
            self._dispose(candidate)
            self._abort(answer, str(error))
            return
        self._publish(arms.news(self._now_ns()))
        self._finish(answer, "")

    def _abort(self, answer: Answer, reason: str) -> None:
        arms = self._core.arms
        arms.abort(reason, self._now_ns())
        self._publish(arms.news(self._now_ns()))
        self._finish(answer, reason)

    # -- a candidate, in the loader ------------------------------------------------------------------------------

    def _load(self, answer: Answer, path: str) -> None:
        candidate: Arm | None = None
        work: Callable[[], None]
        try:
            candidate, found = self._core.build_candidate(path)
            work = functools.partial(self._commit, answer, candidate, found)
        except NeuroRosError as error:
            work = functools.partial(self._abort, answer, str(error))
        except Exception as error:  # noqa: BLE001 - a back end may fail in its own ways; the live model goes on
            work = functools.partial(self._abort, answer, f"{type(error).__name__}: {error}")
        try:
            posted = not self._call(work).cancelled()
        except NeuroRosError:
            posted = False
        if not posted and candidate is not None:  # cleaned up meanwhile; whoever asked has been told
            candidate.close()

    # -- answers -------------------------------------------------------------------------------------------------

    def _finish(self, answer: Answer, refusal: str) -> None:
        """Fill in an answer; the executor sends it. In any thread, but not in two at once for one answer."""
        rollout = self._core.arms.rollout
        response = answer.response
        response.accepted, response.message = not refusal, refusal
        response.phase = int(rollout.phase)
        response.live_id, response.candidate_id = rollout.live_id, rollout.candidate_id
        response.previous_id, response.share, response.reason = rollout.previous_id, rollout.share, rollout.reason
        lines = [{**asdict(t), "before": t.before.name, "after": t.after.name} for t in list(rollout.history)]
        response.history = [json.dumps(line) for line in lines]
        self._done.append((answer, refusal))
        self._wake.trigger()

    def _settle(self) -> None:
        """Send what is ready, in the executor."""
        while self._done:
            answer, refusal = self._done.popleft()
            if refusal:
                self._node.get_logger().warning(f"switch_model refused: {refusal}")
            if answer in self._open:
                self._open.remove(answer)
                answer.send()

    def close(self, timeout_s: float) -> bool:
        """Withdraw the service and end the loader; False when that is still busy after `timeout_s`. Safe twice."""
        if self._closed:
            return True
        self._closed = True
        self._core.arms.dispose = Arm.close
        self._settle()
        for answer in self._open:
            answer.response.accepted = False
            answer.response.message = "the node was cleaned up meanwhile"
            answer.send()
        self._open.clear()
        ended = self._loader.close(timeout_s)
        self._node.destroy_guard_condition(self._wake)
        self._service.destroy()
        return ended


def _command(number: int) -> Command:
    try:
        return Command(number)
    except ValueError:
        raise RolloutError(f"command {number} is not known; 1 SHADOW .. 5 CANCEL, 6 STATUS") from None
