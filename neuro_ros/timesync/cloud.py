# SPDX-License-Identifier: Apache-2.0
"""A bounded window of delays in one direction, of a sensor's samples or of one direction between two hosts.

The window keeps the least delayed point of each bucket of time, which is a selection of the minimum: what a
queue has held up never reaches the line. Buckets double in width when the points become too many, so memory and work
are bounded at any rate. This module refuses to know what the delays mean; all it sees are integers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from neuro_ros.timesync.envelope import Envelope

__all__ = ["DelayCloud"]

#: Width of a bucket before any merging [ns].
_FIRST_BUCKET_NS = 1_000_000


@dataclass(slots=True)
class _Point:
    """The least delayed sample of one bucket."""

    bucket: int
    x: int
    y: int
    count: int


class DelayCloud:
    """Points (time, delay) of one direction.

    Parameters
    ----------
    capacity : int
        Points kept; neighbours are merged beyond.
    least : int
        Points that are kept however old they are, so that something can still be claimed after a pause.

    Attributes
    ----------
    capacity, least : int
        May be changed; hold from the next point on.
    fit : Envelope or None
        The line under the points as far as its owner knows: what is high above it is dropped first.
    """

    def __init__(self, capacity: int, least: int = 1) -> None:
        self.fit: Envelope | None = None
        self.capacity = capacity
        self.least = least
        self._points: deque[_Point] = deque()
        self._bucket_ns = _FIRST_BUCKET_NS
        self._count = 0

    def __len__(self) -> int:
        """Return the number of samples that the window stands for."""
        return self._count

    @property
    def span_ns(self) -> int:
        """Time from the oldest to the newest point [ns]."""
        return self._points[-1].x - self._points[0].x if self._points else 0

    @property
    def newest(self) -> int:
        """Time of the newest point [ns]; 0 without any."""
        return self._points[-1].x if self._points else 0

    def add(self, x: int, y: int, oldest: int) -> None:
        """Take a point that is not older than the newest one, and drop those before `oldest`."""
        points = self._points
        self._count += 1
        bucket = x // self._bucket_ns
        if points and points[-1].bucket >= bucket:
            last = points[-1]
            last.count += 1
            if self._height(x, y) < self._height(last.x, last.y):
                last.x, last.y = x, y
        else:
            points.append(_Point(bucket, x, y, 1))
        while len(points) > self.least and points[0].x < oldest:
            self._count -= points.popleft().count
        while len(self._points) > self.capacity:
            self._merge()

    @property
    def points(self) -> list[tuple[int, int]]:
        """The points, oldest first."""
        return [(point.x, point.y) for point in self._points]

    def _height(self, x: int, y: int) -> int:
        """Height of a point above the present slope, up to a constant."""
        return y - x * self.fit.rise // self.fit.run if self.fit else y

    def _merge(self) -> None:
        """Double the bucket width; of two points that meet in one bucket the less delayed one survives."""
        self._bucket_ns *= 2
        merged: deque[_Point] = deque()
        for point in self._points:
            point.bucket = point.x // self._bucket_ns
            if not merged or merged[-1].bucket != point.bucket:
                merged.append(point)
                continue
            last = merged[-1]
            last.count += point.count
            if self._height(point.x, point.y) < self._height(last.x, last.y):
                last.x, last.y = point.x, point.y
        self._points = merged
