# SPDX-License-Identifier: Apache-2.0
"""The packets of AEDAT 3: their headers, where they lie, and how late their times are.

A small packet is no more than some hundred bytes, so that a look at the times
of a whole recording goes from packet to packet in compiled code.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats._time_index import NEVER_PASSED
from neuro_ros.events.formats.records import NS_PER_US

__all__ = ["MAX_EVENTS", "POLARITY", "SPECIAL", "Packet", "PacketReader"]

SPECIAL, POLARITY = 0, 1
#: That are read at a time.
MAX_EVENTS = 1 << 16

_HEADER_BYTES = 28
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
# Between places at which a pass may begin, at least; and what is looked at in one go.
_PIECE_BYTES = 1 << 18
# Of a time in its event; the upper bits stand in the packet's header.
_TIME_MASK = 0x7FFFFFFF


@numba.njit(cache=True, nogil=True)
@no_type_check
def _number_at(data, place, size):
    """Read a signed little-endian number of some bytes."""
    value = np.int64(0)
    for index in range(size):
        value |= np.int64(data[np.uintp(place + index)]) << (8 * index)
    return value - ((value >> (8 * size - 1)) << (8 * size))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _header_of(data, place):
    """Read a packet's header: kind, source, size of an event, upper bits of the time, number; -1 where none can be."""
    kind = _number_at(data, place, 2)
    source = _number_at(data, place + 2, 2)
    size = _number_at(data, place + 4, 4)
    time_place = _number_at(data, place + 8, 4)
    overflow = _number_at(data, place + 12, 4)
    capacity = _number_at(data, place + 16, 4)
    number = _number_at(data, place + 20, 4)
    valid = _number_at(data, place + 24, 4)
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
    return kind if can_be else -1, source, size, overflow << 31, number


@numba.njit(cache=True, nogil=True)
@no_type_check
def _follow(data, source):
    """Go past the packets that lie within data, up to one that does not or cannot be.

    Returns the place of that one, and a time [us] that nothing of the source reaches before.
    """
    place = 0
    latest = -1
    while place + _HEADER_BYTES <= len(data):
        kind, from_source, size, upper_us, number = _header_of(data, place)
        end = place + _HEADER_BYTES + number * size
        if kind < 0 or end > len(data):
            break
        if from_source == source and kind <= POLARITY:
            for time_place in range(place + _HEADER_BYTES + _TIME_PLACE, end, _EVENT_BYTES):
                latest = max(latest, upper_us | (_number_at(data, time_place, 4) & _TIME_MASK))
        place = end
    return place, latest + 1


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
    def end(self) -> int:
        return self.start + self.number * self.event_bytes

    @property
    def is_read(self) -> bool:
        return self.kind in (SPECIAL, POLARITY)


def _parse(data: bytes, position: int) -> Packet | None:
    """Read a packet's header; None when it cannot be one."""
    if len(data) < _HEADER_BYTES:  # of a file that shrinks as it is read
        return None
    kind, source, size, upper_us, number = _header_of(np.frombuffer(data, np.uint8), 0)
    return Packet(kind, source, size, upper_us, number, position + _HEADER_BYTES) if kind >= 0 else None


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

        A piece begins where a packet does, or where one is sought: a walk that begins there goes on as one that
        came to it.
        """
        begin, reached_us = position, 0
        while True:
            self._stream.seek(position)
            passed, last_us = _follow(np.frombuffer(self._stream.read(_PIECE_BYTES), np.uint8), source)
            position += passed
            if not passed:  # large, behind damage, or the end
                packet = next((packet for packet in self.packets(position) if packet is not None), None)
                if packet is None:
                    break
                last_us = self._follow_packet(packet, source)
                position = packet.end
            reached_us = max(reached_us, last_us)
            if position - begin >= _PIECE_BYTES:
                yield begin, reached_us * NS_PER_US
                begin, reached_us = position, 0
        yield begin, NEVER_PASSED

    def _follow_packet(self, packet: Packet, source: int) -> int:
        """Return a time [us] that nothing of a packet reaches."""
        if packet.source != source or not packet.is_read:
            return 0
        times = [int((words.view("<u4")[1::2] & np.uint32(_TIME_MASK)).max()) for words in self.words(packet)]
        return (packet.upper_us | max(times)) + 1 if times else 0

    def _header_at(self, position: int) -> Packet | None:
        """Read the header at a place that has room for one; None when it cannot be one."""
        self._stream.seek(position)
        return _parse(self._stream.read(_HEADER_BYTES), position)

    def packets(self, position: int) -> Iterator[Packet | None]:
        """Read the packets' headers; None for a place where none begins, after which the next one was sought."""
        file_bytes = self._stream.seek(0, os.SEEK_END)
        while position + _HEADER_BYTES <= file_bytes:
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
        while position + _HEADER_BYTES <= file_bytes:
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
        packet = self._header_at(start) if start + _HEADER_BYTES <= file_bytes else None
        if packet is None or packet.end > file_bytes:
            return False
        return packet.end + _HEADER_BYTES > file_bytes or self._header_at(packet.end) is not None
