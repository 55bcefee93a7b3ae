# SPDX-License-Identifier: Apache-2.0
"""Writes serialized messages to a rosbag2 bag (mcap) from one thread of its own, behind a queue bounded in bytes.

Whoever receives messages never waits for the disk. When the queue is full, new messages are dropped and counted; when
the disk is full, the bag is closed whole with what it has. No ROS needed; where messages come from is not known here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from neuro_ros.bringup.bag import graph_typestore
from neuro_ros.errors import NeuroRosError

__all__ = ["BagTopicSpec", "BagWriteError", "BagWriter"]

#: Disk held back for the last chunk (1 MiB and a message) and the index, so that a full disk still leaves a whole bag.
RESERVE_BYTES = 4 * 1024 * 1024
_FOREVER = QosTime(2147483647, 4294967295)  # how rosbag2 writes "no limit"


class BagWriteError(NeuroRosError):
    """The bag cannot be written: its folder exists, is not writable, or the disk is full."""


@dataclass(frozen=True, slots=True)
class BagTopicSpec:
    """One topic of a bag.

    Parameters
    ----------
    name : str
        Full name, with the leading slash.
    type : str
        ROS type, one of `neuro_ros.bringup.bag.graph_typestore`.
    depth : int
        History depth, for whoever plays the bag back.
    reliable, latched : bool
        Reliability, and whether late subscribers get the last message.
    """

    name: str
    type: str
    depth: int = 10
    reliable: bool = True
    latched: bool = False

    def qos(self) -> Qos:
        """Return the quality of service as it stands in a bag's metadata."""
        return Qos(
            QosHistory.KEEP_LAST,
            self.depth,
            QosReliability.RELIABLE if self.reliable else QosReliability.BEST_EFFORT,
            QosDurability.TRANSIENT_LOCAL if self.latched else QosDurability.VOLATILE,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )


class BagWriter:
    """A bag being written.

    Parameters
    ----------
    path : pathlib.Path
        Folder to make; its parents are made too.
    topics : Mapping[str, BagTopicSpec]
        Key (any, as given to :meth:`add`) to topic.
    queue_bytes : int
        Payload that may wait for the disk.
    reserve_bytes : int
        Disk held back for closing the bag.

    Attributes
    ----------
    written, dropped : dict of str to int
        Messages by key: in the bag, and dropped because the queue was full or the disk failed.
    failure : str
        Why writing stopped early; empty while all is well.

    Raises
    ------
    BagWriteError
        The folder exists or cannot be made, the disk is full, or a type is not known.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, BagTopicSpec],
        queue_bytes: int,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.path = path
        self.written = dict.fromkeys(topics, 0)
        self.dropped = dict.fromkeys(topics, 0)
        self.failure = ""
        self._queue: deque[tuple[str, int, bytes]] = deque()
        self._queued_bytes = 0
        self._limit = queue_bytes
        self._changed = threading.Condition()
        self._closing = False
        self._closed = False
        self._reserve = path / ".reserve"
        self._writer: Any = None
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
            self._connections = self._connect(topics)
            _allocate(self._reserve, reserve_bytes)
        except WriterError as error:
            raise BagWriteError(f"{path}: {error}") from error
        except OSError as error:
            self._discard()
            raise BagWriteError(
                f"{path}: {error.strerror or error}; choose a folder with room that is writable"
            ) from error
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    def _connect(self, topics: Mapping[str, BagTopicSpec]) -> dict[str, Connection]:
        store = graph_typestore()
        unknown = sorted({topic.type for topic in topics.values()} - set(store.fielddefs))
        if unknown:
            self._discard()
            raise BagWriteError(f"{self.path}: the definition of {', '.join(unknown)} is not known; leave it out")
        return {
            key: self._writer.add_connection(
                topic.name, topic.type, typestore=store, offered_qos_profiles=[topic.qos()]
            )
            for key, topic in topics.items()
        }

    def _discard(self) -> None:
        """Take a bag back that could not be begun."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.abort()
        for file in (self._reserve, self.path / f"{self.path.name}.mcap"):
            with contextlib.suppress(OSError):
                file.unlink()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @property
    def total_dropped(self) -> int:
        """Messages that did not get into the bag."""
        return sum(self.dropped.values())

    @property
    def waiting_bytes(self) -> int:
        """Payload that waits for the disk [bytes]."""
        return self._queued_bytes

    def add(self, key: str, time_ns: int, payload: bytes) -> bool:
        """Queue one serialized message; return False when it was dropped.

        Parameters
        ----------
        key : str
            One of the keys of `topics`.
        time_ns : int
            When it was received [ns since the Unix epoch].
        payload : bytes
            CDR, with its encapsulation header.
        """
        with self._changed:
            room = self._queued_bytes + len(payload) <= self._limit or not self._queue
            if self._closing or self.failure or not room:
                self.dropped[key] += 1
                return False
            self._queue.append((key, time_ns, payload))
            self._queued_bytes += len(payload)
            self._changed.notify()
            return True

    def close(self, timeout_s: float = 60.0) -> None:
        """Write what waits, close the bag and end the thread; safe twice.

        Raises
        ------
        BagWriteError
            The disk failed, now or earlier; the text says what the bag holds.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise BagWriteError(f"{self.path}: the disk did not take the rest within {timeout_s:g} s")
        if self.failure:
            raise BagWriteError(self.failure)

    # -- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (item := self._take()) is not None:
                self._write(*item)
            self._finish()
        except OSError as error:
            self._fail(error)

    def _take(self) -> tuple[str, int, bytes] | None:
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                self._changed.wait()
            item = self._queue.popleft()
            self._queued_bytes -= len(item[2])
            return item

    def _write(self, key: str, time_ns: int, payload: bytes) -> None:
        self._good_end = self._file.tell()
        # Counted first: the message stays in the writer's chunk when the disk fails, and is written at the end.
        self.written[key] += 1
        self._writer.write(self._connections[key], time_ns, payload)

    @property
    def _file(self) -> Any:
        """The open file of the storage."""
        return self._writer.storage.bio

    def _finish(self) -> None:
        self._good_end = self._file.tell()
        self._writer.close()
        self._reserve.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        """Close the bag with what it has: cut off the half-written chunk, then write it again into the reserve."""
        with self._changed:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "no space left on the disk" if full else error.strerror or str(error)
            self.failure = f"{self.path}: {reason}"
            for key, _, _ in self._queue:
                self.dropped[key] += 1
            self._queue.clear()
            self._queued_bytes = 0
        text = f"; recording stopped, the bag is whole with {sum(self.written.values())} messages"
        try:
            self._reserve.unlink(missing_ok=True)
            self._file.seek(self._good_end)
            self._file.truncate()
            self._writer.close()
        except (OSError, AttributeError) as again:  # AttributeError: the storage was already closed
            text = f"; recording stopped, and the bag could not be closed ({again}): its last part is missing"
            with contextlib.suppress(OSError):
                self._writer.abort()
        self.failure += text


def _allocate(path: Path, size: int) -> None:
    """Make a file that really takes `size` bytes of the disk."""
    with path.open("wb") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
