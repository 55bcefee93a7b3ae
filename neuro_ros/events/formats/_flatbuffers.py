# SPDX-License-Identifier: Apache-2.0
"""As much of flatbuffers as AEDAT4 needs: tables read with every access checked, and vectors written.

The generated code of the vendor is not used: it trusts what it reads.

References
----------
"FlatBuffers internals" (flatbuffers.dev).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Table", "columns", "pack_structs", "pack_tables"]

# A buffer with its size in front, whose root table holds one vector: size of the rest, place of the root counted from
# behind the size, identifier, two bytes that align, the root's description (its own size, the root's size, place of the
# only field), the root (way back to its description, way to the vector), the vector's length.
_PREFIX = struct.Struct("<II4s2xHHHiII")
_ROOT = 20 - 4


class Table:
    """One table of a flatbuffer; every access is checked and raises ValueError or struct.error on damage.

    Parameters
    ----------
    data : bytes
        The buffer.
    position : int
        Of the table.
    """

    def __init__(self, data: bytes, position: int) -> None:
        # struct counts a negative place from the end, where it finds something.
        if position < 0:
            raise ValueError("a table lies outside the packet")
        (to_vtable,) = struct.unpack_from("<i", data, position)
        self.data = data
        self.position = position
        self.vtable = position - to_vtable
        if not 0 <= self.vtable <= len(data) - 4:
            raise ValueError("a table's description lies outside the packet")
        (self.vtable_bytes,) = struct.unpack_from("<H", data, self.vtable)

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Return the root table of a buffer with its size in front."""
        (offset,) = struct.unpack_from("<I", data, 4)
        return cls(data, 4 + offset)

    def field(self, number: int) -> int | None:
        """Return the place of a field, None where it has its default."""
        entry = 4 + 2 * number
        if entry + 2 > self.vtable_bytes:
            return None
        (offset,) = struct.unpack_from("<H", self.data, self.vtable + entry)
        return self.position + offset if offset else None

    def scalar(self, number: int, kind: str, default: int) -> int:
        """Return a number; `kind` as `struct` names it."""
        place = self.field(number)
        return default if place is None else int(struct.unpack_from(kind, self.data, place)[0])

    def vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        """Return the place and the length of a vector."""
        place = self.field(number)
        if place is None:
            return 0, 0
        (offset,) = struct.unpack_from("<I", self.data, place)
        (length,) = struct.unpack_from("<I", self.data, place + offset)
        start = place + offset + 4
        if start + length * item_bytes > len(self.data):
            raise ValueError("a vector reaches beyond the packet")
        return start, length

    def tables(self, number: int, limit: int) -> npt.NDArray[np.int64]:
        """Return the places of the tables in a vector of at most `limit` tables, not checked."""
        start, length = self.vector(number, 4)
        if length > limit:
            raise ValueError(f"a packet of {length} entries, the limit is {limit}")
        places = start + 4 * np.arange(length, dtype=np.int64)
        return places + np.frombuffer(self.data, "<u4", length, start) if length else places


def columns(
    data: bytes, places: npt.NDArray[np.int64], fields: Sequence[tuple[int, str, int]]
) -> list[npt.NDArray[np.int64]]:
    """Read numbers out of many tables at once.

    Parameters
    ----------
    data : bytes
        The buffer.
    places : (n,) int64
        Of the tables, see `Table.tables`.
    fields : sequence of (number, kind, default)
        As `Table.scalar` takes them; `kind` as NumPy names it.

    Returns
    -------
    list of (n,) int64
        One for each field.

    Raises
    ------
    ValueError
        When anything lies outside the buffer.
    """
    array = np.frombuffer(data, np.uint8)

    def gather(where: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.int64]:
        dtype = np.dtype(kind)
        if len(where) and not 0 <= where.min() <= where.max() <= len(array) - dtype.itemsize:
            raise ValueError("a table lies outside the packet")
        values = np.empty((len(where), dtype.itemsize), np.uint8)
        for place in range(dtype.itemsize):
            values[:, place] = array[where + place]
        return values.view(dtype)[:, 0].astype(np.int64)

    vtables = places - gather(places, "<i4")
    vtable_bytes = gather(vtables, "<u2")
    found = []
    for number, kind, default in fields:
        entry = 4 + 2 * number
        values = np.full(len(places), default, np.int64)
        held = np.flatnonzero(entry + 2 <= vtable_bytes)
        offsets = gather(vtables[held] + entry, "<u2")
        held, offsets = held[offsets != 0], offsets[offsets != 0]
        values[held] = gather(places[held] + offsets, kind)
        found.append(values)
    return found


def pack_structs(identifier: bytes, items: npt.NDArray[np.void]) -> bytes:
    """Write a buffer whose root table holds one vector of structures.

    Parameters
    ----------
    identifier : bytes
        Of the schema, 4 bytes.
    items : (n,) structured ndarray
        As the schema lays them out, padding included; at most 8 bytes are aligned.
    """
    body = items.tobytes()
    return _pack_prefix(identifier, len(items), len(body)) + body


def pack_tables(
    identifier: bytes, description: tuple[int, ...], items: npt.NDArray[np.void], first_bytes: int
) -> bytes:
    """Write a buffer whose root table holds one vector of tables that are all laid out alike.

    Parameters
    ----------
    identifier : bytes
        Of the schema, 4 bytes.
    description : tuple of int
        Places of the fields in a table, in the schema's order.
    items : (n,) structured ndarray
        The tables as they lie in memory, a multiple of 8 bytes each; the field ``to_vtable`` (int32), their first, is
        filled in.
    first_bytes : int
        Where in 8 bytes a table begins, so that its longest fields are aligned.
    """
    count = len(items)
    vtable_bytes = 4 + 2 * len(description)
    # Counted from the start of the buffer: the ways to the tables, their description, the tables.
    vtable = _PREFIX.size + 4 * count
    first = vtable + vtable_bytes
    first += (first_bytes - first) % 8
    places = first + items.dtype.itemsize * np.arange(count, dtype=np.int64)
    items["to_vtable"] = places - vtable
    table_bytes = items.dtype.itemsize
    body = b"".join(
        [
            (places - (_PREFIX.size + 4 * np.arange(count, dtype=np.int64))).astype("<u4").tobytes(),
            struct.pack(f"<{2 + len(description)}H", vtable_bytes, table_bytes, *description),
            bytes(first - vtable - vtable_bytes),
            items.tobytes(),
        ]
    )
    return _pack_prefix(identifier, count, len(body)) + body


def _pack_prefix(identifier: bytes, count: int, body_bytes: int) -> bytes:
    return _PREFIX.pack(_PREFIX.size - 4 + body_bytes, _ROOT, identifier, 6, 8, 4, 6, 4, count)
