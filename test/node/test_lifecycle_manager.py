# SPDX-License-Identifier: Apache-2.0
"""The lifecycle manager as a node, with real lifecycle nodes in the same executor."""

from dataclasses import dataclass

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State

from neuro_ros.cores.core import Core
from neuro_ros.cores.parameters import ParameterError, parameter
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.lifecycle_manager import LifecycleManagerNode
from neuro_ros.srv import ManageGraph

ACTIVE, INACTIVE = State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE
UNCONFIGURED, FINALIZED = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_FINALIZED
GRAPH = {"node_names": ["a", "b", "c", "x"], "depends_on": ["b:a", "c:b"], "query_timeout_s": 0.2, "lease_s": 1.0}


@dataclass(frozen=True)
class NoParameters:
    unused: int = parameter(0, "nothing")


class Quiet(Core):
    """Does nothing, so that only the states count."""

    def __init__(self, parameters, clocks):
        pass


class Graph:
    def __init__(self, bed, names="abcx", **parameters):
        self.bed = bed
        self.nodes = {}
        for name in names:
            self.start(name)
        self.manager = bed.make(LifecycleManagerNode, parameters={**GRAPH, **parameters})

    def start(self, name):
        self.nodes[name] = self.bed.make(LifecycleShell, name, Quiet, NoParameters)

    def kill(self, name):
        self.bed.remove(self.nodes.pop(name))

    def states(self):
        return {name: node.state_id for name, node in self.nodes.items()}

    def until(self, state, names="abcx", timeout_s=10.0):
        self.bed.until(
            lambda: all(self.states().get(name) == state for name in names), timeout_s, f"{names} in {state}"
        )

    def command(self, number):
        request = ManageGraph.Request(command=number)
        return self.bed.call(ManageGraph, "lifecycle_manager/manage_graph", request)


def test_autostart_and_every_command(bed):
    graph = Graph(bed)
    graph.until(ACTIVE)
    for number, state in [
        (ManageGraph.Request.PAUSE, INACTIVE),
        (ManageGraph.Request.RESUME, ACTIVE),
        (ManageGraph.Request.RESET, UNCONFIGURED),
        (ManageGraph.Request.STARTUP, ACTIVE),
        (ManageGraph.Request.STARTUP, ACTIVE),
        (ManageGraph.Request.SHUTDOWN, FINALIZED),
    ]:
        answer = graph.command(number)
        assert (answer.success, answer.message) == (True, "")
        assert set(graph.states().values()) == {state}
    answer = graph.command(ManageGraph.Request.STARTUP)
    assert not answer.success
    assert "a: is finalized; only a new process can come up" in answer.message
    assert not graph.command(200).success


def test_without_autostart_it_waits_for_the_service(bed):
    graph = Graph(bed, autostart=False)
    bed.spin()
    assert set(graph.states().values()) == {UNCONFIGURED}
    assert graph.command(ManageGraph.Request.STARTUP).success
    assert set(graph.states().values()) == {ACTIVE}


def test_a_missing_node_is_reported_and_the_rest_comes_up(bed):
    graph = Graph(bed, names="acx", missing_timeout_s=0.5, autostart=False)
    health = bed.collect(DiagnosticArray, "/diagnostics")
    answer = graph.command(ManageGraph.Request.STARTUP)
    assert not answer.success
    assert answer.message == "b: is missing; c: waits for b"
    assert graph.states() == {"a": ACTIVE, "c": UNCONFIGURED, "x": ACTIVE}

    def level(name):
        found = [s for m in health for s in m.status if s.name == f"lifecycle_manager: {name}"]
        return found[-1].level if found else None

    bed.until(lambda: level("b") == b"\2" and level("a") == b"\0" and level("graph") == b"\2")
    graph.start("b")
    graph.until(ACTIVE)
    bed.until(lambda: level("graph") == b"\0")


def test_a_node_that_vanishes_takes_only_its_dependents_down(bed):
    graph = Graph(bed)
    graph.until(ACTIVE)
    graph.kill("b")
    bed.until(lambda: graph.states() == {"a": ACTIVE, "c": INACTIVE, "x": ACTIVE})
    graph.start("b")
    graph.until(ACTIVE)


def test_two_commands_at_once_are_both_answered(bed):
    graph = Graph(bed, names="ax", autostart=False, missing_timeout_s=60.0)
    client = bed.tester.create_client(ManageGraph, "lifecycle_manager/manage_graph")
    bed.until(client.service_is_ready)
    first = client.call_async(ManageGraph.Request(command=ManageGraph.Request.STARTUP))
    bed.until(lambda: graph.states()["a"] == ACTIVE)  # b is missing: the command cannot settle
    assert not first.done()
    second = client.call_async(ManageGraph.Request(command=ManageGraph.Request.PAUSE))
    bed.until(lambda: first.done() and second.done())
    assert (first.result().success, first.result().message) == (False, "superseded by pause")
    assert second.result().message == "b: is missing; c: is missing"
    assert graph.states()["a"] == INACTIVE


def test_the_end_brings_the_graph_down(bed):
    graph = Graph(bed)
    graph.until(ACTIVE)
    graph.manager.stop_requested()
    bed.until(lambda: graph.manager.exit_code is not None)
    assert graph.manager.exit_code == 0
    assert set(graph.states().values()) == {UNCONFIGURED}


def test_the_end_takes_its_limit_at_most(bed):
    graph = Graph(bed, names="a", shutdown_timeout_s=0.3, missing_timeout_s=60.0)
    graph.until(ACTIVE, "a")
    graph.manager.stop_requested()
    bed.until(lambda: graph.manager.exit_code is not None, timeout_s=1.5)
    assert graph.manager.exit_code == 0
    assert graph.states() == {"a": UNCONFIGURED}


@pytest.mark.parametrize("parameters", [{"depends_on": ["b:nobody"]}, {"lease": 1.0}, {"retry_s": float("nan")}])
def test_bad_parameters_end_the_start(bed, parameters):
    with pytest.raises(ParameterError):
        bed.make(LifecycleManagerNode, parameters={**GRAPH, **parameters})
