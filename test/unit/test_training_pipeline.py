# SPDX-License-Identifier: Apache-2.0
"""From nothing to a model and its card, in the smallest form; equal jobs give equal models."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuro_ros.cli.training_run import TrainingLog
from neuro_ros.gestures import LABELS
from neuro_ros.snn import Layer, Model, Network, Projection, load_model, save_model
from neuro_ros.training.errors import TrainingError, TrainingStoppedError
from neuro_ros.training.gesture import gesture_network
from neuro_ros.training.judge.card import write_card
from neuro_ros.training.network.layers import ConvSpec, IntegerNetwork
from neuro_ros.training.network.master import MASTER_SUFFIX, save_master_weights
from neuro_ros.training.pipeline import TrainingJob, train_model
from neuro_ros.training.run.control import RunControl
from neuro_ros.training.run.curves import Curves
from neuro_ros.training.start import Start, load_start


def test_a_job_gives_a_model_its_record_and_its_card_and_repeats(tmp_path):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=2, batch=2, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    told = []
    model, evaluation = train_model(job, itertools.count().__next__, on_update=told.append)
    assert [progress.update for progress in told] == [0, 0]  # one in long steps, and one in short ones
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
    assert "| optimiser | Muon for the weights of the hidden layers, Adam for those of the output; linear read" in card
    assert len(model.record["losses_first"]) == 2
    again, _ = train_model(job, itertools.count().__next__)
    assert again.digest == model.digest


def test_a_run_stopped_in_either_part_comes_to_the_same_model(tmp_path):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=4, coarse_share=0.5, batch=2, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    whole, _ = train_model(job, itertools.count().__next__)
    path = tmp_path / "run.safetensors"

    def run(resume, stops):
        asked = iter(stops)
        control = RunControl(checkpoint=path, resume=resume, stop=lambda: next(asked, False))
        return train_model(job, itertools.count().__next__, control=control)[0]

    with pytest.raises(TrainingStoppedError, match="stopped after 1 of 2 updates"):
        run(False, [True])
    assert not path.exists()
    assert (tmp_path / "early.run.safetensors").is_file()
    with pytest.raises(TrainingStoppedError, match="stopped after 1 of 2 updates"):
        run(True, [False, True])  # the end of the long steps, and the first in short ones
    assert path.is_file()
    assert run(True, []).digest == whole.digest


def test_a_run_never_goes_on_from_the_second_part_of_another(tmp_path):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=2, coarse_share=0.5, batch=2, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    whole, _ = train_model(job, itertools.count().__next__)
    control = RunControl(checkpoint=tmp_path / "run.safetensors")
    train_model(replace(job, seed=4), itertools.count().__next__, control=control)  # leaves its checkpoints
    with pytest.raises(TrainingStoppedError):
        train_model(job, itertools.count().__next__, control=replace(control, stop=lambda: True))
    resumed, _ = train_model(job, itertools.count().__next__, control=replace(control, resume=True))
    assert resumed.digest == whole.digest


def test_the_log_of_a_run_in_two_parts_counts_through_and_draws_both(tmp_path, monkeypatch):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=52, coarse_share=0.98, batch=1, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    path, drawn = tmp_path / "run.safetensors", []
    monkeypatch.setattr(Curves, "draw", lambda curves, _picture: drawn.append(len(curves.loss)))
    for resume in (False, True):
        log = TrainingLog()
        control = RunControl(checkpoint=path, resume=resume, begin=log.begin)
        train_model(job, itertools.count().__next__, on_update=log, control=control)
        log.draw(tmp_path / "run.svg", ["conv1"], path)
        if not resume:
            assert [point["update"] for point in log.curve] == [0, 50, 51]
            log.draw(tmp_path / "run.svg", ["conv1"], None)
    assert drawn == [52, 52, 52]


def test_jobs_outside_their_range_are_refused():
    with pytest.raises(TrainingError, match="seed is -1"):
        TrainingJob(seed=-1)
    with pytest.raises(TrainingError, match="12 gestures a subject"):
        TrainingJob(gestures=12)
    with pytest.raises(TrainingError, match=r"0\.1 s"):
        TrainingJob(recording_s=0.1)


def test_a_run_goes_on_from_a_model_and_says_so(tmp_path):
    job = TrainingJob(seed=3, subjects=1, gesture_duration_s=0.3, updates=2, batch=2, crop_steps=40,
                      validation_subjects=1, recording_s=0.3)  # fmt: skip
    first, networks = tmp_path / "first.safetensors", []
    model, _ = train_model(job, itertools.count().__next__, on_network=networks.append)
    save_model(model, first)
    save_master_weights(networks[0], first.with_suffix(MASTER_SUFFIX))
    start = load_start(first)
    further, _ = train_model(replace(job, updates=3, gestures=4), itertools.count().__next__, start=start)
    thresholds = [[layer.neuron.vth for layer in each.network.layers] for each in (model, further)]
    assert thresholds[0] == thresholds[1]  # those of the start, not newly calibrated ones
    assert further.record["start"] == {"model_id": model.digest, "job": model.record["job"], "updates": 2}
    moved = [
        np.abs(a.connection.weight.astype(int) - b.connection.weight).max()
        for a, b in zip(model.network.layers, further.network.layers, strict=True)
    ]
    assert 0 < max(moved) < 40  # three small steps from there: other weights, but not weights from chance
    card = tmp_path / "further.md"
    write_card(card, further, {**further.record, "command": "neuro_ros train", "wall_s": 60.0}, 1)
    assert "1 subjects (seeds from 0), each 4 of the 11 gestures of 0.3 s" in card.read_text(encoding="utf-8")
    assert f"began at | model `{model.digest[:12]}`: 2 updates, 1 subjects" in card.read_text(encoding="utf-8")


def test_a_run_does_not_go_on_from_weights_that_are_not_the_model_s(tmp_path):
    network = gesture_network()
    model = Model(network.export(), LABELS, 50_000_000, 10, "first")
    with torch.no_grad():
        network.populations[2].weight += 0.5
    path = tmp_path / "first.safetensors"
    save_model(model, path)
    save_master_weights(network, path.with_suffix(MASTER_SUFFIX))
    with pytest.raises(TrainingError, match="conv3"):
        load_start(path).put_into(gesture_network())
    path.with_suffix(MASTER_SUFFIX).write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no master weights"):
        load_start(path)


@pytest.mark.parametrize(
    ("part", "changed", "named"),
    [
        ("neuron", {"bias_mant": 3}, "bias"),
        ("neuron", {"refractory": 2}, "refractory"),
        ("neuron", {"dv": 77}, "dv"),
        ("projection", {"delays": 1}, "delays"),
        ("connection", {"stride": (2, 1)}, "stride"),
        ("connection", {"dilation": 2, "padding": 2}, "padding"),
        ("connection", {"dilation": 2}, "dilation"),
    ],
)
def test_a_run_does_not_go_on_from_what_training_would_lose(part, changed, named):
    """A layer from elsewhere may have what a trained one has not; to drop it in silence would make another network."""
    trained = IntegerNetwork([ConvSpec("conv", 2, 3, 2, 1, du=2000, dv=500)], (2, 4, 4))
    layer = trained.export().layers[0]
    weights = {"conv": trained.populations[0].weight.detach().numpy()}

    def start(**parts):
        connection = replace(layer.connection, **parts.get("connection", {}))
        projection = Projection(connection, **parts.get("projection", {}))
        network = Network([Layer("conv", projection, replace(layer.neuron, **parts.get("neuron", {})))], (2, 4, 4))
        return Start(Model(network, tuple(map(str, range(network.classes))), 50_000_000, 10, "other"), weights)

    start().put_into(trained)
    with pytest.raises(TrainingError, match=f"layer 'conv' of other has another {named} than"):
        start(**{part: changed}).put_into(trained)


def test_without_the_weights_behind_it_a_model_s_integers_are_the_start(tmp_path):
    model = Model(gesture_network().export(), LABELS, 50_000_000, 10, "first")
    save_model(model, tmp_path / "first.safetensors")
    network = gesture_network()
    load_start(tmp_path / "first.safetensors").put_into(network)
    for ours, theirs in zip(network.export().layers, model.network.layers, strict=True):
        assert np.array_equal(ours.connection.weight, theirs.connection.weight)
        assert ours.neuron.vth == theirs.neuron.vth
