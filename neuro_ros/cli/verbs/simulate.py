# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros simulate``: simulated gesture recordings, one folder a class."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuro_ros.cli.arguments import add_json_argument, emit, positive_float, positive_int

# A form without an entry is a folder.
_SUFFIXES = {"evt2": ".raw", "evt3": ".raw", "npz": ".npz"}

SUMMARY = "write simulated gesture recordings, one folder a class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder to write to; made if absent")
    parser.add_argument("--label", action="append", metavar="NAME", help="gesture to act; repeatable (default: all)")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="train", help="default train")
    parser.add_argument("--subjects", type=positive_int, default=1, help="how many of the split (default 1)")
    parser.add_argument("--seconds", type=positive_float, default=2.0, help="length of a gesture (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of sensor and performances (default 0)")
    parser.add_argument("--width", type=positive_int, default=128, metavar="PX", help="sensor (default 128)")
    parser.add_argument("--height", type=positive_int, default=128, metavar="PX", help="sensor (default 128)")
    parser.add_argument("--noise-hz", type=float, default=0.5, help="background events a pixel (default 0.5)")
    parser.add_argument("--form", default="evt3", metavar="FORMAT", help="as in convert --to (default evt3)")
    parser.add_argument(
        "--in-a-row", action="store_true", help="one recording a subject with all gestures, and its truth as .csv"
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Write the recordings and list them."""
    from neuro_ros.events import WRITERS, create_recording
    from neuro_ros.gestures import LABELS, GestureSimulator, ParameterRangeError, label_index, subject_seeds

    if args.form not in WRITERS:
        raise ParameterRangeError(f"format {args.form!r} is not written; written are {', '.join(WRITERS)}")
    labels = list(range(len(LABELS))) if not args.label else [label_index(name) for name in args.label]
    simulator = GestureSimulator(args.seed, args.width, args.height, noise_hz=args.noise_hz)
    files: list[Path] = []
    written: list[str] = []
    total = 0
    try:
        for subject in subject_seeds(args.split, args.subjects):
            groups = [labels] if args.in_a_row else [[label] for label in labels]
            for group in groups:
                events, intervals = simulator.sequence(group, args.seconds, subject)
                folder = args.out if args.in_a_row else args.out / LABELS[group[0]]
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"subject_{subject:05d}{_SUFFIXES.get(args.form, '')}"
                with create_recording(path, args.width, args.height, args.form) as writer:
                    writer.write(events)
                files.append(path)
                total += len(events)
                written.append("in_a_row" if args.in_a_row else LABELS[group[0]])
                if args.in_a_row:
                    rows = ["start_ns,end_ns,label", *(f"{i.start_ns},{i.end_ns},{LABELS[i.label]}" for i in intervals)]
                    path.with_suffix(".csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    except OSError as error:
        raise ParameterRangeError(f"{args.out}: cannot be written: {error.strerror}") from None
    emit(
        args,
        {"files": files, "labels": written, "events": total, "seed": args.seed, "split": args.split},
        lambda: f"{len(files)} recordings with {total} events in {args.out}",
    )
    return 0
