# SPDX-License-Identifier: Apache-2.0
"""Runs a node by its name without an installed executable: ``python -m neuro_ros.nodes NAME --ros-args ...``."""

from __future__ import annotations

import importlib
import signal
import sys

from neuro_ros.bringup.graph import MANAGED, SERVING

_EXIT_USAGE = 2


def main() -> int:
    """Run the node that the first argument names; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the node takes it over: an end without a traceback
    names = (*MANAGED, *SERVING)
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in names:
        sys.stderr.write(f"neuro_ros.nodes: {name!r} is no node; there are: {', '.join(names)}\n")
        return _EXIT_USAGE
    del sys.argv[1]
    sys.argv[0] = name
    code: int = importlib.import_module(f"neuro_ros.nodes.{name}").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
