# SPDX-License-Identifier: Apache-2.0
"""An HDF5 file as a nested dictionary, read in bounded memory and written in memory: for networks, not for events.

Hostile files are stopped by the guard of `neuro_ros.hdf5._guard`; here are the limits of a
whole file: how deep, how many datasets, how many bytes of numbers. Nothing is
read that is neither a number nor a text.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _guard as h5
from ._guard import Hdf5Error

__all__ = ["create_file", "tree"]

#: What lies deeper, or beside so many others, is refused.
MAX_DEPTH = 12
MAX_ITEMS = 1 << 14
_MAX_STRINGS = 1 << 16


def _strings(file: Any, name: str, item: Any) -> Any:
    """Return a text, or an array of texts, of at most `_MAX_STRINGS` entries."""
    if item.size is None or item.size > _MAX_STRINGS or item.dtype.itemsize > h5.MAX_CHUNK_BYTES:
        raise Hdf5Error(f"{file.filename}: {name} holds {item.shape} texts, more than {_MAX_STRINGS} in all")
    value = item[()]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    texts = [entry.decode("utf-8") if isinstance(entry, bytes) else str(entry) for entry in value.ravel()]
    return np.array(texts, dtype=object).reshape(value.shape)


def _array(file: Any, name: str, item: Any, limit_bytes: int) -> Any:
    """Return a whole dataset of numbers or texts, having made sure that it is all there and no larger than allowed."""
    h5py = h5.library()
    h5.check_storage(file, name, item)
    if item.shape is None:
        raise Hdf5Error(f"{file.filename}: {name} is empty")
    if h5py.check_string_dtype(item.dtype) is not None:
        return _strings(file, name, item)
    if item.dtype.kind not in "biuf":
        raise Hdf5Error(f"{file.filename}: {name} holds {item.dtype}, neither numbers nor text")
    size = math.prod(item.shape) * item.dtype.itemsize
    if size > limit_bytes:
        raise Hdf5Error(f"{file.filename}: {name} has {size} bytes, {limit_bytes} are left of what is read")
    if item.chunks is None:
        if size > int(item.id.get_storage_size()):
            raise ValueError(f"of {name}, {size} bytes, only {item.id.get_storage_size()} are there")
        return np.asarray(item[()])
    corners = [range(0, extent, step) for extent, step in zip(item.shape, item.chunks, strict=True)]
    pieces = math.prod(len(places) for places in corners)
    if int(item.id.get_num_chunks()) != pieces:
        raise ValueError(f"of the {pieces} pieces of {name}, {item.id.get_num_chunks()} are there")
    filters = h5.filters_of(item)
    if not set(filters) <= h5.OWN_FILTERS:
        return np.asarray(item[()])
    array = np.empty(item.shape, item.dtype)
    for corner in itertools.product(*corners):
        piece = h5.unpack(item, filters, corner).reshape(item.chunks)
        ends = [min(start + step, extent) for start, step, extent in zip(corner, item.chunks, item.shape, strict=True)]
        place = tuple(slice(start, end) for start, end in zip(corner, ends, strict=True))
        array[place] = piece[tuple(slice(0, end - start) for start, end in zip(corner, ends, strict=True))]
    return array


def tree(file: Any, limit_bytes: int) -> dict[str, Any]:
    """Read a whole file of nested groups.

    Parameters
    ----------
    file : h5py.File
        As `open_file` returns it.
    limit_bytes : int
        How large all numbers together may be.

    Returns
    -------
    dict
        Groups as dict, datasets as numpy arrays (shape () for one number), texts as str or arrays of str. Attributes
        are left out.

    Raises
    ------
    Hdf5Error
        When something lies in another file, is neither numbers nor text, or exceeds a limit; or one of `DAMAGE`.
    """
    h5py = h5.library()
    left = {"bytes": limit_bytes, "items": MAX_ITEMS}

    def read(group: Any, path: str, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise Hdf5Error(f"{file.filename}: groups are nested deeper than {MAX_DEPTH}, or in a circle")
        found: dict[str, Any] = {}
        for name in group.keys():  # noqa: SIM118 - a group is no dict
            left["items"] -= 1
            if left["items"] < 0:
                raise Hdf5Error(f"{file.filename}: more than {MAX_ITEMS} groups and datasets")
            full = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Hdf5Error(f"{file.filename}: {full} is a link to elsewhere, which is not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                found[name] = read(item, full, depth + 1)
            elif isinstance(item, h5py.Dataset):
                found[name] = _array(file, full, item, left["bytes"])
                left["bytes"] -= getattr(found[name], "nbytes", 0)
        return found

    return read(file, "", 0)


def create_file(tree: Mapping[str, Any]) -> bytes:
    """Return an HDF5 file of nested groups, as `tree` reads it, in memory; the same tree gives the same bytes.

    Parameters
    ----------
    tree : mapping
        Mappings become groups, texts and numpy arrays datasets.
    """
    h5py = h5.library()

    def write(group: Any, entries: Mapping[str, Any]) -> None:
        for name, value in entries.items():
            if isinstance(value, Mapping):
                write(group.create_group(name), value)
            elif isinstance(value, str) or np.asarray(value).dtype.kind in "OU":
                group.create_dataset(name, data=value, dtype=h5py.string_dtype())
            else:
                packing = {"compression": "gzip"} if np.size(value) > 64 else {}
                group.create_dataset(name, data=value, **packing)

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=False) as file:
        write(file, tree)
    return buffer.getvalue()
