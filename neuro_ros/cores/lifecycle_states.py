# SPDX-License-Identifier: Apache-2.0
"""The states, transitions and commands of a managed graph, and which leads to which; numbers are those of ROS.

This module refuses to know about rules and time: see `neuro_ros.cores.lifecycle_manager`.
"""

from __future__ import annotations

import enum

__all__ = ["GOALS", "REACHED", "SHUTDOWNS", "TOLD", "UP", "Command", "NodeState", "Transition"]


class NodeState(enum.IntEnum):
    """Primary states with the numbers of ``lifecycle_msgs/State``; higher is further up, FINALIZED aside."""

    UNKNOWN = 0
    UNCONFIGURED = 1
    INACTIVE = 2
    ACTIVE = 3
    FINALIZED = 4


class Transition(enum.IntEnum):
    """Transitions with the numbers of ``lifecycle_msgs/Transition``; QUERY asks for the state instead."""

    QUERY = 0
    CONFIGURE = 1
    CLEANUP = 2
    ACTIVATE = 3
    DEACTIVATE = 4
    UNCONFIGURED_SHUTDOWN = 5
    INACTIVE_SHUTDOWN = 6
    ACTIVE_SHUTDOWN = 7


class Command(enum.IntEnum):
    """Commands with the numbers of ``neuro_ros/srv/ManageGraph``."""

    STARTUP = 0
    PAUSE = 1
    RESUME = 2
    RESET = 3
    SHUTDOWN = 4
    STANDBY = 5
    WAKE = 6


#: States that a node may tell; others are on the way between two of them.
TOLD = frozenset(NodeState) - {NodeState.UNKNOWN}
GOALS = {
    Transition.CONFIGURE: NodeState.INACTIVE,
    Transition.CLEANUP: NodeState.UNCONFIGURED,
    Transition.ACTIVATE: NodeState.ACTIVE,
    Transition.DEACTIVATE: NodeState.INACTIVE,
    Transition.UNCONFIGURED_SHUTDOWN: NodeState.FINALIZED,
    Transition.INACTIVE_SHUTDOWN: NodeState.FINALIZED,
    Transition.ACTIVE_SHUTDOWN: NodeState.FINALIZED,
}
SHUTDOWNS = {
    NodeState.UNCONFIGURED: Transition.UNCONFIGURED_SHUTDOWN,
    NodeState.INACTIVE: Transition.INACTIVE_SHUTDOWN,
    NodeState.ACTIVE: Transition.ACTIVE_SHUTDOWN,
}
#: States that satisfy a command.
REACHED = {
    Command.STARTUP: {NodeState.ACTIVE},
    Command.RESUME: {NodeState.ACTIVE},
    Command.PAUSE: {NodeState.UNCONFIGURED, NodeState.INACTIVE},
    Command.RESET: {NodeState.UNCONFIGURED},
    Command.SHUTDOWN: {NodeState.FINALIZED},
    Command.STANDBY: {NodeState.UNCONFIGURED, NodeState.INACTIVE},
}
#: Commands under which a graph is up, so that it may go to standby.
UP = (Command.STARTUP, Command.RESUME, Command.STANDBY)
