# SPDX-License-Identifier: Apache-2.0
"""The thermal_compensation node."""

from __future__ import annotations

from typing import Any

from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.cores.thermal_compensation import ThermalCompensationCore
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node

__all__ = ["ThermalCompensationNode", "main"]


class ThermalCompensationNode(LifecycleShell):
    """Lifecycle node around `ThermalCompensationCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("thermal_compensation", ThermalCompensationCore, ThermalCompensationParameters, **kwargs)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(ThermalCompensationNode)
