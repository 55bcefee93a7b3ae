# SPDX-License-Identifier: Apache-2.0
"""Two real processes train one network: equal weights, averaged gradients, one file."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from neuro_ros.training.data import Crops, StepStream, WindowShape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.run.distributed import ALONE, world_from_environment
from neuro_ros.training.run.loop import TrainingSettings, fit

SHAPE = WindowShape(height=4, width=4)


class Both:
    """The batches of two processes in one."""

    def __init__(self, sources: list[Crops]) -> None:
        self.sources, self.shape, self.steps, self.batch = sources, SHAPE, 20, 4

    def draw(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.cat(parts, 1) for parts in zip(*(source.draw() for source in self.sources), strict=True))


def stream(label: int, seed: int) -> StepStream:
    cells = (np.random.default_rng([label, seed]).random((60, 32)) < 0.2).astype(np.uint8)
    return StepStream(np.packbits(cells, axis=1), np.full(60, label), np.arange(60) + 100)


def crops(rank: int) -> Crops:
    return Crops([stream(k % 2, k) for k in range(4)], 20, 4, seed=rank, shape=SHAPE, augmented=False)


def network(seed: int) -> IntegerNetwork:
    torch.manual_seed(seed)
    return IntegerNetwork([DenseSpec("a", 10, 1000, 500), DenseSpec("b", 2, 1000, 500)], (2, 4, 4), 1.5, gain=4.0)


# No regularisers: they see the mean rate of their own half of the batch.
SETTINGS = TrainingSettings(updates=3, learning_rate=1e-2, settle_steps=5, switch_steps=0, rate_cost=0.0)


def worker(folder: Path) -> None:
    torch.set_num_threads(1)
    with world_from_environment(folder / "store") as world:
        mine = network(world.rank)  # process 0's are taken
        path = folder / "run.safetensors"
        losses = fit(mine, crops(world.rank), SETTINGS, itertools.count().__next__, checkpoint=path, world=world)
        assert world.gather(f"rank {world.rank}") == ["rank 0", "rank 1"]
        weights = {name: value.numpy() for name, value in mine.state_dict().items()}
        np.savez(folder / f"weights{world.rank}.npz", losses=losses, **weights)
        again = network(5)  # and the finished run is loaded by both
        assert fit(
            again, crops(9), SETTINGS, itertools.count().__next__, checkpoint=path, resume=True, world=world
        ) == pytest.approx(losses)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_training_distributed as test
test.worker(Path(sys.argv[1]))
"""


def test_two_processes_hold_the_same_weights_as_one_with_both_batches(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    children = [
        subprocess.Popen(command, env={**common, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [child.communicate(timeout=300)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], errors
    first, second = (np.load(tmp_path / f"weights{rank}.npz") for rank in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first.files)
    alone = network(0)
    fit(alone, Both([crops(0), crops(1)]), SETTINGS, itertools.count().__next__)
    # The mean of two halves' gradients, but for rounding: every decision of a batch is judged here.
    for name, value in alone.state_dict().items():
        assert np.allclose(value.numpy(), first[name], rtol=1e-3, atol=1e-5), name


def test_one_process_is_alone_and_senseless_numbers_are_refused(monkeypatch):
    with world_from_environment() as world:
        assert world == ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(TrainingError, match="RANK is '2'"), world_from_environment():
        pass
