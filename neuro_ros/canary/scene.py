# SPDX-License-Identifier: Apache-2.0
"""Does the scene move? And how are the polarities shared? What an alarm has to know before it blames the network.

A still scene is not free of events: every pixel has noise of its own, and on a sensor that is pooled down for a network
noise alone can set as many input cells as a moving arm. What tells them apart is not how many events come but where. A
moving edge sets the same site (a place of the image) in several bins of a window; noise falls anywhere.

This module refuses to know about messages and networks.

Notes
-----
With n cells set at a site over all bins and polarities of a window, the *coherence* is

    c = sum(n (n - 1)) / sum(n) - mean(n)

the number of companions that an event has at its site, less what chance gives: independent cells give
``E[n (n - 1)] <= E[n]^2``, hence c = 0 but for a sampling error near ``sqrt(2 / sites)``, whatever the noise. The few
sites with most cells are left out, because a hot pixel has companions too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COHERENCE_MOVING", "SceneStatistics", "SceneSummary", "SceneWindow", "look"]

#: Coherence from which a window shows motion. Measured at 32 x 32 sites: noise of 0.1 to 3 Hz a pixel stays below 0.1,
#: simulated gestures under noise of up to 1 Hz are above 0.4.
COHERENCE_MOVING = 0.25
#: Share of the sites that is left out because of hot pixels.
_HOT_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class SceneWindow:
    """One window in three figures.

    Parameters
    ----------
    active, on : int
        Cells set, and those of them with polarity ON.
    coherence : float
        See the module; 0 for an empty window.
    """

    active: int
    on: int
    coherence: float


def look(cells: NDArray[np.uint8]) -> SceneWindow:
    """Return the figures of a window.

    Parameters
    ----------
    cells : (bins, channels, sites) uint8
        0 or 1; the last channel is ON where there are two.
    """
    by_site = cells.sum(axis=0, dtype=np.int64)
    on = int(by_site[-1].sum()) if len(by_site) > 1 else 0
    counts = by_site.sum(axis=0)
    active = int(counts.sum())
    hot = math.ceil(_HOT_SHARE * counts.size)
    if counts.size > hot:
        counts = np.partition(counts, counts.size - hot)[: counts.size - hot]
    total = int(counts.sum())
    if not total:
        return SceneWindow(active, on, 0.0)
    return SceneWindow(active, on, float((counts * (counts - 1)).sum()) / total - total / counts.size)


@dataclass(frozen=True, slots=True)
class SceneSummary:
    """What the windows since the last report showed.

    Parameters
    ----------
    windows : int
        Windows, withheld ones included.
    moving_share : float
        Share of them that showed motion, 0..1; NaN without a window.
    on_share : float
        Share of polarity ON among the cells set in moving windows, 0..1; NaN without one.
    events_in, events_dropped : int
        Events offered to the windows, and those of them that were lost.
    """

    windows: int = 0
    moving_share: float = math.nan
    on_share: float = math.nan
    events_in: int = 0
    events_dropped: int = 0


class SceneStatistics:
    """Collects windows from one report to the next."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._windows = self._moving = self._active = self._on = self._events = self._dropped = 0

    def add(self, window: SceneWindow, withheld: int, events_in: int, events_dropped: int) -> None:
        """Take a window, and the still ones that were withheld before it."""
        self._windows += 1 + withheld
        self._events += events_in
        self._dropped += events_dropped
        if window.coherence >= COHERENCE_MOVING:
            self._moving += 1
            self._active += window.active
            self._on += window.on

    def take(self) -> SceneSummary:
        """Return the figures since the last call, and begin anew."""
        summary = SceneSummary(
            windows=self._windows,
            moving_share=self._moving / self._windows if self._windows else math.nan,
            on_share=self._on / self._active if self._active else math.nan,
            events_in=self._events,
            events_dropped=self._dropped,
        )
        self._clear()
        return summary
