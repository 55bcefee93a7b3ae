# SPDX-License-Identifier: Apache-2.0
"""Reads a bag of the graph once and fills in the figures of a run.

How the figures are derived and shown is not known here, see `neuro_ros.bringup.summary`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from neuro_ros.bringup.bag import Bag, BagError
from neuro_ros.bringup.summary import ClockFigures, Summary, Window, integer
from neuro_ros.cores.messages import (
    CanaryReport,
    ClockModel,
    Gesture,
    SnnTelemetry,
    SpikeTensor,
    Temperature,
    ThermalCompensation,
)

__all__ = ["summarise"]

_NS_PER_S = 1_000_000_000
_LONGEST_DELAY_NS = 60 * _NS_PER_S
_DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"


def summarise(path: str | os.PathLike[str]) -> Summary:
    """Read a bag of the graph and compute its figures.

    Raises
    ------
    BagError
        The bag cannot be opened, or holds no message of the graph.
    """
    collector = _Collector(str(path))
    with Bag(os.fspath(path)) as bag:
        wanted = {topic.name for cls in _COLLECTED for topic in bag.of_type(cls)}
        wanted |= {topic.name for topic in bag.topics if topic.type == _DIAGNOSTICS}
        if not any(bag.of_type(cls) for cls in (SpikeTensor, Gesture)):
            held = ", ".join(f"{topic.name} ({topic.type})" for topic in bag.topics if topic.count) or "no messages"
            raise BagError(f"{bag.path}: neither spike tensors nor gestures to report on; it holds {held}")
        for item in bag.messages(wanted):
            collector.take(item.topic, item.message, item.time_ns)
        return collector.finish(bag)


_COLLECTED: Sequence[type] = (
    SpikeTensor,
    Gesture,
    SnnTelemetry,
    ClockModel,
    Temperature,
    ThermalCompensation,
    CanaryReport,
)


class _Collector:
    """Takes messages in recorded order and keeps what the summary needs."""

    def __init__(self, path: str) -> None:
        self._summary = Summary(path)
        self._windows: dict[tuple[str, int, int], Window] = {}
        self._sensor_ns: list[int] = []
        self._host_ns: list[int] = []
        self._gestures: dict[tuple[str, int, int], tuple[Gesture, int]] = {}
        self._truths: dict[tuple[str, int, int], Gesture] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._last_telemetry: SnnTelemetry | None = None

    def take(self, topic: str, message: Any, time_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = time_ns
        self._last_ns = max(self._last_ns, time_ns)
        summary = self._summary
        if isinstance(message, SpikeTensor):
            self._window(message, time_ns)
        elif isinstance(message, Gesture):
            self._gesture(topic, message, time_ns)
        elif isinstance(message, SnnTelemetry):
            self._telemetry(message)
        elif isinstance(message, ClockModel):
            figures = summary.clocks.setdefault(message.clock_id, ClockFigures())
            figures.states[message.state] += 1
            figures.last = message
            figures.time_s.append((time_ns - self._first_ns) / _NS_PER_S)
            figures.sigma_ns.append(message.sigma_ns)
        elif isinstance(message, Temperature):
            if math.isfinite(message.temperature):
                low, high = summary.temperature_celsius
                summary.temperature_celsius = (
                    float(np.fmin(low, message.temperature)),
                    float(np.fmax(high, message.temperature)),
                )
        elif isinstance(message, ThermalCompensation):
            summary.thermal = message
            known = math.isfinite(message.temperature_celsius)  # until then it waits for a reading
            if known and summary.thermal_states[-1:] != [message.state]:
                summary.thermal_states.append(message.state)
        elif isinstance(message, CanaryReport):
            summary.canary = message
            summary.alarms.update(message.alarms)
        else:
            self._diagnostics(message)

    def _window(self, message: SpikeTensor, time_ns: int) -> None:
        key = (message.header.frame_id, message.epoch, message.sequence)
        if key in self._windows:
            self._summary.repeated_windows += 1
            return
        self._summary.windows_withheld += message.windows_withheld
        self._sensor_ns.append(message.sensor_end_ns)
        self._host_ns.append(time_ns)
        self._windows[key] = Window(
            epoch=message.epoch,
            sequence=message.sequence,
            time_s=0.0,
            events_in=message.events_in,
            events_binned=message.events_binned,
            events_filtered=message.events_filtered,
            events_dropped=message.events_dropped,
            length_s=(message.sensor_end_ns - message.sensor_start_ns) / _NS_PER_S,
            complete=message.complete,
            closed_ns=message.closed_at,
        )

    def _gesture(self, topic: str, message: Gesture, time_ns: int) -> None:
        key = (message.header.frame_id, message.epoch, message.sequence)
        if message.class_index >= 0 and message.label:
            self._summary.labels[message.class_index] = message.label
        name = topic.rsplit("/", 1)[-1]
        if name == "truth":
            self._truths[key] = message
        elif name != "shadow":
            self._summary.gestures += 1
            self._gestures[key] = (message, time_ns)

    def _telemetry(self, message: SnnTelemetry) -> None:
        if message.arm not in ("", "live"):  # a second model runs on the same windows; its books are not the graph's
            return
        last = self._last_telemetry
        # Counters that step back belong to a network that was started anew.
        if last is not None and message.windows_in < last.windows_in:
            self._summary.telemetry.append(last)
        self._last_telemetry = message
        for layer, rate in zip(message.layer, message.firing_rate, strict=False):
            if math.isfinite(rate):
                self._summary.firing_rates.setdefault(layer, []).append(rate)

    def _diagnostics(self, message: Any) -> None:
        for status in message.status:
            node, _, name = status.name.partition(": ")
            values = {item.key: item.value for item in status.values}
            if name == "source" and "epoch" in values:
                self._summary.camera.setdefault(integer(values, "epoch"), {}).update(values)
                self._epoch = integer(values, "epoch")
            elif name == "windows" and "events_read" in values and self._summary.camera:
                # The same message as `source` of the same node, which comes first and names the epoch.
                self._summary.camera[self._epoch].update(values)
            elif node == "lifecycle_manager":
                self._summary.manager[name] = {**values, "message": status.message}

    def finish(self, bag: Bag) -> Summary:
        summary = self._summary
        summary.unreadable = bag.unreadable
        summary.topics = {topic.name: topic.count for topic in bag.topics if topic.count}
        if self._last_telemetry is not None:
            summary.telemetry.append(self._last_telemetry)
        if self._first_ns is not None:
            summary.duration_s = (self._last_ns - self._first_ns) / _NS_PER_S
        self._place_windows()
        for key, (message, received_ns) in self._gestures.items():
            window = self._windows.get(key)
            if window is None:
                summary.unmatched_gestures += 1
                continue
            window.decided = message.class_index
            window.confidence = message.confidence
            window.latency_s = message.latency_s
            delay_ns = received_ns - window.closed_ns
            # A bag of another clock (simulated time, a replay) says nothing about this.
            if window.closed_ns and 0 <= delay_ns < _LONGEST_DELAY_NS:
                window.received_s = delay_ns / _NS_PER_S
        for key, message in self._truths.items():
            if key in self._windows:
                self._windows[key].truth = message.class_index
        ordered = sorted(self._windows.items(), key=lambda item: item[0])
        for (key, window), (next_key, following) in pairwise(ordered):
            if key[:2] == next_key[:2] and following.sequence > window.sequence + 1:
                summary.sequence_gaps += 1
                summary.windows_missing += following.sequence - window.sequence - 1
        starts = {key[:2]: window.sequence for key, window in reversed(ordered)}
        missing_at_start = sum(starts.values())
        summary.windows_missing += missing_at_start
        summary.sequence_gaps += sum(1 for first in starts.values() if first)
        summary.windows = [window for _, window in ordered]
        return summary

    def _place_windows(self) -> None:
        """Put the windows on a time axis: sensor time, or the bag's where sensor time starts over."""
        if not self._windows:
            return
        sensor = np.array(self._sensor_ns, np.int64)
        self._summary.time_is_sensor = bool(np.all(np.diff(sensor) > 0))
        times = sensor if self._summary.time_is_sensor else np.array(self._host_ns, np.int64)
        windows = list(self._windows.values())
        origin = int(times[0]) - round(windows[0].length_s * _NS_PER_S)
        for window, time_ns in zip(windows, times.tolist(), strict=True):
            window.time_s = (time_ns - origin) / _NS_PER_S
