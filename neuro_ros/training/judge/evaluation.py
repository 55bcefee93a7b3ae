# SPDX-License-Identifier: Apache-2.0
"""Judging a model with the engine that flies: per recording, and per window on a stream that never stops.

Per recording: the engine runs from rest, as many empty bins as the network is deep are appended, and the windows are
joined as independent judgements: a window gives each class the probability (spikes + 1/2) / sum over classes, and the
class with the largest sum of logarithms is the answer. The half stands for what a silent neuron leaves open. The lowest
index wins a tie, no spikes at all is no answer (-1).
Per window: state is carried through all gestures of a subject, nothing is appended. A window decides by the rule that
the node flies with, `neuro_ros.snn.decision`: leaky evidence, and a share sharpened by the model's exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuro_ros.snn import Model, create_engine
from neuro_ros.snn.decision import Evidence, decide_sequence, sharpen
from neuro_ros.snn.engine import Engine
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.statistics import Reliability, reliability

__all__ = [
    "HALF_LIFE_S",
    "RELEASE",
    "THRESHOLD",
    "RecordingScore",
    "StreamScore",
    "answer",
    "best_exponent",
    "fit_exponent",
    "run_recording",
    "score_recordings",
    "score_streams",
    "window_counts",
]

NO_DECISION = -1

#: How the node decides when nobody sets its parameters; a test compares.
HALF_LIFE_S, THRESHOLD, RELEASE = 0.1, 0.6, 1.0

# Added to each count before its logarithm is taken, as in the loss (`neuro_ros.training.run.losses`).
_SILENT_SPIKES = 0.5

# An exponent is looked for in here; beyond, a share is all or nothing.
_EXPONENTS = np.arange(1.0, 6.01, 0.25)
# A right class without any evidence costs this much and not infinitely much.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class RecordingScore:
    """Decisions per recording.

    Attributes
    ----------
    confusion : (classes, classes + 1) int64
        Row = truth; the last column counts recordings without any output spike.
    layer_rates : tuple of float
        Spikes a neuron and step, by layer.
    dead, saturated : tuple of float
        Fractions of each layer's neurons that never fired, and that fired in more than 9 of 10 steps.
    answers : (recordings,) int64
        Class index answered, in the order given; -1 = no output spikes.
    """

    confusion: npt.NDArray[np.int64]
    layer_rates: tuple[float, ...]
    dead: tuple[float, ...]
    saturated: tuple[float, ...]
    answers: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    @property
    def accuracy(self) -> float:
        """Fraction of recordings decided rightly."""
        return float(np.trace(self.confusion[:, :-1]) / self.confusion.sum())

    @property
    def per_class(self) -> list[float]:
        """Accuracy of each class; NaN where there is no recording."""
        totals = self.confusion.sum(1)
        hits = np.diagonal(self.confusion[:, :-1])
        return [float(hit / total) if total else float("nan") for hit, total in zip(hits, totals, strict=True)]


@dataclass(frozen=True)
class StreamScore:
    """Decisions per window on streams with carried state.

    Attributes
    ----------
    windows : int
        Labelled windows.
    decided : int
        Windows whose confidence reached the threshold.
    right : int
        Of these, decided for the acted gesture.
    time_to_decision_ms : tuple of float
        For each gesture: from its start to the end of the first window that decided rightly; inf if none did.
    gestures : int
        Gestures acted.
    majority_right : int
        Gestures for which most deciding windows were right.
    reliability : Reliability
        Of the confidence of the leading class, over all labelled windows with evidence.
    """

    windows: int
    decided: int
    right: int
    time_to_decision_ms: tuple[float, ...]
    gestures: int
    majority_right: int
    reliability: Reliability


def window_counts(engine: Engine, bits: npt.NDArray[np.uint8], bins: int) -> npt.NDArray[np.int64]:
    """Return the output spikes (windows, classes) of packed steps, the engine's state going on from where it is."""
    counts = []
    for begin in range(0, len(bits), bins):
        piece = bits[begin : begin + bins]
        indices = np.flatnonzero(np.unpackbits(piece)).astype(np.uint32)
        counts.append(engine.run_window(indices, len(piece)).spike_counts.astype(np.int64))
    return np.stack(counts)


def run_recording(engine: Engine, bits: npt.NDArray[np.uint8], bins: int, depth: int) -> npt.NDArray[np.int64]:
    """Return the output spikes (windows, classes) of a recording run from rest, the empty tail in the last window."""
    engine.reset()
    counts = window_counts(engine, bits, bins)
    counts[-1] += engine.run_window(np.empty(0, np.uint32), depth).spike_counts
    return counts


def answer(counts: npt.NDArray[np.int64]) -> int:
    """Return the class that the windows of a recording come to together, see the module.

    Parameters
    ----------
    counts : (windows, classes) int64
        Output spikes.

    Returns
    -------
    int
        Index of a class; -1 where there are no spikes.
    """
    return int(np.log(counts + _SILENT_SPIKES).sum(0).argmax()) if counts.any() else NO_DECISION


def score_recordings(model: Model, recordings: Sequence[tuple[StepStream, int]]) -> RecordingScore:
    """Judge recordings of one gesture each with the fixed-point engine.

    Parameters
    ----------
    model : Model
        What to judge.
    recordings : sequence of (StepStream, int)
        Input and class index.

    Returns
    -------
    RecordingScore

    Raises
    ------
    TrainingError
        If there are no recordings.
    """
    if not recordings:
        raise TrainingError("nothing to evaluate; give at least one recording")
    model.require_binary_windows()
    classes, depth = model.network.classes, model.network.depth
    confusion = np.zeros((classes, classes + 1), np.int64)
    fired: list[npt.NDArray[np.int64]] = [np.zeros(int(np.prod(s)), np.int64) for s in model.network.shapes]
    steps = 0
    answers = []
    engine = create_engine(model, "fixed")
    try:
        engine.clear_neuron_spikes()
        for stream, label in recordings:
            counts = run_recording(engine, stream.bits, model.bins, depth)
            answers.append(answer(counts))
            confusion[label, answers[-1]] += 1  # the last column, too, is -1
            steps += len(stream.bits) + depth
        fired = [np.asarray(spikes).reshape(-1).astype(np.int64) for spikes in engine.neuron_spikes()]
    finally:
        engine.close()
    return RecordingScore(
        confusion,
        tuple(float(spikes.mean() / steps) for spikes in fired),
        tuple(float((spikes == 0).mean()) for spikes in fired),
        tuple(float((spikes > 0.9 * steps).mean()) for spikes in fired),
        np.array(answers),
    )


def _stream_evidence(model: Model, streams: Sequence[StepStream], half_life_s: float) -> list[npt.NDArray[np.float64]]:
    """Return for each stream the evidence (windows, classes) after each whole window, state carried from rest."""
    if not streams:
        raise TrainingError("nothing to evaluate; give at least one stream")
    found = []
    engine = create_engine(model, "fixed")
    try:
        for stream in streams:
            engine.reset()
            evidence = Evidence(model.network.classes)
            rows = []
            for counts in window_counts(engine, stream.bits, model.bins):
                evidence.add(counts.astype(np.int32), model.window_length_ns * 1e-9, half_life_s)
                rows.append(evidence.values)
            found.append(np.stack(rows)[: len(stream.labels) // model.bins])
    finally:
        engine.close()
    return found


def fit_exponent(model: Model, streams: Sequence[StepStream], half_life_s: float = HALF_LIFE_S) -> float:
    """Return the exponent that makes sharpened shares the best probabilities on these streams.

    Parameters
    ----------
    model : Model
        Its own exponent is not used.
    streams : sequence of StepStream
        Of validation subjects; never of the test.
    half_life_s : float
        Half-life of evidence [s].

    Returns
    -------
    float
        1 to 6; least mean negative logarithm of the right class's share, over windows with a label and evidence.

    Raises
    ------
    TrainingError
        If no window has a label and evidence.
    """
    labels = np.concatenate([stream.labels[model.bins - 1 :: model.bins] for stream in streams])
    evidence = np.concatenate(_stream_evidence(model, streams, half_life_s))
    exponent = best_exponent(evidence, labels)
    if math.isnan(exponent):
        raise TrainingError("no window has a label and output spikes; the network is silent")
    return exponent


def best_exponent(evidence: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the exponent of `fit_exponent` for windows whose evidence is known.

    Parameters
    ----------
    evidence : (windows, classes) float64
    labels : (windows,) int64
        -1 = unknown.

    Returns
    -------
    float
        NaN if no window has a label and evidence.
    """
    usable = (labels >= 0) & evidence.any(axis=1)
    if not usable.any():
        return math.nan
    evidence, labels = evidence[usable], labels[usable]
    costs = [
        -np.log(np.maximum(sharpen(evidence, exponent)[np.arange(len(labels)), labels], _LEAST_SHARE)).mean()
        for exponent in _EXPONENTS
    ]
    return float(_EXPONENTS[int(np.argmin(costs))])


def score_streams(
    model: Model,
    streams: Sequence[StepStream],
    threshold: float = THRESHOLD,
    half_life_s: float = HALF_LIFE_S,
    release: float = RELEASE,
) -> StreamScore:
    """Judge every window of streams in which gestures follow each other, with carried state.

    Parameters
    ----------
    model : Model
        What to judge.
    streams : sequence of StepStream
        Input with labels.
    threshold : float
        Confidence that a decision needs.
    half_life_s : float
        Half-life of evidence [s].
    release : float
        Share of its class at which a decision in force still holds; from `threshold` up there is no hysteresis.

    Returns
    -------
    StreamScore

    Raises
    ------
    TrainingError
        If there are no streams.
    """
    bins = model.bins
    bin_ms = model.window_length_ns / bins * 1e-6
    windows = decided = right = majority = 0
    times: list[float] = []
    said: list[npt.NDArray[np.float64]] = []
    led: list[npt.NDArray[np.bool_]] = []
    for stream, evidence in zip(streams, _stream_evidence(model, streams, half_life_s), strict=True):
        labels = stream.labels[bins - 1 :: bins]
        best, _ = decide_sequence(evidence, threshold, model.confidence_exponent, release)
        sure = best >= 0
        known = labels >= 0
        windows += int(known.sum())
        decided += int((sure & known).sum())
        right += int((sure & known & (best == labels)).sum())
        said.append(sharpen(evidence, model.confidence_exponent).max(1)[known])
        led.append((evidence.argmax(1) == labels)[known])
        starts = np.flatnonzero(stream.age_steps == 0)
        for begin, end in zip(starts, [*starts[1:], len(stream.labels)], strict=True):
            first, last = -(-int(begin) // bins), int(end) // bins
            label = int(stream.labels[begin])
            if label < 0 or last <= first:
                continue
            hit = np.flatnonzero(sure[first:last] & (best[first:last] == label))
            times.append(((first + int(hit[0]) + 1) * bins - int(begin)) * bin_ms if hit.size else float("inf"))
            votes = np.bincount(best[first:last][sure[first:last]], minlength=evidence.shape[1])
            majority += int(votes.any() and votes.argmax() == label)
    trust = reliability(np.concatenate(said), np.concatenate(led))
    return StreamScore(windows, decided, right, tuple(times), len(times), majority, trust)
