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

__all__ = [
    "ParameterError",
    "ParameterInfo",
    "build",
    "flatten",
    "markdown_table",
    "parameter",
    "parameter_infos",
    "replace",
]
