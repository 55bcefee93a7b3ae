# SPDX-License-Identifier: Apache-2.0
"""Each node as it really is, with everything switched on, uses exactly what the security policy allows it."""

import importlib
from pathlib import Path

import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from neuro_ros.bringup.graph import MANAGED, SERVING
from neuro_ros.bringup.security import access
from neuro_ros.nodes.lifecycle import LifecycleShell

MODEL = Path(__file__).resolve().parents[1] / "data" / "replay" / "small.safetensors"
#: What makes a node use all that it can; where one run cannot show everything, the runs add up.
RUNS = {
    "clock_sync": [{"ptp.role": "auto", "pulse.period_s": 1.0, "use_sim_time": True}],
    "thermal_compensation": [
        {"sensor": "simulated", "silicon.profile": "linear"},
        {"sensor": "topic", "use_sim_time": True},
    ],
    "event_camera": [{"source": "topic", "use_sim_time": True}],
    "snn_inference": [
        {"model": str(MODEL), "emulated_silicon.profile": "linear", "use_sim_time": True},
    ],
    "canary": [{"use_sim_time": True}],
    "recorder": [{"use_sim_time": True}],
    "lifecycle_manager": [{"use_sim_time": True}],
}


def used(node):
    """Return what a running node publishes, subscribes, serves and calls, as sets of full names."""
    looks = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
        node.get_client_names_and_types_by_node,
    )
    return tuple({name for name, _ in look(node.get_name(), node.get_namespace())} for look in looks)


def full(rule, node, namespace):
    """Write a name of the policy as ROS resolves it."""
    if rule.startswith("/"):
        return rule
    return f"{namespace}/{node}{rule[1:]}" if rule.startswith("~") else f"{namespace}/{rule}"


def test_every_node_is_looked_at():
    assert set(RUNS) == {*MANAGED, *SERVING}


@pytest.mark.parametrize("name", RUNS)
def test_a_node_uses_what_it_may_and_may_what_it_uses(bed, tmp_path, name):
    module = importlib.import_module(f"neuro_ros.nodes.{name}")
    cls = getattr(module, "".join(part.capitalize() for part in name.split("_")) + "Node")
    found = (set(), set(), set(), set())
    for number, parameters in enumerate(RUNS[name]):
        if name == "recorder":
            parameters = {**parameters, "path": str(tmp_path / f"bag{number}"), "show_progress": False}
        overrides = [Parameter(key, value=value) for key, value in parameters.items()]
        node = bed.add(cls(context=bed.context, namespace=bed.namespace, parameter_overrides=overrides))
        if isinstance(node, LifecycleShell):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        for total, names in zip(found, used(node), strict=True):
            total |= names
        bed.remove(node)
    allowed = access(name)
    for kind, names in zip(("publishes", "subscribes", "serves", "calls"), found, strict=True):
        rules = {full(rule, name, bed.namespace) for rule in getattr(allowed, kind)}
        assert names <= rules, f"{name} {kind} without a rule"
        assert rules <= names, f"{name} may more than it {kind}"
