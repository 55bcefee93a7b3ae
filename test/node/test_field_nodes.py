# SPDX-License-Identifier: Apache-2.0
"""clock_sync, thermal_compensation and canary as nodes in process: transitions, parameters, topics, latching."""

import math

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Temperature

from neuro_ros.cores.parameters import ParameterError
from neuro_ros.msg import CanaryReport, ClockModel, ClockSample, Gesture, SnnTelemetry, ThermalCompensation
from neuro_ros.nodes import qos
from neuro_ros.nodes.canary import CanaryNode
from neuro_ros.nodes.clock_sync import ClockSyncNode
from neuro_ros.nodes.thermal_compensation import ThermalCompensationNode

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
S = 1_000_000_000
UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)
NODES = {
    "clock_sync": (ClockSyncNode, {}),
    "thermal_compensation": (ThermalCompensationNode, {"sensor": "simulated", "read_period_s": 0.02}),
    "canary": (CanaryNode, {"report_period_s": 0.05}),
}
#: Transition id to the states in which it is possible, and the state it leads to.
POSSIBLE = {
    Transition.TRANSITION_CONFIGURE: ({UNCONFIGURED}, INACTIVE),
    Transition.TRANSITION_CLEANUP: ({INACTIVE}, UNCONFIGURED),
    Transition.TRANSITION_ACTIVATE: ({INACTIVE}, ACTIVE),
    Transition.TRANSITION_DEACTIVATE: ({ACTIVE}, INACTIVE),
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: ({UNCONFIGURED}, FINALIZED),
    Transition.TRANSITION_INACTIVE_SHUTDOWN: ({INACTIVE}, FINALIZED),
    Transition.TRANSITION_ACTIVE_SHUTDOWN: ({ACTIVE}, FINALIZED),
}
WAYS = {
    UNCONFIGURED: (),
    INACTIVE: (Transition.TRANSITION_CONFIGURE,),
    ACTIVE: (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
}


@pytest.fixture
def make(bed):
    def make_node(name, **parameters):
        cls, defaults = NODES[name]
        return bed.make(cls, parameters={**defaults, **parameters})

    return make_node


def bring_up(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


# --- transitions ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NODES)
def test_every_transition_twice(make, name):
    node = make(name)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert node.core is not None
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert node.core is None
        assert not list(node.subscriptions)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert node.core is None


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("state", WAYS, ids=["unconfigured", "inactive", "active"])
def test_every_transition_by_service_from_every_state(bed, make, name, state):
    for transition, (states, target) in POSSIBLE.items():
        node = make(name)
        for step in WAYS[state]:
            assert bed.change_state(name, step)
        assert bed.change_state(name, transition) is (state in states)
        assert bed.state(name) == (target if state in states else state)
        bed.remove(node)
        bed._clients.clear()


# --- parameters -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("clock_sync", {"window": 3.0}, "unknown parameter window"),
        ("clock_sync", {"window_s": math.nan}, "window_s"),
        ("clock_sync", {"capacity": 20}, "capacity"),
        ("thermal_compensation", {"sensor": "thermometer"}, "thermometer"),
        ("thermal_compensation", {"watch.stale_after_s": 100.0}, "stale_after_s"),
        ("canary", {"alarm.latency.p99_s": 0.0}, "p99_s"),
        ("canary", {"alarm.late": 1.0}, "unknown parameter"),
    ],
)
def test_a_bad_override_ends_the_start_and_is_named(make, name, values, named):
    with pytest.raises(ParameterError, match=named):
        make(name, **values)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("clock_sync", ("lock.sigma_s", 1e-4), ("lock.sigma_s", 0.5)),  # above holdover.limit_s
        ("thermal_compensation", ("watch.warn_celsius", 60.0), ("watch.warn_celsius", 400.0)),
        ("canary", ("alarm.windows_lost.windows", 3), ("alarm.windows_lost.windows", -1)),
    ],
)
def test_dynamic_parameters_apply_and_bad_ones_change_nothing(bed, make, name, good, bad):
    node = make(name)
    bring_up(node)

    def put(parameter, value):
        request = SetParameters.Request(parameters=[Parameter(parameter, value=value).to_parameter_msg()])
        (result,) = bed.call(SetParameters, f"{name}/set_parameters", request).results
        return result.successful

    assert put(*good)
    assert node.get_parameter(good[0]).value == good[1]
    before = node.parameters
    assert not put(*bad)
    assert node.parameters == before


def test_a_missing_sensor_fails_the_configure_in_one_line_and_the_fallback_helps(bed, make, tmp_path, capfd):
    node = make("thermal_compensation", sensor="auto", sysfs_root=str(tmp_path))
    assert node.trigger_configure() == FAILURE
    assert bed.state("thermal_compensation") == UNCONFIGURED
    assert "no temperature sensor: looked for class/thermal/thermal_zone*/temp" in capfd.readouterr().err
    node.set_parameters([Parameter("sensor_fallback", value="simulated")])
    assert node.trigger_configure() == SUCCESS


# --- topics -----------------------------------------------------------------------------------------------------------
def sample(clock_id, index, skew=0.0):
    message = ClockSample(clock_id=clock_id, sensor_ns=index * S // 10, sequence=index)
    message.host_arrival_ns = 1_700_000_000 * S + round(index * S // 10 * (1 + skew))
    message.header.frame_id = f"{clock_id}_optical"
    return message


def test_models_of_several_clocks_are_each_latched(bed, make):
    node = make("clock_sync", publish_period_s=0.001)
    bring_up(node)
    publisher = bed.tester.create_publisher(ClockSample, "clock/sample", qos.publisher_qos("clock/sample"))
    models = bed.collect(ClockModel, "clock/model")
    bed.until(lambda: publisher.get_subscription_count() == 1)
    for index in range(60):
        for clock_id in ("left", "right"):
            publisher.publish(sample(clock_id, index))
        bed.until(lambda wanted=index: sum(m.samples > wanted for m in models) >= 2, what=f"models of sample {index}")
    # A late joiner gets the last model of each clock.
    late = []
    bed.tester.create_subscription(ClockModel, "clock/model", late.append, qos.subscription_qos("clock/model"))
    bed.until(lambda: {m.clock_id for m in late} == {"left", "right"})
    assert {m.header.frame_id for m in late} == {"left_optical", "right_optical"}
    assert all(m.state in (ClockModel.TRACKING, ClockModel.LOCKED) for m in late)
    # The publishers of all clocks go with the core, and come again.
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert bed.tester.count_publishers(f"{bed.namespace}/clock/model") == 0
    bring_up(node)
    bed.until(lambda: publisher.get_subscription_count() == 1)
    models.clear()
    publisher.publish(sample("left", 61))
    bed.until(lambda: models)
    assert (models[0].state, models[0].samples) == (ClockModel.UNLOCKED, 1)


def test_temperature_and_compensation_flow_while_active_and_latch(bed, make):
    node = make("thermal_compensation", **{"simulated.start_celsius": 41.5})
    readings = bed.collect(Temperature, "temperature")
    bring_up(node)
    late = []
    topic = "thermal/compensation"
    bed.tester.create_subscription(ThermalCompensation, topic, late.append, qos.subscription_qos(topic))
    bed.until(lambda: readings and late and late[-1].state == ThermalCompensation.NOMINAL)
    assert readings[-1].temperature == 41.5
    assert (late[-1].source, late[-1].silicon_profile) == ("simulated/constant", "digital")
    assert (late[-1].compensation_id, list(late[-1].layer), list(late[-1].du)) == (0, [], [])
    assert late[-1].temperature_celsius == pytest.approx(41.5)
    assert node.trigger_deactivate() == SUCCESS
    bed.spin()
    count = len(readings)
    bed.spin()
    assert len(readings) == count


def test_temperature_may_come_by_topic(bed, make):
    node = make("thermal_compensation", sensor="topic")
    bring_up(node)
    publisher = bed.tester.create_publisher(Temperature, "temperature", qos.publisher_qos("temperature"))
    received = bed.collect(ThermalCompensation, "thermal/compensation")
    bed.until(lambda: publisher.get_subscription_count() == 1)
    assert bed.tester.count_publishers(f"{bed.namespace}/temperature") == 1  # ours alone
    message = Temperature(temperature=30.0)
    message.header.frame_id = "board"
    for count in range(1, 5):
        publisher.publish(message)
        bed.until(lambda wanted=count: sum(m.source == "board" for m in received) >= wanted)
    assert (received[-1].state, received[-1].temperature_celsius) == (ThermalCompensation.NOMINAL, 30.0)


def test_the_canary_hears_the_network_and_reports(bed, make):
    node = make("canary")
    bring_up(node)
    gestures = bed.tester.create_publisher(Gesture, "gesture", qos.publisher_qos("gesture"))
    telemetry = bed.tester.create_publisher(SnnTelemetry, "snn/telemetry", qos.publisher_qos("snn/telemetry"))
    reports = bed.collect(CanaryReport, "canary/report")
    bed.until(lambda: gestures.get_subscription_count() == telemetry.get_subscription_count() == 1)
    for index in range(10):
        gestures.publish(Gesture(sequence=index, class_index=1, spike_counts=[1, 3], latency_s=0.005))
    telemetry.publish(SnnTelemetry(model_id="m", layer=["conv"], firing_rate=[0.25], dead_neurons=[0], input_rate=0.1))
    bed.until(lambda: reports and reports[-1].windows == 10 and reports[-1].model_id == "m")
    report = reports[-1]
    assert (report.phase, list(report.alarms)) == (CanaryReport.BASELINE, [])
    assert (list(report.layer), list(report.observed_rate)) == (["conv"], [0.25])
    assert report.latency_p99_s == pytest.approx(0.005, rel=0.0101)  # a quantile of the sketch
    assert (report.decision_margin, report.decided_share) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("name", "status"), [("clock_sync", "clocks"), ("thermal_compensation", "temperature"), ("canary", "alarms")]
)
def test_diagnostics_are_published_in_every_state(bed, make, name, status):
    node = make(name)
    arrays = bed.collect(DiagnosticArray, "/diagnostics")

    def wait_for(text):
        arrays.clear()

        def seen():
            node.publish_diagnostics()
            found = [s for array in arrays for s in array.status if s.name.endswith(f"{name}: {status}")]
            return any(text in s.message for s in found)

        bed.until(seen, what=f"{text!r} on /diagnostics")

    assert node.trigger_configure() == SUCCESS
    wait_for("inactive")
    assert node.trigger_activate() == SUCCESS
    wait_for({"clock_sync": "no clock sample", "thermal_compensation": "Celsius", "canary": "none raised"}[name])
