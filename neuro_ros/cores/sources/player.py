# SPDX-License-Identifier: Apache-2.0
"""Hands out the slices of a source at the pace of sensor time, or as they come where the source is a camera."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources.base import Slice, Source, StopEvent
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE

__all__ = ["Player"]

_NS_PER_S = 1_000_000_000
#: How long a camera that has said nothing is left alone [s]: short against a window, long against a system call.
_POLL_S = 0.001


class Player:
    """Hands out the slices of a source when they are due.

    Parameters
    ----------
    source : Source
        Played, not closed.
    parameters : EventCameraParameters
        ``rate``, ``loop``, ``max_gap_s``, ``window_length_ns``.
    clock_ns : Callable[[], int]
        Monotonic host clock [ns].

    Attributes
    ----------
    lag_s : float
        How far the last slice came behind its time [s].
    max_lag_s : float
        The worst of them.
    passes : int
        Times that the source was played to its end.
    """

    def __init__(
        self,
        source: Source,
        parameters: EventCameraParameters,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._parameters = parameters
        self._clock_ns = clock_ns
        self._origin: tuple[int, int] | None = None
        self._last_until_ns = 0
        self.lag_s = self.max_lag_s = 0.0
        self.passes = 0

    def play(self, stop: StopEvent) -> Iterator[Slice]:
        """Yield slices, each not before it is due, until the source ends or `stop` is set.

        Yields
        ------
        Slice
            With ``loop`` sensor time goes on growing from pass to pass, by whole windows.

        Raises
        ------
        RecordingError
            When the source cannot go on.
        """
        shift_ns = 0
        while not stop.is_set():
            first_ns: int | None = None
            until_ns = 0
            for piece in self._source.slices():
                if piece is None:
                    if stop.wait(_POLL_S):
                        return
                    continue
                if first_ns is None:
                    first_ns = self._window_start(piece.until_ns - 1)
                shifted = _shifted(piece, shift_ns)
                if not self._wait(shifted.until_ns, stop):
                    return
                yield shifted
                until_ns = max(until_ns, piece.until_ns)
            self.passes += 1
            if not self._parameters.loop or first_ns is None:
                return
            length_ns = self._parameters.window_length_ns
            shift_ns += self._window_start(until_ns - 1) + length_ns - first_ns

    def _window_start(self, time_ns: int) -> int:
        length_ns = self._parameters.window_length_ns
        return time_ns // length_ns * length_ns

    def _wait(self, until_ns: int, stop: StopEvent) -> bool:
        """Wait until sensor time `until_ns` is due; False when stopped."""
        rate = self._parameters.rate
        if rate <= 0.0 or self._source.live:
            return not stop.is_set()
        now_ns = self._clock_ns()
        step_ns = until_ns - self._last_until_ns
        self._last_until_ns = until_ns
        if self._origin is None or step_ns < 0 or step_ns > self._parameters.max_gap_s * _NS_PER_S:
            # The first slice, or a jump in time: it is due when it would have been full.
            self._origin = (until_ns - self._source.slice_ns, now_ns)
        origin_sensor_ns, origin_host_ns = self._origin
        due_ns = origin_host_ns + round((until_ns - origin_sensor_ns) / rate)
        while due_ns > now_ns:
            if stop.wait((due_ns - now_ns) / _NS_PER_S):
                return False
            now_ns = self._clock_ns()
        self.lag_s = (now_ns - due_ns) / _NS_PER_S
        self.max_lag_s = max(self.max_lag_s, self.lag_s)
        return not stop.is_set()


def _shifted(piece: Slice, shift_ns: int) -> Slice:
    """Return a slice with all its times moved; the source's own memory is left alone."""
    if not shift_ns:
        return piece
    batch = piece.batch
    events = np.array(batch.events, EVENT_DTYPE)
    triggers = np.array(batch.triggers, TRIGGER_DTYPE)
    events["t"] += shift_ns
    triggers["t"] += shift_ns
    moved = dataclasses.replace(batch, events=events, triggers=triggers)
    return Slice(moved, piece.until_ns + shift_ns, piece.label)
