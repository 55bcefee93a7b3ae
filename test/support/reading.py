# SPDX-License-Identifier: Apache-2.0
"""Reads whole recordings and runs the command, for the tests of both."""

import json
from typing import NamedTuple

import numpy as np

from neuro_ros.cli.command import main
from neuro_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, DecodeCounters, open_recording


class Reading(NamedTuple):
    """A recording from some time to its end.

    ``complete`` is what each batch said of itself.
    """

    events: np.ndarray
    triggers: np.ndarray
    counters: DecodeCounters
    complete: list[bool]


def read_whole(path, max_events=65536, start_ns=None, **options):
    """Read a recording, from `start_ns` [ns] on where it is given."""
    with open_recording(path, **options) as recording:
        batches = [(b.events.copy(), b.triggers.copy(), b.complete) for b in recording.batches(max_events, start_ns)]
        counters = recording.counters
    events = np.concatenate([np.empty(0, EVENT_DTYPE), *(batch[0] for batch in batches)])
    triggers = np.concatenate([np.empty(0, TRIGGER_DTYPE), *(batch[1] for batch in batches)])
    return Reading(events, triggers, counters, [batch[2] for batch in batches])


def read(path, **options):
    """Read a recording; return its events, its triggers and its counters."""
    return read_whole(path, **options)[:3]


def run(capsys, *arguments):
    """Run the command; return the exit code, the JSON on stdout and what stood on stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def make_sample(start_ns):
    """Make a second of events on 640x480 from a sensor time [ns] on, and two triggers."""
    rng = np.random.default_rng(5)
    events = np.zeros(5000, EVENT_DTYPE)
    events["t"] = start_ns + np.sort(rng.integers(0, 1_000_000, len(events))) * 1000
    events["x"] = rng.integers(0, 640, len(events))
    events["y"] = rng.integers(0, 480, len(events))
    events["p"] = rng.integers(0, 2, len(events))
    triggers = np.array([(events["t"][100], 2, 1), (events["t"][3000], 2, 0)], TRIGGER_DTYPE)
    return events, triggers
