# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros train``: a model from simulated subjects or from any data set, guarded before it is written."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import (
    add_json_argument,
    emit,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
)
from neuro_ros.cli.dataset_arguments import add_dataset_arguments, cache_of, data_log, dataset_of, refuse_given
from neuro_ros.cli.training_run import (
    TrainingLog,
    add_run_arguments,
    require_model_path,
    run_control,
    spent,
    start_torch,
    write_record,
)
from neuro_ros.errors import UsageError
from neuro_ros.gestures.augmentation import Augmentation
from neuro_ros.gestures.datasets import Dataset, WindowShape

if TYPE_CHECKING:
    from neuro_ros.training.dataset_job import DatasetJob
    from neuro_ros.training.run.control import RunControl

_WITH_DATA = (
    "epochs", "window_ms", "bins", "size", "layers", "crop_windows", "judged", "augment", "arithmetic",
)  # fmt: skip
# Of both kinds of jobs.
_WHICHEVER = ("seed", "updates", "seconds", "batch", "learning_rate", "optimiser", "readout_cost")
# As a shell counts an end by SIGINT.
_STOPPED = 130

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
    parser.add_argument("--optimiser", choices=("adam", "muon"), help="of the hidden layers (default: by the data)")
    parser.add_argument(
        "--readout-cost", type=non_negative_float, help="of readouts that teach hidden layers (default: by the data)"
    )
    parser.add_argument("--start", type=Path, metavar="MODEL", help="go on from this model, and not from chance")
    add_run_arguments(parser)
    simulated = parser.add_argument_group("without --data: gestures of simulated subjects in a row")
    simulated.add_argument("--subjects", type=positive_int, help="training subjects (default 1000)")
    group = parser.add_argument_group("with --data (defaults by the kind of data set)")
    group.add_argument("--epochs", type=positive_int, help="passes over the recordings, a crop of each")
    group.add_argument("--window-ms", type=positive_float, help="window of sensor time [ms]")
    group.add_argument("--bins", type=positive_int, help="network steps a window")
    group.add_argument(
        "--size", type=positive_int, nargs="+", metavar="CELLS", help="cells of a bin: SIDE or WIDTH HEIGHT"
    )
    group.add_argument(
        "--arithmetic", choices=("integer", "float"), help="float = for neuro_ros quantise (default: integer)"
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
    from neuro_ros.training.errors import TrainingStoppedError

    require_model_path(args.out)
    start_torch(args.threads)
    train = _train_simulated if args.data is None else _train_on_data
    log = TrainingLog()
    try:
        with run_control(args, args.out.stem, log) as control:
            result = train(args, control, log)
    except TrainingStoppedError as stopped:
        print(f"neuro_ros: {stopped}; go on with --resume", file=sys.stderr)
        return _STOPPED
    if control.world.is_first:
        emit(args, result, lambda: _text(result))
    return 0


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return what was given of these arguments; the defaults of the others are the job's."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _train_simulated(args: argparse.Namespace, control: RunControl, log: TrainingLog) -> dict[str, Any]:
    """Train on simulated subjects; the card is made elsewhere, by whoever looks at the test."""
    from neuro_ros.snn import save_model
    from neuro_ros.training.network.layers import IntegerNetwork
    from neuro_ros.training.network.master import MASTER_SUFFIX, save_master_weights
    from neuro_ros.training.pipeline import TrainingJob, train_model
    from neuro_ros.training.start import load_start

    refuse_given(args, *_WITH_DATA, because="goes with --data only")
    start = None if args.start is None else load_start(args.start)
    job = TrainingJob(**_given(args, *_WHICHEVER, "subjects"), name=args.out.stem)

    def on_data(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            print(f"simulated {done} of {of} subjects", file=sys.stderr)

    def keep_master_weights(network: IntegerNetwork) -> None:
        if control.world.is_first:
            save_master_weights(network, args.out.with_suffix(MASTER_SUFFIX))

    started = spent()
    model, evaluation = train_model(job, time.monotonic, on_data, log, keep_master_weights, control, start)
    if control.world.is_first:
        took = spent(started)
        save_model(model, args.out)
        log.draw(args.curves, [layer.name for layer in model.network.layers], control.checkpoint)
        write_record(args.out, "train", took, model, {**model.record, "curve": log.curve})
    return {**evaluation.as_dict(), "out": args.out, "model_id": model.digest}


def _train_on_data(args: argparse.Namespace, control: RunControl, log: TrainingLog) -> dict[str, Any]:
    """Train on the training split of a data set, and judge on its validation split; the test stays unseen."""
    from neuro_ros.snn import save_model
    from neuro_ros.training.data import window_shape
    from neuro_ros.training.dataset_job import job_for, train_on_dataset
    from neuro_ros.training.judge.dataset_card import write_dataset_card
    from neuro_ros.training.start import load_start

    refuse_given(args, "subjects", because="with --data write simulated:SUBJECTS")
    start = None
    if args.start is not None:
        refuse_given(args, "layers", "window_ms", "bins", "size", because="are those of the model to --start from")
        if args.arithmetic == "float":
            raise UsageError("--start: a run in floating point begins from chance")
        start = load_start(args.start)
        args.labels = args.labels or ",".join(start.model.labels)
    dataset = dataset_of(args)
    chosen = _given(args, *_WHICHEVER, "epochs", "layers", "crop_windows", "judged")
    job = job_for(dataset, **chosen, name=args.out.stem)
    if start is not None:
        job = replace(job, layers=start.layers(), shape=window_shape(start.model))
    job = replace(job, shape=_shape(args, job.shape), augmentation=_augmentation(args, job.augmentation))
    on_data = data_log("looked through")
    if args.arithmetic == "float":
        return _train_float(args, control, log, job, dataset)
    started = spent()
    model, validation = train_on_dataset(
        job, dataset, time.monotonic, args.split_seed, cache_of(args), on_data, log, control, start
    )
    result = {**validation.as_dict(), "seed": job.seed, "split_seed": args.split_seed}
    if control.world.is_first:
        took = spent(started)
        save_model(model, args.out)
        log.draw(args.curves, [layer.name for layer in model.network.layers], control.checkpoint)
        kept = {**model.record, "curve": log.curve, "skipped_names": dataset.skipped}
        command, wall_s = write_record(args.out, "train", took, model, kept)
        write_dataset_card(args.out.with_suffix(".md"), model, command, args.out.stat().st_size, wall_s)
    return {**result, "out": args.out, "model_id": model.digest}


def _train_float(
    args: argparse.Namespace, control: RunControl, log: TrainingLog, job: DatasetJob, dataset: Dataset
) -> dict[str, Any]:
    """Train in floating point, for `neuro_ros quantise`."""
    from neuro_ros.training.dataset_job import train_network
    from neuro_ros.training.float_model import FloatModel, float_result, save_float_model

    cache = cache_of(args)
    network, record = train_network(
        job, dataset, time.monotonic, args.split_seed, cache, data_log("looked through"), log, control, "float"
    )
    job = replace(job, layers=record["job"]["layers"])
    result = float_result(network, dataset, "validation", job.shape, cache)
    if control.world.is_first:
        save_float_model(FloatModel(network, job, dataset.labels, record), args.out)
        log.draw(args.curves, [layer.spec.name for layer in network.populations], control.checkpoint)
    return {**result, "seed": job.seed, "split_seed": args.split_seed, "out": args.out}


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
        silent: dict[str, Any] = dict.fromkeys(strengths, 0.0)
        return replace(augmentation, **silent)
    chosen: dict[str, Any] = {}
    for part in args.augment.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in strengths:
            raise UsageError(f"--augment: {name.strip()!r} is none of {', '.join(sorted(strengths))}")
        try:
            chosen[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--augment: {part.strip()!r} is not a name and a number, as in shift=0.1") from None
    return replace(augmentation, **chosen)


def _text(result: dict[str, Any]) -> str:
    what = "simulated recordings" if "subjects" in result else f"recordings of {result['data']}"
    return (
        f"{result['out']}: {result['accuracy']:.1%} of {result['recordings']} {what} right "
        f"(split {result['split']}, seed {result['seed']})"
    )
