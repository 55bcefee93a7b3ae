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
from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats import _compression_shim as compression
from neuro_ros.events.formats.base import OpenOptions, Recording, split_batch
from neuro_ros.events.stream import BackwardsCounter
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
# Trigger types of external signals, to the edge; a pulse is taken for its rising edge.
_EDGES = {1: 1, 2: 0, 3: 1}

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


class _Table:
    """One table of a flatbuffer; every access is checked and raises ValueError or struct.error on damage."""

    def __init__(self, data: bytes, position: int) -> None:
        (to_vtable,) = struct.unpack_from("<i", data, position)
        self.data = data
        self.position = position
        self.vtable = position - to_vtable
        if not 0 <= self.vtable <= len(data) - 4:
            raise ValueError("a table's description lies outside the packet")
        (self.vtable_bytes,) = struct.unpack_from("<H", data, self.vtable)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """Return the root table of a buffer with its size in front."""
        (offset,) = struct.unpack_from("<I", data, 4)
        return cls(data, 4 + offset)

    def field(self, number: int) -> int | None:
        """Return the place of a field, None where it has its default."""
        entry = 4 + 2 * number
        if entry + 2 > self.vtable_bytes:
            return None
        (offset,) = struct.unpack_from("<H", self.data, self.vtable + entry)
        return self.position + offset if offset else None

    def scalar(self, number: int, kind: str, default: int) -> int:
        """Return a number."""
        place = self.field(number)
        return default if place is None else int(struct.unpack_from(kind, self.data, place)[0])

    def vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        """Return the place and the length of a vector."""
        place = self.field(number)
        if place is None:
            return 0, 0
        (offset,) = struct.unpack_from("<I", self.data, place)
        (length,) = struct.unpack_from("<I", self.data, place + offset)
        start = place + offset + 4
        if start + length * item_bytes > len(self.data):
            raise ValueError("a vector reaches beyond the packet")
        return start, length


def _read_events(data: bytes) -> npt.NDArray[np.void]:
    """View the events of an unpacked packet."""
    start, length = _Table.root(data).vector(0, _EVENT.itemsize)
    return np.frombuffer(data, _EVENT, length, start) if length else np.empty(0, _EVENT)


def _read_triggers(data: bytes) -> npt.NDArray[np.void]:
    """Read the external triggers of an unpacked packet."""
    start, length = _Table.root(data).vector(0, 4)
    rows = []
    for place in range(start, start + 4 * length, 4):
        trigger = _Table(data, place + int(struct.unpack_from("<I", data, place)[0]))
        kind = trigger.scalar(1, "<b", 0)
        if kind in _EDGES:
            rows.append((trigger.scalar(0, "<q", 0), 0, _EDGES[kind]))
    triggers = np.array(rows, TRIGGER_DTYPE) if rows else empty_triggers()
    triggers["t"] *= _NS_PER_US
    return triggers


class Aedat4Recording(Recording):
    """One event stream of a file, and its triggers.

    Parameters
    ----------
    path : pathlib.Path
    stream : binary file
        Owned from here on.
    header : _Header
    """

    def __init__(self, path: Path, stream: BinaryIO, header: _Header, events: _Stream) -> None:
        super().__init__(path, "aedat4", events.width, events.height)
        self._stream = stream
        self._header = header
        self._events = events.number
        self._triggers = [entry.number for entry in header.streams if entry.kind == "TRIG"]

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:  # noqa: ARG002 - to come
        stream = self._stream
        buffer = np.zeros(0, EVENT_DTYPE)
        backwards = BackwardsCounter()
        triggers = empty_triggers()
        complete = True
        for number, packed in self._packets(stream):
            try:
                if packed is None:
                    raise ValueError("a packet cannot be found")
                data = self._header.unpack(packed, _MAX_PACKET_BYTES)
                if number in self._triggers:
                    triggers = np.concatenate([triggers, _read_triggers(data)])
                    continue
                source = _read_events(data)
            except compression.DAMAGE as error:
                self.counters.errors += 1
                complete = False
                level = logging.WARNING if self.counters.errors == 1 else logging.DEBUG
                _LOGGER.log(level, "%s: a packet is skipped: %s", self.path, error)
                continue
            if len(source) > len(buffer):
                buffer = np.zeros(max(len(source), 2 * len(buffer)), EVENT_DTYPE)
            inside = (source["x"] >= 0) & (source["x"] < self.width) & (source["y"] >= 0) & (source["y"] < self.height)
            if not inside.all():
                source = source[inside]
                self.counters.out_of_area += len(inside) - len(source)
            events = buffer[: len(source)]
            events["t"] = source["t"]
            events["t"] *= _NS_PER_US
            events["x"] = source["x"]
            events["y"] = source["y"]
            events["p"] = source["p"] & 1
            self.counters.non_monotonic += backwards.count(as_words(events))
            yield from split_batch(EventBatch(events, triggers, complete), max_events)
            triggers, complete = empty_triggers(), True
        if len(triggers) or not complete:
            yield EventBatch(buffer[:0], triggers, complete)

    def _packets(self, stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
        """Read the packets of interest; None for a place where none begins, after which the next one was sought."""
        numbers = {entry.number for entry in self._header.streams}
        wanted = {self._events, *self._triggers}
        position, end = self._header.data_start, self._header.data_end
        while position + 8 <= end:
            stream.seek(position)
            number, size = struct.unpack("<ii", stream.read(8))
            if number not in numbers or not 0 <= size <= _MAX_PACKET_BYTES or position + 8 + size > end:
                yield -1, None
                position = self._find_packet(stream, position + 1, numbers)
                continue
            if number in wanted:
                yield number, stream.read(size)
            position += 8 + size
        if position < end:
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
        table = _Table.root(data)
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
