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

from collections.abc import Iterator
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._binning import MARK_BITS, OUTSIDE, POLARITY_BIT, make_tables
from neuro_ros.events.geometry import Geometry, check_tensor_size
from neuro_ros.events.tensor import count_active
from neuro_ros.events.types import EventBatch, as_events, as_words
from neuro_ros.events.windower import (
    CHANNELS,
    LATE_POLICIES,
    MAX_GAP_NS,
    POLARITIES,
    SpikeWindow,
    WindowCounters,
    WindowError,
)

__all__ = ["MAX_COUNT", "CountWindower"]

#: Most events that a window by count may wait for: 48 MB of buffer.
MAX_COUNT = 1 << 22

_LONGEST_NS = 3_600_000_000_000
_MAX_EMPTY_WINDOWS = 10_000
# Without a length of a window to derive it from; two windows of the default length.
_TOLERANCE_NS = 100_000_000
# As in windower.py: times beyond are damage.
_TIME_LIMIT_NS = 1 << 62

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


class CountWindower:
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
        if not 1 <= bins <= 65535:
            raise WindowError(f"a window has 1 to 65535 bins, not {bins}")
        if length_ns is not None and not bins <= length_ns <= _LONGEST_NS:
            raise WindowError(f"a window is {bins} ns (1 ns a bin) to 1 h long, not {length_ns} ns")
        if polarity not in POLARITIES:
            raise WindowError(f"polarity is one of {', '.join(POLARITIES)}, not {polarity!r}")
        if late_policy not in LATE_POLICIES:
            raise WindowError(f"the policy for late events is one of {', '.join(LATE_POLICIES)}, not {late_policy!r}")
        if max_gap_ns < 0 or (late_tolerance_ns is not None and late_tolerance_ns < 0):
            raise WindowError("the longest gap and the tolerance for late events are at least 0 ns")
        geometry.check_sensor(sensor_width, sensor_height)
        self.count = int(count)
        self.bins = int(bins)
        self.geometry = geometry
        self.length_ns = None if length_ns is None else int(length_ns)
        self.counters = WindowCounters()
        self._reset_on_late = late_policy == "reset"
        default_ns = _TOLERANCE_NS if length_ns is None else 2 * int(length_ns)
        self._tolerance_ns = default_ns if late_tolerance_ns is None else int(late_tolerance_ns)
        self._slot_ns = self.length_ns or _LONGEST_NS
        self._max_gap_ns = min(int(max_gap_ns), _MAX_EMPTY_WINDOWS * self._slot_ns)
        self._empty = np.zeros(check_tensor_size(bins, CHANNELS, geometry.height_out, geometry.width_out), np.uint8)
        self._empty.setflags(write=False)
        self._plane_cells = geometry.height_out * geometry.width_out * CHANNELS
        self._tables = make_tables(geometry, sensor_width, sensor_height, polarity)
        self._times = np.empty(self.count, np.int64)
        self._places = np.empty(self.count, np.int32)
        self._counts = np.zeros(_SLOTS, np.int64)
        self.reset()

    @property
    def cells(self) -> int:
        """Number of cells of a tensor."""
        return self.bins * self._plane_cells

    @property
    def start_ns(self) -> int | None:
        """Start of the window that is open, None before the first event."""
        return self._start_ns if self._open else None

    def reset(self) -> None:
        """Forget the open window and the grid; its events count as dropped (``reset``)."""
        counts = self._counts
        forgotten = self._offered()
        if forgotten:
            totals = self.counters
            totals.events_binned -= int(counts[_BINNED])
            totals.events_filtered -= int(counts[_FILTERED])
            totals.events_dropped -= int(counts[_DROPPED])
            totals.dropped_outside["reset"] = totals.dropped_outside.get("reset", 0) + forgotten
        counts[:] = 0
        self._open = False
        # Half-open bounds of the open window, the end as it is if the count is not reached; earlier events are late.
        self._start_ns = self._until_ns = self._floor_ns = 0
        self._complete = True
        self._loss_pending = False

    def push(self, batch: EventBatch) -> list[SpikeWindow]:
        """Take the next events and return the windows that they close.

        Parameters
        ----------
        batch : EventBatch
            Not kept. When it is not complete, the windows from the last event until its first one are marked.

        Returns
        -------
        list of SpikeWindow
            In order of time.
        """
        return list(self.windows(batch))

    def windows(self, batch: EventBatch) -> Iterator[SpikeWindow]:
        """Do as `push`, one window at a time, so that memory stays bounded whatever the times in the batch."""
        if not batch.complete:
            self.mark_incomplete()
        events = as_words(as_events(batch.events))
        self.counters.events_in += len(events)
        looked_up = POLARITY_BIT | MARK_BITS if batch.marked else POLARITY_BIT
        index = 0
        while index < len(events):
            time_ns = int(events[index, 0])
            if not -_TIME_LIMIT_NS <= time_ns < _TIME_LIMIT_NS:
                self.counters.dropped_outside["bad_time"] = self.counters.dropped_outside.get("bad_time", 0) + 1
                index += 1
                continue
            if not self._open:
                self._open_at(time_ns)
            if time_ns >= self._until_ns or self._ends_in_gap(time_ns):
                yield from self._move_to(time_ns)
                continue
            if time_ns < self._floor_ns - self._tolerance_ns and self._reset_on_late:
                yield from self._close_if_begun()
                self.counters.resets += 1
                self._open_at(time_ns)
                continue
            index = self._fill(events, index, looked_up)
            if self._counts[_BINNED] == self.count:
                yield self._close(self._end_of_events())
                self._floor_ns = max(self._floor_ns, int(self._counts[_NEWEST]))

    def advance(self, time_ns: int) -> list[SpikeWindow]:
        """Say that all events before `time_ns` have been given, and return the windows that end by then.

        Nothing happens before the first event. A step longer than `max_gap_ns` counts as a gap.
        """
        return list(self._advance(int(time_ns)))

    def flush(self) -> list[SpikeWindow]:
        """End the stream: return the window that is open, if any event was offered to it.

        It ends with its slot, or behind its last event where there are no slots.
        """
        windows = list(self._close_if_begun())
        self.reset()
        return windows

    def mark_incomplete(self) -> None:
        """Say that data was lost here: the open window and all until the next event are marked."""
        self._complete = False
        self._loss_pending = True

    def note_dropped(self, count: int, reason: str = "overload") -> None:
        """Account for events that the caller dropped instead of giving them; marks the open window.

        Parameters
        ----------
        count : int
            At least 0.
        reason : str
            Its own counter.
        """
        if count < 0:
            raise ValueError(f"{count} events cannot be dropped")
        self.counters.events_in += count
        self.counters.dropped_outside[reason] = self.counters.dropped_outside.get(reason, 0) + count
        if count:
            self.mark_incomplete()

    def _offered(self) -> int:
        """Count the events of the open window."""
        return int(self._counts[_BINNED] + self._counts[_FILTERED] + self._counts[_DROPPED])

    def _end_of_events(self) -> int:
        return max(int(self._counts[_NEWEST]), self._start_ns) + 1

    def _ends_in_gap(self, time_ns: int) -> bool:
        """Tell whether a silence ends the open window before its time, which slots do without."""
        return self.length_ns is None and time_ns - int(self._counts[_KNOWN]) > self._max_gap_ns

    def _open_at(self, time_ns: int) -> None:
        """Begin anew, with the window that holds this time."""
        self._open = True
        start_ns = time_ns if self.length_ns is None else time_ns // self._slot_ns * self._slot_ns
        self._floor_ns = start_ns
        self._counts[_KNOWN] = time_ns
        self._start_at(start_ns)

    def _start_at(self, start_ns: int) -> None:
        """Begin the next window; nothing is late for it that was not for the one before."""
        self._start_ns = start_ns
        grid_ns = start_ns if self.length_ns is None else start_ns // self._slot_ns * self._slot_ns
        self._until_ns = grid_ns + self._slot_ns

    def _fill(self, events: npt.NDArray[np.int64], index: int, looked_up: int) -> int:
        counts = self._counts
        if not self._offered():
            counts[_NEWEST] = -_TIME_LIMIT_NS
        before = counts.copy()
        index = _collect(
            events,
            index,
            self._floor_ns,
            self._floor_ns - self._tolerance_ns if self._reset_on_late else -_TIME_LIMIT_NS,
            self._until_ns,
            self._max_gap_ns if self.length_ns is None else np.iinfo(np.int64).max,
            *self._tables,
            looked_up,
            self._times,
            self._places,
            counts,
        )
        change = counts - before
        totals = self.counters
        totals.events_binned += int(change[_BINNED])
        totals.events_filtered += int(change[_FILTERED])
        totals.events_dropped += int(change[_DROPPED])
        totals.dropped_outside["late"] += int(change[_LATE])
        if change[_BINNED] + change[_FILTERED] + change[_DROPPED] and self._loss_pending:
            self._complete = False
            self._loss_pending = False
        return int(index)

    def _move_to(self, time_ns: int) -> Iterator[SpikeWindow]:
        """Close windows until the one of `time_ns` is open."""
        if time_ns - int(self._counts[_KNOWN]) > self._max_gap_ns:
            yield from self._close_if_begun()
            self.counters.gaps += 1
            self._open_at(time_ns)
            return
        while self._open and self._until_ns <= time_ns:
            yield self._close(self._until_ns)
            self._floor_ns = self._start_ns

    def _advance(self, time_ns: int) -> Iterator[SpikeWindow]:
        if not self._open:
            return
        if time_ns >= self._until_ns or self._ends_in_gap(time_ns):
            yield from self._move_to(time_ns)
        self._counts[_KNOWN] = max(int(self._counts[_KNOWN]), time_ns)

    def _close_if_begun(self) -> Iterator[SpikeWindow]:
        if self._open and self._offered():
            yield self._close(self._end_of_events() if self.length_ns is None else self._until_ns)

    def _close(self, end_ns: int) -> SpikeWindow:
        """Make the open window, and open the next one where it ends."""
        counts = self._counts
        binned, filtered, dropped = (int(counts[slot]) for slot in (_BINNED, _FILTERED, _DROPPED))
        counts[_BINNED] = counts[_FILTERED] = counts[_DROPPED] = 0
        bitmap, active = self._empty, 0
        if binned:
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
            bitmap.setflags(write=False)
            active = count_active(bitmap)
        window = SpikeWindow(
            start_ns=self._start_ns,
            end_ns=end_ns,
            bins=self.bins,
            channels=CHANNELS,
            height=self.geometry.height_out,
            width=self.geometry.width_out,
            bitmap=bitmap,
            active=active,
            events_in=binned + filtered + dropped,
            events_binned=binned,
            events_filtered=filtered,
            events_dropped=dropped,
            complete=self._complete and not self._loss_pending,
        )
        totals = self.counters
        totals.windows += 1
        totals.windows_empty += window.events_in == 0
        totals.windows_incomplete += not window.complete
        self._complete = True
        self._start_at(end_ns)
        return window
