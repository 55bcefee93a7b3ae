# SPDX-License-Identifier: Apache-2.0
"""The float twin, the spikes of all ways of computing a network, and the plain network beside it."""

import numpy as np
import pytest
import torch

from neuro_ros.gestures import LABELS
from neuro_ros.gestures.datasets import StepStream, WindowShape
from neuro_ros.resources import models_directory
from neuro_ros.snn import Dense, Layer, Lif, Model, Network, Projection, create_engine, load_model
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.gesture import GESTURE_LAYERS, GestureCrops, gesture_network, simulate_recordings
from neuro_ros.training.judge.agreement import engine_spikes, mismatches, network_of, network_spikes
from neuro_ros.training.judge.evaluation import answer, run_recording
from neuro_ros.training.judge.twin import FloatTwin
from neuro_ros.training.judge.yardstick import answer_recording, fit_frames, frame_network
from neuro_ros.training.network.layers import DenseSpec, IntegerNetwork
from neuro_ros.training.network.master import MASTER_SUFFIX, load_master_weights, save_master_weights
from neuro_ros.training.pipeline import window_shape
from neuro_ros.training.run.loop import TrainingSettings

torch.set_num_threads(1)


def noise(steps, cells, seed, rate=0.1):
    bits = np.packbits((np.random.default_rng(seed).random((steps, cells)) < rate).astype(np.uint8), axis=1)
    return StepStream(bits, np.zeros(steps, np.int64), np.arange(steps))


def shipped():
    path = models_directory() / "gesture.safetensors"
    return load_model(path), load_master_weights(path.with_suffix(MASTER_SUFFIX))


def test_the_twin_of_integers_without_remainders_is_the_engine():
    """Currents that do not last and potentials that do not leak round nothing, and weights are on the grid."""
    weight = (2 * np.random.default_rng(4).integers(-100, 100, (6, 16))).astype(np.int16)
    model = Model(Network([Layer("out", Dense(weight), Lif(4095, 0, 300))], (4, 2, 2)), tuple("abcdef"), bins=10)
    twin = FloatTwin(model, {"out": (weight / 300).astype(np.float32)})
    streams = [noise(40, 16, seed) for seed in range(3)]
    engine = create_engine(model)
    ours = np.stack([run_recording(engine, stream.bits, model.bins, model.network.depth) for stream in streams])
    assert ours.sum() > 20
    assert np.array_equal(twin.count(streams), ours)


def test_the_twin_delays_what_the_engine_delays():
    """Each source cell has a delay of its own; nothing is rounded, and no even sum meets an odd threshold."""
    rng = np.random.default_rng(5)
    weight = (2 * rng.integers(-100, 100, (6, 16))).astype(np.int16)
    delays = rng.integers(0, 9, (4, 2, 2)).astype(np.uint8)
    layer = Layer("out", [Projection(Dense(weight), delays=delays)], Lif(4095, 0, 301))
    model = Model(Network([layer], (4, 2, 2)), tuple("abcdef"), bins=10)
    streams = [noise(40, 16, seed) for seed in range(9)]
    engine = create_engine(model)
    ours = np.stack([run_recording(engine, stream.bits, model.bins, model.network.depth) for stream in streams])
    theirs = FloatTwin(model, {"out": (weight / 301).astype(np.float32)}).count(streams)
    assert ours.sum() > 20
    assert np.array_equal(theirs, ours)


def test_the_twin_leaks_as_its_equations_say():
    du, dv = 1000, 300
    model = Model(Network([Layer("out", Dense(np.array([[100]], np.int16)), Lif(du, dv, 100))], (1, 1, 1)), ("a",))
    twin = FloatTwin(model, {"out": np.array([[0.3]], np.float32)})
    stream = StepStream(np.full((80, 1), 128, np.uint8), np.zeros(80, np.int64), np.arange(80))
    u = v = 0.0
    spikes = 0
    for step in range(80):
        u = u * (4095 - du) / 4096 + (np.float32(0.3) if step else 0.0)
        v = v * (4096 - dv) / 4096 + u
        spikes += v > 1.0
        v = 0.0 if v > 1.0 else v
    assert spikes > 3
    assert twin.count([stream], tail=False).sum() == spikes


def test_weights_that_do_not_fit_are_refused():
    model, weights = shipped()
    with pytest.raises(TrainingError, match="'dense' are missing"):
        FloatTwin(model, {name: array for name, array in weights.items() if name != "dense"})
    with pytest.raises(TrainingError, match=r"'output' are of shape \(2, 2\)"):
        FloatTwin(model, {**weights, "output": np.zeros((2, 2), np.float32)})
    with pytest.raises(TrainingError, match="'output' are not those"):
        network_of(model, gesture_network(window_shape(model)), {**weights, "output": weights["output"] + 0.1})
    with pytest.raises(TrainingError, match="other layers"):
        network_of(model, IntegerNetwork([DenseSpec("output", 11, 800, 200)], (2, 32, 32)), weights)


def test_training_engine_and_float_twin_on_the_shipped_model(counts):
    """Not a spike of any layer differs between the forward pass and the engine; the twin mostly gives its answers."""
    model, weights = shipped()
    shape = window_shape(model)
    network = network_of(model, gesture_network(shape), weights)
    subjects = counts("subjects compared spike for spike", reduced=1, full=60)
    clips = simulate_recordings(range(20_000, 20_000 + subjects), 1.0, 13, shape, "test")
    engine = create_engine(model)
    compared = 0
    for stream, _ in clips:
        ours = engine_spikes(engine, stream, model.bins, model.network.depth)
        assert mismatches(ours, network_spikes(network, stream, model.network.depth)) == 0
        compared += sum(map(len, ours))
    assert compared > 1000 * len(clips)
    answers = [answer(run_recording(engine, s.bits, model.bins, model.network.depth)) for s, _ in clips]
    theirs = [answer(counts) for counts in FloatTwin(model, weights).count([stream for stream, _ in clips])]
    assert np.equal(theirs, answers).mean() >= 0.8


def test_a_missing_and_a_moved_spike_are_mismatches():
    spikes = [np.array([1, 5, 9]), np.array([2])]
    assert mismatches(spikes, spikes) == 0
    assert mismatches(spikes, [np.array([1, 5]), np.array([3])]) == 3


def test_master_weights_come_back_and_junk_does_not(tmp_path):
    network = gesture_network()
    path = tmp_path / f"g{MASTER_SUFFIX}"
    save_master_weights(network, path)
    back = load_master_weights(path)
    assert all(np.array_equal(back[p.spec.name], p.weight.detach().numpy()) for p in network.populations)
    with pytest.raises(TrainingError, match="cannot be written"):
        save_master_weights(network, tmp_path / "none" / "g.npz")
    path.write_bytes(b"PK\x03\x04 not one")
    with pytest.raises(TrainingError, match="no master weights"):
        load_master_weights(path)
    np.savez(path, out=np.zeros(3))
    with pytest.raises(TrainingError, match="float32"):
        load_master_weights(path)


def test_the_plain_network_is_as_large_and_learns():
    """Two classes that differ in the place of their spikes: from chance to nearly all."""
    shape = WindowShape(height=16, width=16)
    specs = GESTURE_LAYERS
    weights = sum(p.numel() for p in IntegerNetwork(specs, (2, 16, 16)).parameters())
    torch.manual_seed(1)
    network = frame_network(specs, shape, weights)
    assert abs(network.weights / weights - 1.0) < 0.03
    rng = np.random.default_rng(5)

    def stream(label):  # of a class that is its own mirror image
        cells = rng.random((200, 2, 16, 16)) < 0.02
        first = 8 * (label == 8)
        cells[:, :, first : first + 8] |= rng.random((200, 2, 8, 16)) < 0.1
        bits = np.packbits(cells.reshape(200, -1), axis=1)
        return StepStream(bits, np.full(200, label), np.arange(200))

    crops = GestureCrops([stream(0), stream(8)], 80, 4, 1, shape)
    crops.max_shift_px = 0
    losses = fit_frames(network, crops, TrainingSettings(updates=80))
    crops.close()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert [answer_recording(network, stream(label), shape) for label in (0, 8, 0, 8)] == [0, 8, 0, 8]


def test_a_yardstick_needs_a_layer_that_gives_way():
    with pytest.raises(TrainingError, match="hidden dense layer"):
        frame_network([DenseSpec("output", 11, 800, 200)], WindowShape(), 1000)
    with pytest.raises(TrainingError, match="before its dense layer"):
        frame_network(GESTURE_LAYERS, WindowShape(), 1000)


def test_gesture_crops_repeat_and_keep_labels():
    streams = [noise(400, 2048, seed, 0.05) for seed in range(3)]
    first, second = GestureCrops(streams, 40, 4, 9), GestureCrops(streams, 40, 4, 9)
    for _ in range(3):
        a, b = first.draw(), second.draw()
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert a[0].shape == (40, 4, 2, 32, 32)
        assert set(a[0].unique().tolist()) == {0.0, 1.0}
        assert (a[1] == 0).all()
        assert 0.02 < float(a[0].mean()) <= 0.06
    first.close()
    second.close()
    assert len(LABELS) == 11
