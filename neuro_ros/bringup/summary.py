# SPDX-License-Identifier: Apache-2.0
"""Looks back at a recorded run: what was recognised, how quickly, and where every event and window went.

A few numbers a window are kept, never the tensors. What fills them is `neuro_ros.bringup.collect`; how they are shown
is the matter of `neuro_ros.bringup.table` and `neuro_ros.bringup.page`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cores.messages import CanaryReport, ClockModel, SnnTelemetry, ThermalCompensation

__all__ = ["CLOCK_STATES", "PHASES", "THERMAL_STATES", "ClockFigures", "Segment", "Summary", "Window", "integer"]

CLOCK_STATES = ("UNLOCKED", "TRACKING", "LOCKED", "HOLDOVER")
THERMAL_STATES = ("NOMINAL", "COMPENSATING", "STALE", "FAILSAFE")
PHASES = ("BASELINE", "SHADOW", "CANARY", "PROMOTED", "ROLLED_BACK")


@dataclass(slots=True)
class Window:
    """One window as the bag tells of it.

    Parameters
    ----------
    epoch, sequence : int
        Which window.
    time_s : float
        Sensor time of its end, since the first window's start [s]; host time where sensor time starts over.
    events_in, events_binned, events_filtered, events_dropped : int
        Its events.
    length_s : float
        Its length [s].
    complete : bool
        False when something is known lost inside.
    decided : int or None
        Class index the network gave, -1 = no decision; None = no gesture for this window.
    truth : int or None
        Class index shown, -1 = between two; None = not known.
    confidence, latency_s : float
        Of the gesture; NaN = unknown.
    closed_ns : int
        System clock when the window was closed; 0 = unknown.
    received_s : float
        From then to the gesture's arrival in the recorder's process [s]; NaN = unknown.
    """

    epoch: int
    sequence: int
    time_s: float
    events_in: int
    events_binned: int
    events_filtered: int
    events_dropped: int
    length_s: float
    complete: bool
    decided: int | None = None
    truth: int | None = None
    confidence: float = math.nan
    latency_s: float = math.nan
    closed_ns: int = 0
    received_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Segment:
    """Windows in a row that show the same gesture, and what most of them were taken for (-1 = nothing)."""

    truth: int
    decided: int
    first: int
    last: int


@dataclass(slots=True)
class ClockFigures:
    """The models of one clock: how often it was in which state, the last model, the range of its uncertainty."""

    states: Counter[int] = field(default_factory=Counter)
    last: ClockModel | None = None
    time_s: list[float] = field(default_factory=list)
    sigma_ns: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """Figures of a run; see the properties for what is derived.

    Parameters
    ----------
    path : str
        The bag.
    duration_s : float
        From its first message to its last [s].
    windows : list of Window
        In order of epoch and sequence.
    labels : mapping of int to str
        Class index to label, as far as they occurred.
    gestures : int
        Gesture messages.
    topics : mapping of str to int
        Messages by topic in the bag.
    repeated_windows, sequence_gaps, windows_missing, windows_withheld : int
        Windows recorded twice; places where sequence numbers are missing, and how many; windows withheld on purpose.
    camera : mapping of int to mapping
        Books of the camera by epoch, from its diagnostics: the last figures of each.
    telemetry : list of SnnTelemetry
        The last message before each restart of the counters, then the last one.
    firing_rates : mapping of str to list of float
        By layer, the rate of every telemetry period with a step in it [spikes a neuron and step].
    clocks : mapping of str to ClockFigures
        By clock id.
    temperature_celsius : tuple of float
        Lowest and highest reading; NaN = none.
    thermal : ThermalCompensation or None
        The last one.
    thermal_states : list of int
        The states that it went through since the first temperature.
    canary : CanaryReport or None
        The last one.
    alarms : counter of str
        Alarms raised, by name, in reports.
    manager : mapping of str to mapping
        What the lifecycle manager said last about each node.
    unreadable : int
        Messages of the bag that could not be read.
    time_is_sensor : bool
        Whether `Window.time_s` is sensor time.
    """

    path: str
    duration_s: float = 0.0
    windows: list[Window] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    gestures: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    repeated_windows: int = 0
    sequence_gaps: int = 0
    windows_missing: int = 0
    windows_withheld: int = 0
    camera: dict[int, dict[str, str]] = field(default_factory=dict)
    telemetry: list[SnnTelemetry] = field(default_factory=list)
    firing_rates: dict[str, list[float]] = field(default_factory=dict)
    clocks: dict[str, ClockFigures] = field(default_factory=dict)
    temperature_celsius: tuple[float, float] = (math.nan, math.nan)
    thermal: ThermalCompensation | None = None
    thermal_states: list[int] = field(default_factory=list)
    canary: CanaryReport | None = None
    alarms: Counter[str] = field(default_factory=Counter)
    manager: dict[str, dict[str, str]] = field(default_factory=dict)
    unreadable: int = 0
    time_is_sensor: bool = True
    unmatched_gestures: int = 0

    @property
    def epochs(self) -> int:
        """How often the camera was activated."""
        return len({window.epoch for window in self.windows})

    def total(self, name: str) -> int:
        """Add up one figure of all windows."""
        return sum(int(getattr(window, name)) for window in self.windows)

    @property
    def events_outside(self) -> int:
        """Events that the camera read and that are in no window: dropped before windowing, or withheld."""
        return sum(
            integer(books, "events_withheld")
            + sum(integer(books, name) for name in books if name.startswith("events_dropped_"))
            for books in self.camera.values()
        )

    @property
    def windows_without_gesture(self) -> int:
        """Windows in the bag that no gesture answers."""
        return sum(window.decided is None for window in self.windows)

    def telemetry_total(self, name: str) -> int:
        """Add up a counter of the network over its restarts."""
        return sum(int(getattr(message, name)) for message in self.telemetry)

    @property
    def labelled(self) -> list[Window]:
        """Windows whose gesture is known."""
        return [window for window in self.windows if window.truth is not None and window.truth >= 0]

    @property
    def window_accuracy(self) -> float:
        """Share of the labelled windows that were recognised; no decision counts as wrong; NaN = none labelled."""
        labelled = self.labelled
        return sum(w.decided == w.truth for w in labelled) / len(labelled) if labelled else math.nan

    @property
    def segments(self) -> list[Segment]:
        """Return the labelled stretches and the majority of what they were taken for."""
        found: list[Segment] = []
        start = 0
        for index in range(1, len(self.windows) + 1):
            if index < len(self.windows) and self.windows[index].truth == self.windows[start].truth:
                continue
            truth = self.windows[start].truth
            if truth is not None and truth >= 0:
                votes = Counter(
                    w.decided for w in self.windows[start:index] if w.decided is not None and w.decided >= 0
                )
                # The lower index wins a tie, so that the same bag always gives the same answer.
                best = min(votes, key=lambda c: (-votes[c], c)) if votes else -1
                found.append(Segment(truth, best, start, index - 1))
            start = index
        return found

    @property
    def segment_accuracy(self) -> float:
        """Share of the segments whose majority is right; NaN = nothing labelled."""
        segments = self.segments
        return sum(s.decided == s.truth for s in segments) / len(segments) if segments else math.nan

    @property
    def decided_accuracy(self) -> float:
        """Share of the labelled windows with a decision that were recognised; NaN = none."""
        decided = [window for window in self.labelled if window.decided is not None and window.decided >= 0]
        return sum(w.decided == w.truth for w in decided) / len(decided) if decided else math.nan

    def received_s(self) -> NDArray[np.float64]:
        """Return the known delays from a window's closing to its gesture in another process [s]."""
        values = np.array([window.received_s for window in self.windows], float)
        return values[np.isfinite(values)]

    def latency_s(self) -> NDArray[np.float64]:
        """Return the known latencies, in the order of windows [s]."""
        values = np.array([window.latency_s for window in self.windows], float)
        return values[np.isfinite(values)]

    def label(self, index: int) -> str:
        """Return the label of a class index."""
        return "no decision" if index < 0 else self.labels.get(index) or f"class {index}"

    def problems(self) -> list[str]:
        """List what does not add up, one line each; empty = every event and window is accounted for."""
        return list(_problems(self))


def integer(values: Mapping[str, str], name: str) -> int:
    """Return a figure of a diagnostic status as an integer; 0 when it is missing or none."""
    try:
        return int(values.get(name, "0"))
    except ValueError:
        return 0


def _under_way(summary: Summary) -> int:
    """Count the windows at the very end that the network had no time to answer, because the run was stopped."""
    if any(books.get("state") == "finished" for books in summary.camera.values()):
        return 0
    answered = [index for index, window in enumerate(summary.windows) if window.decided is not None]
    return len(summary.windows) - 1 - answered[-1] if answered else 0


def _problems(summary: Summary) -> Iterator[str]:
    wrong = sum(w.events_in != w.events_binned + w.events_filtered + w.events_dropped for w in summary.windows)
    if wrong:
        yield f"{wrong} windows whose events do not add up"
    if summary.windows_missing:
        yield f"{summary.windows_missing} windows are missing in the bag, in {summary.sequence_gaps} gaps"
    if summary.unreadable:
        yield f"{summary.unreadable} messages of the bag cannot be read"
    for epoch, books in summary.camera.items():
        if "events_read" not in books:
            continue
        mine = [window for window in summary.windows if window.epoch == epoch]
        known = sum(integer(books, n) for n in books if n.startswith("events_dropped_"))
        known += integer(books, "events_withheld") + integer(books, "events_pending")
        read, held = integer(books, "events_read"), sum(window.events_in for window in mine)
        # Diagnostics come once a second: unless the source has finished, windows after the last one are ahead of it.
        if books.get("state") == "finished" and read != held + known:
            rest = read - held - known
            yield f"events read {read}, in windows {held}, withheld or dropped {known}: {rest} unexplained"
        elif books.get("state") != "finished" and read > held + known:
            yield f"events read {read} by the last diagnostics, in windows {held}, withheld or dropped {known}"
    silent = summary.windows_without_gesture - _under_way(summary)
    told = summary.telemetry_total("windows_lost") + summary.telemetry_total("windows_skipped")
    if silent > told:
        yield f"{silent} windows without a gesture, of which the network counted {told} as lost or skipped"
    if summary.unmatched_gestures:
        yield f"{summary.unmatched_gestures} gestures for windows that the bag does not hold"
