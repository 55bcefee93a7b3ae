# SPDX-License-Identifier: Apache-2.0
"""Tumbling windows of a stream's sensor time, each a binary spike tensor.

Windows lie on the grid k * length with k = t // length. The first one holds the
first event; empty ones in between are made; `Windower.flush` makes the last,
partial one with its full nominal bounds. Within a window, which is half-open,

    bin = (t - start) * bins // length.

Every event is in exactly one place: binned, filtered (on purpose) or dropped
(loss) within one window, or dropped outside any window, by reason. Events of one
window may come in any order. This module refuses to know about files, messages
and host time.

Time that jumps
    An event before the current window is *late*. It is dropped, unless the
    policy is ``reset`` and it is late by more than a tolerance: then the sensor's
    clock was set back, the current window ends and a new one begins with this
    event. A gap without any event longer than `max_gap_ns` also starts anew,
    without empty windows in between, so that one damaged time word cannot make
    millions of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuro_ros.events._binning import SPARE_BYTES, bin_events, make_grid, take_bitmap
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.window_base import MAX_GAP_NS, BaseWindower

__all__ = ["Windower"]


class Windower(BaseWindower):
    """Cuts one stream into windows.

    Parameters
    ----------
    length_ns : int
        Length of a window.
    bins : int
        Equally long time bins in a window.
    geometry : Geometry
        Crop and scaling.
    sensor_width, sensor_height : int
        [px]; events beyond are dropped.
    polarity : {'both', 'on', 'off'}
        Events of the other polarity are filtered.
    late_policy : {'reset', 'drop'}
        What an event does that is late by more than the tolerance.
    late_tolerance_ns : int, optional
        Events late by no more are dropped under either policy; two windows by default.
    max_gap_ns : int
        Longest silence that is filled with empty windows.

    Attributes
    ----------
    counters : WindowCounters

    Raises
    ------
    WindowError
        When a length, a number or a policy cannot be.
    GeometryError
        When the crop leaves the sensor or the tensor is too large for a message.
    """

    length_ns: int

    def __init__(
        self,
        length_ns: int,
        bins: int,
        geometry: Geometry,
        sensor_width: int,
        sensor_height: int,
        *,
        polarity: str = "both",
        late_policy: str = "reset",
        late_tolerance_ns: int | None = None,
        max_gap_ns: int = MAX_GAP_NS,
    ) -> None:
        super().__init__(
            bins,
            geometry,
            sensor_width,
            sensor_height,
            length_ns=length_ns,
            polarity=polarity,
            late_policy=late_policy,
            late_tolerance_ns=2 * length_ns if late_tolerance_ns is None else late_tolerance_ns,
            max_gap_ns=max_gap_ns,
        )
        self._bitmap = np.zeros((len(self._empty) + 7) // 8 * 8 + SPARE_BYTES, np.uint8)
        self._bitmap_words = self._bitmap[:-SPARE_BYTES].view(np.uint64)
        self._grid = make_grid(geometry, sensor_width, sensor_height, polarity)
        self._last_ns = 0
        self.reset()

    def reset(self) -> None:
        """Forget the open window and the grid; its events count as dropped (``reset``)."""
        if self._offered:
            self._bitmap_words[:] = 0
        super().reset()

    def _open_at(self, time_ns: int) -> None:
        super()._open_at(time_ns)
        self._last_ns = time_ns

    def _fill(self, events: npt.NDArray[np.int64], index: int, marked: bool) -> int:
        index, binned, filtered, dropped, late, self._last_ns = bin_events(
            events,
            index,
            self._start_ns,
            self._slot_ns,
            self._earliest_ns,
            self.bins,
            *self._tables,
            *self._grid,
            self._plane_cells,
            marked,
            self._last_ns,
            self._bitmap,
        )
        self._known_until_ns = max(self._known_until_ns, self._last_ns + 1)
        self._count(binned, filtered, dropped, late)
        return index

    def _take_bitmap(self, end_ns: int) -> tuple[npt.NDArray[np.uint8], int]:  # noqa: ARG002 - of the interface
        words = np.empty_like(self._bitmap_words)
        active = take_bitmap(self._bitmap_words, words)
        return words.view(np.uint8)[: len(self._empty)], active
