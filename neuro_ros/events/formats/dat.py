# SPDX-License-Identifier: Apache-2.0
"""Prophesee DAT: text lines ``% key value``, two bytes for type and size of an event, then little-endian events.

An event is a time (uint32, microseconds) and a word. In version 2 that is x in
bits 13-0, y in 27-14, polarity in 28; in older ones x in 8-0, y in 16-9, polarity
in 17. Of an external trigger it is the edge in bits 3-0 and the line in 31-26.
The time starts over after 71.6 min and is unwrapped by the half-range rule. Old
files do not tell the size of the sensor.

References
----------
Prophesee, "DAT file format" (docs.prophesee.ai), and the type definitions of
OpenEB; for versions below 2, the vendor's scripts for Matlab.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import no_type_check

import numba
import numpy as np

from neuro_ros.events.encodings.base import OUT_OF_AREA, TIME_WRAPS
from neuro_ros.events.formats.base import OpenOptions
from neuro_ros.events.formats.raw import read_header
from neuro_ros.events.formats.records import RecordDecoder, RecordRecording, unwrap
from neuro_ros.events.types import RecordingError

__all__ = ["DatDecoder", "DatRecording", "matches", "open_dat"]

_EVENT_BYTES = 8
_EVENTS = (0, 12)
_TRIGGER = 14
# Types that the vendor's software has written; others make a file that begins with "% " something else.
_TYPES = (*_EVENTS, _TRIGGER, 40, 42, 43)

# The largest sensor of the layout before version 2.
_OLD_WIDTH, _OLD_HEIGHT = 512, 256

_LAST, _KIND = range(2)
_OLD, _NEW, _TRIGGERS = range(3)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    last = state[_LAST]
    kind = state[_KIND]
    x_mask, y_shift, y_mask, p_shift = 0x3FFF, 14, 0x3FFF, 28
    if kind == _OLD:
        x_mask, y_shift, y_mask, p_shift = 0x1FF, 9, 0xFF, 17
    event_count = 0
    trigger_count = 0
    used = min(len(words), len(triggers) if kind == _TRIGGERS else len(events))
    for index in range(used):
        raw = np.int64(words[index]) & 0xFFFFFFFF
        data = (np.int64(words[index]) >> 32) & 0xFFFFFFFF
        time = unwrap(raw, last, 1 << 32)
        counts[TIME_WRAPS] += np.int64(last >= 0 and time >> 32 > last >> 32)
        last = time
        if kind == _TRIGGERS:
            triggers[trigger_count, 0] = time * 1000
            triggers[trigger_count, 1] = (data >> 26) | (np.int64((data & 0xF) != 0) << 8)
            trigger_count += 1
            continue
        x = data & x_mask
        y = (data >> y_shift) & y_mask
        events[event_count, 0] = time * 1000
        events[event_count, 1] = x | (y << 16) | (((data >> p_shift) & 1) << 32)
        event_count += np.int64(x < width) & np.int64(y < height)
    if kind != _TRIGGERS:
        counts[OUT_OF_AREA] += used - event_count
    state[_LAST] = last
    return used, event_count, trigger_count


class DatDecoder(RecordDecoder):
    """Decodes the events of a DAT file.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    kind : int
        0 for events before version 2, 1 for those of version 2, 2 for triggers.
    """

    word_dtype = np.dtype("<i8")
    time_dtype = np.dtype("<u4")
    time_place = 0
    initial_state = (-1, _NEW)
    kernel = staticmethod(_decode)

    def __init__(self, width: int, height: int, kind: int = _NEW) -> None:
        super().__init__(width, height)
        self._state[_KIND] = kind


class DatRecording(RecordRecording):
    """Events, or triggers, of a file."""

    def __init__(self, path: Path, width: int, height: int, offset: int, kind: int) -> None:
        super().__init__(path, "dat", width, height, offset)
        self._kind = kind

    def _decoder(self) -> DatDecoder:
        return DatDecoder(self.width, self.height, self._kind)


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes: header lines of DAT and none of RAW, then type and size of an event."""
    if not head.startswith(b"% "):
        return False
    fields, offset = read_header(io.BytesIO(head))
    if fields.get("data", "").startswith("file containing"):
        return True
    if "evt" in fields or "format" in fields or not ("version" in fields or {"width", "height"} <= fields.keys()):
        return False
    return head[offset : offset + 1] in [bytes([kind]) for kind in _TYPES] and head[offset + 1 : offset + 2] == b"\x08"


def _number(fields: dict[str, str], key: str) -> int | None:
    """Read a whole number of the header."""
    text = fields.get(key, "")
    return int(text) if text.isdecimal() and len(text) < 10 else None


def open_dat(path: Path, options: OpenOptions) -> DatRecording:
    """Open a DAT file; a given size wins over the header's.

    Raises
    ------
    RecordingError
        When the type of the events is not read, or no sensor size is known.
    """
    options.refuse_encoding(path, "dat")
    with path.open("rb") as stream:
        fields, offset = read_header(stream)
        stream.seek(offset)
        start = stream.read(2)
    if len(start) < 2:
        raise RecordingError(f"{path}: the DAT header is cut short")
    kind, size = start
    if kind not in (*_EVENTS, _TRIGGER) or size != _EVENT_BYTES:
        raise RecordingError(
            f"{path}: DAT with events of type {kind} in {size} bytes is not read; "
            f"read are {', '.join(map(str, _EVENTS))} (events) and {_TRIGGER} (triggers) in {_EVENT_BYTES} bytes"
        )
    width = options.width if options.width is not None else _number(fields, "width")
    height = options.height if options.height is not None else _number(fields, "height")
    if width is None or height is None:
        raise RecordingError(f"{path}: the DAT header names no sensor size, as in old files; give --width and --height")
    version = _number(fields, "version")
    if version is not None and version > 2:
        raise RecordingError(f"{path}: DAT version {version} is not read; read are versions up to 2")
    if version is None:  # as before version 1, unless the sensor does not fit that layout
        version = 2 if width > _OLD_WIDTH or height > _OLD_HEIGHT else 0
    layout = _NEW if version == 2 else _OLD
    return DatRecording(path, width, height, offset + 2, _TRIGGERS if kind == _TRIGGER else layout)
