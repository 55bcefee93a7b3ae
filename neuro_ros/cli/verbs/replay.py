# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros replay``: drive the graph's logic from a bag; the same bag always gives the same digest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from neuro_ros.cli.arguments import add_json_argument, emit

if TYPE_CHECKING:
    from neuro_ros.bringup.replay import ReplayResult

SUMMARY = "drive the graph's logic from a bag, deterministically, and print a digest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, or its .mcap or .db3 file")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("auto", "events", "spikes"),
        default="auto",
        help="what the graph is fed with; auto = events if the bag has them, else spike tensors",
    )
    parser.add_argument(
        "--remap",
        action="append",
        default=[],
        metavar="INPUT:=TOPIC",
        help="the bag's topic of events, spikes, clock/sample, temperature or ptp, where the type does not tell",
    )
    parser.add_argument("--model", default="gesture", metavar="FILE", help="model file, or the name of a shipped one")
    parser.add_argument("--backend", default="fixed", choices=("fixed", "lava", "loihi"), help="what runs the network")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="set a parameter"
    )
    parser.add_argument("--expect", type=Path, metavar="FILE", help="fail when the result is not the one in this file")
    parser.add_argument("--update", action="store_true", help="write the file of --expect anew instead")
    add_json_argument(parser)


def _text(result: ReplayResult) -> str:
    """Write the result for people."""
    decided = ", ".join(f"{name or 'no decision'} {count}" for name, count in result.labels.items()) or "none"
    lines = [
        ("replayed", f"{result.windows} windows from {result.source}, {result.gestures} gestures by {result.model_id}"),
        ("gestures", decided),
        ("inputs", ", ".join(f"{topic} {count}" for topic, count in result.inputs.items())),
        ("outputs", ", ".join(f"{topic} {count}" for topic, count in result.topics.items())),
        ("losses", ", ".join(f"{name} {count}" for name, count in result.losses.items()) or "none"),
        ("sha256", result.sha256),
    ]
    return "\n".join(f"{name:<9} {value}" for name, value in lines)


def main(args: argparse.Namespace) -> int:
    """Replay; 0 when it is as expected, 1 when it differs, naming the first difference."""
    from neuro_ros.bringup.graph import parse_remaps, parse_settings
    from neuro_ros.bringup.replay import compare, read_expectation, replay, write_expectation
    from neuro_ros.errors import UsageError

    if args.update and args.expect is None:
        raise UsageError("--update needs --expect FILE, the file to write")
    expected = read_expectation(args.expect) if args.expect is not None and not args.update else None
    result = replay(
        args.bag,
        source=args.source,
        remaps=dict(parse_remaps(args.remap)),
        model=args.model,
        backend=args.backend,
        settings=parse_settings(args.settings),
        keep_outputs=False,
    )
    if args.update:
        write_expectation(args.expect, result)
    summary = result.summary()
    difference = None if expected is None else compare(expected, result)
    if expected is not None:
        summary["difference"] = difference
    emit(args, summary, lambda: _text(result))
    if difference is not None:
        sys.stderr.write(f"neuro_ros replay: differs from {args.expect}: {difference}\n")
        return 1
    return 0
