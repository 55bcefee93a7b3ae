# SPDX-License-Identifier: Apache-2.0
"""How a run is carried out: where, by how many, and from which checkpoint on; nothing of it decides what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from neuro_ros.training.data import Batches
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.run.distributed import ALONE, World
from neuro_ros.training.run.loop import Progress, TrainingSettings, calibrate, fit

__all__ = ["RunControl", "early_checkpoint"]


def early_checkpoint(path: Path) -> Path:
    """Return the checkpoint of the first of two parts of a run, beside that of the run, which is the second one's."""
    return path.with_name(f"early.{path.name}")


@dataclass(frozen=True)
class RunControl:
    """How a run is carried out.

    Attributes
    ----------
    device : torch.device
        Where the network is trained; afterwards it is on the CPU.
    world : World
        The processes that train it together; each batch is divided among them.
    checkpoint : pathlib.Path, optional
        File that is written now and then, at the end and when stopped.
    resume : bool
        Whether to go on from it.
    checkpoint_updates : int
        Updates between two checkpoints.
    stop : callable, optional
        Asked after each update, see `fit`.
    begin : callable, optional
        Called when the loop begins, with its settings and the updates of the part before.
    before : int
        Updates of the part before.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = ALONE
    checkpoint: Path | None = None
    resume: bool = False
    checkpoint_updates: int = 100
    stop: Callable[[], bool] | None = None
    begin: Callable[[TrainingSettings, int], None] | None = None
    before: int = 0

    def share_of(self, batch: int) -> int:
        """Return how many crops of a batch this process draws.

        Raises
        ------
        TrainingError
            If the batch cannot be divided.
        """
        if batch % self.world.size:
            raise TrainingError(f"a batch of {batch} cannot be divided among {self.world.size} processes")
        return batch // self.world.size

    def early(self) -> RunControl:
        """Return the control of the first part of a run, which begins or goes on.

        A run that begins has no second part yet: what another one left in its checkpoint's place is removed, so that
        nobody goes on from that later.

        Raises
        ------
        TrainingError
            If it cannot be removed.
        """
        if self.checkpoint is None:
            return self
        if not self.resume and self.world.is_first:
            try:
                self.checkpoint.unlink(missing_ok=True)
            except OSError as error:
                raise TrainingError(f"{self.checkpoint} cannot be replaced: {error.strerror or error}") from None
        path = early_checkpoint(self.checkpoint)
        return replace(self, checkpoint=path, resume=self.resume and path.is_file())

    def late(self, before: int) -> RunControl:
        """Return the control of the second part of a run, after so many updates; it goes on where it has begun."""
        there = self.checkpoint is not None and self.checkpoint.is_file()
        return replace(self, resume=self.resume and there, before=before)

    def train(
        self,
        network: IntegerNetwork,
        crops: Batches,
        settings: TrainingSettings,
        clock_s: Callable[[], float],
        report: Callable[[Progress], None] | None = None,
        calibrated: bool = False,
    ) -> list[float]:
        """Calibrate a network and train it in place, see `calibrate` and `fit`.

        Parameters
        ----------
        network, crops, settings, clock_s, report
            As for `fit`.
        calibrated : bool
            Whether it is trained already.

        Returns
        -------
        list of float
            Loss of each update.
        """
        network.to(self.device)
        if not calibrated:
            calibrate(network, crops.draw()[0].to(self.device))
        if self.begin is not None:
            self.begin(settings, self.before)
        losses = fit(
            network, crops, settings, clock_s, report,
            checkpoint=self.checkpoint, resume=self.resume, checkpoint_updates=self.checkpoint_updates,
            world=self.world, stop=self.stop,
        )  # fmt: skip
        network.cpu()
        return losses
