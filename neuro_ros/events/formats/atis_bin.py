# SPDX-License-Identifier: Apache-2.0
"""The files of N-MNIST and N-Caltech101 (``.bin``, also ``.bs2``): five bytes an event, and nothing else.

x, y, then the polarity in bit 7 and the upper seven of 23 time bits, then the
other 16, big-endian, in microseconds. The time starts over after 8.4 s and is
unwrapped by the half-range rule. y = 240, which no ATIS has, is no event: it says
that 8192 us are to be added to all times from there on.

Nothing tells the size of the sensor. Without ``--width`` and ``--height`` the
largest coordinates of the whole file choose the smallest that fits: 34x34 as
N-MNIST, 240x180 as N-Caltech101, 256x240 as all that the bytes can say.

Nothing marks such a file either. By its suffix alone one is taken only when it is
made of whole events whose times hardly ever step back; ``--encoding nmnist``
takes any.

References
----------
Orchard et al., "Converting static image datasets to spiking neuromorphic
datasets using saccades", Front. Neurosci. 9:437, 2015, doi:10.3389/fnins.2015.00437,
and the descriptions and readers published with the data sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import no_type_check

import numba
import numpy as np

from neuro_ros.events.encodings.base import OUT_OF_AREA, TIME_WRAPS, WordDecoder
from neuro_ros.events.formats.base import OpenOptions
from neuro_ros.events.formats.records import StreamRecording, unwrap
from neuro_ros.events.types import RecordingError

__all__ = ["ENCODING", "SUFFIXES", "AtisBinDecoder", "AtisBinRecording", "open_atis_bin"]

ENCODING = "nmnist"
SUFFIXES = (".bin", ".bs2")

_EVENT_BYTES = 5
_OVERFLOW_Y = 240
_SENSORS = ((34, 34), (240, 180), (256, 240))
_SCAN_EVENTS = 1 << 16
# More steps back than one in so many events make a file something else; random bytes step back at every other.
_LEAST_EVENTS_A_STEP_BACK = 20

_LAST, _ADDED = range(2)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(data, state, counts, width, height, events, triggers):  # noqa: ARG001 - of the interface
    last = state[_LAST]
    added = state[_ADDED]
    event_count = 0
    used = min(len(data) // 5, len(events))
    for index in range(used):
        place = 5 * index
        x = np.int64(data[place])
        y = np.int64(data[place + 1])
        high = np.int64(data[place + 2])
        raw = ((high & 0x7F) << 16) | (np.int64(data[place + 3]) << 8) | np.int64(data[place + 4])
        time = unwrap(raw, last, 1 << 23)
        counts[TIME_WRAPS] += np.int64(last >= 0 and time >> 23 > last >> 23)
        last = time
        if y == 240:
            added += 8192
            counts[TIME_WRAPS] += 1
            continue
        events[event_count, 0] = (time + added) * 1000
        events[event_count, 1] = x | (y << 16) | ((high >> 7) << 32)
        good = np.int64(x < width) & np.int64(y < height)
        event_count += good
        counts[OUT_OF_AREA] += 1 - good
    state[_LAST] = last
    state[_ADDED] = added
    return used, event_count, 0


class AtisBinDecoder(WordDecoder):
    """Decodes events of five bytes.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    """

    word_bytes = _EVENT_BYTES
    word_dtype = np.dtype("u1")
    initial_state = (-1, 0)
    synchronised_slots = ()
    kernel = staticmethod(_decode)


class AtisBinRecording(StreamRecording):
    """Events of a file without a header."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(path, ENCODING, width, height, 0)

    def _decoder(self) -> AtisBinDecoder:
        return AtisBinDecoder(self.width, self.height)


def _scan(path: Path) -> tuple[int, int, int, int]:
    """Read a file through; return its events, the steps back among them, and the largest x and y."""
    events = backwards = largest_x = largest_y = 0
    last = -1
    with path.open("rb", buffering=0) as stream:
        while data := stream.read(_EVENT_BYTES * _SCAN_EVENTS):
            bytes_ = np.frombuffer(data, np.uint8, len(data) - len(data) % _EVENT_BYTES).reshape(-1, _EVENT_BYTES)
            if not len(bytes_):
                break
            parts = bytes_[:, 2:].astype(np.int32)
            times = ((parts[:, 0] & 0x7F) << 16) | (parts[:, 1] << 8) | parts[:, 2]
            steps = np.diff(times, prepend=times[0] if last < 0 else last)
            backwards += int(np.count_nonzero((steps & 0x7FFFFF) >= 1 << 22))
            last = int(times[-1])
            events += len(bytes_)
            largest_x = max(largest_x, int(bytes_[:, 0].max()))
            rows = bytes_[bytes_[:, 1] != _OVERFLOW_Y, 1]
            largest_y = max(largest_y, int(rows.max(initial=0)))
    return events, backwards, largest_x, largest_y


def open_atis_bin(path: Path, options: OpenOptions) -> AtisBinRecording:
    """Open a file of bare events.

    Raises
    ------
    RecordingError
        When only the suffix speaks for the format and the content speaks against it.
    """
    size = path.stat().st_size
    width, height = options.width, options.height
    stated = options.encoding is not None
    if stated and width is not None and height is not None:
        return AtisBinRecording(path, width, height)
    events, backwards, largest_x, largest_y = _scan(path)
    if not stated:
        why = ""
        if size % _EVENT_BYTES:
            why = f"{size} bytes are no whole number of events"
        elif backwards > 1 + events // _LEAST_EVENTS_A_STEP_BACK:
            why = f"its times would step back {backwards} times in {events} events"
        if why:
            raise RecordingError(
                f"{path}: not a file of {_EVENT_BYTES}-byte events as in N-MNIST, although its suffix says so: {why}; "
                f"name what it holds with --encoding, {ENCODING} included"
            )
    found = next((side for side in _SENSORS if largest_x < side[0] and largest_y < side[1]), _SENSORS[-1])
    return AtisBinRecording(path, found[0] if width is None else width, found[1] if height is None else height)
