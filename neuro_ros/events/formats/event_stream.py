# SPDX-License-Identifier: Apache-2.0
"""Event Stream (``.es``), version 2: a header of 20 bytes, then events of five bytes with times relative to the last.

A DVS event is a byte with the microseconds since the last event in bits 7-1 and
the polarity in bit 0, then x and y (uint16, little-endian). In its place FFh
stands for 127 us more and FEh for a reset: as many of those follow each other as
an event has bytes, so that a reader that lost its place finds it again. In an
ATIS stream the first byte has the time in bits 7-2, the polarity in bit 1, and
in bit 0 a mark of threshold crossings, which measure an exposure and are no
events: they are left out and counted as padding; FCh is a reset, FDh to FFh are
one to three times 63 us. Times begin at 0 and never start over.

The rows count from the bottom, here as everywhere from the top. The specification
does not say where; the readers of its authors differ: ``faery`` turns the rows
round, ``event_stream`` hands them out as they stand.

References
----------
Event Stream specification, version 2.0 (github.com/neuromorphic-paris/event_stream).
"""

from __future__ import annotations

from pathlib import Path
from typing import no_type_check

import numba
import numpy as np

from neuro_ros.events.encodings import BytesDecoder
from neuro_ros.events.encodings.base import OUT_OF_AREA, PADDING, WordDecoder
from neuro_ros.events.formats.base import OpenOptions
from neuro_ros.events.formats.records import StreamRecording
from neuro_ros.events.types import RecordingError

__all__ = ["EventStreamDecoder", "EventStreamRecording", "matches", "open_event_stream"]

_MAGIC = b"Event Stream"
_HEADER_BYTES = 20
_DVS, _ATIS = 1, 2
_OTHERS = {0: "generic events, with data of any kind", 3: "display events", 4: "colour events"}

# What is carried from call to call: the place within an event, its time and first bytes, and the kind of the stream.
_PLACE, _TIME, _FIRST, _X, _Y_LOW, _KIND = range(6)
_EVENT_BYTES = 5


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(data, state, counts, width, height, events, triggers):  # noqa: ARG001 - of the interface
    place = state[_PLACE]
    time = state[_TIME]
    first = state[_FIRST]
    x = state[_X]
    y_low = state[_Y_LOW]
    atis = state[_KIND] == _ATIS
    # The largest first bytes are no events; what they say stands in the bits below.
    special, unit, shift = (0xFC, 63, 2) if atis else (0xFE, 127, 1)
    event_count = 0
    index = 0
    total = len(data)
    while index < total and event_count < len(events):
        byte = np.int64(data[np.uintp(index)])
        index += 1
        if place == 0:
            if byte >= special:
                time += unit * (byte - special)
                continue
            first = byte
            time += byte >> shift
            if total - index < _EVENT_BYTES - 1:
                place = 1
                continue
            x = np.int64(data[np.uintp(index)]) | (np.int64(data[np.uintp(index + 1)]) << 8)
            y = np.int64(data[np.uintp(index + 2)]) | (np.int64(data[np.uintp(index + 3)]) << 8)
            index += 4
        elif place == 1:
            x = byte
            place = 2
            continue
        elif place == 2:
            x |= byte << 8
            place = 3
            continue
        elif place == 3:
            y_low = byte
            place = 4
            continue
        else:
            y = y_low | (byte << 8)
            place = 0
        if atis and first & 1:
            counts[PADDING] += 1
            continue
        polarity = (first >> (shift - 1)) & 1
        events[np.uintp(event_count), 0] = time * 1000
        events[np.uintp(event_count), 1] = x | ((height - 1 - y) << 16) | (polarity << 32)
        good = np.int64(x < width) & np.int64(y < height)
        event_count += good
        counts[OUT_OF_AREA] += 1 - good
    state[_PLACE] = place
    state[_TIME] = time
    state[_FIRST] = first
    state[_X] = x
    state[_Y_LOW] = y_low
    return index, event_count, 0


class EventStreamDecoder(WordDecoder):
    """Decodes the bytes after the header.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    kind : int
        1 for DVS, 2 for ATIS.
    """

    word_bytes = 1
    word_dtype = np.dtype("u1")
    initial_state = (0, 0, 0, 0, 0, _DVS)
    synchronised_slots = (_PLACE,)
    kernel = staticmethod(_decode)

    def __init__(self, width: int, height: int, kind: int = _DVS) -> None:
        super().__init__(width, height)
        self._state[_KIND] = kind

    @property
    def within_event(self) -> bool:
        """True while some bytes of an event are still to come."""
        return bool(self._state[_PLACE])


class EventStreamRecording(StreamRecording):
    """DVS events, or the change detections of an ATIS."""

    def __init__(self, path: Path, width: int, height: int, kind: int) -> None:
        super().__init__(path, "es", width, height, _HEADER_BYTES)
        self._kind = kind

    def _decoder(self) -> EventStreamDecoder:
        return EventStreamDecoder(self.width, self.height, self._kind)

    def _is_cut_short(self, decoder: BytesDecoder) -> bool:
        cut = isinstance(decoder, EventStreamDecoder) and decoder.within_event
        self.counters.errors += cut
        return cut


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def open_event_stream(path: Path, options: OpenOptions) -> EventStreamRecording:
    """Open an Event Stream file.

    Raises
    ------
    RecordingError
        When the version is not 2, or the stream holds something else than DVS or ATIS events.
    """
    options.refuse_encoding(path, "es")
    with path.open("rb") as stream:
        header = stream.read(_HEADER_BYTES)
    version, kind = header[12:15], header[15:16]
    if len(version) < 3 or not kind:
        raise RecordingError(f"{path}: the header of the Event Stream is cut short")
    if version[0] != 2:
        raise RecordingError(f"{path}: Event Stream version {'.'.join(map(str, version))} is not read; read is 2")
    if kind[0] not in (_DVS, _ATIS):
        what = _OTHERS.get(kind[0], f"events of the unknown type {kind[0]}")
        raise RecordingError(f"{path}: this Event Stream holds {what}, which are not read; DVS and ATIS events are")
    if len(header) < _HEADER_BYTES:
        raise RecordingError(f"{path}: the header of the Event Stream is cut short")
    width, height = (int.from_bytes(header[place : place + 2], "little") for place in (16, 18))
    return EventStreamRecording(path, width, height, kind[0])
