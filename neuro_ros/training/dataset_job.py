# SPDX-License-Identifier: Apache-2.0
"""From any data set of labelled recordings to a model: look through, calibrate, train, judge with the engine, guard.

What suits a kind of data set stands in `RECIPES`; everything in a recipe can be chosen otherwise. The test split is
never read here: it is looked at once, by whoever asks for it with `neuro_ros.training.judge.dataset_evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from neuro_ros.gestures.augmentation import Augmentation
from neuro_ros.gestures.datasets import Dataset, MemoryCache, TensorCache, WindowShape
from neuro_ros.snn import Model
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.dataset_evaluation import DatasetEvaluation, evaluate_on_dataset
from neuro_ros.training.judge.export import check_exportable, zero_fractions
from neuro_ros.training.network.layer_text import DEFAULT_LAYERS, layer_text, parse_layers
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.recordings import JUDGED, RecordingCrops, Survey, mirror_of, survey
from neuro_ros.training.run.control import RunControl
from neuro_ros.training.run.loop import Progress, TrainingSettings
from neuro_ros.training.start import Start

__all__ = [
    "RECIPES",
    "DatasetJob",
    "crops_for",
    "finished",
    "job_for",
    "network_for",
    "settings_for",
    "train_network",
    "train_on_dataset",
]

# A data set of a few recordings is one batch an epoch; a network needs some hundred steps all the same.
_LEAST_UPDATES = 400
# Steps after the start from rest that are not judged, where windows are judged by themselves; at most half a crop.
_SETTLE_STEPS = 25
# Of a model file; of a stream's window; and of what a spike tensor may hold, see the messages.
_MAX_BINS, _MAX_WINDOW_NS, _MAX_CELLS = 1024, 3600 * 10**9, 1 << 21


@dataclass(frozen=True)
class DatasetJob:
    """Everything that decides a training run on a data set (but for the speed of the machine, with a time budget).

    Attributes
    ----------
    seed : int
        Weights, order, crops, augmentation.
    epochs : int
        Passes over the recordings, one crop of each; at least 400 updates are made.
    updates : int, optional
        Instead of epochs.
    seconds : float
        Upper limit of wall-clock time of the loop; a run that it ends cannot be repeated exactly.
    batch : int
        Crops an update.
    learning_rate, optimiser, readout_cost : float, str, float
        See `TrainingSettings`.
    layers : str
        See `neuro_ros.training.network.layer_text`.
    shape : WindowShape
        Window and tensor.
    crop_windows : int
        Length of a crop.
    judged : str
        'windows': each window of a crop is a decision, as on the robot; 'recording': the crop as a whole is one.
    augmentation : Augmentation
        Its `mirror` is found from the labels, see `mirror_of`.
    count_scale, share_cost, high_rate : float
        See `TrainingSettings`.
    beta : float
        Sharpness of the surrogate.
    name : str
        Of the model.
    """

    seed: int = 1
    epochs: int = 60
    updates: int | None = None
    seconds: float = math.inf
    batch: int = 16
    learning_rate: float = 1.2e-2
    optimiser: str = "adam"
    readout_cost: float = 0.0
    layers: str = DEFAULT_LAYERS
    shape: WindowShape = field(default_factory=WindowShape)
    crop_windows: int = 8
    judged: str = "windows"
    augmentation: Augmentation = field(default_factory=Augmentation)
    count_scale: float = 0.6
    share_cost: float = 0.25
    high_rate: float = 0.10
    beta: float = 1.5
    name: str = "model"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise TrainingError(f"seed is {self.seed}; it must be 0 or above")
        for what in ("epochs", "batch", "crop_windows"):
            if getattr(self, what) < 1:
                raise TrainingError(f"{what} is {getattr(self, what)}; it must be at least 1")
        shape = self.shape
        if not (1 <= shape.bins <= _MAX_BINS and shape.bins <= shape.length_ns <= _MAX_WINDOW_NS):
            raise TrainingError(
                f"a window of {shape.length_ns / 1e6:g} ms in {shape.bins} bins cannot be; bins are 1 to {_MAX_BINS}, "
                f"and a window is up to {_MAX_WINDOW_NS / 1e9:g} s"
            )
        if shape.cells % 8 or not 1 <= shape.cells <= _MAX_CELLS:
            raise TrainingError(
                f"{shape.width} x {shape.height} cells in {shape.channels} channels: their number must fill whole "
                f"bytes and be at most {_MAX_CELLS}"
            )
        if self.judged not in JUDGED:
            raise TrainingError(f"judged is {self.judged!r}; choose {' or '.join(JUDGED)}")


#: By the kind of the data set; what is not here starts from `DatasetJob`.
RECIPES: dict[str, DatasetJob] = {
    # One window holds the three saccades of a recording. A digit turned, slanted or magnified a little is the same
    # digit, and a thousand recordings are few: without that the network knows them by heart after ten epochs.
    "nmnist": DatasetJob(
        epochs=60,
        batch=16,
        learning_rate=1e-2,
        high_rate=0.2,
        layers="conv:16k5s2p2u2000v500,conv:32k3s2p1u2000v500,dense:128u2000v300,output:u2000v50",
        shape=WindowShape(340_000_000, 17, 2, 34, 34),
        crop_windows=1,
        judged="recording",
        augmentation=Augmentation(
            flip=0.0, mirror=None, shift=0.06, time_scale=0.0, drop=0.3, noise_hz=0.0,
            rotate_deg=12.0, zoom=0.12, shear=0.1,
        ),
    ),
}  # fmt: skip
RECIPES["nmnist-packed"] = RECIPES["nmnist"]


def job_for(dataset: Dataset, **chosen: Any) -> DatasetJob:
    """Return the recipe for a data set.

    Parameters
    ----------
    dataset : Dataset
    **chosen
        Attributes of `DatasetJob` that are to be otherwise; None = as in the recipe.
    """
    job = RECIPES.get(dataset.kind, DatasetJob())
    augmentation = replace(job.augmentation, mirror=mirror_of(dataset.labels))
    return replace(
        job, **{"augmentation": augmentation, **{name: value for name, value in chosen.items() if value is not None}}
    )


def train_on_dataset(
    job: DatasetJob,
    dataset: Dataset,
    clock_s: Callable[[], float],
    split_seed: int = 0,
    cache: TensorCache | None = None,
    on_data: Callable[[int, int], None] | None = None,
    on_update: Callable[[Progress], None] | None = None,
    control: RunControl | None = None,
    start: Start | None = None,
) -> tuple[Model, DatasetEvaluation]:
    """Train on the training split and judge on the validation split.

    Parameters
    ----------
    job : DatasetJob
        What to do.
    dataset : Dataset
        What from.
    clock_s : callable
        Monotonic time in seconds.
    split_seed : int
        Of what is carved out, for the record.
    cache : TensorCache, optional
        By default a gigabyte of memory.
    on_data : callable, optional
        Called with (recordings looked through, of).
    on_update : callable, optional
        Called after each update.
    control : RunControl, optional
        How the run is carried out; by default here and alone, without checkpoints.
    start : Start, optional
        Go on from this model, which has the same layers and classes; by default from chance.

    Returns
    -------
    model : Model
        With its training record.
    evaluation : DatasetEvaluation
        On the validation split, with the fixed-point engine.

    Raises
    ------
    TrainingError
        If a setting is wrong, the start is another network or knows other classes, a class has nothing usable, or
        the loss stops being a number.
    DatasetError
        If a split is empty or nothing in it can be read.
    ExportError
        If a layer is dead, saturated or collapsed.
    """
    cache = MemoryCache() if cache is None else cache
    network, record = train_network(job, dataset, clock_s, split_seed, cache, on_data, on_update, control, start=start)
    return finished(network, job, dataset, record, split_seed, cache)


def train_network(
    job: DatasetJob,
    dataset: Dataset,
    clock_s: Callable[[], float],
    split_seed: int,
    cache: TensorCache,
    on_data: Callable[[int, int], None] | None = None,
    on_update: Callable[[Progress], None] | None = None,
    control: RunControl | None = None,
    arithmetic: str = "integer",
    start: Start | None = None,
) -> tuple[IntegerNetwork, dict[str, Any]]:
    """Do the first half of `train_on_dataset`: what is judged afterwards is up to the caller.

    Parameters
    ----------
    job, dataset, clock_s, split_seed, cache, on_data, on_update, control
        As for `train_on_dataset`.
    arithmetic : str
        'integer', or 'float' for a network that is quantised afterwards.
    start : Start, optional
        As for `train_on_dataset`.

    Returns
    -------
    network : IntegerNetwork
        Trained.
    record : dict
        What a model's record says of data and training.
    """
    control = control or RunControl()
    dataset.of_split("validation")  # refused before hours of training, not after
    torch.manual_seed(job.seed)
    network = network_for(job, len(dataset.labels))
    if start is not None:
        if start.model.labels != dataset.labels:
            raise TrainingError(
                f"{dataset.path} has the classes {', '.join(dataset.labels)}; the model to start from knows "
                f"{', '.join(start.model.labels)}"
            )
        start.put_into(network)
    network.arithmetic = arithmetic
    found = survey(dataset, "train", job.shape, cache, on_data)
    crops = crops_for(job, dataset, found, len(network.populations), cache, control)
    settings = settings_for(job, crops, found)
    losses = control.train(network, crops, settings, clock_s, on_update, calibrated=start is not None)
    # No measured times and no paths in here: the record is part of the digest, and equal runs give equal models.
    record = {
        "data": dataset.kind,
        "job": plain_job(job, network),
        "split_seed": split_seed,
        "recordings": dict(zip(dataset.labels, found.per_class, strict=True)),
        "skipped": found.skipped,
        **({} if start is None else {"start": start.as_dict()}),
        "updates": len(losses),
        "loss_first": float(np.mean(losses[:20])),
        "loss_last": float(np.mean(losses[-20:])),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "u_wraps_and_v_clips": [layer.counts.tolist() for layer in network.populations],
    }
    return network, record


def finished(
    network: IntegerNetwork,
    job: DatasetJob,
    dataset: Dataset,
    record: dict[str, Any],
    split_seed: int,
    cache: TensorCache,
) -> tuple[Model, DatasetEvaluation]:
    """Return the model of a trained network and what it reached on the validation split; see `train_on_dataset`.

    The confidence exponent is fitted on that split.

    Raises
    ------
    ExportError
        If a layer is dead, saturated or collapsed.
    """
    model = Model(network.export(), dataset.labels, job.shape.length_ns, job.shape.bins, job.name)
    evaluation = evaluate_on_dataset(model, dataset, "validation", split_seed, cache=cache, fits_exponent=True)
    check_exportable(model.network, evaluation.recording)
    record = {
        **record,
        "confidence_exponent": evaluation.exponent,
        "zero_weights": list(zero_fractions(model.network)),
        "validation": evaluation.as_dict(),
    }
    return replace(model, record=record), evaluation


def network_for(job: DatasetJob, classes: int) -> IntegerNetwork:
    """Return the untrained network of a job; torch's global seed decides its weights."""
    shape = (job.shape.channels, job.shape.height, job.shape.width)
    return IntegerNetwork(parse_layers(job.layers, classes, shape), shape, job.beta, sparse_gradient=True)


def crops_for(
    job: DatasetJob, dataset: Dataset, found: Survey, depth: int, cache: TensorCache | None, control: RunControl
) -> RecordingCrops:
    """Return the batches of a job, this process's share of them."""
    return RecordingCrops(
        dataset, found, job.shape, job.crop_windows, control.share_of(job.batch), job.seed, job.augmentation, cache,
        job.judged, depth, control.world,
    )  # fmt: skip


def settings_for(job: DatasetJob, crops: RecordingCrops, found: Survey) -> TrainingSettings:
    """Return the settings of the loop for a job."""
    updates = job.updates or max(job.epochs * crops.updates_per_epoch, _LEAST_UPDATES)
    half = min(crops.steps, found.median_steps) // 2
    settle_steps = min(_SETTLE_STEPS, max(half - 1, 0)) if job.judged == "windows" else 0
    return TrainingSettings(
        updates=updates,
        learning_rate=job.learning_rate,
        optimiser=job.optimiser,
        readout_cost=job.readout_cost,
        seconds=job.seconds,
        settle_steps=settle_steps,
        switch_steps=0,
        count_scale=job.count_scale,
        share_cost=job.share_cost,
        high_rate=job.high_rate,
    )


def plain_job(job: DatasetJob, network: IntegerNetwork) -> dict[str, Any]:
    """Return a job as plain values for the record, its layers written out."""
    layers = layer_text(tuple(layer.spec for layer in network.populations))
    return {**{key: value for key, value in asdict(job).items() if value not in (None, math.inf)}, "layers": layers}
