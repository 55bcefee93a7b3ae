# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros info FILE``: what a recording holds, counted event by event."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from neuro_ros.cli.arguments import add_json_argument, add_recording_arguments, emit
from neuro_ros.cli.time_range import add_time_arguments, chosen_batches
from neuro_ros.events import EventBatch, Recording, open_recording

SUMMARY = "tell what a recording of events holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recording and ``--json``."""
    add_recording_arguments(parser)
    parser.add_argument("--topic", help="topic of the events, where a bag holds several")
    add_time_arguments(parser)
    add_json_argument(parser)


def summarise(recording: Recording, batches: Iterable[EventBatch]) -> dict[str, Any]:
    """Read a recording through.

    Parameters
    ----------
    recording : Recording
    batches : iterable of EventBatch
        What of it is counted.

    Returns
    -------
    dict
        What ``--json`` prints. Times are those of the first and the last event in recorded order, None without any.
    """
    events = on = triggers = sum_x = sum_y = 0
    first_ns: int | None = None
    last_ns: int | None = None
    for batch in batches:
        triggers += len(batch.triggers)
        if len(batch.events) == 0:
            continue
        events += len(batch.events)
        on += int(np.count_nonzero(batch.events["p"]))
        sum_x += int(batch.events["x"].sum(dtype=np.int64))
        sum_y += int(batch.events["y"].sum(dtype=np.int64))
        if first_ns is None:
            first_ns = int(batch.events["t"][0])
        last_ns = int(batch.events["t"][-1])
    counters = recording.counters.as_dict()
    return {
        "format": recording.format,
        "width": recording.width,
        "height": recording.height,
        "events": events,
        "on": on,
        "off": events - on,
        "t_first_ns": first_ns,
        "t_last_ns": last_ns,
        "sum_x": sum_x,
        "sum_y": sum_y,
        "non_monotonic": counters.pop("non_monotonic"),
        "triggers": triggers,
        "errors": counters.pop("errors"),
        **counters,
    }


def main(args: argparse.Namespace) -> int:
    """Print the summary."""
    with open_recording(args.file, args.encoding, args.width, args.height, args.topic) as recording:
        emit(args, summarise(recording, chosen_batches(recording, args)))
    return 0
