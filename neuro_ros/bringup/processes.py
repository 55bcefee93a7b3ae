# SPDX-License-Identifier: Apache-2.0
"""Turns the description of the graph into processes: command lines, parameter files, environment.

The processes speak ROS; this module only knows the form of their command line and does not import rclpy.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuro_ros.bringup.graph import Graph, NodeSpec
from neuro_ros.bringup.supervisor import ProcessSpec
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.errors import UsageError

__all__ = ["default_log_directory", "node_environment", "parameter_file_text", "process_specs"]

# The manager first, since it takes the graph down in order; the recorder last, since it keeps what the others say.
_STOP_ORDER = {"lifecycle_manager": 0, "recorder": 2}
_MANAGED_STOP_ORDER = 1


def parameter_file_text(spec: NodeSpec) -> str:
    """Write the parameters of a node as a ROS parameter file.

    Raises
    ------
    ParameterError
        An empty list, which the file format cannot tell the type of.
    """
    lines = ["/**:", "  ros__parameters:"]
    for name, value in spec.parameters.items():
        if isinstance(value, list | tuple) and not value:
            raise ParameterError(f"{spec.name}.{name}: an empty list cannot be written to a parameter file")
        lines.append(f"    {name}: {_scalar(value)}")
    if not spec.parameters:
        lines[-1] += " {}"
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """Write a value so that YAML reads the same type: JSON is a part of YAML."""
    if isinstance(value, float):
        if math.isnan(value):
            return ".nan"
        if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        text = repr(value)
        # YAML takes 1e-05 for a string.
        return text if "." in text else text.replace("e", ".0e")
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def process_specs(graph: Graph, directory: Path, params_files: Sequence[Path] = ()) -> list[ProcessSpec]:
    """Describe the process of each node, and write its parameter file.

    Parameters
    ----------
    graph : Graph
        What to run.
    directory : Path
        Gets ``NAME.yaml`` for each node; made when missing.
    params_files : sequence of Path
        Further ROS parameter files, which win over the graph's own values.

    Raises
    ------
    ParameterError
        As `parameter_file_text`.
    UsageError
        The folder cannot be written.
    """
    specs = []
    for node in graph.nodes:
        path = directory / f"{node.name}.yaml"
        text = parameter_file_text(node)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; choose another folder for logs") from error
        arguments = ["--ros-args", "-r", f"__node:={node.name}", "-r", f"__ns:={graph.namespace or '/'}"]
        for old, new in node.remaps:
            arguments += ["-r", f"{old}:={new}"]
        if graph.enclave:
            arguments += ["--enclave", graph.enclave_of(node.name)]
        for file in (path, *params_files):
            arguments += ["--params-file", str(file)]
        recorder = node.executable == "recorder"
        specs.append(
            ProcessSpec(
                name=node.name,
                command=(sys.executable, "-m", "neuro_ros.nodes", node.executable, *arguments),
                respawn=node.respawn,
                ends_graph=node.ends_graph,
                stop_order=_STOP_ORDER.get(node.executable, _MANAGED_STOP_ORDER),
                # A bag is only readable once it has been closed.
                orphan_signal=signal.SIGTERM if recorder else signal.SIGKILL,
            )
        )
    return specs


def node_environment(log_directory: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the processes of a graph.

    Parameters
    ----------
    log_directory : Path
        Where ROS writes its own log files too.
    environment : mapping, optional
        To start from; this process's when not given. ROS domain and discovery range pass through unchanged.
    """
    return {
        **(os.environ if environment is None else environment),
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_COLORIZED_OUTPUT": "0",
        "ROS_LOG_DIR": str(log_directory / "ros"),
        # The nodes import this very package, wherever it was imported from.
        "PYTHONPATH": os.pathsep.join(_import_path()),
    }


def _import_path() -> list[str]:
    own = str(Path(__file__).resolve().parents[2])
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    found_already = any(Path(part or ".").resolve() == Path(own) for part in sys.path if "site-packages" in part)
    return given if found_already or own in given else [own, *given]


def default_log_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Choose a folder for one run's logs below the one that ROS uses."""
    environment = os.environ if environment is None else environment
    if environment.get("ROS_LOG_DIR"):
        base = Path(environment["ROS_LOG_DIR"])
    else:
        base = Path(environment.get("ROS_HOME") or Path.home() / ".ros") / "log"
    return base / f"neuro_ros_{time.strftime('%Y%m%d_%H%M%S')}_{os.getpid()}"
