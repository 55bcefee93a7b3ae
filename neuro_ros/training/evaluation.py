# SPDX-License-Identifier: Apache-2.0
"""Judging a model with the engine that flies: per recording, and per window on a stream that never stops.

Per recording: the engine runs from rest, as many empty bins as the network is deep are appended, and the class with
the most output spikes is the answer; the lowest index wins a tie, no spikes at all is no answer (-1).
Per window: state is carried through all gestures of a subject, nothing is appended. A window decides for its
most frequent output neuron when that has at least the given share of all output spikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuro_ros.snn import Model, create_engine
from neuro_ros.snn.engine import Engine
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import TrainingError

__all__ = ["RecordingScore", "StreamScore", "run_recording", "score_recordings", "score_streams"]

NO_DECISION = -1


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
    """

    confusion: npt.NDArray[np.int64]
    layer_rates: tuple[float, ...]
    dead: tuple[float, ...]
    saturated: tuple[float, ...]

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
    """

    windows: int
    decided: int
    right: int
    time_to_decision_ms: tuple[float, ...]
    gestures: int
    majority_right: int


def _window_counts(engine: Engine, bits: npt.NDArray[np.uint8], bins: int) -> npt.NDArray[np.int64]:
    counts = []
    for begin in range(0, len(bits), bins):
        piece = bits[begin : begin + bins]
        indices = np.flatnonzero(np.unpackbits(piece)).astype(np.uint32)
        counts.append(engine.run_window(indices, len(piece)).spike_counts.astype(np.int64))
    return np.stack(counts)


def run_recording(engine: Engine, bits: npt.NDArray[np.uint8], bins: int, depth: int) -> npt.NDArray[np.int64]:
    """Return the summed output spikes (classes,) of a recording run from rest, the empty tail included."""
    engine.reset()
    counts = _window_counts(engine, bits, bins).sum(0)
    tail = engine.run_window(np.empty(0, np.uint32), depth).spike_counts
    total: npt.NDArray[np.int64] = counts + tail
    return total


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
    classes, depth = model.network.classes, model.network.depth
    confusion = np.zeros((classes, classes + 1), np.int64)
    fired: list[npt.NDArray[np.int64]] = [np.zeros(int(np.prod(s)), np.int64) for s in model.network.shapes]
    steps = 0
    engine = create_engine(model, "fixed")
    try:
        engine.clear_neuron_spikes()
        for stream, label in recordings:
            counts = run_recording(engine, stream.bits, model.bins, depth)
            confusion[label, int(counts.argmax()) if counts.any() else classes] += 1
            steps += len(stream.bits) + depth
        fired = [np.asarray(spikes).reshape(-1).astype(np.int64) for spikes in engine.neuron_spikes()]
    finally:
        engine.close()
    return RecordingScore(
        confusion,
        tuple(float(spikes.mean() / steps) for spikes in fired),
        tuple(float((spikes == 0).mean()) for spikes in fired),
        tuple(float((spikes > 0.9 * steps).mean()) for spikes in fired),
    )


def score_streams(model: Model, streams: Sequence[StepStream], threshold: float = 0.6) -> StreamScore:
    """Judge every window of streams in which gestures follow each other, with carried state.

    Parameters
    ----------
    model : Model
        What to judge.
    streams : sequence of StepStream
        Input with labels.
    threshold : float
        Share of all output spikes that a decision needs.

    Returns
    -------
    StreamScore

    Raises
    ------
    TrainingError
        If there are no streams.
    """
    if not streams:
        raise TrainingError("nothing to evaluate; give at least one stream")
    bins = model.bins
    bin_ms = model.window_length_ns / bins * 1e-6
    windows = decided = right = majority = 0
    times: list[float] = []
    engine = create_engine(model, "fixed")
    try:
        for stream in streams:
            engine.reset()
            counts = _window_counts(engine, stream.bits, bins)
            labels = stream.labels[bins - 1 :: bins]
            total = counts.sum(1)
            best = counts.argmax(1)
            sure = (total > 0) & (counts.max(1) >= threshold * total)
            known = labels >= 0
            windows += int(known.sum())
            decided += int((sure & known).sum())
            right += int((sure & known & (best == labels)).sum())
            starts = np.flatnonzero(stream.age_steps == 0)
            for begin, end in zip(starts, [*starts[1:], len(stream.labels)], strict=True):
                first, last = -(-int(begin) // bins), int(end) // bins
                label = int(stream.labels[begin])
                if label < 0 or last <= first:
                    continue
                hit = np.flatnonzero(sure[first:last] & (best[first:last] == label))
                times.append(((first + int(hit[0]) + 1) * bins - int(begin)) * bin_ms if hit.size else float("inf"))
                votes = np.bincount(best[first:last][sure[first:last]], minlength=counts.shape[1])
                majority += int(votes.any() and votes.argmax() == label)
    finally:
        engine.close()
    return StreamScore(windows, decided, right, tuple(times), len(times), majority)
