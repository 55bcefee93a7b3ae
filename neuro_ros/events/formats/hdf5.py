# SPDX-License-Identifier: Apache-2.0
"""Events in HDF5, in the layouts that are met.

Metavision: ``CD/events``, a table of x, y, p, t [us], and ``EXT_TRIGGER/events``, one
of p, t [us], id; the attribute ``geometry`` such as ``1280x720``. The times are taken
as they stand, those of the sensor: ``time_shift``, which the vendor's reader
subtracts, is not.

Columns: ``events/x``, ``y``, ``t``, ``p``, as in DSEC and TUM-VIE, with ``t_offset`` [us] to be
added where there is one; or ``events/xs``, ``ys``, ``ts``, ``ps``. Times are microseconds
where they are whole numbers and seconds where they are not. The size of the sensor
stands in attributes ``width`` and ``height`` or ``sensor_resolution`` (height, width), or
has to be given.

Uncompressed, gzip and whatever the installed filters unpack. Metavision packs with
its own codec ECF, whose plugin was not at hand: reading through it is untested.
A later time is found by a look at all times before it, which is taken once and,
where they are packed, costs much of what reading them does. The indices that some
layouts have are not used: whether they are true shows only then.

References
----------
Prophesee, "HDF5 event file format" (docs.prophesee.ai), and the writer in OpenEB;
Gehrig et al., "DSEC", RA-L 2021, doi:10.1109/LRA.2021.3068942, and the data's description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros import hdf5 as h5
from neuro_ros.events.formats._time_index import NEVER_PASSED, TimeIndex
from neuro_ros.events.formats.base import OpenOptions, Recording, split_batch
from neuro_ros.events.formats.records import NS_PER_US
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, as_words, empty_triggers

__all__ = ["Hdf5Recording", "matches", "open_hdf5"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_NS_PER_S = 1_000_000_000
_NO_TIME = np.iinfo(np.int64).max
_BEFORE_ALL = np.iinfo(np.int64).min
_TABLES = ("CD/events", "events")
_COLUMNS = (
    {"x": "events/x", "y": "events/y", "p": "events/p", "t": "events/t"},
    {"x": "events/xs", "y": "events/ys", "p": "events/ps", "t": "events/ts"},
)
_LAYOUTS = "CD/events (x, y, p, t), events/x, y, p, t and events/xs, ys, ps, ts"
_TRIGGERS = "EXT_TRIGGER/events"
# Events read at a time: a chunk, within these bounds.
_LEAST_EVENTS, _MOST_EVENTS = 1 << 12, 1 << 16


def _times_ns(times: npt.NDArray[Any], offset_us: int) -> npt.NDArray[np.int64]:
    """Return times as nanoseconds; `_NO_TIME` for those that are no number or too large to be one."""
    if times.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            exact = np.rint(times.astype(np.float64) * _NS_PER_S)
            good = np.abs(exact) < _NO_TIME // 2
        whole = np.where(good, exact, 0.0).astype(np.int64) + offset_us * NS_PER_US
    else:
        shifted = times.astype(np.int64) + offset_us
        good = np.abs(shifted) < _NO_TIME // 2 // NS_PER_US
        whole = shifted * NS_PER_US
    return whole if good.all() else np.where(good, whole, _NO_TIME)


class _Table:
    """The parts of events or triggers, out of one dataset of records or one dataset each."""

    def __init__(self, columns: dict[str, h5.Column], fields: bool, offset_us: int = 0) -> None:
        self._columns = columns
        self._fields = fields
        self._offset_us = offset_us
        self.length = min(column.length for column in columns.values())
        self.is_whole = all(column.declared == self.length for column in columns.values())
        self.step = min(max(columns["t"].chunk, _LEAST_EVENTS), _MOST_EVENTS) if columns["t"].chunk else _MOST_EVENTS

    def read(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """Read the parts of some rows, the times in nanoseconds; raises one of `h5.DAMAGE`."""
        if self._fields:
            rows = self._columns["t"].read(start, stop)
            parts = {name: rows[name] for name in self._columns}
        else:
            parts = {name: column.read(start, stop) for name, column in self._columns.items()}
        parts["t"] = _times_ns(parts["t"], self._offset_us)
        return parts

    def pieces(self) -> Iterator[tuple[int, float]]:
        """Cut the rows into pieces for a `TimeIndex`; one whose times cannot be read has no events."""
        for start in range(0, self.length, self.step):
            try:
                column = self._columns["t"].read(start, min(start + self.step, self.length))
            except h5.DAMAGE:
                continue
            times = _times_ns(column["t"] if self._fields else column, self._offset_us)
            yield start, int(times[times != _NO_TIME].max(initial=_BEFORE_ALL)) + 1
        yield self.length, NEVER_PASSED


def _read_triggers(table: _Table | None) -> Iterator[npt.NDArray[np.void]]:
    """Read the triggers, some at a time; raises one of `h5.DAMAGE` for a block that cannot be read."""
    if table is None:
        return
    for row in range(0, table.length, _LEAST_EVENTS):
        parts = table.read(row, min(row + _LEAST_EVENTS, table.length))
        triggers = np.zeros(len(parts["t"]), TRIGGER_DTYPE)
        triggers["t"] = parts["t"]
        triggers["id"] = parts["id"].astype(np.uint8)
        triggers["edge"] = parts["p"] > 0
        yield triggers[triggers["t"] != _NO_TIME]


class Hdf5Recording(Recording):
    """Events of a file, and its triggers.

    Parameters
    ----------
    path : pathlib.Path
    file : h5py.File
        Owned from here on.
    width, height : int
        Of the sensor [px].
    events : _Table
    triggers : _Table, optional
    """

    seekable = True

    def __init__(self, path: Path, file: Any, width: int, height: int, events: _Table, triggers: _Table | None) -> None:
        super().__init__(path, "hdf5", width, height)
        self._file = file
        self._events = events
        self._index = TimeIndex(events.pieces)
        self._triggers = triggers

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        table = self._events
        backwards = BackwardsCounter()
        buffer = np.zeros(table.step, EVENT_DTYPE)
        triggers = _Merger(self._triggers, self.counters)
        complete = True
        first = 0 if start_ns is None else self._index.find(start_ns)
        for start in range(first, table.length, table.step):
            stop = min(start + table.step, table.length)
            try:
                parts = table.read(start, stop)
            except h5.DAMAGE:
                self.counters.errors += 1
                complete = False
                continue
            x, y = parts["x"], parts["y"]
            inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
            timed = parts["t"] != _NO_TIME
            if not (inside & timed).all():
                self.counters.errors += int(np.count_nonzero(~timed))
                self.counters.out_of_area += int(np.count_nonzero(timed & ~inside))
                parts = {name: part[inside & timed] for name, part in parts.items()}
            events = buffer[: len(parts["t"])]
            for name in ("t", "x", "y"):
                events[name] = parts[name]
            events["p"] = parts["p"] > 0
            self.counters.non_monotonic += backwards.count(as_words(events))
            if len(events):
                yield from split_batch(EventBatch(events, triggers.until(int(events["t"][-1])), complete), max_events)
                complete = True
        if not table.is_whole:
            self.counters.errors += 1
            complete = False
        for rest in triggers.rest():
            yield EventBatch(buffer[:0], rest, complete)
            complete = True
        if not complete:
            yield EventBatch(buffer[:0], complete=False)

    def _release(self) -> None:
        self._file.close()


class _Merger:
    """Hands out triggers along with the events, in bounded memory."""

    def __init__(self, table: _Table | None, counters: Any) -> None:
        self._blocks = _read_triggers(table)
        self._counters = counters
        self._waiting = empty_triggers()

    def _next(self) -> bool:
        """Read on; False at the end."""
        try:
            self._waiting = next(self._blocks)
        except StopIteration:
            self._waiting = empty_triggers()
            return False
        except h5.DAMAGE:
            self._counters.errors += 1
            self._waiting = empty_triggers()
            return False
        return True

    def until(self, time_ns: int) -> npt.NDArray[np.void]:
        """Return the waiting triggers up to a time; of those that are read, so that a flood waits for the rest."""
        if not len(self._waiting) and not self._next():
            return self._waiting
        count = int(np.searchsorted(self._waiting["t"], time_ns, side="right"))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def rest(self) -> Iterator[npt.NDArray[np.void]]:
        """Return all others, block by block."""
        if len(self._waiting):
            yield self._waiting
        while self._next():
            yield self._waiting


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def _check_kinds(path: Path, kinds: dict[str, np.dtype]) -> None:
    """Refuse parts that are no numbers."""
    for name, dtype in kinds.items():
        if dtype.kind not in ("iufb" if name == "t" else "iub"):
            raise RecordingError(f"{path}: {name} holds {dtype}, not whole numbers")


def _open_table(path: Path, file: Any, name: str, fields: tuple[str, ...]) -> _Table | None:
    """Open a dataset of records; None where there is none."""
    item = h5.find(file, name)
    if item is None or item.dtype.names is None:
        return None
    missing = [field for field in fields if field not in item.dtype.names]
    if missing:
        raise RecordingError(f"{path}: {name} lacks {', '.join(missing)}")
    _check_kinds(path, {field: item.dtype[field] for field in fields})
    column = h5.Column(item)
    return _Table(dict.fromkeys(fields, column), fields=True)


def _open_events(path: Path, file: Any) -> _Table:
    """Open the events in whichever layout they are."""
    for name in _TABLES:
        table = _open_table(path, file, name, ("x", "y", "p", "t"))
        if table is not None:
            return table
    for names in _COLUMNS:
        items = {part: h5.find(file, name) for part, name in names.items()}
        if all(item is not None for item in items.values()):
            _check_kinds(path, {part: item.dtype for part, item in items.items() if item is not None})
            offset = h5.find(file, "t_offset")
            known = offset is not None and offset.shape in ((), (1,)) and offset.dtype.kind in "iu"
            offset_us = int(np.ravel(offset[()])[0]) if offset is not None and known else 0
            return _Table({part: h5.Column(item) for part, item in items.items()}, fields=False, offset_us=offset_us)
    raise RecordingError(f"{path}: HDF5 without events; looked for {_LAYOUTS}")


def _size_of(file: Any) -> tuple[int, int] | None:
    """Find the sensor's width and height among the attributes."""
    geometry = re.fullmatch(r"(\d{1,6})\s*[xX]\s*(\d{1,6})", h5.text(file, "geometry").strip())
    if geometry:
        return int(geometry[1]), int(geometry[2])
    for names in (("width", "height"), ("sensor_width", "sensor_height")):
        numbers = [h5.text(file, name) for name in names]
        if all(number.isdecimal() and len(number) < 7 for number in numbers):
            return int(numbers[0]), int(numbers[1])
    sides = re.findall(r"\d+", h5.text(file, "sensor_resolution"))
    return (int(sides[1]), int(sides[0])) if len(sides) == 2 and max(map(len, sides)) < 7 else None


def open_hdf5(path: Path, options: OpenOptions) -> Hdf5Recording:
    """Open an HDF5 file of events; a given size wins over the file's.

    Raises
    ------
    RecordingError
        When h5py or a filter is missing, the file is garbled or holds no events in a known layout, its data lies
        elsewhere or in too large pieces, or no sensor size is known.
    """
    options.refuse_encoding(path, "hdf5")
    file = None
    try:
        file = h5.open_file(path)
        events = _open_events(path, file)
        triggers = _open_table(path, file, _TRIGGERS, ("p", "t", "id"))
        size = _size_of(file)
        width = options.width if options.width is not None else size[0] if size else None
        height = options.height if options.height is not None else size[1] if size else None
        if width is None or height is None:
            raise RecordingError(f"{path}: the HDF5 file names no sensor size; give --width and --height")
        return Hdf5Recording(path, file, width, height, events, triggers)
    except RecordingError:
        if file is not None:
            file.close()
        raise
    except h5.Hdf5Error as error:
        if file is not None:
            file.close()
        raise RecordingError(str(error)) from error
    except h5.DAMAGE as error:
        if file is not None:
            file.close()
        raise RecordingError(f"{path}: not readable as HDF5: {h5.one_line(error)}") from error
