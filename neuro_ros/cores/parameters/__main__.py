# SPDX-License-Identifier: Apache-2.0
"""Prints the parameter tables of all nodes as the README holds them."""

from __future__ import annotations

import sys

from neuro_ros.cores.parameters._fields import markdown_table
from neuro_ros.cores.parameters._nodes import node_names, parameter_class

if __name__ == "__main__":
    for node in node_names():
        sys.stdout.write(f"### {node}\n\n{markdown_table(parameter_class(node))}\n")
