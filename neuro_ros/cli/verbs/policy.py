# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros policy``: what each node of the graph may do, for ``ros2 security``."""

from __future__ import annotations

import argparse
import dataclasses

from neuro_ros.cli.arguments import add_json_argument, emit

SUMMARY = "write the SROS2 policy of the graph: one enclave a node, and only what that node uses"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the names that the policy is written for."""
    from neuro_ros.bringup.security import DEFAULT_ENCLAVE

    parser.add_argument("--namespace", default="", metavar="TEXT", help="namespace of all nodes (default: none)")
    parser.add_argument(
        "--enclave",
        default=DEFAULT_ENCLAVE,
        metavar="PATH",
        help=f"enclave below which each node has one of its name (default {DEFAULT_ENCLAVE})",
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Print the policy, or with ``--json`` what it allows by enclave."""
    from neuro_ros.bringup.graph import MANAGED, SERVING
    from neuro_ros.bringup.security import OPERATOR, access, policy_text

    text = policy_text(args.namespace, args.enclave)
    allowed = {f"{args.enclave}/{node}": dataclasses.asdict(access(node)) for node in (*MANAGED, *SERVING, OPERATOR)}
    emit(args, allowed, text.rstrip("\n"))
    return 0
