# SPDX-License-Identifier: Apache-2.0
"""AEDAT 3.1 and 3.0, as cAER writes them; DvsGesture comes as 3.1. Text lines, then little-endian packets.

A packet has a header of 28 bytes: type and source (int16), size of an event,
place of the time in it, upper bits of its times, capacity, number of events,
number of valid ones (int32). Read are polarity events (type 1) and the external
inputs among the special ones (type 0), both eight bytes: a word with a mark of
validity in bit 0, then the time (31 bits, microseconds), above which stand the
upper bits of the packet, so that it never starts over. Polarity: polarity in bit
1, y in 16-2, x in 31-17. Special: what it is in bits 7-1. The other types are
passed over.

3.0 differs in two ways: nothing but the first line without ``#`` ends the header,
and the rows count from the bottom, here as everywhere from the top.

A packet header that cannot be is damage: it is counted, and the next one that can
be is looked for.

References
----------
iniVation, "AEDAT 3.1" and "AEDAT 3.0 file format" (docs.inivation.com), and the
type definitions of libcaer.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats.aedat2 import find_sensor, read_lines
from neuro_ros.events.formats.base import OpenOptions, Recording, split_batch
from neuro_ros.events.formats.records import DISORDER_NS, NS_PER_US
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, as_words, empty_triggers

__all__ = ["Aedat3Recording", "matches", "open_aedat3"]

_MAGIC = b"#!AER-DAT3"
_HEADER = struct.Struct("<hhiiiiii")
_SPECIAL, _POLARITY = 0, 1
_TYPES = 14
_EVENT_BYTES = 8
_TIME_PLACE = 4
# Where in a header the size of an event stands, with the place of the time after it.
_MARK_PLACE = 4
# No packet of a camera comes near; a frame has a megabyte.
_MAX_PACKET_BYTES = 1 << 28
_MAX_SOURCES = 1 << 8
# Times beyond 142 years; they would not fit 64 bits as nanoseconds.
_MAX_OVERFLOW = 1 << 21
_READ_EVENTS = 1 << 16
_SCAN_BYTES = 1 << 16

# External inputs: what a special event is, to line and edge; a pulse is taken for its rising edge.
_INPUTS = {2: (0, 1), 3: (0, 0), 4: (0, 1), 6: (1, 1), 7: (1, 0), 8: (1, 1), 9: (2, 1), 10: (2, 0), 11: (2, 1)}


@numba.njit(cache=True, nogil=True)
@no_type_check
def _read_polarities(words, upper_us, width, height, from_bottom, events):
    """Write the valid events on the sensor; return their number and that of the valid ones beyond it."""
    count = 0
    beyond = 0
    for index in range(len(words)):
        data = words[index] & 0xFFFFFFFF
        if data & 1 == 0:
            continue
        x = data >> 17
        y = (data >> 2) & 0x7FFF
        events[count, 0] = (upper_us | ((words[index] >> 32) & 0x7FFFFFFF)) * 1000
        row = height - 1 - y if from_bottom else y
        events[count, 1] = x | (row << 16) | (((data >> 1) & 1) << 32)
        good = np.int64(x < width) & np.int64(y < height)
        count += good
        beyond += 1 - good
    return count, beyond


@dataclass(frozen=True)
class _Packet:
    """A packet's header that can be, and where its events lie."""

    kind: int
    source: int
    event_bytes: int
    upper_us: int
    number: int
    start: int

    @property
    def end(self) -> int:
        return self.start + self.number * self.event_bytes

    @property
    def is_read(self) -> bool:
        return self.kind in (_SPECIAL, _POLARITY)


def _parse(data: bytes, position: int) -> _Packet | None:
    """Read a packet's header; None when it cannot be one."""
    kind, source, size, time_place, overflow, capacity, number, valid = _HEADER.unpack(data)
    can_be = (
        0 <= kind < _TYPES
        and 0 <= source < _MAX_SOURCES
        and size > 0
        and 0 <= time_place <= size - 4
        and 0 <= overflow <= _MAX_OVERFLOW
        and 0 <= valid <= number <= capacity
        and number * size <= _MAX_PACKET_BYTES
        and (kind > _POLARITY or (size == _EVENT_BYTES and time_place == _TIME_PLACE))
    )
    return _Packet(kind, source, size, overflow << 31, number, position + _HEADER.size) if can_be else None


class Aedat3Recording(Recording):
    """The events and external inputs of one source of a file.

    Parameters
    ----------
    path : pathlib.Path
    stream : binary file
        Owned from here on.
    width, height : int
        Of the sensor [px].
    offset : int
        Where the packets begin [bytes].
    source : int
        Number of the source; packets of others are passed over.
    from_bottom : bool
        Whether rows count from the bottom.
    """

    seekable = True

    def __init__(
        self, path: Path, stream: BinaryIO, width: int, height: int, offset: int, source: int, from_bottom: bool
    ) -> None:
        super().__init__(path, "aedat3", width, height)
        self._stream = stream
        self._offset = offset
        self._source = source
        self._from_bottom = from_bottom

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        events = np.zeros(_READ_EVENTS, EVENT_DTYPE)
        backwards = BackwardsCounter()
        complete = True
        upper_us = -1
        for packet in self._packets():
            if packet is None:
                self.counters.errors += 1
                complete = False
                continue
            if packet.source != self._source or not packet.is_read or self._lies_before(packet, start_ns):
                continue
            if packet.kind == _POLARITY:
                self.counters.time_wraps += 0 <= upper_us < packet.upper_us
                upper_us = packet.upper_us
            for words in self._words(packet):
                triggers = empty_triggers()
                count = 0
                if packet.kind == _SPECIAL:
                    triggers = _read_inputs(words, packet.upper_us)
                else:
                    count, beyond = _read_polarities(
                        words, packet.upper_us, self.width, self.height, self._from_bottom, as_words(events)
                    )
                    self.counters.out_of_area += beyond
                    self.counters.non_monotonic += backwards.count(as_words(events[:count]))
                if count or len(triggers):
                    yield from split_batch(EventBatch(events[:count], triggers, complete), max_events)
                    complete = True
        if not complete:
            yield EventBatch(events[:0], complete=False)

    def _lies_before(self, packet: _Packet, start_ns: int | None) -> bool:
        """Tell whether all of a packet lies well before a time, by its last event."""
        if start_ns is None or packet.number == 0:
            return False
        self._stream.seek(packet.end - _EVENT_BYTES + _TIME_PLACE)
        data = self._stream.read(4)
        if len(data) < 4:
            return False
        last_us = packet.upper_us | (int.from_bytes(data, "little") & 0x7FFFFFFF)
        return last_us * NS_PER_US < start_ns - DISORDER_NS

    def _words(self, packet: _Packet) -> Iterator[npt.NDArray[np.int64]]:
        """Read a packet's events, as many at a time as fit the buffer."""
        for start in range(packet.start, packet.end, _READ_EVENTS * _EVENT_BYTES):
            self._stream.seek(start)
            data = self._stream.read(min(packet.end - start, _READ_EVENTS * _EVENT_BYTES))
            if len(data) < _EVENT_BYTES:  # cut short
                return
            yield np.frombuffer(data, "<i8", len(data) // _EVENT_BYTES)

    def _header_at(self, position: int) -> _Packet | None:
        """Read the header at a place that has room for one; None when it cannot be one."""
        self._stream.seek(position)
        return _parse(self._stream.read(_HEADER.size), position)

    def _packets(self) -> Iterator[_Packet | None]:
        """Read the packets' headers; None for a place where none begins, after which the next one was sought."""
        file_bytes = self._stream.seek(0, os.SEEK_END)
        position = self._offset
        while position + _HEADER.size <= file_bytes:
            packet = self._header_at(position)
            # One that reaches beyond the end is the last, cut short, or else its number is damaged.
            if packet is None or packet.end > file_bytes:
                following = self._find_packet(position + 1, file_bytes)
                if packet is None or following < file_bytes:
                    yield None
                    position = following
                    continue
            yield packet
            position = packet.end
        if position != file_bytes:  # the last packet, or its header, is cut short
            yield None

    def _find_packet(self, position: int, file_bytes: int) -> int:
        """Find the next place that looks like a packet of events; the end of the file where there is none."""
        mark = struct.pack("<ii", _EVENT_BYTES, _TIME_PLACE)
        while position + _HEADER.size <= file_bytes:
            self._stream.seek(position)
            block = self._stream.read(min(_SCAN_BYTES, file_bytes - position))
            place = block.find(mark, _MARK_PLACE)
            while place >= 0:
                if self._is_packet(position + place - _MARK_PLACE, file_bytes):
                    return position + place - _MARK_PLACE
                place = block.find(mark, place + 1)
            position += max(1, len(block) - _MARK_PLACE - len(mark) + 1)
        return file_bytes

    def _is_packet(self, start: int, file_bytes: int) -> bool:
        """Tell whether a whole packet begins at a place, and after it another one or the end."""
        packet = self._header_at(start) if start + _HEADER.size <= file_bytes else None
        if packet is None or packet.end > file_bytes:
            return False
        return packet.end + _HEADER.size > file_bytes or self._header_at(packet.end) is not None

    def _release(self) -> None:
        self._stream.close()


def _read_inputs(words: npt.NDArray[np.int64], upper_us: int) -> npt.NDArray[np.void]:
    """Read the external inputs among special events, which are few."""
    rows = []
    for word in words.tolist():
        what = (word >> 1) & 0x7F
        if word & 1 and what in _INPUTS:
            rows.append(((upper_us | ((word >> 32) & 0x7FFFFFFF)) * NS_PER_US, *_INPUTS[what]))
    return np.array(rows, TRIGGER_DTYPE) if rows else empty_triggers()


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def _find_source(path: Path, lines: list[str], topic: str | None) -> tuple[int, str]:
    """Find the source to read, the only one or the one that was asked for; its number and its name."""
    found = [re.fullmatch(r"Source\s+(\d{1,5})\s*:\s*(.*)", line) for line in lines]
    sources = [(int(match[1]), match[2].strip()) for match in found if match]
    if topic is not None:
        sources = [entry for entry in sources if topic in (str(entry[0]), entry[1])]
    elif not sources:
        return 0, ""
    if len(sources) != 1:
        held = ", ".join(line for line in lines if line.startswith("Source")) or "none named"
        raise RecordingError(f"{path}: {len(sources) or 'no'} sources to read, not one; it holds {held}; name one")
    return sources[0]


def open_aedat3(path: Path, options: OpenOptions) -> Aedat3Recording:
    """Open an AEDAT 3 file; a given size wins over the source's, and a topic names one of several sources.

    Raises
    ------
    RecordingError
        When the packets are compressed, the sensor is not known and no size is given, or there are several sources.
    """
    options.refuse_encoding(path, "aedat3")
    stream = path.open("rb")
    try:
        lines, offset = read_lines(stream)
        form = next((line.partition(":")[2].strip() for line in lines if line.startswith("Format:")), "RAW")
        if form.upper() != "RAW":
            raise RecordingError(f"{path}: AEDAT 3 in the format {form} is not read; read is RAW")
        number, name = _find_source(path, lines, options.topic)
        size = find_sensor(name)
        width = options.width if options.width is not None else size[0] if size else None
        height = options.height if options.height is not None else size[1] if size else None
        if width is None or height is None:
            what = f"the sensor {name} is not known" if name else "the AEDAT 3 header names no sensor"
            raise RecordingError(f"{path}: {what}; give --width and --height")
        from_bottom = bool(lines) and lines[0].startswith("!AER-DAT3.0")
        return Aedat3Recording(path, stream, width, height, offset, number, from_bottom)
    except BaseException:
        stream.close()
        raise
