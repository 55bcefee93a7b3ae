# SPDX-License-Identifier: Apache-2.0
"""What cuts a stream into windows, whatever ends one: bounds, late events, gaps, losses, and the account of it all.

`Windower` closes windows on the grid of time, `CountWindower` after so many events; each says what it does with the
events of the open window and how their bitmap is made. This module refuses to know about files, messages and host time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events._binning import make_tables
from neuro_ros.events.geometry import Geometry, check_tensor_size
from neuro_ros.events.types import EVENT_DTYPE, EventBatch, as_events, as_words

__all__ = [
    "CHANNELS",
    "LATE_POLICIES",
    "LONGEST_NS",
    "MAX_GAP_NS",
    "POLARITIES",
    "TIME_LIMIT_NS",
    "BaseWindower",
    "SpikeWindow",
    "WindowCounters",
    "WindowError",
]

#: Channel 0 = OFF, 1 = ON.
CHANNELS = 2
POLARITIES = ("both", "on", "off")
LATE_POLICIES = ("reset", "drop")

#: Longest silence that is filled with empty windows.
MAX_GAP_NS = 5_000_000_000
#: Longest window, one hour.
LONGEST_NS = 3_600_000_000_000
#: Times beyond +-146 years are damage, and would overflow the arithmetic of the loops.
TIME_LIMIT_NS = 1 << 62
# However short a window is, a gap makes no more empty ones than this.
_MAX_EMPTY_WINDOWS = 10_000


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


class BaseWindower(ABC):
    """Cuts one stream into windows; see `Windower` and `CountWindower`.

    Parameters
    ----------
    bins : int
        Equally long time bins in a window.
    geometry : Geometry
        Crop and scaling.
    sensor_width, sensor_height : int
        [px]; events beyond are dropped.
    length_ns : int or None
        Of the time slots at whose end a window closes in any case.
    polarity : {'both', 'on', 'off'}
        Events of the other polarity are filtered.
    late_policy : {'reset', 'drop'}
        What an event does that is late by more than the tolerance.
    late_tolerance_ns : int
        Events late by no more are dropped under either policy.
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
        bins: int,
        geometry: Geometry,
        sensor_width: int,
        sensor_height: int,
        *,
        length_ns: int | None,
        polarity: str,
        late_policy: str,
        late_tolerance_ns: int,
        max_gap_ns: int,
    ) -> None:
        if not 1 <= bins <= 65535:
            raise WindowError(f"a window has 1 to 65535 bins, not {bins}")
        if length_ns is not None and not bins <= length_ns <= LONGEST_NS:
            raise WindowError(f"a window is {bins} ns (1 ns a bin) to 1 h long, not {length_ns} ns")
        if polarity not in POLARITIES:
            raise WindowError(f"polarity is one of {', '.join(POLARITIES)}, not {polarity!r}")
        if late_policy not in LATE_POLICIES:
            raise WindowError(f"the policy for late events is one of {', '.join(LATE_POLICIES)}, not {late_policy!r}")
        if max_gap_ns < 0 or late_tolerance_ns < 0:
            raise WindowError("the longest gap and the tolerance for late events are at least 0 ns")
        geometry.check_sensor(sensor_width, sensor_height)
        self.length_ns = None if length_ns is None else int(length_ns)
        self.bins = int(bins)
        self.geometry = geometry
        self.counters = WindowCounters()
        self._reset_on_late = late_policy == "reset"
        self._tolerance_ns = int(late_tolerance_ns)
        self._slot_ns = self.length_ns or LONGEST_NS
        self._max_gap_ns = min(int(max_gap_ns), _MAX_EMPTY_WINDOWS * self._slot_ns)
        self._empty = np.zeros(check_tensor_size(bins, CHANNELS, geometry.height_out, geometry.width_out), np.uint8)
        self._empty.setflags(write=False)
        self._plane_cells = geometry.height_out * geometry.width_out * CHANNELS
        self._tables = make_tables(geometry, sensor_width, sensor_height, polarity)
        self._binned = self._filtered = self._dropped = 0

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
        forgotten = self._offered
        if forgotten:
            totals = self.counters
            totals.events_binned -= self._binned
            totals.events_filtered -= self._filtered
            totals.events_dropped -= self._dropped
            totals.dropped_outside["reset"] = totals.dropped_outside.get("reset", 0) + forgotten
        self._binned = self._filtered = self._dropped = 0
        self._open = False
        # Half-open bounds of the open window, the end as it is if nothing ends it before; what lies before the floor
        # is late.
        self._start_ns = self._until_ns = self._floor_ns = 0
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
            if not -TIME_LIMIT_NS <= time_ns < TIME_LIMIT_NS:
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
            index = self._fill(events, index, batch.marked)
            if self._is_full():
                yield self._close(self._end_ns())

    def advance(self, time_ns: int) -> list[SpikeWindow]:
        """Say that all events before `time_ns` have been given, and return the windows that end by then.

        Nothing happens before the first event. A step longer than `max_gap_ns` counts as a gap.
        """
        time_ns = int(time_ns)
        windows: list[SpikeWindow] = []
        if self._open:
            if time_ns >= self._until_ns or self._ends_in_gap(time_ns):
                windows += self._move_to(time_ns)
            self._known_until_ns = max(self._known_until_ns, time_ns)
        return windows

    def flush(self) -> list[SpikeWindow]:
        """End the stream: return the window that is open, if any event was offered to it."""
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

    # -- what differs --------------------------------------------------------------------------------------------------

    @abstractmethod
    def _fill(self, events: npt.NDArray[np.int64], index: int, marked: bool) -> int:
        """Take events from `index` on into the open window, and say so by `_count`; return the place of the next."""

    @abstractmethod
    def _take_bitmap(self, end_ns: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Make the bitmap of the open window, which ends there and holds an event; return it and its active cells."""

    def _is_full(self) -> bool:
        """Tell whether the open window ends before its time."""
        return False

    def _ends_in_gap(self, time_ns: int) -> bool:  # noqa: ARG002 - of the interface
        """Tell whether a silence until this time ends the open window before its time."""
        return False

    def _end_ns(self) -> int:
        """Return where the open window ends when it is closed now."""
        return self._until_ns

    # -- what is common ------------------------------------------------------------------------------------------------

    @property
    def _earliest_ns(self) -> int:
        """Events before this one begin anew."""
        return self._floor_ns - self._tolerance_ns if self._reset_on_late else -TIME_LIMIT_NS

    @property
    def _offered(self) -> int:
        """Number of events of the open window."""
        return self._binned + self._filtered + self._dropped

    def _count(self, binned: int, filtered: int, dropped: int, late: int) -> None:
        """Account for events that were offered to the open window."""
        self._binned += binned
        self._filtered += filtered
        self._dropped += dropped
        totals = self.counters
        totals.events_binned += binned
        totals.events_filtered += filtered
        totals.events_dropped += dropped
        totals.dropped_outside["late"] += late
        if binned + filtered + dropped and self._loss_pending:
            self._complete = False
            self._loss_pending = False

    def _open_at(self, time_ns: int) -> None:
        """Begin anew, with the window that holds this time."""
        self._open = True
        self._known_until_ns = time_ns
        self._start_at(time_ns if self.length_ns is None else time_ns // self._slot_ns * self._slot_ns)
        self._floor_ns = self._start_ns

    def _start_at(self, start_ns: int) -> None:
        """Begin the next window; nothing is late for it that was not for the one before."""
        self._start_ns = start_ns
        grid_ns = start_ns if self.length_ns is None else start_ns // self._slot_ns * self._slot_ns
        self._until_ns = grid_ns + self._slot_ns

    def _move_to(self, time_ns: int) -> Iterator[SpikeWindow]:
        """Close windows until the one of `time_ns` is open."""
        if time_ns - self._known_until_ns > self._max_gap_ns:
            yield from self._close_if_begun()
            self.counters.gaps += 1
            self._open_at(time_ns)
            return
        while self._open and self._until_ns <= time_ns:
            yield self._close(self._until_ns)
            self._floor_ns = self._start_ns

    def _close_if_begun(self) -> Iterator[SpikeWindow]:
        if self._open and self._offered:
            yield self._close(self._end_ns())

    def _close(self, end_ns: int) -> SpikeWindow:
        """Make the open window, and open the next one where it ends."""
        bitmap = self._empty
        active = 0
        if self._binned:
            bitmap, active = self._take_bitmap(end_ns)
            bitmap.setflags(write=False)
        window = SpikeWindow(
            start_ns=self._start_ns,
            end_ns=end_ns,
            bins=self.bins,
            channels=CHANNELS,
            height=self.geometry.height_out,
            width=self.geometry.width_out,
            bitmap=bitmap,
            active=active,
            events_in=self._offered,
            events_binned=self._binned,
            events_filtered=self._filtered,
            events_dropped=self._dropped,
            complete=self._complete and not self._loss_pending,
        )
        self._binned = self._filtered = self._dropped = 0
        totals = self.counters
        totals.windows += 1
        totals.windows_empty += window.events_in == 0
        totals.windows_incomplete += not window.complete
        self._complete = True
        self._start_at(end_ns)
        return window
