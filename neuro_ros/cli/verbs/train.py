# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros train``: a model from simulated subjects or from any data set, guarded before it is written."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import add_json_argument, emit, non_negative_int, positive_float, positive_int
from neuro_ros.cli.dataset_arguments import add_dataset_arguments, cache_of, data_log, dataset_of, refuse_given
from neuro_ros.errors import UsageError
from neuro_ros.gestures.augmentation import Augmentation
from neuro_ros.gestures.datasets import WindowShape

if TYPE_CHECKING:
    from neuro_ros.snn import Model
    from neuro_ros.training.loop import Progress

_WITH_DATA = ("epochs", "window_ms", "bins", "size", "layers", "crop_windows", "judged", "augment")
# Parameter numbers of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

SUMMARY = "train a model on simulated gestures or on your recordings, in the chip's integers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_dataset_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model file to write (.safetensors)")
    parser.add_argument("--seed", type=non_negative_int, help="of weights, crops and sensors (default 1)")
    parser.add_argument("--updates", type=positive_int, help="most optimiser steps (default: by the data)")
    parser.add_argument("--seconds", type=positive_float, help="most time in the loop (default: no limit)")
    parser.add_argument("--batch", type=positive_int, help="crops an update (default: by the data)")
    parser.add_argument("--learning-rate", type=positive_float, help="peak, relative (default: by the data)")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch (default 1)")
    simulated = parser.add_argument_group("without --data: gestures of simulated subjects in a row")
    simulated.add_argument("--subjects", type=positive_int, help="training subjects (default 240)")
    group = parser.add_argument_group("with --data (defaults by the kind of data set)")
    group.add_argument("--epochs", type=positive_int, help="passes over the recordings, a crop of each")
    group.add_argument("--window-ms", type=positive_float, help="window of sensor time [ms]")
    group.add_argument("--bins", type=positive_int, help="network steps a window")
    group.add_argument(
        "--size", type=positive_int, nargs="+", metavar="CELLS", help="cells of a bin: SIDE or WIDTH HEIGHT"
    )
    group.add_argument("--layers", help="such as conv:12k5s2p2,conv:24k3s2p1,dense:128; see docs/training.md")
    group.add_argument("--crop-windows", type=positive_int, help="length of a training crop")
    group.add_argument("--judged", choices=("windows", "recording"), help="what the loss takes for a decision")
    group.add_argument(
        "--augment",
        metavar="NAME=VALUE,...",
        help="strengths to change: flip, shift, rotate_deg, zoom, shear, time_scale, drop, noise_hz; none = no change",
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Train, judge on the validation split, write the model, its card and its record; the test stays unseen."""
    import torch

    from neuro_ros.training.errors import TrainingError

    if args.out.suffix != ".safetensors":
        raise TrainingError(f"the model file is called {args.out.name!r}; give it the ending .safetensors")
    if not args.out.parent.is_dir():
        raise TrainingError(f"there is no folder {args.out.parent} to write the model to; make it first")
    torch.set_num_threads(args.threads)
    _keep_memory()
    command = _command(sys.argv)
    result = _train_simulated(args, command) if args.data is None else _train_on_data(args, command)
    emit(args, result, lambda: _text(result))
    return 0


def _command(argv: Sequence[str]) -> str:
    """Return the command for the record; without its words where the verb was called from Python."""
    words = argv[argv.index("train") + 1 :] if "train" in argv else []
    return " ".join(["neuro_ros train", *(shlex.quote(word) for word in words)])


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return what was given of these arguments; the defaults of the others are the job's."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _train_simulated(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Train on simulated subjects; the card is made elsewhere, by whoever looks at the test."""
    from neuro_ros.snn import save_model
    from neuro_ros.training.layers import IntegerNetwork
    from neuro_ros.training.master import MASTER_SUFFIX, save_master_weights
    from neuro_ros.training.pipeline import TrainingJob, train_model

    refuse_given(args, *_WITH_DATA, because="goes with --data only")
    job = TrainingJob(
        **_given(args, "seed", "subjects", "updates", "seconds", "batch", "learning_rate"), name=args.out.stem
    )
    log = _Log()

    def on_data(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            print(f"simulated {done} of {of} subjects", file=sys.stderr)

    def keep_master_weights(network: IntegerNetwork) -> None:
        save_master_weights(network, args.out.with_suffix(MASTER_SUFFIX))

    start_s, processor_start_s = time.monotonic(), _processor_s()
    model, evaluation = train_model(job, time.monotonic, on_data, log.on_update, keep_master_weights)
    took = _took(start_s, processor_start_s)
    save_model(model, args.out)
    _write_record(args, command, took, model, {**model.record, "curve": log.curve})
    return {**evaluation.as_dict(), "out": args.out, "model_id": model.digest}


def _train_on_data(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Train on the training split of a data set, and judge on its validation split; the test stays unseen."""
    from neuro_ros.snn import save_model
    from neuro_ros.training.dataset_card import write_dataset_card
    from neuro_ros.training.dataset_job import job_for, train_on_dataset

    refuse_given(args, "subjects", because="with --data write simulated:SUBJECTS")
    dataset = dataset_of(args)
    job = job_for(
        dataset,
        **_given(args, "seed", "epochs", "updates", "seconds", "batch", "learning_rate", "layers", "crop_windows"),
        **_given(args, "judged"),
        name=args.out.stem,
    )
    job = replace(job, shape=_shape(args, job.shape), augmentation=_augmentation(args, job.augmentation))
    log = _Log()
    start_s, processor_start_s = time.monotonic(), _processor_s()
    model, validation = train_on_dataset(
        job, dataset, time.monotonic, args.split_seed, cache_of(args), data_log("looked through"), log.on_update
    )
    took = _took(start_s, processor_start_s)
    save_model(model, args.out)
    result = validation.as_dict()
    write_dataset_card(args.out.with_suffix(".md"), model, command, args.out.stat().st_size, took["wall_s"])
    _write_record(args, command, took, model, {**model.record, "curve": log.curve, "skipped": dataset.skipped})
    return {**result, "seed": job.seed, "split_seed": args.split_seed, "out": args.out, "model_id": model.digest}


def _shape(args: argparse.Namespace, shape: WindowShape) -> WindowShape:
    """Return the window and tensor that were asked for."""
    if args.size is not None and len(args.size) > 2:
        raise UsageError(f"--size takes a side, or a width and a height, and not {len(args.size)} numbers")
    length_ns = shape.length_ns if args.window_ms is None else round(args.window_ms * 1e6)
    width, height = (shape.width, shape.height) if args.size is None else (args.size[0], args.size[-1])
    return WindowShape(length_ns, shape.bins if args.bins is None else args.bins, shape.channels, height, width)


def _augmentation(args: argparse.Namespace, augmentation: Augmentation) -> Augmentation:
    """Return the strengths that were asked for."""
    if args.augment is None:
        return augmentation
    strengths = {field.name for field in fields(Augmentation)} - {"mirror"}
    if args.augment == "none":
        return replace(augmentation, **dict.fromkeys(strengths, 0.0))
    chosen = {}
    for part in args.augment.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in strengths:
            raise UsageError(f"--augment: {name.strip()!r} is none of {', '.join(sorted(strengths))}")
        try:
            chosen[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--augment: {part.strip()!r} is not a name and a number, as in shift=0.1") from None
    return replace(augmentation, **chosen)


class _Log:
    """Tells on stderr how far it is, and keeps the curve."""

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []

    def on_update(self, progress: Progress) -> None:
        """Tell about every fiftieth update."""
        if progress.update % 50 == 0:
            self.curve.append({"update": progress.update, "loss": progress.loss, "accuracy": progress.accuracy})
            print(
                f"update {progress.update}: loss {progress.loss:.3f}, windows right {progress.accuracy:.2f}, rates "
                + " ".join(f"{rate:.3f}" for rate in progress.rates),
                file=sys.stderr,
            )


def _write_record(
    args: argparse.Namespace, command: str, took: dict[str, float], model: Model, rest: dict[str, Any]
) -> None:
    """Write what was done beside the model."""
    record = {"command": command, **took, "model_id": model.digest, **rest}
    args.out.with_suffix(".training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _processor_s() -> float:
    """Return the processor time of this process and of those that it has waited for [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _took(start_s: float, processor_start_s: float) -> dict[str, float]:
    """Return how long it was since then."""
    return {
        "wall_s": round(time.monotonic() - start_s, 1),
        "processor_s": round(_processor_s() - processor_start_s, 1),
    }


def _keep_memory() -> None:
    """Let the allocator keep what it once got; without it a third of an update goes into page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; elsewhere training is slower, not wrong
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _text(result: dict[str, Any]) -> str:
    what = "simulated recordings" if "subjects" in result else f"recordings of {result['data']}"
    return (
        f"{result['out']}: {result['accuracy']:.1%} of {result['recordings']} {what} right "
        f"(split {result['split']}, seed {result['seed']})"
    )
