# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros quantise``: a network trained in floating point becomes the integers that fly, with what it cost."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from neuro_ros.cli.arguments import add_json_argument, emit, positive_float, positive_int
from neuro_ros.cli.dataset_arguments import add_dataset_arguments, cache_of, data_log, dataset_of
from neuro_ros.cli.training_run import (
    TrainingLog,
    add_run_arguments,
    require_model_path,
    run_control,
    spent,
    start_torch,
    write_record,
)

# Of the table of layers: title, entry of the report, width, format.
_COLUMNS = (
    ("vth", "vth", 7, "d"), ("zeros", "zeros", 8, ".1%"), ("clipped", "clipped", 9, ".1%"),
    ("rate", "integer_rate", 8, ".3f"), ("float", "float_rate", 8, ".3f"), ("precision", "precision", 11, ".3f"),
    ("recall", "recall", 8, ".3f"), ("wraps", "wraps", 7, "d"), ("clips", "clips", 7, "d"),
)  # fmt: skip

SUMMARY = "turn a network trained in floating point into integers, and tell what it cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("network", type=Path, metavar="FLOAT", help="what train --arithmetic float wrote")
    add_dataset_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model file to write (.safetensors)")
    parser.add_argument("--tune-updates", type=positive_int, help="fine-tune in integers for so many optimiser steps")
    parser.add_argument("--learning-rate", type=positive_float, help="of fine-tuning (default: a fifth of training's)")
    add_run_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Quantise, judge both on the validation split, write the model and its record."""
    from neuro_ros.errors import UsageError
    from neuro_ros.snn import save_model
    from neuro_ros.training.float_model import load_float_model
    from neuro_ros.training.judge.dataset_card import write_dataset_card
    from neuro_ros.training.quantise_job import quantise_on_dataset

    if args.data is None:
        raise UsageError("--data is needed: thresholds are chosen on training recordings, and both networks judged")
    require_model_path(args.out)
    start_torch(args.threads)
    source = load_float_model(args.network)
    dataset = dataset_of(args)
    log = TrainingLog()
    started = spent()
    with run_control(args, args.out.stem, log) as control:
        result = quantise_on_dataset(
            source, dataset, time.monotonic, args.out.stem, args.split_seed, args.tune_updates or 0,
            args.learning_rate, cache_of(args), data_log("looked through"), log, control,
        )  # fmt: skip
    if not control.world.is_first:
        return 0
    took = spent(started)
    save_model(result.model, args.out)
    if args.tune_updates:
        log.draw(args.curves, [layer.name for layer in result.model.network.layers], control.checkpoint)
    command, wall_s = write_record(
        args.out, "quantise", took, result.model, {**result.model.record, "skipped_names": dataset.skipped}
    )
    write_dataset_card(args.out.with_suffix(".md"), result.model, command, args.out.stat().st_size, wall_s)
    found = {**result.as_dict(), "seed": source.job.seed, "split_seed": args.split_seed}
    found |= {"out": args.out, "model_id": result.model.digest}
    emit(args, found, lambda: _text(found))
    return 0


def _text(result: dict[str, Any]) -> str:
    difference = result["difference"]
    low, high = difference["low"], difference["high"]
    reached = f"{result['accuracy']:.1%} of {result['recordings']} recordings of {result['split']} right"
    head = "".join(name.rjust(width) for name, _, width, _ in _COLUMNS)
    lines = [
        f"{result['out']}: {reached}; in floating point {result['float_accuracy']:.1%}",
        f"difference {difference['points']:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}",
        f"{'layer':<12}{head}",
    ]
    for layer in result["layers"]:
        cells = "".join(format(layer[key], form).rjust(width) for _, key, width, form in _COLUMNS)
        lines.append(f"{layer['name']:<12}{cells}")
    return "\n".join(lines)
