# SPDX-License-Identifier: Apache-2.0
"""One port of the two-way exchange: grandmaster, follower, or whichever the election says.

Times of arrival and departure come from whoever moves the messages, as near to the wire as that can be. Everything that
is paced or waited for goes by a second, steady time, so that a clock that is set by hours starts no election and ends
no waiting. The port reads neither: both are arguments. It refuses to know about ROS, and what the exchanges mean.

A master sends ANNOUNCE and SYNC; when it is told that a SYNC has departed, it says the time in a FOLLOW_UP; it answers
each DELAY_REQ with its time of arrival. A follower asks at its own pace, which spreads many followers over the
interval, and only while SYNC of its master come.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuro_ros.timesync.election import Candidate, Election
from neuro_ros.timesync.exchange import Exchange, Frame, FrameType, frame_fault, identity_fault
from neuro_ros.timesync.peers import PeerBook
from neuro_ros.timesync.session import Session, SessionCounters
from neuro_ros.timesync.settings import TimesyncError

__all__ = ["PortCounters", "PortSettings", "PortState", "PtpPort", "clock_identity"]

_S = 1_000_000_000
_ROLES = ("auto", "grandmaster", "follower")
#: A follower does not ask a master whose SYNC have stopped for so long [ns].
_STALE_PAIR_NS = 5 * _S


class PortState(enum.Enum):
    """What a port does at present."""

    LISTENING = "listening"
    MASTER = "master"
    FOLLOWER = "follower"


@dataclass(frozen=True)
class PortSettings:
    """How a port behaves.

    Parameters
    ----------
    role : str
        ``auto``, ``grandmaster`` or ``follower``.
    domain : int
        Messages of other domains are not looked at.
    priority1, clock_class, priority2 : int
        What the election compares, in this order; smaller wins, 0 to 255.
    sync_interval_s, delay_req_interval_s, announce_interval_s : float
        Pace of the three [s].
    announce_timeout : int
        Announcements that may be missed before a master counts as gone.
    peer_rate_hz : float
        Messages a second that one peer may send for long.
    max_peers : int
        Peers that are known at a time.

    Raises
    ------
    TimesyncError
        A value is out of range, or the peers would not be allowed what a master of these intervals sends.
    """

    role: str = "auto"
    domain: int = 0
    priority1: int = 128
    clock_class: int = 248
    priority2: int = 128
    sync_interval_s: float = 0.1
    delay_req_interval_s: float = 0.1
    announce_interval_s: float = 1.0
    announce_timeout: int = 3
    peer_rate_hz: float = 100.0
    max_peers: int = 64

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise TimesyncError(f"role: {self.role!r} is not one of {', '.join(_ROLES)}")
        for name in ("domain", "priority1", "clock_class", "priority2"):
            if not 0 <= getattr(self, name) <= 255:
                raise TimesyncError(f"{name}: {getattr(self, name)} is not within 0 and 255")
        for name in ("sync_interval_s", "delay_req_interval_s", "announce_interval_s", "peer_rate_hz"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise TimesyncError(f"{name}: {getattr(self, name)!r} must be finite and above 0")
        if self.announce_timeout < 2 or self.max_peers < 1:
            raise TimesyncError("announce_timeout must be 2 at least (two announcements elect), max_peers 1")
        sent_hz = 2 / self.sync_interval_s + 1 / self.delay_req_interval_s + 1 / self.announce_interval_s
        if self.peer_rate_hz < sent_hz:
            raise TimesyncError(
                f"peer_rate_hz: {self.peer_rate_hz:g} is less than the {sent_hz:g} messages a second that a host of "
                "these intervals sends; raise it or lengthen the intervals"
            )

    @property
    def tick_ns(self) -> int:
        """The pace at which the port wants to be ticked [ns]."""
        return round(min(self.sync_interval_s, self.delay_req_interval_s, self.announce_interval_s) * _S)

    @property
    def timeout_ns(self) -> int:
        """Silence after which a master counts as gone [ns]."""
        return round(self.announce_timeout * self.announce_interval_s * _S)


@dataclass(slots=True)
class PortCounters:
    """What became of the messages that arrived, before a conversation sees them.

    Parameters
    ----------
    foreign_domain : int
        Of other domains.
    malformed : int
        With a fault, see `frame_fault`.
    not_ours : int
        Answers to others, requests while not master, timing of a master that is not ours.
    echoes : int
        Our own, that came back.
    identity_clashes : int
        With our identity, but not ours: two ports share it.
    requests : int
        Requests answered.
    changes : int
        Changes of state or master.
    """

    foreign_domain: int = 0
    malformed: int = 0
    not_ours: int = 0
    echoes: int = 0
    identity_clashes: int = 0
    requests: int = 0
    changes: int = 0


def clock_identity(port_identity: str) -> str:
    """Return the clock's part of a port identity: all before the last hyphen."""
    return port_identity.rpartition("-")[0] or port_identity


class _Pace:
    """Tells when something is due, with a tolerance of half a tick."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def due(self, interval_s: float, tick_ns: int, steady_ns: int) -> bool:
        if self._last_ns is not None and steady_ns - self._last_ns < interval_s * _S - tick_ns / 2:
            return False
        self._last_ns = steady_ns
        return True


class PtpPort:
    """State machine of one port; see the module's text.

    Parameters
    ----------
    settings : PortSettings
        How to behave.
    identity : str
        Port identity, ``CLOCK-NUMBER``; empty = a port that cannot know its own messages (nor send).
    departures_by_echo : bool
        Take our own DELAY_REQ that come back for the news of their departure, as in a replay, where nobody sends.

    Attributes
    ----------
    state : PortState
        What the port does.
    master : Candidate or None
        Whom it follows.

    Raises
    ------
    TimesyncError
        The identity is malformed.
    """

    def __init__(self, settings: PortSettings, identity: str, departures_by_echo: bool = False) -> None:
        fault = identity_fault(identity) if identity else ""
        if fault:
            raise TimesyncError(f"identity {identity!r}: {fault}")
        self.settings = settings
        self.identity = identity
        self.counters = PortCounters()
        self.session_counters = SessionCounters()
        self.peers = PeerBook(settings.peer_rate_hz, settings.max_peers)
        self.election = Election(settings.timeout_ns)
        self.state = PortState.LISTENING
        self.master: Candidate | None = None
        self._session: Session | None = None
        self._by_echo = departures_by_echo
        self._sequences = dict.fromkeys(FrameType, 0)
        self._started_ns = 0
        self._steady_ns = 0
        self._announce, self._sync, self._request = _Pace(), _Pace(), _Pace()
        self._handlers: dict[int, Callable[[Any, int], Exchange | list[Frame] | None]] = {
            FrameType.ANNOUNCE: self._on_announce,
            FrameType.SYNC: self._on_sync,
            FrameType.FOLLOW_UP: self._on_follow_up,
            FrameType.DELAY_REQ: self._on_delay_req,
            FrameType.DELAY_RESP: self._on_delay_resp,
        }

    @property
    def others(self) -> list[Candidate]:
        """Every other master that is heard and counts, but not the one followed."""
        return [item for item in self.election.masters() if item != self.master]

    def start(self, steady_ns: int) -> None:
        """Begin to listen; what was known of masters is forgotten."""
        self.election = Election(self.settings.timeout_ns)
        self._started_ns = self._steady_ns = steady_ns
        self._announce, self._sync, self._request = _Pace(), _Pace(), _Pace()
        self._become(PortState.LISTENING, None)

    def stop(self) -> None:
        """Follow nobody, lead nobody."""
        self._become(PortState.LISTENING, None)

    # -- time ----------------------------------------------------------------------------------------------------------

    def tick(self, steady_ns: int) -> list[Frame]:
        """Let time pass; return what is to be sent now."""
        self._steady_ns = steady_ns
        self.election.timeout_ns = self.settings.timeout_ns
        self.election.expire(steady_ns)
        self._decide()
        if not self.identity:
            return []
        settings, tick_ns = self.settings, self.settings.tick_ns
        frames = []
        if self.state is PortState.MASTER:
            if self._announce.due(settings.announce_interval_s, tick_ns, steady_ns):
                frames.append(self._frame(FrameType.ANNOUNCE, settings.announce_interval_s))
            if self._sync.due(settings.sync_interval_s, tick_ns, steady_ns):
                frames.append(self._frame(FrameType.SYNC, settings.sync_interval_s))
        session = self._session
        if session is not None and session.paired_ns is not None and steady_ns - session.paired_ns < _STALE_PAIR_NS:
            if self._by_echo or not self._request.due(settings.delay_req_interval_s, tick_ns, steady_ns):
                return frames
            frame = self._frame(FrameType.DELAY_REQ, settings.delay_req_interval_s)
            session.request(frame.sequence_id)
            frames.append(frame)
        return frames

    def departed(self, frame: Any, departure_ns: int) -> list[Frame]:
        """Take the news that one of our frames has departed at our time `departure_ns` [ns]; return what follows."""
        if frame.type == FrameType.DELAY_REQ and self._session is not None:
            self._session.departed(frame.sequence_id, departure_ns)
        if frame.type == FrameType.SYNC and self.state is PortState.MASTER:
            follow_up = self._frame(FrameType.FOLLOW_UP, self.settings.sync_interval_s, frame.sequence_id)
            follow_up.timestamp_ns = departure_ns
            return [follow_up]
        return []

    def _frame(self, kind: FrameType, interval_s: float, sequence: int | None = None) -> Frame:
        if sequence is None:
            sequence = self._sequences[kind]
            self._sequences[kind] = (sequence + 1) & 0xFFFF
        frame = Frame(
            type=int(kind),
            domain=self.settings.domain,
            source_port_identity=self.identity,
            sequence_id=sequence,
            log_interval=round(math.log2(interval_s)),
        )
        if kind is FrameType.ANNOUNCE:
            frame.priority1, frame.priority2 = self.settings.priority1, self.settings.priority2
            frame.clock_class = self.settings.clock_class
            frame.grandmaster_identity = clock_identity(self.identity)
        return frame

    # -- who is master -------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        settings, best = self.settings, self.election.best()
        if settings.role == "grandmaster":
            self._become(PortState.MASTER, None)
        elif best is not None and (settings.role == "follower" or best < self._own()):
            self._become(PortState.FOLLOWER, best)
        elif settings.role == "auto" and self._steady_ns - self._started_ns > settings.timeout_ns:
            self._become(PortState.MASTER, None)
        else:
            self._become(PortState.LISTENING, None)

    def _own(self) -> Candidate:
        settings = self.settings
        return Candidate(
            settings.priority1,
            settings.clock_class,
            settings.priority2,
            clock_identity(self.identity),
            0,
            self.identity,
        )

    def _become(self, state: PortState, master: Candidate | None) -> None:
        known = self.master.port_identity if self.master else ""
        wanted = master.port_identity if master else ""
        if state is not self.state or wanted != known:
            self.counters.changes += 1
            self._session = Session(wanted, self.session_counters) if master else None
        self.state, self.master = state, master

    # -- what arrives --------------------------------------------------------------------------------------------------

    def receive(self, frame: Any, arrival_ns: int) -> Exchange | list[Frame]:
        """Take a frame that arrived at our time `arrival_ns` [ns].

        Parameters
        ----------
        frame : Frame or PtpMessage
            Any object with the fields of a `Frame`; whatever the values, this does not raise, and keeps little of it.
        arrival_ns : int
            When it arrived, by our clock [ns].

        Returns
        -------
        Exchange or list of Frame
            A completed exchange with our master, or what is to be sent in answer, mostly nothing.
        """
        counters = self.counters
        own = bool(self.identity) and frame.source_port_identity == self.identity
        # The cheap questions first: a topic carries everybody's conversation with everybody.
        if frame.domain != self.settings.domain:
            counters.foreign_domain += 1
        elif not own and (
            (frame.type == FrameType.DELAY_RESP and frame.requesting_port_identity != self.identity)
            or (frame.type == FrameType.DELAY_REQ and self.state is not PortState.MASTER)
        ):
            counters.not_ours += 1
        elif frame_fault(frame):
            counters.malformed += 1
        elif own:
            self._on_own(frame, arrival_ns)
        elif self.peers.admit(frame.source_port_identity, self._steady_ns):
            return self._handlers[frame.type](frame, arrival_ns) or []
        return []

    def _on_own(self, frame: Any, arrival_ns: int) -> None:
        """Know an echo of ours from a message of somebody who goes by our name."""
        if self._by_echo:
            if frame.type == FrameType.DELAY_REQ and self._session is not None:
                self._session.request(frame.sequence_id)
                self._session.departed(frame.sequence_id, arrival_ns)
            return
        kind = FrameType.SYNC if frame.type == FrameType.FOLLOW_UP else FrameType(frame.type)
        behind = (self._sequences[kind] - 1 - frame.sequence_id) & 0xFFFF
        # Answers carry the number of the request; ours come back within moments, a namesake's numbers are elsewhere.
        if frame.type == FrameType.DELAY_RESP or behind < 64:
            self.counters.echoes += 1
        else:
            self.counters.identity_clashes += 1

    def _on_announce(self, frame: Any, _arrival_ns: int) -> None:
        self.election.hear(frame, self._steady_ns)
        self._decide()

    def _of_master(self, frame: Any) -> Session | None:
        """Return the conversation that a frame belongs to."""
        if self._session is not None and frame.source_port_identity == self._session.master:
            return self._session
        self.counters.not_ours += 1
        return None

    def _on_sync(self, frame: Any, arrival_ns: int) -> None:
        session = self._of_master(frame)
        if session is not None:
            session.sync(frame.sequence_id, frame.correction_ns, arrival_ns, self._steady_ns)

    def _on_follow_up(self, frame: Any, _arrival_ns: int) -> None:
        session = self._of_master(frame)
        if session is not None:
            session.follow_up(frame.sequence_id, frame.correction_ns, frame.timestamp_ns, self._steady_ns)

    def _on_delay_req(self, frame: Any, arrival_ns: int) -> list[Frame]:
        answer = self._frame(FrameType.DELAY_RESP, self.settings.delay_req_interval_s, frame.sequence_id)
        answer.requesting_port_identity = frame.source_port_identity
        answer.timestamp_ns = arrival_ns
        answer.correction_ns = frame.correction_ns
        self.counters.requests += 1
        return [answer]

    def _on_delay_resp(self, frame: Any, _arrival_ns: int) -> Exchange | None:
        session = self._of_master(frame)
        if session is None:
            return None
        return session.response(frame.sequence_id, frame.correction_ns, frame.timestamp_ns)
