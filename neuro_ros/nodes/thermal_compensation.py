# SPDX-License-Identifier: Apache-2.0
"""The thermal_compensation node: a bus that hangs holds up a thread of its own, and heat is told to the manager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuro_ros.cores.core import Health, Output
from neuro_ros.cores.messages import ThermalCompensation
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.cores.thermal_compensation import ThermalCompensationCore
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node
from neuro_ros.nodes.standby import StandbyRequest

__all__ = ["ThermalCompensationNode", "main"]

#: Level from which on the graph is to be in standby.
_STANDBY_LEVEL = 2
_KNOWN = (ThermalCompensation.NOMINAL, ThermalCompensation.COMPENSATING)


class ThermalCompensationNode(LifecycleShell):
    """Lifecycle node around `ThermalCompensationCore`; ``**kwargs`` as in `LifecycleShell`."""

    def __init__(self, **kwargs: Any) -> None:
        self._standby: StandbyRequest | None = None
        super().__init__(
            "thermal_compensation", ThermalCompensationCore, ThermalCompensationParameters, threaded=True, **kwargs
        )

    def configured(self) -> None:
        """Look for the lifecycle manager."""
        if self.parameters.throttle.manager:
            self._standby = StandbyRequest(self, self.parameters.throttle.manager)

    def deactivating(self) -> None:
        """Want nothing of the manager any more."""
        if self._standby is not None:
            self._standby.forget()

    def released(self) -> None:
        """Let go of the manager's client."""
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.close()

    def publish(self, outputs: Sequence[Output]) -> None:
        """Publish, and ask the manager for what the temperature allows; without one nothing is asked."""
        super().publish(outputs)
        standby = self._standby
        for output in outputs:
            if standby is not None and isinstance(output.message, ThermalCompensation):
                hot = output.message.throttle_level >= _STANDBY_LEVEL
                if hot or output.message.state in _KNOWN:
                    standby.want(hot)

    def extra_health(self) -> Sequence[Health]:
        """Show what was asked of the manager."""
        return () if self._standby is None else (self._standby.health(),)


def main() -> int:
    """Run the node until it is asked to end; return the exit status."""
    return run_node(ThermalCompensationNode)
