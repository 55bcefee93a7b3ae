# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros train``: a gesture model from simulated subjects, guarded before it is written."""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
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
    parser.add_argument("--subjects", type=positive_int, default=240, help="training subjects (default 240)")
    parser.add_argument("--updates", type=positive_int, default=9000, help="most optimiser steps (default 9000)")
    parser.add_argument("--seconds", type=positive_float, help="most time in the loop (default: no limit)")
    parser.add_argument("--batch", type=positive_int, default=16, help="crops an update (default 16)")
    parser.add_argument("--learning-rate", type=positive_float, default=1.5e-2, help="peak, relative (default 0.015)")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch (default 1)")
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Train, judge on validation subjects, write the model, its card and its record; the test stays unseen."""
    import torch

    from neuro_ros.snn import save_model
    from neuro_ros.training.errors import TrainingError
    from neuro_ros.training.layers import IntegerNetwork
    from neuro_ros.training.loop import Progress
    from neuro_ros.training.master import MASTER_SUFFIX, save_master_weights
    from neuro_ros.training.pipeline import TrainingJob, train_model

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
    processor_start_s = _processor_s()

    def keep_master_weights(network: IntegerNetwork) -> None:
        save_master_weights(network, args.out.with_suffix(MASTER_SUFFIX))

    model, evaluation = train_model(job, time.monotonic, on_data, on_update, keep_master_weights)
    wall_s = round(time.monotonic() - start_s, 1)
    processor_s = round(_processor_s() - processor_start_s, 1)
    save_model(model, args.out)
    validation = evaluation.as_dict()
    command = "neuro_ros " + " ".join(shlex.quote(word) for word in ["train", *sys.argv[sys.argv.index("train") + 1 :]])
    record = {
        "command": command,
        "wall_s": wall_s,
        "processor_s": processor_s,
        "model_id": model.digest,
        **model.record,
        "curve": curve,
    }
    args.out.with_suffix(".training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    emit(args, {**validation, "out": args.out, "model_id": model.digest}, lambda: _text(validation, args.out))
    return 0


def _processor_s() -> float:
    """Return the processor time of this process and of those that it has waited for [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _keep_memory() -> None:
    """Let the allocator keep what it once got; without it a third of an update goes into page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; elsewhere training is slower, not wrong
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _text(test: dict[str, object], out: Path) -> str:
    return (
        f"{out}: {test['accuracy']:.1%} of {test['recordings']} simulated recordings right "
        f"(split {test['split']}, seed {test['seed']})"
    )
