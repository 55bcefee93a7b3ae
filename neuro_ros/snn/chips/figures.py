# SPDX-License-Identifier: Apache-2.0
"""Numbers about hardware, none without its source: a value, its unit, where it was read, and how far to trust it.

No hardware is at hand and most of these numbers are not in a data sheet, so a bare constant would claim more than is
known. A number that nobody publishes is None: the mapper does not check it, and says so.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from neuro_ros.errors import NeuroRosError

__all__ = ["ChipError", "Confidence", "Figure", "unknown"]


class ChipError(NeuroRosError):
    """A chip profile is unknown or contradicts itself, or a network cannot be judged for a chip."""


class Confidence(enum.Enum):
    """How far to trust a figure."""

    HIGH = "high"  # the maker's own paper or documentation
    MEDIUM = "medium"  # tools or surveys that agree with each other
    LOW = "low"  # sources disagree, or the figure stands in for one that is not published
    UNKNOWN = "unknown"  # nothing found: not checked


@dataclass(frozen=True)
class Figure:
    """One number about a chip.

    Parameters
    ----------
    value : float, tuple of float, or None
        Above 0; a tuple holds one value a core, or the allowed values; None = not published.
    unit : str
        What it counts.
    source : str
        Where it was read: publication, documentation page, or the arithmetic that led to it.
    confidence : Confidence
        UNKNOWN exactly when there is no value.
    note : str
        What other sources say, or what the number stands for.

    Raises
    ------
    ChipError
        When a value is not a positive number, or value and confidence contradict each other.
    """

    value: float | tuple[float, ...] | None
    unit: str
    source: str
    confidence: Confidence
    note: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.confidence is Confidence.UNKNOWN):
            raise ChipError(
                f"figure {self.value!r} [{self.unit}] with confidence {self.confidence.value}: no value = unknown"
            )
        for value in self.values:
            if not 0.0 <= value < math.inf:
                raise ChipError(f"figure {value!r} [{self.unit}] is not a finite number of at least 0")
        if self.value is not None and not self.values:
            raise ChipError(f"figure [{self.unit}] is an empty tuple; give a value, or None for what is not published")
        if not self.unit or not self.source:
            raise ChipError(f"figure {self.value!r} lacks {'its unit' if not self.unit else 'its source'}")

    @property
    def known(self) -> bool:
        """True when there is a value."""
        return self.value is not None

    @property
    def values(self) -> tuple[float, ...]:
        """All values, empty when none is known."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def top(self) -> float:
        """The largest value; infinite when none is known, so that nothing exceeds it."""
        return max(self.values, default=math.inf)


def unknown(unit: str, source: str = "no public figure found", note: str = "") -> Figure:
    """Return the figure that nobody publishes."""
    return Figure(None, unit, source, Confidence.UNKNOWN, note)
