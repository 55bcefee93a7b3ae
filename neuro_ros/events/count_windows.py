# SPDX-License-Identifier: Apache-2.0
"""Windows that close after so many events, or at the end of a time slot, whichever comes first.

With a count alone, the first window starts at the first event. With a length too, slots lie on the grid of
`Windower`, k * length, and a slot holds one window, or several where it is busy. Either way windows follow on
each other without a gap, half-open, and within one

    bin = (max(t, start) - start) * bins // (end - start).

A window closes with its N-th event that falls into a cell, at the end = (latest time in it) + 1 ns; what is
filtered or dropped does not count towards N, and is counted in the window in which it fell. The end is known only
then, so that the events of the open window, N at most, are kept until.

Equal times
    The cut comes exactly after the N-th event. Events of the same time that follow belong to the next window,
    although it starts 1 ns later, and fall into its first bin: hence the maximum above. A window is at least
    1 ns long, so that a burst of one time may push starts ahead of it, by 1 ns a window.

Time that jumps
    An event before the latest time of the window before, or before the end of the slot before, is *late* and
    treated as by `Windower`. So is a gap longer than `max_gap_ns`; with a count alone it also ends the open
    window, at the end above, and so does an hour without N events.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._binning import MARK_BITS, OUTSIDE, POLARITY_BIT
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.tensor import count_active
from neuro_ros.events.window_base import MAX_GAP_NS, TIME_LIMIT_NS, BaseWindower, SpikeWindow, WindowError

__all__ = ["MAX_COUNT", "CountWindower"]

#: Most events that a window by count may wait for: 48 MB of buffer.
MAX_COUNT = 1 << 22

# Without a length of a window to derive it from; two windows of the default length.
_TOLERANCE_NS = 100_000_000

# Slots of the kernel's counts. KNOWN: up to where the stream is known; NEWEST: latest time in the open window.
_BINNED, _FILTERED, _DROPPED, _LATE, _KNOWN, _NEWEST, _SLOTS = range(7)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _collect(
    events, begin, floor_ns, earliest_ns, until_ns, gap_ns, x_table, y_table, p_table, looked_up, times, places, counts
):
    """Take events into the open window until it is full or one lies beyond it; return the place of the next."""
    binned = counts[_BINNED]
    filtered = np.int64(0)
    dropped = np.int64(0)
    late = np.int64(0)
    known_ns = counts[_KNOWN]
    newest_ns = counts[_NEWEST]
    index = begin
    while index < len(events) and binned < len(times):
        time_ns = events[np.uintp(index), 0]
        if time_ns >= until_ns or time_ns < earliest_ns or time_ns - known_ns > gap_ns:
            break
        index += 1
        known_ns = max(known_ns, time_ns + 1)
        if time_ns < floor_ns:
            late += 1
            continue
        newest_ns = max(newest_ns, time_ns)
        word = events[np.uintp(index - 1), 1]
        place = (
            np.int64(x_table[np.uintp(word & 0xFFFF)])
            + np.int64(y_table[np.uintp((word >> 16) & 0xFFFF)])
            + np.int64(p_table[np.uintp((word >> 32) & looked_up)])
        )
        if place >= 0:
            times[np.uintp(binned)] = time_ns
            places[np.uintp(binned)] = place
            binned += 1
        elif place < OUTSIDE // 2:
            dropped += 1
        else:
            filtered += 1
    counts[_BINNED] = binned
    counts[_FILTERED] += filtered
    counts[_DROPPED] += dropped
    counts[_LATE] += late
    counts[_KNOWN] = known_ns
    counts[_NEWEST] = newest_ns
    return index


@numba.njit(cache=True, nogil=True)
@no_type_check
def _set_cells(times, places, start_ns, length_ns, bins, plane_cells, bitmap):
    # Events come nearly in order, so that the division is rare.
    bin_from = np.int64(1)
    bin_until = np.int64(0)
    bin_base = np.int64(0)
    for index in range(len(times)):
        time_ns = max(times[index] - start_ns, 0)
        if not bin_from <= time_ns < bin_until:
            number = time_ns * bins // length_ns
            bin_from = (number * length_ns + bins - 1) // bins
            bin_until = ((number + 1) * length_ns + bins - 1) // bins
            bin_base = number * plane_cells
        place = bin_base + np.int64(places[index])
        bitmap[np.uintp(place >> 3)] |= np.uint8(0x80 >> (place & 7))


class CountWindower(BaseWindower):
    """Cuts one stream into windows of so many events; takes the place of a `Windower`.

    Parameters
    ----------
    count : int
        A window closes with so many events in cells, 1 to `MAX_COUNT`.
    bins : int
        Equally long time bins in a window, however long it turns out.
    geometry : Geometry
        Crop and scaling.
    sensor_width, sensor_height : int
        [px]; events beyond are dropped.
    length_ns : int, optional
        Of the time slots at whose end a window closes in any case.
    polarity : {'both', 'on', 'off'}
        Events of the other polarity are filtered.
    late_policy : {'reset', 'drop'}
        What an event does that is late by more than the tolerance.
    late_tolerance_ns : int, optional
        Events late by no more are dropped under either policy; two slots by default, 100 ms without slots.
    max_gap_ns : int
        Longest silence that is filled with empty windows, or, without slots, that a window may span.

    Attributes
    ----------
    counters : WindowCounters
    length_ns : int or None
        As given.

    Raises
    ------
    WindowError
        When a length, a number or a policy cannot be.
    GeometryError
        When the crop leaves the sensor or the tensor is too large for a message.
    """

    def __init__(
        self,
        count: int,
        bins: int,
        geometry: Geometry,
        sensor_width: int,
        sensor_height: int,
        *,
        length_ns: int | None = None,
        polarity: str = "both",
        late_policy: str = "reset",
        late_tolerance_ns: int | None = None,
        max_gap_ns: int = MAX_GAP_NS,
    ) -> None:
        if not 1 <= count <= MAX_COUNT:
            raise WindowError(f"a window closes after 1 to {MAX_COUNT} events, not {count}")
        default_ns = _TOLERANCE_NS if length_ns is None else 2 * length_ns
        super().__init__(
            bins,
            geometry,
            sensor_width,
            sensor_height,
            length_ns=length_ns,
            polarity=polarity,
            late_policy=late_policy,
            late_tolerance_ns=default_ns if late_tolerance_ns is None else late_tolerance_ns,
            max_gap_ns=max_gap_ns,
        )
        self.count = int(count)
        self._times = np.empty(self.count, np.int64)
        self._places = np.empty(self.count, np.int32)
        self._counts = np.zeros(_SLOTS, np.int64)
        self.reset()

    def _fill(self, events: npt.NDArray[np.int64], index: int, marked: bool) -> int:
        counts = self._counts
        counts[_BINNED] = self._binned
        counts[_FILTERED] = counts[_DROPPED] = counts[_LATE] = 0
        counts[_KNOWN] = self._known_until_ns
        if not self._offered:
            counts[_NEWEST] = -TIME_LIMIT_NS
        index = _collect(
            events,
            index,
            self._floor_ns,
            self._earliest_ns,
            self._until_ns,
            self._max_gap_ns if self.length_ns is None else np.iinfo(np.int64).max,
            *self._tables,
            POLARITY_BIT | MARK_BITS if marked else POLARITY_BIT,
            self._times,
            self._places,
            counts,
        )
        self._known_until_ns = int(counts[_KNOWN])
        binned, filtered, dropped, late = (int(counts[slot]) for slot in (_BINNED, _FILTERED, _DROPPED, _LATE))
        self._count(binned - self._binned, filtered, dropped, late)
        return int(index)

    def _is_full(self) -> bool:
        return self._binned == self.count

    def _ends_in_gap(self, time_ns: int) -> bool:
        # Slots end in time whatever the silence.
        return self.length_ns is None and time_ns - self._known_until_ns > self._max_gap_ns

    def _end_ns(self) -> int:
        if self.length_ns is None or self._is_full():
            return max(int(self._counts[_NEWEST]), self._start_ns) + 1
        return self._until_ns

    def _close(self, end_ns: int) -> SpikeWindow:
        full = self._is_full()
        window = super()._close(end_ns)
        if full:  # events of the last one's time may follow
            self._floor_ns = max(self._floor_ns, int(self._counts[_NEWEST]))
        return window

    def _take_bitmap(self, end_ns: int) -> tuple[npt.NDArray[np.uint8], int]:
        binned = self._binned
        bitmap = np.zeros_like(self._empty)
        _set_cells(
            self._times[:binned],
            self._places[:binned],
            self._start_ns,
            end_ns - self._start_ns,
            self.bins,
            self._plane_cells,
            bitmap,
        )
        return bitmap, count_active(bitmap)
