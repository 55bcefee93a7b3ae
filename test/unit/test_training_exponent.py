# SPDX-License-Identifier: Apache-2.0
"""The confidence exponent is fitted on streams, and judged by the rule of the node."""

import numpy as np
import pytest

from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.snn import Dense, Layer, Lif, Model, Network
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.evaluation import HALF_LIFE_S, RELEASE, THRESHOLD, fit_exponent, score_streams


def model(other, exponent=1.0):
    """Two of eight inputs drive two outputs: 200 to the own class, `other` to the other one."""
    weight = np.zeros((2, 8), np.int16)
    weight[:, :2] = [[200, other], [other, 200]]
    network = Network([Layer("out", Dense(weight), Lif(4095, 4095, 100))], (8, 1, 1))
    return Model(network, ("a", "b"), record={"confidence_exponent": exponent})


def stream(noise, windows=60, seed=0):
    """Make class 0 and 1 in turn, ten windows each; `noise` is how often the other input fires."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(windows) // 10 % 2, 10)
    cells = np.zeros((windows * 10, 8), bool)
    cells[:, :2] = rng.random((windows * 10, 2)) < noise
    cells[np.arange(len(labels)), labels] = rng.random(len(labels)) < 0.5
    age = np.tile(np.arange(100), windows // 10)
    return StepStream(np.packbits(cells, axis=1), labels.astype(np.int64), age.astype(np.int64))


def test_the_defaults_are_those_of_the_node():
    parameters = SnnInferenceParameters()
    assert (parameters.evidence_half_life_s, parameters.confidence_threshold) == (HALF_LIFE_S, THRESHOLD)
    assert parameters.confidence_release == RELEASE


def test_a_released_decision_holds_between_weak_windows():
    sure, held = (score_streams(model(0), [stream(0.35)], 0.6, release=release) for release in (1.0, 0.4))
    assert held.decided > sure.decided
    assert held.windows == sure.windows == 60


def test_a_network_that_tells_nothing_is_not_sharpened():
    assert fit_exponent(model(other=200), [stream(0.5)]) == 1.0


def test_a_network_that_tells_much_is_sharpened():
    assert fit_exponent(model(other=0), [stream(0.2)]) > 2.0


def test_sharper_shares_decide_more_windows():
    plain, sharp = (score_streams(model(0, exponent), [stream(0.4)]) for exponent in (1.0, 4.0))
    assert plain.windows == sharp.windows == 60
    assert sharp.decided > plain.decided


def test_silence_cannot_be_fitted():
    quiet = StepStream(np.zeros((100, 1), np.uint8), np.zeros(100, np.int64), np.arange(100))
    with pytest.raises(TrainingError, match="silent"):
        fit_exponent(model(other=0), [quiet])
