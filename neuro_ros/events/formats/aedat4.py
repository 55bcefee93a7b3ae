# SPDX-License-Identifier: Apache-2.0
"""AEDAT4 of iniVation cameras: compressed packets of flatbuffers, several streams interleaved.

After a text line comes a header (compression, a description of the streams as
XML), then packets: stream (int32), size (int32), a flatbuffer of that size. Only
event and trigger streams are looked into. Times are microseconds of the camera's
clock, usually since the Unix epoch.

The vendor's reader is not used here: it never returns from some damaged files
and refuses those that were cut short, which a robot that lost power leaves.

References
----------
iniVation, "AEDAT 4.0 file format" (docs.inivation.com), with the flatbuffer
schemas named there; the flatbuffers binary format (flatbuffers.dev).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, no_type_check
from xml.etree import ElementTree

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats import _compression_shim as compression
from neuro_ros.events.formats import _flatbuffers as flatbuffers
from neuro_ros.events.formats._aedat4_table import PacketTable
from neuro_ros.events.formats.base import OpenOptions, Recording
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, as_words, empty_triggers

__all__ = ["Aedat4Recording", "matches", "open_aedat4"]

_LOGGER = logging.getLogger(__name__)
_MAGIC = b"#!AER-DAT4"
_NS_PER_US = 1000
_MAX_HEADER_BYTES = 1 << 24
_MAX_PACKET_BYTES = 1 << 26
_SCAN_BYTES = 1 << 16

_EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
# Edges by the type of a trigger, -1 where it is no external signal; a pulse is taken for its rising edge.
_EDGES = np.full(256, -1, np.int8)
_EDGES[[1, 2, 3]] = [1, 0, 1]
_MAX_TRIGGERS = 1 << 20  # more in one packet are damage
_MAX_TIME_US = ((1 << 63) - 1) // _NS_PER_US  # 292 years, what nanoseconds can hold
# Triggers that wait for events; more go on their own.
_MANY_TRIGGERS = 1 << 16

# By the header's number: how to unpack, and by which bytes, where in a packet, the next one is found again.
_COMPRESSIONS: dict[int, tuple[Callable[[bytes, int], bytes], bytes, int]] = {
    0: (lambda data, limit: data[:limit], b"EVTS", 16),
    1: (compression.unpack_lz4, b"\x04\x22\x4d\x18", 8),
    2: (compression.unpack_lz4, b"\x04\x22\x4d\x18", 8),
    3: (compression.unpack_zstd, b"\x28\xb5\x2f\xfd", 8),
    4: (compression.unpack_zstd, b"\x28\xb5\x2f\xfd", 8),
}


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def _check_times(times_us: npt.NDArray[np.int64]) -> None:
    if len(times_us) and not -_MAX_TIME_US <= times_us.min() <= times_us.max() <= _MAX_TIME_US:
        raise ValueError("a time lies centuries away")


def _read_events(data: bytes) -> npt.NDArray[np.void]:
    """View the events of an unpacked packet."""
    start, length = flatbuffers.Table.root(data).vector(0, _EVENT.itemsize)
    events = np.frombuffer(data, _EVENT, length, start) if length else np.empty(0, _EVENT)
    _check_times(events["t"])
    return events


def _read_triggers(data: bytes, line: int) -> npt.NDArray[np.void]:
    """Read the external triggers of an unpacked packet."""
    places = flatbuffers.Table.root(data).tables(0, _MAX_TRIGGERS)
    times_us, kinds = flatbuffers.columns(data, places, ((0, "<i8", 0), (1, "u1", 0)))
    _check_times(times_us)
    edges = _EDGES[kinds]
    triggers = np.zeros(np.count_nonzero(edges >= 0), TRIGGER_DTYPE)
    triggers["t"] = times_us[edges >= 0] * _NS_PER_US
    triggers["id"] = line
    triggers["edge"] = edges[edges >= 0]
    return triggers


def _merged(parts: list[npt.NDArray[np.void]]) -> npt.NDArray[np.void]:
    """Put the triggers of several packets together, in the order of time where they are of several lines."""
    triggers = np.concatenate([empty_triggers(), *parts])
    if len(triggers) and (triggers["id"] != triggers["id"][0]).any():
        triggers = triggers[np.argsort(triggers["t"], kind="stable")]
    return triggers


@numba.njit(cache=True, nogil=True)
@no_type_check
def _copy_events(source, width, height, events, state):
    """Copy events, which differ from ours in the unit of time and in what the padding holds.

    Returns the number of those within the sensor, and of those before their predecessor; `state` holds the time of
    the last one.
    """
    previous_ns = state[0]
    count = np.int64(0)
    backwards = np.int64(0)
    for index in range(len(source)):
        time_ns = source[np.uintp(index), 0] * 1000
        word = source[np.uintp(index), 1] & 0x1FFFFFFFF
        # Negative coordinates are large ones without their sign, beyond any sensor. What is beyond is overwritten.
        inside = ((word & 0xFFFF) < width) & (((word >> 16) & 0xFFFF) < height)
        events[np.uintp(count), 0] = time_ns
        events[np.uintp(count), 1] = word
        count += inside
        backwards += inside & (time_ns < previous_ns)
        if inside:
            previous_ns = time_ns
    state[0] = previous_ns
    return count, backwards


class Aedat4Recording(Recording):
    """One event stream of a file, and its triggers.

    Parameters
    ----------
    path : pathlib.Path
    stream : binary file
        Owned from here on.
    header : _Header
    """

    seekable = True

    def __init__(self, path: Path, stream: BinaryIO, header: _Header, events: _Stream) -> None:
        super().__init__(path, "aedat4", events.width, events.height)
        self._stream = stream
        self._header = header
        self._events = events.number
        self._lines = {entry.number: entry.line for entry in header.streams if entry.kind == "TRIG"}

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        stream = self._stream
        buffer = np.zeros(0, EVENT_DTYPE)
        state = np.array([np.iinfo(np.int64).min], np.int64)
        triggers: list[npt.NDArray[np.void]] = []
        complete = True
        position = self._header.data_start if start_ns is None else self._place_of(start_ns)
        for number, packed in self._packets(stream, position):
            try:
                if packed is None:
                    raise ValueError("a packet cannot be found")
                data = self._header.unpack(packed, _MAX_PACKET_BYTES)
                if number in self._lines:
                    triggers.append(_read_triggers(data, self._lines[number]))
                    if sum(map(len, triggers)) > _MANY_TRIGGERS:
                        yield EventBatch(buffer[:0], _merged(triggers), complete)
                        triggers, complete = [], True
                    continue
                source = _read_events(data)
                if start_ns is not None and len(source) and int(source["t"].max()) * _NS_PER_US < start_ns:
                    continue
            except compression.DAMAGE as error:
                self.counters.errors += 1
                complete = False
                level = logging.WARNING if self.counters.errors == 1 else logging.DEBUG
                _LOGGER.log(level, "%s: a packet is skipped: %s", self.path, error)
                continue
            for start in range(0, max(len(source), 1), max_events):
                part = source[start : start + max_events]
                if len(part) > len(buffer):
                    buffer = np.zeros(max(len(part), min(2 * len(buffer), max_events)), EVENT_DTYPE)
                yield EventBatch(self._convert(part, buffer, state), _merged(triggers), complete)
                triggers, complete = [], True
            del data, source, part  # before the next packet is unpacked
        if triggers or not complete:
            yield EventBatch(buffer[:0], _merged(triggers), complete)

    def _convert(
        self, source: npt.NDArray[np.void], buffer: npt.NDArray[np.void], state: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.void]:
        """Write events of a packet into a buffer, without those beyond the sensor; return what is used of it."""
        words = np.ndarray((len(source), 2), np.int64, source)
        if not words.flags.aligned:  # the loop is compiled for aligned words
            words = words.copy()
        count, backwards = _copy_events(words, self.width, self.height, as_words(buffer), state)
        self.counters.out_of_area += len(source) - count
        self.counters.non_monotonic += backwards
        return buffer[:count]

    def _place_of(self, start_ns: int) -> int:
        """Find where to begin to read, so that nothing of a time or later is missed: by the table, if it can tell."""
        header, place = self._header, None
        self._stream.seek(header.data_end)
        try:
            data = header.unpack(self._stream.read(_MAX_PACKET_BYTES), _MAX_PACKET_BYTES)
            table = PacketTable(data, header.data_start, header.data_end)
            place = table.place_of(-(-start_ns // _NS_PER_US), {self._events, *self._lines})
        except compression.DAMAGE as error:
            _LOGGER.debug("%s: read from the start: %s", self.path, error)
        return header.data_start if place is None else place

    def _packets(self, stream: BinaryIO, position: int) -> Iterator[tuple[int, bytes | None]]:
        """Read the packets of interest; None for a place where none begins, after which the next one was sought."""
        numbers = {entry.number for entry in self._header.streams}
        wanted = {self._events, *self._lines}
        end = self._header.data_end
        whole = True  # what was read last
        while position + 8 <= end:
            stream.seek(position)
            number, size = struct.unpack("<ii", stream.read(8))
            if number not in numbers or not 0 <= size <= _MAX_PACKET_BYTES or position + 8 + size > end:
                yield -1, None
                position = self._find_packet(stream, position + 1, numbers)
                whole = False
                continue
            whole = True
            if number in wanted:
                yield number, stream.read(size)
            position += 8 + size
        if position < end or (self._header.cut_short and whole):
            yield -1, None

    def _find_packet(self, stream: BinaryIO, position: int, numbers: set[int]) -> int:
        """Find the next place that looks like a packet of some stream, the end of the data where there is none."""
        end, mark, distance = self._header.data_end, self._header.mark, self._header.mark_distance
        overlap = distance + len(mark)
        while position + overlap <= end:
            stream.seek(position)
            block = stream.read(min(_SCAN_BYTES, end - position))
            place = block.find(mark, distance)
            while place >= 0:
                start = place - distance
                number, size = struct.unpack_from("<ii", block, start)
                if number in numbers and 0 < size <= _MAX_PACKET_BYTES and position + start + 8 + size <= end:
                    return position + start
                place = block.find(mark, place + 1)
            position += max(1, len(block) - overlap + 1)
        return end

    def _release(self) -> None:
        self._stream.close()


class _Stream:
    """What the XML tells about one stream."""

    def __init__(self, node: ElementTree.Element) -> None:
        attributes = {item.get("key"): (item.text or "").strip() for item in node.iter("attr")}
        name = node.get("name", "")
        self.number = int(name) if name.isdecimal() else -1
        self.kind = attributes.get("typeIdentifier", "")
        self.name = attributes.get("originalOutputName", name)
        line = attributes.get("triggerId", "")  # ours: the format knows no lines
        self.line = int(line) if line.isdecimal() and len(line) < 4 and int(line) < 256 else 0
        sizes = [attributes.get(key, "") for key in ("sizeX", "sizeY")]
        self.width, self.height = (int(size) if size.isdecimal() and len(size) < 6 else 0 for size in sizes)


class _Header:
    """The file's header."""

    def __init__(self, stream: BinaryIO, file_bytes: int) -> None:
        line = stream.readline(64)
        prefix = stream.read(4)
        size = int.from_bytes(prefix, "little")
        if len(prefix) < 4 or not 8 <= size <= min(_MAX_HEADER_BYTES, file_bytes):
            raise ValueError("the header is cut short or garbled")
        data = prefix + stream.read(size)
        table = flatbuffers.Table.root(data)
        number = table.scalar(0, "<i", 0)
        if number not in _COMPRESSIONS:
            raise ValueError(f"compression {number} is unknown")
        self.unpack, self.mark, self.mark_distance = _COMPRESSIONS[number]
        start, length = table.vector(2, 1)
        root = ElementTree.fromstring(data[start : start + length].decode("utf-8"))
        nodes = root.findall("./node[@name='outInfo']/node") or root.findall("./node")
        self.streams = [_Stream(node) for node in nodes]
        self.data_start = len(line) + 4 + size
        # A table of the packets follows the data; its place stays below the data where the writer died before the end.
        data_end = table.scalar(1, "<q", -1)
        self.cut_short = data_end > file_bytes
        self.data_end = data_end if self.data_start <= data_end <= file_bytes else file_bytes


def open_aedat4(path: Path, options: OpenOptions) -> Aedat4Recording:
    """Open an AEDAT4 file; a topic names one of several event streams.

    Raises
    ------
    RecordingError
        When the header cannot be read, or names no event stream or several.
    """
    options.refuse_encoding(path, "aedat4")
    stream = path.open("rb")
    try:
        try:
            header = _Header(stream, path.stat().st_size)
        except (*compression.DAMAGE, ElementTree.ParseError) as error:
            raise RecordingError(f"{path}: not readable as AEDAT4: {' '.join(str(error).split())}") from error
        found = [entry for entry in header.streams if entry.kind == "EVTS" and entry.number >= 0]
        if options.topic is not None:
            found = [entry for entry in found if options.topic in (entry.name, str(entry.number))]
        if len(found) != 1:
            held = ", ".join(f"{entry.number} {entry.name} ({entry.kind})" for entry in header.streams) or "no streams"
            raise RecordingError(f"{path}: {len(found) or 'no'} event streams to read, not one; it holds {held}")
        return Aedat4Recording(path, stream, header, found[0])
    except BaseException:
        stream.close()
        raise
