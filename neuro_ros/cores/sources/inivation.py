# SPDX-License-Identifier: Apache-2.0
"""An iniVation camera through ``dv-processing``: on USB, or its stream from the network, a local socket or a file.

UNTESTED ON A CAMERA: there was none. The tests drive it through the same reading calls with a server of
``dv-processing`` in another process and with an AEDAT4 file; what opens a USB camera was only seen to refuse where
there is none.

The library reads the camera in threads of its own and queues what it reads; here it is asked what there is, never
waited for. A camera that goes away is looked for again once a second, for as long as the node is active: the first
batch after that is marked as following a loss.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources.base import Slice
from neuro_ros.errors import NeuroRosError
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import (
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    DecodeCounters,
    EventBatch,
    as_words,
    empty_triggers,
)

__all__ = ["CameraError", "InivationSource"]

_NS_PER_US = 1000
_RETRY_S = 1.0
# Trigger types of external signals, to the edge; a pulse is taken for its rising edge.
_EDGES = {"EXTERNAL_SIGNAL_RISING_EDGE": 1, "EXTERNAL_SIGNAL_FALLING_EDGE": 0, "EXTERNAL_SIGNAL_PULSE": 1}


class CameraError(NeuroRosError):
    """No camera, no library to read it with, or another camera than before."""


class _AbsentError(CameraError):
    """The camera is not there; it may come back."""


def _one_line(error: BaseException) -> str:
    """Return the reason in a message of the library, which also holds source places and a stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("RuntimeError", "IOError", "InvalidArgument"))), "")
    text = reason.partition(": ")[2] or (lines[0] if lines else type(error).__name__)
    return text.partition(" [")[0]


class InivationSource:
    """A camera of iniVation, live.

    Parameters
    ----------
    parameters : EventCameraParameters
        ``inivation.address``: empty = the first camera on USB, ``HOST:PORT`` or the path of a local socket = the
        stream of a ``dv-processing`` server, the path of a file = that recording as fast as it is read, anything
        else = the serial number of a camera on USB.
    clock_s : Callable[[], float]
        Monotonic host clock [s], for the pace of reconnecting.

    Attributes
    ----------
    connections : int
        Times that the camera was found.

    Raises
    ------
    CameraError
        When ``dv-processing`` is not installed, or there is no camera with events.
    """

    live = True
    slice_ns = 1_000_000

    def __init__(self, parameters: EventCameraParameters, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._address = parameters.inivation.address
        self._clock_s = clock_s
        self._counters = DecodeCounters()
        self._events = np.zeros(1 << 14, EVENT_DTYPE)
        self._capture: Any = None
        self._ends = False
        self._retry_s = 0.0
        self.connections = 0
        self.width, self.height = self._connect()

    # ---------------------------------------------------------------- opening

    def _connect(self) -> tuple[int, int]:
        """Open the camera and return its size.

        Raises
        ------
        CameraError
            When it is not there, or has no events.
        """
        try:
            import dv_processing as dv
        except ImportError as error:
            raise CameraError(
                f"source inivation needs dv-processing ({error}); pip install dv-processing, or neuro_ros[inivation]"
            ) from error
        where = f"camera {self._address!r}" if self._address else "an iniVation camera on USB"
        try:
            capture = self._open(dv)
            size = capture.getEventResolution() if capture.isEventStreamAvailable() else None
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            raise _AbsentError(f"{where}: {_one_line(error)}") from error
        if size is None:
            raise _AbsentError(f"{where}: is there, but gives no events")
        self._capture = capture
        self.connections += 1
        return int(size[0]), int(size[1])

    def _open(self, dv: Any) -> Any:
        address = self._address
        if not address:
            if not dv.io.camera.discover():
                raise OSError("none found; is it plugged in, and may this user open it?")
            return dv.io.camera.open()
        path = Path(address)
        if path.exists():
            self._ends = stat.S_ISREG(path.stat().st_mode)
            return dv.io.MonoCameraRecording(address) if self._ends else dv.io.NetworkReader(address)
        if path.is_absolute():
            raise OSError("no such socket or file")
        host, colon, port = address.rpartition(":")
        if colon and port.isdecimal():
            return dv.io.NetworkReader(host, int(port))
        return dv.io.camera.open(address)

    # ---------------------------------------------------------------- reading

    def slices(self) -> Iterator[Slice | None]:
        """Return what the camera gives, None where it has given nothing since.

        Raises
        ------
        CameraError
            While it plays, when a camera of another size is found in place of one that went away.
        """
        counters = self._counters = DecodeCounters()
        if self._capture is None:  # closed after an earlier activation
            self._connect_again()
        backwards = BackwardsCounter()
        newest_ns = 0
        complete = True
        while True:
            if self._capture is None and not self._retry():
                yield None
                continue
            store = self._capture.getNextEventBatch()
            triggers = self._triggers()
            if store is None and not len(triggers):
                if not self._capture.isRunning():
                    if self._ends:
                        return
                    self._lose()
                    complete = False
                    backwards = BackwardsCounter()
                yield None
                continue
            events = self._convert(store.numpy()) if store is not None else self._events[:0]
            counters.non_monotonic += backwards.count(as_words(events))
            if len(events):
                newest_ns = int(events["t"][-1])
            yield Slice(EventBatch(events, triggers, complete), newest_ns)
            complete = True

    def _lose(self) -> None:
        """Give up a camera that has gone away."""
        self._capture = None
        self._counters.lost_packets += 1  # whatever it would have said until it is back
        self._retry_s = self._clock_s() + _RETRY_S

    def _retry(self) -> bool:
        """Look for the camera again, once a second; return True when it is back."""
        if self._clock_s() < self._retry_s:
            return False
        self._retry_s = self._clock_s() + _RETRY_S
        try:
            self._connect_again()
        except _AbsentError:
            return False
        return True

    def _connect_again(self) -> None:
        size = self._connect()
        if size != (self.width, self.height):
            self._capture = None
            raise CameraError(
                f"the camera is now one of {size[0]}x{size[1]} px, it was {self.width}x{self.height}; "
                "configure the node again"
            )

    def _convert(self, source: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """Copy a batch of the library into ours; events beyond the sensor are counted and left out."""
        inside = (source["x"] >= 0) & (source["x"] < self.width) & (source["y"] >= 0) & (source["y"] < self.height)
        if not inside.all():
            self._counters.out_of_area += int(len(source) - np.count_nonzero(inside))
            source = source[inside]
        if len(source) > len(self._events):
            self._events = np.zeros(2 * len(source), EVENT_DTYPE)
        events = self._events[: len(source)]
        events["t"] = source["timestamp"]
        events["t"] *= _NS_PER_US
        events["x"], events["y"], events["p"] = source["x"], source["y"], source["polarity"]
        return events

    def _triggers(self) -> npt.NDArray[np.void]:
        capture = self._capture
        if not capture.isTriggerStreamAvailable():
            return empty_triggers()
        found = [
            (item.timestamp * _NS_PER_US, 0, _EDGES[item.type.name])
            for item in capture.getNextTriggerBatch() or ()
            if item.type.name in _EDGES
        ]
        return np.array(found, TRIGGER_DTYPE) if found else empty_triggers()

    def counters(self) -> DecodeCounters:
        """Return what was met beside good events in this activation."""
        return self._counters

    def close(self) -> None:
        """Let go of the camera; it is opened again by the next :meth:`slices`. Safe twice."""
        self._capture = None
