# SPDX-License-Identifier: Apache-2.0
"""What the progress line says while the graph comes up, from the real health of the manager's logic."""

from neuro_ros.bringup.coming_up import ComingUp
from neuro_ros.cores.lifecycle_manager import LifecycleManagerCore, Transition
from neuro_ros.cores.parameters.lifecycle_manager import LifecycleManagerParameters

S = 1_000_000_000


class Graph:
    """The manager's logic with two nodes, and what listens to its diagnostics."""

    def __init__(self):
        parameters = LifecycleManagerParameters(
            node_names=("camera", "network"), depends_on=("network:camera",), standby_keeps=()
        )
        self.core = LifecycleManagerCore(parameters, 0)
        self.now_ns = 0
        self.coming_up = ComingUp("manager")

    def line(self):
        for health in self.core.health(self.now_ns):
            values = {key: str(value) for key, value in health.values.items()}
            self.coming_up.take(f"manager: {health.name}", health.message, values)
        return self.coming_up.text()

    def step(self, **answers):
        """Let the manager ask, and answer for the nodes named: a state number, or True for a transition done."""
        self.now_ns += S // 20
        for request in self.core.tick(self.now_ns):
            answer = answers.get(request.node)
            if request.transition is Transition.QUERY and type(answer) is int:
                self.core.answered(request.ticket, self.now_ns, state_id=answer)
            elif request.transition is not Transition.QUERY and answer is True:
                self.core.answered(request.ticket, self.now_ns, success=True)


def test_the_line_tells_what_is_waited_for_until_windows_come():
    graph = Graph()
    assert graph.coming_up.text() == "waiting for manager to start"
    assert graph.line() == "waiting for camera, network to start"
    graph.step(camera=1, network=1)
    graph.step()
    configuring = "waiting for camera to configure (the first run compiles, about a minute)"
    assert graph.line() == configuring
    graph.now_ns += 200 * S  # beyond every time limit: it is still what is waited for
    graph.core.tick(graph.now_ns)
    assert graph.line() == configuring


def test_once_all_are_active_the_ones_who_wait_for_listeners_are_told():
    coming_up = ComingUp("manager")
    coming_up.take("manager: camera", "active", {"state": "active", "asked": "", "depends_on": ""})
    assert coming_up.text() == ""
    coming_up.take("camera: player", "waiting for 2 subscribers of spikes, 1 there", {})
    coming_up.take("network: listeners", "waiting for 1 subscribers of gesture, 0 there", {})
    assert coming_up.text() == (
        "camera: waiting for 2 subscribers of spikes, 1 there; network: waiting for 1 subscribers of gesture, 0 there"
    )
    coming_up.take("camera: player", "playing", {})
    coming_up.take("network: listeners", "1 subscribers of gesture", {})
    assert coming_up.text() == ""


def test_other_diagnostics_are_let_go():
    coming_up = ComingUp("manager")
    coming_up.take("somebody: else", "waiting for godot", {"state": "unknown"})
    assert coming_up.text() == "waiting for manager to start"
