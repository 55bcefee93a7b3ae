# SPDX-License-Identifier: Apache-2.0
"""Parameter dataclasses, one module a node; light on imports so that launch files can read them."""

from neuro_ros.cores.parameters._fields import (
    ParameterError,
    ParameterInfo,
    build,
    flatten,
    markdown_table,
    parameter,
    parameter_infos,
    replace,
)
from neuro_ros.cores.parameters._nodes import node_names, parameter_class

__all__ = [
    "ParameterError",
    "ParameterInfo",
    "build",
    "flatten",
    "markdown_table",
    "node_names",
    "parameter",
    "parameter_class",
    "parameter_infos",
    "replace",
]
