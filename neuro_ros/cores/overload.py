# SPDX-License-Identifier: Apache-2.0
"""What gives way when a camera sends more than the node can work off, and how much of it.

What waits is measured in packets. Packets are decoded in any case, so that the decoder stays in step with the stream
and what is lost is known to the event; what is saved is the work behind it.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

from neuro_ros.events.types import EVENT_DTYPE, MARK_DROPPED, MARK_FILTERED, EventBatch, as_events, as_words
from neuro_ros.events.window_base import BaseWindower

__all__ = ["OVERLOAD_POLICIES", "Overload"]

OVERLOAD_POLICIES = ("drop_oldest", "subsample")
#: Of so many events one is kept at most, however much waits.
_MAX_STRIDE = 64
_NAME = "overload"


@numba.njit(cache=True, nogil=True)
@no_type_check
def _mark_all_but(words, stride, phase):
    """Mark all events as dropped but every `stride`-th; return the phase of what follows and how many were marked."""
    dropped = 0
    for index in range(len(words)):
        if phase != 0:
            words[index, 1] |= MARK_DROPPED
            dropped += 1
        phase = phase + 1 if phase + 1 < stride else 0
    return phase, dropped


class Overload:
    """Lets a stream's oldest part, or an even share of it, give way while too much of it waits.

    Parameters
    ----------
    policy : {'drop_oldest', 'subsample'}
        ``drop_oldest``: packets are given up, oldest first, until no more than the limit wait; their events count as
        dropped outside any window, and the windows around are not complete. ``subsample``: of the events of each
        packet one in 2, 4, 8 ... 64 is kept, the fewer the more waits; the others count as dropped in the window in
        which they fell.
    limit : int
        Packets that may wait before anything gives way.

    Attributes
    ----------
    packets : int
        Packets that were given up or thinned out.
    events : int
        Events dropped.
    """

    def __init__(self, policy: str, limit: int) -> None:
        self._subsample = policy == "subsample"
        self._limit = max(1, limit)
        self._phase = 0
        self._buffer = np.empty(0, EVENT_DTYPE)
        self.packets = self.events = 0
        if self._subsample:
            _mark_all_but(as_words(self._buffer), 2, 0)  # compile now

    def relieve(self, batch: EventBatch, waiting: int, windower: BaseWindower) -> EventBatch:
        """Return what is left of a packet's events while `waiting` packets wait behind it."""
        if waiting <= self._limit or not len(batch.events):
            self._phase = 0
            return batch
        self.packets += 1
        if not self._subsample:
            self.events += len(batch.events)
            windower.note_dropped(len(batch.events), _NAME)
            return EventBatch(batch.events[:0], batch.triggers, batch.complete, batch.lost_packets)
        stride = min(2 << (waiting // self._limit - 1).bit_length(), _MAX_STRIDE)
        if len(batch.events) > len(self._buffer):
            self._buffer = np.empty(len(batch.events), EVENT_DTYPE)
        events = self._buffer[: len(batch.events)]
        words = as_words(events)
        words[:] = as_words(as_events(batch.events))
        if not batch.marked:
            words[:, 1] &= MARK_FILTERED - 1
        self._phase, dropped = _mark_all_but(words, stride, self._phase)
        self.events += dropped
        return EventBatch(events, batch.triggers, batch.complete, batch.lost_packets, marked=True)
