# SPDX-License-Identifier: Apache-2.0
"""The two-way part of clock_sync: timing messages in and out, models of other hosts' clocks out.

`neuro_ros.timesync.PtpPort` says what is sent and which messages make an exchange; a `HostClock` for each master turns
exchanges into a model. This part gives both their times: the steady time by which they pace and wait is the count of
ticks, so that a host clock that is set by hours upsets nothing but the estimate, which proves the step and starts anew.

A follower that changes its master keeps the clock of the old one in HOLDOVER until that is worth nothing, says so with
a last UNLOCKED, and forgets it. A message that is sent has no time of departure here: the shell tells it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from neuro_ros.cores.core import Health, HealthLevel, Output
from neuro_ros.cores.host_clock import HostClock
from neuro_ros.cores.log_budget import LogBudget
from neuro_ros.cores.messages import PtpMessage
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.timesync import ClockState
from neuro_ros.timesync.exchange import Exchange, Frame
from neuro_ros.timesync.port import PortState, PtpPort

__all__ = ["PtpPart"]

_S = 1_000_000_000
#: Masters whose clocks are kept: the present one and those before it.
_CLOCK_LIMIT = 4
_FIELDS = tuple(item.name for item in fields(Frame))


def _message(frame: Frame) -> Output:
    return Output("ptp", PtpMessage(**{name: getattr(frame, name) for name in _FIELDS}))


class PtpPart:
    """Two-way exchange of one host.

    Parameters
    ----------
    parameters : ClockSyncParameters
        Validated parameters, with a role other than ``off``.
    identity : str
        Port identity; empty = unknown, nothing is sent.
    replayed : bool
        Nobody sends what this part says; its own recorded messages tell when they departed.
    """

    def __init__(self, parameters: ClockSyncParameters, identity: str, replayed: bool) -> None:
        self.port = PtpPort(parameters.ptp.port(), identity, replayed)
        self.log = LogBudget(parameters.ptp.log_lines_per_hour)
        self._parameters = parameters
        self._clocks: dict[str, HostClock] = {}
        self._steady_ns = 0
        self._said = ""
        self._alarms = (0, 0, 0)  # limited and refused messages, and clashes, as of the last judgement

    @property
    def tick_ns(self) -> int:
        """The pace at which :meth:`tick` is to be called [ns]."""
        return self.port.settings.tick_ns

    def activate(self, now_ns: int) -> list[Output]:
        """Start to listen; what is known from an earlier activation is published again."""
        self.port.start(self._steady_ns)
        return [self._publish(clock, now_ns) for clock in self._clocks.values()]

    def deactivate(self) -> None:
        """Follow nobody, lead nobody; keep the estimates."""
        self.port.stop()

    def reconfigure(self, parameters: ClockSyncParameters) -> None:
        """Apply new limits."""
        self._parameters = parameters
        for clock in self._clocks.values():
            clock.reconfigure(parameters)

    def tick(self, now_ns: int) -> list[Output]:
        """Let one tick pass: send what is due, and publish clocks without exchanges."""
        self._steady_ns += self.tick_ns
        outputs = [_message(frame) for frame in self.port.tick(self._steady_ns)]
        self._news()
        silent_ns = self._parameters.silent_period_s * _S
        for clock in list(self._clocks.values()):
            if clock.published_ns is not None and self._steady_ns - clock.published_ns < silent_ns:
                continue
            outputs.append(self._publish(clock, now_ns))
            followed = self.port.master is not None and self.port.master.grandmaster_identity == clock.clock_id
            if clock.state is ClockState.UNLOCKED and not followed:
                del self._clocks[clock.clock_id]
        return outputs

    def receive(self, message: PtpMessage, arrival_ns: int) -> list[Output]:
        """Take a timing message that arrived at our time `arrival_ns` [ns]."""
        result = self.port.receive(message, arrival_ns)
        if isinstance(result, list):
            return [_message(frame) for frame in result]
        return self._take(result, arrival_ns)

    def departed(self, message: PtpMessage, departure_ns: int) -> list[Output]:
        """Take the news that a message of ours departed at our time `departure_ns` [ns]."""
        return [_message(frame) for frame in self.port.departed(message, departure_ns)]

    def _take(self, exchange: Exchange, now_ns: int) -> list[Output]:
        master = self.port.master
        if master is None:
            return []
        clock = self._clocks.get(master.grandmaster_identity)
        if clock is None:
            self._make_room()
            clock = self._clocks[master.grandmaster_identity] = HostClock(master.grandmaster_identity, self._parameters)
        steps = clock.steps
        clock.add(exchange, now_ns, self._steady_ns)
        if clock.steps != steps:
            self.log.say(f"clock {clock.clock_id}: output time stepped", self._steady_ns)
        due = (
            clock.published_ns is None
            or self._steady_ns - clock.published_ns >= self._parameters.ptp.publish_period_s * _S
            or clock.peek(now_ns) is not clock.state
        )
        return [self._publish(clock, now_ns)] if due else []

    def _make_room(self) -> None:
        """Forget the clock that has been silent for longest when there are too many."""
        if len(self._clocks) >= _CLOCK_LIMIT:
            del self._clocks[min(self._clocks, key=lambda name: self._clocks[name].heard_ns or 0)]

    def _publish(self, clock: HostClock, now_ns: int) -> Output:
        before = clock.state
        model = clock.model(now_ns, self._steady_ns)
        if clock.state is not before:
            self.log.say(f"clock {clock.clock_id}: {before.name} -> {clock.state.name}", self._steady_ns)
        return Output("clock/model", model)

    def _describe(self) -> str:
        port = self.port
        if port.master is not None:
            return f"follows {port.master.grandmaster_identity} at port {port.master.port_identity}"
        return "is master" if port.state is PortState.MASTER else "hears no master"

    def _news(self) -> None:
        said = f"domain {self.port.settings.domain}: {self.port.identity or 'a port without identity'} "
        said += self._describe()
        if said != self._said:
            self._said = said
            self.log.say(said, self._steady_ns)

    # -- judgement -----------------------------------------------------------------------------------------------------

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge the port and every clock."""
        return [self._judge_port(), *(clock.health(now_ns) for clock in self._clocks.values())]

    def _judge_port(self) -> Health:
        port = self.port
        alarms = (port.peers.limited, port.peers.refused, port.counters.identity_clashes)
        limited, refused, clashes = (new - old for new, old in zip(alarms, self._alarms, strict=True))
        self._alarms = alarms
        others = [candidate.port_identity for candidate in port.others]
        figures: dict[str, object] = {
            "identity": port.identity,
            "state": port.state.value,
            "master": port.master.port_identity if port.master else "",
            "other_masters": ", ".join(others),
            "peers": len(port.peers),
            "rate_limited": port.peers.limited,
            "refused_strangers": port.peers.refused,
            "refused_announcements": port.election.refused,
            **asdict(port.counters),
            **asdict(port.session_counters),
            "log_lines_suppressed": self.log.suppressed,
        }
        text = f"domain {port.settings.domain}: {self._describe()}"
        level = HealthLevel.OK
        if clashes:
            level, text = HealthLevel.ERROR, f"another port calls itself {port.identity}; set ptp.identity"
        elif limited:
            level, text = HealthLevel.WARN, f"{text}; {limited} messages beyond the rate, last of {port.peers.loudest}"
        elif refused:
            level, text = HealthLevel.WARN, f"{text}; {refused} messages of strangers not looked at"
        elif port.state is PortState.MASTER and others:
            level, text = HealthLevel.WARN, f"{text}, and so is {', '.join(others)}"
        elif port.state is PortState.LISTENING:
            level = HealthLevel.WARN
        return Health("ptp", level, text, figures)
