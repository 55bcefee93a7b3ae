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
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from neuro_ros.cores.core import Clocks, Core, Health, Output
from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import conversion, garbage, qos
from neuro_ros.nodes.audience import Audience
from neuro_ros.nodes.diagnostics import PERIOD_S, DiagnosticsPublisher
from neuro_ros.nodes.driver import CoreDriver, FailureLog
from neuro_ros.nodes.held_input import HeldInput
from neuro_ros.nodes.packet_reader import PacketReader
from neuro_ros.nodes.parameters import NodeParameters
from neuro_ros.nodes.quick_input import QuickInput
from neuro_ros.nodes.transitions import GuardedLifecycleNode, logged_transition
from neuro_ros.nodes.worker import PostedCall, drop_oldest

__all__ = ["LifecycleShell"]

#: Calls that may wait for the worker before the overflow policy chooses [calls]: 3.2 s of windows at 20 Hz.
DEFAULT_QUEUE_LIMIT = 64
#: How long a transition waits for the worker or a source thread to come to the end of its present call [s].
STOP_TIMEOUT_S = 10.0
_NS_PER_S = 1_000_000_000


class LifecycleShell(GuardedLifecycleNode):
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
        self._queue_limit = queue_limit if threaded else None
        self._clocks = clocks or Clocks()
        self._driver: CoreDriver | None = None
        self._failures = FailureLog()
        self._source_thread: threading.Thread | None = None
        self._source_stop = threading.Event()
        self._outputs: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self.reader: PacketReader | None = None
        self._core_timers: list[Any] = []
        self._held: HeldInput | None = None
        self._quick: QuickInput | None = None
        self._heartbeat: Any = None
        self._heartbeat_timer: Any = None
        try:
            self._node_parameters = NodeParameters(
                self, parameter_class, lambda: self._driver is not None, self._reconfigure
            )
        except BaseException:
            self.destroy_node()  # the caller never gets it in hand
            raise
        # Diagnostics and heartbeat follow real time: a paused simulation is no reason to look dead.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = DiagnosticsPublisher(self)
        self._diagnostics_timer = self.create_timer(PERIOD_S, self.publish_diagnostics, clock=self._steady)

    # -- for subclasses ------------------------------------------------------------------------------------------

    #: Timers of the core for which a subclass makes the calls itself, in :meth:`run`.
    own_timers: ClassVar[frozenset[str]] = frozenset()
    #: Message dataclass of an input that :meth:`run` reads from :attr:`reader`, past the executor; None = none.
    read_apart: ClassVar[type | None] = None
    #: Input of a threaded node that is taken past the executor, because somebody waits for what becomes of it.
    quick_input: ClassVar[str | None] = None
    #: An input and the output whose subscribers it waits for; the parameters wait_for_subscribers, wait_for_nodes and
    #: subscriber_timeout_s say for how many, for whose, and how long.
    held_input: ClassVar[tuple[str, str] | None] = None

    @property
    def parameters(self) -> Any:
        """The parameter dataclass in force."""
        return self._node_parameters.current

    @property
    def core(self) -> Any:
        """The core while configured, else None. Call it through :meth:`submit`, :meth:`invoke` or :meth:`call`."""
        return None if self._driver is None else self._driver.core

    @property
    def active(self) -> bool:
        """True in the state ACTIVE."""
        return self.state_id == State.PRIMARY_STATE_ACTIVE

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
        return self._driver is not None and self._driver.submit(method, *arguments)

    def invoke(self, method: str, *arguments: Any) -> Any:
        """Call ``core.method(*arguments)`` in this thread, publish its outputs and return them.

        An exception is logged, counted and shown in the diagnostics; None is returned and the node goes on. Waits for
        a core call in another thread to end, so it is for source threads, not for the executor of a threaded node.
        """
        return None if self._driver is None else self._driver.invoke(method, *arguments)

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` where core calls run, one at a time, and return a future of its result.

        Never dropped. In a service of a threaded node wait with a time limit, and let the work be short.

        Raises
        ------
        NeuroRosError
            The node is not configured.
        """
        return self._configured_driver().call(function)

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish outputs in order; a failure is counted and logged, never raised."""
        for output in outputs:
            publisher = self._outputs.get(output.topic)
            if publisher is None:
                text = f"the core emits on {output.topic!r}, which is not one of its outputs"
                self._failures.add("unknown_topics", text)
                self.get_logger().error(text, throttle_duration_sec=5.0)
                continue
            try:
                message = conversion.to_ros(output.message)
                self.departing(output)
                publisher.publish(message)
            except Exception as error:  # noqa: BLE001 - the middleware may fail in its own ways; the node goes on
                self._failures.add("publish_failures", f"publishing on {output.topic}: {error}")
                self.get_logger().error(self._failures.last, throttle_duration_sec=5.0)

    def departing(self, output: Output) -> None:
        """Look at an output that is about to be published, e.g. to take the time; the default does nothing."""

    def subscription_count(self, topic: str) -> int:
        """Return how many subscriptions are matched with one of our outputs; 0 while unconfigured."""
        publisher = self._outputs.get(topic)
        return 0 if publisher is None else publisher.get_subscription_count()

    def audience(self, topic: str) -> Audience:
        """Return those whom the parameters wait_for_subscribers and wait_for_nodes want for one of our outputs."""
        wanted, nodes = self.parameters.wait_for_subscribers, self.parameters.wait_for_nodes
        return Audience(self, topic, self._outputs[topic], wanted, nodes)

    # -- transitions ---------------------------------------------------------------------------------------------

    @logged_transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Build the core from the parameters, then the publishers and the heartbeat."""
        self._release()
        try:
            core = self._core_class(self.parameters, self._clocks)
            self._driver = CoreDriver(
                core,
                self.publish,
                self._core_error,
                name=f"{self.get_name()}.worker",
                queue_limit=self._queue_limit,
                policy=self.overflow,
            )
            for topic, cls in core.outputs.items():
                message = conversion.ros_class(cls)
                self._outputs[topic] = self.create_lifecycle_publisher(message, topic, qos.publisher_qos(topic))
            result = super().on_configure(state)
            self.configured()
        except BaseException:
            self._release()
            raise
        garbage.settle()
        # From here on: whatever took long (compiling, loading) lies before the first assertion of the lease.
        self._heartbeat = self.create_publisher(State, "~/heartbeat", qos.HEARTBEAT)
        self._heartbeat_timer = self.create_timer(qos.HEARTBEAT_PERIOD_S, self._beat, clock=self._steady)
        return result

    @logged_transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the publishers speak, start the core's activation, then its inputs, timers and source."""
        core = self._configured_driver().core
        result = super().on_activate(state)
        try:
            self._transition_call(lambda: core.activate(self.now_ns()))
            for topic, cls in core.inputs.items():
                if self.held_input is not None and topic == self.held_input[0]:
                    self._hold(topic, cls, self.held_input[1])
                else:
                    self._subscribe(topic, cls)
            for timer, period_ns in core.timers().items():
                if timer in self.own_timers:
                    continue
                tick = functools.partial(self._tick, timer)
                self._core_timers.append(self.create_timer(period_ns / _NS_PER_S, tick, clock=self._timer_clock()))
            if type(self).run is not LifecycleShell.run:
                self._start_source()
            self.activated()
        except BaseException:
            self._quiesce()
            super().on_deactivate(state)
            raise
        return result

    @logged_transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop inputs, timers and source, let the core say its last words, silence the publishers."""
        self.deactivating()
        self._stop_inputs()
        core = self._configured_driver().core
        self._transition_call(lambda: core.deactivate(self.now_ns()))
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
            self._quiesce()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @logged_transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:  # noqa: ARG002 - rclpy's signature
        """Release everything after a failed transition, so that the node is as good as new and unconfigured."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    # -- inputs --------------------------------------------------------------------------------------------------

    def _configured_driver(self) -> CoreDriver:
        if self._driver is None:
            raise NeuroRosError("the node is not configured")
        return self._driver

    def receive_apart(self, taken: tuple[Any, Mapping[str, Any]]) -> None:
        """Give the core what :meth:`run` has taken from :attr:`reader`; what cannot be converted is counted."""
        message, info = taken
        if self.reader is None or self.read_apart is None:
            return
        try:
            converted: Any = conversion.from_ros(self.read_apart, message)
        except NeuroRosError as error:
            self._core_error(f"receive {self.reader.topic}", error)
            return
        self.invoke("receive", self.reader.topic, converted, self._arrival_ns(info))

    def _subscribe(self, topic: str, cls: type) -> None:
        if cls is self.read_apart:
            self.reader = PacketReader(self, conversion.ros_class(cls), topic, qos.subscription_qos(topic))
            return

        def received(message: Any, info: Any) -> None:
            try:
                converted: Any = conversion.from_ros(cls, message)
            except NeuroRosError as error:
                self._core_error(f"receive {topic}", error)
                return
            self.submit("receive", topic, converted, self._arrival_ns(info))

        if topic == self.quick_input:
            self._quick = QuickInput(self, conversion.ros_class(cls), topic, qos.subscription_qos(topic), received)
            return
        callback: Any = received  # rclpy's hints do not know callbacks that take the message info
        subscription = self.create_subscription(conversion.ros_class(cls), topic, callback, qos.subscription_qos(topic))
        self._inputs.append(subscription)

    def _hold(self, topic: str, cls: type, output: str) -> None:
        subscribe = functools.partial(self._subscribe, topic, cls)
        self._held = HeldInput(self, self.audience(output), self.parameters.subscriber_timeout_s, subscribe)

    def _arrival_ns(self, info: Mapping[str, Any]) -> int:
        """Host time at which the middleware got a message [ns]; that of the node's clock where it does not tell."""
        clock: Any = self.get_clock()
        if clock.ros_time_is_active:
            return self.now_ns()
        received = int(info["received_timestamp"])
        return received if received > 0 else self.now_ns()

    def _timer_clock(self) -> Clock:
        """Clock of the core's timers: simulated time where that is used, else one that nobody can set.

        A system clock that is set back by an hour would keep its timers waiting for an hour.
        """
        clock: Any = self.get_clock()
        return clock if clock.ros_time_is_active else self._steady

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
        held, self._held = self._held, None
        if held is not None:
            held.close()
        for timer in self._core_timers:
            timer.cancel()
            self.destroy_timer(timer)
        self._core_timers.clear()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        quick, self._quick = self._quick, None
        if quick is not None and not quick.close(STOP_TIMEOUT_S):
            self.get_logger().error(f"an input did not stop within {STOP_TIMEOUT_S:g} s and is left behind")
        self._source_stop.set()
        thread, self._source_thread = self._source_thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT_S)
            if thread.is_alive():
                self.get_logger().error(f"the source did not stop within {STOP_TIMEOUT_S:g} s and is left behind")
        reader, self.reader = self.reader, None
        if reader is not None:  # the thread that read it has ended
            reader.close()

    def _quiesce(self) -> None:
        """Fall silent on the way to something else; what fails is logged and does not stop it."""
        core = self._configured_driver().core
        last_words = functools.partial(self._transition_call, lambda: core.deactivate(self.now_ns()))
        self._all_of(self.deactivating, self._stop_inputs, last_words)

    def _transition_call(self, function: Callable[[], Sequence[Output]]) -> None:
        dropped = self._configured_driver().call_and_wait(function, STOP_TIMEOUT_S)
        if dropped:
            self._failures.counters["dropped_from_queue"] += dropped
            self.get_logger().warning(f"dropped {dropped} queued calls to come to an end")

    # -- release -------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """Hold nothing; safe twice and from every state. A step that fails is logged and does not stop the others."""
        self._all_of(self._stop_inputs, self._stop_heartbeat, self._close_driver, self.released)
        outputs, self._outputs = self._outputs, {}
        for publisher in outputs.values():
            self.destroy_lifecycle_publisher(publisher)

    def _all_of(self, *steps: Callable[[], None]) -> None:
        for step in steps:
            try:
                step()
            except Exception:  # noqa: BLE001, PERF203 - whatever fails, the rest must be done
                self.get_logger().error(f"on the way down:\n{traceback.format_exc()}")

    def _close_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is None:
            return
        if not driver.close(STOP_TIMEOUT_S):
            self.get_logger().error(f"the worker did not stop within {STOP_TIMEOUT_S:g} s and is left behind")
        self._failures.counters["dropped_from_queue"] += sum(driver.dropped.values())

    def _stop_heartbeat(self) -> None:
        timer, self._heartbeat_timer = self._heartbeat_timer, None
        if timer is not None:
            self.destroy_timer(timer)
        publisher, self._heartbeat = self._heartbeat, None
        if publisher is not None:
            self.destroy_publisher(publisher)

    def _beat(self) -> None:
        # Publishing asserts the liveliness of the topic, too.
        self._heartbeat.publish(State(id=self.state_id, label=self.state_label))

    # -- parameters, errors, diagnostics -------------------------------------------------------------------------

    def _reconfigure(self, parameters: Any) -> None:
        self._configured_driver().reconfigure(parameters)

    def _core_error(self, method: str, error: Exception) -> None:
        self._failures.add("core_errors", f"{method}: {error}")
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"{method} failed, the node goes on:\n{text}", throttle_duration_sec=5.0)

    def publish_diagnostics(self) -> None:
        """Publish the health of the core and of this shell; a timer calls it once a second in every state."""
        try:
            extra = self.extra_health()
        except Exception as error:  # noqa: BLE001 - a fault in a judgement is shown, not fatal
            extra = ()
            self._core_error("extra_health", error)
        if self._held is not None:
            extra = [*extra, self._held.health()]
        driver = self._driver
        if driver is None:
            self._diagnostics.publish([*extra, self._failures.health(self.state_label, {}, 0, 0.0)])
            return
        driver.judge(self.now_ns)
        dropped = driver.dropped
        values: dict[str, object] = {
            "queue_depth": driver.queue_depth,
            **{f"dropped {kind}": n for kind, n in dropped.items()},
        }
        shell = self._failures.health(self.state_label, values, sum(dropped.values()), driver.busy_s)
        self._diagnostics.publish([*driver.health, *extra, shell])

    def stop_requested(self) -> None:
        """Go to the state FINALIZED from whatever state: the process is about to end."""
        if self.state_id != State.PRIMARY_STATE_FINALIZED:
            self.trigger_shutdown()

    def destroy_node(self) -> None:
        """Release everything and destroy the node."""
        self._release()
        super().destroy_node()
