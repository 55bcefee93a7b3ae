# SPDX-License-Identifier: Apache-2.0
"""A run that was cut short goes on with the same bits; a checkpoint is whole, of this run, and never a pickle."""

import itertools
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from two_class_streams import SHAPE, stream

from neuro_ros.snn import container
from neuro_ros.training.data import Crops
from neuro_ros.training.errors import TrainingError, TrainingStoppedError
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.network.weights import Rounding
from neuro_ros.training.run.checkpoint import stopping_on_signals
from neuro_ros.training.run.loop import Progress, TrainingSettings, fit

UPDATES = 8


def run(
    path: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    updates: int = UPDATES,
    **more: object,
) -> tuple[IntegerNetwork, list[float]]:
    """Train with stochastic rounding, so that torch's own chance takes part."""
    torch.manual_seed(99 if resume else 1)  # what a checkpoint must bring back
    crops = Crops([stream(k % 2, k) for k in range(4)], 20, 4, seed=7 if resume else 1, shape=SHAPE, augmented=False)
    specs = [DenseSpec("hidden", 12, 1000, 500, bias=True), DenseSpec("output", 2, 1000, 500)]
    network = IntegerNetwork(specs, (2, 4, 4), 1.5, gain=4.0, rounding=Rounding("stochastic", 0.1))
    settings = TrainingSettings(updates=updates, learning_rate=3e-2, settle_steps=5, switch_steps=5)
    arguments = {"checkpoint": path, "resume": resume, "checkpoint_updates": 3, **more}
    losses = fit(network, crops, settings, itertools.count().__next__, report, **arguments)
    return network, losses


@pytest.fixture(scope="module")
def whole() -> tuple[IntegerNetwork, list[float]]:
    return run()


def same(one: tuple[IntegerNetwork, list[float]], other: tuple[IntegerNetwork, list[float]]) -> bool:
    states = [each[0].state_dict() for each in (one, other)]
    return one[1] == other[1] and all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_stopped_run_resumes_bit_for_bit(tmp_path, whole):
    path = tmp_path / "run.safetensors"
    asked = iter([False] * 4 + [True])
    with pytest.raises(TrainingStoppedError, match="stopped after 5 of 8 updates"):
        run(path, stop=asked.__next__)
    assert same(run(path, resume=True), whole)


def test_an_interrupt_in_the_middle_of_an_update_resumes_from_the_last_checkpoint(tmp_path, whole):
    path = tmp_path / "run.safetensors"

    def interrupt(progress: Progress) -> None:
        if progress.update == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, report=interrupt)
    assert same(run(path, resume=True), whole)
    assert same(run(path, resume=True), whole)  # a finished run is at its end already


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_training_checkpoint as test
test.run(Path(sys.argv[1]), report=lambda progress: print(progress.update, flush=True))
"""


def test_a_killed_process_leaves_a_checkpoint_that_resumes_bit_for_bit(tmp_path, whole):
    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            assert any(line.strip() == "4" for line in child.stdout)
        finally:
            child.send_signal(signal.SIGKILL)
    assert same(run(path, resume=True), whole)


def test_the_first_signal_asks_and_the_second_interrupts():
    with stopping_on_signals() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_other_settings_and_other_files_are_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError, match=r"no checkpoint to resume from.*No such file"):
        run(path, resume=True)
    with pytest.raises(TrainingError, match="no checkpoint file was named"):
        run(resume=True)
    run(path, updates=1)
    with pytest.raises(TrainingError, match="other settings"):
        run(path, resume=True, updates=2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainingError, match="truncated"):
        run(path, resume=True, updates=1)
    path.write_bytes(b"\x80\x04" + data)
    with pytest.raises(TrainingError, match="pickle"):
        run(path, resume=True, updates=1)


def test_no_space_left_is_told_and_the_checkpoint_before_is_whole(tmp_path, whole, monkeypatch):
    path = tmp_path / "run.safetensors"
    write = container.write

    def full(where: Path, file_format: str, head: dict[str, object], tensors: dict[str, object]) -> None:
        if head["update"] == 6:
            raise container.ContainerError(f"cannot write {where}: No space left on device")
        write(where, file_format, head, tensors)

    monkeypatch.setattr(container, "write", full)
    with pytest.raises(TrainingError, match=r"checkpoint of update 6.*No space left.*the one before is whole"):
        run(path)
    monkeypatch.undo()
    assert same(run(path, resume=True), whole)


def test_a_file_that_cannot_grow_really_ends_with_that_error(tmp_path, whole):
    path = tmp_path / "run.safetensors"
    asked = iter([False] * 3 + [True])
    with pytest.raises(TrainingStoppedError):
        run(path, stop=asked.__next__)
    data = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"checkpoint of update .*too large"):
            run(path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == data
    assert same(run(path, resume=True), whole)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(TrainingError, match="checkpoint of update 1"):
        run(tmp_path / "missing" / "run.safetensors", updates=1)


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(tmp_path, whole, monkeypatch):
    path = tmp_path / "run.safetensors"
    drawn = itertools.count()
    draw = Crops.draw

    def poisoned(self: Crops) -> tuple[torch.Tensor, ...]:
        spikes, labels, age = draw(self)
        return (spikes * math.nan if next(drawn) == 5 else spikes), labels, age

    monkeypatch.setattr(Crops, "draw", poisoned)
    with pytest.raises(TrainingError, match="of update 5 is"):
        run(path)
    monkeypatch.undo()
    assert same(run(path, resume=True), whole)


class Forgetful:
    """Batches that do not tell where they are."""

    def __init__(self) -> None:
        self.crops = Crops([stream(0, 0), stream(1, 1)], 20, 4, seed=1, shape=SHAPE, augmented=False)
        self.shape, self.draw = self.crops.shape, self.crops.draw


def test_a_source_that_does_not_tell_its_chance_trains_but_is_not_resumed(tmp_path):
    network = IntegerNetwork([DenseSpec("output", 2, 1000, 500)], (2, 4, 4))
    settings = TrainingSettings(updates=1)
    assert len(fit(network, Forgetful(), settings, itertools.count().__next__)) == 1
    with pytest.raises(TrainingError, match="Forgetful cannot be resumed"):
        fit(network, Forgetful(), settings, itertools.count().__next__, checkpoint=tmp_path / "run.safetensors")
