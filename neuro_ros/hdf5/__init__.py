# SPDX-License-Identifier: Apache-2.0
"""HDF5 files of strangers: opened behind a guard, read column by column or as one bounded tree, written in memory.

Knows nothing of events and nothing of networks; recordings and networks of other
libraries both come in such files. ``h5py`` is imported when the first one is opened.
"""

from ._guard import DAMAGE, MAX_CHUNK_BYTES, Column, Hdf5Error, find, one_line, open_file, text
from ._tree import create_file, tree

__all__ = [
    "DAMAGE",
    "MAX_CHUNK_BYTES",
    "Column",
    "Hdf5Error",
    "create_file",
    "find",
    "one_line",
    "open_file",
    "text",
    "tree",
]
