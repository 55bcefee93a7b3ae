# SPDX-License-Identifier: Apache-2.0
"""The guard names dead, saturated and collapsed layers; the shipped model holds what its card says."""

import json
import math

import numpy as np
import pytest

from neuro_ros.gestures import LABELS
from neuro_ros.resources import models_directory
from neuro_ros.snn import Dense, Layer, Lif, Model, Network, load_model
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import ExportError, TrainingError
from neuro_ros.training.judge.card import card_text
from neuro_ros.training.judge.evaluation import score_recordings, score_streams
from neuro_ros.training.judge.export import check_exportable
from neuro_ros.training.pipeline import evaluate_model


def network(weight: int, vth: int, fill: float = 1.0) -> Network:
    rng = np.random.default_rng(1)
    first = np.where(rng.random((16, 32)) < fill, weight, 0).astype(np.int16)
    second = np.full((11, 16), 40, np.int16)
    return Network(
        (Layer("hidden", Dense(first), Lif(800, 400, vth)), Layer("output", Dense(second), Lif(800, 400, 400))),
        (2, 4, 4),
    )


def recordings(n: int = 2) -> list[tuple[StepStream, int]]:
    rng = np.random.default_rng(2)
    cells = (rng.random((40, 32)) < 0.2).astype(np.uint8)
    stream = StepStream(np.packbits(cells, axis=1), np.zeros(40, np.int64), np.arange(40))
    return [(stream, k) for k in range(n)]


def judge(net: Network) -> None:
    check_exportable(net, score_recordings(Model(net, LABELS), recordings()))


def test_a_working_network_passes():
    judge(network(weight=4, vth=1000))


def test_a_dead_layer_is_named():
    with pytest.raises(ExportError, match=r"'hidden' is dead.*'output' is dead"):
        judge(network(weight=2, vth=100_000))


def test_a_saturated_layer_is_named():
    with pytest.raises(ExportError, match="'hidden' is saturated"):
        judge(network(weight=254, vth=1))


def test_a_collapsed_layer_is_named():
    with pytest.raises(ExportError, match="'hidden' has collapsed"):
        judge(network(weight=254, vth=1, fill=0.01))


def test_scores_count_every_recording_and_window():
    model = Model(network(weight=20, vth=400), LABELS)
    score = score_recordings(model, recordings(3))
    assert score.confusion.sum() == 3
    assert all(math.isnan(value) for value in score.per_class[3:])
    streams = score_streams(model, [recordings()[0][0]])
    assert streams.windows == 4
    assert streams.gestures == 1
    with pytest.raises(TrainingError, match="nothing to evaluate"):
        score_recordings(model, [])


def test_a_model_of_other_labels_is_refused():
    model = Model(network(weight=20, vth=400), tuple(f"class_{i}" for i in range(11)))
    with pytest.raises(TrainingError, match="class_0"):
        evaluate_model(model)


def test_the_shipped_model_reaches_what_its_card_says():
    """Judge 22 recordings: the first two test subjects, seed 13."""
    path = models_directory() / "gesture.safetensors"
    model = load_model(path)
    record = json.loads(path.with_suffix(".training.json").read_text(encoding="utf-8"))
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert model.labels == LABELS
    assert record["model_id"] == model.digest
    assert model.digest in card
    claimed = record["test"]["accuracy"]
    assert card == card_text(model, record, path.stat().st_size)
    assert f"**{100 * claimed:.1f} %**" in card
    result = evaluate_model(model, "test", subjects=2)
    n = 22
    slack = 3.0 * math.sqrt(claimed * (1.0 - claimed) / n)  # three standard errors of so small a sample
    assert result.recording.accuracy >= claimed - slack
    check_exportable(model.network, result.recording)
