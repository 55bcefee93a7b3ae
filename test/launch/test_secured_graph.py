# SPDX-License-Identifier: Apache-2.0
"""The graph under SROS2: with the keys of the shipped policy it runs, and nobody else hears it or speaks in it.

Needs ``sros2`` and a middleware that was built with security. The wheels of `make setup` have neither: their Fast DDS
refuses to start a secured participant, and says so.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuro_ros.bringup.collect import summarise
from neuro_ros.bringup.security import policy_text

HERE = Path(__file__).parent
MODEL = HERE.parent / "data" / "replay" / "small.safetensors"
START_S = 60.0
OPERATOR = ("--ros-args", "--enclave", "/neuro_ros/operator")
GENERATE = """
import pathlib, sys
from sros2.api import _artifact_generation
_artifact_generation.generate_artifacts(pathlib.Path(sys.argv[1]), [], [pathlib.Path(sys.argv[2])])
"""


@pytest.fixture
def secured(tmp_path):
    """Return what is to be in the environment of a secured graph, with the keys of the policy."""
    if importlib.util.find_spec("sros2") is None:
        pytest.skip("sros2 is not installed: it is part of a full ROS 2 install")
    keystore, policy = tmp_path / "keystore", tmp_path / "policy.xml"
    policy.write_text(policy_text(), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GENERATE, keystore, policy], check=True, timeout=120, capture_output=True
    )
    environment = {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }
    trial = subprocess.run(
        [sys.executable, "-c", "import rclpy, sys; rclpy.init(args=sys.argv)", *OPERATOR],
        env={**os.environ, **environment}, timeout=START_S, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "security libraries" in trial.stderr:
        pytest.skip("the middleware was built without security")
    return environment


def test_a_secured_graph_runs_and_is_closed_to_others(secured, spawn, eventually, tmp_path):
    operator = spawn([sys.executable, HERE / "secured_listener.py", *OPERATOR], env=secured)
    operator.wait_for("may not publish", START_S)
    stranger = spawn([sys.executable, HERE / "secured_listener.py"], env={"ROS_SECURITY_ENABLE": "false"})
    stranger.wait_for("may publish", START_S)
    graph = spawn(
        [
            sys.executable, "-m", "neuro_ros.cli", "up", "--enclave", "/neuro_ros", "--model", MODEL,
            "--gestures", "2", "--gesture-duration-s", "1.5", "--record", tmp_path / "bag", "--until-finished",
            "--log-dir", tmp_path / "logs",
        ],
        env=secured,
    )  # fmt: skip
    assert graph.wait(180.0) == 0, graph.output
    operator.stop()
    stranger.stop()
    assert operator.output.count("heard") > 30
    assert "heard" not in stranger.output
    summary = summarise(tmp_path / "bag")
    assert (len(summary.windows), summary.gestures) == (60, 60)
    assert summary.problems() == []


def test_a_node_without_keys_is_refused_in_one_line(secured, spawn):
    node = spawn([sys.executable, "-m", "neuro_ros.nodes", "canary", "--ros-args", "--enclave", "/nobody"], env=secured)
    assert node.wait(START_S) == 1
    assert "/nobody" in node.output
    assert "Traceback" not in node.output
