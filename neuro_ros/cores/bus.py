# SPDX-License-Identifier: Apache-2.0
"""The graph in one process: cores wired by topic, time given from outside, every output seen in order.

The bus takes the place of executor, middleware and clock. It delivers an output at once, at the same instant, to every
core that has the topic among its inputs, in the order in which the cores were given; what these say follows in turn,
first in, first out. Timers fire when time is moved on, by their due time. So equal inputs at equal times give equal
outputs, in a test of a user as well as in the replay of a bag.

This module refuses to know about ROS, bags, threads and real clocks.

Examples
--------
>>> class Echo(Core):
...     inputs, outputs = {"in": str}, {"out": str}
...     def receive(self, topic, message, now_ns):
...         return (Output("out", message * 2),)
>>> bus = Bus({"echo": Echo()})
>>> bus.activate(0)
>>> bus.publish("in", "ha", 5)
>>> [(item.node, item.topic, item.message, item.time_ns) for item in bus.take()]
[('echo', 'out', 'haha', 5)]
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from neuro_ros.cores.core import Core, Output
from neuro_ros.errors import NeuroRosError

__all__ = ["Bus", "BusError", "Published"]


class BusError(NeuroRosError):
    """Cores that cannot be wired, time that runs backwards, or messages that never come to rest."""


@dataclass(frozen=True, slots=True)
class Published:
    """One output of a core.

    Parameters
    ----------
    node : str
        Name of the core that said it.
    topic : str
        Relative topic.
    message : object
        A dataclass of `neuro_ros.cores.messages`.
    time_ns : int
        Host time at which it was said.
    """

    node: str
    topic: str
    message: object
    time_ns: int


class Bus:
    """Cores wired by topic.

    Parameters
    ----------
    cores : mapping of str to Core
        Node name to core, in the order of delivery. The bus calls them but does not close them.
    given : collection of str
        Topics that come from outside alone: what a core itself says on them is not delivered and not seen.
    message_limit : int
        Messages that one input may set off before the cores are taken for a loop.

    Raises
    ------
    BusError
        Two cores disagree about the type of a topic.
    """

    def __init__(self, cores: Mapping[str, Core], given: Collection[str] = (), message_limit: int = 100_000) -> None:
        self._cores = dict(cores)
        self._given = frozenset(given)
        self._limit = message_limit
        self._listeners: dict[str, list[tuple[str, Core]]] = {}
        self._types: dict[str, type] = {}
        for name, core in self._cores.items():
            for topic, kind in (*core.inputs.items(), *core.outputs.items()):
                if self._types.setdefault(topic, kind) is not kind:
                    raise BusError(f"{name} uses {kind.__name__} on {topic!r}, others {self._types[topic].__name__}")
            for topic in core.inputs:
                self._listeners.setdefault(topic, []).append((name, core))
        self._queue: deque[Published] = deque()
        self._seen: list[Published] = []
        self._timers: list[tuple[int, int, int, str, str]] = []
        self._now_ns: int | None = None

    @property
    def now_ns(self) -> int | None:
        """The present host time [ns]; None before activation."""
        return self._now_ns

    @property
    def topics(self) -> Mapping[str, type]:
        """Every topic that a core knows, with its message type."""
        return dict(self._types)

    def activate(self, now_ns: int) -> None:
        """Activate all cores in order at host time `now_ns`; their timers count from here."""
        self._move(now_ns)
        # All timers first: the order of ties is that of the cores, whatever activation sets off.
        self._timers = []
        for node_index, (name, core) in enumerate(self._cores.items()):
            for timer_index, (timer, period_ns) in enumerate(core.timers().items()):
                if period_ns < 1:
                    raise BusError(f"{name}: timer {timer} has a period of {period_ns} ns; 1 is the least")
                heapq.heappush(self._timers, (now_ns + period_ns, node_index, timer_index, name, timer))
        for name, core in self._cores.items():
            self._say(name, core.activate(now_ns), now_ns)
            self._settle()

    def publish(self, topic: str, message: object, now_ns: int) -> None:
        """Bring a message from outside at host time `now_ns`; timers that are due by then fire first."""
        self.advance(now_ns)
        self._deliver(topic, message, now_ns)
        self._settle()

    def advance(self, now_ns: int) -> None:
        """Move time on to `now_ns` and fire the timers that are due until then, each at its due time.

        Raises
        ------
        BusError
            Time would run backwards, or the cores are not active.
        """
        if self._now_ns is None:
            raise BusError("the cores are not active; call activate first")
        if now_ns < self._now_ns:
            raise BusError(f"host time {now_ns} ns lies before {self._now_ns} ns")
        while self._timers and self._timers[0][0] <= now_ns:
            due_ns, node_index, timer_index, name, timer = heapq.heappop(self._timers)
            self._now_ns = due_ns
            core = self._cores[name]
            self._say(name, core.tick(timer, due_ns), due_ns)
            self._say(name, core.afterwards(), due_ns)
            self._settle()
            # Asked again each time, because a core may change its pace with its parameters.
            period_ns = core.timers().get(timer)
            if period_ns:
                heapq.heappush(self._timers, (due_ns + period_ns, node_index, timer_index, name, timer))
        self._now_ns = now_ns

    def run(self, node: str, outputs: Sequence[Output]) -> None:
        """Take outputs that a core gave when it was called directly, at the present time."""
        if self._now_ns is None:
            raise BusError("the cores are not active; call activate first")
        self._say(node, outputs, self._now_ns)
        self._settle()

    def deactivate(self, now_ns: int) -> None:
        """Deactivate all cores in reverse order at host time `now_ns`; timers due by then have fired."""
        self.advance(now_ns)
        self._timers = []
        for name, core in reversed(self._cores.items()):
            self._say(name, core.deactivate(now_ns), now_ns)
            self._settle()

    def take(self) -> list[Published]:
        """Return what the cores have said since the last call, in order."""
        seen, self._seen = self._seen, []
        return seen

    def _move(self, now_ns: int) -> None:
        if self._now_ns is not None and now_ns < self._now_ns:
            raise BusError(f"host time {now_ns} ns lies before {self._now_ns} ns")
        self._now_ns = now_ns

    def _say(self, node: str, outputs: Sequence[Output], now_ns: int) -> None:
        for output in outputs:
            if output.topic not in self._given:
                self._queue.append(Published(node, output.topic, output.message, now_ns))

    def _deliver(self, topic: str, message: object, now_ns: int) -> None:
        for name, core in self._listeners.get(topic, ()):
            self._say(name, core.receive(topic, message, now_ns), now_ns)
            self._say(name, core.afterwards(), now_ns)

    def _settle(self) -> None:
        """Deliver until nothing is left to deliver."""
        for _ in range(self._limit):
            if not self._queue:
                return
            item = self._queue.popleft()
            self._seen.append(item)
            self._deliver(item.topic, item.message, item.time_ns)
        raise BusError(f"one input has set off {self._limit} messages; the cores answer each other without end")
