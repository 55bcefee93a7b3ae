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

A cell is *isolated* when nothing else is set at its site and the eight around it, in its bin and the ones before and
after. An edge goes on to the next site or stays, so that hardly any of its cells are isolated: those are noise, and
noise knows what the picture does not. A world of inverted contrast has the edges of an inverted camera, but the pixels'
leakage makes ON events in every world, wherever there is light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COHERENCE_MOVING", "SceneStatistics", "SceneSummary", "SceneWindow", "isolated", "look"]

#: Coherence from which a window shows motion. Measured at 32 x 32 sites: noise of 0.1 to 3 Hz a pixel stays below 0.1,
#: simulated gestures under noise of up to 1 Hz are above 0.4.
COHERENCE_MOVING = 0.25
#: Share of the sites that is left out because of hot pixels.
_HOT_SHARE = 0.005
#: Share of the sites whose isolated cells of a report are left out, those with most: hot pixels have one polarity each,
#: and 0.05 % of the simulator's pixels, sixteen to a site, are hot.
_HOT_ISOLATED_SHARE = 0.01


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


def isolated(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.int64]:
    """Return the isolated cells of a window, see the module.

    Parameters
    ----------
    cells : (bins, 2, height * width) uint8
        0 or 1; OFF and ON.
    height, width : int
        Sites.

    Returns
    -------
    (2, height * width) int64
        How many of OFF and of ON there are at each site.
    """
    bins = len(cells)
    crowd = np.zeros((bins + 2, height + 2, width + 2), np.uint8)  # 54 at most
    crowd[1:-1, 1:-1, 1:-1] = (cells[:, 0] + cells[:, 1]).reshape(bins, height, width)
    crowd = crowd[:-2] + crowd[1:-1] + crowd[2:]
    crowd = crowd[:, :-2] + crowd[:, 1:-1] + crowd[:, 2:]
    crowd = crowd[:, :, :-2] + crowd[:, :, 1:-1] + crowd[:, :, 2:]
    alone = (crowd == 1).reshape(bins, 1, -1)
    return (cells * alone).sum(axis=0, dtype=np.int64)


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
    isolated, isolated_on : int
        Isolated cells of all windows, still ones included, and those of them with polarity ON; without those of the
        few sites that have most.
    """

    windows: int = 0
    moving_share: float = math.nan
    on_share: float = math.nan
    events_in: int = 0
    events_dropped: int = 0
    isolated: int = 0
    isolated_on: int = 0


class SceneStatistics:
    """Collects windows from one report to the next."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._windows = self._moving = self._active = self._on = self._events = self._dropped = 0
        self._isolated: NDArray[np.int64] | None = None

    def add(
        self,
        window: SceneWindow,
        withheld: int,
        events_in: int,
        events_dropped: int,
        alone: NDArray[np.int64] | None = None,
    ) -> None:
        """Take a window with its isolated cells, and the still ones that were withheld before it."""
        if alone is not None:
            # Another size of tensor is another camera: what was counted of the last one is dropped.
            same = self._isolated is not None and self._isolated.shape == alone.shape
            self._isolated = self._isolated + alone if self._isolated is not None and same else alone
        self._windows += 1 + withheld
        self._events += events_in
        self._dropped += events_dropped
        if window.coherence >= COHERENCE_MOVING:
            self._moving += 1
            self._active += window.active
            self._on += window.on

    def take(self) -> SceneSummary:
        """Return the figures since the last call, and begin anew."""
        alone = np.zeros((2, 1), np.int64)
        if self._isolated is not None:
            alone = self._isolated
            hot = math.ceil(_HOT_ISOLATED_SHARE * alone.shape[1])
            alone = alone[:, np.argsort(alone.sum(axis=0), kind="stable")[: alone.shape[1] - hot]]
        summary = SceneSummary(
            windows=self._windows,
            moving_share=self._moving / self._windows if self._windows else math.nan,
            on_share=self._on / self._active if self._active else math.nan,
            events_in=self._events,
            events_dropped=self._dropped,
            isolated=int(alone.sum()),
            isolated_on=int(alone[1].sum()),
        )
        self._clear()
        return summary
