# SPDX-License-Identifier: Apache-2.0
"""From nothing to a model: simulate, calibrate, train, judge with the engine, guard. One object in, one out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from neuro_ros.gestures import LABELS, SPLITS, subject_seeds
from neuro_ros.snn import Model
from neuro_ros.training.coarse import CoarseCrops, coarse_settings, hand_on_weights
from neuro_ros.training.data import StepStream, WindowShape, simulate_streams, window_shape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.gesture import GestureCrops, gesture_network, simulate_recordings, simulate_training
from neuro_ros.training.judge.evaluation import (
    THRESHOLD,
    RecordingScore,
    StreamScore,
    fit_exponent,
    score_recordings,
    score_streams,
)
from neuro_ros.training.judge.export import check_exportable, zero_fractions
from neuro_ros.training.network.layers import IntegerNetwork
from neuro_ros.training.run.control import RunControl
from neuro_ros.training.run.loop import Progress, TrainingSettings
from neuro_ros.training.start import Start

__all__ = [
    "EVALUATION_SEEDS",
    "RECORDING_S",
    "Evaluation",
    "TrainingJob",
    "evaluate_model",
    "train_model",
    "window_shape",
]

# Sensor seeds differ between uses, so that not even the noise of a training sensor is met again.
EVALUATION_SEEDS = {"train": 11, "validation": 12, "test": 13, "hard": 14}

# Between the seeds of crops of processes that train together, and of a run and the one that goes on from its model.
_NEXT_PROCESS = 1_000_003
_NEXT_RUN = 7_919

# So many updates can be repeated by whoever doubts the others.
_KEPT_LOSSES = 20

#: Length of a recording and of a gesture in a stream [s], chosen before a test split was looked at.
RECORDING_S = 3.0


@dataclass(frozen=True)
class TrainingJob:
    """Everything that decides a training run (but for the machine's speed, where a time budget ends it).

    Attributes
    ----------
    seed : int
        Weights, crops, augmentation, sensors.
    subjects : int
        Training subjects.
    gestures : int
        How many of the eleven each of them acts, once and in a row. The fewer, the more people there are for the same
        time of simulation.
    gesture_duration_s : float
        Length of each.
    crop_steps, batch : int
        Truncation of time, and crops an update.
    updates : int
        Upper limit of optimiser steps.
    coarse : int
        Bins that are one step of the network in the first part of a run, see `neuro_ros.training.coarse`.
    coarse_share : float
        Of the updates, in that part; 0 = none. A run that goes on from a model has had it.
    seconds : float
        Upper limit of wall-clock time of the loop; a run that it ends cannot be repeated exactly.
    learning_rate : float
        Peak, see `TrainingSettings`.
    optimiser, readout_cost : str, float
        See `TrainingSettings`.
    validation_subjects : int
        For the guard and the figures of the record.
    recording_s : float
        Length of the validation recordings.
    name : str
        Of the model.
    """

    seed: int = 1
    subjects: int = 1000
    gestures: int = 4
    gesture_duration_s: float = 1.5
    crop_steps: int = 80
    batch: int = 16
    updates: int = 24000
    coarse: int = 2
    coarse_share: float = 0.8
    seconds: float = math.inf
    learning_rate: float = 2e-2
    optimiser: str = "muon"
    readout_cost: float = 1.0
    validation_subjects: int = 10
    recording_s: float = RECORDING_S
    name: str = "gesture"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise TrainingError(f"seed is {self.seed}; it must be 0 or above")
        if not 0.0 <= self.coarse_share < 1.0:
            raise TrainingError(f"coarse_share is {self.coarse_share}; it must be 0 or above, and below 1")
        if not 1 <= self.gestures <= len(LABELS):
            raise TrainingError(f"{self.gestures} gestures a subject; there are {len(LABELS)}")
        if not 0.3 <= self.gesture_duration_s <= 60.0 or not 0.3 <= self.recording_s <= 60.0:
            raise TrainingError(
                f"gestures of {self.gesture_duration_s} s and recordings of {self.recording_s} s must be 0.3 to 60 s"
            )


@dataclass(frozen=True)
class Evaluation:
    """What a model reached on a split of simulated subjects.

    Attributes
    ----------
    split, seed, subjects : str, int, int
        The data.
    recording : RecordingScore
        Per recording.
    stream : StreamScore
        Per window.
    """

    split: str
    seed: int
    subjects: int
    recording: RecordingScore
    stream: StreamScore

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        stream = self.stream
        times = np.asarray(stream.time_to_decision_ms)
        reached = times[np.isfinite(times)]
        return {
            "accuracy": self.recording.accuracy,
            "per_class": dict(zip(LABELS, self.recording.per_class, strict=True)),
            "split": self.split,
            "seed": self.seed,
            "subjects": self.subjects,
            "recordings": int(self.recording.confusion.sum()),
            "confusion": self.recording.confusion.tolist(),
            "rates": list(self.recording.layer_rates),
            "dead": list(self.recording.dead),
            "windows": stream.windows,
            "windows_decided": stream.decided / stream.windows,
            "windows_decided_right": stream.right / max(stream.decided, 1),
            "stream_gestures": stream.gestures,
            "stream_accuracy": stream.majority_right / stream.gestures,
            "decision_ms_median": float(np.median(times)) if np.isfinite(np.median(times)) else None,
            "decided_within_1s": float((times <= 1000.0).mean()),
            "never_decided": int(times.size - reached.size),
            "calibration_error": stream.reliability.error if stream.reliability.bins else None,
            "reliability": [list(row) for row in stream.reliability.bins],
        }


def evaluate_model(
    model: Model,
    split: str = "test",
    subjects: int = 20,
    recording_s: float = RECORDING_S,
    seed: int | None = None,
    threshold: float = THRESHOLD,
    streams: Sequence[StepStream] | None = None,
) -> Evaluation:
    """Judge a model on simulated subjects of a split, per recording and on streams.

    Parameters
    ----------
    model : Model
        With the eleven gesture labels.
    split : str
        A key of `neuro_ros.gestures.SPLIT_TABLE`.
    subjects : int
        Each acts every gesture once as a recording, and once more in a row as a stream.
    recording_s : float
        Length of a gesture in both.
    seed : int, optional
        Sensors and performances; by default the split's own.
    threshold : float
        Confidence that a window's decision needs.
    streams : sequence of StepStream, optional
        Those of these subjects, where they are made already.

    Returns
    -------
    Evaluation

    Raises
    ------
    TrainingError
        If the model's labels are not the eleven gestures.
    """
    if model.labels != LABELS:
        raise TrainingError(f"the model has labels {', '.join(model.labels)}; simulated ones need the 11 gestures")
    seeds = subject_seeds(split, subjects)
    seed = EVALUATION_SEEDS[split] if seed is None else seed
    shape = window_shape(model)
    if streams is None:
        streams = simulate_streams(seeds, recording_s, seed, shape, split=split)
    recordings = score_recordings(model, simulate_recordings(seeds, recording_s, seed, shape, split))
    return Evaluation(split, seed, subjects, recordings, score_streams(model, streams, threshold))


def train_model(
    job: TrainingJob,
    clock_s: Callable[[], float],
    on_data: Callable[[int, int], None] | None = None,
    on_update: Callable[[Progress], None] | None = None,
    on_network: Callable[[IntegerNetwork], None] | None = None,
    control: RunControl | None = None,
    start: Start | None = None,
) -> tuple[Model, Evaluation]:
    """Train the gesture network on simulated subjects and judge it on validation subjects.

    Parameters
    ----------
    job : TrainingJob
        What to do.
    clock_s : callable
        Monotonic time in seconds.
    on_data : callable, optional
        Called with (subjects done, of).
    on_update : callable, optional
        Called after each update.
    on_network : callable, optional
        Called with the trained network, whose real-valued weights the model does not hold.
    control : RunControl, optional
        How the run is carried out; by default here and alone, without checkpoints.
    start : Start, optional
        Go on from this model; by default from chance.

    Returns
    -------
    model : Model
        With its training record.
    evaluation : Evaluation
        On the validation split, with the fixed-point engine.

    Raises
    ------
    TrainingError
        If a setting is wrong, the start is another network, or the loss stops being a number.
    ExportError
        If a layer is dead, saturated or collapsed.
    """
    control = control or RunControl()
    torch.manual_seed(job.seed)
    shape = WindowShape()
    streams = simulate_training(
        subject_seeds("train", job.subjects), job.gesture_duration_s, job.seed, shape, on_data, gestures=job.gestures
    )
    seed = job.seed + _NEXT_PROCESS * control.world.rank + (0 if start is None else _NEXT_RUN)
    crops = GestureCrops(streams, job.crop_steps, control.share_of(job.batch), seed, shape)
    network = gesture_network(shape)
    if start is not None:
        start.put_into(network)
    settings = TrainingSettings(
        updates=job.updates, seconds=job.seconds, learning_rate=job.learning_rate, optimiser=job.optimiser,
        readout_cost=job.readout_cost,
    )  # fmt: skip
    losses: list[float] = []
    try:
        before = 0 if start is not None else min(round(job.updates * job.coarse_share), job.updates - 1)
        if before:
            share = before / (before + (job.updates - before) * job.coarse)  # of the time: its steps are fewer
            early = replace(settings, updates=before, seconds=job.seconds * share)
            settings = replace(settings, updates=job.updates - before, seconds=job.seconds * (1.0 - share))
            coarse = gesture_network(shape, coarse=job.coarse)
            losses += control.early().train(
                coarse, CoarseCrops(crops, job.coarse), coarse_settings(early, job.coarse), clock_s, on_update
            )
            hand_on_weights(coarse, network)
            control = control.late(before)
        losses += control.train(network, crops, settings, clock_s, on_update, calibrated=start is not None)
    finally:
        crops.close()
    if on_network is not None:
        on_network(network)
    model = Model(network.export(), LABELS, shape.length_ns, shape.bins, job.name)
    judges = simulate_streams(
        subject_seeds("validation", job.validation_subjects), job.recording_s, EVALUATION_SEEDS["validation"], shape,
        split="validation",
    )  # fmt: skip
    model = replace(model, record={**model.record, "confidence_exponent": fit_exponent(model, judges)})
    evaluation = evaluate_model(model, "validation", job.validation_subjects, job.recording_s, streams=judges)
    check_exportable(model.network, evaluation.recording)
    # No measured times in here: the record is part of the model's digest, and equal runs shall give equal models.
    record = {
        **model.record,
        "data": "simulated gestures (neuro_ros.gestures), not people",
        "job": {key: value for key, value in asdict(job).items() if value != math.inf},
        "splits": {split: list(SPLITS[split]) for split in SPLITS},
        **({} if start is None else {"start": start.as_dict()}),
        "updates": len(losses),
        "losses_first": losses[:_KEPT_LOSSES],
        "loss_first": float(np.mean(losses[:20])),
        "loss_last": float(np.mean(losses[-20:])),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "u_wraps_and_v_clips": [layer.counts.tolist() for layer in network.populations],
        "zero_weights": list(zero_fractions(model.network)),
        "validation": evaluation.as_dict(),
    }
    return Model(model.network, model.labels, shape.length_ns, shape.bins, job.name, record), evaluation
