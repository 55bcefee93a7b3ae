# SPDX-License-Identifier: Apache-2.0
"""Reads the structure of an HDF5 file in a process of its own: ``python _trial.py FILE``.

The HDF5 library goes round in circles in some damaged files, and holds the interpreter meanwhile. What it does not come
back from here it is not asked for elsewhere. Imports nothing of this package, so that it starts quickly.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

_DEPTH = 12  # what `tree` reads: a graph within a graph within a graph
_ITEMS = 4096
_CHUNKS = 256
_STRINGS = 1 << 16
_PROCESSOR_S = 8


def _look(h5py: Any, item: Any, depth: int, seen: set[int]) -> None:
    """Ask for everything but the numbers; each object once, since a group may hold itself."""
    address = h5py.h5o.get_info(item.id).addr
    if address in seen:
        return
    seen.add(address)
    for name in list(item.attrs.keys())[:_ITEMS]:
        item.attrs.get(name)
    if isinstance(item, h5py.Dataset):
        if h5py.check_string_dtype(item.dtype) and item.size is not None and item.size <= _STRINGS:
            item[()]  # strings lie in heaps, which have a structure of their own
        plist = item.id.get_create_plist()
        filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]
        if item.chunks is not None and item.shape and filters is not None:
            count = item.id.get_num_chunks()
            for index in range(0, count, max(1, count // _CHUNKS)):
                item.id.get_chunk_info(index)
        return
    if depth == 0:
        return
    for name in list(item.keys())[:_ITEMS]:
        if isinstance(item.get(name, getlink=True), h5py.HardLink):
            _look(h5py, item[name], depth - 1, seen)


def main() -> None:
    """Look through the file; whatever it raises is raised again, and told, where the file is read."""
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_S, _PROCESSOR_S + 1))
    import h5py

    with h5py.File(sys.argv[1], "r", locking=False) as file:
        _look(h5py, file, _DEPTH, set())


if __name__ == "__main__":
    main()
