# SPDX-License-Identifier: Apache-2.0
"""Wake on motion: decides, window by window, what is worth sending.

Asleep, windows are withheld until one is active: its rate reaches a threshold. It is sent, with the few quiet
ones just before it, in which the motion may have begun; from then on windows are sent. They are withheld again
once the rate has stayed below a second, lower threshold for some time: between the two thresholds, and within
that time, the state stays what it is, so that a rate near one of them does not chop a motion to pieces.

The rate of a window counts its events except those that were filtered: noise that a filter took out, and
motion outside the crop, wake nobody; events lost to overload are activity. A window with a known loss may have
been an active one: it is always sent, with those before it, and changes no state that its own rate does not
change.

This module refuses to know about messages: sequence numbers and accounts are the caller's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from neuro_ros.errors import NeuroRosError
from neuro_ros.events.window_base import SpikeWindow

__all__ = ["MAX_PRE_ROLL", "Decision", "WakeError", "WakeOnMotion", "WakeSettings"]

T = TypeVar("T")

#: Most quiet windows that are kept back to be sent with the one that wakes.
MAX_PRE_ROLL = 100
_NS_PER_S = 1_000_000_000


class WakeError(NeuroRosError):
    """Thresholds or times that cannot be."""


@dataclass(frozen=True)
class WakeSettings:
    """When windows are sent.

    Parameters
    ----------
    wake_events_hz : float
        A window with at least this rate wakes [events/s]; 0 = every window is sent.
    sleep_events_hz : float
        A window below this rate is quiet [events/s]; at most `wake_events_hz`. A window between the two is
        neither.
    sleep_after_s : float
        Awake, quiet windows are sent until more than this much sensor time in a row was quiet, 0 to 3600.
    pre_roll : int
        Quiet windows just before an active one that are sent with it, 0 to `MAX_PRE_ROLL`.

    Raises
    ------
    WakeError
        When a number is out of range.
    """

    wake_events_hz: float = 0.0
    sleep_events_hz: float = 0.0
    sleep_after_s: float = 0.5
    pre_roll: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.wake_events_hz <= 1e12:
            raise WakeError(f"wake_events_hz is {self.wake_events_hz}, it must be 0 to 1e12")
        if not 0.0 <= self.sleep_events_hz <= self.wake_events_hz:
            raise WakeError(
                f"sleep_events_hz is {self.sleep_events_hz}, it must be 0 to wake_events_hz, {self.wake_events_hz}"
            )
        if not 0.0 <= self.sleep_after_s <= 3600.0:
            raise WakeError(f"sleep_after_s is {self.sleep_after_s}, it must be 0 to 3600")
        if not 0 <= self.pre_roll <= MAX_PRE_ROLL:
            raise WakeError(f"pre_roll is {self.pre_roll}, it must be 0 to {MAX_PRE_ROLL}")


class Decision(NamedTuple, Generic[T]):
    """What becomes of a window.

    Parameters
    ----------
    window : SpikeWindow
        As it was given.
    note : object
        What was given with it.
    send : bool
        True: send it now. False: it is withheld, for good.
    """

    window: SpikeWindow
    note: T
    send: bool


class WakeOnMotion(Generic[T]):
    """Decides about the windows of one stream; asleep at first.

    Every window is decided about once, and in order. A quiet one waits for its decision while up to `pre_roll`
    others follow it: it is sent if one of them is, otherwise withheld. Windows sent and withheld are thus in the
    order of time, and whoever counts the withheld ones between two that are sent has the number that
    ``windows_withheld`` means.

    Parameters
    ----------
    settings : WakeSettings

    Attributes
    ----------
    settings : WakeSettings
        May be replaced at any time; holds from the next window on.
    awake : bool
    wakings : int
        Times that it woke.
    """

    def __init__(self, settings: WakeSettings) -> None:
        self.settings = settings
        self.awake = False
        self.wakings = 0
        self._quiet_ns = 0
        self._waiting: deque[tuple[SpikeWindow, T]] = deque()

    @property
    def waiting(self) -> int:
        """Windows that are not decided about yet."""
        return len(self._waiting)

    def take(self, window: SpikeWindow, note: T) -> list[Decision[T]]:
        """Take the next window and return the decisions that it brings.

        Parameters
        ----------
        window : SpikeWindow
            Kept while it waits.
        note : object
            Comes back with the decision about this window.

        Returns
        -------
        list of Decision
            In order of the windows.
        """
        decisions: list[Decision[T]] = []
        if self._waiting and self._waiting[-1][0].end_ns != window.start_ns:
            decisions += self._decide(send=False)  # what lies before a jump of time does not lead up to this one
        self._follow(window)
        self._waiting.append((window, note))
        if self.awake or not window.complete:
            return decisions + self._decide(send=True)
        return decisions + self._decide(send=False, leave=self.settings.pre_roll)

    def flush(self) -> list[Decision[T]]:
        """End the stream: what still waits is withheld; asleep afterwards."""
        self.awake = False
        return self._decide(send=False)

    def _decide(self, send: bool, leave: int = 0) -> list[Decision[T]]:
        """Decide about all that wait but the last `leave`."""
        decisions = []
        while len(self._waiting) > leave:
            window, note = self._waiting.popleft()
            decisions.append(Decision(window, note, send))
        return decisions

    def _follow(self, window: SpikeWindow) -> None:
        """Wake, go on, or fall asleep."""
        length_ns = window.end_ns - window.start_ns
        events = (window.events_in - window.events_filtered) * _NS_PER_S
        if events >= self.settings.wake_events_hz * length_ns:
            self.wakings += not self.awake
            self.awake = True
        quiet = events < self.settings.sleep_events_hz * length_ns
        self._quiet_ns = self._quiet_ns + length_ns if quiet else 0
        if self._quiet_ns > self.settings.sleep_after_s * _NS_PER_S:
            self.awake = False
