# SPDX-License-Identifier: Apache-2.0
"""Declares a node's ROS parameters from its dataclass and keeps the two equal.

A change is validated as a whole first and applied afterwards; one that is refused leaves everything as it was. What a
parameter means is the dataclass's business (`neuro_ros.cores.parameters`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from neuro_ros.cores.parameters import ParameterError, ParameterInfo, build, flatten, parameter_infos, replace
from neuro_ros.errors import NeuroRosError

__all__ = ["NodeParameters"]

P = TypeVar("P")
_TYPES = {
    bool: (Parameter.Type.BOOL, ParameterType.PARAMETER_BOOL),
    int: (Parameter.Type.INTEGER, ParameterType.PARAMETER_INTEGER),
    float: (Parameter.Type.DOUBLE, ParameterType.PARAMETER_DOUBLE),
    str: (Parameter.Type.STRING, ParameterType.PARAMETER_STRING),
    list: (Parameter.Type.STRING_ARRAY, ParameterType.PARAMETER_STRING_ARRAY),
}
_MAX_INTEGER = 2**63 - 1
_MAX_FLOAT = 1.7976931348623157e308


def _descriptor(info: ParameterInfo) -> ParameterDescriptor:
    unit = f" [{info.unit}]" if info.unit else ""
    when = "dynamic" if info.dynamic else "changes only while unconfigured"
    constraints = [f"one of: {', '.join(info.choices)}"] if info.choices else []
    descriptor = ParameterDescriptor(
        name=info.name,
        type=_TYPES[info.type][1],
        description=f"{info.description}{unit} ({when})",
        additional_constraints="; ".join([*constraints, when]),
    )
    if info.minimum is None and info.maximum is None:
        return descriptor
    if info.type is int:
        low = -_MAX_INTEGER - 1 if info.minimum is None else int(info.minimum)
        high = _MAX_INTEGER if info.maximum is None else int(info.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif info.type is float:
        bottom = -_MAX_FLOAT if info.minimum is None else float(info.minimum)
        top = _MAX_FLOAT if info.maximum is None else float(info.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=bottom, to_value=top, step=0.0)]
    return descriptor


class NodeParameters(Generic[P]):
    """The ROS parameters of one node, declared from a dataclass.

    Parameters
    ----------
    node : rclpy.node.Node
        The node, as yet without these parameters.
    cls : type
        Parameter dataclass.
    is_configured : Callable[[], bool]
        True while only dynamic parameters may change.
    apply : Callable[[P], None]
        Called with the new, valid object after a change of dynamic parameters while configured.

    Attributes
    ----------
    current : P
        The values in force, frozen.

    Raises
    ------
    ParameterError
        An override is unknown, of the wrong type, out of range or does not fit the others; the text names it.
    """

    def __init__(self, node: Node, cls: type[P], is_configured: Callable[[], bool], apply: Callable[[P], None]) -> None:
        self._infos = parameter_infos(cls)
        self._is_configured = is_configured
        self._apply = apply
        # rclpy keeps overrides (command line, files, constructor) here and forgets those that nobody declares;
        # a mistyped name must be an error, and there is no public door to the list.
        overrides = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
        unknown = sorted(
            name
            for name in overrides
            if name not in self._infos and not node.has_parameter(name) and not name.startswith("qos_overrides.")
        )
        if unknown:
            raise ParameterError(f"unknown parameter {', '.join(unknown)}; known: {', '.join(self._infos)}")
        given = {name: value for name, value in overrides.items() if name in self._infos}
        self.current: P = build(cls, given)
        values = flatten(self.current)
        for info in self._infos.values():
            kind = _TYPES[info.type][0]
            # ignore_override: the checked value, in which 1 is 1.0 for a float, is the one to declare.
            node.declare_parameter(info.name, kind, _descriptor(info), ignore_override=True)
        node.set_parameters([Parameter(n, _TYPES[i.type][0], values[n]) for n, i in self._infos.items()])
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._adopt)

    def _changes(self, parameters: list[Parameter]) -> dict[str, Any]:
        return {p.name: p.value for p in parameters if p.name in self._infos}

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            new = flatten(replace(self.current, self._changes(parameters)))
        except NeuroRosError as error:
            return SetParametersResult(successful=False, reason=str(error))
        old = flatten(self.current)
        fixed = [name for name, info in self._infos.items() if not info.dynamic and new[name] != old[name]]
        if fixed and self._is_configured():
            reason = f"{', '.join(fixed)}: changes only while the node is unconfigured; clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _adopt(self, parameters: list[Parameter]) -> None:
        new = replace(self.current, self._changes(parameters))
        if new == self.current:
            return
        self.current = new
        if self._is_configured():
            self._apply(new)
