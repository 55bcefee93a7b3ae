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

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats._aedat3_packets import MAX_EVENTS, POLARITY, SPECIAL, PacketReader
from neuro_ros.events.formats._time_index import TimeIndex
from neuro_ros.events.formats.aedat2 import find_sensor, read_lines
from neuro_ros.events.formats.base import OpenOptions, Recording, split_batch
from neuro_ros.events.formats.records import NS_PER_US
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, as_words, empty_triggers

__all__ = ["Aedat3Recording", "matches", "open_aedat3"]

_MAGIC = b"#!AER-DAT3"

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
        self._reader = PacketReader(stream)
        self._index = TimeIndex(partial(self._reader.pieces, offset, source))
        self._from_bottom = from_bottom

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        events = np.zeros(MAX_EVENTS, EVENT_DTYPE)
        backwards = BackwardsCounter()
        complete = True
        upper_us = -1
        for packet in self._reader.packets(self._offset if start_ns is None else self._index.find(start_ns)):
            if packet is None:
                self.counters.errors += 1
                complete = False
                continue
            if packet.source != self._source or not packet.is_read:
                continue
            if packet.kind == POLARITY:
                self.counters.time_wraps += 0 <= upper_us < packet.upper_us
                upper_us = packet.upper_us
            for words in self._reader.words(packet):
                triggers = empty_triggers()
                count = 0
                if packet.kind == SPECIAL:
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
