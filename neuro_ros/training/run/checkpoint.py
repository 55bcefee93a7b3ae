# SPDX-License-Identifier: Apache-2.0
"""A training run on disk: what it takes to go on as if nothing had happened.

One safetensors file with a JSON head (`neuro_ros.snn.container`): written to a temporary file, synchronised and
renamed, so that the file is always a whole one; nothing in it can run. It holds the master weights and thresholds,
the optimiser's moments and what is trained beside the network, the generators of chance of every process, the number
of updates, the losses, and a digest of the settings: a run is never continued with others.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from neuro_ros.snn import container
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.run.distributed import ALONE, World
from neuro_ros.training.run.optimiser import Optimiser
from neuro_ros.training.run.settings import TrainingSettings

__all__ = [
    "Resumable",
    "RunState",
    "load_checkpoint",
    "read_history",
    "run_digest",
    "save_checkpoint",
    "stopping_on_signals",
]

_FORMAT = "neuro_ros_training"
_VERSION = 2


@runtime_checkable
class Resumable(Protocol):
    """A source of batches that can be put back to where it was."""

    def random_state(self) -> dict[str, Any]:
        """Return what decides the batches to come, as plain values for JSON."""

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on from what `random_state` returned."""


@dataclass
class RunState:
    """How far a run is.

    Attributes
    ----------
    update : int
        Updates done.
    elapsed_s : float
        Time they took.
    losses, accuracies : list of float
        One an update.
    rates : list of tuple of float
        Of the layers, one tuple an update.
    """

    update: int = 0
    elapsed_s: float = 0.0
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    rates: list[tuple[float, ...]] = field(default_factory=list)


def run_digest(network: IntegerNetwork, settings: TrainingSettings, source: Any, world: World = ALONE) -> str:
    """Return a SHA-256 of what decides a run beside chance: layers, settings, geometry of batches, processes."""
    layers = [
        {"kind": type(layer.spec).__name__, **asdict(layer.spec), "beta": layer.beta, "surrogate": layer.surrogate}
        | {"rounding": asdict(layer.rounding), "arithmetic": layer.arithmetic, "sparse": layer.sparse_gradient}
        for layer in network.populations
    ]
    decides = {
        "layers": layers,
        "input_shape": list(network.input_shape),
        "settings": {key: str(value) for key, value in asdict(settings).items()},
        "batches": [type(source).__name__, getattr(source, "steps", None), getattr(source, "batch", None)],
        "processes": world.size,
    }
    return hashlib.sha256(container.canonical_json(decides)).hexdigest()


def _chance(source: Any) -> str:
    """Return the state of all generators of this process, as JSON."""
    if not isinstance(source, Resumable):
        raise TrainingError(f"{type(source).__name__} cannot be resumed: it does not tell the state of its chance")
    return json.dumps({"torch": bytes(torch.get_rng_state().tolist()).hex(), "source": source.random_state()})


def save_checkpoint(
    path: Path,
    network: IntegerNetwork,
    optimiser: Optimiser,
    source: Any,
    run: RunState,
    digest: str,
    world: World = ALONE,
) -> None:
    """Write a checkpoint; every process must call it, the first one writes.

    Raises
    ------
    TrainingError
        If the file cannot be written (no space, no right): the checkpoint before is still whole. Or if the source
        cannot be resumed.
    """
    chances = world.gather(_chance(source))
    if not world.is_first:
        return
    kept = [
        ("network", network.state_dict()),
        ("beside", optimiser.beside.state_dict()),
        ("moment", optimiser.moments()),
    ]
    tensors: dict[str, Any] = {
        f"{what}.{name}": value.detach().cpu().numpy() for what, part in kept for name, value in part.items()
    }
    tensors["counts"] = np.array([layer.counts for layer in network.populations])
    tensors["losses"] = np.array(run.losses, np.float64)
    tensors["accuracies"] = np.array(run.accuracies, np.float64)
    tensors["rates"] = np.array(run.rates, np.float64)
    head = {
        "version": _VERSION,
        "digest": digest,
        "update": run.update,
        "elapsed_s": run.elapsed_s,
        "scales": optimiser.scales,
        "chances": chances,
    }
    try:
        container.write(path, _FORMAT, head, tensors)
    except container.ContainerError as error:
        raise TrainingError(f"checkpoint of update {run.update}: {error}; the one before is whole") from None


def load_checkpoint(
    path: Path,
    network: IntegerNetwork,
    optimiser: Optimiser,
    source: Any,
    digest: str,
    world: World = ALONE,
) -> RunState:
    """Put network, optimiser and all chance to where a checkpoint was written.

    Raises
    ------
    TrainingError
        If the file is missing, damaged, of another run's settings or another network; the network is not changed then.
    """
    try:
        head, tensors = container.read(path, _FORMAT)
    except container.ContainerError as error:
        raise TrainingError(f"no checkpoint to resume from: {error}") from None
    if head.get("version") != _VERSION:
        raise TrainingError(f"{path}: checkpoint of version {head.get('version')}; this is {_VERSION}")
    if head.get("digest") != digest:
        raise TrainingError(f"{path} is the checkpoint of a run with other settings; use its settings, or start anew")
    try:
        weights, beside = (
            {
                name: torch.from_numpy(tensors[f"{what}.{name}"]).reshape(value.shape)
                for name, value in module.state_dict().items()
            }
            for what, module in (("network", network), ("beside", optimiser.beside))
        )
        moments = {
            name.removeprefix("moment."): torch.from_numpy(value.copy())
            for name, value in tensors.items()
            if name.startswith("moment.")
        }
        chance = json.loads(head["chances"][world.rank])
        counts = tensors["counts"]
        run = _history(head, tensors)
        scales = [float(scale) for scale in head["scales"]]
        torch_state = torch.frombuffer(bytearray.fromhex(chance["torch"]), dtype=torch.uint8)
        optimiser.set_moments(moments, scales)
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} does not hold this network: {error}") from None
    if not isinstance(source, Resumable):
        raise TrainingError(f"{type(source).__name__} cannot be resumed: it does not tell the state of its chance")
    network.load_state_dict(weights)
    optimiser.beside.load_state_dict(beside)
    for layer, own_counts in zip(network.populations, counts, strict=True):
        layer.counts[:] = own_counts
    torch.set_rng_state(torch_state)
    source.set_random_state(chance["source"])
    return run


def _history(head: dict[str, Any], tensors: dict[str, Any]) -> RunState:
    return RunState(
        int(head["update"]),
        float(head["elapsed_s"]),
        tensors["losses"].tolist(),
        tensors["accuracies"].tolist(),
        [tuple(row) for row in tensors["rates"].tolist()],
    )


def read_history(path: Path) -> RunState:
    """Return how far the run of a checkpoint is, for its curves.

    Raises
    ------
    TrainingError
        If the file is missing or damaged.
    """
    try:
        return _history(*container.read(path, _FORMAT))
    except (container.ContainerError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"no curves in {path}: {error}") from None


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question's answer: ``fit(..., stop=asked)``; a second one interrupts.

    Only in the main thread are signals caught; elsewhere the answer is always False.
    """
    asked = threading.Event()

    def handle(_number: int, _frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
