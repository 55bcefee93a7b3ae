# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: the graph's options as launch arguments, its nodes as launch actions.

``launch`` and ``launch_ros`` come with a full ROS 2 install only, so they are imported when a launch file asks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from neuro_ros.bringup.graph import Graph, GraphOptions, describe_graph
from neuro_ros.bringup.security import check_enclaves
from neuro_ros.bringup.up import check_inputs
from neuro_ros.cores.parameters import ParameterError, build, parameter_infos

__all__ = ["graph_arguments", "graph_description", "parse_arguments"]

_RESPAWN_DELAY_S = 1.0
_PARAMS_FILE = "params_file"
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def parse_arguments(texts: Mapping[str, str]) -> GraphOptions:
    """Convert launch arguments, which are texts, to the graph's options.

    Raises
    ------
    ParameterError
        A text is not of the option's type, or the options do not fit each other.
    """
    values: dict[str, Any] = {}
    for name, info in parameter_infos(GraphOptions).items():
        text = texts.get(name)
        if text is None:
            continue
        try:
            if info.type is bool:
                if text.lower() not in (*_YES, *_NO):
                    raise ValueError
                values[name] = text.lower() in _YES
            else:
                values[name] = info.type(text)
        except ValueError:
            raise ParameterError(f"{name}: {text!r} is not a {info.type.__name__}") from None
    return build(GraphOptions, values)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def graph_arguments(fixed: Collection[str] = (), required: Collection[str] = ()) -> list[Any]:
    """Declare one launch argument for each option of the graph, and ``params_file``.

    Parameters
    ----------
    fixed : collection of str
        Options that the launch file decides itself.
    required : collection of str
        Options without a default.
    """
    from launch.actions import DeclareLaunchArgument

    found = []
    for name, info in parameter_infos(GraphOptions).items():
        if name in fixed:
            continue
        options: dict[str, Any] = {"description": info.description + (f" [{info.unit}]" if info.unit else "")}
        if name not in required:
            options["default_value"] = _text(info.default)
        if info.choices:
            options["choices"] = list(info.choices)
        found.append(DeclareLaunchArgument(name, **options))
    found.append(DeclareLaunchArgument(_PARAMS_FILE, default_value="", description="ROS parameter file for all nodes"))
    return found


def graph_description(fixed: Mapping[str, str] | None = None, required: Collection[str] = ()) -> Any:
    """Return the launch description of the whole graph.

    Parameters
    ----------
    fixed : mapping, optional
        Option to text, for options that the launch file decides itself.
    required : collection of str
        Options that must be given.
    """
    from launch.actions import OpaqueFunction

    from launch import LaunchDescription

    fixed = fixed or {}

    def actions(context: Any) -> list[Any]:
        texts = {**context.launch_configurations, **fixed}
        options = parse_arguments(texts)
        check_inputs(options)
        graph = describe_graph(options)
        check_enclaves(graph)
        return _node_actions(graph, texts.get(_PARAMS_FILE, ""))

    return LaunchDescription([*graph_arguments(fixed, required), OpaqueFunction(function=actions)])


def _node_actions(graph: Graph, params_file: str) -> list[Any]:
    from launch.actions import Shutdown
    from launch_ros.actions import Node

    files = [str(Path(params_file).expanduser().absolute())] if params_file else []
    found = []
    for spec in graph.nodes:
        options: dict[str, Any] = {}
        if spec.respawn:
            options |= {"respawn": True, "respawn_delay": _RESPAWN_DELAY_S}
        if spec.ends_graph:
            options["on_exit"] = Shutdown(reason=f"{spec.name} has ended")
        if graph.enclave:
            options["ros_arguments"] = ["--enclave", graph.enclave_of(spec.name)]
        found.append(
            Node(
                package="neuro_ros",
                executable=spec.executable,
                name=spec.name,
                namespace=graph.namespace,
                parameters=[*([dict(spec.parameters)] if spec.parameters else []), *files],
                remappings=list(spec.remaps),
                output="screen",
                **options,
            )
        )
    return found
