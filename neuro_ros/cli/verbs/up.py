# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros up``: the whole graph as processes, without ``ros2 launch``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuro_ros.bringup.graph import GraphOptions

SUMMARY = "bring the graph up as processes and keep it up, without ros2 launch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: every option of the graph, and how long to run."""
    from neuro_ros.bringup.graph import GraphOptions
    from neuro_ros.cores.parameters import parameter_infos

    graph = parser.add_argument_group("graph")
    for info in parameter_infos(GraphOptions).values():
        option = "--" + info.name.replace("_", "-")
        text = info.description + (f" [{info.unit}]" if info.unit else "")
        if info.type is bool:
            graph.add_argument(option, dest=info.name, action="store_true", help=text)
            continue
        default = "" if info.default in ("", 0) else f" (default {info.default})"
        choices = info.choices or None
        metavar = None if choices else {int: "N", float: "X", str: "TEXT"}[info.type]
        graph.add_argument(
            option,
            dest=info.name,
            type=info.type,
            choices=choices,
            metavar=metavar,
            help=text.replace("%", "%%") + default,
        )
    parser.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="set a parameter"
    )
    parser.add_argument(
        "--params-file", type=Path, action="append", default=[], help="ROS parameter file for all nodes"
    )
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="remap a name in all nodes")
    parser.add_argument("--log-dir", type=Path, help="folder for the logs of this run (default below ~/.ros/log)")


def _options(args: argparse.Namespace) -> GraphOptions:
    from neuro_ros.bringup.graph import GraphOptions
    from neuro_ros.cores.parameters import build, parameter_infos

    values: dict[str, Any] = {name: getattr(args, name) for name in parameter_infos(GraphOptions)}
    return build(GraphOptions, {name: value for name, value in values.items() if value is not None})


def main(args: argparse.Namespace) -> int:
    """Bring the graph up; 0 after a clean end, 1 when a process failed for good."""
    from neuro_ros.bringup.graph import parse_remaps, parse_settings
    from neuro_ros.bringup.up import run_graph

    return run_graph(
        _options(args),
        settings=parse_settings(args.settings),
        remaps=parse_remaps(args.remap),
        params_files=args.params_file,
        log_directory=args.log_dir,
        duration_s=args.duration,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
