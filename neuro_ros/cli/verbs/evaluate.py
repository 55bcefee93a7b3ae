# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros evaluate``: a model's accuracy on simulated subjects, with the fixed-point engine."""

from __future__ import annotations

import argparse
from typing import Any

from neuro_ros.cli.arguments import add_json_argument, add_model_key_arguments, emit, positive_float, positive_int

SUMMARY = "judge a model on simulated subjects, per recording and per window"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test", help="default test")
    parser.add_argument("--subjects", type=positive_int, default=20, help="how many of the split (default 20)")
    parser.add_argument("--seconds", type=positive_float, default=1.5, help="length of a gesture (default 1.5)")
    parser.add_argument("--seed", type=int, help="of sensors and performances (default: the split's own)")
    parser.add_argument("--threshold", type=float, default=0.6, help="confidence of a window's decision (default 0.6)")
    add_model_key_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Judge and print."""
    from neuro_ros.cores.files import model_path
    from neuro_ros.snn import load_model
    from neuro_ros.training.errors import TrainingError
    from neuro_ros.training.pipeline import evaluate_model

    if not 0.0 <= args.threshold <= 1.0:
        raise TrainingError(f"threshold is {args.threshold}; give a share from 0 to 1")
    result = evaluate_model(
        load_model(model_path(args.model), args.key, args.trust),
        args.split,
        args.subjects,
        args.seconds,
        args.seed,
        args.threshold,
    ).as_dict()
    emit(args, result, lambda: _text(result))
    return 0


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"simulated gestures, split {result['split']}, seed {result['seed']}, {result['subjects']} subjects",
        f"recordings right         {result['accuracy']:7.1%} of {result['recordings']}",
        *(f"  {label:<28} {accuracy:6.1%}" for label, accuracy in result["per_class"].items()),
        f"windows decided          {result['windows_decided']:7.1%} of {result['windows']}",
        f"of these right           {result['windows_decided_right']:7.1%}",
        f"gestures of streams right{result['stream_accuracy']:7.1%} of {result['stream_gestures']}",
        f"right within 1 s         {result['decided_within_1s']:7.1%}",
    ]
    return "\n".join(lines)
