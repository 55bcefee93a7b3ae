# SPDX-License-Identifier: Apache-2.0
"""Several processes on one network, started by torch's own launcher: each its own crops, all the same weights.

``torchrun --nproc-per-node 2 -m neuro_ros.cli train ...`` sets RANK and WORLD_SIZE; gradients are averaged over the
processes by gloo before they are clipped, so that every process takes the same step. Process 0 writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from neuro_ros.training.errors import TrainingError

__all__ = ["ALONE", "World", "world_from_environment"]

_TIMEOUT = timedelta(minutes=10)  # the slowest process may still be reading its data


@dataclass(frozen=True)
class World:
    """Who else trains this network.

    Attributes
    ----------
    rank, size : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share_weights(self, network: nn.Module) -> None:
        """Give every process the weights and thresholds of process 0."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def average_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        if self.size == 1 or not grads:
            return
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.reshape(grad.shape))

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes; NaN where one has NaN, so that all stop together."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total) / self.size

    def from_first(self, value: float) -> float:
        """Return what process 0 says: clocks differ, schedules must not."""
        if self.size == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(said, src=0)
        return float(said)

    def gather(self, text: str) -> list[str]:
        """Return a text of every process, in order, to every process."""
        if self.size == 1:
            return [text]
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([data.numel()]))
        longest = max(int(length) for length in lengths)
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, torch.cat([data, torch.zeros(longest - data.numel(), dtype=torch.uint8)]))
        return [bytes(row[: int(n)].tolist()).decode() for row, n in zip(rows, lengths, strict=True)]


ALONE = World()


@contextmanager
def world_from_environment(store: Path | None = None) -> Iterator[World]:
    """Join the processes that torchrun started; `ALONE` where it did not.

    Parameters
    ----------
    store : path, optional
        Meet through this file instead of torchrun's address; it must not exist yet.

    Raises
    ------
    TrainingError
        If RANK and WORLD_SIZE make no sense, or the others do not come.
    """
    size_text, rank_text = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    if not (size_text.isdigit() and rank_text.isdigit() and int(rank_text) < int(size_text)):
        raise TrainingError(f"RANK is {rank_text!r} and WORLD_SIZE {size_text!r}; start with torchrun, or unset both")
    world = World(int(rank_text), int(size_text))
    if world.size == 1:
        yield world
        return
    method = "env://" if store is None else f"file://{store.absolute()}"
    try:
        dist.init_process_group("gloo", method, timeout=_TIMEOUT, rank=world.rank, world_size=world.size)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"process {world.rank} of {world.size} found no others: {error}") from None
    try:
        yield world
    finally:
        dist.destroy_process_group()
