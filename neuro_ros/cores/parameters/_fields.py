# SPDX-License-Identifier: Apache-2.0
"""Parameters of a node as one frozen dataclass: the single source of names, defaults, ranges and descriptions.

The node declares its ROS parameters from the dataclass, the YAML in ``config/`` and the tables in ``docs/`` are made
from it, and the offline tools and launch files validate with it. A nested dataclass is a group: its fields carry
dotted names (``servo.step_threshold_s``).

This module refuses to know about rclpy.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from neuro_ros.errors import NeuroRosError

__all__ = [
    "ParameterError",
    "ParameterInfo",
    "build",
    "flatten",
    "parameter",
    "parameter_infos",
    "replace",
]

_KEY = "neuro_ros.parameter"
T = TypeVar("T")


class ParameterError(NeuroRosError):
    """A parameter is unknown, of the wrong type, out of range, or does not fit the others."""


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """Everything there is to know about one parameter.

    Parameters
    ----------
    name : str
        Dotted ROS name.
    type : type
        bool, int, float, str, or list (of str).
    default : object
        Default value.
    description : str
        Meaning, for the descriptor and the tables.
    unit : str
        Unit, empty for none.
    minimum, maximum : float or None
        Inclusive range.
    choices : tuple of str
        Allowed values; empty = any.
    dynamic : bool
        True when it may change while the node is configured.
    """

    name: str
    type: type
    default: Any
    description: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    dynamic: bool

    def check(self, value: Any) -> Any:
        """Return `value` as the parameter's type, or raise `ParameterError` with value and limit."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.type is list and isinstance(value, Sequence) and not isinstance(value, str):
            value = [str(item) for item in value]
        if type(value) is not self.type:
            raise ParameterError(f"{self.name}: {value!r} is a {type(value).__name__}, must be a {self.type.__name__}")
        if isinstance(value, int | float) and self.type is not bool:
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not low <= value <= high:  # positive form, so that NaN fails
                raise ParameterError(
                    f"{self.name}: {value!r} is outside [{low:.12g}, {high:.12g}]{' ' + self.unit if self.unit else ''}"
                )
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        return value


def parameter(
    default: Any,
    description: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    dynamic: bool = False,
) -> Any:
    """Declare one parameter as a dataclass field; see `ParameterInfo` for the arguments."""
    metadata = {
        _KEY: {
            "description": description,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "choices": tuple(choices),
            "dynamic": dynamic,
        }
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: tuple(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _walk(cls: type, prefix: str = "") -> Iterator[tuple[ParameterInfo, tuple[str, ...]]]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            for info, path in _walk(typing.cast(type, hint), f"{prefix}{item.name}."):
                yield info, (item.name, *path)
            continue
        default: Any = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        origin = typing.get_origin(hint) or hint
        kind = list if origin in (tuple, list, Sequence, types.GenericAlias) or isinstance(default, tuple) else hint
        yield (
            ParameterInfo(
                name=f"{prefix}{item.name}",
                type=kind,
                default=list(default) if kind is list else default,
                **item.metadata[_KEY],
            ),
            (item.name,),
        )


def parameter_infos(cls: type) -> dict[str, ParameterInfo]:
    """Return dotted name to `ParameterInfo` for a parameter dataclass, in order of declaration."""
    return {info.name: info for info, _ in _walk(cls)}


def flatten(parameters: Any) -> dict[str, Any]:
    """Return dotted name to value of a parameter object; lists are new lists."""
    values = {}
    for info, path in _walk(type(parameters)):
        value = parameters
        for name in path:
            value = getattr(value, name)
        values[info.name] = list(value) if info.type is list else value
    return values


def build(cls: type[T], values: Mapping[str, Any] | None = None) -> T:
    """Build and validate a parameter dataclass from dotted names.

    Parameters
    ----------
    cls : type
        The parameter dataclass; its ``__post_init__`` checks rules across parameters by raising `ParameterError`.
    values : Mapping[str, object], optional
        Dotted name to value; what is absent keeps its default.

    Raises
    ------
    ParameterError
        Unknown name, wrong type, out of range (NaN included), or a cross-parameter rule is broken.
    """
    values = dict(values or {})
    checked = {}
    for info, path in _walk(cls):
        value = info.check(values.pop(info.name, info.default))
        checked[path] = tuple(value) if info.type is list else value
    if values:
        known = ", ".join(parameter_infos(cls))
        raise ParameterError(f"unknown parameter {', '.join(sorted(values))}; known: {known}")
    return _construct(cls, checked)


def _construct(cls: type[T], values: Mapping[tuple[str, ...], Any]) -> T:
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(hints[item.name]):
            inner = {path[1:]: value for path, value in values.items() if path[0] == item.name}
            arguments[item.name] = _construct(hints[item.name], inner)
        else:
            arguments[item.name] = values[(item.name,)]
    return cls(**arguments)


def replace(parameters: T, changes: Mapping[str, Any]) -> T:
    """Return a validated copy of `parameters` with dotted names changed; raises as `build`."""
    return build(type(parameters), {**flatten(parameters), **changes})
