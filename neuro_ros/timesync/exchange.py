# SPDX-License-Identifier: Apache-2.0
"""The timing messages, and the arithmetic of one exchange.

`Frame` has the fields of ``PtpMessage.msg`` by the same names; `fault` says what is wrong with one from outside. An
`Exchange` is the four times of IEEE 1588-2019 clause 11.3 with the corrections already applied. This module refuses to
know who sends what and when (`port`), and how times become an estimate (`two_way`).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["IDENTITY_LIMIT", "Exchange", "Frame", "FrameType", "frame_fault", "identity_fault"]

_S = 1_000_000_000
#: Longest identity that is looked at [characters]; those of PTP have 20.
IDENTITY_LIMIT = 64
#: Letters, digits and the separators of MAC addresses and host names.
_IDENTITY = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*")
#: Times beyond this are no clock's [ns]: the year 2116; leaves room for sums in 64 bits.
_TIME_LIMIT_NS = 1 << 62
#: Corrections beyond this are refused [ns]; bridges correct by microseconds.
_CORRECTION_LIMIT_NS = _S
#: A round trip may be negative by this before it is absurd [ns]: coarse clocks, stamps of two sources.
_RESOLUTION_NS = 20_000


class FrameType(enum.IntEnum):
    """Kinds of timing messages; the numbers are those of ``PtpMessage.msg``."""

    ANNOUNCE = 0
    SYNC = 1
    FOLLOW_UP = 2
    DELAY_REQ = 3
    DELAY_RESP = 4


_LAST_TYPE = max(FrameType)


@dataclass(slots=True)
class Frame:
    """One timing message; ``PtpMessage.msg`` tells meaning and unit of each field."""

    type: int
    domain: int = 0
    source_port_identity: str = ""
    requesting_port_identity: str = ""
    sequence_id: int = 0
    timestamp_ns: int = 0
    correction_ns: int = 0
    priority1: int = 0
    priority2: int = 0
    clock_class: int = 0
    grandmaster_identity: str = ""
    steps_removed: int = 0
    log_interval: int = 0


def identity_fault(identity: object) -> str:
    """Say what is wrong with a port or clock identity; empty when nothing is."""
    if not isinstance(identity, str) or not identity:
        return "no identity"
    if len(identity) > IDENTITY_LIMIT:
        return f"identity of {len(identity)} characters, at most {IDENTITY_LIMIT}"
    if not _IDENTITY.fullmatch(identity):
        return "identity with characters other than letters, digits and _ . : -"
    return ""


def _is_time(value: object) -> bool:
    return type(value) is int and 0 < value < _TIME_LIMIT_NS


def frame_fault(frame: Any) -> str:
    """Say what makes a frame from outside unusable; empty when nothing does.

    Parameters
    ----------
    frame : Frame or PtpMessage
        Any object with the fields of a `Frame`; values of any kind.
    """
    fault = identity_fault(frame.source_port_identity)
    if fault:
        return fault
    kind = frame.type
    whole = (kind, frame.sequence_id, frame.timestamp_ns, frame.correction_ns)
    if not all(type(value) is int or isinstance(value, FrameType) for value in whole):
        return "a number that is not an integer"
    if not 0 <= kind <= _LAST_TYPE:
        return f"type {kind}"
    if not 0 <= frame.sequence_id < 1 << 16:
        return f"sequence id {frame.sequence_id}"
    if abs(frame.correction_ns) > _CORRECTION_LIMIT_NS:
        return f"correction of {frame.correction_ns} ns"
    if kind in (FrameType.FOLLOW_UP, FrameType.DELAY_RESP) and not _is_time(frame.timestamp_ns):
        return f"time stamp {frame.timestamp_ns}"
    if kind == FrameType.DELAY_RESP:
        return identity_fault(frame.requesting_port_identity)
    if kind == FrameType.ANNOUNCE:
        numbers = (frame.priority1, frame.priority2, frame.clock_class, frame.steps_removed)
        if not all(type(value) is int and value >= 0 for value in numbers):
            return "priorities that are no numbers"
        return identity_fault(frame.grandmaster_identity)
    return ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange, corrections applied; see `neuro_ros.timesync.two_way` for the four times [ns]."""

    t1_ns: int
    t2_ns: int
    t3_ns: int
    t4_ns: int

    @property
    def offset_ns(self) -> int:
        """Ours minus master's by this exchange alone [ns], rounded down."""
        return ((self.t2_ns - self.t1_ns) - (self.t4_ns - self.t3_ns)) // 2

    @property
    def round_trip_ns(self) -> int:
        """Time on the way, both ways together [ns]; twice the mean path delay."""
        return (self.t4_ns - self.t1_ns) - (self.t3_ns - self.t2_ns)

    def agrees(self, other: Exchange, slack_ns: float) -> bool:
        """Tell whether two exchanges can be of the same two clocks: an offset is off by half its round trip at most."""
        reach = (abs(self.round_trip_ns) + abs(other.round_trip_ns)) / 2 + slack_ns
        return abs(self.offset_ns - other.offset_ns) <= reach

    def fault(self, max_turnaround_s: float, skew_limit_ppm: float) -> str:
        """Say what makes these times impossible; empty when nothing does."""
        if not all(_is_time(value) for value in (self.t1_ns, self.t2_ns, self.t3_ns, self.t4_ns)):
            return "times that no clock shows"
        turnaround_ns = self.t3_ns - self.t2_ns
        if not abs(turnaround_ns) <= max_turnaround_s * _S:
            return f"{turnaround_ns} ns between SYNC and request"
        if self.round_trip_ns < -(_RESOLUTION_NS + abs(turnaround_ns) * skew_limit_ppm * 1e-6):
            return f"round trip of {self.round_trip_ns} ns"
        return ""
