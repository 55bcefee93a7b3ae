# SPDX-License-Identifier: Apache-2.0
"""The lifecycle shell, around a core that only writes down what is done to it."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.srv import DescribeParameters, SetParameters, SetParametersAtomically
from rclpy.clock import ClockType
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMessage

from neuro_ros.cores.core import Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import Gesture, SpikeTensor
from neuro_ros.cores.parameters import ParameterError, parameter
from neuro_ros.errors import NeuroRosError
from neuro_ros.msg import Gesture as GestureMessage
from neuro_ros.msg import SpikeTensor as SpikeTensorMessage
from neuro_ros.nodes import qos
from neuro_ros.nodes.lifecycle import LifecycleShell

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)


@dataclass(frozen=True)
class Group:
    gain: float = parameter(0.5, "a grouped one", minimum=0.0, maximum=1.0, dynamic=True)


@dataclass(frozen=True)
class ProbeParameters:
    rate: float = parameter(1.0, "a float", unit="Hz", minimum=0.0, maximum=10.0, dynamic=True)
    limit: float = parameter(10.0, "must not be below rate", minimum=0.0, dynamic=True)
    count: int = parameter(3, "an integer", minimum=1, maximum=5)
    mode: str = parameter("a", "a choice", choices=("a", "b"), dynamic=True)
    names: Sequence[str] = parameter([], "a list")
    on: bool = parameter(True, "a switch")
    group: Group = Group()

    def __post_init__(self):
        if self.rate > self.limit:
            raise ParameterError(f"rate {self.rate:g} is above limit {self.limit:g}")


class Probe(Core):
    """Answers each window with a gesture of the same number, and remembers every call."""

    inputs = {"spikes": SpikeTensor}  # noqa: RUF012 - as in Core
    outputs = {"gesture": Gesture}  # noqa: RUF012
    fail_in: str = ""  # name of the call that raises
    fail_with: Exception = RuntimeError("broken on purpose")

    def __init__(self, parameters, clocks):
        self.parameters = parameters
        self.calls = []
        self.threads = set()
        self.gate = None
        self._enter("configure")

    def _enter(self, name, *details):
        self.calls.append((name, *details))
        self.threads.add(threading.current_thread().name)
        if type(self).fail_in == name:
            raise type(self).fail_with

    def names(self):
        return [call[0] for call in self.calls if call[0] not in ("tick", "diagnose")]

    def timers(self):
        return {"fast": 5_000_000}

    def activate(self, now_ns):
        self._enter("activate", now_ns)
        return [Output("gesture", Gesture(label="hello"))]

    def receive(self, topic, message, now_ns):
        if self.gate is not None:
            self.gate.wait(10)
        self._enter("receive", topic, message.sequence, now_ns)
        return [Output("gesture", Gesture(sequence=message.sequence))]

    def tick(self, timer, now_ns):
        self._enter("tick", timer, now_ns)
        return ()

    def deactivate(self, now_ns):
        self._enter("deactivate", now_ns)
        return [Output("gesture", Gesture(label="goodbye"))]

    def reconfigure(self, parameters):
        self._enter("reconfigure", parameters)
        self.parameters = parameters

    def diagnose(self, now_ns):
        self._enter("diagnose", now_ns)
        return [Health("probe", HealthLevel.OK, "fine", {"calls": len(self.calls)})]

    def close(self):
        self._enter("close")


@pytest.fixture
def probe_class():
    """Return a fresh subclass, so that what one test breaks stays broken for that test alone."""
    return type("FreshProbe", (Probe,), {})


@pytest.fixture
def make(bed, probe_class):
    def make_shell(parameters=None, cls=LifecycleShell, **kwargs):
        return bed.make(cls, "probe", probe_class, ProbeParameters, parameters=parameters, **kwargs)

    return make_shell


def bring_up(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


# --- transitions ------------------------------------------------------------------------------------------------------
#: Way into each state, by transition id.
WAYS = {
    UNCONFIGURED: (),
    INACTIVE: (Transition.TRANSITION_CONFIGURE,),
    ACTIVE: (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
    FINALIZED: (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,),
}
GOALS = {
    (UNCONFIGURED, Transition.TRANSITION_CONFIGURE): INACTIVE,
    (UNCONFIGURED, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN): FINALIZED,
    (INACTIVE, Transition.TRANSITION_ACTIVATE): ACTIVE,
    (INACTIVE, Transition.TRANSITION_CLEANUP): UNCONFIGURED,
    (INACTIVE, Transition.TRANSITION_INACTIVE_SHUTDOWN): FINALIZED,
    (ACTIVE, Transition.TRANSITION_DEACTIVATE): INACTIVE,
    (ACTIVE, Transition.TRANSITION_ACTIVE_SHUTDOWN): FINALIZED,
}
EVERY_ID = sorted(
    {getattr(Transition, name) for name in dir(Transition) if name.startswith("TRANSITION_")} | {11, 77, 255}
)


@pytest.mark.parametrize("state", WAYS, ids=["unconfigured", "inactive", "active", "finalized"])
def test_every_transition_id_by_service_from_every_state(bed, make, state):
    node = None
    for transition in EVERY_ID:
        if node is None:
            node = make()
            for way in WAYS[state]:
                assert bed.change_state("probe", way)
        goal = GOALS.get((state, transition))
        assert bed.change_state("probe", transition) == (goal is not None), transition
        assert bed.state("probe") == (state if goal is None else goal)
        if goal is not None:
            bed.remove(node)
            node = None


def test_transitions_by_label(bed, make):
    make()
    assert not bed.change_state("probe", label="activate")
    assert not bed.change_state("probe", label="nonsense")
    assert not bed.change_state("probe", Transition.TRANSITION_CONFIGURE, label="transition_success")
    assert bed.change_state("probe", 99, label="configure")  # the label counts where there is one
    assert bed.change_state("probe", label="shutdown")
    assert bed.state("probe") == FINALIZED


@pytest.mark.parametrize("threaded", [False, True])
def test_every_transition_twice(make, threaded):
    node = make(threaded=threaded)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_configure() == ERROR  # not from here
        core = node.core
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert node.trigger_activate() == ERROR
            assert node.trigger_cleanup() == ERROR
            assert node.trigger_deactivate() == SUCCESS
            assert node.trigger_deactivate() == ERROR
        assert core.names() == ["configure", *(["activate", "deactivate"] * 2)]
        assert node.trigger_cleanup() == SUCCESS
        assert core.names()[-1] == "close"
        assert node.core is None
        assert node.trigger_cleanup() == ERROR
    assert node.trigger_shutdown() == SUCCESS
    assert node.trigger_shutdown() == ERROR
    assert node.state_id == FINALIZED


def test_shutdown_while_active_lets_the_core_say_its_last_words(bed, make):
    said = bed.collect(GestureMessage, "gesture")
    node = make()
    assert node.trigger_configure() == SUCCESS
    bed.until(lambda: node.subscription_count("gesture") == 1)
    assert node.trigger_activate() == SUCCESS
    core = node.core
    assert node.trigger_shutdown() == SUCCESS
    bed.until(lambda: [message.label for message in said] == ["hello", "goodbye"])
    assert core.names() == ["configure", "activate", "deactivate", "close"]


def test_nothing_is_left_after_cleanup(make):
    node = make(threaded=True)
    threads = threading.active_count()

    def entities():
        kinds = (node.publishers, node.subscriptions, node.timers, node.services, node.clients)
        return [len(list(kind)) for kind in kinds], len(node._managed_entities)

    before = entities()
    for _ in range(2):
        bring_up(node)
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
    assert entities() == before
    assert threading.active_count() == threads


def test_a_missing_thing_at_configure_is_one_line_and_the_node_stays(make, probe_class, capfd):
    node = make()
    probe_class.fail_in, probe_class.fail_with = "configure", NeuroRosError("no model at /x; name one")
    for _ in range(2):
        assert node.trigger_configure() == FAILURE
        assert node.state_id == UNCONFIGURED
    probe_class.fail_in = ""
    assert node.trigger_configure() == SUCCESS
    printed = capfd.readouterr().err
    assert printed.count("configure failed: no model at /x; name one") == 2
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("call", "before"),
    [("configure", UNCONFIGURED), ("activate", INACTIVE), ("deactivate", ACTIVE)],
)
@pytest.mark.parametrize("threaded", [False, True])
def test_a_fault_in_a_transition_is_logged_and_leaves_a_node_that_works(
    make, probe_class, capfd, call, before, threaded
):
    node = make(threaded=threaded)
    trigger = {
        "configure": node.trigger_configure,
        "activate": node.trigger_activate,
        "deactivate": node.trigger_deactivate,
    }
    for step in list(trigger)[: list(trigger).index(call)]:
        assert trigger[step]() == SUCCESS
    assert node.state_id == before
    probe_class.fail_in = call
    assert trigger[call]() == ERROR
    probe_class.fail_in = ""
    assert node.state_id == UNCONFIGURED
    assert node.core is None
    printed = capfd.readouterr().err
    assert "Traceback" in printed
    assert "broken on purpose" in printed
    bring_up(node)


def test_a_refused_activation_stays_inactive_and_silent(bed, make, probe_class):
    node = make()
    assert node.trigger_configure() == SUCCESS
    probe_class.fail_in, probe_class.fail_with = "activate", NeuroRosError("no camera")
    assert node.trigger_activate() == FAILURE
    assert node.state_id == INACTIVE
    assert list(node._core_timers) == []
    assert [s.topic for s in node.subscriptions if s.topic.endswith("spikes")] == []
    probe_class.fail_in = ""
    assert node.trigger_activate() == SUCCESS


def test_a_fault_at_close_does_not_stop_the_release(make, probe_class):
    node = make()
    bring_up(node)
    probe_class.fail_in = "close"
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    probe_class.fail_in = ""
    bring_up(node)


# --- messages, timers, threads ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("threaded", [False, True])
def test_messages_flow_only_while_active(bed, make, threaded):
    node = make(threaded=threaded)
    received = bed.collect(GestureMessage, "gesture")
    sender = bed.tester.create_publisher(SpikeTensorMessage, "spikes", qos.publisher_qos("spikes"))
    for epoch in (1, 2):
        bring_up(node) if epoch == 1 else node.trigger_activate()
        bed.until(lambda: sender.get_subscription_count() == 1)
        bed.until(lambda: node.subscription_count("gesture") == 1)
        received.clear()
        for number in range(5):
            sender.publish(SpikeTensorMessage(sequence=number, data=b"\1\2"))
        answers = bed.until(lambda: [message.sequence for message in received if not message.label][4:] and received)
        assert [message.sequence for message in answers if not message.label] == list(range(5))
        assert node.trigger_deactivate() == SUCCESS
        bed.until(lambda: sender.get_subscription_count() == 0)
        bed.until(lambda: received[-1].label == "goodbye")
        ticks = len(node.core.calls)
        sender.publish(SpikeTensorMessage(sequence=99))
        bed.spin()
        assert not any(call[0] in ("tick", "receive") for call in node.core.calls[ticks:])
    expected = {"probe.worker"} if threaded else {"MainThread"}
    assert node.core.threads - {"MainThread"} == expected - {"MainThread"}


def test_ticks_and_arrivals_carry_the_time_of_the_middleware(bed, make):
    node = make()
    sender = bed.tester.create_publisher(SpikeTensorMessage, "spikes", qos.publisher_qos("spikes"))
    bring_up(node)
    bed.until(lambda: sender.get_subscription_count() == 1)
    before = node.now_ns()
    sender.publish(SpikeTensorMessage(sequence=1))
    between = node.now_ns()
    held_up = threading.Event()
    held_up.wait(0.05)  # the executor is busy elsewhere
    bed.until(lambda: "receive" in node.core.names())
    arrival = next(call[3] for call in node.core.calls if call[0] == "receive")
    assert before <= arrival < between + 50_000_000
    tick = [call[2] for call in node.core.calls if call[0] == "tick"]
    assert tick == sorted(tick)


def test_a_fault_with_one_message_is_counted_and_the_node_goes_on(bed, make, probe_class):
    node = make()
    health = bed.collect(DiagnosticArray, "/diagnostics")
    received = bed.collect(GestureMessage, "gesture")
    bring_up(node)
    probe_class.fail_in = "receive"
    node.submit("receive", "spikes", SpikeTensor(sequence=1), 5)
    probe_class.fail_in = ""
    node.submit("receive", "spikes", SpikeTensor(sequence=2), 6)
    bed.until(lambda: 2 in [message.sequence for message in received])
    node.publish_diagnostics()
    shell = bed.until(lambda: [s for m in health for s in m.status if s.name == "probe: shell" and s.level == b"\2"])
    values = {item.key: item.value for item in shell[-1].values}
    assert values["core_errors"] == "1"
    assert "broken on purpose" in shell[-1].message


def test_an_output_that_was_never_announced_is_counted(make):
    node = make()
    bring_up(node)
    node.publish([Output("nowhere", Gesture())])
    assert node._failures.counters["unknown_topics"] == 1


def test_a_full_queue_drops_the_oldest_and_says_so(bed, make):
    node = make(threaded=True, queue_limit=3)
    assert node.trigger_configure() == SUCCESS  # inactive: no ticks in the queue
    node.core.gate = threading.Event()
    node.submit("receive", "spikes", SpikeTensor(sequence=0), 0)
    bed.until(lambda: node._driver.queue_depth == 0)
    for number in range(1, 8):
        node.submit("receive", "spikes", SpikeTensor(sequence=number), number)
    assert node._driver.dropped == {"receive spikes": 4}
    node.core.gate.set()
    node.call(lambda: None).result(5)
    kept = [call[2] for call in node.core.calls if call[0] == "receive"]
    assert kept == [0, 5, 6, 7]
    health = bed.collect(DiagnosticArray, "/diagnostics")
    shell = bed.until(lambda: [s for m in health for s in m.status if s.name == "probe: shell" and s.level == b"\1"])
    assert shell[0].message == "4 dropped from the queue"


class Choosy(LifecycleShell):
    """Drops the newest."""

    def overflow(self, waiting, new):
        return new


def test_a_node_may_choose_what_to_drop(bed, make):
    node = make(cls=Choosy, threaded=True, queue_limit=2)
    assert node.trigger_configure() == SUCCESS  # inactive: no ticks in the queue
    node.core.gate = threading.Event()
    node.submit("receive", "spikes", SpikeTensor(sequence=0), 0)
    bed.until(lambda: node._driver.queue_depth == 0)
    accepted = [node.submit("receive", "spikes", SpikeTensor(sequence=n), n) for n in range(1, 5)]
    node.core.gate.set()
    assert accepted == [True, True, False, False]


class Sourced(LifecycleShell):
    """Reads a source in a thread."""

    def run(self, stop_event):
        self.invoke("receive", "spikes", SpikeTensor(sequence=77), 0)
        stop_event.wait()
        if type(self.core).fail_in == "run":
            raise RuntimeError("source broke")


@pytest.mark.parametrize("threaded", [False, True])
def test_a_source_thread_runs_while_active(bed, make, threaded):
    node = make(cls=Sourced, threaded=threaded)
    for count in (1, 2):
        assert (node.trigger_configure() if count == 1 else SUCCESS) == SUCCESS
        assert node.trigger_activate() == SUCCESS
        bed.until(lambda count=count: node.core.names().count("receive") == count)
        assert node.trigger_deactivate() == SUCCESS
        assert not any("source" in thread.name for thread in threading.enumerate())


def test_a_call_runs_where_core_calls_run(make):
    node = make(threaded=True)
    with pytest.raises(NeuroRosError, match="not configured"):
        node.call(lambda: None)
    bring_up(node)
    assert node.call(lambda: threading.current_thread().name).result(5) == "probe.worker"
    with pytest.raises(ZeroDivisionError):
        node.call(lambda: 1 // 0).result(5)
    assert not make(threaded=False).submit("tick", "fast", 0)


# --- heartbeat, diagnostics, clock ------------------------------------------------------------------------------------
def test_heartbeats_from_configured_on(bed, make):
    node = make()
    beats = bed.collect(State, "probe/heartbeat", qos.heartbeat_subscription())
    bed.spin()
    assert beats == []
    node.trigger_configure()
    bed.until(lambda: [beat.id for beat in beats[-1:]] == [INACTIVE])
    node.trigger_activate()
    bed.until(lambda: beats[-1].id == ACTIVE)
    node.trigger_deactivate()
    bed.until(lambda: beats[-1].id == INACTIVE)
    node.trigger_cleanup()
    count = bed.tester.count_publishers(f"{bed.namespace}/probe/heartbeat")
    bed.until(lambda: bed.tester.count_publishers(f"{bed.namespace}/probe/heartbeat") == 0)
    assert count in (0, 1)


def test_diagnostics_in_every_state(bed, make):
    node = make()
    health = bed.collect(DiagnosticArray, "/diagnostics")

    def shown(name):
        return [s for message in health for s in message.status if s.name == f"probe: {name}"]

    bed.until(lambda: [s.message for s in shown("shell")] and shown("shell")[-1].message == "unconfigured")
    node.trigger_configure()
    node.publish_diagnostics()
    node.publish_diagnostics()
    bed.until(lambda: shown("probe") and shown("shell")[-1].message == "inactive")
    node.trigger_activate()
    bed.until(lambda: shown("shell")[-1].message == "active")
    assert shown("probe")[-1].level == b"\0"
    assert shown("probe")[-1].hardware_id == f"{bed.namespace}/probe".lstrip("/")
    node.trigger_shutdown()
    bed.until(lambda: shown("shell")[-1].message == "finalized")


def test_simulated_time_drives_the_core(bed, make):
    node = make({"use_sim_time": True})
    clock = bed.tester.create_publisher(ClockMessage, "/clock", 10)
    bring_up(node)
    assert next(call[1] for call in node.core.calls if call[0] == "activate") == 0
    bed.spin()
    assert not any(call[0] == "tick" for call in node.core.calls)
    bed.until(lambda: clock.get_subscription_count() >= 1)

    def advance(seconds):
        clock.publish(ClockMessage(clock=Time(sec=seconds)))
        return node.now_ns() == seconds * 10**9

    bed.until(lambda: advance(100))
    bed.until(lambda: advance(101) and any(call[0] == "tick" for call in node.core.calls))
    assert all(call[2] % 10**9 == 0 for call in node.core.calls if call[0] == "tick")
    assert node.get_clock().clock_type == ClockType.ROS_TIME
    node.submit("receive", "spikes", SpikeTensor(), node._arrival_ns({"received_timestamp": 123}))
    assert node.core.calls[-1][3] == 101 * 10**9


# --- parameters -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"rtae": 1.0}, "unknown parameter rtae"),
        ({"group.gian": 1.0}, "unknown parameter group.gian"),
        ({"rate": 11.0}, r"rate: 11.0 is outside \[0, 10\] Hz"),
        ({"rate": math.nan}, "rate: nan is outside"),
        ({"rate": "1"}, "rate: '1' is a str"),
        ({"count": 2.0}, "count: 2.0 is a float"),
        ({"count": 6}, "count: 6 is outside"),
        ({"mode": "c"}, "mode: 'c' is not one of a, b"),
        ({"rate": 5.0, "limit": 4.0}, "rate 5 is above limit 4"),
        ({"group.gain": -1.0}, "group.gain: -1.0 is outside"),
    ],
)
def test_a_bad_override_ends_the_start_and_is_named(bed, overrides, text):
    with pytest.raises(ParameterError, match=text):
        bed.make(LifecycleShell, "probe", Probe, ProbeParameters, parameters=overrides)


def test_overrides_reach_the_core(make):
    node = make({"rate": 2, "count": 4, "names": ["x", "y"], "group.gain": 0.25})  # 2 stands for 2.0
    assert node.trigger_configure() == SUCCESS
    found = node.core.parameters
    assert (found.rate, found.count, tuple(found.names), found.group.gain) == (2.0, 4, ("x", "y"), 0.25)
    assert node.get_parameter("rate").value == 2.0


def set_parameters(bed, atomically=False, **values):
    parameters = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
    if atomically:
        request = SetParametersAtomically.Request(parameters=parameters)
        return [bed.call(SetParametersAtomically, "probe/set_parameters_atomically", request).result]
    return bed.call(SetParameters, "probe/set_parameters", SetParameters.Request(parameters=parameters)).results


@pytest.mark.parametrize("threaded", [False, True])
def test_dynamic_parameters_reach_the_core(bed, make, threaded):
    node = make(threaded=threaded)
    bring_up(node)
    (result,) = set_parameters(bed, rate=3.0)
    assert result.successful
    (result,) = set_parameters(bed, group__gain=0.75)
    assert result.successful
    bed.until(lambda: node.core.names().count("reconfigure") == 2)
    assert (node.core.parameters.rate, node.core.parameters.group.gain) == (3.0, 0.75)
    assert node.parameters == node.core.parameters
    set_parameters(bed, rate=3.0)  # no change, no call
    assert node.core.names().count("reconfigure") == 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rate": 11.0}, "rate"),
        ({"rate": math.nan}, "nan"),
        ({"rate": "fast"}, "type"),
        ({"mode": "c"}, "not one of a, b"),
        ({"limit": 0.5}, "rate 1 is above limit 0.5"),
        ({"count": 4}, "only while the node is unconfigured"),
        ({"names": ["z"]}, "only while the node is unconfigured"),
        ({"nonsense": 1}, "undeclared"),
    ],
)
def test_a_refused_change_says_why_and_changes_nothing(bed, make, values, reason):
    node = make()
    bring_up(node)
    before = node.parameters
    (result,) = set_parameters(bed, **values)
    assert not result.successful
    assert reason in result.reason
    assert node.parameters == before
    assert "reconfigure" not in node.core.names()
    for name in values:
        if node.has_parameter(name):
            assert node.get_parameter(name).value == getattr(before, name) or name == "names"


def test_changes_together_are_judged_together(bed, make):
    node = make()
    bring_up(node)
    (result,) = set_parameters(bed, atomically=True, rate=2.0, limit=1.0)
    assert not result.successful
    (result,) = set_parameters(bed, atomically=True, limit=2.0, rate=2.0)
    assert result.successful
    assert node.core.names().count("reconfigure") == 1


def test_what_is_not_dynamic_changes_while_unconfigured(bed, make):
    node = make()
    (result,) = set_parameters(bed, count=5)
    assert result.successful
    assert node.trigger_configure() == SUCCESS
    assert node.core.parameters.count == 5
    assert not set_parameters(bed, count=4)[0].successful
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameters(bed, count=4)[0].successful


def test_descriptors_tell_ranges_choices_and_units(bed, make):
    make()
    request = DescribeParameters.Request(names=["rate", "count", "mode", "limit"])
    rate, count, mode, limit = bed.call(DescribeParameters, "probe/describe_parameters", request).descriptors
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 10.0)
    assert "[Hz]" in rate.description
    assert "dynamic" in rate.additional_constraints
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 5)
    assert "unconfigured" in count.additional_constraints
    assert "one of: a, b" in mode.additional_constraints
    assert limit.floating_point_range[0].to_value > 1e308
