# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW: text lines ``% key value``, then the words of an encoding. Also words without any header.

The text ends with the line ``% end`` or with the first line that does not begin
with ``% ``. The encoding stands in ``format EVT3;height=720;width=1280`` or, in
older files, in ``evt 3.0``; the sensor's size there, in ``geometry 1280x720``,
or follows from the sensor that ``plugin_name`` names. Our own files add
``time_base_us``, the upper part of the first time, which the words cannot hold.

EVT 2.1 comes in two orders of bytes. ``endianness=legacy`` or ``little`` in the
format, else a line ``endianness legacy``, says which; else the words themselves
do (`neuro_ros.events.encodings.evt21.looks_legacy`), and where they fit both,
it is little, as in OpenEB. (OpenEB does not look at the words, but at the
number of the camera system, which files edited or made elsewhere lack.)

References
----------
Prophesee, "RAW file format" (docs.prophesee.ai); OpenEB, ``psee_raw_file_header.cpp``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings import ENCODINGS, FOREIGN, BytesDecoder, Encoding, find_encoding
from neuro_ros.events.encodings.evt21 import looks_legacy
from neuro_ros.events.formats._time_index import TimeIndex, can_follow, follow_words
from neuro_ros.events.formats.base import FileWriter, OpenOptions, Recording
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import EventBatch, RecordingError

__all__ = ["RawRecording", "RawWriter", "matches", "open_headerless", "open_raw"]

_MAX_LINE_BYTES = 4096
_MAX_HEADER_BYTES = 1 << 16
_TIME_BASE_KEY = "time_base_us"
_MAX_TIME_BASE_NS = 1 << 62
# As many words as tell the order of their bytes beyond doubt.
_PROBE_BYTES = 1 << 16

# Sensor sizes by the name of the plug-in that wrote the file, for headers without a geometry. Longer names first.
_SENSORS = (
    ("genx320", 320, 320),
    ("imx636", 1280, 720),
    ("imx646", 1280, 720),
    ("gen41", 1280, 720),
    ("gen4", 1280, 720),
    ("gen31", 640, 480),
    ("gen3", 640, 480),
)


def read_header(stream: BinaryIO) -> tuple[dict[str, str], int]:
    """Read the text lines.

    Returns
    -------
    fields : dict
        Keys in lower case.
    offset : int
        Where the words begin.
    """
    text = stream.read(_MAX_HEADER_BYTES)
    fields: dict[str, str] = {}
    offset = 0
    while text.startswith(b"% ", offset):
        end = text.find(b"\n", offset, offset + _MAX_LINE_BYTES)
        line = text[offset + 2 : end].strip()
        # The first words of the data may look like the start of a line, but hardly like a whole one.
        if end < 0 or any(byte < 9 or byte > 126 for byte in line):
            break
        offset = end + 1
        key, _, value = line.decode("ascii").partition(" ")
        if key == "end":
            break
        fields.setdefault(key.lower(), value.strip())
    return fields, offset


def matches(head: bytes) -> bool:
    """Recognise a RAW header by its first bytes (as many as a header is likely to have)."""
    if not head.startswith(b"% "):
        return False
    lines = re.split(rb"\r?\n", head)
    return any(re.match(rb"% (evt|format|end|plugin_name|integrator_name)\b", line) for line in lines)


def _encoding_of(fields: dict[str, str]) -> str | None:
    """Find the encoding's name as the header gives it, without punctuation, such as EVT3."""
    if "format" in fields:
        name = fields["format"].partition(";")[0].strip().upper().replace(".", "")
    elif "evt" in fields:
        major, _, minor = fields["evt"].strip().partition(".")
        name = f"EVT{major}" + ("" if minor in ("", "0") else minor)
    else:
        return None
    return name.removesuffix("0") if name in ("EVT20", "EVT30", "EVT40") else name


def _endianness_of(fields: dict[str, str]) -> str | None:
    """Find what the header says of the order of bytes, in lower case."""
    options = re.search(r";\s*endianness\s*=\s*(\w+)", fields.get("format", "").lower())
    if options:
        return options[1]
    return fields["endianness"].lower() if "endianness" in fields else None


def _find_raw_encoding(path: Path, fields: dict[str, str], probe: bytes) -> Encoding:
    """Find the encoding that the header names, by its first words where it names two.

    Raises
    ------
    RecordingError
        When it names none, or none that is read.
    """
    name = _encoding_of(fields)
    if name is None:
        raise RecordingError(
            f"{path}: the header names no encoding; give --encoding, one of {', '.join(sorted(ENCODINGS))}"
        )
    found = [entry for entry in ENCODINGS.values() if entry.raw_name == name]
    if not found:
        known = "recognised and " if name.lower() in FOREIGN else ""
        read = sorted({entry.raw_name for entry in ENCODINGS.values() if entry.raw_name})
        raise RecordingError(f"{path}: RAW with {name} is {known}not read; read are {', '.join(read)}")
    if len(found) == 1:
        return found[0]
    endianness = _endianness_of(fields)
    if endianness is None:
        endianness = "legacy" if looks_legacy(probe) else "little"
    for entry in found:
        if entry.raw_endianness == endianness:
            return entry
    orders = ", ".join(sorted(str(entry.raw_endianness) for entry in found))
    raise RecordingError(f"{path}: {name} with endianness={endianness} is not read; read are {orders}")


def _find_stated_encoding(path: Path, name: str) -> Encoding:
    """Find the encoding that the user names.

    Raises
    ------
    RecordingError
        When it is not read, or not from bare words.
    """
    encoding = find_encoding(name)
    if encoding.packets_only:
        raise RecordingError(f"{path}: {encoding.name} comes in packets only, its times count from each packet's base")
    return encoding


def _size_of(fields: dict[str, str]) -> tuple[int, int] | None:
    """Find the sensor's width and height."""
    options = dict(re.findall(r"(\w+)\s*=\s*(\d+)", fields.get("format", "").lower()))
    if "width" in options and "height" in options:
        return int(options["width"]), int(options["height"])
    geometry = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", fields.get("geometry", ""))
    if geometry:
        return int(geometry[1]), int(geometry[2])
    plugin = fields.get("plugin_name", "").lower()
    return next(((width, height) for name, width, height in _SENSORS if name in plugin), None)


class RawRecording(Recording):
    """Words of one encoding from some offset of a file to its end."""

    def __init__(
        self, path: Path, encoding: Encoding, width: int, height: int, offset: int = 0, time_base_ns: int = 0
    ) -> None:
        super().__init__(path, encoding.name, width, height)
        self._encoding = encoding
        self._offset = offset
        self._time_base_ns = time_base_ns
        self._file = path.open("rb", buffering=0)
        decoder = self._fresh_decoder()
        self.seekable = can_follow(decoder)
        self._index = TimeIndex(partial(follow_words, decoder, decoder.state, self._file, offset))

    def _fresh_decoder(self) -> BytesDecoder:
        decoder = self._encoding.decoder(self.width, self.height)
        if self._time_base_ns:
            decoder.start_at(self._time_base_ns)
        return decoder

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        decoder = self._fresh_decoder()
        position = self._offset
        if start_ns is not None and self.seekable:
            position, decoder.state = self._index.find(start_ns)
        self._file.seek(position)
        return decode_stream(self._file.readinto, decoder, self.counters, max_events)

    def _release(self) -> None:
        self._file.close()


def open_raw(path: Path, options: OpenOptions) -> RawRecording:
    """Open a file that begins with a RAW header; given options win over the header.

    Raises
    ------
    RecordingError
        When the header does not name an encoding that is read, or no sensor size.
    """
    with path.open("rb") as stream:
        fields, offset = read_header(stream)
        stream.seek(offset)
        probe = stream.read(_PROBE_BYTES)
    if options.encoding is not None:
        encoding = _find_stated_encoding(path, options.encoding)
    else:
        encoding = _find_raw_encoding(path, fields, probe)
    size = _size_of(fields)
    width = options.width if options.width is not None else size[0] if size else None
    height = options.height if options.height is not None else size[1] if size else None
    if width is None or height is None:
        raise RecordingError(f"{path}: the header names no sensor size; give --width and --height")
    base = fields.get(_TIME_BASE_KEY, "0")
    # Host times of today have 16 digits; what is far beyond is damage.
    time_base_ns = int(base) * 1000 if base.isdecimal() and len(base) <= 16 else 0
    if time_base_ns > _MAX_TIME_BASE_NS:
        time_base_ns = 0
    return RawRecording(path, encoding, width, height, offset, time_base_ns)


def open_headerless(path: Path, options: OpenOptions) -> RawRecording:
    """Open a file of bare words.

    Raises
    ------
    RecordingError
        When the encoding or the sensor's size is not given.
    """
    if options.encoding is None:
        raise RecordingError(f"{path}: give the encoding of the words")
    encoding = _find_stated_encoding(path, options.encoding)
    if options.width is None or options.height is None:
        raise RecordingError(f"{path}: words without a header need --width and --height")
    return RawRecording(path, encoding, options.width, options.height)


class RawWriter(FileWriter):
    """Writes a RAW file.

    Parameters
    ----------
    path : pathlib.Path
    width, height : int
    encoding : str
        Of those with an encoder and a RAW name.

    Raises
    ------
    RecordingError
        When the encoding is not written.
    """

    def __init__(self, path: Path, width: int, height: int, encoding: str = "evt3") -> None:
        self._encoding = find_encoding(encoding)
        if self._encoding.encoder is None or self._encoding.raw_name is None:
            raise RecordingError(f"{path}: RAW with {encoding} is not written")
        super().__init__(path, width, height)
        self._encoder = self._encoding.encoder()
        self._header_done = False

    def _write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        data = self._encoder.encode(events, triggers)
        if not self._header_done and (len(events) or len(triggers)):
            first_ns = min(int(times[0]) for times in (events["t"], triggers["t"]) if len(times))
            self._write_header(first_ns)
        self._file.write(data)

    def _write_header(self, first_ns: int) -> None:
        order = self._encoding.raw_endianness
        lines = [
            f"format {self._encoding.raw_name};height={self.height};width={self.width}"
            + (f";endianness={order}" if order else ""),
            f"geometry {self.width}x{self.height}",
            f"evt {self._encoding.raw_name[3:4]}.{self._encoding.raw_name[4:] or '0'}",  # type: ignore[index]
            *([f"endianness {order}"] if order else []),
            f"{_TIME_BASE_KEY} {first_ns // 1000}",
            "end",
        ]
        self._file.write("".join(f"% {line}\n" for line in lines).encode("ascii"))
        self._header_done = True

    def _finish(self) -> None:
        if not self._header_done:
            self._write_header(0)
