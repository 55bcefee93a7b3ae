# SPDX-License-Identifier: Apache-2.0
"""rosbag2 (sqlite3 and mcap) with ``event_camera_msgs/msg/EventPacket``, read and written without ROS.

A bag is a directory, or one of its storage files. Topics are found by type;
``event_array_msgs/msg/EventArray``, as the type was called before, is read too.
Directories whose metadata is missing or names no storage are read from their
storage files in the order of the numbers in their names.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings import find_encoding
from neuro_ros.events.formats import _rosbags_shim as shim
from neuro_ros.events.formats.base import OpenOptions, Recording, RecordingWriter, split_batch
from neuro_ros.events.stream import PacketDecoder
from neuro_ros.events.types import EventBatch, RecordingError

__all__ = ["PACKET_TYPE", "PACKET_TYPES", "BagRecording", "BagWriter", "is_bag_directory", "matches", "open_bag"]

_LOGGER = logging.getLogger(__name__)

PACKET_TYPE = shim.PACKET_TYPE
PACKET_TYPES = shim.PACKET_TYPES
# A longer step back of sensor time is a camera that was started anew, from where bag time goes on.
_DISORDER_NS = 1_000_000_000
_SQLITE_HEADER_BYTES = 100
_STORAGES = {".db3": b"SQLite format 3\x00", ".mcap": b"\x89MCAP0\r\n"}


def storage_of(head: bytes) -> str | None:
    """Return the storage's usual suffix by its first bytes."""
    return next((suffix for suffix, magic in _STORAGES.items() if head.startswith(magic)), None)


def matches(head: bytes) -> bool:
    """Recognise a storage file by its first bytes."""
    return storage_of(head) is not None


def _storage_files(path: Path) -> list[Path]:
    """List the storage files of a bag directory in the order in which they were recorded."""
    found = [item for item in path.iterdir() if item.suffix in _STORAGES and item.is_file()]
    return sorted(
        found, key=lambda item: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", item.name)]
    )


def _is_cut_short(file: Path) -> bool:
    """Tell whether an sqlite3 file lacks some of its last bytes, in whose place the database silently reads zeros."""
    with file.open("rb") as stream:
        head = stream.read(_SQLITE_HEADER_BYTES)
    if storage_of(head) != ".db3" or len(head) < _SQLITE_HEADER_BYTES:
        return False
    # Written by a version that does not keep the number of pages up to date, the two counters differ.
    known = head[24:28] == head[92:96]
    page_bytes = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    return known and file.stat().st_size < pages * (page_bytes if page_bytes > 1 else 1 << 16)


def is_bag_directory(path: Path) -> bool:
    """Tell whether a directory looks like a bag."""
    return (path / "metadata.yaml").is_file() or bool(_storage_files(path))


@dataclass
class _Source:
    """One open reader and the connections of the chosen topic in it."""

    reader: Any
    connections: list[Any]


def _open_readers(path: Path) -> list[Any]:
    """Open a bag, as a whole where its metadata allows, else file by file."""
    if path.is_dir():
        try:
            return [shim.open_directory(path)]
        except shim.damage() as error:
            files = _storage_files(path)
            if not files:
                raise RecordingError(f"{path}: not a readable bag: {shim.one_line(error)}") from error
            _LOGGER.info("%s: %s; reading its storage files one by one", path, shim.one_line(error))
    else:
        files = [path]
    readers = []
    for file in files:
        with file.open("rb") as stream:
            suffix = storage_of(stream.read(16))
        if suffix is None:
            raise RecordingError(f"{file}: neither sqlite3 nor mcap")
        try:
            readers.append(shim.open_storage(file, suffix))
        except shim.damage() as error:
            for reader in readers:
                reader.close()
            raise RecordingError(f"{file}: not a readable bag: {shim.one_line(error)}") from error
    return readers


class BagRecording(Recording):
    """Event packets of one topic."""

    def __init__(self, path: Path, readers: list[Any], sources: list[_Source], first: Any, topic: str) -> None:
        try:
            encoding = find_encoding(first.encoding).name
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from error
        if first.is_bigendian:
            raise RecordingError(f"{path}: the packets on {topic} are big-endian; only little-endian ones are read")
        super().__init__(path, f"rosbag2/{encoding}", int(first.width), int(first.height))
        self.topic = topic
        self._readers = readers
        self._sources = sources
        self._encoding = first.encoding
        self._cut_short = sum(map(_is_cut_short, _storage_files(path) if path.is_dir() else [path]))
        self.seekable = PacketDecoder(encoding, self.width, self.height).skip_before(0, b"")

    def packets(self) -> Iterator[Any]:
        """Read the messages; those that cannot be read count as errors.

        Yields
        ------
        message
            With the fields of ``EventPacket``.
        """
        return (message for _, message in self.timed_packets())

    def timed_packets(self) -> Iterator[tuple[int, Any]]:
        """Read the messages with the times [ns] at which they were recorded."""
        self.counters.errors += self._cut_short
        for source in self._sources:
            raw_messages = source.reader.messages(source.connections)
            while True:
                try:
                    connection, time_ns, raw = next(raw_messages)
                except StopIteration:
                    break
                except shim.damage() as error:
                    self.counters.errors += 1
                    _LOGGER.warning(
                        "%s: the rest of a storage file cannot be read: %s", self.path, shim.one_line(error)
                    )
                    break
                try:
                    message = shim.deserialize(raw, connection.msgtype)
                except shim.damage():
                    self.counters.errors += 1
                    continue
                yield time_ns, message

    def _batches(self, max_events: int, start_ns: int | None) -> Iterator[EventBatch]:
        # Bag time is the host's and says nothing certain of sensor time, so every message is looked at.
        decoder = PacketDecoder(self._encoding, self.width, self.height)
        decoder.counters = self.counters
        expected: int | None = None
        errors_before = 0
        for message in self.packets():
            kind = (message.encoding, message.width, message.height, message.is_bigendian)
            if kind != (self._encoding, self.width, self.height, False):
                self.counters.errors += 1  # another camera on the same topic, or damage
                continue
            sequence = int(message.seq)
            if expected is not None and sequence > expected:
                decoder.lose(sequence - expected)
            elif self.counters.errors > errors_before:
                decoder.lose(0)
            # A sequence that steps back is a driver that was started anew, not a loss.
            expected = sequence + 1
            errors_before = self.counters.errors
            time_base_ns = int(message.time_base)
            if start_ns is not None:
                if decoder.skip_before(start_ns, message.events, time_base_ns):
                    continue
                start_ns = None
            yield from split_batch(decoder.decode(message.events, time_base_ns), max_events)

    def _release(self) -> None:
        for reader in self._readers:
            reader.close()


def open_bag(path: Path, options: OpenOptions) -> BagRecording:
    """Open a bag directory or a storage file.

    Raises
    ------
    RecordingError
        When the reader is not installed, nothing can be read, or the topic, its encoding or its sensor is unclear.
    """
    readers = _open_readers(path)
    try:
        return _choose(path, readers, options)
    except BaseException:
        for reader in readers:
            reader.close()
        raise


def _choose(path: Path, readers: list[Any], options: OpenOptions) -> BagRecording:
    found = {connection.topic: connection.msgtype for reader in readers for connection in reader.connections}
    topics = sorted(topic for topic, kind in found.items() if kind in PACKET_TYPES)
    if options.topic is not None:
        topics = [topic for topic in topics if topic.lstrip("/") == options.topic.lstrip("/")]
    if not topics:
        held = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(found.items())) or "no topics"
        wanted = f" on {options.topic}" if options.topic is not None else ""
        raise RecordingError(f"{path}: no {PACKET_TYPE}{wanted} in this bag; it holds {held}")
    if len(topics) > 1:
        raise RecordingError(f"{path}: events on several topics, {', '.join(topics)}; name one")
    topic = topics[0]
    sources = []
    for reader in readers:
        connections = [item for item in reader.connections if item.topic == topic and item.msgtype in PACKET_TYPES]
        if connections:
            sources.append(_Source(reader, connections))
    first = _first_message(path, topic, sources)
    options.refuse_encoding(path, first.encoding)
    return BagRecording(path, readers, sources, first, topic)


def _first_message(path: Path, topic: str, sources: list[_Source]) -> Any:
    """Read the first message, which tells the encoding and the sensor."""
    try:
        for source in sources:
            for connection, _, raw in source.reader.messages(source.connections):
                return shim.deserialize(raw, connection.msgtype)
    except shim.damage() as error:
        raise RecordingError(f"{path}: the first message on {topic} cannot be read: {shim.one_line(error)}") from error
    raise RecordingError(f"{path}: there are no messages on {topic}")


class BagWriter(RecordingWriter):
    """Writes a bag directory with one topic of ``EventPacket``.

    Parameters
    ----------
    path : pathlib.Path
        The directory; must not exist, or be a bag, which is replaced when the new one is whole.
    width, height : int
    encoding : str
        Of the payload: any with an encoder. Those without words for triggers refuse them.
    storage : {'mcap', 'sqlite3'}
    topic, frame_id : str
    start_host_ns : int
        Host time of the first event: header stamps and bag times are this plus the sensor time since.
    packet_ns : int
        Sensor time of a packet, below 4.29 s for ``mono``.

    Raises
    ------
    RecordingError
        When the writer is not installed or something else lies at `path`.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        *,
        encoding: str = "evt3",
        storage: str = "mcap",
        topic: str = "/event_camera/events",
        frame_id: str = "event_camera_optical",
        start_host_ns: int = 0,
        packet_ns: int = 1_000_000,
    ) -> None:
        super().__init__(path, width, height)
        if path.exists() and not (path.is_dir() and is_bag_directory(path)):
            raise RecordingError(f"{path}: exists and is no bag; it is not overwritten")
        found = find_encoding(encoding)
        if found.encoder is None:
            raise RecordingError(f"{path}: packets with {encoding} are not written")
        if packet_ns < 1:
            raise RecordingError(f"{path}: a packet of {packet_ns} ns cannot be; it lasts at least 1 ns")
        self._encoder = found.encoder()
        self._encoding = found.name
        self._frame_id = frame_id
        self._start_host_ns = int(start_host_ns)
        self._packet_ns = int(packet_ns)
        self._first_ns: int | None = None
        self._stamp_ns = 0  # of the latest packet
        self._sequence = 0
        shutil.rmtree(self._partial, ignore_errors=True)
        self._writer: Any = shim.create_writer(self._partial, path.name, storage)
        self._connection = shim.add_packet_connection(self._writer, topic)

    def _write(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        if self._writer is None:
            raise RecordingError(f"{self.path}: the recording is closed")
        # Cut where the packet's number changes: all that is needed of order is that packets are runs of the input.
        numbers = events["t"] // self._packet_ns
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        trigger_cuts = np.maximum.accumulate(np.searchsorted(triggers["t"], events["t"][cuts]))
        for part, trigger_part in zip(np.split(events, cuts), np.split(triggers, trigger_cuts), strict=True):
            if len(part) or len(trigger_part):
                self._write_packet(part, trigger_part)

    def _write_packet(self, events: npt.NDArray[np.void], triggers: npt.NDArray[np.void]) -> None:
        time_ns = int(events["t"][0]) if len(events) else int(triggers["t"][0])
        if self._first_ns is None:
            self._first_ns = time_ns
        # A reader sorts by bag time, so that it must not run back, even where sensor time does.
        stamp_ns = self._start_host_ns + time_ns - self._first_ns
        behind_ns = self._stamp_ns - stamp_ns
        if behind_ns > _DISORDER_NS:
            self._first_ns -= behind_ns
        self._stamp_ns = stamp_ns = max(self._stamp_ns, stamp_ns)
        payload, time_base_ns = self._encoder.encode_packet(events, triggers)
        shim.write_packet(
            self._writer,
            self._connection,
            stamp_ns=stamp_ns,
            frame_id=self._frame_id,
            width=self.width,
            height=self.height,
            sequence=self._sequence,
            time_base_ns=time_base_ns,
            encoding=self._encoding,
            payload=np.frombuffer(payload, np.uint8),
        )
        self._sequence += 1

    def close(self) -> None:
        """See `RecordingWriter.close`."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        shim.rename_bag(self._partial, self.path)

    def abandon(self) -> None:
        """See `RecordingWriter.abandon`."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
        shutil.rmtree(self._partial, ignore_errors=True)
