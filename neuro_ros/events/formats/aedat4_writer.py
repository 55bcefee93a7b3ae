# SPDX-License-Identifier: Apache-2.0
"""Writes AEDAT4: packets of flatbuffers, each an LZ4 frame with a checksum, and a table of them at the end.

Events go to stream 0, triggers of line n to stream n + 1, because a trigger of
AEDAT4 has no number of its line. Which lines there are is known at the end, so
the header is written last, into room that was left for it. Times are cut to
whole microseconds, the resolution of the format.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats import _compression_shim as compression
from neuro_ros.events.formats import _flatbuffers as flatbuffers
from neuro_ros.events.formats.base import FileWriter
from neuro_ros.events.types import EVENT_DTYPE, RecordingError, as_words, empty_triggers

__all__ = ["Aedat4Writer"]

_NS_PER_US = 1000
_LINE = b"#!AER-DAT4.0\r\n"
_LZ4 = 1
_SOURCE = "neuro_ros"
#: Coordinates are int16.
_MAX_SIDE_PX = 1 << 15
#: Events of a packet: half a megabyte, what a reader has to unpack to begin anywhere.
_PACKET_EVENTS = 1 << 15
#: The room left for the header holds the description of this many trigger lines.
_TRIGGER_LINES = 32
_XML_BYTES = 1 << 14
_BY_EDGE = np.array([2, 1], np.int8)  # the types of a falling and a rising external signal

_TRIGGER = np.dtype(
    {
        "names": ["to_vtable", "type", "t"],
        "formats": ["<i4", "i1", "<i8"],
        "offsets": [0, 7, 8],
        "itemsize": 16,
    }
)
_ENTRY = np.dtype(
    {
        "names": ["to_vtable", "stream", "bytes", "offset", "elements", "first_us", "last_us"],
        "formats": ["<i4", "<i4", "<i4", "<i8", "<i8", "<i8", "<i8"],
        "offsets": [0, 4, 8, 12, 20, 28, 36],
        "itemsize": 48,
    }
)
# Size of what follows, root, identifier, description of the root (compression, place of the table, text), the root,
# length of the text.
_HEADER = struct.Struct("<II4s6xHHHHHiiIqI")
_HEADER_ROOT = 28 - 4


def _stream_xml(number: int, kind: str, name: str, info: dict[str, tuple[str, str]]) -> str:
    """Describe one stream as iniVation's software does."""
    attributes = {
        "compression": "LZ4",
        "originalModuleName": _SOURCE,
        "originalOutputName": name,
        "typeIdentifier": kind,
    }
    lines = [f'<node name="{number}" path="/outInfo/{number}/">']
    lines += [f'<attr key="{key}" type="string">{value}</attr>' for key, value in attributes.items()]
    lines += [f'<node name="info" path="/outInfo/{number}/info/">']
    lines += [f'<attr key="{key}" type="{what}">{value}</attr>' for key, (what, value) in info.items()]
    return "\n".join([*lines, "</node>", "</node>"])


class Aedat4Writer(FileWriter):
    """Writes an AEDAT4 file.

    Parameters
    ----------
    path : pathlib.Path
    width, height : int
        At most 32768 px each.

    Raises
    ------
    RecordingError
        When the sensor is too large for the format.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        if max(width, height) > _MAX_SIDE_PX:
            raise RecordingError(f"{path}: AEDAT4 holds sides up to {_MAX_SIDE_PX} px, the sensor is {width}x{height}")
        super().__init__(path, width, height)
        self._pending = np.zeros(_PACKET_EVENTS, EVENT_DTYPE)
        self._pending_count = 0
        self._triggers = empty_triggers()
        self._lines: set[int] = set()
        self._table: list[tuple[int, int, int, int, int, int]] = []  # as _ENTRY, from the stream on
        self._position = len(_LINE) + _HEADER.size + _XML_BYTES
        self._file.seek(self._position)

    def _write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        if len(triggers):
            if int(triggers["id"].max()) >= _TRIGGER_LINES:
                raise RecordingError(
                    f"{self.path}: AEDAT4 holds trigger ids below {_TRIGGER_LINES}, found {int(triggers['id'].max())}"
                )
            self._triggers = np.concatenate([self._triggers, triggers])
        while len(events):
            part = events[: _PACKET_EVENTS - self._pending_count]
            events = events[len(part) :]
            self._pending[self._pending_count : self._pending_count + len(part)] = part
            self._pending_count += len(part)
            if self._pending_count == _PACKET_EVENTS:
                self._flush(int(self._pending["t"].max()))
        if len(self._triggers) >= _PACKET_EVENTS:
            self._flush()

    def _flush(self, until_ns: int | None = None) -> None:
        """Write what waits: a packet of each line's triggers, up to a time, and then one of the events."""
        now = np.ones(len(self._triggers), bool) if until_ns is None else self._triggers["t"] <= until_ns
        triggers, self._triggers = self._triggers[now], self._triggers[~now]
        for line in np.unique(triggers["id"]).tolist():
            chosen = triggers[triggers["id"] == line]
            items = np.zeros(len(chosen), _TRIGGER)
            items["t"] = chosen["t"] // _NS_PER_US
            items["type"] = _BY_EDGE[chosen["edge"] & 1]
            self._lines.add(line)
            self._write_packet(line + 1, flatbuffers.pack_tables(b"TRIG", (8, 7), items, 0), items["t"])
        events = self._pending[: self._pending_count]
        self._pending_count = 0
        if len(events):
            events["t"] //= _NS_PER_US
            as_words(events)[:, 1] &= (1 << 33) - 1  # what marks an event means nothing to others
            self._write_packet(0, flatbuffers.pack_structs(b"EVTS", events), events["t"])

    def _write_packet(self, stream: int, data: bytes, times_us: npt.NDArray[np.int64]) -> None:
        packed = compression.pack_lz4(data)
        self._file.write(struct.pack("<ii", stream, len(packed)) + packed)
        self._position += 8 + len(packed)
        first_us, last_us = int(times_us.min()), int(times_us.max())
        self._table.append((stream, len(packed), self._position - len(packed), len(times_us), first_us, last_us))

    def _header(self) -> bytes:
        """Write the line and the header, with the place of the table."""
        size = {"sizeX": ("int", str(self.width)), "sizeY": ("int", str(self.height))}
        source = {"source": ("string", _SOURCE)}
        streams = [_stream_xml(0, "EVTS", "events", size | source)]
        for line in sorted(self._lines | {0}):
            name = f"triggers_{line}" if line else "triggers"
            streams.append(_stream_xml(line + 1, "TRIG", name, source | {"triggerId": ("int", str(line))}))
        text = "\n".join(['<dv version="2.0">', '<node name="outInfo" path="/outInfo/">', *streams, "</node>", "</dv>"])
        xml = text.encode("ascii").ljust(_XML_BYTES, b"\0")
        root = (10, 20, 4, 12, 8, 10, _LZ4, 12, self._position, len(text))
        return _LINE + _HEADER.pack(_HEADER.size - 4 + len(xml), _HEADER_ROOT, b"IOHE", *root) + xml

    def _finish(self) -> None:
        self._flush()
        table = np.zeros(len(self._table), _ENTRY)
        if self._table:
            names = ("stream", "bytes", "offset", "elements", "first_us", "last_us")
            for name, column in zip(names, zip(*self._table, strict=True), strict=True):
                table[name] = column
        self._file.write(compression.pack_lz4(flatbuffers.pack_tables(b"FTAB", (12, 4, 20, 28, 36), table, 4)))
        self._file.seek(0)
        self._file.write(self._header())
