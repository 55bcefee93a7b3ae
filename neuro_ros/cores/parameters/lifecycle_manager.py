# SPDX-License-Identifier: Apache-2.0
"""Parameters of the lifecycle manager; what it manages is described in `neuro_ros.bringup.graph`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuro_ros.cores.parameters._fields import ParameterError, parameter

__all__ = ["LifecycleManagerParameters"]


@dataclass(frozen=True)
class LifecycleManagerParameters:
    """What the lifecycle manager brings up, in which order, and how long it waits for whom."""

    node_names: tuple[str, ...] = parameter(
        ["clock_sync", "thermal_compensation", "event_camera", "snn_inference", "canary"],
        "lifecycle nodes to manage, relative to the manager's namespace, each after those it depends on",
    )
    depends_on: tuple[str, ...] = parameter(
        [
            "event_camera:clock_sync",
            "snn_inference:event_camera,thermal_compensation",
            "canary:snn_inference",
        ],
        "who must be active before whom, as node:other or node:other,another",
    )
    standby_keeps: tuple[str, ...] = parameter(
        ["thermal_compensation"],
        "nodes that stay active in standby, because they know when it may end, with all that they depend on",
    )
    autostart: bool = parameter(True, "bring the graph up at start; otherwise wait for the service manage_graph")
    configure_timeout_s: float = parameter(
        60.0, "a configure that has not answered for so long is checked", unit="s", minimum=0.1, maximum=3600.0
    )
    service_timeout_s: float = parameter(
        15.0, "the same for every other transition", unit="s", minimum=0.1, maximum=3600.0
    )
    query_timeout_s: float = parameter(
        1.0,
        "how long a node may take to tell its state; twice in a row means dead",
        unit="s",
        minimum=0.05,
        maximum=60.0,
    )
    lease_s: float = parameter(
        2.0, "without a heartbeat for so long a node is asked for its state", unit="s", minimum=0.5, maximum=60.0
    )
    poll_period_s: float = parameter(
        0.5, "how often missing, dead and unconfigured nodes are asked", unit="s", minimum=0.05, maximum=60.0
    )
    missing_timeout_s: float = parameter(
        5.0, "a node not seen for so long is reported as missing", unit="s", minimum=0.0, maximum=3600.0
    )
    retry_s: float = parameter(
        2.0,
        "a refused transition is tried again after so long, doubled each time up to a minute",
        unit="s",
        minimum=0.05,
        maximum=60.0,
    )
    shutdown_timeout_s: float = parameter(
        4.0,
        "at its end the manager takes so long at most to bring the graph down",
        unit="s",
        minimum=0.0,
        maximum=600.0,
    )

    def __post_init__(self) -> None:
        self.dependencies()

    def dependencies(self) -> Mapping[str, tuple[str, ...]]:
        """Return node to the nodes it depends on, in the order of `node_names`.

        Raises
        ------
        ParameterError
            A name stands twice, an entry is malformed, or a dependency is unknown or comes later.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name in self.node_names:
            if not name or name in found:
                raise ParameterError(f"node_names: {name!r} is empty or stands twice")
            found[name] = ()
        for entry in self.depends_on:
            if not entry:  # a YAML file cannot hold an empty list of strings, [''] stands for it
                continue
            name, colon, others = entry.partition(":")
            dependencies = tuple(part.strip() for part in others.split(",") if part.strip())
            if not colon or not dependencies or name not in found:
                raise ParameterError(f"depends_on: {entry!r} is not node:other[,another] with a node of node_names")
            found[name] += dependencies
        order = list(found)
        for name, dependencies in found.items():
            for other in dependencies:
                if other not in found or order.index(other) >= order.index(name):
                    raise ParameterError(f"depends_on: {name} depends on {other!r}, which must stand before it")
                if name in self.standby_keeps and other not in self.standby_keeps:
                    raise ParameterError(f"standby_keeps: {name} depends on {other!r}, which must be kept as well")
        return found
