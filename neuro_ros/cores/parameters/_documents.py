# SPDX-License-Identifier: Apache-2.0
"""What is written about parameters: a page of tables, and one YAML file a node with every default.

Both are made from the dataclasses, ``python -m neuro_ros.cores.parameters``; tests compare what lies there.
"""

from __future__ import annotations

import json
from typing import Any

from neuro_ros.cores.parameters._fields import ParameterInfo, parameter_infos
from neuro_ros.cores.parameters._nodes import node_names, parameter_class

__all__ = ["config_yaml", "markdown_page"]


def _limits(info: ParameterInfo) -> str:
    if info.choices:
        return ", ".join(f"`{choice}`" for choice in info.choices)
    if info.minimum is None and info.maximum is None:
        return ""
    low, high = ("" if limit is None else f"{limit:.12g}" for limit in (info.minimum, info.maximum))
    return f"{low} .. {high}".strip()


def _text(value: Any) -> str:
    """Return a default as YAML and ROS 2's command line take it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str | list) else repr(value)


def _table(cls: type) -> str:
    """Return the table of a parameter dataclass, one row a parameter, ending in a newline."""
    rows = ["| parameter | default | unit | allowed | at run time | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for info in parameter_infos(cls).values():
        run_time = "yes" if info.dynamic else "no"
        rows.append(
            f"| `{info.name}` | `{_text(info.default)}` | {info.unit} | {_limits(info)} | {run_time} "
            f"| {info.description} |"
        )
    return "\n".join(rows) + "\n"


def markdown_page() -> str:
    """Return ``docs/parameters.md``."""
    lines = [
        "# Parameters",
        "",
        "Every parameter of every node. Values outside what is allowed are refused with the reason, and the node stays",
        "as it was; so are unknown names and combinations that do not fit. *At run time*: `ros2 param set` changes it",
        "while the node is configured; the others count from the next configure on. Defaults stand in",
        "[config/](../config), one file a node.",
        "",
    ]
    for node in node_names():
        lines += [f"## {node}", "", _table(parameter_class(node))]
    return "\n".join(lines)


def config_yaml(node: str) -> str:
    """Return ``config/NODE.yaml``: every parameter at its default, with meaning and unit as comments."""
    lines = [
        f"# Every parameter of {node} with its default; docs/parameters.md and `ros2 param describe` say more.",
        f"/**/{node}:",
        "  ros__parameters:",
    ]
    open_groups: list[str] = []
    for info in parameter_infos(parameter_class(node)).values():
        *groups, leaf = info.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[: depth + 1] != groups[: depth + 1]:
                lines.append("  " * (depth + 2) + f"{group}:")
        open_groups = groups
        indent = "  " * (len(groups) + 2)
        meaning = f"# {info.description}" + (f" [{info.unit}]" if info.unit else "")
        if isinstance(info.default, list) and len(info.default) > 1:
            lines += [f"{indent}{meaning}", f"{indent}{leaf}:"]
            lines += [f"{indent}  - {_text(item)}" for item in info.default]
        else:
            # ROS 2 cannot tell the type of an empty list.
            value = info.default if info.default != [] else [""]
            lines.append(f"{indent}{leaf}: {_text(value)}  {meaning}")
    return "\n".join(lines) + "\n"
