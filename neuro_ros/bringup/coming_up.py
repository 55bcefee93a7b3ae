# SPDX-License-Identifier: Apache-2.0
"""What a graph waits for while it comes up, in one line for people, from what its nodes say in the diagnostics.

Nothing is guessed from the time: a node that has been asked to configure and has not answered is configuring, and what
that may take long for is said. What is recorded is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ComingUp"]

_ACTIVE = "active"
#: What a transition is called while it is under way.
_DOING = {
    "configure": "to configure (the first run compiles, about a minute)",
    "activate": "to activate",
}
#: Statuses of nodes that wait for their listeners (`neuro_ros.nodes`), by the end of their name.
_LISTENING = (": player", ": listeners")
_WAITS = "waiting for "


class ComingUp:
    """Gathers what the lifecycle manager and the nodes tell.

    Parameters
    ----------
    manager : str
        Name of the lifecycle manager.
    """

    def __init__(self, manager: str) -> None:
        self._manager = manager
        self._states: dict[str, tuple[str, str]] = {}
        self._waits: dict[str, str] = {}

    def take(self, name: str, message: str, values: Mapping[str, str]) -> None:
        """Take one status of ``/diagnostics``: its name, message and values."""
        node, _, what = name.partition(": ")
        if node == self._manager and "depends_on" in values:
            self._states[what] = (values.get("state", ""), values.get("asked", ""))
        elif name.endswith(_LISTENING):
            self._waits[node] = message if message.startswith(_WAITS) else ""

    def text(self) -> str:
        """Return what is waited for; empty when nothing is known to be."""
        if not self._states:
            return f"{_WAITS}{self._manager} to start"
        down = {node: asked for node, (state, asked) in self._states.items() if state != _ACTIVE}
        doing = [f"{node} {_DOING.get(asked, f'to {asked}')}" for node, asked in down.items() if asked]
        missing = [node for node in down if self._states[node][0] == "unknown"]
        if doing:
            return _WAITS + ", ".join(doing)
        if missing:
            return f"{_WAITS}{', '.join(missing)} to start"
        if down:
            return f"{_WAITS}{', '.join(down)} to come up"
        return "; ".join(f"{node}: {text}" for node, text in self._waits.items() if text)
