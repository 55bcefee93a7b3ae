# SPDX-License-Identifier: Apache-2.0
"""How much work each peer may cause.

A token bucket for each peer that is known, and one for all strangers together, so that a peer that floods harms only
itself, and one that invents a new name for each message does not push out those who are known. This module refuses to
know what the messages are; time here is any steady count of nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PeerBook"]

_S = 1_000_000_000
#: A bucket holds what comes in this time [s].
_BURST_S = 2.0
#: New peers that are let in [1/s].
_STRANGER_RATE = 10.0
#: A peer that has been silent for so long may be forgotten for a new one [ns].
_SILENT_NS = 10 * _S


@dataclass(slots=True)
class _Bucket:
    """What a peer may still send, as of `at_ns`."""

    tokens: float
    at_ns: int

    def take(self, rate: float, steady_ns: int) -> bool:
        self.tokens = min(rate * _BURST_S, self.tokens + rate * max(0, steady_ns - self.at_ns) / _S)
        self.at_ns = steady_ns
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class PeerBook:
    """Decides which messages are worked on.

    Parameters
    ----------
    rate_hz : float
        Messages a second that one peer may send for long.
    limit : int
        Peers that are known at a time.

    Attributes
    ----------
    limited : int
        Messages of known peers beyond their rate.
    refused : int
        Messages of strangers that were not let in.
    """

    def __init__(self, rate_hz: float, limit: int) -> None:
        self.rate_hz, self.limit = rate_hz, limit
        self.limited = 0
        self.refused = 0
        self.loudest = ""  # whose message was last beyond its rate
        self._peers: dict[str, _Bucket] = {}
        self._strangers = _Bucket(_STRANGER_RATE * _BURST_S, 0)

    def __len__(self) -> int:
        """Return the number of peers known."""
        return len(self._peers)

    def admit(self, identity: str, steady_ns: int) -> bool:
        """Tell whether a message of this peer is to be worked on, and count it."""
        bucket = self._peers.get(identity)
        if bucket is None:
            if not (self._strangers.take(_STRANGER_RATE, steady_ns) and self._make_room(steady_ns)):
                self.refused += 1
                return False
            bucket = self._peers[identity] = _Bucket(self.rate_hz * _BURST_S, steady_ns)
        if bucket.take(self.rate_hz, steady_ns):
            return True
        self.limited += 1
        self.loudest = identity
        return False

    def _make_room(self, steady_ns: int) -> bool:
        if len(self._peers) < self.limit:
            return True
        quietest = min(self._peers, key=lambda identity: self._peers[identity].at_ns)
        if steady_ns - self._peers[quietest].at_ns < _SILENT_NS:
            return False
        del self._peers[quietest]
        return True
