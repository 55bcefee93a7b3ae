# SPDX-License-Identifier: Apache-2.0
"""Heat puts the graph into standby through the lifecycle manager, and cold ends it; what a person asks for stands."""

import pytest
from lifecycle_msgs.msg import State
from sensor_msgs.msg import Temperature

from neuro_ros.msg import ThermalCompensation
from neuro_ros.nodes import qos
from neuro_ros.nodes.clock_sync import ClockSyncNode
from neuro_ros.nodes.lifecycle_manager import LifecycleManagerNode
from neuro_ros.nodes.thermal_compensation import ThermalCompensationNode
from neuro_ros.srv import ManageGraph

INACTIVE, ACTIVE = State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE


class Graph:
    """A manager over clock_sync, which stands for everything that makes load, and thermal_compensation."""

    def __init__(self, bed):
        self.bed = bed
        quick = {"watch.filter_tau_s": 0.0, "plausibility.max_rate_celsius_per_s": 1e6}
        self.thermal = bed.make(ThermalCompensationNode, parameters={"sensor": "topic", **quick})
        self.load = bed.make(ClockSyncNode)
        names = ["thermal_compensation", "clock_sync"]
        bed.make(LifecycleManagerNode, parameters={"node_names": names, "depends_on": [""]})
        self.publisher = bed.tester.create_publisher(Temperature, "temperature", qos.publisher_qos("temperature"))
        self.said = bed.collect(ThermalCompensation, "thermal/compensation")
        self.states(ACTIVE, ACTIVE)
        bed.until(lambda: self.publisher.get_subscription_count() == 1)

    def states(self, thermal, load):
        self.bed.until(
            lambda: (self.thermal.state_id, self.load.state_id) == (thermal, load), 20.0, f"states {thermal}, {load}"
        )

    def heat(self, celsius, level):
        message = Temperature(temperature=celsius)
        message.header.frame_id = "die"

        def reached():
            self.publisher.publish(message)
            return self.said and self.said[-1].throttle_level == level

        self.bed.until(reached, what=f"throttle level {level}")

    def command(self, command):
        request = ManageGraph.Request(command=command)
        return self.bed.call(ManageGraph, "lifecycle_manager/manage_graph", request, 20.0)


@pytest.fixture
def graph(bed):
    return Graph(bed)


def test_heat_puts_the_graph_into_standby_and_cold_ends_it(graph):
    graph.heat(40.0, 0)
    graph.heat(88.0, 1)
    graph.bed.spin()
    graph.states(ACTIVE, ACTIVE)
    graph.heat(97.0, 2)
    graph.states(ACTIVE, INACTIVE)
    graph.bed.until(lambda: "was put into standby" in graph.thermal.extra_health()[0].message)
    graph.heat(40.0, 0)
    graph.states(ACTIVE, ACTIVE)
    graph.bed.until(lambda: graph.thermal.extra_health()[0].message == "not needed")


def test_what_a_person_asks_for_is_not_undone(graph):
    graph.heat(97.0, 2)
    graph.states(ACTIVE, INACTIVE)
    assert graph.command(ManageGraph.Request.PAUSE).success
    graph.states(INACTIVE, INACTIVE)
    answer = graph.command(ManageGraph.Request.STANDBY)
    assert not answer.success
    assert "pause was asked for" in answer.message
    assert graph.command(ManageGraph.Request.WAKE).success, "nothing to be done is no failure"
    graph.bed.spin()
    graph.states(INACTIVE, INACTIVE)


def test_a_person_who_resumes_a_hot_graph_is_not_overruled(graph):
    graph.heat(97.0, 2)
    graph.states(ACTIVE, INACTIVE)
    graph.bed.until(lambda: "was put into standby" in graph.thermal.extra_health()[0].message)
    assert graph.command(ManageGraph.Request.RESUME).success
    graph.states(ACTIVE, ACTIVE)
    for _ in range(5):
        graph.heat(97.0, 2)
        graph.bed.spin()
    graph.states(ACTIVE, ACTIVE)
