# SPDX-License-Identifier: Apache-2.0
"""Brings the described graph up as processes, and says in one line what is wrong before anything is started."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuro_ros.bringup.graph import GraphOptions, describe_graph
from neuro_ros.bringup.processes import default_log_directory, node_environment, process_specs
from neuro_ros.bringup.security import check_enclaves
from neuro_ros.bringup.supervisor import Supervisor
from neuro_ros.errors import UsageError

__all__ = ["check_inputs", "check_ros", "check_source", "run_graph"]

_REFUSED = re.compile(r"\[lifecycle_manager\]: (\w+) refused to (\w+)")
#: Refusals of one node after which a run that should end by itself is given up.
_REFUSALS = 2


class _Listener:
    """Reads what the nodes print: shows the recorder's progress, and notices a graph that cannot come up."""

    def __init__(self, report: Callable[[str], None], give_up: bool, also: Callable[[str, str], None] | None) -> None:
        self.supervisor: Supervisor | None = None
        self._report = report
        self._give_up = give_up
        self._also = also
        self._refused: Counter[str] = Counter()

    def __call__(self, name: str, line: str) -> None:
        if name == "recorder" and line and not line.startswith("["):
            self._report(line)
        match = _REFUSED.search(line) if name == "lifecycle_manager" else None
        if match is not None:
            self._refused[match[1]] += 1
            if self._give_up and self._refused[match[1]] >= _REFUSALS and self.supervisor is not None:
                self._report(f"ERROR {match[1]} cannot {match[2]}, so the graph does not come up; giving up")
                self._give_up = False
                self.supervisor.stop(1)
        if self._also is not None:
            self._also(name, line)


def check_ros() -> None:
    """Say at once that there is no ROS here, instead of seven times later.

    Raises
    ------
    UsageError
        rclpy or the messages of this package cannot be found.
    """
    for module in ("rclpy", "neuro_ros.msg"):
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"{module} is not importable: source a ROS 2 install with this package, or . ./env.sh")


def check_source(options: GraphOptions) -> None:
    """Open the recording, so that a mistake is one line at once and not a log of a node later.

    Raises
    ------
    RecordingError
        It is missing or foreign.
    """
    if options.effective_source == "file":
        from neuro_ros.events import open_recording

        size = (options.width or None, options.height or None)
        with open_recording(options.recording, options.encoding or None, *size) as recording:
            next(iter(recording.batches()), None)


def check_inputs(options: GraphOptions) -> None:
    """Look at everything that the graph would open or make.

    Raises
    ------
    RecordingError
        The recording is missing or foreign.
    UsageError
        The folder for the bag exists already, or cannot be made.
    """
    check_source(options)
    if options.record:
        target = Path(options.record).expanduser()
        if target.exists():
            raise UsageError(f"{target} exists already; a bag is never overwritten, give another folder to record")
        parent = next(folder for folder in target.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise UsageError(f"{parent} cannot be written; give another folder to record")


def run_graph(
    options: GraphOptions,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    remaps: Sequence[tuple[str, str]] = (),
    params_files: Sequence[Path] = (),
    log_directory: Path | None = None,
    duration_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    report: Callable[[str], None],
    on_line: Callable[[str, str], None] | None = None,
    on_start: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Run the graph until it ends, is asked to end, or the time is over.

    Parameters
    ----------
    options : GraphOptions
        What to run.
    settings, remaps : see `describe_graph`
        Parameters by node, remappings for all.
    params_files : sequence of Path
        ROS parameter files for all nodes.
    log_directory : Path, optional
        For logs and parameter files; below ROS's own log folder when not given.
    duration_s : float, optional
        Stop after so long.
    environment : mapping, optional
        Environment of the nodes, e.g. with another ROS domain; this process's when not given.
    report : callable
        Takes lines for people.
    on_line : callable, optional
        Takes (node, line) of everything the nodes print.
    on_start : callable, optional
        Called once, before the first process is started, with a function that ends the graph, from any thread.

    Returns
    -------
    int
        0 after a clean end, 1 when something failed for good.

    Raises
    ------
    NeuroRosError
        Something given is missing or wrong; nothing was started.
    """
    if duration_s is not None and not 0.0 < duration_s < math.inf:
        raise UsageError(f"duration {duration_s:g} s is not a finite number above 0")
    for file in params_files:
        if not file.is_file():
            raise UsageError(f"{file}: no such parameter file")
    environment = os.environ if environment is None else environment
    directory = (log_directory or default_log_directory(environment)).absolute()
    if not options.state:
        # Of this run alone: a process that dies and is started again goes on where it was, the next run begins at rest.
        options = replace(options, state=str(directory / "state"))
    graph = describe_graph(options, settings, remaps)
    check_inputs(options)
    check_ros()
    check_enclaves(graph, environment)
    specs = process_specs(graph, directory, [file.absolute() for file in params_files])
    domain = environment.get("ROS_DOMAIN_ID", "0")
    names = ", ".join(node.name for node in graph.nodes)
    report(f"ROS domain {domain}, namespace {graph.namespace or '/'}, logs in {directory}")
    report(f"starting {names}")
    # A robot's graph is tried for ever; a run that should end by itself must not hang.
    listener = _Listener(report, give_up=options.until_finished, also=on_line)
    supervisor = Supervisor(
        specs,
        directory,
        environment=node_environment(directory, environment),
        duration_s=duration_s,
        on_line=listener,
        report=report,
    )
    listener.supervisor = supervisor
    if on_start is not None:
        on_start(supervisor.stop)
    return supervisor.run()
