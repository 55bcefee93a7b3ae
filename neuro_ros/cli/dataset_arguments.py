# SPDX-License-Identifier: Apache-2.0
"""How a data set is named on the command line, the same for all verbs that read one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from neuro_ros.cli.arguments import non_negative_int, positive_float, positive_int
from neuro_ros.errors import UsageError
from neuro_ros.gestures.datasets import (
    DATASETS,
    Dataset,
    DatasetOptions,
    MemoryCache,
    SampleCache,
    SimulatedGestures,
    TensorCache,
    open_dataset,
)

__all__ = ["add_dataset_arguments", "cache_of", "data_log", "dataset_of", "refuse_given"]

_SIMULATED = "simulated"
_SIMULATED_SUBJECTS = 100
# Of each split but training, one for so many training subjects.
_TRAINING_SHARE = 5


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data`` and what a data set cannot say of itself."""
    kinds = ", ".join(kind.name for kind in DATASETS)
    parser.add_argument(
        "--data",
        metavar="[KIND:]PATH",
        help=f"a folder of class folders, or a data set of another kind, found by itself or told ({kinds}); "
        f"{_SIMULATED}[:SUBJECTS] = recordings of simulated gestures as they are drawn for each split",
    )
    group = parser.add_argument_group("about the data set (with --data)")
    group.add_argument(
        "--split-seed", type=non_negative_int, default=0, help="what is carved out for validation and test (default 0)"
    )
    group.add_argument(
        "--validation-share", type=positive_float, default=0.2, help="carved out where it has none (default 0.2)"
    )
    group.add_argument(
        "--test-share", type=positive_float, default=0.2, help="carved out where it has none (default 0.2)"
    )
    group.add_argument("--labels", metavar="A,B,...", help="classes in index order (default: by name)")
    group.add_argument("--cache", type=Path, metavar="FOLDER", help="keep spike tensors on the disk, up to 4 GiB")
    group.add_argument("--memory", type=positive_int, default=1024, metavar="MIB", help="for tensors (default 1024)")
    group.add_argument("--encoding", help="of recordings without a header, such as evt2, evt3 or nmnist")
    group.add_argument("--width", type=positive_int, metavar="PX", help="of the sensor, where recordings do not say")
    group.add_argument("--height", type=positive_int, metavar="PX", help="of the sensor, where recordings do not say")


def dataset_of(args: argparse.Namespace) -> Dataset:
    """Open the data set of ``--data``.

    Raises
    ------
    DatasetError
        If it cannot be used.
    UsageError
        If the number of simulated subjects is none.
    """
    kind, _, rest = args.data.partition(":")
    if kind == _SIMULATED:
        return _simulated(rest, args.split_seed)
    named = kind in {known.name for known in DATASETS} and bool(rest)
    options = DatasetOptions(
        tuple(name.strip() for name in args.labels.split(",")) if args.labels else None,
        args.split_seed,
        args.validation_share,
        args.test_share,
        args.encoding,
        args.width,
        args.height,
    )
    return open_dataset(rest if named else args.data, kind if named else None, options)


def _simulated(count: str, seed: int) -> Dataset:
    try:
        subjects = int(count) if count else _SIMULATED_SUBJECTS
    except ValueError:
        raise UsageError(f"--data {_SIMULATED}:{count}: give the number of training subjects") from None
    others = max(1, subjects // _TRAINING_SHARE)
    return SimulatedGestures({"train": subjects, "validation": others, "test": others, "hard": others}, seed=seed)


def cache_of(args: argparse.Namespace) -> TensorCache:
    """Return where the tensors of a data set are kept."""
    return MemoryCache(args.memory << 20, None if args.cache is None else SampleCache(args.cache))


def data_log(done_text: str) -> Callable[[int, int], None]:
    """Return a function that tells on stderr about every twentieth part of the recordings, and their end."""
    last = 0

    def tell(done: int, of: int) -> None:
        nonlocal last
        if done == of or done - last >= max(20, of // 20):
            last = done
            print(f"{done_text} {done} of {of} recordings", file=sys.stderr)

    return tell


def refuse_given(args: argparse.Namespace, *names: str, because: str) -> None:
    """Refuse options that mean nothing beside others.

    Parameters
    ----------
    args : argparse.Namespace
    *names : str
        Attributes that are None when the option is not given.
    because : str
        Follows their names in the error.

    Raises
    ------
    UsageError
        With those that were given.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
    if given:
        raise UsageError(f"{', '.join(given)}: {because}")
