# SPDX-License-Identifier: Apache-2.0
"""Turns message dataclasses into rclpy messages and back.

Knows how to find a generated message class by its name; what is in a message is the business of
`neuro_ros.cores.fields`.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any, TypeVar

from neuro_ros.cores import fields
from neuro_ros.cores.messages import ROS_TYPES
from neuro_ros.errors import NeuroRosError

__all__ = ["MessageTypeError", "from_ros", "message_class", "ros_class", "to_ros"]

T = TypeVar("T")


class MessageTypeError(NeuroRosError):
    """A message package is not installed, or lacks the type."""


@functools.cache
def message_class(type_name: str) -> type:
    """Return the generated Python class of a full type name such as ``sensor_msgs/msg/Temperature``.

    Raises
    ------
    MessageTypeError
        The name is malformed, its package is not installed or has no such type; the text says what to install.
    """
    try:
        package, kind, name = type_name.split("/")
    except ValueError:
        raise MessageTypeError(f"{type_name!r} is not a message type; write it as package/msg/Type") from None
    try:
        module = importlib.import_module(f"{package}.{kind}")
    except ImportError as error:
        if package == "neuro_ros":
            remedy = "build the workspace (make setup, or colcon build) and source it"
        else:
            distribution = os.environ.get("ROS_DISTRO", "<distro>")
            remedy = f"install it: sudo apt install ros-{distribution}-{package.replace('_', '-')}"
        raise MessageTypeError(f"{type_name} is not available ({error}); {remedy}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise MessageTypeError(f"package {package} has no {kind} {name}; is an older version installed?")
    return found


def ros_class(cls: type) -> type:
    """Return the rclpy class of a message dataclass; raises as `message_class`."""
    return message_class(ROS_TYPES[cls])


def to_ros(message: Any) -> Any:
    """Convert a message dataclass to the rclpy message; raises as `neuro_ros.cores.fields.to_ros`."""
    return fields.to_ros(message, message_class)


def from_ros(cls: type[T], message: Any) -> T:
    """Convert an rclpy message to a dataclass without copying large arrays; see `neuro_ros.cores.fields.from_ros`."""
    return fields.from_ros(cls, message)
