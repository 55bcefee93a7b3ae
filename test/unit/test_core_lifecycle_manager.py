# SPDX-License-Identifier: Apache-2.0
"""The manager's rules, driven against a graph of pretended nodes on a pretended clock."""

import itertools

import pytest

from neuro_ros.bringup.graph import MANAGED
from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.lifecycle_manager import Command, LifecycleManagerCore, NodeState, Transition
from neuro_ros.cores.parameters import ParameterError, build
from neuro_ros.cores.parameters.lifecycle_manager import LifecycleManagerParameters

TICK_NS = 100_000_000
LEGAL = {
    (Transition.CONFIGURE, NodeState.UNCONFIGURED): NodeState.INACTIVE,
    (Transition.ACTIVATE, NodeState.INACTIVE): NodeState.ACTIVE,
    (Transition.DEACTIVATE, NodeState.ACTIVE): NodeState.INACTIVE,
    (Transition.CLEANUP, NodeState.INACTIVE): NodeState.UNCONFIGURED,
    (Transition.UNCONFIGURED_SHUTDOWN, NodeState.UNCONFIGURED): NodeState.FINALIZED,
    (Transition.INACTIVE_SHUTDOWN, NodeState.INACTIVE): NodeState.FINALIZED,
    (Transition.ACTIVE_SHUTDOWN, NodeState.ACTIVE): NodeState.FINALIZED,
}


class World:
    """Pretended processes: `states` has those that live; what they refuse and how they hang is set by the test."""

    def __init__(self, nodes, depends_on, autostart=True, **parameters):
        values = {"node_names": nodes, "depends_on": depends_on or [""], "autostart": autostart, **parameters}
        self.now_ns = 0
        self.core = LifecycleManagerCore(build(LifecycleManagerParameters, values), self.now_ns)
        self.states = dict.fromkeys(nodes, NodeState.UNCONFIGURED)
        self.refuse = set()  # (node, transition)
        self.deaf = set()  # transitions are carried out, but the answer is lost: (node, transition)
        self.hung = set()  # alive, but not spinning
        self.requests = []  # (node, transition) in the order given
        self.log = []

    def step(self, count=1):
        for _ in range(count):
            self.now_ns += TICK_NS
            for node, state in self.states.items():
                if state in (NodeState.INACTIVE, NodeState.ACTIVE) and node not in self.hung:
                    self.core.heartbeat(node, state, self.now_ns)
            for request in self.core.tick(self.now_ns):
                self._carry_out(request)
            self.log += self.core.take_log()

    def _carry_out(self, request):
        node, transition = request.node, request.transition
        if node not in self.states or node in self.hung:
            return
        if transition is Transition.QUERY:
            self.core.answered(request.ticket, self.now_ns, state_id=int(self.states[node]))
            return
        self.requests.append((node, transition))
        goal = LEGAL.get((transition, self.states[node]))
        success = goal is not None and (node, transition) not in self.refuse
        if success:
            self.states[node] = goal
        if (node, transition) not in self.deaf:
            self.core.answered(request.ticket, self.now_ns, success=success)

    def run(self, seconds=2.0):
        self.step(round(seconds * 1e9 / TICK_NS))

    def kill(self, node):
        del self.states[node]

    def respawn(self, node):
        self.states[node] = NodeState.UNCONFIGURED

    def are(self, state, *nodes):
        return all(self.states.get(node) is state for node in nodes or self.states)

    def texts(self, level):
        return [line.text for line in self.log if line.level is level]


CHAIN = (["a", "b", "c", "x"], ["b:a", "c:a,b"])  # x is a branch of its own


@pytest.fixture
def world():
    return World(*CHAIN)


def test_comes_up_in_dependency_order(world):
    world.run()
    assert world.are(NodeState.ACTIVE)
    for first, then in (("a", "b"), ("b", "c")):
        for transition in (Transition.CONFIGURE, Transition.ACTIVATE):
            assert world.requests.index((first, transition)) < world.requests.index((then, transition))
        assert world.requests.index((first, Transition.ACTIVATE)) < world.requests.index((then, Transition.ACTIVATE))
    assert world.core.outcome(world.now_ns) == (True, [])
    assert {health.level for health in world.core.health(world.now_ns)} == {HealthLevel.OK}


@pytest.mark.parametrize(
    ("command", "transition", "state"),
    [
        (Command.PAUSE, Transition.DEACTIVATE, NodeState.INACTIVE),
        (Command.RESET, Transition.CLEANUP, NodeState.UNCONFIGURED),
        (Command.SHUTDOWN, Transition.ACTIVE_SHUTDOWN, NodeState.FINALIZED),
    ],
)
def test_goes_down_in_reverse_order(world, command, transition, state):
    world.run()
    world.requests.clear()
    world.core.give_command(command, world.now_ns)
    world.run()
    assert world.are(state)
    assert world.core.outcome(world.now_ns) == (True, [])
    order = [node for node, given in world.requests if given is transition and node != "x"]
    assert order == ["c", "b", "a"]


def test_every_command_follows_every_other():
    for first, second in itertools.permutations([Command.STARTUP, Command.PAUSE, Command.RESUME, Command.RESET], 2):
        world = World(*CHAIN, autostart=False)
        for command in (first, second, first, second):
            world.core.give_command(command, world.now_ns)
            world.run()
            assert world.core.outcome(world.now_ns) == (True, []), (first, second, command)


def test_without_autostart_nothing_is_touched():
    world = World(*CHAIN, autostart=False)
    world.run()
    assert world.requests == []
    assert world.core.outcome(world.now_ns) == (True, [])


@pytest.mark.parametrize(("missing", "up"), [("a", "x"), ("b", "ax"), ("c", "abx"), ("x", "abc")])
def test_a_missing_node_holds_up_only_its_dependents(missing, up):
    world = World(*CHAIN)
    world.kill(missing)
    world.run(10.0)
    assert world.are(NodeState.ACTIVE, *up)
    done, troubles = world.core.outcome(world.now_ns)
    assert done
    assert troubles[0] == f"{missing}: is missing"
    assert [text for text in world.texts(HealthLevel.ERROR) if missing in text.split()[0]]
    world.respawn(missing)
    world.run()
    assert world.are(NodeState.ACTIVE)
    assert world.core.outcome(world.now_ns) == (True, [])


def test_a_refusing_node_holds_up_only_its_dependents_and_is_tried_again(world):
    world.refuse.add(("b", Transition.CONFIGURE))
    world.run(3.0)
    assert world.states == {
        "a": NodeState.ACTIVE,
        "b": NodeState.UNCONFIGURED,
        "c": NodeState.UNCONFIGURED,
        "x": NodeState.ACTIVE,
    }
    done, troubles = world.core.outcome(world.now_ns)
    assert done
    assert troubles == ["b: refused to configure; its log says why", "c: waits for b"]
    world.run(57.0)
    assert 4 <= world.requests.count(("b", Transition.CONFIGURE)) <= 6  # doubling pauses, not a flood
    world.refuse.clear()
    world.run(61.0)
    assert world.are(NodeState.ACTIVE)


@pytest.mark.parametrize("victim", ["a", "b", "c", "x"])
@pytest.mark.parametrize("respawn_s", [0.1, 1.0, 8.0])
def test_a_killed_node_comes_back_and_only_its_dependents_cycle(victim, respawn_s):
    world = World(*CHAIN)
    world.run()
    world.requests.clear()
    world.kill(victim)
    world.run(respawn_s)
    world.respawn(victim)
    world.run(5.0)
    assert world.are(NodeState.ACTIVE)
    dependents = {"a": "bc", "b": "c", "c": "", "x": ""}[victim]
    touched = {node for node, _ in world.requests}
    assert touched == {victim, *dependents}
    for node in dependents:  # state is kept: no clean-up
        assert [given for name, given in world.requests if name == node] == [
            Transition.DEACTIVATE,
            Transition.ACTIVATE,
        ]
        back = world.requests.index((victim, Transition.ACTIVATE))
        assert world.requests.index((node, Transition.DEACTIVATE)) < back
        assert world.requests.index((node, Transition.ACTIVATE)) > back


def test_a_dead_node_is_noticed_and_its_dependents_fall_silent(world):
    world.run()
    world.kill("a")
    world.run(6.0)
    assert world.are(NodeState.INACTIVE, "b", "c")
    assert world.are(NodeState.ACTIVE, "x")
    levels = {health.name: health.level for health in world.core.health(world.now_ns)}
    assert levels["graph"] is HealthLevel.WARN or levels["graph"] is HealthLevel.ERROR
    assert levels["x"] is HealthLevel.OK


def test_a_hung_node_that_spins_again_is_accepted_as_it_is(world):
    world.run()
    world.requests.clear()
    world.hung.add("a")
    world.run(6.0)
    assert world.are(NodeState.INACTIVE, "b", "c")
    world.hung.clear()
    world.run()
    assert world.are(NodeState.ACTIVE)
    assert "a" not in {node for node, _ in world.requests}


def test_a_short_stall_changes_nothing(world):
    world.run()
    world.requests.clear()
    world.hung.add("a")
    world.core.suspect("a", world.now_ns)
    world.step()
    world.hung.clear()
    world.run(5.0)
    assert world.requests == []
    assert world.texts(HealthLevel.ERROR) == []


@pytest.mark.parametrize("transition", [Transition.CONFIGURE, Transition.ACTIVATE])
def test_a_lost_answer_is_settled_by_the_real_state(transition):
    world = World(*CHAIN, configure_timeout_s=3.0, service_timeout_s=3.0)
    world.deaf.add(("a", transition))
    world.run(10.0)
    assert world.are(NodeState.ACTIVE)
    assert world.requests.count(("a", transition)) == 1
    assert any("after all" in text for text in world.texts(HealthLevel.OK))


def test_the_wrong_answer_to_a_repeated_request_is_settled_by_the_real_state(world):
    world.refuse.add(("a", Transition.CONFIGURE))
    world.step(3)
    world.states["a"] = NodeState.INACTIVE  # somebody else did it meanwhile
    world.run(5.0)
    assert world.are(NodeState.ACTIVE)


def test_a_new_process_is_asked_at_once_even_while_the_old_one_is(world):
    world.run()
    world.kill("b")
    world.core.suspect("b", world.now_ns)
    world.step()  # the question goes to the dead process
    world.respawn("b")
    world.core.suspect("b", world.now_ns)
    world.step()
    assert world.texts(HealthLevel.WARN) == ["b has started anew"]
    world.run(1.0)
    assert world.are(NodeState.ACTIVE)


def test_a_restarted_manager_leaves_an_active_graph_alone(world):
    for node in world.states:
        world.states[node] = NodeState.ACTIVE
    world.run(5.0)
    assert world.requests == []
    assert world.core.outcome(world.now_ns) == (True, [])


def test_a_restarted_manager_mends_what_is_down(world):
    world.states.update(a=NodeState.UNCONFIGURED, b=NodeState.ACTIVE, c=NodeState.ACTIVE, x=NodeState.ACTIVE)
    world.run(5.0)
    assert world.are(NodeState.ACTIVE)
    assert world.requests.index(("b", Transition.DEACTIVATE)) < world.requests.index(("a", Transition.ACTIVATE))


def test_what_somebody_else_took_down_is_left_down_until_the_next_command(world):
    world.run()
    world.states["b"] = NodeState.INACTIVE
    world.run(5.0)
    assert world.are(NodeState.INACTIVE, "b", "c")
    assert world.are(NodeState.ACTIVE, "a", "x")
    done, troubles = world.core.outcome(world.now_ns)
    assert done
    assert "b: was made inactive by somebody else" in troubles
    world.core.give_command(Command.RESUME, world.now_ns)
    world.run()
    assert world.are(NodeState.ACTIVE)


def test_what_somebody_else_took_up_again_takes_its_dependents_along(world):
    world.run()
    world.states["b"] = NodeState.INACTIVE
    world.run()
    world.states["b"] = NodeState.ACTIVE
    world.run()
    assert world.are(NodeState.ACTIVE)


def test_a_refusing_node_does_not_keep_the_rest_up(world):
    world.run()
    world.refuse.add(("c", Transition.DEACTIVATE))
    world.core.give_command(Command.PAUSE, world.now_ns)
    world.run()
    assert world.are(NodeState.INACTIVE, "a", "b", "x")
    done, troubles = world.core.outcome(world.now_ns)
    assert done
    assert troubles == ["c: refused to deactivate; its log says why"]


def test_services_that_vanish_mean_death_at_once(world):
    world.run()
    world.kill("b")
    world.core.gone("b", world.now_ns)
    world.step(2)
    assert world.are(NodeState.INACTIVE, "c")


def test_finalized_nodes_stay_down_and_say_so(world):
    world.run()
    world.core.give_command(Command.SHUTDOWN, world.now_ns)
    world.run()
    world.core.give_command(Command.STARTUP, world.now_ns)
    world.run()
    done, troubles = world.core.outcome(world.now_ns)
    assert done
    assert "a: is finalized; only a new process can come up" in troubles


def test_late_answers_are_ignored(world):
    request = world.core.tick(1)[0]
    world.core.answered(request.ticket, 2, state_id=1)
    world.core.answered(request.ticket, 3, state_id=3)
    world.core.answered(999, 3, success=True)
    assert world.core.health(4)[1].values["state"] == "unconfigured"


def test_a_state_between_two_states_is_asked_again(world):
    request = next(r for r in world.core.tick(1) if r.node == "a")
    world.core.answered(request.ticket, 2, state_id=10)
    world.run()
    assert world.are(NodeState.ACTIVE)


def test_the_defaults_are_the_graph():
    parameters = build(LifecycleManagerParameters)
    assert parameters.dependencies() == dict(MANAGED)


@pytest.mark.parametrize(
    ("names", "depends_on", "text"),
    [
        (["a", "a"], [""], "stands twice"),
        (["a", ""], [""], "is empty"),
        (["a"], ["a"], "is not node:other"),
        (["a"], ["a:"], "is not node:other"),
        (["a"], ["b:a"], "is not node:other"),
        (["a"], ["a:b"], "must stand before it"),
        (["a", "b"], ["a:b"], "must stand before it"),
        (["a"], ["a:a"], "must stand before it"),
    ],
)
def test_bad_graphs_are_refused(names, depends_on, text):
    with pytest.raises(ParameterError, match=text):
        build(LifecycleManagerParameters, {"node_names": names, "depends_on": depends_on})


@pytest.mark.parametrize(("command", "level"), [(Command.RESET, HealthLevel.OK), (Command.STARTUP, HealthLevel.ERROR)])
def test_a_process_that_ends_while_the_graph_goes_down_is_no_error(world, command, level):
    world.run()
    world.log.clear()
    world.core.give_command(command, world.now_ns)
    world.kill("b")
    world.core.gone("b", world.now_ns)
    world.step()
    assert [line.level for line in world.log if "its services are gone" in line.text] == [level]


# --- standby ----------------------------------------------------------------------------------------------------------
def standing_by():
    world = World(*CHAIN, standby_keeps=["x"])
    world.run()
    assert world.are(NodeState.ACTIVE)
    command, refusal = world.core.understand(Command.STANDBY)
    assert (command, refusal) == (Command.STANDBY, "")
    world.core.give_command(command, world.now_ns)
    world.run()
    return world


def test_standby_pauses_all_but_the_nodes_that_know_when_it_ends():
    world = standing_by()
    assert world.are(NodeState.ACTIVE, "x")
    assert world.are(NodeState.INACTIVE, "a", "b", "c")
    assert world.core.outcome(world.now_ns) == (True, [])
    assert {health.level for health in world.core.health(world.now_ns)} == {HealthLevel.OK}


def test_a_kept_node_that_dies_in_standby_is_brought_back_and_the_rest_stays_down():
    world = standing_by()
    world.kill("x")
    world.core.gone("x", world.now_ns)
    world.run()
    world.respawn("x")
    world.run()
    assert world.are(NodeState.ACTIVE, "x")
    assert world.are(NodeState.INACTIVE, "a", "b", "c")


def test_wake_ends_standby_and_nothing_else():
    world = standing_by()
    command, _ = world.core.understand(Command.WAKE)
    assert command is Command.RESUME
    world.core.give_command(command, world.now_ns)
    world.run()
    assert world.are(NodeState.ACTIVE)
    for given in (Command.STARTUP, Command.PAUSE, Command.RESET, Command.SHUTDOWN):
        world.core.give_command(given, world.now_ns)
        assert world.core.understand(Command.WAKE) == (None, "")


@pytest.mark.parametrize("given", [Command.PAUSE, Command.RESET, Command.SHUTDOWN])
def test_standby_does_not_undo_what_a_person_has_asked_for(given):
    world = World(*CHAIN, standby_keeps=["x"])
    world.run()
    world.core.give_command(given, world.now_ns)
    command, refusal = world.core.understand(Command.STANDBY)
    assert command is None
    assert f"{given.name.lower()} was asked for" in refusal


def test_what_a_kept_node_depends_on_must_be_kept_too():
    with pytest.raises(ParameterError, match="must be kept as well"):
        build(LifecycleManagerParameters, {"standby_keeps": ["snn_inference"]})
