# SPDX-License-Identifier: Apache-2.0
"""What a binary event encoding is: a decoder that can be cut anywhere, and perhaps an encoder.

A decoder carries its state from call to call, writes into arrays that the caller
owns and reuses, never raises on data, and stops when those arrays are full. The
caller (`neuro_ros.events.stream`) deals with files, packets and partial words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from neuro_ros.events.types import DecodeCounters, RecordingError, as_events

__all__ = [
    "COUNTS",
    "ERRORS",
    "BytesDecoder",
    "BytesEncoder",
    "PacketEncoder",
    "PacketWordDecoder",
    "WordDecoder",
]

# Slots of the int64 array in which a compiled loop counts.
ERRORS, OUT_OF_AREA, BEFORE_TIME, TRIGGERS_BEFORE_TIME, PADDING, TIME_WRAPS, BACKWARDS, COUNTS = range(8)

_COORDINATES = 1 << 16

# A packet's base beyond this (the year 2116, were it a host time) is damage; below it no sum leaves 64 bits.
_MAX_TIME_BASE_NS = 1 << 62


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

    def begin_packet(self) -> None:  # noqa: B027 - a stream without packets needs it not
        """Say that the next data begins a packet, where times are relative to a packet's base."""

    @property
    def state(self) -> Any:
        """All that is carried from call to call, to be given back later; None where `skip` cannot."""
        return None

    @state.setter
    def state(self, state: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} cannot skip")

    def skip(
        self,
        data: npt.NDArray[np.uint8],  # noqa: ARG002 - of the interface
        time_base_ns: int = 0,  # noqa: ARG002 - of the interface
    ) -> int | None:
        """Go past data, quicker than `decode`, as if it had been decoded; nothing is counted.

        Parameters
        ----------
        data, time_base_ns
            As `decode` takes them.

        Returns
        -------
        int or None
            A time [ns] that none of its events and triggers reaches; None, and nothing is changed, where the
            encoding cannot tell.
        """
        return None

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
        return self._run(data, events, triggers)

    def _run(
        self,
        data: npt.NDArray[np.uint8],
        events: npt.NDArray[np.int64],
        triggers: npt.NDArray[np.int64],
        *more: int,
    ) -> tuple[int, int, int]:
        """Run the loop over the words, with what else it takes."""
        words = data.view(self.word_dtype)
        if not words.flags.aligned:
            # A payload lies anywhere in its message; the loop would be compiled anew for such an address.
            words = words.copy()
        used, event_count, trigger_count = type(self).kernel(
            words,
            self._state,
            self._counts,
            self._width,
            self._height,
            events,
            triggers,
            *more,
        )
        return used * self.word_bytes, event_count, trigger_count

    @property
    def state(self) -> npt.NDArray[np.int64]:
        """See `BytesDecoder.state`; a copy."""
        return self._state.copy()

    @state.setter
    def state(self, state: npt.NDArray[np.int64]) -> None:
        self._state[:] = state

    def _pass_over(self, data: npt.NDArray[np.uint8]) -> None:
        """Decode for the sake of the state alone."""
        counts = self._counts.copy()
        events, triggers = np.empty((1 << 12, 2), np.int64), np.empty((1 << 6, 2), np.int64)
        while len(data):
            data = data[self.decode(data, events, triggers)[0] :]
        self._counts[:] = counts

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


class PacketWordDecoder(WordDecoder):
    """A `WordDecoder` for times that are relative to the base of their packet; the loop takes that base as well.

    Of a base that cannot be, the packet counts as an error.
    """

    packet_slots: ClassVar[tuple[int, ...]] = ()

    def decode(
        self,
        data: npt.NDArray[np.uint8],
        events: npt.NDArray[np.int64],
        triggers: npt.NDArray[np.int64],
        time_base_ns: int = 0,
    ) -> tuple[int, int, int]:
        """See `BytesDecoder.decode`."""
        if not 0 <= time_base_ns <= _MAX_TIME_BASE_NS:
            self._counts[ERRORS] += 1
            return len(data), 0, 0
        return self._run(data, events, triggers, int(time_base_ns))

    def begin_packet(self) -> None:
        """Forget what does not reach from one packet into the next."""
        for slot in self.packet_slots:
            self._state[slot] = self.initial_state[slot]


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

    def encode_packet(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> tuple[bytes, int]:
        """Encode a batch as the payload of one packet.

        Returns
        -------
        payload : bytes
        time_base_ns : int
            What ``EventPacket.time_base`` must be: 0 where times are absolute.

        Raises
        ------
        RecordingError
            As `encode`.
        """
        return self.encode(events, triggers), 0


class PacketEncoder(BytesEncoder):
    """An encoder of times that are relative to the base of their packet.

    `encode` writes for the base 0, `encode_packet` for one of its choice. There
    are no words for triggers: they are refused, so that none is lost unseen.

    Attributes
    ----------
    name : str
        Of the encoding, for refusals.
    max_x, max_y : int
        The largest coordinates that the words hold [px].
    """

    name: ClassVar[str]
    max_x: ClassVar[int]
    max_y: ClassVar[int]

    def encode(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> bytes:
        """See `BytesEncoder.encode`; calls in a row go on with one packet of base 0."""
        self._check(events, triggers)
        return self._encode(as_events(events), 0)

    def encode_packet(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> tuple[bytes, int]:
        """See `BytesEncoder.encode_packet`."""
        self._check(events, triggers)
        self._begin_packet()
        base_ns = self._time_base_ns(events["t"]) if len(events) else 0
        return self._encode(as_events(events), base_ns), base_ns

    def _check(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        if len(triggers):
            raise RecordingError(f"{self.name} holds no triggers, {len(triggers)} were given; evt2, evt21 and evt3 do")
        if not len(events):
            return
        for axis, limit in (("x", self.max_x), ("y", self.max_y)):
            largest = int(events[axis].max())
            if largest > limit:
                raise RecordingError(f"{self.name} holds {axis} up to {limit}, an event has {largest}")
        if int(events["t"].min()) < 0:
            raise RecordingError(f"{self.name} holds no negative times, found {int(events['t'].min())} ns")

    def _begin_packet(self) -> None:
        """Forget what does not reach from one packet into the next."""

    @abstractmethod
    def _time_base_ns(self, times: npt.NDArray[np.int64]) -> int:
        """Choose the base of a packet with these times [ns], at least one."""

    @abstractmethod
    def _encode(self, events: npt.NDArray[np.void], base_ns: int) -> bytes:
        """Encode checked events."""
