# SPDX-License-Identifier: Apache-2.0
"""NumPy archives with the columns ``t`` [ns], ``x``, ``y``, ``p`` and the sensor's ``width`` and ``height``.

Optional ``trigger_t``, ``trigger_id``, ``trigger_edge``. The columns are read and
written piece by piece, so that memory does not grow with the file, and only as
plain numbers: a pickle is never opened.
"""

from __future__ import annotations

import ast
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats.base import OpenOptions, Recording, RecordingWriter
from neuro_ros.events.stream import BackwardsCounter
from neuro_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, RecordingError, as_words, empty_triggers

__all__ = ["NpzRecording", "NpzWriter", "matches", "open_npz"]

_MAGIC = b"PK\x03\x04"
_COLUMNS = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "u1"}
_TRIGGER_COLUMNS = {"trigger_t": "<i8", "trigger_id": "u1", "trigger_edge": "u1"}
_MAX_HEADER_BYTES = 4096
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    struct.error,
    OverflowError,
    RuntimeError,  # of what says that it is encrypted, or wants a later version
)


def matches(head: bytes) -> bool:
    """Recognise a zip archive by its first bytes."""
    return head.startswith(_MAGIC)


class _Column:
    """One array of the archive, read from its start on."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        # The other methods of the format reserve as much memory as the file asks for.
        if archive.getinfo(f"{name}.npy").compress_type not in _METHODS:
            raise ValueError(f"{name} is neither stored nor deflated")
        self._stream: IO[bytes] = archive.open(f"{name}.npy")
        self.dtype, self.shape = self._read_header(name)

    def _read_header(self, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        start = self._stream.read(8)
        if len(start) < 8 or not start.startswith(b"\x93NUMPY"):
            raise ValueError(f"{name} is no array")
        width = 2 if start[6] == 1 else 4
        length = int.from_bytes(self._stream.read(width), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"the header of {name} has {length} bytes")
        try:
            header = ast.literal_eval(self._stream.read(length).decode("latin1"))
            dtype, shape = np.dtype(header["descr"]), header["shape"]
        except (SyntaxError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            raise ValueError(f"the header of {name} cannot be read") from error
        if dtype.kind not in "iub" or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"{name} holds {dtype}, not whole numbers")
        return dtype, shape

    @property
    def length(self) -> int:
        """Entries of a one-dimensional array."""
        if len(self.shape) != 1:
            raise ValueError(f"an array has {len(self.shape)} dimensions, not 1")
        return self.shape[0]

    def read(self, count: int) -> npt.NDArray[Any]:
        """Read the next entries, fewer when the file is cut short."""
        data = self._stream.read(count * self.dtype.itemsize)
        return np.frombuffer(data[: len(data) - len(data) % self.dtype.itemsize], self.dtype)

    def close(self) -> None:
        self._stream.close()


def _scalar(archive: zipfile.ZipFile, name: str) -> int:
    column = _Column(archive, name)
    values = column.read(1)
    column.close()
    if column.shape not in ((), (1,)) or len(values) != 1:
        raise ValueError(f"{name} is not one number")
    return int(values[0])


class NpzRecording(Recording):
    """Events of an archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, width: int, height: int, count: int) -> None:
        super().__init__(path, "npz", width, height)
        self._archive = archive
        self._count = count

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:  # noqa: ARG002 - deflated
        archive = self._archive
        buffer = np.zeros(min(max_events, self._count), EVENT_DTYPE)
        backwards = BackwardsCounter()
        done = 0
        columns: dict[str, _Column] = {}
        try:
            columns = {name: _Column(archive, name) for name in _COLUMNS}
            triggers = self._triggers(archive)
            while done < self._count:
                parts = {name: column.read(min(max_events, self._count - done)) for name, column in columns.items()}
                length = min(len(part) for part in parts.values())
                if length == 0:
                    break
                events = buffer[:length]
                inside = np.ones(length, bool)
                for name, limit in (("t", None), ("x", self.width), ("y", self.height), ("p", None)):
                    part = parts[name][:length]
                    if limit is not None:
                        inside &= (part >= 0) & (part < limit)
                    events[name] = part.astype(bool) if name == "p" else part.astype(_COLUMNS[name])
                done += length
                if not inside.all():
                    events = events[inside]
                    self.counters.out_of_area += length - len(events)
                self.counters.non_monotonic += backwards.count(as_words(events))
                yield EventBatch(events, triggers)
                triggers = empty_triggers()
            if len(triggers):
                yield EventBatch(buffer[:0], triggers)
        except _DAMAGE:
            self.counters.errors += 1
        else:
            self.counters.errors += done < self._count
        finally:
            for column in columns.values():
                column.close()

    @staticmethod
    def _triggers(archive: zipfile.ZipFile) -> npt.NDArray[np.void]:
        """Read the triggers, which are few, at once."""
        if not all(f"{name}.npy" in archive.namelist() for name in _TRIGGER_COLUMNS):
            return empty_triggers()
        parts = []
        for name in _TRIGGER_COLUMNS:
            column = _Column(archive, name)
            parts.append(column.read(min(column.length, 1 << 20)))
            column.close()
        triggers = np.zeros(min(len(part) for part in parts), TRIGGER_DTYPE)
        for name, part in zip(("t", "id", "edge"), parts, strict=True):
            triggers[name] = part[: len(triggers)]
        return triggers

    def _release(self) -> None:
        self._archive.close()


def open_npz(path: Path, options: OpenOptions) -> NpzRecording:
    """Open an archive of events.

    Raises
    ------
    RecordingError
        When it is no archive, lacks a column, or the columns differ in length.
    """
    options.refuse_encoding(path, "npz")
    archive = None
    try:
        archive = zipfile.ZipFile(path)
        missing = [name for name in (*_COLUMNS, "width", "height") if f"{name}.npy" not in archive.namelist()]
        if missing:
            raise RecordingError(
                f"{path}: an archive without {', '.join(missing)}; events are t [ns], x, y, p, width, height"
            )
        lengths = set()
        for name in _COLUMNS:
            column = _Column(archive, name)
            lengths.add(column.length)
            column.close()
        if len(lengths) > 1:
            raise RecordingError(f"{path}: the columns differ in length, {sorted(lengths)}")
        return NpzRecording(path, archive, _scalar(archive, "width"), _scalar(archive, "height"), lengths.pop())
    except _DAMAGE as error:
        if archive is not None:
            archive.close()
        raise RecordingError(f"{path}: not readable as npz: {' '.join(str(error).split())}") from error
    except RecordingError:
        if archive is not None:
            archive.close()
        raise


class NpzWriter(RecordingWriter):
    """Writes an archive; the columns wait in temporary files beside it until their length is known."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(path, width, height)
        names = {**_COLUMNS, **_TRIGGER_COLUMNS}
        self._columns = {name: tempfile.TemporaryFile(dir=path.parent) for name in names}  # noqa: SIM115 - until close
        self._lengths = dict.fromkeys(names, 0)
        self._open = True

    def _write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        if not self._open:
            raise RecordingError(f"{self.path}: the recording is closed")
        columns = {name: events[name] for name in _COLUMNS}
        columns |= {f"trigger_{name}": triggers[name] for name in ("t", "id", "edge")}
        for name, column in columns.items():
            self._columns[name].write(np.ascontiguousarray(column).tobytes())
            self._lengths[name] += len(column)

    def close(self) -> None:
        """See `RecordingWriter.close`."""
        if not self._open:
            return
        with zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, kind in {**_COLUMNS, **_TRIGGER_COLUMNS}.items():
                header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (self._lengths[name],)}
                self._columns[name].seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array_header_1_0(stream, header)
                    while data := self._columns[name].read(1 << 20):
                        stream.write(data)
            for name, value in (("width", self.width), ("height", self.height)):
                with archive.open(f"{name}.npy", "w") as stream:
                    np.lib.format.write_array(stream, np.array(value, np.int64))
        with self._partial.open("rb+") as file:
            os.fsync(file.fileno())
        self._partial.replace(self.path)
        self._release()

    def abandon(self) -> None:
        """See `RecordingWriter.abandon`."""
        self._release()
        self._partial.unlink(missing_ok=True)

    def _release(self) -> None:
        self._open = False
        for column in self._columns.values():
            column.close()
