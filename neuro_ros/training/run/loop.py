# SPDX-License-Identifier: Apache-2.0
"""The training loop: backpropagation through time over crops, judged window by window.

Every window of a crop that is old enough is one decision: cross-entropy over the output neurons' spike counts in it.
The network starts each crop at rest and carries its state through the switches of gesture inside, so it learns to
let go of the last gesture. Activity regularisers keep each layer's mean rate inside a band, and readouts may teach the
last hidden layers besides (`neuro_ros.training.run.readouts`).

A run can be stopped and continued with the same bits (`neuro_ros.training.run.checkpoint`), and shared by several
processes (`neuro_ros.training.run.distributed`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from neuro_ros.training.data import Batches
from neuro_ros.training.errors import TrainingError, TrainingStoppedError
from neuro_ros.training.network.calibration import calibrate
from neuro_ros.training.network.layers import IntegerNetwork, StreamState
from neuro_ros.training.run.checkpoint import RunState, load_checkpoint, run_digest, save_checkpoint
from neuro_ros.training.run.distributed import ALONE, World
from neuro_ros.training.run.guards import Watch
from neuro_ros.training.run.losses import judged_windows, window_loss
from neuro_ros.training.run.optimiser import Optimiser
from neuro_ros.training.run.readouts import Readouts
from neuro_ros.training.run.regularisers import regularised
from neuro_ros.training.run.settings import TrainingSettings

__all__ = ["Progress", "TrainingSettings", "calibrate", "fit", "window_loss"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What the loop tells after an update.

    Attributes
    ----------
    update : int
        From 0.
    loss, accuracy : float
        Of that batch, its judged windows; NaN where there are none.
    rates : tuple of float
        Spikes a neuron and step of each layer.
    warnings : tuple of str
        What went wrong in silence since the update before, see `neuro_ros.training.run.guards`.
    """

    update: int
    loss: float
    accuracy: float
    rates: tuple[float, ...]
    warnings: tuple[str, ...] = ()


def fit(
    network: IntegerNetwork,
    crops: Batches,
    settings: TrainingSettings,
    clock_s: Callable[[], float],
    report: Callable[[Progress], None] | None = None,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    checkpoint_updates: int = 100,
    world: World = ALONE,
    stop: Callable[[], bool] | None = None,
) -> list[float]:
    """Train in place, on the network's own device.

    Parameters
    ----------
    network : IntegerNetwork
        Trained in place.
    crops : Batches
        Source of batches; each process has its own.
    settings : TrainingSettings
        Settings.
    clock_s : callable
        Monotonic time in seconds, for the budget.
    report : callable, optional
        Called after each update; in process 0 only.
    checkpoint : path, optional
        File that is written every `checkpoint_updates` updates, at the end and when stopped.
    resume : bool
        Whether to go on from that file, which must exist.
    checkpoint_updates : int
        Updates between two checkpoints.
    world : World
        The processes that train this network.
    stop : callable, optional
        Asked after each update; where it returns True, the run ends with a checkpoint.

    Returns
    -------
    list of float
        Loss of each update, those before a resumption included.

    Raises
    ------
    TrainingStoppedError
        If `stop` asked for it.
    TrainingError
        If the loss or a gradient is not finite; the network keeps the weights of the last good update, and the last
        checkpoint stays. If a checkpoint cannot be read or written.
    """
    world.share_weights(network)  # first of all: rates and scales follow from the weights
    readouts = Readouts(network, settings)
    optimiser = Optimiser(settings.optimiser, network, readouts)
    digest = run_digest(network, settings, crops, world)
    run = RunState()
    if resume:
        if checkpoint is None:
            raise TrainingError("nothing to resume from: no checkpoint file was named")
        run = load_checkpoint(checkpoint, network, optimiser, crops, digest, world)
    watch = Watch(network)
    start_s = clock_s() - run.elapsed_s

    def save() -> None:
        if checkpoint is not None:
            run.elapsed_s = clock_s() - start_s
            save_checkpoint(checkpoint, network, optimiser, crops, run, digest, world)

    for update in range(run.update, settings.updates):
        done = world.from_first(max(update / settings.updates, (clock_s() - start_s) / settings.seconds))
        if done >= 1.0:
            break
        rate = settings.learning_rate * min(1.0, (update + 1) / 50) * (0.02 + 0.49 * (1.0 + math.cos(math.pi * done)))
        optimiser.zero_grad()
        loss, accuracy = _gradients(network, readouts, crops, settings, update, world)
        world.average_gradients(network)
        world.average_gradients(readouts)
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of update {update} is {norm}; lower the learning rate")
        optimiser.step(rate)
        run.update = update + 1
        rates = tuple(float(value.detach()) for value in network.rates.values)
        run.losses.append(loss)
        run.accuracies.append(accuracy)
        run.rates.append(rates)
        warnings = watch.look(update)
        if world.is_first:
            for line in warnings:
                _log.warning("%s", line)
            if report is not None:
                report(Progress(update, loss, accuracy, rates, warnings))
        if world.from_first(float(stop is not None and stop())):
            save()
            where = f"; {checkpoint} holds it" if checkpoint is not None else ""
            raise TrainingStoppedError(f"stopped after {run.update} of {settings.updates} updates{where}")
        if run.update % checkpoint_updates == 0:
            save()
    save()
    return run.losses


def _gradients(
    network: IntegerNetwork, readouts: Readouts, crops: Batches, settings: TrainingSettings, update: int, world: World
) -> tuple[float, float]:
    """Draw a batch and leave its gradients; return its mean loss and accuracy."""
    spikes, labels, age = (x.to(network.device) for x in crops.draw())
    bins, steps = crops.shape.bins, len(spikes)
    chunk = settings.chunk_steps or steps
    if chunk % bins:
        raise TrainingError(f"chunk_steps is {chunk}; it must be a multiple of the {bins} bins of a window")
    total = int(judged_windows(labels, age, bins, settings).sum()) if chunk < steps else 1
    state: StreamState | None = None
    loss_sum, right = 0.0, 0.0 if chunk < steps else math.nan
    for begin in range(0, steps, chunk):
        part = slice(begin, begin + chunk)
        outputs, state = network.run(spikes[part], state)
        loss, accuracy = window_loss(outputs[-1].flatten(2), labels[part], age[part], bins, settings, begin)
        taught = loss
        if settings.readout_cost:
            taught = loss + settings.readout_cost * readouts.loss(
                outputs, labels[part], age[part], bins, settings, begin
            )
        cost = regularised(taught, network, outputs, settings)
        # All processes stop together: the mean is not finite where one is not.
        value = world.mean(float(cost.detach()))
        if not math.isfinite(value):
            raise TrainingError(f"the loss of update {update} is {value}; lower the learning rate")
        if chunk >= steps:
            cost.backward()
            return world.mean(float(loss.detach())), accuracy
        judged = int(judged_windows(labels[part], age[part], bins, settings, begin).sum())
        share = judged / total if total else 0.0
        # The task's loss by the share of the crop's decisions, the rest by the share of its time.
        (share * taught + (len(spikes[part]) / steps) * (cost - taught)).backward()
        loss_sum += share * float(loss.detach())
        right += judged * accuracy if judged else 0.0
    return world.mean(loss_sum), right / total if total else math.nan
