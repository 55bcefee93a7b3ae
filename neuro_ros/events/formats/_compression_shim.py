# SPDX-License-Identifier: Apache-2.0
"""The only door to LZ4 and Zstandard, with a limit on what a packet may grow to.

Both come with ``rosbags``, which has used more than one Zstandard package.
"""

from __future__ import annotations

import struct
from typing import Any

from neuro_ros.events.types import RecordingError

__all__ = ["DAMAGE", "pack_lz4", "unpack_lz4", "unpack_zstd"]

#: What unpacking and reading a garbled packet raises. UnicodeDecodeError is a ValueError.
DAMAGE = (RuntimeError, ValueError, EOFError, struct.error, MemoryError, OverflowError)

#: Room that a packet gets at first: what the vendor's software writes fits.
_FIRST_BYTES = 1 << 20


def _whole(decompressor: Any, data: bytes, limit: int) -> bytes:
    # A decompressor that is told the limit at once makes room for all of it, which takes longer than the unpacking.
    unpacked = decompressor.decompress(data, max_length=min(_FIRST_BYTES, limit))
    if not decompressor.eof and len(unpacked) == _FIRST_BYTES < limit:
        unpacked += decompressor.decompress(b"", max_length=limit - _FIRST_BYTES)
    if not decompressor.eof:
        raise ValueError(f"a packet is cut short, or larger than {limit} bytes")
    return bytes(unpacked)


def _lz4_frame() -> Any:
    try:
        import lz4.frame
    except ImportError as error:
        raise RecordingError(f"packets with LZ4 need the lz4 package ({error}); pip install lz4") from error
    return lz4.frame


def pack_lz4(data: bytes) -> bytes:
    """Pack into one LZ4 frame, with a checksum by which damage is seen."""
    return bytes(_lz4_frame().compress(data, content_checksum=True))


def unpack_lz4(data: bytes, limit: int) -> bytes:
    """Unpack one LZ4 frame to at most `limit` bytes; raises one of `DAMAGE`."""
    return _whole(_lz4_frame().LZ4FrameDecompressor(), data, limit)


def unpack_zstd(data: bytes, limit: int) -> bytes:
    """Unpack one Zstandard frame to at most `limit` bytes; raises one of `DAMAGE`."""
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            return _unpack_zstandard(data, limit)
    try:
        return _whole(zstd.ZstdDecompressor(), data, limit)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error


def _unpack_zstandard(data: bytes, limit: int) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        raise RecordingError(f"packets with Zstandard need a package ({error}); pip install zstandard") from error
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            unpacked = reader.read(limit)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return bytes(unpacked)
