# SPDX-License-Identifier: Apache-2.0
"""Cuts a recording into short slices of sensor time, so that a player can pace it.

Pure arithmetic: nobody sleeps here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, no_type_check

import numba

from neuro_ros.events.types import EventBatch, as_words
from neuro_ros.events.window_base import MAX_GAP_NS

__all__ = ["time_slices"]


class _Batches(Protocol):
    """What is needed of a recording."""

    def batches(self, max_events: int = 65536) -> Iterator[EventBatch]: ...


@numba.njit(cache=True, nogil=True)
@no_type_check
def _first_outside(events, begin, from_ns, until_ns):
    for index in range(begin, len(events)):
        if not from_ns <= events[index, 0] < until_ns:
            return index
    return len(events)


def time_slices(
    recording: _Batches, slice_ns: int, max_gap_ns: int = MAX_GAP_NS, max_events: int = 65536
) -> Iterator[tuple[EventBatch, int]]:
    """Cut a recording into slices on the grid k * slice_ns of sensor time.

    Parameters
    ----------
    recording : Recording
        Anything with ``batches(max_events)``.
    slice_ns : int
        Length of a slice, at least 1.
    max_gap_ns : int
        A longer silence makes no slices; give the same to the `Windower`.
    max_events : int
        Most events of one item; a fuller slice comes in parts.

    Yields
    ------
    batch : EventBatch
        In the recording's order, every event once; perhaps without events. Valid until the next item.
    until_ns : int
        No event of the recording before this time follows (but for time that runs backwards): the end
        of the slice, its start where more events of it may follow, and just after the last event at
        the end of the recording and before a jump in time.

    Notes
    -----
    ``windower.push(batch)``, then ``windower.advance(until_ns)`` for each item, then ``windower.flush()``
    makes the same windows as pushing the recording's batches without cutting. Time that runs back
    across a slice's start begins a new slice there.
    """
    if slice_ns < 1:
        raise ValueError(f"slice_ns is {slice_ns}, it must be at least 1")
    start_ns: int | None = None
    reached_ns = 0  # just after the latest event
    for batch in recording.batches(max_events):
        events = batch.events
        words = as_words(events)
        head = EventBatch(events[:0], batch.triggers, batch.complete, batch.lost_packets)
        if len(events) == 0:
            yield head, reached_ns if start_ns is None else start_ns
        index = 0
        while index < len(events):
            time_ns = int(words[index, 0])
            if start_ns is None or time_ns < start_ns or time_ns - reached_ns > max_gap_ns:
                if start_ns is not None:
                    yield EventBatch(events[:0]), reached_ns
                start_ns = time_ns // slice_ns * slice_ns
                reached_ns = time_ns
            while time_ns >= start_ns + slice_ns:
                start_ns += slice_ns
                yield EventBatch(events[:0]), start_ns
            end = int(_first_outside(words, index, start_ns, start_ns + slice_ns))
            reached_ns = max(reached_ns, int(words[index:end, 0].max()) + 1)
            following_ns = int(words[end, 0]) if end < len(events) else start_ns
            if start_ns + slice_ns <= following_ns <= reached_ns + max_gap_ns:
                start_ns += slice_ns
            head.events = events[index:end]
            yield head, start_ns
            head = EventBatch(events[:0])
            index = end
    if start_ns is not None:
        yield EventBatch(events[:0]), reached_ns
