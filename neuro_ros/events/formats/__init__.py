# SPDX-License-Identifier: Apache-2.0
"""The formats that recordings come in, recognised by their first bytes, or by their suffix where those tell nothing.

A new one is a module here and one line in `FORMATS`; a format that is written is
one line in `WRITERS` too. What is recognised but not read stands in `_FOREIGN`,
so that the refusal can name it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neuro_ros.events.encodings import ENCODINGS
from neuro_ros.events.formats import aedat2, aedat3, aedat4, atis_bin, dat, event_stream, hdf5, npz, raw, rosbag2
from neuro_ros.events.formats.aedat4_writer import Aedat4Writer
from neuro_ros.events.formats.base import OpenOptions, Recording, RecordingWriter
from neuro_ros.events.types import RecordingError

__all__ = ["FORMATS", "WRITERS", "Recording", "RecordingWriter", "create_recording", "open_recording"]

_HEAD_BYTES = 1 << 14
# Of a refusal, beside the path.
_REFUSAL_CHARACTERS = 280


@dataclass(frozen=True)
class Format:
    """One format.

    Parameters
    ----------
    name : str
        For people.
    matches : callable
        Tells by the first bytes of a file.
    open : callable
        ``(path, OpenOptions)`` to a `Recording`.
    suffixes : tuple of str
        In lower case, with the dot; for formats without a signature, looked at when no signature matched and
        no encoding was given.
    encoding : str, optional
        Name by which the user can ask for a format without a signature, whatever the file's suffix.
    """

    name: str
    matches: Callable[[bytes], bool]
    open: Callable[[Path, OpenOptions], Recording]
    suffixes: tuple[str, ...] = ()
    encoding: str | None = None


def _never(head: bytes) -> bool:  # noqa: ARG001 - of the interface
    """Recognise nothing, for a format without a signature."""
    return False


FORMATS = (
    Format("DAT", dat.matches, dat.open_dat),  # before RAW, which has header lines like it
    Format("RAW (EVT2, EVT2.1, EVT3)", raw.matches, raw.open_raw),
    Format("AEDAT 2.0", aedat2.matches, aedat2.open_aedat2),
    Format("AEDAT 3", aedat3.matches, aedat3.open_aedat3),
    Format("AEDAT4", aedat4.matches, aedat4.open_aedat4),
    Format("rosbag2 (sqlite3, mcap) with EventPacket", rosbag2.matches, rosbag2.open_bag),
    Format("npz", npz.matches, npz.open_npz),
    Format("Event Stream", event_stream.matches, event_stream.open_event_stream),
    Format("HDF5", hdf5.matches, hdf5.open_hdf5),
    Format("N-MNIST .bin", _never, atis_bin.open_atis_bin, atis_bin.SUFFIXES, atis_bin.ENCODING),
)

# First bytes of what other programs write and this package does not read.
_FOREIGN = (
    (b"#!AER-DAT1", "AEDAT 1.0"),
    (b"#ROSBAG V", "a ROS 1 bag"),
)

#: What can be written: format name to ``(path, width, height)`` to a `RecordingWriter`.
WRITERS: dict[str, Callable[[Path, int, int], RecordingWriter]] = {
    "evt2": partial(raw.RawWriter, encoding="evt2"),
    "evt21": partial(raw.RawWriter, encoding="evt21"),
    "evt21_legacy": partial(raw.RawWriter, encoding="evt21_legacy"),
    "evt3": partial(raw.RawWriter, encoding="evt3"),
    "npz": npz.NpzWriter,
    "aedat4": Aedat4Writer,
    "rosbag2": rosbag2.BagWriter,
    "rosbag2-sqlite3": partial(rosbag2.BagWriter, storage="sqlite3"),
}

_SUFFIXES = {".aedat4": "aedat4", ".raw": "evt3", ".npz": "npz", "": "rosbag2"}


def _what_is_read() -> str:
    """List the formats, for a refusal."""
    return f"read are {', '.join(entry.name for entry in FORMATS)}"


def open_recording(
    path: str | os.PathLike[str],
    encoding: str | None = None,
    width: int | None = None,
    height: int | None = None,
    topic: str | None = None,
) -> Recording:
    """Open a recording of events, whatever its format.

    Parameters
    ----------
    path : path-like
        A file, or the directory of a bag.
    encoding : str, optional
        A name in `neuro_ros.events.ENCODINGS`, for words without a header, or that of a format without a
        signature (``nmnist``).
    width, height : int, optional
        Of the sensor [px], where the recording does not tell.
    topic : str, optional
        Which one, where a bag holds several.

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        One line: what is missing, foreign, contradictory or not readable.
    """
    path = Path(path)
    options = OpenOptions(encoding, width, height, topic)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            if not rosbag2.is_bag_directory(path):
                raise RecordingError(f"{path}: a directory, but no bag; {_what_is_read()}")
            return rosbag2.open_bag(path, options)
        if not stat.S_ISREG(mode):
            raise RecordingError(f"{path}: not a regular file")
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        return _open_file(path, head, options)
    except RecordingError as error:
        # What a file says of itself, and what libraries say of the file, may be anything.
        raise RecordingError(_brief(str(error), len(str(path)) + _REFUSAL_CHARACTERS)) from error
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from error


def _brief(text: str, limit: int) -> str:
    """Write a text on one line of at most so many characters that can be printed."""
    line = "".join(character if character.isprintable() else "?" for character in " ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _open_file(path: Path, head: bytes, options: OpenOptions) -> Recording:
    if not head:
        raise RecordingError(f"{path}: the file is empty")
    for entry in FORMATS:
        if entry.matches(head):
            return entry.open(path, options)
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise RecordingError(f"{path}: this is {name}, which is not read; {_what_is_read()}")
    for entry in FORMATS:
        if entry.encoding is not None and options.encoding is not None and options.encoding.lower() == entry.encoding:
            return entry.open(path, options)
        if options.encoding is None and path.suffix.lower() in entry.suffixes:
            return entry.open(path, options)
    if options.encoding is not None:
        return raw.open_headerless(path, options)
    names = sorted({*ENCODINGS, *(entry.encoding for entry in FORMATS if entry.encoding is not None)})
    raise RecordingError(
        f"{path}: not recognised; {_what_is_read()}; for words without a header give --encoding "
        f"({', '.join(names)}), --width and --height"
    )


def create_recording(path: str | os.PathLike[str], width: int, height: int, form: str | None = None) -> RecordingWriter:
    """Begin to write a recording; what was at `path` stays until the writer is closed.

    Parameters
    ----------
    path : path-like
    width, height : int
        Of the sensor [px].
    form : str, optional
        A name in `WRITERS`; by default after the suffix, a name without one being a bag.

    Returns
    -------
    RecordingWriter

    Raises
    ------
    RecordingError
        When the format is unknown or the place cannot be written.
    """
    path = Path(path)
    name = form if form is not None else _SUFFIXES.get(path.suffix.lower())
    if name not in WRITERS:
        what = f"format {form!r}" if form is not None else f"a file named {path.name!r}"
        raise RecordingError(f"{path}: {what} is not written; written are {', '.join(WRITERS)}")
    try:
        return WRITERS[name](path, width, height)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from error
