# SPDX-License-Identifier: Apache-2.0
"""The lifecycle manager over real processes, one of which is killed."""

import signal
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).with_name("probe_node.py")
SCRIPT = Path(__file__).parents[2] / "scripts" / "clock_sync"
MANAGER = "import sys; from neuro_ros.nodes.lifecycle_manager import main; sys.exit(main())"


@pytest.fixture
def start_node(spawn):
    return lambda name: spawn([sys.executable, PROBE, "--ros-args", "-r", f"__node:={name}"])


@pytest.fixture
def start_manager(spawn):
    def start(*names, depends_on):
        arguments = ["-p", f"node_names:=[{', '.join(names)}]", "-p", f"depends_on:={depends_on!r}"]
        return spawn([sys.executable, "-c", MANAGER, "--ros-args", *arguments, "-p", "missing_timeout_s:=3.0"])

    return start


def test_a_killed_process_is_recovered_and_a_missing_one_blocks_nobody(start_node, start_manager, eventually):
    nodes = {name: start_node(name) for name in ("first", "second", "other")}
    manager = start_manager(*nodes, "absent", "last", depends_on=["second:first", "last:absent"])
    for name in nodes:
        manager.wait_for(f"{name} is active")
    manager.wait_for("absent is missing; last cannot come up")

    nodes["first"].send_signal(signal.SIGKILL)
    nodes["first"].wait()
    nodes["first"] = start_node("first")
    nodes["second"].wait_for("deactivate: success")
    nodes["first"].wait_for("activate: success")
    eventually(lambda: nodes["second"].output.count("]: activate: success") == 2, timeout_s=20.0)
    assert "deactivate" not in nodes["other"].output

    assert manager.stop(signal.SIGINT) == 0
    for child in nodes.values():
        child.wait_for("cleanup: success")
    assert {child.stop(signal.SIGTERM) for child in nodes.values()} == {0}


def test_a_process_that_stays_dead_is_reported(start_node, start_manager):
    nodes = {name: start_node(name) for name in ("first", "second")}
    manager = start_manager("first", "second", depends_on=["second:first"])
    manager.wait_for("second is active")
    nodes["first"].send_signal(signal.SIGKILL)
    manager.wait_for("first is dead")
    nodes["second"].wait_for("deactivate: success")
    assert manager.stop(signal.SIGTERM) == 0
    assert nodes["second"].stop() == 0


def test_a_bad_parameter_is_one_line_and_exit_1(spawn):
    child = spawn([sys.executable, PROBE, "--ros-args", "-p", "nonsense:=3"])
    assert child.wait() == 1
    assert child.output == "probe_node.py: unknown parameter nonsense; known: unused"


#: Hangs as the middleware does: in C, with the interpreter locked, deaf to signals.
HANGING = """
import ctypes, sys
from rclpy.node import Node
from neuro_ros.nodes import run

class Hanging(Node):
    def __init__(self):
        self.hang("start")
        super().__init__("hanging")
        self.create_timer(0.0, lambda: print("spinning", flush=True))

    def destroy_node(self):
        self.hang("end")
        super().destroy_node()

    def hang(self, when):
        if when == sys.argv[1]:
            print("hangs at the", when, flush=True)
            ctypes.PyDLL(None).pause()
            ctypes.PyDLL(None).sleep(3600)

setattr(run, f"_{sys.argv[1].upper()}_LIMIT_S", 1.0)
sys.exit(run.run_node(Hanging, [sys.argv[0]]))
"""


def test_a_middleware_that_does_not_let_go_of_a_node_does_not_hold_up_its_end(spawn):
    node = spawn([sys.executable, "-c", HANGING, "end"])
    node.wait_for("spinning")
    assert node.stop() == 1
    assert "hangs at the end" in node.output
    assert "Timeout" in node.output
    assert "in destroy_node" in node.output, "where it hung"


def test_a_node_that_cannot_be_made_in_time_ends_its_process(spawn):
    node = spawn([sys.executable, "-c", HANGING, "start"])
    assert node.wait() == 1
    assert "hangs at the start" in node.output
    assert "in __init__" in node.output, "where it hung"


#: Says that the interpreter is up: what it makes of a signal before that is its own affair.
ANNOUNCED = "import runpy, sys; print('running', flush=True); runpy.run_path(sys.argv.pop(1), run_name='__main__')"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_ends_a_node_in_order(spawn, number):
    node = spawn([sys.executable, "-c", ANNOUNCED, SCRIPT, "--ros-args", "-r", "__node:=lonely"])
    node.wait_for("running")
    assert node.stop(number) in (0, -number)  # -number: before the node had installed its handlers
