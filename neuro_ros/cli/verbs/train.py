# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros train``: a gesture model from simulated subjects, guarded before it is written."""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import shlex
import sys
import time
from pathlib import Path

from neuro_ros.cli.arguments import add_json_argument, emit, positive_float, positive_int

# Parameter numbers of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

SUMMARY = "train a gesture model on simulated subjects, in the chip's integers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model file to write (.safetensors)")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights, crops and sensors (default 1)")
    parser.add_argument("--subjects", type=positive_int, default=200, help="training subjects (default 200)")
    parser.add_argument("--updates", type=positive_int, default=2400, help="most optimiser steps (default 2400)")
    parser.add_argument("--seconds", type=positive_float, help="most time in the loop (default: no limit)")
    parser.add_argument("--batch", type=positive_int, default=16, help="crops an update (default 16)")
    parser.add_argument("--learning-rate", type=positive_float, default=1.2e-2, help="peak, relative (default 0.012)")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--test-subjects", type=positive_int, default=20, help="for the card's table (default 20)")
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Train, judge on the test subjects once, write the model, its card and its record."""
    import torch

    from neuro_ros.snn import save_model
    from neuro_ros.training.card import write_card
    from neuro_ros.training.errors import TrainingError
    from neuro_ros.training.loop import Progress
    from neuro_ros.training.pipeline import TrainingJob, evaluate_model, train_model

    if args.out.suffix != ".safetensors":
        raise TrainingError(f"the model file is called {args.out.name!r}; give it the ending .safetensors")
    if not args.out.parent.is_dir():
        raise TrainingError(f"there is no folder {args.out.parent} to write the model to; make it first")
    torch.set_num_threads(args.threads)
    _keep_memory()
    job = TrainingJob(
        seed=args.seed,
        subjects=args.subjects,
        updates=args.updates,
        seconds=math.inf if args.seconds is None else args.seconds,
        batch=args.batch,
        learning_rate=args.learning_rate,
        name=args.out.stem,
    )

    def on_data(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            print(f"simulated {done} of {of} subjects", file=sys.stderr)

    curve: list[dict[str, float]] = []

    def on_update(progress: Progress) -> None:
        if progress.update % 50 == 0:
            curve.append({"update": progress.update, "loss": progress.loss, "accuracy": progress.accuracy})
            print(
                f"update {progress.update}: loss {progress.loss:.3f}, windows right {progress.accuracy:.2f}, rates "
                + " ".join(f"{rate:.3f}" for rate in progress.rates),
                file=sys.stderr,
            )

    start_s = time.monotonic()
    model, _ = train_model(job, time.monotonic, on_data, on_update)
    wall_s = round(time.monotonic() - start_s, 1)
    save_model(model, args.out)
    test = evaluate_model(model, "test", args.test_subjects).as_dict()
    command = "neuro_ros " + " ".join(shlex.quote(word) for word in ["train", *sys.argv[sys.argv.index("train") + 1 :]])
    write_card(args.out.with_suffix(".md"), model, test, command, args.out.stat().st_size, wall_s)
    record = {
        "command": command,
        "wall_s": wall_s,
        "model_id": model.digest,
        **model.record,
        "curve": curve,
        "test": test,
    }
    args.out.with_suffix(".training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    emit(args, {**test, "out": args.out, "model_id": model.digest}, lambda: _text(test, args.out))
    return 0


def _keep_memory() -> None:
    """Let the allocator keep what it once got; without it a third of an update goes into page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; elsewhere training is slower, not wrong
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _text(test: dict[str, object], out: Path) -> str:
    return (
        f"{out}: {test['accuracy']:.1%} of {test['recordings']} simulated test recordings right "
        f"(split {test['split']}, seed {test['seed']})"
    )
