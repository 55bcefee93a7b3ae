# SPDX-License-Identifier: Apache-2.0
"""The spike tensor on the wire: coordinates or bitmap, whichever is smaller, and the digest of windows.

A bitmap has one bit a cell in C order (bin, channel, y, x), most significant
bit first, the last byte padded with zeros. Coordinates are the ascending flat
indices of the cells that are set, uint32 little-endian.
"""

from __future__ import annotations

import hashlib
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events._bits import count_ones, leading_zeros

__all__ = [
    "ENCODING_BITMAP",
    "ENCODING_COO",
    "TensorError",
    "WindowDigest",
    "active_indices",
    "count_active",
    "decode_tensor",
    "encode_tensor",
]

ENCODING_COO = 0
ENCODING_BITMAP = 1
_INDEX_BYTES = 4


class TensorError(NeuroRosError):
    """The data of a spike tensor contradicts its description."""


@numba.njit(cache=True, nogil=True)
@no_type_check
def _fill_indices(bitmap, out):
    count = 0
    for position in range(len(bitmap)):
        byte = np.int64(bitmap[position])
        while byte != 0:
            if count == len(out):
                return -1
            # The most significant bit is the first cell.
            highest = 63 - leading_zeros(byte)
            out[count] = position * 8 + 7 - highest
            count += 1
            byte ^= 1 << highest
    return count


@numba.njit(cache=True, nogil=True)
@no_type_check
def _set_indices(indices, cells, bitmap):
    """Set the bits; return the place of the first index that is not ascending or too large, else -1."""
    previous = np.int64(-1)
    for position in range(len(indices)):
        index = np.int64(indices[position])
        if index <= previous or index >= cells:
            return position
        previous = index
        bitmap[index >> 3] |= np.uint8(0x80 >> (index & 7))
    return -1


def bitmap_bytes(cells: int) -> int:
    """Return the bytes of a bitmap."""
    return (cells + 7) // 8


@numba.njit(cache=True, nogil=True)
@no_type_check
def _count_bits(bitmap, words):
    """Count the ones of the words, and of the bytes of the bitmap behind them."""
    count = np.uint64(0)
    for position in range(len(words)):
        count += count_ones(words[position])
    for position in range(8 * len(words), len(bitmap)):
        count += count_ones(np.uint64(bitmap[position]))
    return count


def count_active(bitmap: npt.NDArray[np.uint8]) -> int:
    """Count the cells that are set."""
    return int(_count_bits(bitmap, bitmap[: len(bitmap) // 8 * 8].view(np.uint64)))


def _as_bitmap(bitmap: npt.ArrayLike, cells: int) -> npt.NDArray[np.uint8]:
    array = np.ascontiguousarray(bitmap, np.uint8).reshape(-1)
    if len(array) != bitmap_bytes(cells):
        raise TensorError(f"a bitmap of {cells} cells has {bitmap_bytes(cells)} bytes, this one has {len(array)}")
    if cells % 8 and array[-1] & (0xFF >> cells % 8):
        raise TensorError(f"a bit beyond cell {cells - 1} is set; the padding must be zero")
    return array


def active_indices(bitmap: npt.NDArray[np.uint8], cells: int, active: int | None = None) -> npt.NDArray[np.uint32]:
    """List the cells that are set.

    Parameters
    ----------
    bitmap : (ceil(cells / 8),) uint8
    cells : int
    active : int, optional
        Their number, where it is known.

    Returns
    -------
    (active,) uint32
        Flat C-order indices, ascending.

    Raises
    ------
    TensorError
        When the bitmap's size, padding or number of bits does not fit.
    """
    array = _as_bitmap(bitmap, cells)
    indices = np.empty(count_active(array) if active is None else active, np.uint32)
    if _fill_indices(array, indices) != len(indices):
        raise TensorError(f"{count_active(array)} cells are set, {active} were announced")
    return indices


def encode_tensor(
    bitmap: npt.NDArray[np.uint8], cells: int, active: int | None = None, *, constant_size: bool = False
) -> tuple[int, bytes]:
    """Write a tensor in the smaller encoding, the bitmap when both are equal.

    Parameters
    ----------
    bitmap : (ceil(cells / 8),) uint8
    cells : int
    active : int, optional
        Number of cells that are set, where it is known.
    constant_size : bool
        Always write the bitmap, whose size tells nothing about what is in it.

    Returns
    -------
    encoding : int
        `ENCODING_COO` or `ENCODING_BITMAP`.
    data : bytes

    Raises
    ------
    TensorError
        As `active_indices`.
    """
    array = _as_bitmap(bitmap, cells)
    if constant_size:
        return ENCODING_BITMAP, array.tobytes()
    if active is None:
        active = count_active(array)
    if _INDEX_BYTES * active < len(array):
        return ENCODING_COO, active_indices(array, cells, active).astype("<u4", copy=False).tobytes()
    return ENCODING_BITMAP, array.tobytes()


def decode_tensor(encoding: int, data: bytes | memoryview | npt.NDArray[np.uint8], cells: int) -> npt.NDArray[np.uint8]:
    """Read a tensor of either encoding.

    Parameters
    ----------
    encoding : int
        `ENCODING_COO` or `ENCODING_BITMAP`.
    data : bytes-like
    cells : int
        bins * channels * height * width.

    Returns
    -------
    (ceil(cells / 8),) uint8
        A bitmap of its own.

    Raises
    ------
    TensorError
        When the encoding is unknown or the data does not fit the cells.
    """
    raw = np.frombuffer(data, np.uint8)
    if encoding == ENCODING_BITMAP:
        return _as_bitmap(raw, cells).copy()
    if encoding != ENCODING_COO:
        raise TensorError(f"encoding {encoding} is unknown; 0 (COO) and 1 (BITMAP) are known")
    if len(raw) % _INDEX_BYTES:
        raise TensorError(f"{len(raw)} bytes are no whole number of 4-byte indices")
    indices = raw.view("<u4") if raw.flags.aligned else np.frombuffer(raw.tobytes(), "<u4")
    bitmap = np.zeros(bitmap_bytes(cells), np.uint8)
    bad = _set_indices(indices, cells, bitmap)
    if bad >= 0:
        raise TensorError(
            f"index {int(indices[bad])} at place {bad} is not ascending or not below the {cells} cells of the tensor"
        )
    return bitmap


class WindowDigest:
    """SHA-256 over windows: for each the start (int64, little-endian), then the bitmap."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def update(self, start_ns: int, bitmap: npt.NDArray[np.uint8]) -> None:
        """Add one window.

        Parameters
        ----------
        start_ns : int
            Sensor time.
        bitmap : ndarray of uint8
        """
        self._sha256.update(int(start_ns).to_bytes(8, "little", signed=True))
        self._sha256.update(np.ascontiguousarray(bitmap).data)

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._sha256.hexdigest()
