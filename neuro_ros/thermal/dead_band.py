# SPDX-License-Identifier: Apache-2.0
"""Decides when a temperature has moved enough to act on it, so that noise does not reprogram a chip.

Inside the band around the value that was acted on last nothing happens. A temperature that leaves it is followed, in
every step, until it has been still for a while; then a new band begins around it. So what is left in the end is the
stillness, not the whole band, and a true ramp is not cut into jumps of the band's width.
"""

from __future__ import annotations

__all__ = ["DeadBand"]

_S = 1_000_000_000
#: A temperature is still when it stays within this part of the band ...
_STILL_SHARE = 0.25
#: ... for so long [ns].
_STILL_NS = 5 * _S


class DeadBand:
    """See the module's text.

    Parameters
    ----------
    width_celsius : float
        Half of the band: how far from the centre a temperature may go unanswered [degree Celsius]; 0 = not at all.

    Attributes
    ----------
    centre : float or None
        The temperature to act on [degree Celsius]; None before the first one.
    """

    def __init__(self, width_celsius: float) -> None:
        self.width = width_celsius
        self.centre: float | None = None
        self._following = True
        self._still_at = 0.0
        self._still_since_ns = 0

    def update(self, celsius: float, now_ns: int) -> float:
        """Take a temperature [degree Celsius] at host time `now_ns` [ns] and return the one to act on."""
        if self.centre is not None and not self._following:
            if abs(celsius - self.centre) <= self.width:
                return self.centre
            self._following = True
            self._still_at, self._still_since_ns = celsius, now_ns
        if self.centre is None or abs(celsius - self._still_at) > _STILL_SHARE * self.width:
            self._still_at, self._still_since_ns = celsius, now_ns
        elif not 0 <= now_ns - self._still_since_ns < _STILL_NS:  # also after a step back of the clock
            self._following = False
        self.centre = celsius
        return celsius

    def restore(self, celsius: float) -> None:
        """Go on from a temperature that was acted on before a restart."""
        self.centre, self._following = celsius, False
