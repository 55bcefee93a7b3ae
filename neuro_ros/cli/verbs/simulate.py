# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros simulate``: simulated gesture recordings, one folder a class; or pictures of them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import add_json_argument, emit, non_negative_float, positive_float, positive_int

if TYPE_CHECKING:
    from neuro_ros.gestures import Conditions

# A form without an entry is a folder.
_SUFFIXES = {
    "evt2": ".raw", "evt21": ".raw", "evt21_legacy": ".raw", "evt3": ".raw", "npz": ".npz", "aedat4": ".aedat4",
}  # fmt: skip

SUMMARY = "write simulated gesture recordings, one folder a class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder to write to; made if absent")
    parser.add_argument("--label", action="append", metavar="NAME", help="gesture to act; repeatable (default: all)")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test", "hard"),
        default="train",
        help="whose subjects, default train",
    )
    parser.add_argument("--subjects", type=positive_int, default=1, help="how many of the split (default 1)")
    parser.add_argument("--seconds", type=positive_float, default=2.0, help="length of a gesture (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of sensor and performances (default 0)")
    parser.add_argument("--width", type=positive_int, default=128, metavar="PX", help="sensor (default 128)")
    parser.add_argument("--height", type=positive_int, default=128, metavar="PX", help="sensor (default 128)")
    parser.add_argument("--form", default="evt3", metavar="FORMAT", help="as in convert --to (default evt3)")
    parser.add_argument(
        "--in-a-row", action="store_true", help="one recording a subject with all gestures, and its truth as .csv"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="write no recordings, but a PNG of each class by the first subject"
    )
    look = parser.add_argument_group("look: what is not given is drawn, for each subject, from the ranges of the split")
    look.add_argument(
        "--look", choices=("plain", "full"), default="full",
        help="full: all that the split's ranges hold, as the shipped model was trained on (default); plain: flat "
        "bodies before a still wall, ideal pixels",
    )  # fmt: skip
    look.add_argument("--light", choices=("bright", "indoor", "dim"), help="light level")
    look.add_argument("--noise-hz", type=non_negative_float, help="background events a pixel (plain: 0.5)")
    look.add_argument("--shake", type=non_negative_float, metavar="PX", help="of the camera, of 128 px, r.m.s. an axis")
    look.add_argument(
        "--background", type=non_negative_float, metavar="PX_S", help="speed of the background, of 128 px"
    )
    look.add_argument("--clutter", type=non_negative_float, help="contrast of things in the background, 0 to 1.5")
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Write the recordings, or the pictures, and list them."""
    from neuro_ros.events import WRITERS
    from neuro_ros.gestures import LABELS, ParameterRangeError, label_index, subject_seeds

    if args.form not in WRITERS:
        raise ParameterRangeError(f"format {args.form!r} is not written; written are {', '.join(WRITERS)}")
    if args.seed < 0:
        raise ParameterRangeError(f"seed is {args.seed}; give 0 or above")
    labels = list(range(len(LABELS))) if not args.label else [label_index(name) for name in args.label]
    if args.split == "hard" and args.look == "plain":
        raise ParameterRangeError("the split hard has no plain look; leave --look out")
    result: dict[str, Any] = {"files": [], "labels": [], "events": 0}
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for subject in subject_seeds(args.split, args.subjects):
            conditions = _conditions(args, subject)
            if args.pictures:
                _draw(args, subject, conditions, labels, result)
                break
            _record(args, subject, conditions, labels, result)
    except OSError as error:
        raise ParameterRangeError(f"{args.out}: cannot be written: {error.strerror}") from None
    what = f"{len(result['files'])} pictures" if args.pictures else f"{len(result['files'])} recordings"
    emit(
        args,
        {**result, "seed": args.seed, "split": args.split, "look": args.look},
        lambda: f"{what} in {args.out}" if args.pictures else f"{what} with {result['events']} events in {args.out}",
    )
    return 0


def _conditions(args: argparse.Namespace, subject: int) -> Conditions:
    """Draw a subject's conditions, and put in what was given."""
    from neuro_ros.gestures import PLAIN, SPLIT_TABLE

    drawn = SPLIT_TABLE[args.split].draw_conditions(args.seed, subject) if args.look == "full" else PLAIN
    given = {
        "light": args.light, "shake_px": args.shake, "background_px_s": args.background, "clutter": args.clutter
    }  # fmt: skip
    return replace(drawn, **{name: value for name, value in given.items() if value is not None})


def _record(
    args: argparse.Namespace, subject: int, conditions: Conditions, labels: list[int], result: dict[str, Any]
) -> None:
    from neuro_ros.events import create_recording
    from neuro_ros.gestures import LABELS, GestureSimulator

    simulator = GestureSimulator(
        args.seed, args.width, args.height, noise_hz=args.noise_hz, conditions=conditions,
        split=args.split if args.look == "full" else "",
    )  # fmt: skip
    for group in [labels] if args.in_a_row else [[label] for label in labels]:
        stream = simulator.stream(group, args.seconds, subject)
        folder = args.out if args.in_a_row else args.out / LABELS[group[0]]
        folder.mkdir(exist_ok=True)
        path = folder / f"subject_{subject:05d}{_SUFFIXES.get(args.form, '')}"
        with create_recording(path, args.width, args.height, args.form) as writer:
            for piece in stream:
                writer.write(piece.events)
        result["files"].append(path)
        result["labels"].append("in_a_row" if args.in_a_row else LABELS[group[0]])
        result["events"] += writer.events
        if args.in_a_row:
            rows = ["start_ns,end_ns,label", *(f"{i.start_ns},{i.end_ns},{LABELS[i.label]}" for i in stream.intervals)]
            path.with_suffix(".csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _draw(
    args: argparse.Namespace, subject: int, conditions: Conditions, labels: list[int], result: dict[str, Any]
) -> None:
    from neuro_ros.gestures import LABELS
    from neuro_ros.gestures.pictures import gesture_strip

    for label in labels:
        path = args.out / f"{LABELS[label]}.png"
        path.write_bytes(
            gesture_strip(label, args.seed, subject, args.split if args.look == "full" else "", conditions)
        )
        result["files"].append(path)
        result["labels"].append(LABELS[label])
