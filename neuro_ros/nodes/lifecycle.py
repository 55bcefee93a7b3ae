# SPDX-License-Identifier: Apache-2.0
"""The lifecycle shell that every node shares: it moves messages between ROS and a core, and knows no science.

A node is this class with a name, a core and a parameter dataclass. Configure builds the core and the publishers,
activate the subscriptions and timers, deactivate takes these away again, clean-up holds nothing. Every core call is
made by one thread at a time: inline in the executor, or (``threaded=True``) by one worker thread behind a bounded
queue.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State, Transition
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.parameters import NodeParameters
from neuro_ros.nodes.worker import PostedCall, Worker, drop_oldest

__all__ = ["LifecycleShell"]

#: Calls that may wait for the worker before the overflow policy chooses [calls]: 3.2 s of windows at 20 Hz.
DEFAULT_QUEUE_LIMIT = 64
#: How long a transition waits for the worker or a source thread to come to the end of its present call [s].
STOP_TIMEOUT_S = 10.0
#: A worker that has not answered the diagnostics for so long is worth a warning [s].
BUSY_AFTER_S = 3.0
_NS_PER_S = 1_000_000_000

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR


def logged_transition(
    method: Callable[[Any, LifecycleState], TransitionCallbackReturn],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """Log what goes wrong in a transition, which rclpy swallows, and turn it into FAILURE or ERROR.

    A `NeuroRosError` (a missing file, a parameter that does not fit) is one clear line and FAILURE: the node stays in
    the state it was in. Anything else is a fault of ours: the traceback and ERROR, which releases everything.
    """

    @functools.wraps(method)
    def wrapper(self: LifecycleShell, state: LifecycleState) -> TransitionCallbackReturn:
        name = method.__name__.removeprefix("on_")
        try:
            result = method(self, state)
        except NeuroRosError as error:
            self.get_logger().error(f"{name} failed: {error}")
            return FAILURE
        except Exception:  # noqa: BLE001 - the boundary to rclpy, which would drop the text
            self.get_logger().error(f"{name} failed with a fault of the node:\n{traceback.format_exc()}")
            return ERROR
        self.get_logger().info(f"{name}: {result.to_label().removeprefix('transition_')}")
        return result

    return wrapper


class LifecycleShell(LifecycleNode):
    """A lifecycle node around a `Core`.

    Parameters
    ----------
    name : str
        Default node name.
    core_class : Callable
        Called with (parameters, clocks) at configure; a `Core` class.
    parameter_class : type
        Parameter dataclass.
    threaded : bool
        Make core calls in a worker thread instead of in the executor.
    queue_limit : int
        Messages and ticks that may wait for the worker.
    clocks : Clocks
        Handed to the core.
    **kwargs
        For `rclpy.node.Node`: ``context``, ``namespace``, ``parameter_overrides``, ``cli_args`` ...

    Attributes
    ----------
    core : Core or None
        The core while configured.

    Raises
    ------
    ParameterError
        An override is unknown or not valid.
    """

    def __init__(
        self,
        name: str,
        core_class: Callable[[Any, Clocks], Core],
        parameter_class: type,
        *,
        threaded: bool = False,
        queue_limit: int = DEFAULT_QUEUE_LIMIT,
        clocks: Clocks | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self._core_class = core_class
        self._threaded = threaded
        self._queue_limit = queue_limit
        self._clocks = clocks or Clocks()
        self.core: Core | None = None
        self._core_lock = threading.RLock()
        self._worker: Worker | None = None
        self._source_thread: threading.Thread | None = None
        self._source_stop = threading.Event()
        self._outputs: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._core_timers: list[Any] = []
        self._heartbeat: Any = None
        self._heartbeat_timer: Any = None
        self._counters = {"publish_failures": 0, "core_errors": 0, "unknown_topics": 0, "dropped_from_queue": 0}
        self._last_error = ""
        self._core_health: Sequence[Health] = ()
        self._diagnose_pending: Future[Any] | None = None
        self._diagnose_since_s = 0.0
        self._node_parameters = NodeParameters(self, parameter_class, lambda: self.core is not None, self._reconfigure)
        self._guard_change_state()
        # Diagnostics and heartbeat follow real time: a paused simulation is no reason to look dead.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._diagnostics_timer = self.create_timer(1.0, self.publish_diagnostics, clock=self._steady)

    # -- for subclasses ------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Any:
        """The parameter dataclass in force."""
        return self._node_parameters.current

    @property
    def active(self) -> bool:
        """True in the state ACTIVE."""
        return self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE

    def now_ns(self) -> int:
        """Time of the node's clock [ns], simulated when ``use_sim_time`` is set."""
        return int(self.get_clock().now().nanoseconds)

    def run(self, stop_event: threading.Event) -> None:
        """Read a source until `stop_event` is set; a subclass that overrides this gets a thread for it while active.

        Call :meth:`invoke` or :meth:`submit` for the core. Check the event often: deactivation waits for the return.
        """

    def overflow(self, waiting: list[PostedCall], new: PostedCall) -> PostedCall:
        """Choose which call goes when the worker's queue is full; the default drops the oldest.

        Called in the posting thread with the queue locked: choose and return, nothing else.
        """
        return drop_oldest(waiting, new)

    def configured(self) -> None:
        """Do more at the end of a successful configure, e.g. create services; `core` is set."""

    def activated(self) -> None:
        """Do more at the end of a successful activate."""

    def deactivating(self) -> None:
        """Do something before deactivation begins."""

    def released(self) -> None:
        """Let go of what `configured` made: the core is gone (clean-up, shutdown, error). Must be safe twice."""

    def extra_health(self) -> Sequence[Health]:
        """Return more statuses for ``/diagnostics``; called in the executor."""
        return ()

    def submit(self, method: str, *arguments: Any) -> bool:
        """Have ``core.method(*arguments)`` called, and its outputs published; return False when it was dropped.

        Threaded: queued and bounded. Otherwise: done at once, in the calling thread.
        """
        worker = self._worker
        if worker is None:
            self.invoke(method, *arguments)
            return True
        kind = f"{method} {arguments[0]}" if arguments and isinstance(arguments[0], str) else method
        argument = arguments[1] if len(arguments) > 1 else None
        return worker.post(PostedCall(kind, lambda: self.invoke(method, *arguments), argument=argument))

    def invoke(self, method: str, *arguments: Any) -> Any:
        """Call ``core.method(*arguments)`` in this thread, publish its outputs and return them.

        An exception is logged, counted and shown in the diagnostics; None is returned and the node goes on.
        """
        with self._core_lock:
            core = self.core
            if core is None:
                return None
            try:
                outputs = getattr(core, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - one bad message must not end a robot's day
                self._core_error(method, error)
                return None
            if outputs:
                self.publish(outputs)
            return outputs

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` where core calls run, one at a time, and return a future of its result.

        Never dropped. For services: add a done callback instead of waiting when the node is threaded.
        """

        def locked() -> Any:
            with self._core_lock:
                return function()

        if self._worker is not None:
            return self._worker.request(locked)
        future: Future[Any] = Future()
        try:
            future.set_result(locked())
        except Exception as error:  # noqa: BLE001 - handed to the caller
            future.set_exception(error)
        return future

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish outputs in order; a failure is counted and logged, never raised."""
        for output in outputs:
            publisher = self._outputs.get(output.topic)
            if publisher is None:
                self._counters["unknown_topics"] += 1
                text = f"the core emits on {output.topic!r}, which is not one of its outputs"
                self.get_logger().error(text, throttle_duration_sec=5.0)
                continue
            try:
                publisher.publish(conversion.to_ros(output.message))
            except Exception as error:  # noqa: BLE001 - the middleware may fail in its own ways; the node goes on
                self._counters["publish_failures"] += 1
                self._last_error = f"publishing on {output.topic}: {error}"
                self.get_logger().error(self._last_error, throttle_duration_sec=5.0)

    def subscription_count(self, topic: str) -> int:
        """Return how many subscriptions are matched with one of our outputs; 0 while unconfigured."""
        publisher = self._outputs.get(topic)
        return 0 if publisher is None else publisher.get_subscription_count()

    # -- transitions ---------------------------------------------------------------------------------------------

    @logged_transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Build the core from the parameters, then the publishers and the heartbeat."""
        self._release()
        try:
            core = self._core_class(self.parameters, self._clocks)
            self.core = core
            for topic, cls in core.outputs.items():
                message = conversion.ros_class(cls)
                self._outputs[topic] = self.create_lifecycle_publisher(message, topic, qos.publisher_qos(topic))
            if self._threaded:
                self._worker = Worker(f"{self.get_name()}.worker", self._queue_limit, self.overflow)
            result = super().on_configure(state)
            self.configured()
        except BaseException:
            self._release()
            raise
        # From here on: whatever took long (compiling, loading) lies before the first assertion of the lease.
        self._heartbeat = self.create_publisher(State, "~/heartbeat", qos.HEARTBEAT)
        self._heartbeat_timer = self.create_timer(qos.HEARTBEAT_PERIOD_S, self._beat, clock=self._steady)
        return result

    @logged_transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the publishers speak, start the core's activation, then its inputs, timers and source."""
        core = self._configured_core()
        result = super().on_activate(state)
        try:
            self._transition_call(lambda: core.activate(self.now_ns()))
            for topic, cls in core.inputs.items():
                self._subscribe(topic, cls)
            for timer, period_ns in core.timers().items():
                tick = functools.partial(self._tick, timer)
                self._core_timers.append(self.create_timer(period_ns / _NS_PER_S, tick))
            if type(self).run is not LifecycleShell.run:
                self._start_source()
            self.activated()
        except BaseException:
            self._stop_inputs()
            super().on_deactivate(state)
            raise
        return result

    @logged_transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop inputs, timers and source, let the core say its last words, silence the publishers."""
        self._quiesce()
        return super().on_deactivate(state)

    @logged_transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; safe twice."""
        result = super().on_cleanup(state)
        self._release()
        return result

    @logged_transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from whatever state."""
        if state.state_id == State.PRIMARY_STATE_ACTIVE:
            try:
                self._quiesce()
            except Exception:  # noqa: BLE001 - shutting down must not fail for the last words of a core
                self.get_logger().error(f"while falling silent:\n{traceback.format_exc()}")
        self._release()
        return SUCCESS

    @logged_transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:  # noqa: ARG002 - rclpy's signature
        """Release everything after a failed transition, so that the node is as good as new and unconfigured."""
        self._release()
        return SUCCESS

    # -- inputs --------------------------------------------------------------------------------------------------

    def _configured_core(self) -> Core:
        if self.core is None:
            raise NeuroRosError("the node is not configured")
        return self.core

    def _subscribe(self, topic: str, cls: type) -> None:
        def received(message: Any, info: Any) -> None:
            self.submit("receive", topic, conversion.from_ros(cls, message), self._arrival_ns(info))

        subscription = self.create_subscription(conversion.ros_class(cls), topic, received, qos.subscription_qos(topic))
        self._inputs.append(subscription)

    def _arrival_ns(self, info: Mapping[str, Any]) -> int:
        """Host time at which the middleware got a message [ns]; that of the node's clock where it does not tell."""
        if self.get_clock().ros_time_is_active:
            return self.now_ns()
        received = int(info["received_timestamp"])
        return received if received > 0 else self.now_ns()

    def _tick(self, timer: str) -> None:
        self.submit("tick", timer, self.now_ns())

    def _start_source(self) -> None:
        self._source_stop = threading.Event()
        self._source_thread = threading.Thread(
            target=self._run_source, args=(self._source_stop,), name=f"{self.get_name()}.source", daemon=True
        )
        self._source_thread.start()

    def _run_source(self, stop_event: threading.Event) -> None:
        try:
            self.run(stop_event)
        except Exception as error:  # noqa: BLE001 - the thread's boundary
            self._core_error("run", error)

    def _stop_inputs(self) -> None:
        for timer in self._core_timers:
            timer.cancel()
            self.destroy_timer(timer)
        self._core_timers.clear()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self._source_stop.set()
        thread, self._source_thread = self._source_thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT_S)
            if thread.is_alive():
                self.get_logger().error(f"the source did not stop within {STOP_TIMEOUT_S:g} s and is left behind")

    def _quiesce(self) -> None:
        """Go from active to inactive: nothing runs afterwards, the state is kept."""
        self.deactivating()
        self._stop_inputs()
        core = self._configured_core()
        self._transition_call(lambda: core.deactivate(self.now_ns()))

    def _transition_call(self, function: Callable[[], Sequence[Output]]) -> None:
        """Call the core from a transition, after all that was queued before, and publish what it says."""

        def run() -> None:
            self.publish(function())

        future = self.call(run)
        try:
            future.result(STOP_TIMEOUT_S)
        except (FutureTimeoutError, CancelledError):
            future.cancel()
            raise NeuroRosError(f"the worker is still busy after {STOP_TIMEOUT_S:g} s; try again") from None

    # -- release -------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """Hold nothing; safe twice and from every state. A step that fails is logged and does not stop the others."""
        for step in (self._stop_inputs, self._stop_heartbeat, self._close_worker, self._close_core, self.released):
            try:
                step()
            except Exception:  # noqa: BLE001, PERF203 - whatever fails, the rest must be released
                self.get_logger().error(f"while releasing:\n{traceback.format_exc()}")
        outputs, self._outputs = self._outputs, {}
        for publisher in outputs.values():
            self.destroy_lifecycle_publisher(publisher)

    def _close_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.discard()
        if not worker.close(STOP_TIMEOUT_S):
            self.get_logger().error(f"the worker did not stop within {STOP_TIMEOUT_S:g} s and is left behind")
        self._counters["dropped_from_queue"] += sum(worker.dropped.values())

    def _close_core(self) -> None:
        core, self.core = self.core, None
        self._core_health = ()
        self._diagnose_pending = None
        if core is not None:
            core.close()

    def _stop_heartbeat(self) -> None:
        timer, self._heartbeat_timer = self._heartbeat_timer, None
        if timer is not None:
            self.destroy_timer(timer)
        publisher, self._heartbeat = self._heartbeat, None
        if publisher is not None:
            self.destroy_publisher(publisher)

    def _beat(self) -> None:
        state_id, label = self._state_machine.current_state
        # Publishing asserts the liveliness of the topic, too.
        self._heartbeat.publish(State(id=state_id, label=label))

    # -- parameters, errors, diagnostics -------------------------------------------------------------------------

    def _reconfigure(self, parameters: Any) -> None:
        def apply() -> None:
            try:
                self._configured_core().reconfigure(parameters)
            except Exception as error:  # noqa: BLE001 - already validated: a failure here is a fault of the core
                self._core_error("reconfigure", error)

        self.call(apply)

    def _core_error(self, method: str, error: Exception) -> None:
        self._counters["core_errors"] += 1
        self._last_error = f"{method}: {error}"
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"{method} failed, the node goes on:\n{text}", throttle_duration_sec=5.0)

    def publish_diagnostics(self) -> None:
        """Publish the health of the core and of this shell; a timer calls it once a second in every state."""
        self._ask_core_health()
        statuses = [*self._core_health, *self.extra_health(), self._shell_health()]
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [self._status(health) for health in statuses]
        self._diagnostics.publish(message)

    def _ask_core_health(self) -> None:
        """Have the core judged where its calls run; a busy worker answers later and the last answer stands."""
        if self.core is None or (self._diagnose_pending is not None and not self._diagnose_pending.done()):
            return
        core = self.core

        def judge() -> None:
            try:
                self._core_health = tuple(core.diagnose(self.now_ns()))
            except Exception as error:  # noqa: BLE001 - a fault in a judgement is shown, not fatal
                self._core_error("diagnose", error)

        self._diagnose_since_s = time.monotonic()
        self._diagnose_pending = self.call(judge)

    def _shell_health(self) -> Health:
        worker = self._worker
        dropped = dict(worker.dropped) if worker is not None else {}
        values: dict[str, object] = {
            "state": self._state_machine.current_state[1],
            **self._counters,
            "queue_depth": worker.depth if worker is not None else 0,
            "last_error": self._last_error,
        }
        values["dropped_from_queue"] = self._counters["dropped_from_queue"] + sum(dropped.values())
        values.update({f"dropped {kind}": count for kind, count in dropped.items()})
        busy_s = 0.0
        if self._diagnose_pending is not None and not self._diagnose_pending.done():
            busy_s = time.monotonic() - self._diagnose_since_s
        failures = self._counters["core_errors"] + self._counters["publish_failures"] + self._counters["unknown_topics"]
        if failures:
            return Health("shell", HealthLevel.ERROR, f"{failures} failures, last: {self._last_error}", values)
        if busy_s > BUSY_AFTER_S:
            return Health("shell", HealthLevel.WARN, f"worker busy for {busy_s:.1f} s", values)
        if values["dropped_from_queue"]:
            return Health("shell", HealthLevel.WARN, f"{values['dropped_from_queue']} dropped from the queue", values)
        return Health("shell", HealthLevel.OK, str(values["state"]), values)

    def _status(self, health: Health) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([int(health.level)]),
            name=f"{self.get_name()}: {health.name}",
            message=health.message,
            hardware_id=self.get_fully_qualified_name().lstrip("/"),
            values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
        )

    # -- invalid transitions -------------------------------------------------------------------------------------

    def _guard_change_state(self) -> None:
        """Answer invalid transitions with ``success=false``.

        rclpy 7.1 lets the state machine's RCLError fly out of the executor and never answers the caller.
        """
        service = getattr(self, "_service_change_state", None)
        if service is None:  # communication interface off
            return
        original = service.callback

        def change_state(request: Any, response: Any) -> Any:
            wanted: Transition = request.transition
            offered = {(item[0], item[1]) for item in self._state_machine.available_transitions}
            known = {label for _, label in offered} if wanted.label else {number for number, _ in offered}
            if (wanted.label or wanted.id) not in known:
                label = self._state_machine.current_state[1]
                asked = wanted.label or f"id {wanted.id}"
                names = ", ".join(sorted(f"{name} ({number})" for number, name in offered)) or "none"
                self.get_logger().warning(f"transition {asked} is not possible in state {label}; possible: {names}")
                response.success = False
                return response
            try:
                return original(request, response)
            except rclpy_implementation.RCLError as error:
                self.get_logger().error(f"transition failed in the state machine: {error}")
                response.success = False
                return response

        service.callback = change_state

    def shut_down(self) -> None:
        """Go to the state FINALIZED from whatever state, as at the end of the process."""
        if self._state_machine.current_state[0] != State.PRIMARY_STATE_FINALIZED:
            self.trigger_shutdown()

    def destroy_node(self) -> None:
        """Release everything and destroy the node."""
        self._release()
        super().destroy_node()
