# SPDX-License-Identifier: Apache-2.0
"""``--start`` and ``--duration``: part of a recording instead of all of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from neuro_ros.cli.arguments import non_negative_float, positive_float
from neuro_ros.events import EventBatch, Recording

__all__ = ["add_time_arguments", "chosen_batches"]

_NS_PER_S = 1_000_000_000

#: Events this much out of order are still found; the file is not read to its end for the sake of one that may follow.
_DISORDER_NS = 1 * _NS_PER_S


def add_time_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--start`` and ``--duration``, each ``None`` when not given."""
    group = parser.add_argument_group("part of the recording")
    group.add_argument(
        "--start",
        type=non_negative_float,
        metavar="S",
        help="leave out what lies less than S seconds of sensor time after the recording's first event",
    )
    group.add_argument(
        "--duration", type=positive_float, metavar="S", help="end S seconds of sensor time after the start, exclusive"
    )


def chosen_batches(recording: Recording, args: argparse.Namespace) -> Iterator[EventBatch]:
    """Read the part of a recording that the user asked for.

    Parameters
    ----------
    recording : Recording
        Open; its counters tell of what was read.
    args : argparse.Namespace
        With ``start`` and ``duration``, see `add_time_arguments`.

    Yields
    ------
    EventBatch
        Events and triggers of the half-open range, in recorded order.
    """
    if args.start is None and args.duration is None:
        yield from recording.batches()
        return
    start_ns = _first_ns(recording)
    if start_ns is None:
        return
    start_ns += round((args.start or 0.0) * _NS_PER_S)
    # Without a start, time that runs back before the first event is no reason to leave anything out.
    batches = recording.batches(start_ns=None if args.start is None else start_ns)
    if args.duration is None:
        yield from batches
        return
    end_ns = start_ns + round(args.duration * _NS_PER_S)
    for batch in batches:
        times_ns = batch.events["t"]
        if len(times_ns) and int(times_ns.min()) >= end_ns + _DISORDER_NS:
            return
        batch.events = batch.events[times_ns < end_ns]
        batch.triggers = batch.triggers[batch.triggers["t"] < end_ns]
        if len(batch.events) or len(batch.triggers) or not batch.complete:
            yield batch


def _first_ns(recording: Recording) -> int | None:
    """Return the time of the first event, None without any."""
    for batch in recording.batches(max_events=1):
        if len(batch.events):
            return int(batch.events["t"][0])
    return None
