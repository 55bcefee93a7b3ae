# SPDX-License-Identifier: Apache-2.0
"""Finds the parameter dataclass of a node by its name: ``clock_sync`` has ``clock_sync.ClockSyncParameters``."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

__all__ = ["node_names", "parameter_class"]


def node_names() -> list[str]:
    """Return the names of all nodes that have parameters, in alphabetical order."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def parameter_class(node: str) -> type:
    """Return the parameter dataclass of a node.

    Raises
    ------
    KeyError
        When there is no such node.
    """
    if node not in node_names():
        raise KeyError(node)
    module = importlib.import_module(f"neuro_ros.cores.parameters.{node}")
    found: type = getattr(module, "".join(part.capitalize() for part in node.split("_")) + "Parameters")
    return found
