# SPDX-License-Identifier: Apache-2.0
"""The only door to the ``rosbags`` package, and the definition of the packets that cameras' drivers publish."""

from __future__ import annotations

import functools
import shutil
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events.formats._compression_shim import unpack_lz4, unpack_zstd
from neuro_ros.events.types import RecordingError

__all__ = [
    "PACKET_DEFINITION",
    "PACKET_TYPE",
    "PACKET_TYPES",
    "add_packet_connection",
    "create_writer",
    "damage",
    "deserialize",
    "one_line",
    "open_directory",
    "open_storage",
    "rename_bag",
    "write_packet",
]

PACKET_TYPE = "event_camera_msgs/msg/EventPacket"
#: The type and the one that it was called before, with the same fields in the same order.
PACKET_TYPES = (PACKET_TYPE, "event_array_msgs/msg/EventArray")
PACKET_DEFINITION = """std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""


# A chunk of mcap is a megabyte or so, or one message that is larger.
_MAX_CHUNK_BYTES = 1 << 26


@functools.cache
def _require() -> None:
    try:
        from rosbags.rosbag2 import storage_mcap
    except ImportError as error:
        raise RecordingError(f"bags need the rosbags package ({error}); pip install rosbags") from error
    # The library unpacks whatever comes, and some kilobytes can become gigabytes.
    storage_mcap.DECOMPRESSORS["lz4"] = lambda data, _: unpack_lz4(data, _MAX_CHUNK_BYTES)
    storage_mcap.DECOMPRESSORS["zstd"] = lambda data, _: unpack_zstd(data, _MAX_CHUNK_BYTES)


def _database_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the database; which library reads it is rosbags' choice."""
    try:
        import apsw
    except ImportError:
        return (sqlite3.Error,)
    return (sqlite3.Error, apsw.Error)


@functools.cache
def damage() -> tuple[type[Exception], ...]:
    """Return what the reader is known to raise on files that are cut short or garbled."""
    _require()
    from rosbags.rosbag2 import ReaderError
    from rosbags.serde import SerdeError

    return (
        ReaderError,
        SerdeError,
        *_database_errors(),
        struct.error,
        OSError,
        RuntimeError,  # from the decompressors
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        EOFError,
        MemoryError,
    )


def one_line(error: BaseException) -> str:
    """Write an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@functools.cache
def _types() -> Any:
    _require()
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name in PACKET_TYPES:
        store.register(get_types_from_msg(PACKET_DEFINITION, name))
    return store


def deserialize(raw: bytes | memoryview, name: str = PACKET_TYPE) -> Any:
    """Read a serialised packet of one of `PACKET_TYPES`; ``events`` is an array of uint8 on the same memory."""
    return _types().deserialize_cdr(raw, name)


def open_directory(path: Path) -> Any:
    """Open a bag by its metadata; raises one of `damage`."""
    _require()
    from rosbags.rosbag2 import Reader

    reader = Reader(path)
    reader.open()
    return reader


def open_storage(path: Path, suffix: str) -> Any:
    """Open one storage file, ``.db3`` or ``.mcap`` in kind whatever its name; raises one of `damage`."""
    _require()
    from rosbags.rosbag2 import Reader

    storage = Reader.STORAGE_PLUGINS[suffix](path)
    storage.open()
    return storage


def create_writer(partial: Path, name: str, storage: str) -> Any:
    """Open a writer for the bag `name` in the folder `partial`."""
    _require()
    from rosbags.rosbag2 import StoragePlugin, Writer

    plugins = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
    if storage not in plugins:
        raise RecordingError(f"storage {storage!r} is not written; written are {', '.join(sorted(plugins))}")
    # The storage file is named after its directory, so the bag has its final name from the start.
    # Version 8 is what Jazzy reads.
    writer = Writer(partial / name, version=8, storage_plugin=plugins[storage])
    writer.open()
    return writer


def add_packet_connection(writer: Any, topic: str) -> Any:
    """Declare the topic."""
    return writer.add_connection(topic, PACKET_TYPE, typestore=_types())


def write_packet(
    writer: Any,
    connection: Any,
    *,
    stamp_ns: int,
    frame_id: str,
    width: int,
    height: int,
    sequence: int,
    time_base_ns: int,
    encoding: str,
    payload: npt.NDArray[np.uint8],
) -> None:
    """Write one packet."""
    types = _types().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    message = types[PACKET_TYPE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id),
        height=height,
        width=width,
        seq=sequence,
        time_base=time_base_ns,
        encoding=encoding,
        is_bigendian=False,
        events=payload,
    )
    writer.write(connection, stamp_ns, _types().serialize_cdr(message, PACKET_TYPE))


def rename_bag(partial: Path, path: Path) -> None:
    """Put a finished bag in place of an older one, which is gone only when the new one is there."""
    old = partial / ".old"
    if path.exists():
        path.rename(old)
    (partial / path.name).rename(path)
    shutil.rmtree(partial)
