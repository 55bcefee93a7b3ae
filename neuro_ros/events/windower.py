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

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events._binning import SPARE_BYTES, bin_events, make_grid, make_tables, take_bitmap
from neuro_ros.events.geometry import Geometry, check_tensor_size
from neuro_ros.events.types import EVENT_DTYPE, EventBatch, as_events, as_words

__all__ = [
    "CHANNELS",
    "LATE_POLICIES",
    "MAX_GAP_NS",
    "POLARITIES",
    "SpikeWindow",
    "WindowCounters",
    "WindowError",
    "Windower",
]

#: Channel 0 = OFF, 1 = ON.
CHANNELS = 2
POLARITIES = ("both", "on", "off")
LATE_POLICIES = ("reset", "drop")

#: Longest silence that is filled with empty windows.
MAX_GAP_NS = 5_000_000_000
# However short a window is, a gap makes no more empty ones than this.
_MAX_EMPTY_WINDOWS = 10_000
# Times beyond +-146 years are damage, and would overflow the arithmetic of the loop.
_TIME_LIMIT_NS = 1 << 62


class WindowError(NeuroRosError):
    """A window length, a number of bins or a policy that cannot be."""


@dataclass(frozen=True, eq=False)
class SpikeWindow:
    """One window.

    Parameters
    ----------
    start_ns, end_ns : int
        Half-open, sensor time.
    bins, channels, height, width : int
        Shape of the tensor.
    bitmap : (ceil(cells / 8),) uint8
        One bit a cell in C order, most significant bit first. Empty windows share one, so it is read-only.
    active : int
        Cells that are set.
    events_in, events_binned, events_filtered, events_dropped : int
        The first is the sum of the others.
    complete : bool
        False when data is known to be lost inside.
    """

    start_ns: int
    end_ns: int
    bins: int
    channels: int
    height: int
    width: int
    bitmap: npt.NDArray[np.uint8]
    active: int
    events_in: int
    events_binned: int
    events_filtered: int
    events_dropped: int
    complete: bool

    @property
    def cells(self) -> int:
        """Number of cells of the tensor."""
        return self.bins * self.channels * self.height * self.width


@dataclass
class WindowCounters:
    """Totals since construction.

    ``events_in == events_binned + events_filtered + events_dropped + sum(dropped_outside.values())``
    holds after each call; the events of the window that is still open count as what they will be.

    Parameters
    ----------
    windows, windows_empty, windows_incomplete : int
        Windows made; of them those without events offered, and those with a known loss.
    events_in, events_binned, events_filtered, events_dropped : int
        Events offered, and what became of those within windows.
    dropped_outside : dict of str to int
        Events that never reached a window, by reason: ``late``, ``overload``, ``bad_time`` (beyond any
        clock), ``reset`` (of a window that `Windower.reset` threw away) and whatever a caller names.
    resets : int
        Times that time ran back beyond the tolerance and the windows started anew.
    gaps : int
        Silences longer than the limit, after which the windows started anew.
    """

    windows: int = 0
    windows_empty: int = 0
    windows_incomplete: int = 0
    events_in: int = 0
    events_binned: int = 0
    events_filtered: int = 0
    events_dropped: int = 0
    dropped_outside: dict[str, int] = field(default_factory=lambda: {"late": 0, "overload": 0})
    resets: int = 0
    gaps: int = 0

    @property
    def events_lost(self) -> int:
        """Events dropped within windows and outside any."""
        return self.events_dropped + sum(self.dropped_outside.values())

    def as_dict(self) -> dict[str, object]:
        """Return the counters by name."""
        return asdict(self)


class Windower:
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
        if not 1 <= bins <= 65535:
            raise WindowError(f"a window has 1 to 65535 bins, not {bins}")
        if not bins <= length_ns <= 3_600_000_000_000:
            raise WindowError(f"a window is {bins} ns (1 ns a bin) to 1 h long, not {length_ns} ns")
        if polarity not in POLARITIES:
            raise WindowError(f"polarity is one of {', '.join(POLARITIES)}, not {polarity!r}")
        if late_policy not in LATE_POLICIES:
            raise WindowError(f"the policy for late events is one of {', '.join(LATE_POLICIES)}, not {late_policy!r}")
        if max_gap_ns < 0 or (late_tolerance_ns is not None and late_tolerance_ns < 0):
            raise WindowError("the longest gap and the tolerance for late events are at least 0 ns")
        geometry.check_sensor(sensor_width, sensor_height)
        self.length_ns = int(length_ns)
        self.bins = int(bins)
        self.geometry = geometry
        self.counters = WindowCounters()
        self._reset_on_late = late_policy == "reset"
        self._tolerance_ns = 2 * self.length_ns if late_tolerance_ns is None else int(late_tolerance_ns)
        self._max_gap_ns = min(int(max_gap_ns), _MAX_EMPTY_WINDOWS * self.length_ns)
        self._bitmap_bytes = check_tensor_size(bins, CHANNELS, geometry.height_out, geometry.width_out)
        self._bitmap = np.zeros((self._bitmap_bytes + 7) // 8 * 8 + SPARE_BYTES, np.uint8)
        self._bitmap_words = self._bitmap[:-SPARE_BYTES].view(np.uint64)
        self._empty = np.zeros(self._bitmap_bytes, np.uint8)
        self._empty.setflags(write=False)
        self._plane_cells = geometry.height_out * geometry.width_out * CHANNELS
        self._tables = make_tables(geometry, sensor_width, sensor_height, polarity)
        self._grid = make_grid(geometry, sensor_width, sensor_height, polarity)
        self._binned = self._filtered = self._dropped = self._last_ns = 0
        self.reset()

    @property
    def cells(self) -> int:
        """Number of cells of a tensor."""
        return self.bins * self._plane_cells

    @property
    def start_ns(self) -> int | None:
        """Start of the window that is open, None before the first event."""
        return None if self._number is None else self._number * self.length_ns

    def reset(self) -> None:
        """Forget the open window and the grid; its events count as dropped (``reset``)."""
        forgotten = self._binned + self._filtered + self._dropped
        if forgotten:
            totals = self.counters
            totals.events_binned -= self._binned
            totals.events_filtered -= self._filtered
            totals.events_dropped -= self._dropped
            totals.dropped_outside["reset"] = totals.dropped_outside.get("reset", 0) + forgotten
            self._bitmap_words[:] = 0
        self._binned = self._filtered = self._dropped = 0
        self._number: int | None = None
        self._known_until_ns = 0
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
        given = batch.events
        # As a rule nothing is to be done, and asking NumPy to find that out takes longer.
        if given.dtype is not EVENT_DTYPE or not given.flags.c_contiguous:
            given = as_events(given)
        events = as_words(given)
        self.counters.events_in += len(events)
        index = 0
        while index < len(events):
            time_ns: int = events.item(index, 0)
            if not -_TIME_LIMIT_NS <= time_ns < _TIME_LIMIT_NS:
                self.counters.dropped_outside["bad_time"] = self.counters.dropped_outside.get("bad_time", 0) + 1
                index += 1
                continue
            if self._number is None:
                self._open_at(time_ns)
            start_ns = self._number * self.length_ns  # type: ignore[operator]
            if time_ns >= start_ns + self.length_ns:
                yield from self._move_to(time_ns)
                continue
            if time_ns < start_ns - self._tolerance_ns and self._reset_on_late:
                yield from self._close_if_begun()
                self.counters.resets += 1
                self._open_at(time_ns)
                continue
            index = self._fill(events, index, start_ns, batch.marked)

    def advance(self, time_ns: int) -> list[SpikeWindow]:
        """Say that all events before `time_ns` have been given, and return the windows that end by then.

        Nothing happens before the first event. A step longer than `max_gap_ns` counts as a gap.
        """
        return list(self._advance(int(time_ns)))

    def flush(self) -> list[SpikeWindow]:
        """End the stream: return the window that is open, if any event was offered to it."""
        return list(self._flush())

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

    def _open_at(self, time_ns: int) -> None:
        self._number = time_ns // self.length_ns
        self._known_until_ns = time_ns
        self._last_ns = time_ns

    def _fill(self, events: npt.NDArray[np.int64], index: int, start_ns: int, marked: bool) -> int:
        earliest_ns = start_ns - self._tolerance_ns if self._reset_on_late else -_TIME_LIMIT_NS
        index, binned, filtered, dropped, late, self._last_ns = bin_events(
            events,
            index,
            start_ns,
            self.length_ns,
            earliest_ns,
            self.bins,
            *self._tables,
            *self._grid,
            self._plane_cells,
            marked,
            self._last_ns,
            self._bitmap,
        )
        self._binned += binned
        self._filtered += filtered
        self._dropped += dropped
        totals = self.counters
        totals.events_binned += binned
        totals.events_filtered += filtered
        totals.events_dropped += dropped
        totals.dropped_outside["late"] += late
        self._known_until_ns = max(self._known_until_ns, self._last_ns + 1)
        if binned + filtered + dropped and self._loss_pending:
            self._complete = False
            self._loss_pending = False
        return index

    def _move_to(self, time_ns: int) -> Iterator[SpikeWindow]:
        """Close windows until the one of `time_ns` is open."""
        number = time_ns // self.length_ns
        if time_ns - self._known_until_ns > self._max_gap_ns:
            yield from self._close_if_begun()
            self.counters.gaps += 1
            self._open_at(time_ns)
            return
        while self._number is not None and self._number < number:
            yield self._close()
            self._number += 1

    def _advance(self, time_ns: int) -> Iterator[SpikeWindow]:
        if self._number is None:
            return
        if time_ns >= (self._number + 1) * self.length_ns:
            yield from self._move_to(time_ns)
        self._known_until_ns = max(self._known_until_ns, time_ns)

    def _flush(self) -> Iterator[SpikeWindow]:
        yield from self._close_if_begun()
        self.reset()

    def _close_if_begun(self) -> Iterator[SpikeWindow]:
        if self._number is not None and self._binned + self._filtered + self._dropped > 0:
            yield self._close()

    def _close(self) -> SpikeWindow:
        """Make the open window; the caller opens the next one."""
        binned, filtered, dropped = self._binned, self._filtered, self._dropped
        self._binned = self._filtered = self._dropped = 0
        if binned:
            words = np.empty_like(self._bitmap_words)
            active = take_bitmap(self._bitmap_words, words)
            bitmap = words.view(np.uint8)[: self._bitmap_bytes]
            bitmap.setflags(write=False)
        else:
            bitmap, active = self._empty, 0
        start_ns = self._number * self.length_ns  # type: ignore[operator]
        window = SpikeWindow(
            start_ns=start_ns,
            end_ns=start_ns + self.length_ns,
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
        return window
