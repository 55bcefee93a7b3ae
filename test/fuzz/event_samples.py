# SPDX-License-Identifier: Apache-2.0
"""A small recording in every format and a short stream in every encoding, to be damaged.

What the package writes itself is written with that. The other formats are made
here byte by byte. A new format or encoding without an entry fails a test
(`test/unit/events/test_fuzz.py`), so that none is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.events import ENCODINGS, EVENT_DTYPE, TRIGGER_DTYPE, WRITERS, create_recording
from neuro_ros.events.formats import FORMATS
from neuro_ros.events.types import RecordingError, empty_triggers

WIDTH, HEIGHT = 320, 240
FIRST_US = 10_000_000
COUNT = 600


def make_events(count: int = COUNT, width: int = WIDTH, height: int = HEIGHT, first_us: int = FIRST_US) -> np.ndarray:
    """Make a second of events in whole microseconds, in clusters of a row."""
    rng = np.random.default_rng(count)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = (first_us + np.sort(rng.integers(0, 1_000_000, -(-count // 6))).repeat(6)[:count]) * 1000
    events["y"] = rng.integers(0, height, -(-count // 6)).repeat(6)[:count]
    events["x"] = np.sort(rng.integers(0, width, (-(-count // 6), 6)), axis=1).ravel()[:count]
    events["p"] = rng.integers(0, 2, -(-count // 3)).repeat(3)[:count]
    return events


def make_triggers(events: np.ndarray) -> np.ndarray:
    """Make a few triggers among the events."""
    triggers = np.zeros(4, TRIGGER_DTYPE)
    triggers["t"] = events["t"][:: len(events) // 4][:4]
    triggers["edge"] = [1, 0, 1, 0]
    return triggers


# --- encodings --------------------------------------------------------------------------------------------------------
def _triggers_of_old() -> list[tuple[bytes, int]]:
    """Make packets of the encoding ``trigger``, which is read only: the edge in bit 63, nanoseconds below."""
    return [(b"".join(struct.pack("<Q", (n & 1) << 63 | n * 1000) for n in range(40)), 10**15 + k) for k in range(4)]


#: Of encodings that are read only: packets, each a payload and its time base [ns].
READ_ONLY_ENCODINGS: dict[str, Callable[[], list[tuple[bytes, int]]]] = {"trigger": _triggers_of_old}


def encoding_packets(name: str, count: int = COUNT) -> list[tuple[bytes, int]]:
    """Return the same stream in packets of one encoder; each is a payload and its time base [ns]."""
    if name in READ_ONLY_ENCODINGS:
        return READ_ONLY_ENCODINGS[name]()
    encoder = ENCODINGS[name].encoder()
    events = make_events(count)
    packets = []
    for number, part in enumerate(np.array_split(events, 4)):
        triggers = make_triggers(events) if number == 0 else empty_triggers()
        try:
            packets.append(_encode(encoder, part, triggers[triggers["t"] <= part["t"][-1]]))
        except RecordingError:  # triggers have no place in some
            packets.append(_encode(encoder, part, empty_triggers()))
    return packets


def encode_alone(name: str, part: int, count: int = COUNT) -> tuple[bytes, int]:
    """Return one of four parts of the stream as an encoder of its own writes it: payload and time base [ns]."""
    return _encode(ENCODINGS[name].encoder(), np.array_split(make_events(count), 4)[part], empty_triggers())


def _encode(encoder: Any, events: np.ndarray, triggers: np.ndarray) -> tuple[bytes, int]:
    if hasattr(encoder, "encode_packet"):
        return encoder.encode_packet(events, triggers)
    return encoder.encode(events, triggers), 0


# --- formats that are not written -------------------------------------------------------------------------------------
def _dat(path: Path, events: np.ndarray) -> None:
    header = f"% Data file containing CD events\n% Version 2\n% Width {WIDTH}\n% Height {HEIGHT}\n".encode()
    words = (struct.pack("<II", t // 1000, x | y << 14 | p << 28) for t, x, y, p in events.tolist())
    path.write_bytes(header + b"\x0c\x08" + b"".join(words))


def _aedat2(path: Path, events: np.ndarray) -> None:
    header = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
    words = (struct.pack(">II", y << 22 | x << 12 | p << 11, t // 1000) for t, x, y, p in events.tolist())
    path.write_bytes(header + b"".join(words))


def _aedat3(path: Path, events: np.ndarray) -> None:
    parts = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"]
    for part in np.array_split(events, 6):
        parts.append(struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(part), len(part), len(part)))
        parts += [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t // 1000) for t, x, y, p in part.tolist()]
    path.write_bytes(b"".join(parts))


def _event_stream(path: Path, events: np.ndarray) -> None:
    data = bytearray(b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", WIDTH, HEIGHT))
    last_us = FIRST_US
    for t, x, y, p in events.tolist():
        overflows, rest = divmod(t // 1000 - last_us, 127)
        data += b"\xff" * overflows + struct.pack("<BHH", rest << 1 | p, x, y)
        last_us = t // 1000
    path.write_bytes(data)


def _atis_bin(path: Path, events: np.ndarray) -> None:
    rows = ((t // 1000 - FIRST_US, x, y, p) for t, x, y, p in events.tolist())
    path.write_bytes(b"".join(bytes([x, y, p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF]) for t, x, y, p in rows))


def _hdf5(path: Path, events: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"
        table = np.zeros(len(events), [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        for name in ("x", "y", "p"):
            table[name] = events[name]
        table["t"] = events["t"] // 1000
        file.create_dataset("CD/events", data=table, chunks=(200,), maxshape=(None,), compression="gzip")


@dataclass(frozen=True)
class Sample:
    """What makes a recording.

    Parameters
    ----------
    name : str
    write : callable
        ``(path, events)``; of a bag, `path` is a directory.
    suffix : str
    width, height : int
        That its events lie within.
    options : dict
        Of `neuro_ros.events.open_recording`.
    needs : str or None
        A package without which it cannot be made.
    """

    name: str
    write: Callable[[Path, np.ndarray], None]
    suffix: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    options: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None

    def make(self, folder: Path, count: int = COUNT) -> Path:
        """Write the recording into a folder; return the one file of it that holds the events."""
        path = folder / f"sample{self.suffix}"
        self.write(path, make_events(count, self.width, self.height))
        if path.is_dir():
            (path,) = (item for item in path.iterdir() if item.suffix != ".yaml")
        return path


def _writer(form: str) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, events: np.ndarray) -> None:
        with create_recording(path, WIDTH, HEIGHT, form) as writer:
            try:
                writer.write(events, make_triggers(events))
            except RecordingError:  # triggers have no place in some
                writer.write(events)

    return write


def _headerless(path: Path, events: np.ndarray) -> None:
    path.write_bytes(ENCODINGS["evt3"].encoder().encode(events, make_triggers(events)))


_WORDS = {"encoding": "evt3", "width": WIDTH, "height": HEIGHT}

#: By the name of the function that opens the format: samples beside those that `WRITERS` makes.
READ_ONLY = {
    "open_dat": [Sample("dat", _dat, ".dat")],
    "open_aedat2": [Sample("aedat2", _aedat2, ".aedat", 240, 180)],
    "open_aedat3": [Sample("aedat3", _aedat3, ".aedat", 128, 128)],
    "open_event_stream": [Sample("event stream", _event_stream, ".es")],
    "open_atis_bin": [Sample("nmnist", _atis_bin, ".bin", 34, 34)],
    "open_hdf5": [Sample("hdf5", _hdf5, ".h5", needs="h5py")],
    "open_raw": [Sample("words without a header", _headerless, ".bin", options=_WORDS)],
}

#: By the name of the function that opens the format: what writes it.
WRITTEN = {
    "open_raw": ("evt2", "evt3", "evt21", "evt21_legacy"),
    "open_npz": ("npz",),
    "open_aedat4": ("aedat4",),
    "open_bag": ("rosbag2", "rosbag2-sqlite3"),
}


def openers() -> set[str]:
    """Name the functions that open the formats of the package."""
    return {entry.open.__name__ for entry in FORMATS}


def samples() -> dict[str, Sample]:
    """Return what makes a recording, for every format of the package and every way to write one, by name."""
    known = [Sample(form, _writer(form), suffix=f".{form}") for form in WRITERS]
    known += [sample for opener in sorted(openers()) for sample in READ_ONLY.get(opener, ())]
    return {sample.name: sample for sample in known}
