# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros window FILE``: cut a recording into spike tensors and digest them."""

from __future__ import annotations

import argparse
import re

from neuro_ros.cli.arguments import (
    add_filter_argument,
    add_json_argument,
    add_recording_arguments,
    emit,
    positive_float,
    positive_int,
)
from neuro_ros.cli.time_range import add_time_arguments, chosen_batches
from neuro_ros.events import LATE_POLICIES, POLARITIES, BaseWindower, Geometry, WindowDigest, Windower, open_recording
from neuro_ros.events.count_windows import CountWindower
from neuro_ros.events.filters import FilterChain

SUMMARY = "cut a recording into windows of binary spike tensors and print their digest"

_LENGTH_NS = 50_000_000


def _size(text: str) -> tuple[int, int]:
    """Convert ``128`` or ``128x96`` to (width, height), for ``type=``."""
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.lower())
    if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 128 or 128x96")
    return int(match[1]), int(match[2] or match[1])


def _crop(text: str) -> tuple[int, int, int, int]:
    """Convert ``X0,Y0,WIDTH,HEIGHT``, for ``type=``."""
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no crop such as 80,0,480,480 (x0,y0,width,height)")
    x0, y0, width, height = (int(part) for part in match.groups())
    return x0, y0, width, height


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recording, the windows and ``--json``."""
    add_recording_arguments(parser)
    parser.add_argument("--topic", help="topic of the events, where a bag holds several")
    group = parser.add_argument_group("windows")
    group.add_argument("--length-ms", type=positive_float, metavar="MS", help="length (default: 50, none with --count)")
    group.add_argument(
        "--count", type=positive_int, metavar="N", help="close a window after N events, or at the length if given too"
    )
    group.add_argument("--bins", type=positive_int, default=10, metavar="N", help="time bins a window (default: 10)")
    group.add_argument("--size", type=_size, default=(128, 128), metavar="WxH", help="of the tensor (default: 128x128)")
    group.add_argument(
        "--crop",
        type=_crop,
        metavar="X0,Y0,W,H",
        help="part of the sensor, behind the filters (default: the largest centred square)",
    )
    group.add_argument("--polarity", choices=POLARITIES, default="both", help="which events count (default: both)")
    group.add_argument("--late", choices=LATE_POLICIES, default="reset", help="when time runs back (default: reset)")
    add_filter_argument(parser)
    add_time_arguments(parser)
    add_json_argument(parser)


def _windower(args: argparse.Namespace, geometry: Geometry, width: int, height: int) -> BaseWindower:
    """Make what cuts by time, by count or by both."""
    length_ns = None if args.length_ms is None else round(args.length_ms * 1_000_000)
    options = {"polarity": args.polarity, "late_policy": args.late}
    if args.count is None:
        return Windower(_LENGTH_NS if length_ns is None else length_ns, args.bins, geometry, width, height, **options)
    return CountWindower(args.count, args.bins, geometry, width, height, length_ns=length_ns, **options)


def main(args: argparse.Namespace) -> int:
    """Print what became of every event, and the digest."""
    with open_recording(args.file, args.encoding, args.width, args.height, args.topic) as recording:
        chain = FilterChain(args.filters, recording.width, recording.height)
        geometry = Geometry.fit(chain.width, chain.height, args.size[0], args.size[1], args.crop)
        windower = _windower(args, geometry, chain.width, chain.height)
        digest = WindowDigest()
        active = 0
        for batch in chosen_batches(recording, args):
            for window in windower.windows(chain.apply(batch)):
                active += window.active
                digest.update(window.start_ns, window.bitmap)
        for window in windower.flush():
            active += window.active
            digest.update(window.start_ns, window.bitmap)
        counters = windower.counters
        decoder = recording.counters.as_dict()
    emit(
        args,
        {
            "windows": counters.windows,
            "events_in": counters.events_in,
            "events_binned": counters.events_binned,
            "events_filtered": counters.events_filtered,
            "events_dropped": counters.events_lost,
            "active": active,
            "sha256": digest.hexdigest(),
            "windows_empty": counters.windows_empty,
            "windows_incomplete": counters.windows_incomplete,
            "dropped_outside": counters.dropped_outside,
            "resets": counters.resets,
            "gaps": counters.gaps,
            "filters": chain.counters(),
            "before_windows": {name: decoder[name] for name in ("errors", "out_of_area", "dropped_before_time")},
        },
    )
    return 0
