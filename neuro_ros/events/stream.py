# SPDX-License-Identifier: Apache-2.0
"""Cuts a byte stream into words for a decoder, and a decoder's output into batches.

Knows nothing of files and headers: bytes come in, `EventBatch` come out, with
the memory of both reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings import BytesDecoder
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, DecodeCounters, EventBatch, as_words

__all__ = ["CHUNK_BYTES", "BackwardsCounter", "PacketDecoder", "decode_stream"]

#: Bytes read at a time: large enough to make a call cheap, small enough to stay in a core's cache.
CHUNK_BYTES = 1 << 18

# A batch smaller than this is cut from a larger one, so that the largest burst of any decoder fits.
_SMALLEST_BUFFER = 256
_TRIGGER_ROOM = 4096


@numba.njit(cache=True, nogil=True)
@no_type_check
def _count_backwards(events, previous):
    count = np.int64(0)
    if len(events) > 0:
        count += np.int64(events[0, 0] < previous)
        previous = events[-1, 0]
    # Nothing is carried from turn to turn, so that the compiler can do several at once.
    for index in range(1, len(events)):
        count += np.int64(events[index, 0] < events[index - 1, 0])
    return count, previous


class BackwardsCounter:
    """Counts the events whose time lies before that of the event before them, across batches."""

    def __init__(self) -> None:
        self._previous = np.iinfo(np.int64).min

    def count(self, events: npt.NDArray[np.int64]) -> int:
        """Return how many of these events, as `as_words` sees them, step back in time."""
        count, self._previous = _count_backwards(events, self._previous)
        return int(count)


def decode_stream(
    read_into: Callable[[memoryview], int],
    decoder: BytesDecoder,
    counters: DecodeCounters,
    max_events: int,
) -> Iterator[EventBatch]:
    """Decode a stream to its end.

    Parameters
    ----------
    read_into : callable
        Fills a writable buffer from its start and returns the number of bytes, 0 at the end
        (`io.RawIOBase.readinto`).
    decoder : BytesDecoder
        Keeps its state between calls.
    counters : DecodeCounters
        Added to. A last, incomplete word counts as an error.
    max_events : int
        Most events of a batch, at least 1.

    Yields
    ------
    EventBatch
        Never without events and triggers; its arrays are reused.
    """
    if max_events < 1:
        raise ValueError(f"max_events is {max_events}, it must be at least 1")
    buffer = np.empty(CHUNK_BYTES, np.uint8)
    view = buffer.data
    data = buffer.view()
    data.setflags(write=False)  # one kind of array, for which the loops are compiled once
    events = np.empty(max(max_events, _SMALLEST_BUFFER), EVENT_DTYPE)
    triggers = np.empty(_TRIGGER_ROOM, TRIGGER_DTYPE)
    event_words, trigger_words = as_words(events), as_words(triggers)
    backwards = BackwardsCounter()
    carried = event_count = trigger_count = 0

    def batches() -> Iterator[EventBatch]:
        decoder.add_counts(counters)
        for start in range(0, max(event_count, 1), max_events):
            last = start + max_events >= event_count
            yield EventBatch(
                events[start : min(start + max_events, event_count)],
                triggers[:trigger_count] if last else triggers[:0],
            )

    while count := read_into(view[carried:]):
        available = carried + count
        usable = available - available % decoder.word_bytes
        offset = 0
        while offset < usable:
            used, new_events, new_triggers = decoder.decode(
                data[offset:usable], event_words[event_count:], trigger_words[trigger_count:]
            )
            if not decoder.counts_backwards:  # now, while they are still in the core's cache
                counters.non_monotonic += backwards.count(event_words[event_count : event_count + new_events])
            offset += used
            event_count += new_events
            trigger_count += new_triggers
            if offset < usable:  # an output is full
                yield from batches()
                event_count = trigger_count = 0
        carried = available - usable
        buffer[:carried] = buffer[usable:available]
    counters.errors += carried != 0
    if event_count or trigger_count:
        yield from batches()
    decoder.add_counts(counters)


class PacketDecoder:
    """Decodes the payloads of ``event_camera_msgs/EventPacket`` of one stream.

    Parameters
    ----------
    encoding : str
        A name in `neuro_ros.events.ENCODINGS`.
    width, height : int
        Of the sensor [px].

    Attributes
    ----------
    counters : DecodeCounters
        Of everything since construction.

    Raises
    ------
    RecordingError
        When the encoding is not read.
    """

    def __init__(self, encoding: str, width: int, height: int) -> None:
        from neuro_ros.events.encodings import find_encoding

        self._encoding = find_encoding(encoding)
        self.encoding = self._encoding.name
        self.width = int(width)
        self.height = int(height)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"the sensor is {width}x{height} px, both must be at least 1")
        self.counters = DecodeCounters()
        self._events = np.empty(1 << 14, EVENT_DTYPE)
        self._triggers = np.empty(64, TRIGGER_DTYPE)
        self._event_words, self._trigger_words = as_words(self._events), as_words(self._triggers)
        self.reset()

    def reset(self) -> None:
        """Start a new stream; the counters go on."""
        self._decoder = self._encoding.decoder(self.width, self.height)
        self._backwards = BackwardsCounter()
        self._lost = 0

    def lose(self, packets: int) -> None:
        """Say that packets were lost before the next one; the decoder waits for the next absolute time."""
        self.counters.lost_packets += packets
        self._lost += packets
        self._decoder.resync()

    def skip_before(
        self, start_ns: int, payload: bytes | memoryview | npt.NDArray[np.uint8], time_base_ns: int = 0
    ) -> bool:
        """Go past a payload of which nothing reaches a time; a loss before it is forgotten.

        Parameters
        ----------
        start_ns : int
            The time.
        payload, time_base_ns
            As `decode` takes them.

        Returns
        -------
        bool
            False, and nothing is changed, where something may reach the time.
        """
        data = np.frombuffer(payload, np.uint8)
        state = self._decoder.state
        reached_ns = self._decoder.skip(data[: len(data) - len(data) % self._decoder.word_bytes], time_base_ns)
        if reached_ns is None:
            return False
        if reached_ns > start_ns:
            self._decoder.state = state
            return False
        self._lost = 0
        return True

    def decode(self, payload: bytes | memoryview | npt.NDArray[np.uint8], time_base_ns: int = 0) -> EventBatch:
        """Decode one payload, however many events it holds.

        Parameters
        ----------
        payload : bytes-like
            ``EventPacket.events``.
        time_base_ns : int
            ``EventPacket.time_base``; used by encodings with relative times only.

        Returns
        -------
        EventBatch
            Its arrays are reused by the next call.
        """
        data = np.frombuffer(payload, np.uint8)
        data.setflags(write=False)  # one kind of array, for which the loops are compiled once
        word_bytes = self._decoder.word_bytes
        usable = len(data) - len(data) % word_bytes
        self.counters.errors += usable != len(data)
        offset = event_count = trigger_count = 0
        self._decoder.begin_packet()
        while offset < usable:
            used, new_events, new_triggers = self._decoder.decode(
                data[offset:usable],
                self._event_words[event_count:],
                self._trigger_words[trigger_count:],
                time_base_ns,
            )
            offset += used
            event_count += new_events
            trigger_count += new_triggers
            if offset < usable:
                if len(self._events) - event_count < self._decoder.burst:
                    self._events = np.resize(self._events, 2 * len(self._events))
                if len(self._triggers) - trigger_count < 1:
                    self._triggers = np.resize(self._triggers, 2 * len(self._triggers))
                self._event_words, self._trigger_words = as_words(self._events), as_words(self._triggers)
        self._decoder.add_counts(self.counters)
        events = self._events[:event_count]
        if not self._decoder.counts_backwards:
            self.counters.non_monotonic += self._backwards.count(as_words(events))
        lost, self._lost = self._lost, 0
        return EventBatch(events, self._triggers[:trigger_count], complete=lost == 0, lost_packets=lost)
