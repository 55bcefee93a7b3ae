# SPDX-License-Identifier: Apache-2.0
"""Asks a running graph for a switch of models, from a program that must not import rclpy: a child process does.

The child (`neuro_ros.nodes.switch_client`) stays for as long as there may be another question, since to import the
middleware takes longer than to ask.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from neuro_ros.bringup.processes import node_environment
from neuro_ros.bringup.up import check_ros
from neuro_ros.errors import NeuroRosError, UsageError

__all__ = ["COMMANDS", "PHASES", "SwitchClient", "SwitchError"]

PHASES = ("BASELINE", "SHADOW", "CANARY", "PROMOTED", "ROLLED_BACK")
#: Commands of ``SwitchModel`` by name.
COMMANDS: Mapping[str, int] = {"shadow": 1, "canary": 2, "promote": 3, "rollback": 4, "cancel": 5, "status": 6}


class SwitchError(NeuroRosError):
    """No graph answers."""


class SwitchClient:
    """A client of ``switch_model`` in a process of its own; a context.

    Parameters
    ----------
    node : str
        Name of the node that runs the models.
    namespace : str
        Its namespace; empty = the root.
    timeout_s : float
        How long to look for the node, and to wait for an answer [s].
    environment : mapping, optional
        Of the child, e.g. with another ROS domain; this process's when not given.

    Raises
    ------
    UsageError
        There is no ROS here.
    """

    def __init__(
        self,
        node: str = "snn_inference",
        namespace: str = "",
        timeout_s: float = 10.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        check_ros()
        given = os.environ if environment is None else environment
        # ROS's own log of the child goes where the caller's would.
        variables = node_environment(Path(given.get("ROS_HOME") or Path.home() / ".ros") / "log", given)
        if not given.get("ROS_LOG_DIR"):
            del variables["ROS_LOG_DIR"]
        else:
            variables["ROS_LOG_DIR"] = given["ROS_LOG_DIR"]
        command = [sys.executable, "-m", "neuro_ros.nodes.switch_client", node, repr(timeout_s)]
        if namespace.strip("/"):
            command += ["--ros-args", "-r", f"__ns:=/{namespace.strip('/')}"]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    def __enter__(self) -> SwitchClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command and return the answer.

        Parameters
        ----------
        command : str
            One of `COMMANDS`.
        **fields
            More fields of ``SwitchModel.Request``.

        Returns
        -------
        dict
            The fields of the response; ``phase`` by name and ``history`` as a list of dicts.

        Raises
        ------
        SwitchError
            No graph answers.
        UsageError
            There is no such command.
        """
        if command not in COMMANDS:
            raise UsageError(f"{command!r} is no command; there are: {', '.join(COMMANDS)}")
        stdin, stdout = self._child.stdin, self._child.stdout
        line = ""
        if stdin is not None and stdout is not None:
            try:
                stdin.write(json.dumps({"command": COMMANDS[command], **fields}) + "\n")
                stdin.flush()
                line = stdout.readline()
            except (BrokenPipeError, ValueError):
                line = ""
        if not line:
            raise SwitchError("the client of switch_model has ended; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SwitchError(answer["error"])
        phase = answer["phase"]
        answer["phase"] = PHASES[phase] if phase < len(PHASES) else str(phase)
        answer["history"] = [json.loads(item) for item in answer["history"]]
        return answer

    def close(self) -> None:
        """End the child; safe twice."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        try:
            self._child.wait(5.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
