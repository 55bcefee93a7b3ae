# SPDX-License-Identifier: Apache-2.0
"""When an alarm is raised and cleared: a frozen dataclass for each alarm, every field with its range and meaning.

The metadata has the form that the parameters of the nodes have, so that a limit becomes a ROS parameter, a line of the
README and of the YAML file without being written down twice. This module refuses to know what any alarm judges.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from neuro_ros.canary.errors import CanaryError

__all__ = ["Limits", "limit"]

#: Under this key `neuro_ros.cores.parameters` looks for the description of a field; a test compares the two.
_KEY = "neuro_ros.parameter"


def limit(
    default: Any, description: str, *, unit: str = "", minimum: float | None = None, maximum: float | None = None
) -> Any:
    """Declare a limit: a dataclass field that may be changed while the node runs."""
    metadata = {
        _KEY: {
            "description": description,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "choices": (),
            "dynamic": True,
        }
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """What every alarm has: a switch and a hysteresis.

    Raises
    ------
    CanaryError
        A value is not a number or outside its range.
    """

    enabled: bool = limit(True, "whether this alarm is judged at all")
    raise_after: int = limit(2, "bad reports in a row that raise it", minimum=1, maximum=1000)
    clear_after: int = limit(5, "good reports in a row that clear it", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value, info = getattr(self, item.name), item.metadata[_KEY]
            if isinstance(value, bool):
                continue
            low = -math.inf if info["minimum"] is None else info["minimum"]
            high = math.inf if info["maximum"] is None else info["maximum"]
            if not isinstance(value, int | float) or not low <= value <= high:
                raise CanaryError(
                    f"{item.name}: {value!r} is outside [{low:.12g}, {high:.12g}] {info['unit']}".rstrip()
                )
