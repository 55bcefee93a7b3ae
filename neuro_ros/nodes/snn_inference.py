# SPDX-License-Identifier: Apache-2.0
"""The snn_inference node: windows in, gestures out; the network runs in a worker thread, files are another thread's."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait as wait_for_all
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from neuro_ros.cores.arm import Arm
from neuro_ros.cores.core import Output
from neuro_ros.cores.files import StateDirectory
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.rollout_memory import RolloutMemory
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.model_switch import ModelSwitch
from neuro_ros.nodes.run import run_node
from neuro_ros.nodes.worker import PostedCall, Worker, drop_oldest
from neuro_ros.snn import NetworkState

__all__ = ["SnnInferenceNode", "main"]

_WINDOW_CALL = "receive spikes"
#: A service answers after this time at the latest [s]: longer than a window on the slowest back end and a disk's sync.
_SERVICE_TIMEOUT_S = 2.0
#: Deactivation waits this long for the last save [s].
_LAST_SAVE_TIMEOUT_S = 5.0
#: Saves that may wait for the disk; a newer state of all streams replaces an older one.
_WAITING_SAVES = 16


class SnnInferenceNode(LifecycleShell):
    """Lifecycle node around `SnnInferenceCore`; ``**kwargs`` as in `LifecycleShell`."""

    quick_input = "spikes"
    held_input = ("spikes", "gesture")

    def __init__(self, **kwargs: Any) -> None:
        self._configured_id = ""
        self._states: StateDirectory | None = None
        self._memory = RolloutMemory("")
        self._switch: ModelSwitch | None = None
        self._writer: Worker | None = None
        self._state_services: list[Any] = []
        self._save_timer: Any = None
        super().__init__("snn_inference", SnnInferenceCore, SnnInferenceParameters, threaded=True, **kwargs)

    # -- life ----------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Set the room of the queue, then configure as every node."""
        self._queue_limit = self.parameters.queue_depth
        return super().on_configure(state)

    def configured(self) -> None:
        """Take up the roll-out and saved states, and offer the services."""
        self._states = self._folder(self.parameters.state_directory)
        self._memory = RolloutMemory(self.parameters.state_directory)
        self._configured_id = self.core.model.model_id
        if self._states:
            self._writer = Worker(f"{self.get_name()}.writer", _WAITING_SAVES)
            self._resume()
            if self.parameters.restore_state:
                self._restore_all()
        for name, service, answer in (
            ("save_state", "SaveState", self._save_state),
            ("load_state", "LoadState", self._load_state),
        ):
            service_class = conversion.message_class(f"neuro_ros/srv/{service}")
            self._state_services.append(self.create_service(service_class, f"~/{name}", answer))
        self._switch = ModelSwitch(self, self.core, self.call, self.publish, self.now_ns, lambda: self.active)

    def activated(self) -> None:
        """Start the periodic save."""
        if self._states and self.parameters.state_save_period_s > 0.0:
            self._save_timer = self.create_timer(self.parameters.state_save_period_s, self._save_all)

    def deactivating(self) -> None:
        """Save what the queued windows lead to, as the last thing before silence."""
        timer, self._save_timer = self._save_timer, None
        if timer is not None:
            self.destroy_timer(timer)
        if not self._states or self.core is None:
            return
        saves = self._save_all()
        try:
            pending = saves.result(_LAST_SAVE_TIMEOUT_S)
        except FutureTimeoutError:
            self.get_logger().warning(f"the network was busy for {_LAST_SAVE_TIMEOUT_S:g} s; its state is not saved")
            return
        if wait_for_all(pending, _LAST_SAVE_TIMEOUT_S).not_done:
            self.get_logger().warning(f"the state was not on disk after {_LAST_SAVE_TIMEOUT_S:g} s")

    def released(self) -> None:
        """Withdraw the services, end the loader of models and the writer."""
        switch, self._switch = self._switch, None
        if switch is not None and not switch.close(_LAST_SAVE_TIMEOUT_S):
            self.get_logger().error("a candidate is still being built; its thread is left behind")
        services, self._state_services = self._state_services, []
        for service in services:
            self.destroy_service(service)
        timer, self._save_timer = self._save_timer, None
        if timer is not None:
            self.destroy_timer(timer)
        writer, self._writer = self._writer, None
        if writer is not None and not writer.close(_LAST_SAVE_TIMEOUT_S):
            self.get_logger().error("the disk does not answer; the writer of states is left behind")
        self._states = None

    def overflow(self, waiting: list[PostedCall], new: PostedCall) -> PostedCall:
        """Drop the oldest window; register values and timers stay. The core sees the gap and counts the loss."""
        windows = [call for call in waiting if call.kind == _WINDOW_CALL]
        return drop_oldest(windows or waiting, new)

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish, and keep every change of the roll-out on disk."""
        super().publish(outputs)
        if self._memory and any(output.topic == "rollout" for output in outputs):
            self._keep_rollout()

    # -- roll-out ------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Go on where the roll-out stood before a restart."""
        try:
            record = self._memory.load()
            if record is not None:
                self.core.resume(record, self.now_ns())
        except NeuroRosError as error:
            self.get_logger().error(f"the roll-out of before is not taken up, {self._configured_id} is live: {error}")

    def _keep_rollout(self) -> None:
        """Have the writer put the roll-out on disk; called where core calls run."""
        memory, writer, core = self._memory, self._writer, self.core
        if writer is None or core is None:
            return
        record = core.arms.record()
        keep = frozenset(core.arms.model_ids)

        def write() -> None:
            try:
                memory.save(record)
                memory.tidy(keep)
            except NeuroRosError as error:
                self.get_logger().error(f"roll-out not kept: {error}", throttle_duration_sec=5.0)
                self._tell(core, functools.partial(core.arms.note_record, str(error)))
                return
            self._tell(core, functools.partial(core.arms.note_record, ""))

        writer.request(write)

    # -- states --------------------------------------------------------------------------------------------------

    def _restore_all(self) -> None:
        for arm in self.core.arms.all:
            states, refused = self._directory_of(arm).load_all(arm.model)
            for reason in refused:
                self.get_logger().warning(f"saved state not taken up: {reason}")
            for state in states:
                arm.network.restore(state)  # the worker has nothing to do yet
                self.get_logger().info(
                    f"restored the state of stream {state.stream_id!r} after window {state.sequence}"
                )

    def _directory_of(self, arm: Arm) -> StateDirectory:
        """Return the folder of an arm's states: that of the parameters for the configured model, else one below."""
        model_id = arm.model.model_id
        if not self._directory() or model_id == self._configured_id:
            return self._directory()
        return self._folder(self._memory.states(model_id))

    def _folder(self, directory: str) -> StateDirectory:
        return StateDirectory(directory, self.parameters.state_keep, self.parameters.max_streams)

    def _directory(self) -> StateDirectory:
        if self._states is None:
            raise NeuroRosError("the node is not configured")
        return self._states

    def _save_all(self) -> Future[list[Future[str]]]:
        """Take a snapshot of every stream of every arm, where the network runs, and hand them to the writer."""
        core = self.core

        def save() -> list[Future[str]]:
            return [
                self._write(state, self._directory_of(arm).path(state.stream_id)) for arm, state in core.snapshots()
            ]

        return self.call(save)

    def _write(self, state: NetworkState, path: Path) -> Future[str]:
        """Have the writer put a state on disk; the future holds the digest of the file."""
        directory, core = self._directory(), self.core

        def write() -> str:
            started_s = time.monotonic()
            try:
                digest = directory.save(state, path)
            except NeuroRosError as error:
                self.get_logger().error(f"state not saved: {error}", throttle_duration_sec=5.0)
                self._tell(core, functools.partial(core.note_save_failed, str(error)))
                raise
            duration_s = time.monotonic() - started_s
            self._tell(core, functools.partial(core.note_saved, self.now_ns(), duration_s))
            return digest

        if self._writer is None:
            raise NeuroRosError("state_directory is not set; states can be neither saved nor loaded")
        return self._writer.request(write)

    def _tell(self, core: Any, note: Callable[[], None]) -> None:
        if self.core is core:
            with contextlib.suppress(NeuroRosError):  # cleaned up at this very moment: nobody asks any more
                self.call(note)

    # -- services ------------------------------------------------------------------------------------------------

    def _save_state(self, request: Any, response: Any) -> Any:
        """Answer `SaveState`."""
        try:
            directory = self._directory()
            snapshot = self.call(lambda: self.core.snapshot(request.stream_id)).result(_SERVICE_TIMEOUT_S)
            if snapshot is None:
                what = f"stream {request.stream_id!r}" if request.stream_id else "any stream"
                raise NeuroRosError(f"there is no state of {what} yet")
            path = directory.confine(request.path) if request.path else self._own_path(snapshot.stream_id)
            response.digest = self._write(snapshot, path).result(_SERVICE_TIMEOUT_S)
            response.path, response.success = str(path), True
        except NeuroRosError as error:
            response.success, response.message = False, str(error)
        except FutureTimeoutError:
            response.success = False
            response.message = f"not done after {_SERVICE_TIMEOUT_S:g} s: the network or the disk is busy"
        return response

    def _load_state(self, request: Any, response: Any) -> Any:
        """Answer `LoadState`."""
        try:
            path = self._directory().confine(request.path)
            lines: list[str] = []
            if request.migrate:
                state, digest, lines = self._directory().load_migrated(path, self.core.model)
            else:
                state, digest = self._directory().load(path, self.core.model)
            restore = functools.partial(self.core.restore, state, request.stream_id, True)
            stream_id = self.call(restore).result(_SERVICE_TIMEOUT_S)
            response.success, response.path, response.digest = True, str(path), digest
            response.message = "; ".join(lines)
            self.get_logger().info(f"loaded {path} into stream {stream_id!r}{': ' if lines else ''}{response.message}")
        except NeuroRosError as error:
            response.success, response.message = False, str(error)
        except FutureTimeoutError:
            response.success = False
            response.message = f"not done after {_SERVICE_TIMEOUT_S:g} s: the network is busy; it will be done"
        return response

    def _own_path(self, stream_id: str) -> Path:
        return self._directory_of(self.core.arms.live).path(stream_id)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(SnnInferenceNode)


if __name__ == "__main__":
    sys.exit(main())
