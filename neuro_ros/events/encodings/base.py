# SPDX-License-Identifier: Apache-2.0
"""What a binary event encoding is: a decoder that can be cut anywhere, and perhaps an encoder.

A decoder carries its state from call to call, writes into arrays that the caller
owns and reuses, never raises on data, and stops when those arrays are full. The
caller (`neuro_ros.events.stream`) deals with files, packets and partial words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from neuro_ros.events.types import DecodeCounters

__all__ = ["COUNTS", "ERRORS", "BytesDecoder", "BytesEncoder", "WordDecoder"]

# Slots of the int64 array in which a compiled loop counts.
ERRORS, OUT_OF_AREA, BEFORE_TIME, TRIGGERS_BEFORE_TIME, PADDING, TIME_WRAPS, BACKWARDS, COUNTS = range(8)

_COORDINATES = 1 << 16


class BytesDecoder(ABC):
    """Turns bytes of one stream into events.

    Attributes
    ----------
    word_bytes : int
        Data is taken in multiples of this.
    burst : int
        The most events that one word can make; a caller leaves that much room.
    counts_backwards : bool
        Counts the events whose time steps back by itself; otherwise the caller does.
    """

    word_bytes: ClassVar[int]
    burst: ClassVar[int] = 1
    counts_backwards: ClassVar[bool] = False

    @abstractmethod
    def decode(
        self,
        data: npt.NDArray[np.uint8],
        events: npt.NDArray[np.int64],
        triggers: npt.NDArray[np.int64],
        time_base_ns: int = 0,
    ) -> tuple[int, int, int]:
        """Decode until the data ends or an output is nearly full.

        Parameters
        ----------
        data : (n,) uint8, C-contiguous
            A multiple of `word_bytes`.
        events : (m, 2) int64
            `EVENT_DTYPE` seen by `as_words`, written from the start; m is at least `burst`.
        triggers : (k, 2) int64
            `TRIGGER_DTYPE` seen by `as_words`, written from the start; k is at least 1.
        time_base_ns : int
            For encodings whose times are relative to a packet's base.

        Returns
        -------
        consumed_bytes, events_written, triggers_written : int
        """

    def start_at(self, time_ns: int) -> None:  # noqa: B027 - absolute times need it not
        """Say roughly when the stream begins, where its words hold only the lower part of the time."""

    @abstractmethod
    def resync(self) -> None:
        """Forget what lost data may have changed; keep the count of time wraps."""

    @abstractmethod
    def add_counts(self, counters: DecodeCounters) -> None:
        """Move what was counted since the last call into `counters`."""


class WordDecoder(BytesDecoder):
    """A decoder around one compiled loop over words.

    A subclass names the word's type, the loop and the state's initial values,
    and says which slots of the state are forgotten when data was lost.
    """

    word_dtype: ClassVar[np.dtype]
    initial_state: ClassVar[tuple[int, ...]]
    synchronised_slots: ClassVar[tuple[int, ...]]
    kernel: ClassVar[Callable[..., tuple[int, int, int]]]

    def __init__(self, width: int, height: int) -> None:
        # No coordinate of an event reaches further, whatever a header says.
        self._width = min(int(width), _COORDINATES)
        self._height = min(int(height), _COORDINATES)
        self._state = np.array(self.initial_state, np.int64)
        self._counts = np.zeros(COUNTS, np.int64)

    def decode(
        self,
        data: npt.NDArray[np.uint8],
        events: npt.NDArray[np.int64],
        triggers: npt.NDArray[np.int64],
        time_base_ns: int = 0,  # noqa: ARG002 - of the interface
    ) -> tuple[int, int, int]:
        """See `BytesDecoder.decode`; the time base is not used, these times are absolute."""
        words = data.view(self.word_dtype)
        if not words.flags.aligned:  # loops are compiled for aligned words
            words = words.copy()
        used, event_count, trigger_count = type(self).kernel(
            words,
            self._state,
            self._counts,
            self._width,
            self._height,
            events,
            triggers,
        )
        return used * self.word_bytes, event_count, trigger_count

    def resync(self) -> None:
        """Wait for the next absolute time word before trusting anything."""
        for slot in self.synchronised_slots:
            self._state[slot] = self.initial_state[slot]

    def add_counts(self, counters: DecodeCounters) -> None:
        """Move what was counted since the last call into `counters`."""
        counts = self._counts.tolist()
        if not any(counts):  # as a rule, and asked for each packet
            return
        counters.errors += counts[ERRORS]
        counters.out_of_area += counts[OUT_OF_AREA]
        counters.dropped_before_time += counts[BEFORE_TIME]
        counters.triggers_dropped += counts[TRIGGERS_BEFORE_TIME]
        counters.padding += counts[PADDING]
        counters.time_wraps += counts[TIME_WRAPS]
        counters.non_monotonic += counts[BACKWARDS]
        self._counts[:] = 0


class BytesEncoder(ABC):
    """Turns events into the bytes of one stream, carrying its state from call to call."""

    @abstractmethod
    def encode(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> bytes:
        """Encode a batch.

        Parameters
        ----------
        events : ndarray of EVENT_DTYPE
            Times are cut to whole microseconds, the resolution of the format.
        triggers : ndarray of TRIGGER_DTYPE
            Merged by time; before the events of the same microsecond.

        Raises
        ------
        RecordingError
            When a coordinate or a time does not fit the format.
        """
