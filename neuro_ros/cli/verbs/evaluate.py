# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros evaluate``: a model's accuracy on simulated subjects or a data set, with the fixed-point engine.

With ``--baseline`` also what is normal for it, for the canary: rates, margins and times on longer scenes of the same
subjects, written beside the model.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import add_json_argument, add_model_key_arguments, emit, positive_float, positive_int
from neuro_ros.cli.dataset_arguments import add_dataset_arguments, cache_of, data_log, dataset_of, refuse_given
from neuro_ros.gestures.datasets import SPLIT_NAMES

if TYPE_CHECKING:
    from neuro_ros.snn import Model

_LOG = logging.getLogger(__name__)
_BESIDE = "beside the model"

SUMMARY = "judge a model on simulated subjects or on a data set, per recording and per window"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    add_dataset_arguments(parser)
    parser.add_argument("--split", choices=SPLIT_NAMES, default="test", help="default test")
    simulated = parser.add_argument_group("without --data: gestures of simulated subjects")
    simulated.add_argument("--subjects", type=positive_int, help="how many of the split (default 20)")
    simulated.add_argument("--seconds", type=positive_float, help="length of a gesture (default 3)")
    simulated.add_argument("--seed", type=int, help="of sensors and performances (default: the split's own)")
    parser.add_argument("--threshold", type=float, default=0.6, help="confidence of a window's decision (default 0.6)")
    add_model_key_arguments(parser)
    parser.add_argument(
        "--baseline",
        nargs="?",
        const=_BESIDE,
        metavar="FILE",
        help="also measure what is normal for the model (for canary), on every gesture by each subject for 11 s, and "
        "write it to FILE (default: NAME.baseline.json beside the model)",
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Judge and print."""
    from neuro_ros.cores.files import model_path
    from neuro_ros.snn import load_model
    from neuro_ros.training.errors import TrainingError

    if not 0.0 <= args.threshold <= 1.0:
        raise TrainingError(f"threshold is {args.threshold}; give a share from 0 to 1")
    if args.data is not None:
        refuse_given(
            args, "subjects", "seconds", "seed", "baseline", because="goes with simulated subjects, not --data"
        )
    args.subjects = 20 if args.subjects is None else args.subjects
    baseline_file = None if args.baseline is None else _baseline_file(args.model, args.baseline)
    model = load_model(model_path(args.model), args.key, args.trust)
    result = _on_simulated(args, model) if args.data is None else _on_data(args, model)
    if baseline_file is not None:
        _measure(args, result["seed"], baseline_file)
        result["baseline"] = str(baseline_file)
    emit(args, result, lambda: _text(result))
    return 0


def _on_simulated(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    from neuro_ros.training.pipeline import RECORDING_S, evaluate_model

    seconds = RECORDING_S if args.seconds is None else args.seconds
    return evaluate_model(model, args.split, args.subjects, seconds, args.seed, args.threshold).as_dict()


def _on_data(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    from neuro_ros.training.judge.dataset_evaluation import evaluate_on_dataset

    dataset = dataset_of(args)
    evaluation = evaluate_on_dataset(
        model, dataset, args.split, args.split_seed, args.threshold, cache_of(args), progress=data_log("judged")
    )
    return {**evaluation.as_dict(), "skipped_names": sorted(dataset.skipped)}


def _baseline_file(model: str, given: str) -> Path:
    """Return where the baseline goes, and refuse a folder that is not there before anything is measured."""
    from neuro_ros.canary import BASELINE_SUFFIX, BaselineError
    from neuro_ros.cores.files import model_path

    model_file = model_path(model)
    path = model_file.with_name(model_file.stem + BASELINE_SUFFIX) if given == _BESIDE else Path(given)
    if not path.parent.is_dir():
        raise BaselineError(f"the baseline {path} cannot be written: {path.parent} is no folder")
    return path


def _measure(args: argparse.Namespace, seed: int, path: Path) -> None:
    """Measure a baseline and write it."""
    from neuro_ros.cores.canary_baseline import baseline_scenes, measure_baseline
    from neuro_ros.cores.files import model_path

    baseline = measure_baseline(
        model_path(args.model),
        baseline_scenes(args.split, args.subjects),
        seed,
        measured={"split": args.split},
        progress=lambda done, of: _LOG.info("scene %d of %d", done, of),
        key=args.key or "",
        trusted=args.trust,
    )
    baseline.save(path)


def _text(result: dict[str, Any]) -> str:
    lines = [
        *_text_data(result),
        f"recordings right         {result['accuracy']:7.1%} of {result['recordings']}",
        *(f"  {label:<28} {_share(accuracy)}" for label, accuracy in result["per_class"].items()),
        f"windows decided          {result['windows_decided']:7.1%} of {result['windows']}",
        f"of these right           {result['windows_decided_right']:7.1%}",
        *_text_times(result),
    ]
    if "baseline" in result:
        lines.append(f"baseline for canary      {result['baseline']}")
    return "\n".join(lines)


def _share(accuracy: float | None) -> str:
    return "  none" if accuracy is None or accuracy != accuracy else f"{accuracy:6.1%}"


def _text_data(result: dict[str, Any]) -> list[str]:
    if "subjects" in result:
        return [f"simulated gestures, split {result['split']}, seed {result['seed']}, {result['subjects']} subjects"]
    skipped = f", {result['skipped']} recordings skipped" if result["skipped"] else ""
    return [f"{result['data']}, split {result['split']}, split seed {result['seed']}{skipped}"]


def _text_times(result: dict[str, Any]) -> list[str]:
    if "stream_accuracy" not in result:
        median_ms = result["decision_ms_median"]
        return [f"median time to decision   {'none' if median_ms is None else f'{median_ms:.0f} ms'}"]
    return [
        f"gestures of streams right{result['stream_accuracy']:7.1%} of {result['stream_gestures']}",
        f"right within 1 s         {result['decided_within_1s']:7.1%}",
    ]
