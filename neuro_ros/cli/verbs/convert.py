# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros convert IN OUT``: write a recording in another format, or what filters leave of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuro_ros.cli.arguments import add_filter_argument, add_json_argument, add_recording_arguments, emit
from neuro_ros.cli.time_range import add_time_arguments, chosen_batches
from neuro_ros.events import WRITERS, create_recording, open_recording
from neuro_ros.events.filters import FilterChain, kept

SUMMARY = "write a recording of events in another format"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare both recordings and ``--json``."""
    add_recording_arguments(parser, "input")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="file, or directory for a bag")
    parser.add_argument("--topic", help="topic of the events, where the input is a bag that holds several")
    parser.add_argument(
        "--to",
        choices=tuple(WRITERS),
        metavar="FORMAT",
        help=f"{', '.join(WRITERS)} (default: after the output's suffix: .raw is evt3, none is a bag)",
    )
    add_filter_argument(parser)
    add_time_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Convert, and print how many events were written."""
    with open_recording(args.input, args.encoding, args.width, args.height, args.topic) as recording:
        chain = FilterChain(args.filters, recording.width, recording.height)
        with create_recording(args.output, chain.width, chain.height, args.to) as writer:
            triggers = 0
            for batch in chosen_batches(recording, args):
                batch = kept(chain.apply(batch))
                triggers += len(batch.triggers)
                writer.write(batch.events, batch.triggers)
        result = {"events": writer.events, "triggers": triggers, **recording.counters.as_dict()}
        emit(args, result | {"filters": chain.counters()})
    return 0
