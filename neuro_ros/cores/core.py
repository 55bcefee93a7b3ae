# SPDX-License-Identifier: Apache-2.0
"""What every node's logic looks like: timestamped inputs and timer ticks in, messages out, no executor.

A node of the graph is a thin shell around one `Core`. The shell, a test and the bag replay all drive the same object
through the same six calls, which is what makes replay bit-identical. A core never reads a clock: the time of each call
is an argument, and the stop-watch that measures durations is injected (`Clocks`). A core is not thread-safe; its driver
makes one call at a time.

This module refuses to know about rclpy, threads and files.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = ["Clocks", "Core", "Health", "HealthLevel", "Output"]


@dataclass(frozen=True, slots=True)
class Output:
    """A message for a relative topic, to be published in the order returned."""

    topic: str
    message: object


class HealthLevel(enum.IntEnum):
    """Levels of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Health:
    """One status for ``/diagnostics``.

    Parameters
    ----------
    name : str
        What is judged, e.g. ``windows`` (the shell prefixes the node's name).
    level : HealthLevel
        OK, WARN or ERROR.
    message : str
        One line for people.
    values : Mapping[str, object]
        Counters and figures, units in the keys.
    """

    name: str
    level: HealthLevel
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The wall clocks a core may use for measured durations, never for anything that reaches a replay digest.

    Parameters
    ----------
    system_ns : Callable[[], int]
        System clock [ns since the Unix epoch]; returns 0 in replay (= unknown).
    stopwatch_ns : Callable[[], int]
        Monotonic clock [ns] for durations.
    """

    system_ns: Callable[[], int] = time.time_ns
    stopwatch_ns: Callable[[], int] = time.perf_counter_ns

    @classmethod
    def replay(cls) -> Clocks:
        """Clocks that know nothing, so that measured fields come out as unknown."""
        return cls(system_ns=lambda: 0, stopwatch_ns=lambda: 0)


class Core:
    """Logic of one node.

    Life: construct with a validated parameter dataclass (raises `NeuroRosError` when something is missing: this
    is the node's *configure*), then any number of ``activate`` ... ``deactivate``, then ``close``. A deactivated core
    keeps its state.

    Attributes
    ----------
    inputs, outputs : Mapping[str, type]
        Relative topic to message dataclass, for everything the core may receive or emit. Known before construction.
    """

    inputs: ClassVar[Mapping[str, type]] = {}
    outputs: ClassVar[Mapping[str, type]] = {}

    def timers(self) -> Mapping[str, int]:
        """Return timer name to period [ns]; the driver calls :meth:`tick` at that pace while active."""
        return {}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Start a new activation at host time `now_ns`."""
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take `message` that arrived on relative `topic` at host time `now_ns`."""
        return ()

    def afterwards(self) -> Sequence[Output]:
        """Do what can wait until the outputs of the last call are out; the driver calls it after each."""
        return ()

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Timer `timer` fired at host time `now_ns`."""
        return ()

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent, keep the state."""
        return ()

    def reconfigure(self, parameters: object) -> None:
        """Apply a new, already validated parameter dataclass (only fields marked dynamic differ)."""

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Return the health of this node; called about once a second, also while inactive."""
        return ()

    def close(self) -> None:
        """Release everything; safe twice."""
