# SPDX-License-Identifier: Apache-2.0
"""The lifecycle shell, around a core that only writes down what is done to it."""

import contextlib
import gc
import threading
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_probe import ACTIVE, ERROR, FAILURE, FINALIZED, INACTIVE, SUCCESS, UNCONFIGURED, bring_up
from rclpy.clock import ClockType
from rosgraph_msgs.msg import Clock as ClockMessage

from neuro_ros.cores.core import Output
from neuro_ros.cores.messages import Gesture, SpikeTensor
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.errors import NeuroRosError
from neuro_ros.msg import Gesture as GestureMessage
from neuro_ros.msg import SpikeTensor as SpikeTensorMessage
from neuro_ros.nodes import qos
from neuro_ros.nodes.lifecycle import LifecycleShell

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
def test_every_transition_id_by_service_from_every_state(bed, make_probe, state):
    node = None
    for transition in EVERY_ID:
        if node is None:
            node = make_probe()
            for way in WAYS[state]:
                assert bed.change_state("probe", way)
        goal = GOALS.get((state, transition))
        assert bed.change_state("probe", transition) == (goal is not None), transition
        assert bed.state("probe") == (state if goal is None else goal)
        if goal is not None:
            bed.remove(node)
            node = None


def test_transitions_by_label(bed, make_probe):
    make_probe()
    assert not bed.change_state("probe", label="activate")
    assert not bed.change_state("probe", label="nonsense")
    assert not bed.change_state("probe", Transition.TRANSITION_CONFIGURE, label="transition_success")
    assert bed.change_state("probe", 99, label="configure")  # the label counts where there is one
    assert bed.change_state("probe", label="shutdown")
    assert bed.state("probe") == FINALIZED


@pytest.mark.parametrize("threaded", [False, True])
def test_every_transition_twice(make_probe, threaded):
    node = make_probe(threaded=threaded)
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


def test_shutdown_while_active_lets_the_core_say_its_last_words(bed, make_probe):
    said = bed.collect(GestureMessage, "gesture")
    node = make_probe()
    assert node.trigger_configure() == SUCCESS
    bed.until(lambda: node.subscription_count("gesture") == 1)
    assert node.trigger_activate() == SUCCESS
    core = node.core
    assert node.trigger_shutdown() == SUCCESS
    bed.until(lambda: [message.label for message in said] == ["hello", "goodbye"])
    assert core.names() == ["configure", "activate", "deactivate", "close"]


def test_nothing_is_left_after_cleanup(make_probe):
    node = make_probe(threaded=True)
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


def _middleware_threads():
    """Names of the threads in which Fast DDS keeps the times of its participants, one each."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # ended meanwhile
            names.append((task / "comm").read_text().strip())
    return [name for name in names if name.startswith("dds.ev")]


@pytest.mark.parametrize("parameters", [{}, {"no_such": 1}], ids=["made", "refused"])
def test_a_destroyed_node_takes_its_participant_along(bed, make_probe, probe_class, parameters):
    """Left to Python's search for garbage, it would end in any thread, beside the nodes that came after."""
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ParameterError):
            bring_up(make_probe(parameters, threaded=True))
        assert _middleware_threads(), "a participant has threads"
        bed.close()
        assert _middleware_threads() == []
    finally:
        gc.enable()


def test_a_missing_thing_at_configure_is_one_line_and_the_node_stays(make_probe, probe_class, capfd):
    node = make_probe()
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
    make_probe, probe_class, capfd, call, before, threaded
):
    node = make_probe(threaded=threaded)
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


def test_a_refused_activation_stays_inactive_and_silent(bed, make_probe, probe_class):
    node = make_probe()
    assert node.trigger_configure() == SUCCESS
    probe_class.fail_in, probe_class.fail_with = "activate", NeuroRosError("no camera")
    assert node.trigger_activate() == FAILURE
    assert node.state_id == INACTIVE
    assert list(node._core_timers) == []
    assert [s.topic for s in node.subscriptions if s.topic.endswith("spikes")] == []
    probe_class.fail_in = ""
    assert node.trigger_activate() == SUCCESS


def test_a_fault_at_close_does_not_stop_the_release(make_probe, probe_class):
    node = make_probe()
    bring_up(node)
    probe_class.fail_in = "close"
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    probe_class.fail_in = ""
    bring_up(node)


# --- messages, timers, threads ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("threaded", [False, True])
def test_messages_flow_only_while_active(bed, make_probe, threaded):
    node = make_probe(threaded=threaded)
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


def test_ticks_and_arrivals_carry_the_time_of_the_middleware(bed, make_probe):
    node = make_probe()
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


def test_a_fault_with_one_message_is_counted_and_the_node_goes_on(bed, make_probe, probe_class):
    node = make_probe()
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


def test_an_output_that_was_never_announced_is_counted(make_probe):
    node = make_probe()
    bring_up(node)
    node.publish([Output("nowhere", Gesture())])
    assert node._failures.counters["unknown_topics"] == 1


def test_a_full_queue_drops_the_oldest_and_says_so(bed, make_probe):
    node = make_probe(threaded=True, queue_limit=3)
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


def test_a_node_may_choose_what_to_drop(bed, make_probe):
    node = make_probe(cls=Choosy, threaded=True, queue_limit=2)
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
def test_a_source_thread_runs_while_active(bed, make_probe, threaded):
    node = make_probe(cls=Sourced, threaded=threaded)
    for count in (1, 2):
        assert (node.trigger_configure() if count == 1 else SUCCESS) == SUCCESS
        assert node.trigger_activate() == SUCCESS
        bed.until(lambda count=count: node.core.names().count("receive") == count)
        assert node.trigger_deactivate() == SUCCESS
        assert not any("source" in thread.name for thread in threading.enumerate())


def test_a_call_runs_where_core_calls_run(make_probe):
    node = make_probe(threaded=True)
    with pytest.raises(NeuroRosError, match="not configured"):
        node.call(lambda: None)
    bring_up(node)
    assert node.call(lambda: threading.current_thread().name).result(5) == "probe.worker"
    with pytest.raises(ZeroDivisionError):
        node.call(lambda: 1 // 0).result(5)
    assert not make_probe(threaded=False).submit("tick", "fast", 0)


# --- heartbeat, diagnostics, clock ------------------------------------------------------------------------------------
def test_heartbeats_from_configured_on(bed, make_probe):
    node = make_probe()
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


def test_diagnostics_in_every_state(bed, make_probe):
    node = make_probe()
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


def test_simulated_time_drives_the_core(bed, make_probe):
    node = make_probe({"use_sim_time": True})
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
