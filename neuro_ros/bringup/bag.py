# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of the graph back from a bag, as the dataclasses that the cores use. No ROS needed.

A bag is a rosbag2 folder or one of its storage files. The definitions that lie in the bag decide how its bytes are
read; where it has none (older recordings), those of this package do. A field that the bag's version of a message did
not have yet comes out as zero, so that old recordings stay readable; a message that cannot be read is counted.
"""

from __future__ import annotations

import logging
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from neuro_ros.cores.fields import definition_of, from_ros
from neuro_ros.cores.messages import ROS_TYPES, EventPacket
from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import message_definition_paths

__all__ = ["Bag", "BagError", "BagMessage", "BagTopic", "graph_typestore"]

_LOGGER = logging.getLogger(__name__)
_CLASSES: Mapping[str, type] = {name: cls for cls, name in ROS_TYPES.items()}
_MAX_REASON = 200
#: What a definition may use without bringing it along.
_EVERYWHERE = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration", "std_msgs/msg/Header")
_STORAGES = (".mcap", ".db3")
_EVENT_PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    "bool is_bigendian\nuint8[] events\n"
)


class BagError(NeuroRosError):
    """A bag cannot be opened, or does not hold what is asked of it."""


@dataclass(frozen=True, slots=True)
class BagTopic:
    """A topic of a bag: its name there, its ROS type, and how many messages it holds."""

    name: str
    type: str
    count: int


@dataclass(frozen=True, slots=True)
class BagMessage:
    """One message: its topic in the bag, the time it was recorded [ns], and the message.

    The message is a dataclass of `neuro_ros.cores.messages` where there is one of its type, else what rosbags makes of
    it.
    """

    topic: str
    time_ns: int
    message: Any


class _Padded:
    """A message of an older version, with zeros for the fields that it did not have."""

    def __init__(self, message: Any, missing: Mapping[str, Any]) -> None:
        self._message = message
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            return self._missing[name]
        return getattr(self._message, name)


_NO_TIME = types.SimpleNamespace(sec=0, nanosec=0)
_NO_HEADER = types.SimpleNamespace(stamp=_NO_TIME, frame_id="")


def _zero(kind: str, is_array: bool) -> Any:
    if is_array:
        return np.zeros(0, np.uint8) if kind == "uint8" else []
    return {
        "string": "",
        "bool": False,
        "float32": float("nan"),
        "float64": float("nan"),
        "builtin_interfaces/Time": _NO_TIME,
        "std_msgs/Header": _NO_HEADER,
    }.get(kind, 0)


def graph_typestore() -> Typestore:
    """Return the types of ROS 2 Jazzy together with those of this package and the camera packets that it takes."""
    store = get_typestore(Stores.ROS2_JAZZY)
    found = dict(get_types_from_msg(_EVENT_PACKET, ROS_TYPES[EventPacket]))
    for name, path in message_definition_paths().items():
        if "/msg/" in name:
            found.update(get_types_from_msg(path.read_text(encoding="utf-8"), name))
    store.register({name: fields for name, fields in found.items() if name not in store.fielddefs})
    return store


def _embedded_types(definition: MessageDefinition, kind: str) -> dict[str, Any]:
    """Parse the definition that a bag carries; empty where it carries none."""
    if definition.format == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(definition.data, kind))
    if definition.format != MessageDefinitionFormat.IDL:
        return {}
    # Several files in one text, each under a ruler and its name.
    found: dict[str, Any] = {}
    for part in definition.data.split("=" * 80 + "\n"):
        name, _, text = part.partition("\n")
        if part.strip():
            found.update(get_types_from_idl(text if name.startswith("IDL: ") else part))
    return found


def _open(path: Path) -> list[Reader]:
    """Open a bag as a whole where its metadata allows, else its storage files one by one, in order of name."""
    if not path.exists():
        raise BagError(f"{path}: no such file or folder")
    if not path.is_dir() and path.suffix not in _STORAGES:
        raise BagError(f"{path}: a bag is a folder with metadata.yaml, or a {' or '.join(_STORAGES)} file")
    files = [path]
    if path.is_dir():
        reader = Reader(path) if (path / "metadata.yaml").exists() else None
        try:
            if reader is not None:
                reader.open()
                return [reader]
            why = "it has no metadata.yaml, its recording was cut off"
        # The readers of rosbags let through whatever a damaged file makes Python say.
        except Exception as error:  # noqa: BLE001
            why = _one_line(error)
        files = sorted((item for item in path.iterdir() if item.suffix in _STORAGES), key=_natural)
        if not files:
            raise BagError(f"{path}: not a readable bag: {why}")
        _LOGGER.warning("%s: %s; reading its storage files one by one", path, why)
    readers: list[Reader] = []
    for file in files:
        reader = Reader(file)
        try:
            reader.open()
        except Exception as error:
            for other in readers:
                other.close()
            raise BagError(f"{file}: not a readable bag: {_one_line(error)}") from error
        readers.append(reader)
    return readers


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in a name as numbers: bag_2 before bag_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


class Bag:
    """A bag that is open for reading; use it as a context manager.

    Parameters
    ----------
    path : str or Path
        Folder or storage file.

    Attributes
    ----------
    topics : tuple of BagTopic
        What it holds.
    unreadable : int
        Messages that could not be read so far.

    Raises
    ------
    BagError
        It is missing, foreign or damaged, in one line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.unreadable = 0
        self._stores: dict[str, Callable[[bytes], Any]] = {}
        self._readers = _open(self.path)
        counted: dict[tuple[str, str], int] = {}
        for connection in self._connections():
            key = (connection.topic, connection.msgtype)
            counted[key] = counted.get(key, 0) + connection.msgcount
        self.topics = tuple(BagTopic(name, kind, count) for (name, kind), count in sorted(counted.items()))

    def _connections(self) -> Iterator[Any]:
        for reader in self._readers:
            yield from reader.connections

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag; safe twice."""
        for reader in self._readers:
            if reader.is_open:
                reader.close()

    def of_type(self, cls: type) -> list[BagTopic]:
        """Return the topics with messages of a dataclass of `neuro_ros.cores.messages`; empty topics are left out."""
        return [topic for topic in self.topics if topic.type == ROS_TYPES[cls] and topic.count]

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Read messages in recorded order.

        Parameters
        ----------
        topics : collection of str, optional
            Names in the bag; all when not given.

        Yields
        ------
        BagMessage
            Messages that cannot be read are left out and counted in `unreadable`; where the storage itself breaks off,
            so does the iteration, with a warning in the log.
        """
        for connection, time_ns, raw in self._raw(topics):
            try:
                message = self._decoder(connection)(raw)
            except Exception as error:  # noqa: BLE001 - see _open
                self.unreadable += 1
                if self.unreadable == 1:
                    _LOGGER.warning(
                        "%s: a message on %s cannot be read: %s", self.path, connection.topic, _one_line(error)
                    )
                continue
            yield BagMessage(connection.topic, int(time_ns), message)

    def _raw(self, topics: Collection[str] | None) -> Iterator[tuple[Any, int, bytes]]:
        for reader in self._readers:
            connections = [item for item in reader.connections if topics is None or item.topic in topics]
            if not connections:
                continue
            raw_messages = reader.messages(connections)
            while True:
                try:
                    item = next(raw_messages)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - see _open
                    self.unreadable += 1
                    _LOGGER.warning("%s: the rest of %s cannot be read: %s", self.path, reader.path, _one_line(error))
                    break
                yield item

    def _decoder(self, connection: Any) -> Callable[[bytes], Any]:
        key = f"{connection.msgtype} {hash(connection.msgdef)}"
        if key not in self._stores:
            self._stores[key] = self._make_decoder(connection)
        return self._stores[key]

    def _make_decoder(self, connection: Any) -> Callable[[bytes], Any]:
        kind, definition = connection.msgtype, connection.msgdef
        store = get_typestore(Stores.ROS2_JAZZY)
        try:
            embedded = _embedded_types(definition, kind)
        except TypesysError as error:
            embedded = {}
            _LOGGER.info("%s: the definition of %s in the bag is not understood: %s", self.path, kind, _one_line(error))
        if kind in embedded:
            # A store of its own: the bag's version of a message must not meet that of this package.
            base = {name: store.fielddefs[name] for name in _EVERYWHERE if name not in embedded}
            store = get_typestore(Stores.EMPTY)
            store.register({**base, **embedded})
        else:
            store = graph_typestore()
        cls = _CLASSES.get(kind)
        if cls is None:
            return lambda raw: store.deserialize_cdr(raw, kind)
        present = {name for name, _ in store.fielddefs[kind][1]}
        missing = {
            field.name: _zero(field.type, field.array)
            for field in definition_of(cls).fields
            if field.name not in present
        }
        if missing:
            _LOGGER.info("%s: %s of an older version, without %s", self.path, kind, ", ".join(missing))
            return lambda raw: from_ros(cls, _Padded(store.deserialize_cdr(raw, kind), missing))
        return lambda raw: from_ros(cls, store.deserialize_cdr(raw, kind))


def _one_line(error: BaseException) -> str:
    """Say what went wrong in one line of bounded length."""
    text = " ".join(str(error).split())
    if not isinstance(error, ReaderError | OSError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
