# SPDX-License-Identifier: Apache-2.0
"""clock_sync nodes that talk to each other over real DDS, in one process: roles, hand-over, times of departure."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rclpy.clock import ClockType
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from neuro_ros.cores import messages as cores_messages
from neuro_ros.cores.core import HealthLevel, Output
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.msg import ClockModel, PtpMessage
from neuro_ros.nodes import qos
from neuro_ros.nodes.clock_sync import ClockSyncNode
from neuro_ros.nodes.host_watch import HostClockWatch, clock_identity, port_identity
from neuro_ros.timesync.exchange import identity_fault

SUCCESS = TransitionCallbackReturn.SUCCESS
#: Quicker than usual, so that an election takes no seconds; all nodes share one thread, so that their stamps scatter.
QUICK = {
    "ptp.sync_interval_s": 0.05,
    "ptp.delay_req_interval_s": 0.05,
    "ptp.announce_interval_s": 0.2,
    "ptp.lock_sigma_s": 0.002,
}


class ShiftedNode(ClockSyncNode):
    """clock_sync on a host whose clock is ahead of the kernel's."""

    def __init__(self, *, shift_ns, **kwargs):
        self._shift_ns = shift_ns
        super().__init__(**kwargs)

    def now_ns(self):
        """Time of this host's clock."""
        return super().now_ns() + self._shift_ns

    def _arrival_ns(self, info):
        return super()._arrival_ns(info) + (self._shift_ns if info["received_timestamp"] > 0 else 0)


@pytest.fixture
def make(bed):
    def make_node(name, role, shift_ns=0, **parameters):
        values = {**QUICK, "ptp.role": role, "ptp.identity": f"{name}-1", **parameters}
        node = bed.make(
            ShiftedNode, shift_ns=shift_ns, parameters=values, cli_args=["--ros-args", "-r", f"__node:={name}"]
        )
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        return node

    return make_node


def port(node):
    return node.core._ptp.port


def test_a_follower_finds_the_offset_to_the_grandmaster(bed, make):
    models = bed.collect(ClockModel, "clock/model", qos.subscription_qos("clock/model"))
    frames = bed.collect(PtpMessage, "ptp", qos.subscription_qos("ptp"))
    make("gm", "grandmaster")
    follower = make("follower", "follower", shift_ns=3_000_000_000)
    bed.until(lambda: models and models[-1].state == ClockModel.LOCKED, 30.0, "LOCKED")
    model = models[-1]
    assert (model.clock_id, model.header.frame_id) == ("gm", "gm")
    assert model.offset_ns == pytest.approx(3e9, abs=2e6)
    assert model.reference_host_ns - model.reference_sensor_ns == pytest.approx(3_000_000_000, abs=3_000_000)
    assert 0 < model.mean_path_delay_ns < 5e6
    assert {frame.type for frame in frames} == {0, 1, 2, 3, 4}
    # What a FOLLOW_UP and a DELAY_RESP say is a time of this hour, by the master's clock.
    for frame in frames:
        timed = frame.type in (PtpMessage.FOLLOW_UP, PtpMessage.DELAY_RESP)
        assert (abs(frame.timestamp_ns - time.time_ns()) < 60e9) == timed
    assert port(follower).session_counters.responses > 20


def test_with_the_role_off_the_topic_does_not_exist(bed):
    node = bed.make(ClockSyncNode)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bed.spin()
    topic = f"{bed.namespace}/ptp"
    assert bed.tester.count_publishers(topic) == bed.tester.count_subscribers(topic) == 0
    # The role is chosen before configure.
    results = node.set_parameters([Parameter("ptp.role", value="auto")])
    assert not results[0].successful
    for transition in (node.trigger_deactivate, node.trigger_cleanup):
        assert transition() == SUCCESS
    assert node.set_parameters([Parameter("ptp.role", value="auto")])[0].successful
    assert node.trigger_configure() == SUCCESS
    assert bed.tester.count_publishers(topic) == 1
    assert identity_fault(port(node).identity) == ""
    assert node.trigger_activate() == SUCCESS
    bed.until(lambda: bed.tester.count_subscribers(topic) == 1)
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert bed.tester.count_publishers(topic) == 0


def test_the_election_hands_over_when_the_master_is_shut_down(bed, make):
    models = bed.collect(ClockModel, "clock/model", qos.subscription_qos("clock/model"))
    first = make("first", "auto", **{"ptp.priority1": 1})
    second = make("second", "auto", shift_ns=10**9, **{"ptp.priority1": 2})
    third = make("third", "auto", shift_ns=2 * 10**9)

    def states():
        return [port(node).state.value for node in (first, second, third) if node.core is not None]

    bed.until(lambda: states() == ["master", "follower", "follower"], 15.0, "the first is master")
    bed.until(lambda: any(m.clock_id == "first" and m.state >= ClockModel.TRACKING for m in models), 15.0)
    assert bed.change_state("first", Transition.TRANSITION_ACTIVE_SHUTDOWN)
    bed.until(lambda: states() == ["master", "follower"], 15.0, "the second is master")
    bed.until(
        lambda: port(third).master and port(third).master.grandmaster_identity == "second", 15.0, "it is followed"
    )
    models.clear()
    bed.until(lambda: any(m.clock_id == "second" and m.state >= ClockModel.TRACKING for m in models), 15.0)
    found = [m for m in models if m.clock_id == "second" and m.state >= ClockModel.TRACKING][-1]
    assert found.offset_ns == pytest.approx(1e9, abs=3e6)


def test_diagnostics_tell_of_the_port_and_the_host(bed, make):
    arrays = bed.collect(DiagnosticArray, "/diagnostics")
    node = make("lonely", "follower")

    def status(name):
        node.publish_diagnostics()
        found = [s for array in arrays for s in array.status if s.name == f"lonely: {name}"]
        return found[-1] if found else None

    bed.until(lambda: status("ptp"))
    assert status("ptp").level == bytes([HealthLevel.WARN])
    assert "hears no master" in status("ptp").message
    assert {"identity", "rate_limited", "log_lines_suppressed"} <= {item.key for item in status("ptp").values}
    bed.until(lambda: status("host clock"))


def test_core_timers_go_by_a_clock_that_nobody_can_set(bed, make):
    node = make("any", "auto")
    assert {timer.clock.clock_type for timer in node._core_timers} == {ClockType.STEADY_TIME}
    simulated = bed.make(ClockSyncNode, parameters={"use_sim_time": True})
    assert simulated.trigger_configure() == SUCCESS
    assert simulated.trigger_activate() == SUCCESS
    assert {timer.clock.clock_type for timer in simulated._core_timers} == {ClockType.ROS_TIME}


def test_bad_settings_end_the_start(bed):
    for values, named in [
        ({"ptp.role": "slave"}, "ptp.role"),
        ({"ptp.identity": "a b"}, "ptp.identity"),
        ({"ptp.sync_interval_s": 0.01}, "peer_rate_hz"),
        ({"ptp.priority": 3}, "unknown parameter ptp.priority"),
    ]:
        with pytest.raises(ParameterError, match=named):
            bed.make(ClockSyncNode, parameters=values)


# -- the host ----------------------------------------------------------------------------------------------------------


def test_a_host_has_an_identity_and_its_ports_differ(tmp_path):
    assert identity_fault(clock_identity()) == ""
    ports = {port_identity() for _ in range(20)}
    assert len(ports) > 15
    assert {identity_fault(name) for name in ports} == {""}
    for name, address in [("lo", "00:00:00:00:00:00"), ("eth1", "02:42:ac:11:00:02"), ("wlan0", "dead")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(f"{address}\n")
    assert clock_identity(tmp_path) == "0242ac.fffe.110002"
    empty = tmp_path / "none"
    assert clock_identity(empty) != clock_identity(empty)
    assert identity_fault(clock_identity(empty)) == ""


@pytest.fixture
def tool(tmp_path):
    """Return a function that installs a program, and the function that finds it."""

    def install(name, body):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def find(name):
        return str(tmp_path / name) if (tmp_path / name).exists() else None

    return install, find


def test_what_chrony_and_linuxptp_say_is_shown_and_nobody_waits_for_it(tool, eventually):
    install, find = tool
    none = HostClockWatch(find)
    assert [item.level for item in none.health()] == [HealthLevel.OK]
    assert "neither" in none.health()[0].message
    none.close()

    install("chronyc", "echo C0A80001,10.0.0.1,3,1.5,-0.000012345,0,0,-7.125,0,0.25,0.0008,0.0002,64.2,Normal")
    install("pmc", "sleep 30")
    before_s = time.monotonic()
    watch = HostClockWatch(find, timeout_s=0.2)
    watch.health()
    assert time.monotonic() - before_s < 0.2
    (health,) = eventually(
        lambda: [item for item in watch.health() if "no answer within" in str(item.values["linuxptp"])]
    )
    watch.close()
    watch.close()
    assert health.level == HealthLevel.OK
    assert health.message == "chrony synchronised, 12.3 us off"
    assert health.values["chrony source"] == "10.0.0.1"

    install("chronyc", "echo 506 Cannot talk to daemon; exit 1")
    install("pmc", "exit 1")
    watch = HostClockWatch(find)
    eventually(lambda: watch.health()[0].values["linuxptp"] == "not running")
    assert watch.health()[0].values["chrony"] == "not running"
    watch.close()

    install("chronyc", "echo 00000000,,0,0,0,0,0,0,0,0,1,1,0,Not synchronised")
    watch = HostClockWatch(find)
    eventually(lambda: watch.health()[0].level == HealthLevel.WARN)
    watch.close()


def test_a_tool_that_hangs_does_not_hold_up_the_end(tool):
    install, find = tool
    install("chronyc", "exec sleep 30")
    watch = HostClockWatch(find, timeout_s=20.0)
    before_s = time.monotonic()
    watch.close()
    assert time.monotonic() - before_s < 5.0


def test_masters_that_come_and_go_do_not_leave_their_publishers_behind(bed, make):
    node = make("follower", "follower", max_clocks=1)
    for number in range(30):
        node.publish([Output("clock/model", cores_messages.ClockModel(clock_id=f"clock{number}"))])
    assert bed.tester.count_publishers(f"{bed.namespace}/clock/model") <= 10
    assert len(node._outputs) <= 12
