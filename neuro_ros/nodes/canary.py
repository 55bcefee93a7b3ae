# SPDX-License-Identifier: Apache-2.0
"""The canary node."""

from __future__ import annotations

from typing import Any

from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node

__all__ = ["CanaryNode", "main"]


class CanaryNode(LifecycleShell):
    """Lifecycle node around `CanaryCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("canary", CanaryCore, CanaryParameters, **kwargs)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(CanaryNode)
