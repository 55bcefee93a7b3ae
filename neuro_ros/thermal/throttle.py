# SPDX-License-Identifier: Apache-2.0
"""Decides how much load a temperature allows, with hysteresis, before the kernel decides by slowing everything down.

Level 0: everything runs. Level 1: what is not needed to fly stops, the shadow model. Level 2: standby. A level is
entered at its limit and left when the temperature has fallen below the limit by the hysteresis. The length of a window
is no means of saving load: it is the time step that the network was trained with.
"""

from __future__ import annotations

from neuro_ros.thermal.sensors import ThermalError

__all__ = ["Throttle"]


class Throttle:
    """See the module's text.

    Parameters
    ----------
    level1_celsius, level2_celsius : float
        Limits of the levels [degree Celsius].
    hysteresis_celsius : float
        How far below its limit a level is left [degree Celsius].

    Attributes
    ----------
    level : int
        0, 1 or 2.
    changes : int
        How often it has changed.

    Raises
    ------
    ThermalError
        The limits are in the wrong order, or there is no hysteresis.
    """

    def __init__(self, level1_celsius: float, level2_celsius: float, hysteresis_celsius: float) -> None:
        self.level = 0
        self.changes = 0
        self.limits(level1_celsius, level2_celsius, hysteresis_celsius)

    def limits(self, level1_celsius: float, level2_celsius: float, hysteresis_celsius: float) -> None:
        """Replace the limits, keep the level."""
        if not level1_celsius < level2_celsius:
            raise ThermalError(
                f"throttle level1_celsius {level1_celsius:g} must be below level2_celsius ({level2_celsius:g})"
            )
        if not hysteresis_celsius > 0.0:
            raise ThermalError(f"throttle hysteresis_celsius {hysteresis_celsius:g} must be above 0")
        self._limits = (level1_celsius, level2_celsius)
        self._hysteresis = hysteresis_celsius

    @property
    def leaves_below_celsius(self) -> float:
        """Temperature below which the present level is left [degree Celsius]; NaN on level 0."""
        return self._limits[self.level - 1] - self._hysteresis if self.level else float("nan")

    def update(self, celsius: float) -> int:
        """Take a temperature in use [degree Celsius] and return the level; NaN changes nothing."""
        before = self.level
        while self.level < len(self._limits) and celsius >= self._limits[self.level]:
            self.level += 1
        while self.level > 0 and celsius < self._limits[self.level - 1] - self._hysteresis:
            self.level -= 1
        self.changes += self.level != before
        return self.level
