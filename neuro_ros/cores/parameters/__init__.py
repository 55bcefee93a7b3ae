# SPDX-License-Identifier: Apache-2.0
"""Parameter dataclasses, one module a node; light on imports so that launch files can read them."""

from neuro_ros.cores.parameters._documents import config_yaml, markdown_page
from neuro_ros.cores.parameters._fields import (
    ParameterError,
    ParameterInfo,
    build,
    flatten,
    parameter,
    parameter_infos,
    replace,
)
from neuro_ros.cores.parameters._nodes import node_names, parameter_class

__all__ = [
    "ParameterError",
    "ParameterInfo",
    "build",
    "config_yaml",
    "flatten",
    "markdown_page",
    "node_names",
    "parameter",
    "parameter_class",
    "parameter_infos",
    "replace",
]
