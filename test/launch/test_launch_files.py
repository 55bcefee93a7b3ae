# SPDX-License-Identifier: Apache-2.0
"""The launch files describe the same graph as `neuro_ros up`, with the same options."""

import importlib.util
from pathlib import Path

import pytest

from neuro_ros.bringup.graph import GraphOptions, describe_graph
from neuro_ros.cores.parameters import parameter_infos
from neuro_ros.resources import share_directory

LAUNCH = share_directory() / "launch"
MODEL = Path(__file__).resolve().parents[1] / "data" / "replay" / "small.safetensors"
RECORDING = Path(__file__).resolve().parents[1] / "data" / "evlib_sample.aedat4"

pytestmark = pytest.mark.usefixtures("launch_packages")


def load(name):
    specification = importlib.util.spec_from_file_location(name.replace(".", "_"), LAUNCH / name)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.generate_launch_description()


def arguments(description):
    return {argument.name: argument for argument in description.get_launch_arguments()}


def nodes(description, **texts):
    """Return what a launch with these arguments would start."""
    from launch.actions import OpaqueFunction
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node

    from launch import LaunchContext

    context = LaunchContext()
    for name, argument in arguments(description).items():
        if argument.default_value is not None:
            context.launch_configurations[name] = perform_substitutions(context, argument.default_value)
    context.launch_configurations.update(texts)
    found = []
    for entity in description.entities:
        if isinstance(entity, OpaqueFunction):
            found += entity.execute(context)
    return [entity for entity in found if isinstance(entity, Node)]


def test_every_option_is_a_launch_argument():
    found = arguments(load("neuro_ros.launch.py"))
    assert set(found) == {*parameter_infos(GraphOptions), "params_file"}
    assert all(argument.description for argument in found.values())


def test_the_same_nodes_as_up():
    found = nodes(load("neuro_ros.launch.py"), model=str(MODEL), namespace="drone", gestures="2")
    graph = describe_graph(GraphOptions(model=str(MODEL), namespace="drone", gestures=2))
    assert [node.node_executable for node in found] == [spec.executable for spec in graph.nodes]
    assert all(node.node_package == "neuro_ros" for node in found)


def test_replay_needs_a_recording_and_ends_with_the_recorder(tmp_path):
    description = load("replay.launch.py")
    found = arguments(description)
    assert found["recording"].default_value is None
    assert "source" not in found
    texts = {"recording": str(RECORDING), "model": str(MODEL), "record": str(tmp_path / "bag")}
    started = nodes(description, **texts, until_finished="true")
    assert "recorder" in [node.node_executable for node in started]


def test_a_wrong_argument_is_a_clear_error():
    from neuro_ros.errors import NeuroRosError

    with pytest.raises(NeuroRosError, match=r"missing\.raw"):
        nodes(load("replay.launch.py"), recording="/nonexistent/missing.raw", model=str(MODEL))
    with pytest.raises(NeuroRosError, match="gestures: 'many'"):
        nodes(load("neuro_ros.launch.py"), gestures="many", model=str(MODEL))
