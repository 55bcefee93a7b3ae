# SPDX-License-Identifier: Apache-2.0
"""Faults put into the shipped network, its back end and its camera are noticed in time; healthy scenes are not.

The integer engine and the cores run window for window on simulated people. docs/canary.md has the whole table.
"""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.canary import BaselineError, load_baseline
from neuro_ros.cli.benchmarks import _canary_trial as trial
from neuro_ros.cli.command import main
from neuro_ros.cores.canary_baseline import baseline_scenes, measure_baseline
from neuro_ros.cores.files import model_path
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.rehearsal import STILL, Camera, Scene, act, draw_scenes
from neuro_ros.errors import NeuroRosError
from neuro_ros.gestures import LABELS, SPLIT_TABLE
from neuro_ros.snn import load_model

FAULTS = trial.faults(load_model(model_path("gesture")))
BY_NAME = {fault.name: fault for fault in FAULTS}
#: Names of the layers: the first, one in the middle, the last one.
FIRST, *_, DEEP, LAST = (layer.name for layer in load_model(model_path("gesture")).network.layers)
#: Scenes of this length are enough for a fault that is there from the start: ten seconds of silence, or fifteen of
#: motion where a moving background makes many a second no evidence, and three reports.
SECONDS = 45.0


@pytest.fixture(scope="module")
def model():
    return load_model(model_path("gesture"))


@pytest.fixture(scope="module")
def acted(model):
    return list(trial.windows(trial.Fault("none", ()), 0, model, 0.0, SECONDS))


def test_a_wrong_weight_file_is_noticed_by_its_rates_within_three_quarters_of_a_minute(tmp_path, acted):
    fault = BY_NAME[f"weights of {FIRST} x 0.5"]
    detection = trial.run_fault(fault, acted, tmp_path, 0.0)
    assert detection.first_s["spike_rate"] <= SECONDS
    assert detection.first_s["self_test"] <= 3.0
    assert detection.text.startswith(f"layer {FIRST} answers the self-test with")


@pytest.mark.parametrize(
    "fault",
    [
        BY_NAME[f"weights of {DEEP} x 1.5"],
        BY_NAME[f"weights of {LAST} x 0.7"],
        next(fault for fault in FAULTS if fault.dead and fault.layer == DEEP),
    ],
    ids=lambda fault: fault.name,
)
def test_deep_layers_are_tested_whatever_the_scene(tmp_path, acted, fault):
    detection = trial.run_fault(fault, acted[:100], tmp_path, 0.0)
    assert detection.first_s["self_test"] <= 3.0
    assert detection.text.startswith(f"layer {fault.layer} answers the self-test with")


def test_bits_that_flip_in_flight_are_noticed_by_the_next_self_test(tmp_path, acted):
    parameters = SnnInferenceParameters(self_test_period_s=4.0)
    fault = next(fault for fault in FAULTS if fault.damaged == DEEP)
    detection = trial.run_fault(fault, acted[:200], tmp_path, 2.0, network=parameters)
    assert detection.before == ()
    assert 1.0 < detection.first_s["self_test"] <= 5.0


def test_the_sound_weight_file_raises_nothing_on_the_same_scenes(tmp_path, acted):
    assert trial.run_fault(trial.Fault("none", ()), acted, tmp_path, 0.0).first_s == {}


def test_a_slowed_back_end_is_noticed_in_seconds(tmp_path, acted):
    begin_s = 10.0
    slow = [
        (replace(scene, slower_s=trial.SLOWER_S) if index >= 20 * begin_s else scene, tensor)
        for index, (scene, tensor) in enumerate(acted[:400])
    ]
    detection = trial.run_fault(trial.Fault("slow", ("latency", "step_time")), slow, tmp_path, begin_s)
    assert detection.before == ()
    assert set(detection.first_s) == {"latency", "step_time"}
    assert max(detection.first_s.values()) <= 5.0


def test_a_camera_with_one_polarity_is_noticed_in_seconds(tmp_path, model):
    scenes = [Scene(8, 5.0, 31_900), Scene(2, 10.0, 31_900, camera=Camera("on_only"))]
    fault = BY_NAME["camera reports one polarity only"]
    detection = trial.run_fault(fault, act(scenes, 5, model), tmp_path, 5.0)
    assert detection.before == ()
    assert detection.first_s["polarity"] <= 6.0


def scenes_in(light, count):
    """Return scenes of the validation split in a light, at the numbers at which `act` with seed 0 draws it."""
    conditions = SPLIT_TABLE["validation"].conditions
    subjects = itertools.count(11_000)
    return [
        Scene(
            number % len(LABELS),
            4.0,
            next(one for one in subjects if conditions.draw(number, one).light == light),
            split="validation",
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("light", ["bright", "indoor", "dim"])
def test_a_camera_that_exchanges_polarities_is_noticed_where_there_is_light(tmp_path, model, light):
    right, *others = scenes_in(light, 3)
    scenes = [right, *(replace(scene, camera=Camera("inverted")) for scene in others)]
    fault = BY_NAME["camera inverts polarity, thresholds equal"]
    detection = trial.run_fault(fault, act(scenes, 0, model), tmp_path, 4.0)
    assert detection.before == ()
    if light == "dim":  # shot noise has no sign, and nothing is said
        assert "polarity" not in detection.first_s
    else:
        assert detection.first_s["polarity"] <= 7.0
        assert detection.text.startswith("polarities are exchanged: ")


def test_healthy_scenes_raise_nothing(model, counts):
    seconds = float(counts("seconds of healthy scenes", reduced=60, full=3600))
    scenes = trial.healthy_scenes(seconds, 0)
    false, judged, still = trial.healthy_flight(act(scenes, trial.HEALTHY_SEED, model))
    assert false == {}
    assert 0.05 < still < 0.6
    for name in ("latency", "step_time", "self_test", "spike_rate", "dead_neurons", "saturated_neurons", "polarity"):
        assert judged[name] > 0, f"{name} had no evidence, so its silence proves nothing"


def test_a_baseline_is_measured_by_what_will_judge_by_it(tmp_path, model):
    # The plain look, in which every second of a gesture is evidence, so that reports can be counted.
    scenes = [Scene(STILL, 1.0), *(Scene(label, 3.0, 31_950 + label % 2, split="") for label in range(6))]
    baseline = measure_baseline("gesture", scenes, 3, measured={"split": "none"})
    assert (baseline.model_id, baseline.model_digest) == (model.model_id, model.digest)
    assert [layer.name for layer in baseline.layers] == [layer.name for layer in model.network.layers]
    assert (baseline.measured["recordings"], baseline.measured["seconds_still"]) == (6, 1.0)
    conv1 = baseline.layers[0]
    assert sum(conv1.rate.reports) == 12  # two of three seconds; the first one began in the scene before
    assert 0.01 < conv1.rate.mean[0] < 0.3
    assert 0.0 < baseline.latency["window_time_p50_s"] < 0.05
    assert baseline.on_share.mean == pytest.approx(0.5, abs=0.05)
    path = tmp_path / "gesture.baseline.json"
    baseline.save(path)
    assert load_baseline(path).as_dict() == baseline.as_dict()


def test_a_baseline_needs_the_gestures_and_a_folder(capsys):
    small = Path(__file__).parents[2] / "data" / "replay" / "small.safetensors"
    with pytest.raises(BaselineError, match="too few"):
        measure_baseline("gesture", [Scene(STILL, 1.0)], 0)
    model = load_model(small)
    if model.labels != LABELS:
        with pytest.raises(BaselineError, match="11 gestures"):
            measure_baseline(small, [Scene(STILL, 1.0)], 0)
    pytest.importorskip("torch", reason="torch is not installed")
    assert main(["evaluate", "gesture", "--baseline", "/nowhere/x.baseline.json"]) == 2
    assert capsys.readouterr().err.endswith("/nowhere is no folder\n")


@pytest.mark.long
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.in_model], ids=lambda fault: fault.name)
def test_every_wrong_weight_file_is_noticed(tmp_path, acted, fault):
    detection = trial.run_fault(fault, acted[:100], tmp_path, 0.0)
    assert detection.time_s(fault.expected) is not None


@pytest.mark.long
def test_an_inverted_camera_is_noticed_where_its_thresholds_differ(tmp_path, model):
    fault = BY_NAME["camera inverts polarity, thresholds unequal"]
    scenes = [replace(scene, camera=fault.usual_camera) for scene in baseline_scenes("validation", 1)]
    baseline = measure_baseline("gesture", scenes, 12)
    detection = trial.run_fault(fault, trial.windows(fault, 0, model, 10.0, 40.0), tmp_path, 10.0, [baseline])
    assert detection.before == ()
    assert detection.time_s(fault.expected) <= 30.0


def test_the_scenes_are_as_long_as_asked_for_and_equal_for_equal_seeds(model):
    first, second = (draw_scenes(100.0, np.random.default_rng(3), 5) for _ in range(2))
    assert first == second
    assert math.fsum(scene.seconds for scene in first) == pytest.approx(100.0)
    one, two = (list(act([Scene(-1, 0.2), Scene(1, 0.2)], 1, model)) for _ in range(2))
    assert len(one) == 8
    assert [a[1].data for a in one] == [b[1].data for b in two]
    assert [a[1].sensor_start_ns for a in one] == [k * 50_000_000 for k in range(8)]


@pytest.mark.parametrize("values", [{"polarity": "sideways"}, {"off_kept": 1.5}, {"off_kept": math.nan}])
def test_a_camera_that_cannot_be_is_refused(values):
    with pytest.raises(NeuroRosError):
        Camera(**values)
