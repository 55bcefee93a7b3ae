# SPDX-License-Identifier: Apache-2.0
"""Recordings that are a header and then one stream of bytes for one decoder, and those made of records of one size.

A format gives the decoder and the place where the stream begins. Where every
record has the same size and a time of its own, a pass from a later time on does
not decode what lies before: only the times are followed, once, since a damaged
one changes how often the counter has started over for all that come after it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings import BytesDecoder
from neuro_ros.events.encodings.base import WordDecoder
from neuro_ros.events.formats._time_index import TimeIndex, follow_words
from neuro_ros.events.formats.base import Recording
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import EVENT_DTYPE, EventBatch

__all__ = ["NS_PER_US", "RecordDecoder", "RecordRecording", "StreamRecording", "unwrap"]

NS_PER_US = 1000

_LAST = 0


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


@numba.njit(cache=True, nogil=True)
@no_type_check
def _follow(times, state):
    """Follow the times of records as their decoders do; return a time [ns] that none of them reaches."""
    last = state[_LAST]
    latest = np.int64(-1)
    for index in range(len(times)):
        last = unwrap(np.int64(times[np.uintp(index)]), last, 1 << 32)
        latest = max(latest, last * 1000)
    state[_LAST] = last
    return latest + 1


class RecordDecoder(WordDecoder):
    """A decoder of records of eight bytes, a word and a time, whose state begins with the last time [us].

    Attributes
    ----------
    time_dtype : numpy.dtype
        A half of a record.
    time_place : int
        Which half is the time, 0 or 1.
    """

    word_bytes = 8
    synchronised_slots = ()
    time_dtype: ClassVar[np.dtype]
    time_place: ClassVar[int]

    def skip(self, data: npt.NDArray[np.uint8], time_base_ns: int = 0) -> int:  # noqa: ARG002 - of the interface
        """See `BytesDecoder.skip`."""
        times = data.view(self.time_dtype)[self.time_place :: 2]
        return int(_follow(times.astype(np.uint32), self._state))


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
        """Bring the decoder to a place before which nothing reaches a time; return the place in the file [bytes]."""
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
    """A stream of records of one size, each with a time; its decoder is a `RecordDecoder`."""

    seekable = True

    @cached_property
    def _index(self) -> TimeIndex:
        """Made when it is first asked for, by whoever is ready to make decoders."""
        decoder = self._decoder()
        return TimeIndex(partial(follow_words, decoder, decoder.state, self._file, self._offset))

    def _enter(self, decoder: BytesDecoder, start_ns: int) -> int:
        position, decoder.state = self._index.find(start_ns)
        return int(position)
