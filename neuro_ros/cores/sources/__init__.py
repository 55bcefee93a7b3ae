# SPDX-License-Identifier: Apache-2.0
"""Where ``event_camera`` gets events from when no driver publishes them: recordings, the simulator, a camera's SDK.

A source yields slices of sensor time; `Player` hands them out when they are due and can be stopped while it waits. A
new source is a module here and one line in `SOURCES`; its module is imported when somebody asks for it. This folder
refuses to know about ROS, threads and windows.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neuro_ros.errors import NeuroRosError

if TYPE_CHECKING:
    from neuro_ros.cores.parameters.event_camera import EventCameraParameters
    from neuro_ros.cores.sources.base import Source

__all__ = ["PLAYED", "SOURCES", "open_source"]

#: Source name to ``module:class``, called with the parameters; None = packets come from outside.
SOURCES: dict[str, str | None] = {
    "topic": None,
    "file": "neuro_ros.cores.sources.file:FileSource",
    "simulator": "neuro_ros.cores.sources.simulator:SimulatorSource",
    "inivation": "neuro_ros.cores.sources.inivation:InivationSource",
}

#: Sources that are played at the pace of sensor time; the others are cameras, which nobody can slow down.
PLAYED = frozenset({"file", "simulator"})


def open_source(parameters: EventCameraParameters) -> Source | None:
    """Open the source that the parameters name; None when events come from outside.

    Raises
    ------
    NeuroRosError
        What is missing or wrong, in one line.
    """
    if parameters.source not in SOURCES:
        raise NeuroRosError(f"unknown source {parameters.source!r}; known are {', '.join(SOURCES)}")
    place = SOURCES[parameters.source]
    if place is None:
        return None
    module, _, name = place.partition(":")
    opener: Any = getattr(importlib.import_module(module), name)
    source: Source = opener(parameters)
    return source
