# SPDX-License-Identifier: Apache-2.0
"""Recordings that are a header and then one stream of bytes for one decoder, and those made of records of one size.

A format gives the decoder and the place where the stream begins. Where every
record has the same size and a time of its own, a pass from a later time on need
not read what lies before: a few thousand times, read once across the file, tell
where to begin and how often the counter has started over until there.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, no_type_check

import numba
import numpy as np

from neuro_ros.events.encodings import BytesDecoder
from neuro_ros.events.formats.base import Recording
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import EVENT_DTYPE, EventBatch

__all__ = ["DISORDER_NS", "NS_PER_US", "RecordRecording", "StreamRecording", "unwrap"]

NS_PER_US = 1000

#: How far times may step back in a recording that is entered at a later time; far more than any sensor does.
DISORDER_NS = 1_000_000_000

# Places at which the times of a recording are looked up, and the least number of records between them. Less than
# half the range of the counter may pass from one to the next; so much is read in vain after a seek.
_MOST_PROBES = 1 << 14
_LEAST_STRIDE = 512


@numba.njit(cache=True, nogil=True)
@no_type_check
def unwrap(raw, last, time_range):
    """Return the time nearest to the last one at which a counter of `time_range` values shows `raw`.

    The half-range rule: a step of less than half the range is taken as it is, forwards or backwards. Times
    do not go below 0. Before the first time, `last` is negative.
    """
    if last < 0:
        return raw
    step = (raw - last) & (time_range - 1)
    if step >= time_range // 2 and last + step >= time_range:
        step -= time_range
    return last + step


class StreamRecording(Recording):
    """Bytes of one stream from some offset of a file to its end.

    Parameters
    ----------
    path : pathlib.Path
    form : str
    width, height : int
        Of the sensor [px].
    offset : int
        Where the stream begins [bytes].
    """

    def __init__(self, path: Path, form: str, width: int, height: int, offset: int) -> None:
        super().__init__(path, form, width, height)
        self._offset = offset
        self._file = path.open("rb", buffering=0)

    @abstractmethod
    def _decoder(self) -> BytesDecoder:
        """Make a decoder in its initial state."""

    def _enter(self, decoder: BytesDecoder, start_ns: int) -> int:  # noqa: ARG002 - of formats that are seekable
        """Prepare the decoder for a time and return the place in the file to begin at [bytes]."""
        return self._offset

    def _is_cut_short(self, decoder: BytesDecoder) -> bool:
        """Tell, at the end, whether the stream ended within an event."""
        return (os.fstat(self._file.fileno()).st_size - self._offset) % decoder.word_bytes != 0

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        decoder = self._decoder()
        self._file.seek(self._offset if start_ns is None else self._enter(decoder, start_ns))
        yield from decode_stream(self._file.readinto, decoder, self.counters, max_events)
        if self._is_cut_short(decoder):
            yield EventBatch(np.empty(0, EVENT_DTYPE), complete=False)

    def _release(self) -> None:
        self._file.close()


class RecordRecording(StreamRecording):
    """A stream of records of one size, each with a 32-bit time in microseconds.

    Attributes
    ----------
    record_bytes : int
    time_place : int
        Where in a record the time stands [bytes].
    byteorder : str
        Of the time, ``little`` or ``big``.
    """

    seekable = True
    time_range: ClassVar[int] = 1 << 32
    record_bytes: ClassVar[int] = 8
    time_place: ClassVar[int] = 0
    byteorder: ClassVar[str] = "little"

    def __init__(self, path: Path, form: str, width: int, height: int, offset: int) -> None:
        super().__init__(path, form, width, height, offset)
        self._probes: list[int] | None = None
        self._stride = _LEAST_STRIDE

    def _probe(self) -> list[int]:
        """Return the unwrapped times [us] of every so many records, the first one included."""
        if self._probes is None:
            count = (os.fstat(self._file.fileno()).st_size - self._offset) // self.record_bytes
            self._stride = max(_LEAST_STRIDE, -(-count // _MOST_PROBES))
            self._probes = []
            last = -1
            for index in range(0, count, self._stride):
                self._file.seek(self._offset + index * self.record_bytes + self.time_place)
                raw = int.from_bytes(self._file.read(4), "big" if self.byteorder == "big" else "little")
                last = unwrap(raw, last, self.time_range)
                self._probes.append(last)
        return self._probes

    def _enter(self, decoder: BytesDecoder, start_ns: int) -> int:
        probes = self._probe()
        if not probes:
            return self._offset
        goal_us = (start_ns - DISORDER_NS) // NS_PER_US
        late = next((index for index, time_us in enumerate(probes) if time_us >= goal_us), len(probes))
        index = max(late - 1, 0)
        decoder.start_at(probes[index] * NS_PER_US)
        return self._offset + index * self._stride * self.record_bytes
