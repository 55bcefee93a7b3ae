# SPDX-License-Identifier: Apache-2.0
"""The packets of AEDAT 3: their headers, where they lie, and how late their times are."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats._time_index import NEVER_PASSED
from neuro_ros.events.formats.records import NS_PER_US

__all__ = ["MAX_EVENTS", "POLARITY", "SPECIAL", "Packet", "PacketReader"]

SPECIAL, POLARITY = 0, 1
#: That are read at a time.
MAX_EVENTS = 1 << 16

_HEADER = struct.Struct("<hhiiiiii")
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
_SCAN_BYTES = 1 << 16
# Between places at which a pass may begin, at least.
_PIECE_BYTES = 1 << 16
# Of a time in its event; the upper bits stand in the packet's header.
_TIME_MASK = np.uint32(0x7FFFFFFF)


@dataclass(frozen=True)
class Packet:
    """A packet's header that can be, and where its events lie."""

    kind: int
    source: int
    event_bytes: int
    upper_us: int
    number: int
    start: int

    @property
    def begin(self) -> int:
        return self.start - _HEADER.size

    @property
    def end(self) -> int:
        return self.start + self.number * self.event_bytes

    @property
    def is_read(self) -> bool:
        return self.kind in (SPECIAL, POLARITY)


def _parse(data: bytes, position: int) -> Packet | None:
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
        and (kind > POLARITY or (size == _EVENT_BYTES and time_place == _TIME_PLACE))
    )
    return Packet(kind, source, size, overflow << 31, number, position + _HEADER.size) if can_be else None


class PacketReader:
    """Finds the packets in a file, and reads their events.

    Parameters
    ----------
    stream : binary file
        Where it stands is changed.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def words(self, packet: Packet) -> Iterator[npt.NDArray[np.int64]]:
        """Read a packet's events, as many at a time as fit the buffer."""
        for start in range(packet.start, packet.end, MAX_EVENTS * _EVENT_BYTES):
            self._stream.seek(start)
            data = self._stream.read(min(packet.end - start, MAX_EVENTS * _EVENT_BYTES))
            if len(data) < _EVENT_BYTES:  # cut short
                return
            yield np.frombuffer(data, "<i8", len(data) // _EVENT_BYTES)

    def pieces(self, position: int, source: int) -> Iterator[tuple[int, float]]:
        """Cut the packets from a place on into pieces for a `TimeIndex`, by the times of one source.

        What lies between two of its packets belongs to the first: a walk that begins at a packet goes on as one
        that came to it.
        """
        begin, reached_ns = position, -1
        for packet in self.packets(position):
            if packet is None or packet.source != source or not packet.is_read:
                continue
            if packet.begin - begin >= _PIECE_BYTES:
                yield begin, reached_ns
                begin, reached_ns = packet.begin, -1
            for words in self.words(packet):
                last_us = packet.upper_us | int((words.view("<u4")[1::2] & _TIME_MASK).max())
                reached_ns = max(reached_ns, last_us * NS_PER_US + 1)
        yield begin, NEVER_PASSED

    def _header_at(self, position: int) -> Packet | None:
        """Read the header at a place that has room for one; None when it cannot be one."""
        self._stream.seek(position)
        return _parse(self._stream.read(_HEADER.size), position)

    def packets(self, position: int) -> Iterator[Packet | None]:
        """Read the packets' headers; None for a place where none begins, after which the next one was sought."""
        file_bytes = self._stream.seek(0, os.SEEK_END)
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
