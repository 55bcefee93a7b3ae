# SPDX-License-Identifier: Apache-2.0
"""A core that only writes down what is done to it, for the tests of the shell around it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from lifecycle_msgs.msg import State
from rclpy.lifecycle import TransitionCallbackReturn

from neuro_ros.cores.core import Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import Gesture, SpikeTensor
from neuro_ros.cores.parameters import ParameterError, parameter

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)


@dataclass(frozen=True)
class Group:
    gain: float = parameter(0.5, "a grouped one", minimum=0.0, maximum=1.0, dynamic=True)


@dataclass(frozen=True)
class ProbeParameters:
    rate: float = parameter(1.0, "a float", unit="Hz", minimum=0.0, maximum=10.0, dynamic=True)
    limit: float = parameter(10.0, "must not be below rate", minimum=0.0, dynamic=True)
    count: int = parameter(3, "an integer", minimum=1, maximum=5)
    mode: str = parameter("a", "a choice", choices=("a", "b"), dynamic=True)
    names: Sequence[str] = parameter([], "a list")
    on: bool = parameter(True, "a switch")
    group: Group = Group()

    def __post_init__(self):
        if self.rate > self.limit:
            raise ParameterError(f"rate {self.rate:g} is above limit {self.limit:g}")


class Probe(Core):
    """Answers each window with a gesture of the same number, and remembers every call."""

    inputs = {"spikes": SpikeTensor}  # noqa: RUF012 - as in Core
    outputs = {"gesture": Gesture}  # noqa: RUF012
    fail_in: str = ""  # name of the call that raises
    fail_with: Exception = RuntimeError("broken on purpose")

    def __init__(self, parameters, clocks):
        self.parameters = parameters
        self.calls = []
        self.threads = set()
        self.gate = None
        self._enter("configure")

    def _enter(self, name, *details):
        self.calls.append((name, *details))
        self.threads.add(threading.current_thread().name)
        if type(self).fail_in == name:
            raise type(self).fail_with

    def names(self):
        return [call[0] for call in self.calls if call[0] not in ("tick", "diagnose")]

    def timers(self):
        return {"fast": 5_000_000}

    def activate(self, now_ns):
        self._enter("activate", now_ns)
        return [Output("gesture", Gesture(label="hello"))]

    def receive(self, topic, message, now_ns):
        if self.gate is not None:
            self.gate.wait(10)
        self._enter("receive", topic, message.sequence, now_ns)
        return [Output("gesture", Gesture(sequence=message.sequence))]

    def tick(self, timer, now_ns):
        self._enter("tick", timer, now_ns)
        return ()

    def deactivate(self, now_ns):
        self._enter("deactivate", now_ns)
        return [Output("gesture", Gesture(label="goodbye"))]

    def reconfigure(self, parameters):
        self._enter("reconfigure", parameters)
        self.parameters = parameters

    def diagnose(self, now_ns):
        self._enter("diagnose", now_ns)
        return [Health("probe", HealthLevel.OK, "fine", {"calls": len(self.calls)})]

    def close(self):
        self._enter("close")


def bring_up(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
