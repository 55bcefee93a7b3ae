# SPDX-License-Identifier: Apache-2.0
"""Who is master: the election of IEEE 1588-2019 clause 9.3, over what ANNOUNCE messages say.

Candidates are compared by priority1, clock class, priority2, identity of the grandmaster, hops and port, in this order;
smaller wins. A candidate counts after two announcements in a row that say the same, so that one lie elects nobody, and
is forgotten after a silence. The book of candidates is bounded whatever arrives.

This module refuses to know about time stamps and delays; time here is any steady count of nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Candidate", "Election", "sequence_distance"]

#: Announcements in a row, saying the same, that make a candidate count.
_CONFIRMATIONS = 2
#: Candidates that are remembered.
_BOOK_LIMIT = 16
#: Announcements of a master so many hops away run in circles (IEEE 1588-2019 clause 9.3.2.5).
_HOPS_LIMIT = 255
#: A message so many numbers behind the newest one is late; further behind, its sender has started anew.
REORDER_WINDOW = 16


def sequence_distance(new: int, old: int) -> int:
    """Return how far a 16-bit sequence id lies ahead of another, negative = behind."""
    return ((new - old + 0x8000) & 0xFFFF) - 0x8000


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """What a master says of itself; the smaller one wins."""

    priority1: int
    clock_class: int
    priority2: int
    grandmaster_identity: str
    steps_removed: int
    port_identity: str

    @classmethod
    def of(cls, frame: Any) -> Candidate:
        """Read an ANNOUNCE that `frame_fault` has found no fault with."""
        return cls(
            frame.priority1,
            frame.clock_class,
            frame.priority2,
            frame.grandmaster_identity,
            frame.steps_removed,
            frame.source_port_identity,
        )


@dataclass(slots=True)
class _Entry:
    """One master in the book."""

    heard: Candidate  # what the last announcement said
    heard_ns: int
    sequence: int
    repeats: int = 1
    counts: Candidate | None = None  # what has been confirmed


class Election:
    """Book of the masters that have been heard.

    Parameters
    ----------
    timeout_ns : int
        Silence after which a master is forgotten [ns].

    Attributes
    ----------
    refused : int
        Announcements of masters that had no room in the book, or came over too many hops.
    """

    def __init__(self, timeout_ns: int) -> None:
        self.timeout_ns = timeout_ns
        self.refused = 0
        self._book: dict[str, _Entry] = {}

    def hear(self, frame: Any, steady_ns: int) -> None:
        """Take an ANNOUNCE that `frame_fault` has found no fault with."""
        candidate = Candidate.of(frame)
        if candidate.steps_removed >= _HOPS_LIMIT:
            self.refused += 1
            return
        entry = self._book.get(candidate.port_identity)
        if entry is None:
            if self._make_room():
                self._book[candidate.port_identity] = _Entry(candidate, steady_ns, frame.sequence_id)
            return
        if -REORDER_WINDOW <= sequence_distance(frame.sequence_id, entry.sequence) <= 0:
            return  # a duplicate, or late
        entry.repeats = entry.repeats + 1 if candidate == entry.heard else 1
        entry.heard, entry.heard_ns, entry.sequence = candidate, steady_ns, frame.sequence_id
        if entry.repeats >= _CONFIRMATIONS:
            entry.counts = candidate

    def _make_room(self) -> bool:
        """See to it that one more fits; those that count are never pushed out by those that do not yet."""
        if len(self._book) < _BOOK_LIMIT:
            return True
        self.refused += 1
        doubtful = [(entry.heard_ns, port) for port, entry in self._book.items() if entry.counts is None]
        if doubtful:
            del self._book[min(doubtful)[1]]
        return bool(doubtful)

    def expire(self, steady_ns: int) -> None:
        """Forget the masters that have fallen silent."""
        silent = [port for port, entry in self._book.items() if steady_ns - entry.heard_ns > self.timeout_ns]
        for port in silent:
            del self._book[port]

    def best(self) -> Candidate | None:
        """Return the winner among the others; None when there is none."""
        return min(self.masters(), default=None)

    def masters(self) -> list[Candidate]:
        """Return all others that count."""
        return [entry.counts for entry in self._book.values() if entry.counts is not None]
