# SPDX-License-Identifier: Apache-2.0
"""Walks the fields of a message in the order of its definition: for conversion, digests and checks.

The definitions are read from the ``.msg`` files, so the order is the wire's and not a dataclass's. Conversion is
generic: the other side is any object with the fields as attributes, an rclpy message or a rosbags one, and its class is
looked up by the caller's function. In a message dataclass ``builtin_interfaces/Time`` is an integer [ns] and
``uint8[]`` any bytes-like object; a large array is handed on as a whole, never element by element.

This module refuses to know about rclpy, rosbags and topics.
"""

from __future__ import annotations

import array
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from neuro_ros.cores.messages import ROS_TYPES, WALL_CLOCK_FIELDS, Header
from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import message_definition_paths

__all__ = [
    "Constant",
    "Definition",
    "Field",
    "FieldError",
    "definition_of",
    "digest_bytes",
    "from_ros",
    "parse_definition",
    "to_ros",
]

T = TypeVar("T")
_NS_PER_S = 1_000_000_000

#: ROS scalar type to its little-endian struct code, which is also the code of `array.array` on every platform of ROS 2.
_CODES = {
    "bool": "?",
    "byte": "B",
    "char": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_TIME = "builtin_interfaces/Time"
_HEADER = "std_msgs/Header"

#: Definitions of other packages' messages that the graph carries; their order of fields is part of their type.
_FOREIGN = {
    "sensor_msgs/msg/Temperature": "std_msgs/Header header\nfloat64 temperature\nfloat64 variance\n",
    "sensor_msgs/msg/Image": (
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
        "uint8[] data\n"
    ),
    "event_camera_msgs/msg/EventPacket": (
        "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
        "string encoding\nbool is_bigendian\nuint8[] events\n"
    ),
}
_definitions: dict[type, Definition] = {}
_LINE = re.compile(r"^(?P<type>[A-Za-z0-9_/]+)(?P<array>\[\])?\s+(?P<name>\w+)\s*(?:=\s*(?P<value>-?\d+))?\s*$")


class FieldError(NeuroRosError):
    """A message or its definition does not have the fields it must have."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message definition.

    Parameters
    ----------
    name : str
        Field name.
    type : str
        ROS type without brackets, e.g. ``uint8`` or ``std_msgs/Header``.
    array : bool
        True for an unbounded sequence.
    comment : str
        What stands behind the ``#`` on its line.
    """

    name: str
    type: str
    array: bool
    comment: str


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a message definition, an integer."""

    name: str
    type: str
    value: int
    comment: str


@dataclass(frozen=True, slots=True)
class Definition:
    """Fields and constants of one message (or one half of a service), in the order of the file."""

    fields: tuple[Field, ...]
    constants: tuple[Constant, ...]


def parse_definition(text: str) -> Definition:
    """Read a message definition in the subset of the language that this package uses.

    Parameters
    ----------
    text : str
        Contents of a ``.msg`` file, or of one half of a ``.srv`` file.

    Raises
    ------
    FieldError
        A line is neither a field, nor an integer constant, nor a comment; bounded and fixed-size arrays among them.
    """
    fields, constants = [], []
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        if not code.strip():
            continue
        match = _LINE.match(code)
        if match is None:
            raise FieldError(f"message definition line {line.strip()!r} is not understood; fields are 'type name'")
        kind, name, comment = match["type"], match["name"], comment.strip()
        if match["value"] is not None:
            constants.append(Constant(name, kind, int(match["value"]), comment))
            continue
        if kind not in _CODES and kind not in ("string", _TIME, _HEADER):
            raise FieldError(f"message definition line {line.strip()!r} has type {kind}, which is not supported here")
        fields.append(Field(name, kind, match["array"] is not None, comment))
    return Definition(tuple(fields), tuple(constants))


def definition_of(cls: type) -> Definition:
    """Return the definition behind a message dataclass.

    Raises
    ------
    FieldError
        `cls` is not one of `neuro_ros.cores.messages.ROS_TYPES`.
    """
    found = _definitions.get(cls)
    if found is not None:
        return found
    name = ROS_TYPES.get(cls)
    if name is None:
        raise FieldError(f"{cls.__name__} is not a message of the graph; known: {', '.join(ROS_TYPES.values())}")
    text = _FOREIGN.get(name)
    if text is None:
        text = message_definition_paths()[name].read_text(encoding="utf-8")
    return _definitions.setdefault(cls, parse_definition(text))


def _array(values: Sequence[Any], code: str) -> Any:
    """Return a typed array of a sequence; bytes-like input is copied as one block."""
    if code == "B":
        made = array.array("B")
        made.frombytes(values if isinstance(values, bytes) else memoryview(values).cast("B"))  # type: ignore[arg-type]
        return made
    return array.array(code, values)


def to_ros(
    message: Any,
    types: Callable[[str], type],
    numeric: Callable[[Sequence[Any], str], Any] = _array,
) -> Any:
    """Convert a message dataclass to a ROS-like message.

    Parameters
    ----------
    message : object
        A dataclass of `neuro_ros.cores.messages`.
    types : Callable[[str], type]
        Full type name (``neuro_ros/msg/Gesture``, ``std_msgs/msg/Header``, ``builtin_interfaces/msg/Time``) to the
        class to make; it takes every field as a keyword argument.
    numeric : Callable, optional
        Makes the container of a sequence of numbers from (values, struct code); the default makes `array.array`, what
        rclpy takes without a copy of each element. ``bool[]`` and ``string[]`` become lists.

    Raises
    ------
    FieldError
        `message` is not a message of the graph.
    """
    cls = type(message)
    values = {}
    for field in definition_of(cls).fields:
        value = getattr(message, field.name)
        if field.array:
            if field.type in ("string", "bool"):
                value = list(value)
            else:
                value = numeric(value, _CODES[field.type])
        elif field.type == _TIME:
            value = _time(value, types)
        elif field.type == _HEADER:
            value = types("std_msgs/msg/Header")(stamp=_time(value.stamp, types), frame_id=value.frame_id)
        values[field.name] = value
    return types(ROS_TYPES[cls])(**values)


def _time(value_ns: int, types: Callable[[str], type]) -> Any:
    seconds, nanoseconds = divmod(value_ns, _NS_PER_S)
    return types("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)


def from_ros(cls: type[T], message: Any) -> T:
    """Convert a ROS-like message to a message dataclass.

    Parameters
    ----------
    cls : type
        A dataclass of `neuro_ros.cores.messages`.
    message : object
        Has the fields of the definition as attributes.

    Returns
    -------
    object
        Of type `cls`. A ``uint8[]`` is a `memoryview` of the message's own bytes: no copy, so `message` must not be
        changed afterwards. Other sequences are lists of Python numbers.

    Raises
    ------
    FieldError
        A field is missing.
    """
    values = {}
    for field in definition_of(cls).fields:
        try:
            value = getattr(message, field.name)
        except AttributeError as error:
            text = (
                f"{type(message).__name__} has no field {field.name!r}, so it is not a {ROS_TYPES[cls]} of this version"
            )
            raise FieldError(text) from error
        if field.array:
            if field.type == "uint8":
                value = memoryview(value)
            else:
                value = value.tolist() if hasattr(value, "tolist") else list(value)
        elif field.type == _TIME:
            value = value.sec * _NS_PER_S + value.nanosec
        elif field.type == _HEADER:
            value = Header(value.stamp.sec * _NS_PER_S + value.stamp.nanosec, value.frame_id)
        values[field.name] = value
    return cls(**values)


def _pack_text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<I", len(data)) + data


def _pack_number(code: str, value: Any) -> bytes:
    # The sign and payload of a NaN depend on how it came about; one NaN is as good as another here.
    if code in "fd" and math.isnan(value):
        value = math.nan
    return struct.pack("<" + code, value)


def _pack_time(value_ns: int) -> bytes:
    return struct.pack("<iI", *divmod(value_ns, _NS_PER_S))


def digest_bytes(topic: str, message: Any) -> bytes:
    """Return what one output contributes to the replay digest.

    Parameters
    ----------
    topic : str
        Relative topic.
    message : object
        A dataclass of `neuro_ros.cores.messages`.

    Returns
    -------
    bytes
        See Notes; the digest is the sha256 of these over all outputs in order.

    Notes
    -----
    The topic as a string, then every field in the order of the ``.msg`` file, but for those in `WALL_CLOCK_FIELDS`:
    numbers little-endian in the width of the definition (``bool`` one byte, floats as stored in the message, every NaN
    as the quiet positive one); a string as its length in bytes (uint32) and its UTF-8 bytes; a time as sec (int32) and
    nanosec (uint32); a header as stamp and frame_id; a sequence as its length (uint32) and its elements. Constants are
    not part of it.

    Raises
    ------
    FieldError
        `message` is not a message of the graph, or a value does not fit its field.
    """
    parts = [_pack_text(topic)]
    for field in definition_of(type(message)).fields:
        if field.name in WALL_CLOCK_FIELDS:
            continue
        value = getattr(message, field.name)
        try:
            parts.append(_pack_field(field, value))
        except (struct.error, OverflowError, TypeError, AttributeError) as error:
            text = f"{ROS_TYPES[type(message)]}.{field.name}: {value!r} does not fit {field.type}: {error}"
            raise FieldError(text) from error
    return b"".join(parts)


def _pack_field(field: Field, value: Any) -> bytes:
    if not field.array:
        return _pack_value(field.type, value)
    count = struct.pack("<I", len(value))
    if field.type == "uint8":
        return count + bytes(value)
    return count + b"".join(_pack_value(field.type, item) for item in value)


def _pack_value(kind: str, value: Any) -> bytes:
    if kind == "string":
        return _pack_text(value)
    if kind == _TIME:
        return _pack_time(value)
    if kind == _HEADER:
        return _pack_time(value.stamp) + _pack_text(value.frame_id)
    return _pack_number(_CODES[kind], value)
