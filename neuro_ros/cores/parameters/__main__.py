# SPDX-License-Identifier: Apache-2.0
"""Writes docs/parameters.md and config/NODE.yaml anew from the dataclasses, in the source tree that it is called in."""

from __future__ import annotations

import sys
from pathlib import Path

from neuro_ros.cores.parameters._documents import config_yaml, markdown_page
from neuro_ros.cores.parameters._nodes import node_names


def main() -> int:
    """Write them below the working directory; return the exit status."""
    if not (Path("docs").is_dir() and Path("config").is_dir()):
        sys.stderr.write("call it where docs/ and config/ lie\n")
        return 2
    Path("docs/parameters.md").write_text(markdown_page(), encoding="utf-8")
    for node in node_names():
        Path(f"config/{node}.yaml").write_text(config_yaml(node), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
