# SPDX-License-Identifier: Apache-2.0
"""What the verbs that train have in common: where it runs, checkpoints, progress, and the record beside the model."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import positive_int
from neuro_ros.errors import UsageError

if TYPE_CHECKING:
    from neuro_ros.snn import Model
    from neuro_ros.training.run.control import RunControl
    from neuro_ros.training.run.curves import Curves
    from neuro_ros.training.run.loop import Progress
    from neuro_ros.training.run.progress import ProgressLine
    from neuro_ros.training.run.settings import TrainingSettings

__all__ = [
    "TrainingLog",
    "add_run_arguments",
    "require_model_path",
    "run_control",
    "spent",
    "start_torch",
    "write_record",
]

# Parameter numbers of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
_PICTURES = (".svg", ".png", ".pdf")
# Of the curve that the record keeps, in updates.
_CURVE_STEP = 50


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides how a run is carried out, and nothing of what is learnt."""
    group = parser.add_argument_group("how the run is carried out")
    group.add_argument("--threads", type=positive_int, default=1, help="threads of torch (default 1)")
    group.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    group.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="write checkpoints there, also when stopped")
    group.add_argument(
        "--checkpoint-updates", type=positive_int, default=100, metavar="N", help="updates between two (default 100)"
    )
    group.add_argument(
        "--curves", type=Path, metavar="PICTURE", help="draw loss, accuracy and rates (.svg, .png, .pdf)"
    )
    group.add_argument("--resume", action="store_true", help="go on from the checkpoint")


def require_model_path(out: Path) -> None:
    """Refuse a model file that could not be written, before hours of training.

    Raises
    ------
    UsageError
        If the ending is another or the folder is missing.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"the model file is called {out.name!r}; give it the ending .safetensors")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent} to write the model to; make it first")


def start_torch(threads: int) -> None:
    """Set the number of threads, let them sleep between two sums, and let the allocator keep what it once got.

    Torch's threads wait for the next sum by counting, on the cores that our kernels' threads need meanwhile: with two
    threads on two cores that is up to a third of an update. Page faults would be another third.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is loaded
    import torch

    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; elsewhere training is slower, not wrong
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def run_control(args: argparse.Namespace, name: str, log: TrainingLog) -> Iterator[RunControl]:
    """Join the processes that train together, and end a run that has checkpoints with one when asked to.

    Parameters
    ----------
    args : argparse.Namespace
        With what `add_run_arguments` declares.
    name : str
        Of the model, which the checkpoint is named after.
    log : TrainingLog
        Told when the loop begins.

    Raises
    ------
    UsageError
        If there is nothing to resume from, or a file could not be written where it shall be.
    TrainingError
        If the device is not there, or the other processes do not come.
    """
    from neuro_ros.training.run.checkpoint import stopping_on_signals
    from neuro_ros.training.run.control import RunControl, early_checkpoint
    from neuro_ros.training.run.devices import device_named
    from neuro_ros.training.run.distributed import world_from_environment

    if args.curves is not None and (args.curves.suffix not in _PICTURES or not args.curves.parent.is_dir()):
        raise UsageError(
            f"--curves {args.curves}: give a file in a folder that is there, ending {', '.join(_PICTURES)}"
        )
    if args.resume and args.checkpoint is None:
        raise UsageError("--resume needs --checkpoint FOLDER, where the checkpoint is")
    if args.checkpoint is not None and not args.checkpoint.is_dir():
        raise UsageError(f"there is no folder {args.checkpoint} to write checkpoints to; make it first")
    checkpoint = None if args.checkpoint is None else args.checkpoint / f"{name}{_CHECKPOINT_SUFFIX}"
    there = checkpoint is not None and (checkpoint.is_file() or early_checkpoint(checkpoint).is_file())
    if args.resume and not there:
        raise UsageError(f"there is no checkpoint {checkpoint} to go on from; leave out --resume to begin")
    device = device_named(args.device)
    with world_from_environment() as world:
        if checkpoint is None:
            yield RunControl(device, world, begin=log.begin)
            return
        with stopping_on_signals() as stop:
            yield RunControl(device, world, checkpoint, args.resume, args.checkpoint_updates, stop, log.begin)


def spent(before: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Return wall-clock time and processor time, that of ended children included, since `before` [s]."""
    times = os.times()
    processor_s = times.user + times.system + times.children_user + times.children_system
    return round(time.monotonic() - before[0], 1), round(processor_s - before[1], 1)


class TrainingLog:
    """Tells on stderr how far a run is, and keeps its curve; call it as the loop's `report`.

    Attributes
    ----------
    curve : list of dict
        Loss and accuracy of every fiftieth update.
    """

    def __init__(self) -> None:
        self._line: ProgressLine | None = None
        self.curve: list[dict[str, float]] = []
        self._curves: Curves | None = None
        self._before = 0  # updates of the part before

    def begin(self, settings: TrainingSettings, before: int = 0) -> None:
        """Begin a line for a run with these settings, or for the second part of one, after so many updates."""
        from neuro_ros.training.run.curves import Curves
        from neuro_ros.training.run.progress import ProgressLine

        if self._curves is None:
            self._curves = Curves(())
        self._before = before
        self._line = ProgressLine(sys.stderr, settings.updates, time.monotonic, settings.seconds)

    def __call__(self, progress: Progress) -> None:
        """Tell and keep."""
        if self._line is not None:
            self._line(progress)
        if self._curves is not None:
            self._curves(progress)
        if progress.update % _CURVE_STEP == 0:
            update = self._before + progress.update
            self.curve.append({"update": update, "loss": progress.loss, "accuracy": progress.accuracy})

    def draw(self, picture: Path | None, layers: Sequence[str], checkpoint: Path | None) -> None:
        """Draw the curves, of what went before the checkpoint as well.

        Parameters
        ----------
        picture : pathlib.Path, optional
            Where to; None = nowhere.
        layers : sequence of str
            Names.
        checkpoint : pathlib.Path, optional
            Of the run.
        """
        from neuro_ros.training.run.checkpoint import read_history
        from neuro_ros.training.run.control import early_checkpoint
        from neuro_ros.training.run.curves import Curves

        if picture is None:
            return
        if checkpoint is not None:
            whole = Curves(layers)
            for path in (early_checkpoint(checkpoint), checkpoint) if self._before else (checkpoint,):
                history = read_history(path)
                whole.loss += history.losses
                whole.accuracy += history.accuracies
                whole.rates += history.rates
            whole.draw(picture)
        elif self._curves is not None:
            self._curves.names = layers
            self._curves.draw(picture)


def write_record(
    out: Path, verb: str, took: tuple[float, float], model: Model, rest: Mapping[str, Any]
) -> tuple[str, float]:
    """Write what was done beside a model.

    Parameters
    ----------
    out : pathlib.Path
        The model file.
    verb : str
        In the command line.
    took : (float, float)
        From `spent` [s].
    model : Model
    rest : mapping
        What else the record holds.

    Returns
    -------
    command : str
        Without its words where the verb was called from Python.
    wall_s : float
    """
    from neuro_ros.snn.container import write_atomically

    words = sys.argv[sys.argv.index(verb) + 1 :] if verb in sys.argv else []
    command = " ".join([f"neuro_ros {verb}", *(shlex.quote(word) for word in words)])
    record = {"command": command, "wall_s": took[0], "processor_s": took[1], "model_id": model.digest, **rest}
    write_atomically(out.with_suffix(".training.json"), (json.dumps(record, indent=1) + "\n").encode())
    return command, took[0]
