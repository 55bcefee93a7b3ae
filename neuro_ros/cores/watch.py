# SPDX-License-Identifier: Apache-2.0
"""Two watches over a camera's time: how old its oldest waiting event is, and how far arrivals have left the model.

The difference between now and an event's sensor time says nothing by itself: it mixes two clocks and the buffers
between them. Here the event's time is brought to the host's clock first, so that its age is how long it has waited; and
drift is judged apart from it, by the *least* delayed arrivals, which a busy host cannot move.

This module refuses to know about windows, messages and what is done about it.
"""

from __future__ import annotations

from neuro_ros.errors import NeuroRosError

__all__ = ["AgeWatch", "ResidualWatch"]

_S = 1_000_000_000
_POLICIES = ("keep", "flush")


class AgeWatch:
    """Judge the age of the oldest event that is in no published window yet.

    An event waits for its window's end and for the way to here, less than twice the window when all is well.

    Parameters
    ----------
    limit_ns : int
        Age from which events are late [ns]; twice the window.
    policy : str
        What is done about events that are late: "keep" (nothing, they are only reported) or "flush" (given up, at most
        once an episode, so that the rest is timely again).

    Attributes
    ----------
    age_ns, oldest_ns : int
        Age at the last check, and the greatest ever [ns].
    episodes : int
        Times that events became late.
    flushes, events_flushed : int
        Times that the policy gave events up, and how many events.

    Raises
    ------
    NeuroRosError
        Limit not positive, or unknown policy.
    """

    def __init__(self, limit_ns: int, policy: str = "keep") -> None:
        if limit_ns <= 0:
            raise NeuroRosError(f"limit_ns: {limit_ns} must be above 0")
        if policy not in _POLICIES:
            raise NeuroRosError(f"policy: {policy!r} must be one of {', '.join(_POLICIES)}")
        self.limit_ns = limit_ns
        self.policy = policy
        self.age_ns = self.oldest_ns = 0
        self.episodes = self.flushes = self.events_flushed = 0
        self._late = False

    @property
    def late(self) -> bool:
        """Whether the oldest event was late at the last check."""
        return self._late

    def check(self, oldest_host_ns: int | None, now_ns: int) -> bool:
        """Note the host time of the oldest waiting event, None when none waits; return whether to give events up.

        Notes
        -----
        An event from the future has age 0: the model is off by less than its uncertainty, or the host's clock was set.
        """
        self.age_ns = 0 if oldest_host_ns is None else max(0, now_ns - oldest_host_ns)
        self.oldest_ns = max(self.oldest_ns, self.age_ns)
        was_late, self._late = self._late, self.age_ns > self.limit_ns
        begins = self._late and not was_late
        self.episodes += begins
        return begins and self.policy == "flush"

    def flushed(self, events: int) -> None:
        """Note that `events` events were given up."""
        self.flushes += 1
        self.events_flushed += events

    def values(self) -> dict[str, object]:
        """Return the figures for diagnostics."""
        return {
            "oldest_event_age_s": self.age_ns / _S,
            "oldest_event_age_max_s": self.oldest_ns / _S,
            "oldest_event_age_limit_s": self.limit_ns / _S,
            "late_episodes": self.episodes,
            "flushes": self.flushes,
            "events_flushed": self.events_flushed,
        }


class ResidualWatch:
    """Follow the least difference between arrivals and what the model says, over the last one to two periods.

    Parameters
    ----------
    period_ns : int
        Host time over which the least difference is taken [ns].
    """

    def __init__(self, period_ns: int = 5 * _S) -> None:
        self._period_ns = period_ns
        self.reset()

    def reset(self) -> None:
        """Forget all arrivals: they were compared with another model."""
        self._began_ns: int | None = None
        self._current: int | None = None
        self._before: int | None = None

    def add(self, residual_ns: int, arrival_ns: int) -> None:
        """Note that something arrived `residual_ns` after the time that the model gives it."""
        began_ns = self._began_ns
        if began_ns is None or not 0 <= arrival_ns - began_ns < 2 * self._period_ns:  # also after a step back
            self._began_ns, self._current, self._before = arrival_ns, None, None
        elif arrival_ns - began_ns >= self._period_ns:
            self._began_ns, self._current, self._before = began_ns + self._period_ns, None, self._current
        self._current = residual_ns if self._current is None else min(self._current, residual_ns)

    @property
    def residual_ns(self) -> int | None:
        """The least difference [ns]; None until a period of arrivals has been seen."""
        if self._before is None:
            return None
        return self._before if self._current is None else min(self._before, self._current)
