# SPDX-License-Identifier: Apache-2.0
"""The only door to ``h5py``, imported when the first HDF5 file is opened, with a guard against hostile files.

A file may point to other files, may declare pieces that need more memory than
there is, and may be packed with filters that are not installed. All of that is
refused before anything is read. Whether the library comes back from a file at all
is tried out in another process. Pieces packed with gzip are unpacked here, because
the library unpacks whatever comes out, and a megabyte can become a gigabyte.
"""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError

__all__ = ["DAMAGE", "MAX_CHUNK_BYTES", "Column", "Hdf5Error", "find", "library", "one_line", "open_file", "text"]


class Hdf5Error(NeuroRosError):
    """An HDF5 file is not read, and the text says why: it points elsewhere, is too large, or lacks a filter."""


#: What reading a garbled file is known to raise.
DAMAGE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    AttributeError,
    zlib.error,
)

#: A larger piece of a dataset, which is unpacked as a whole, is refused; Metavision's have 256 KiB.
MAX_CHUNK_BYTES = 1 << 24

#: How long the library may take to look through a file's structure [s]; a good one takes a quarter of a second. The
#: other process stops itself after 8 s of processor time, so that a machine under load does not condemn a good file.
TRIAL_S = 30.0
_TRIAL = Path(__file__).with_name("_trial.py")

_MAX_ENTRY_BYTES = 1 << 8

_DEFLATE, _SHUFFLE = 1, 2
OWN_FILTERS = {_DEFLATE, _SHUFFLE}  # unpacked here
_ECF = 0x8ECF
_REMEDIES = {
    _ECF: "Prophesee's codec ECF: install its plugin (hdf5_ecf, part of Metavision) and set HDF5_PLUGIN_PATH",
    32001: "blosc: pip install hdf5plugin",
    32004: "LZ4: pip install hdf5plugin",
    32015: "Zstandard: pip install hdf5plugin",
    32026: "blosc2: pip install hdf5plugin",
}


def one_line(error: BaseException) -> str:
    """Write an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@functools.cache
def library() -> Any:
    """Import h5py, and with it the filters that are installed."""
    try:
        import h5py
    except ImportError as error:
        raise Hdf5Error(f"HDF5 needs the h5py package ({error}); pip install h5py") from error
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - registers its filters
    return h5py


def _try_out(path: Path) -> None:
    """Have another process look through the file first; raises ValueError where the library does not come back."""
    command = [sys.executable, str(_TRIAL), str(path)]
    quiet = subprocess.DEVNULL
    try:
        status = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=TRIAL_S, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        raise ValueError(f"its structure is damaged: reading it does not end within {TRIAL_S:g} s") from None
    if status == -signal.SIGXCPU:
        raise ValueError("its structure is damaged: reading it does not end")
    if status < 0:
        raise ValueError(f"its structure is damaged: the HDF5 library ends with signal {-status} on it")


def open_file(path: Path) -> Any:
    """Open a file for reading; raises one of `DAMAGE`."""
    library()
    _try_out(path)
    # No lock, so that a file on a read-only medium can be read; room in the cache for a whole chunk of each dataset.
    return library().File(path, "r", locking=False, rdcc_nbytes=MAX_CHUNK_BYTES)


def find(file: Any, name: str) -> Any | None:
    """Find a dataset of the file itself.

    Parameters
    ----------
    file : h5py.File
    name : str
        Path of names, joined by ``/``.

    Returns
    -------
    h5py.Dataset or None
        None when there is no such dataset.

    Raises
    ------
    Hdf5Error
        When it lies, or its data lies, in another file, it is not a plain column, its pieces are too large, or
        it is packed with a filter that is not installed.
    """
    h5py = library()
    item = file
    for part in name.split("/"):
        if not isinstance(item, h5py.Group) or part not in item.keys():  # noqa: SIM118 - `in item` follows links
            return None
        if not isinstance(item.get(part, getlink=True), h5py.HardLink):
            raise Hdf5Error(f"{file.filename}: {name} is a link to elsewhere, which is not followed")
        item = item[part]
    if not isinstance(item, h5py.Dataset):
        return None
    if item.shape is None or len(item.shape) > 1:
        raise Hdf5Error(f"{file.filename}: {name} is no column; it has the shape {item.shape}")
    if item.dtype.hasobject or item.dtype.itemsize > _MAX_ENTRY_BYTES:
        raise Hdf5Error(f"{file.filename}: {name} holds {item.dtype.itemsize} bytes an entry, not plain numbers")
    check_storage(file, name, item)
    return item


def check_storage(file: Any, name: str, item: Any) -> None:
    """Refuse a dataset that lies elsewhere, in too large pieces, or behind filters that are not all there."""
    h5py = library()
    if item.external or item.is_virtual:
        raise Hdf5Error(f"{file.filename}: the data of {name} lies in other files, which are not read")
    if item.chunks is not None:
        size = math.prod(item.chunks) * item.dtype.itemsize
        if size > MAX_CHUNK_BYTES:
            raise Hdf5Error(
                f"{file.filename}: the pieces of {name} have {size} bytes; no more than {MAX_CHUNK_BYTES} are read"
            )
    plist = item.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code = plist.get_filter(index)[0]
        if not h5py.h5z.filter_avail(code):
            remedy = _REMEDIES.get(code, "of which nothing is known here")
            raise Hdf5Error(f"{file.filename}: {name} is packed with the HDF5 filter {code}, {remedy}")


def _inflate(data: bytes, size: int) -> bytes:
    """Unpack a deflated stream of just `size` bytes and check its sum; raises ValueError or zlib.error."""
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, size)
    # The sum stands at the end, which is not looked at before something beyond the last byte is asked for.
    if stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
        raise ValueError(f"a chunk is cut short, or larger than {size} bytes")
    return unpacked


def filters_of(item: Any) -> list[int]:
    """List the filters of a dataset in the order of their application."""
    plist = item.id.get_create_plist()
    return [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]


def unpack(item: Any, filters: list[int], corner: tuple[int, ...]) -> npt.NDArray[Any]:
    """Unpack the chunk at `corner`, flat; raises one of `DAMAGE`."""
    size = math.prod(item.chunks) * item.dtype.itemsize
    stored = item.id.get_chunk_info_by_coord(corner).size
    if not 0 < stored <= size + size // 64 + 1024:  # what does not shrink grows by less than this
        raise ValueError(f"a chunk of {size} bytes is stored in {stored}")
    mask, data = item.id.read_direct_chunk(corner)
    for index in reversed(range(len(filters))):
        if mask >> index & 1:  # not applied to this chunk
            continue
        if filters[index] == _DEFLATE:
            data = _inflate(data, size)
        else:
            planes = np.frombuffer(data, np.uint8).reshape(item.dtype.itemsize, -1)
            data = np.ascontiguousarray(planes.T).tobytes()
    if len(data) != size:
        raise ValueError(f"a chunk of {size} bytes unpacks to {len(data)}")
    return np.frombuffer(data, item.dtype)


class Column:
    """A dataset of one dimension, read piece by piece in bounded memory.

    Parameters
    ----------
    item : h5py.Dataset
        As `find` returns it.

    Attributes
    ----------
    dtype : numpy.dtype
    length : int
        Entries that are in the file, whatever its header says.
    chunk : int
        Entries that are stored together; 0 where all are.
    """

    def __init__(self, item: Any) -> None:
        self._item = item
        self.dtype: np.dtype = item.dtype
        self.declared = int(item.shape[0]) if item.shape else 1
        self.chunk = int(item.chunks[0]) if item.chunks else 0
        if self.chunk:
            self.length = min(self.declared, int(item.id.get_num_chunks()) * self.chunk)
        else:
            self.length = min(self.declared, int(item.id.get_storage_size()) // max(1, self.dtype.itemsize))
        self._filters = filters_of(item)
        # What the library would unpack without a limit is unpacked here.
        self._is_ours = bool(self.chunk) and set(self._filters) <= OWN_FILTERS
        self._cached_start = -1
        self._cached = np.empty(0, self.dtype)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read the entries from `start` to below `stop`; raises one of `DAMAGE`."""
        if not self._is_ours:
            return np.asarray(self._item[start:stop])
        parts = []
        while start < stop:
            chunk_start = start - start % self.chunk
            end = min(stop, chunk_start + self.chunk)
            if chunk_start != self._cached_start:
                self._cached_start = -1
                self._cached = unpack(self._item, self._filters, (chunk_start,))
                self._cached_start = chunk_start
            parts.append(self._cached[start - chunk_start : end - chunk_start])
            start = end
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.dtype), *parts])


def text(file: Any, name: str) -> str:
    """Return an attribute of the file as text, empty where there is none."""
    value = file.attrs.get(name, "")
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
