# SPDX-License-Identifier: Apache-2.0
"""The canary node: it judges, and calls for what the rules of a roll-out ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.core import Health, Output
from neuro_ros.cores.messages import CanaryReport
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node
from neuro_ros.nodes.switch_request import RuleCaller

__all__ = ["CanaryNode", "main"]


class CanaryNode(LifecycleShell):
    """Lifecycle node around `CanaryCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        self._caller: RuleCaller | None = None
        super().__init__("canary", CanaryCore, CanaryParameters, **kwargs)

    def configured(self) -> None:
        """Look for the node that runs the models."""
        if self.parameters.rollout.network:
            self._caller = RuleCaller(self, self.parameters.rollout.network)

    def deactivating(self) -> None:
        """Want nothing any more."""
        if self._caller is not None:
            self._caller.forget()

    def released(self) -> None:
        """Let go of the client."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish; with every report, call for what the rules ask."""
        super().publish(outputs)
        if self._caller is not None and any(isinstance(output.message, CanaryReport) for output in outputs):
            self._caller.want(self.core.request)

    def extra_health(self) -> Sequence[Health]:
        """Show what was asked for."""
        return () if self._caller is None else (self._caller.health(),)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(CanaryNode)
