# SPDX-License-Identifier: Apache-2.0
"""Decides which lifecycle transition comes next in a graph of nodes, so that each is where it should be.

A reconciler, not a script: every tick compares each node's known state with the state asked for and with its
neighbours', and asks for at most one thing a node. So a node that is missing, refuses or dies holds up only what
depends on it, and one that comes back is picked up wherever it stands. Requests carry a ticket and a deadline; an
answer that never comes is settled by asking for the state.

This module refuses to know about rclpy, services and processes; its driver carries requests out and reports.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.lifecycle_states import GOALS, REACHED, SHUTDOWNS, TOLD, UP, Command, NodeState, Transition
from neuro_ros.cores.parameters.lifecycle_manager import LifecycleManagerParameters

__all__ = ["Command", "LifecycleManagerCore", "LogLine", "NodeState", "Request", "Transition"]

_NS_PER_S = 1_000_000_000
_RETRY_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """Something to ask a node: a transition, or its state (QUERY). Answer with the ticket."""

    ticket: int
    node: str
    transition: Transition
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line for the log."""

    level: HealthLevel
    text: str


@dataclass(slots=True)
class _Node:
    name: str
    depends_on: tuple[str, ...]
    dependents: tuple[str, ...] = ()  # direct and indirect
    state: NodeState = NodeState.UNKNOWN
    pending: Request | None = None
    doubted: Transition | None = None  # refused or unanswered; the next state answer settles it
    cycle: bool = False  # must go through inactive before it may be active again
    hold: bool = False  # somebody else took it down; left there
    lost: bool = False  # was there and died
    reported: bool = False  # its absence stands in the log
    error: str = ""
    failures: int = 0
    silent_queries: int = 0
    retry_at_ns: int = 0
    next_query_ns: int = 0
    heard_ns: int = 0
    absent_since_ns: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {"transitions": 0, "refused": 0, "lost": 0})


class LifecycleManagerCore:
    """State machine over the lifecycle nodes of a graph.

    Parameters
    ----------
    parameters : LifecycleManagerParameters
        Nodes, dependencies and times.
    now_ns : int
        Present time of a steady clock [ns]; all times given later are of the same clock.

    Attributes
    ----------
    command : Command or None
        What the graph is asked to be; None until the first command (nothing is touched).
    """

    def __init__(self, parameters: LifecycleManagerParameters, now_ns: int) -> None:
        self._parameters = parameters
        self._nodes = {
            name: _Node(name, depends_on, absent_since_ns=now_ns)
            for name, depends_on in parameters.dependencies().items()
        }
        for node in self._nodes.values():
            node.dependents = tuple(self._find_dependents(node.name))
        self._tickets = itertools.count(1)
        self._log: list[LogLine] = []
        self.command: Command | None = None
        self._commanded_ns = now_ns
        if parameters.autostart:
            self.give_command(Command.STARTUP, now_ns)

    def _find_dependents(self, name: str) -> Iterator[str]:
        found = {name}
        for other in self._nodes.values():  # in order, so every dependency has been seen before
            if found.intersection(other.depends_on):
                found.add(other.name)
                yield other.name

    # -- what the driver reports ---------------------------------------------------------------------------------

    def give_command(self, command: Command, now_ns: int) -> None:
        """Ask the whole graph for another state; errors are forgotten and tried anew."""
        self.command = command
        self._commanded_ns = now_ns
        for node in self._nodes.values():
            node.hold, node.error, node.failures, node.retry_at_ns = False, "", 0, 0
        self._say(HealthLevel.OK, f"command {command.name.lower()}")

    def understand(self, command: Command) -> tuple[Command | None, str]:
        """Return what a command comes to now, None = nothing is to be done, and why not where it is refused.

        Standby is asked for and ended by a node, not by a person: it must not undo what a person has asked for.
        """
        if command is Command.WAKE:
            return (Command.RESUME if self.command is Command.STANDBY else None), ""
        if command is Command.STANDBY and self.command not in UP:
            wanted = "nothing" if self.command is None else self.command.name.lower()
            return None, f"no standby: {wanted} was asked for, the graph is not up"
        return command, ""

    def heartbeat(self, name: str, state_id: int, now_ns: int) -> None:
        """Take a node's own word that it lives, and its state (ignored while a transition of ours is under way)."""
        node = self._nodes[name]
        node.heard_ns = now_ns
        node.silent_queries = 0
        changing = node.pending is not None and node.pending.transition is not Transition.QUERY
        if changing or node.doubted is not None or state_id not in TOLD:
            return
        self._observe(node, NodeState(state_id), now_ns)

    def suspect(self, name: str, now_ns: int) -> None:
        """Take note that a node's heartbeat has stopped, or that a new process has its name: ask at once.

        A question that is under way is put again: it may have gone to a process that is dead.
        """
        node = self._nodes[name]
        if node.pending is not None and node.pending.transition is Transition.QUERY:
            node.pending = None
        if node.pending is None:
            node.next_query_ns = now_ns
            node.heard_ns = min(node.heard_ns, now_ns - self._ns(self._parameters.lease_s))

    def gone(self, name: str, now_ns: int) -> None:
        """Take note that a node's services have disappeared."""
        node = self._nodes[name]
        if node.state is not NodeState.UNKNOWN:
            self._lose(node, "its services are gone", now_ns)

    def answered(
        self, ticket: int, now_ns: int, *, success: bool | None = None, state_id: int | None = None, reason: str = ""
    ) -> None:
        """Take the answer to a request.

        Parameters
        ----------
        ticket : int
            Of the request; an answer to one that is no longer pending is ignored.
        now_ns : int
            Time [ns].
        success : bool, optional
            Answer to a transition.
        state_id : int, optional
            Answer to a QUERY; transitional states (10 and up) are asked again later.
        reason : str
            Why a transition was refused, where it is known.
        """
        node = next((n for n in self._nodes.values() if n.pending is not None and n.pending.ticket == ticket), None)
        if node is None or node.pending is None:
            return
        transition, node.pending = node.pending.transition, None
        node.heard_ns, node.silent_queries = now_ns, 0
        if transition is Transition.QUERY:
            node.next_query_ns = now_ns + self._ns(self._parameters.poll_period_s)
            if state_id is not None and state_id in TOLD:
                self._settle(node, NodeState(state_id), now_ns)
            return
        node.counts["transitions"] += 1
        if success:
            node.doubted, node.error, node.failures = None, "", 0
            node.state = GOALS[transition]
            self._say(HealthLevel.OK, f"{node.name} is {node.state.name.lower()}")
        else:
            # The state tells more than the refusal: an earlier, timed-out request may have done the work.
            node.doubted = transition
            node.error = reason or f"refused to {transition.name.lower().replace('_', ' ')}; its log says why"

    # -- what the driver carries out -----------------------------------------------------------------------------

    def tick(self, now_ns: int) -> list[Request]:
        """Return the requests to send now, one a node at most; call a few times a second and after each report."""
        requests = []
        for node in self._nodes.values():
            self._expire(node, now_ns)
            self._report_absence(node, now_ns)
            if node.pending is None and (transition := self._next(node, now_ns)) is not None:
                node.pending = Request(
                    next(self._tickets), node.name, transition, now_ns + self._time_limit(transition)
                )
                requests.append(node.pending)
        return requests

    def take_log(self) -> list[LogLine]:
        """Return what has happened since the last call."""
        lines, self._log = self._log, []
        return lines

    def outcome(self, now_ns: int) -> tuple[bool, list[str]]:
        """Return whether the command is settled, and why for each node that did not get there (empty = success)."""
        if self.command is None:
            return True, []
        troubles: dict[str, str] = {}
        for node in self._nodes.values():
            if self._reached(node):
                continue
            trouble = self._trouble(node, now_ns)
            blockers = [name for name in self._blockers(node) if name in troubles]
            if not trouble and blockers and self._goes_up(node):
                trouble = f"waits for {', '.join(blockers)}"
            if not trouble:
                return False, []
            troubles[node.name] = trouble
        return True, [f"{name}: {trouble}" for name, trouble in troubles.items()]

    def health(self, now_ns: int) -> Sequence[Health]:
        """Return one status a node, and one for the graph."""
        statuses = []
        worst = HealthLevel.OK
        for node in self._nodes.values():
            reached = self._reached(node)
            trouble = self._trouble(node, now_ns)
            waiting = [name for name in node.depends_on if self._nodes[name].state is not NodeState.ACTIVE]
            level, text = HealthLevel.OK, node.state.name.lower()
            if not reached and trouble:
                level, text = HealthLevel.ERROR, trouble
            elif not reached:
                level = HealthLevel.WARN
                text += f", waits for {', '.join(waiting)}" if waiting else ", on its way"
            worst = max(worst, level)
            values = {
                "state": node.state.name.lower(),
                "asked": self._asked(node),
                "depends_on": " ".join(node.depends_on),
                **node.counts,
            }
            statuses.append(Health(node.name, level, text, values))
        wanted = "nothing asked for" if self.command is None else self.command.name.lower()
        states = {node.name: node.state.name.lower() for node in self._nodes.values()}
        return [Health("graph", worst, wanted, {"command": wanted, **states}), *statuses]

    @staticmethod
    def _asked(node: _Node) -> str:
        """Name the transition that a node has been asked for and has not answered; empty when there is none."""
        asked = node.doubted
        if node.pending is not None and node.pending.transition is not Transition.QUERY:
            asked = node.pending.transition
        return "" if asked is None else asked.name.lower().replace("_", " ")

    # -- the rules -----------------------------------------------------------------------------------------------

    def _next(self, node: _Node, now_ns: int) -> Transition | None:
        if self._must_ask(node, now_ns):
            return Transition.QUERY
        if node.state in (NodeState.UNKNOWN, NodeState.FINALIZED) or self.command is None or node.doubted is not None:
            return None
        if now_ns < node.retry_at_ns:
            return None
        return self._next_up(node) if self._goes_up(node) else self._next_down(node)

    def _goes_up(self, node: _Node) -> bool:
        kept = self.command is Command.STANDBY and node.name in self._parameters.standby_keeps
        return kept or self.command in (Command.STARTUP, Command.RESUME)

    def _reached(self, node: _Node) -> bool:
        if self.command is None:
            return True
        wanted = {NodeState.ACTIVE} if self._goes_up(node) else REACHED[self.command]
        return node.state in wanted and not node.cycle

    def _must_ask(self, node: _Node, now_ns: int) -> bool:
        if node.doubted is not None:
            return True
        if node.state in (NodeState.INACTIVE, NodeState.ACTIVE):  # these beat
            return now_ns - node.heard_ns >= self._ns(self._parameters.lease_s)
        return now_ns >= node.next_query_ns

    def _next_up(self, node: _Node) -> Transition | None:
        states = [self._nodes[name].state for name in node.depends_on]
        if node.state is NodeState.ACTIVE:
            # A dependency never seen so far may be fine: the manager itself may be the one that was restarted.
            down = any(
                self._nodes[name].state is not NodeState.ACTIVE
                and (self._nodes[name].lost or self._nodes[name].state is not NodeState.UNKNOWN)
                for name in node.depends_on
            )
            return Transition.DEACTIVATE if (node.cycle or down) and not self._above(node, NodeState.ACTIVE) else None
        node.cycle = False
        if node.hold:
            return None
        if node.state is NodeState.UNCONFIGURED:
            ready = all(state in (NodeState.INACTIVE, NodeState.ACTIVE) for state in states)
            return Transition.CONFIGURE if ready else None
        ready = all(state is NodeState.ACTIVE for state in states)
        waiting = any(self._nodes[name].cycle for name in node.dependents)
        return Transition.ACTIVATE if ready and not waiting else None

    def _next_down(self, node: _Node) -> Transition | None:
        node.cycle = False
        if self.command is Command.SHUTDOWN:
            free = not self._above(node, NodeState.UNCONFIGURED)
            return SHUTDOWNS[node.state] if free else None
        if node.state is NodeState.ACTIVE:
            return None if self._above(node, NodeState.ACTIVE) else Transition.DEACTIVATE
        if self.command is Command.RESET and node.state is NodeState.INACTIVE:
            return None if self._above(node, NodeState.INACTIVE) else Transition.CLEANUP
        return None

    def _above(self, node: _Node, state: NodeState) -> list[str]:
        """Name the dependents that are still at `state` or further up; one that refuses does not hold up the rest."""
        return [
            name
            for name in node.dependents
            if state <= self._nodes[name].state <= NodeState.ACTIVE and not self._nodes[name].error
        ]

    def _blockers(self, node: _Node) -> list[str]:
        found: list[str] = []
        for name in node.depends_on:
            found += [*self._blockers(self._nodes[name]), name]
        return found

    # -- book-keeping --------------------------------------------------------------------------------------------

    def _settle(self, node: _Node, state: NodeState, now_ns: int) -> None:
        """Take a state that the node itself told; where a transition was in doubt, this decides it."""
        doubted, node.doubted = node.doubted, None
        if doubted is None:
            self._observe(node, state, now_ns)
            return
        if state is GOALS[doubted]:
            node.error, node.failures = "", 0
            self._say(HealthLevel.OK, f"{node.name} is {state.name.lower()} after all")
        else:
            node.failures += 1
            node.counts["refused"] += 1
            wait_s = min(self._parameters.retry_s * 2 ** min(node.failures - 1, 10), _RETRY_MAX_S)
            node.retry_at_ns = now_ns + self._ns(wait_s)
            self._say(HealthLevel.ERROR, f"{node.name} {node.error}; it is {state.name.lower()}, again in {wait_s:g} s")
        node.state, node.lost = state, False

    def _observe(self, node: _Node, state: NodeState, now_ns: int) -> None:
        """Take a state that is not the answer to a transition of ours."""
        old = node.state
        if state is old or state is NodeState.UNKNOWN:
            return
        name = state.name.lower()
        node.state, node.retry_at_ns = state, 0
        if old is NodeState.UNKNOWN:
            self._say(HealthLevel.OK, f"{node.name} is {'back, ' if node.lost else ''}{name}")
            node.lost, node.hold = False, False
            if state is not NodeState.ACTIVE:
                self._cycle_dependents(node)
        elif state is NodeState.UNCONFIGURED and not node.hold:
            self._say(HealthLevel.WARN, f"{node.name} has started anew")
            node.counts["lost"] += 1
            self._cycle_dependents(node)
        elif state is NodeState.FINALIZED or state < old:
            node.hold = True
            self._say(HealthLevel.WARN, f"{node.name} was made {name} by somebody else; it is left so")
            self._cycle_dependents(node)
        else:
            node.hold = False
            self._say(HealthLevel.OK, f"{node.name} was made {name} by somebody else")

    def _lose(self, node: _Node, why: str, now_ns: int) -> None:
        if self.command in (Command.RESET, Command.SHUTDOWN):
            # Whoever brings the graph down may end its processes too, without waiting for us: ros2 launch does.
            self._say(HealthLevel.OK, f"{node.name} has ended: {why}")
        else:
            self._say(HealthLevel.ERROR, f"{node.name} is dead: {why}; waiting for its process to come back")
        node.reported = True
        node.state, node.lost, node.absent_since_ns = NodeState.UNKNOWN, True, now_ns
        node.pending, node.doubted, node.hold, node.cycle = None, None, False, False
        node.error, node.failures, node.silent_queries, node.next_query_ns = "", 0, 0, now_ns
        node.counts["lost"] += 1
        self._cycle_dependents(node)

    def _cycle_dependents(self, node: _Node) -> None:
        for name in node.dependents:
            if self._nodes[name].state is NodeState.ACTIVE:
                self._nodes[name].cycle = True

    def _expire(self, node: _Node, now_ns: int) -> None:
        request = node.pending
        if request is None or now_ns < request.deadline_ns:
            return
        node.pending = None
        if request.transition is not Transition.QUERY:
            text = f"did not answer {request.transition.name.lower()} in time"
            self._say(HealthLevel.WARN, f"{node.name} {text}; asking for its state")
            node.doubted, node.error = request.transition, text
            return
        node.next_query_ns = now_ns + self._ns(self._parameters.poll_period_s)
        if node.state is NodeState.UNKNOWN:
            return
        node.silent_queries += 1
        if node.silent_queries >= 2:
            self._lose(node, "it does not answer", now_ns)

    def _report_absence(self, node: _Node, now_ns: int) -> None:
        if node.state is not NodeState.UNKNOWN:
            node.reported = False
        elif not node.reported and self.command is not None and self._trouble(node, now_ns):
            node.reported = True
            waiting = f"; {', '.join(node.dependents)} cannot come up" if node.dependents else ""
            self._say(HealthLevel.ERROR, f"{node.name} {self._trouble(node, now_ns)}{waiting}")

    def _trouble(self, node: _Node, now_ns: int) -> str:
        if node.error:
            return node.error
        if node.hold:
            return f"was made {node.state.name.lower()} by somebody else"
        if node.state is NodeState.FINALIZED:
            return "is finalized; only a new process can come up"
        if node.state is NodeState.UNKNOWN:
            since_ns = max(node.absent_since_ns, self._commanded_ns)
            up = self._goes_up(node)
            # On the way down nobody waits for a process to appear, only for discovery to have had its chance.
            patience_s = self._parameters.missing_timeout_s if up else min(self._parameters.missing_timeout_s, 1.0)
            if now_ns - since_ns >= self._ns(patience_s):
                return "is dead" if node.lost else "is missing"
        return ""

    def _time_limit(self, transition: Transition) -> int:
        if transition is Transition.QUERY:
            return self._ns(self._parameters.query_timeout_s)
        if transition is Transition.CONFIGURE:
            return self._ns(self._parameters.configure_timeout_s)
        return self._ns(self._parameters.service_timeout_s)

    def _say(self, level: HealthLevel, text: str) -> None:
        self._log.append(LogLine(level, text))

    @staticmethod
    def _ns(seconds: float) -> int:
        return round(seconds * _NS_PER_S)
