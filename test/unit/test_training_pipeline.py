# SPDX-License-Identifier: Apache-2.0
"""From nothing to a model and its card, in the smallest form; equal jobs give equal models."""

import itertools

import pytest

from neuro_ros.gestures import LABELS
from neuro_ros.snn import load_model, save_model
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.card import write_card
from neuro_ros.training.pipeline import TrainingJob, train_model


def test_a_job_gives_a_model_its_record_and_its_card_and_repeats(tmp_path):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=2, batch=2, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    told = []
    model, evaluation = train_model(job, itertools.count().__next__, on_update=told.append)
    assert [progress.update for progress in told] == [0, 1]
    assert model.labels == LABELS
    assert evaluation.recording.confusion.sum() == 11
    path = tmp_path / "small.safetensors"
    save_model(model, path)
    assert load_model(path).record["validation"] == evaluation.as_dict()
    record = {**model.record, "command": "neuro_ros train", "wall_s": 60.0}
    write_card(path.with_suffix(".md"), model, record, path.stat().st_size)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "not measured on people" in card
    assert all(label in card for label in LABELS)
    assert "1.0 minutes" in card
    assert len(model.record["losses_first"]) == 2
    again, _ = train_model(job, itertools.count().__next__)
    assert again.digest == model.digest


def test_jobs_outside_their_range_are_refused():
    with pytest.raises(TrainingError, match="seed is -1"):
        TrainingJob(seed=-1)
    with pytest.raises(TrainingError, match=r"0\.1 s"):
        TrainingJob(recording_s=0.1)
