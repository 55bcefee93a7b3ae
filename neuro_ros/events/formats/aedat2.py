# SPDX-License-Identifier: Apache-2.0
"""AEDAT 2.0, as jAER writes it: text lines that begin with ``#``, then pairs of a 32-bit address and a 32-bit time.

Both are big-endian, the time in microseconds; it starts over after 71.6 min and is
unwrapped by the half-range rule. What the address means is the chip's business,
which the line ``# AEChip:`` names (since 2014); without it ``--width 128 --height
128`` stands for a DVS128 and any other size for a DAVIS.

DVS128: bit 15 external input; y in bits 14-8, x in 7-1, polarity in 0, where 0 is
ON. DAVIS: bit 31 samples of frames and of the inertial unit, which are left out;
bit 10 external input, with 2 falling, 3 rising, 4 pulse in bits 2-0; y in bits
30-22, x in 21-12, polarity in 11, where 1 is ON. Rows count from the bottom and
columns from the right, here as everywhere from the top left.

The vendor's page calls bit 0 of a DVS128 ON where it is 1 and does not mention the
mirrored columns. The software disagrees with it: jAER, which writes and shows
these files, and the vendor's drivers invert that bit and turn the columns round;
so does this module. It has not met a recording of a scene that could tell.

References
----------
iniVation, "AEDAT 2.0" and "AEDAT 1.0 file format" (docs.inivation.com);
the behaviour of jAER's event extractors of these chips.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, no_type_check

import numba
import numpy as np

from neuro_ros.events.encodings.base import ERRORS, OUT_OF_AREA, TIME_WRAPS
from neuro_ros.events.formats.base import OpenOptions
from neuro_ros.events.formats.records import RecordDecoder, RecordRecording, unwrap
from neuro_ros.events.types import RecordingError

__all__ = ["Aedat2Decoder", "Aedat2Recording", "find_sensor", "matches", "open_aedat2", "read_lines"]

_MAGIC = b"#!AER-DAT2"
# A header may hold all the settings of jAER.
_MAX_HEADER_BYTES = 1 << 24
_MAX_LINE_BYTES = 1 << 16
_END_OF_HEADER = re.compile(rb"#\s*(!END-HEADER|End Of ASCII Header)", re.IGNORECASE)

# Sensor sizes by the beginning of the chip's name; the first is the one of the older address layout.
_SENSORS = (
    ("dvs128", 128, 128),
    ("tmpdiff128", 128, 128),
    ("davis128", 128, 128),
    ("davis208", 208, 192),
    ("davis240", 240, 180),
    ("sbret", 240, 180),
    ("davis346", 346, 260),
    ("davis640", 640, 480),
    ("davisrgbw640", 640, 480),
)
_DVS128_NAMES = ("dvs128", "tmpdiff128")

_EIGHT, _SIXTEEN, _HALF = np.uint64(8), np.uint64(16), np.uint64(32)
_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_EVEN_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_LOWER_HALF = np.uint64(0xFFFFFFFF)

_LAST, _KIND = range(2)
_DAVIS, _DVS128 = range(2)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _decode(words, state, counts, width, height, events, triggers):
    last = state[_LAST]
    dvs128 = state[_KIND] == _DVS128
    event_count = 0
    trigger_count = 0
    used = min(len(words), len(events))
    for index in range(used):
        # Big-endian halves in a little-endian word: each has its bytes reversed.
        word = words[np.uintp(index)]
        word = ((word >> _EIGHT) & _EVEN_BYTES) | ((word & _EVEN_BYTES) << _EIGHT)
        word = ((word >> _SIXTEEN) & _EVEN_PAIRS) | ((word & _EVEN_PAIRS) << _SIXTEEN)
        address = np.int64(word & _LOWER_HALF)
        raw = np.int64(word >> _HALF)
        if trigger_count == len(triggers):
            used = index
            break
        time = unwrap(raw, last, 1 << 32)
        counts[TIME_WRAPS] += np.int64(last >= 0 and time >> 32 > last >> 32)
        last = time
        if dvs128:
            if address >> 15 != 0:
                if address >> 15 == 1:
                    triggers[trigger_count, 0] = time * 1000
                    triggers[trigger_count, 1] = 1 << 8
                    trigger_count += 1
                else:
                    counts[ERRORS] += 1
                continue
            x = (address >> 1) & 0x7F
            y = address >> 8
            polarity = 1 - (address & 1)
        else:
            if address >> 31 != 0:
                continue
            if address & 0x400 != 0:
                triggers[trigger_count, 0] = time * 1000
                triggers[trigger_count, 1] = np.int64(address & 7 != 2) << 8
                trigger_count += 1
                continue
            x = (address >> 12) & 0x3FF
            y = address >> 22
            polarity = (address >> 11) & 1
        events[event_count, 0] = time * 1000
        events[event_count, 1] = (width - 1 - x) | ((height - 1 - y) << 16) | (polarity << 32)
        good = np.int64(x < width) & np.int64(y < height)
        event_count += good
        counts[OUT_OF_AREA] += 1 - good
    state[_LAST] = last
    return used, event_count, trigger_count


class Aedat2Decoder(RecordDecoder):
    """Decodes the pairs of address and time.

    Parameters
    ----------
    width, height : int
        Of the sensor [px]; events beyond are counted and dropped.
    kind : int
        0 for a DAVIS, 1 for a DVS128.
    """

    word_dtype = np.dtype("<u8")
    time_dtype = np.dtype(">u4")
    time_place = 1
    initial_state = (-1, _DAVIS)
    kernel = staticmethod(_decode)

    def __init__(self, width: int, height: int, kind: int = _DAVIS) -> None:
        super().__init__(width, height)
        self._state[_KIND] = kind


class Aedat2Recording(RecordRecording):
    """Events and external input of one chip."""

    def __init__(self, path: Path, width: int, height: int, offset: int, kind: int) -> None:
        super().__init__(path, "aedat2", width, height, offset)
        self._kind = kind

    def _decoder(self) -> Aedat2Decoder:
        return Aedat2Decoder(self.width, self.height, self._kind)


def matches(head: bytes) -> bool:
    """Recognise the file by its first bytes."""
    return head.startswith(_MAGIC)


def read_lines(stream: BinaryIO) -> tuple[list[str], int]:
    """Read the lines of a header: those that begin with ``#`` and are text to their end.

    Parameters
    ----------
    stream : binary file
        At its start.

    Returns
    -------
    lines : list of str
        Without the ``#``.
    offset : int
        Where the data begins.
    """
    lines: list[str] = []
    offset = 0
    while offset < _MAX_HEADER_BYTES:
        line = stream.readline(_MAX_LINE_BYTES)
        # The first bytes of the data may look like the start of a line, but hardly like a whole one.
        if not line.startswith(b"#") or not line.endswith(b"\n") or any(byte < 9 for byte in line):
            break
        offset += len(line)
        lines.append(line[1:].decode("latin1").strip())
        if _END_OF_HEADER.match(line):
            break
    return lines, offset


def find_sensor(name: str) -> tuple[int, int] | None:
    """Find a sensor's width and height by a chip's or a source's name, in any case."""
    name = name.lower()
    return next(((width, height) for chip, width, height in _SENSORS if name.startswith(chip)), None)


def open_aedat2(path: Path, options: OpenOptions) -> Aedat2Recording:
    """Open an AEDAT 2.0 file; a given size wins over the chip's.

    Raises
    ------
    RecordingError
        When the chip is not known and no size is given.
    """
    options.refuse_encoding(path, "aedat2")
    with path.open("rb") as stream:
        lines, offset = read_lines(stream)
    named = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("aechip:")), "")
    chip = named.rpartition(".")[2].lower()
    size = find_sensor(chip)
    width = options.width if options.width is not None else size[0] if size else None
    height = options.height if options.height is not None else size[1] if size else None
    if width is None or height is None:
        what = f"the chip {chip} is not known" if chip else "the AEDAT 2.0 header names no chip"
        raise RecordingError(f"{path}: {what}; give --width and --height, 128 and 128 for a DVS128, others for a DAVIS")
    dvs128 = chip.startswith(_DVS128_NAMES) if size else (width, height) == (128, 128)
    return Aedat2Recording(path, width, height, offset, _DVS128 if dvs128 else _DAVIS)
