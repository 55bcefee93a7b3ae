# SPDX-License-Identifier: Apache-2.0
"""One follower's conversation with one master: which messages belong together.

SYNC and FOLLOW_UP may come in either order, twice, late or not at all; a DELAY_RESP may answer a request that is long
given up. What belongs together makes an `Exchange`, everything else is counted. The books are bounded.

This module refuses to know who is master, and what becomes of the exchanges.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from neuro_ros.timesync.election import REORDER_WINDOW, sequence_distance
from neuro_ros.timesync.exchange import Exchange

__all__ = ["Session", "SessionCounters"]

#: Messages of a kind that wait for their counterpart: most of a second at 10 Hz.
_WAITING = 8
#: Numbers of pairs and requests that are done, to know a duplicate by.
_DONE = 32


@dataclass(slots=True)
class SessionCounters:
    """What became of the messages.

    Parameters
    ----------
    pairs : int
        SYNC and FOLLOW_UP that found each other.
    duplicates : int
        Messages that had come before.
    unpaired : int
        SYNC or FOLLOW_UP without the other, and answers before any pair.
    late : int
        Pairs older than one that came before.
    stale_responses : int
        Answers to no request that is open.
    unanswered : int
        Requests that were given up.
    responses : int
        Answers that made an exchange.
    """

    pairs: int = 0
    duplicates: int = 0
    unpaired: int = 0
    late: int = 0
    stale_responses: int = 0
    unanswered: int = 0
    responses: int = 0


class Session:
    """Conversation with one master.

    Parameters
    ----------
    master : str
        The master's port identity.
    counters : SessionCounters, optional
        To go on counting in.
    """

    def __init__(self, master: str, counters: SessionCounters | None = None) -> None:
        self.master = master
        self.counters = counters or SessionCounters()
        self.paired_ns: int | None = None  # steady time of the newest pair
        self._syncs: dict[int, int] = {}  # sequence -> t2 without what the correction took
        self._follow_ups: dict[int, int] = {}  # sequence -> t1 with correction
        self._pair: tuple[int, int] | None = None  # t1, t2
        self._pair_sequence = 0
        self._pairs_done: deque[int] = deque(maxlen=_DONE)
        self._requests: dict[int, int | None] = {}  # sequence -> t3; None until it has departed
        self._requests_done: deque[int] = deque(maxlen=_DONE)

    def sync(self, sequence: int, correction_ns: int, arrival_ns: int, steady_ns: int) -> None:
        """Take a SYNC that arrived at our time `arrival_ns` [ns]."""
        if sequence in self._syncs or sequence in self._pairs_done:
            self.counters.duplicates += 1
            return
        self._put(self._syncs, sequence, arrival_ns - correction_ns)
        self._match(sequence, steady_ns)

    def follow_up(self, sequence: int, correction_ns: int, t1_ns: int, steady_ns: int) -> None:
        """Take a FOLLOW_UP that says when the SYNC of the same number departed [ns]."""
        if sequence in self._follow_ups or sequence in self._pairs_done:
            self.counters.duplicates += 1
            return
        self._put(self._follow_ups, sequence, t1_ns + correction_ns)
        self._match(sequence, steady_ns)

    def _put(self, waiting: dict[int, int], sequence: int, time_ns: int) -> None:
        waiting[sequence] = time_ns
        if len(waiting) > _WAITING:
            del waiting[next(iter(waiting))]
            self.counters.unpaired += 1

    def _match(self, sequence: int, steady_ns: int) -> None:
        if sequence not in self._syncs or sequence not in self._follow_ups:
            return
        t2_ns, t1_ns = self._syncs.pop(sequence), self._follow_ups.pop(sequence)
        self._pairs_done.append(sequence)
        if self._pair is not None and -REORDER_WINDOW <= sequence_distance(sequence, self._pair_sequence) <= 0:
            self.counters.late += 1
            return
        self.counters.pairs += 1
        self._pair, self._pair_sequence, self.paired_ns = (t1_ns, t2_ns), sequence, steady_ns

    def request(self, sequence: int) -> None:
        """Open a request that is about to depart."""
        self._requests[sequence] = None
        if len(self._requests) > _WAITING:
            del self._requests[next(iter(self._requests))]
            self.counters.unanswered += 1

    def departed(self, sequence: int, t3_ns: int) -> None:
        """Note when a request departed, by our time [ns]; the first word counts."""
        if sequence in self._requests and self._requests[sequence] is None:
            self._requests[sequence] = t3_ns

    def response(self, sequence: int, correction_ns: int, t4_ns: int) -> Exchange | None:
        """Take the master's answer to a request; return the exchange that it completes."""
        t3_ns = self._requests.pop(sequence, None)
        if t3_ns is None:
            kind = "duplicates" if sequence in self._requests_done else "stale_responses"
            setattr(self.counters, kind, getattr(self.counters, kind) + 1)
            return None
        self._requests_done.append(sequence)
        if self._pair is None:
            self.counters.unpaired += 1
            return None
        self.counters.responses += 1
        return Exchange(self._pair[0], self._pair[1], t3_ns, t4_ns - correction_ns)
