# SPDX-License-Identifier: Apache-2.0
"""The core of canary: baselines by model, windows, labels, clock and temperature, brought together in any order."""

import dataclasses
import math

import numpy as np
import pytest
from canary_reports import build_baseline

from neuro_ros.canary import BaselineError, SelfTestAnswer
from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import ClockModel, Gesture, Header, SnnTelemetry, SpikeTensor, ThermalCompensation
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.events.tensor import ENCODING_BITMAP, encode_tensor

S = 1_000_000_000
NOW = 1_700_000_000 * S
BINS, SIDE = 10, 32
CELLS = BINS * 2 * SIDE * SIDE


def core_with(*baselines, **values):
    core = CanaryCore(build(CanaryParameters, values), baselines=baselines)
    core.activate(NOW)
    return core


def window(sequence, moving=True, **values):
    cells = np.zeros((BINS, 2, SIDE, SIDE), np.uint8)
    if moving:
        cells[:6, 1, 4:20, 5:9] = 1
        cells[6:, 0, 4:20, 5:9] = 1
    else:
        cells[np.arange(BINS), 0, np.arange(BINS) * 3, 7] = 1
    bitmap = np.packbits(cells.ravel())
    encoding, data = encode_tensor(bitmap, CELLS)
    usual = {
        "header": Header(NOW, "cam"),
        "sequence": sequence,
        "epoch": 1,
        "bins": BINS,
        "channels": 2,
        "height": SIDE,
        "width": SIDE,
        "encoding": encoding,
        "active": int(cells.sum()),
        "events_in": 1000,
        "data": data,
        "clock_state": SpikeTensor.CLOCK_LOCKED,
    }
    return SpikeTensor(**{**usual, **values})


def gesture(sequence, class_index=2, counts=(1, 0, 8, 1), **values):
    header = Header(NOW, "cam")
    return Gesture(header, sequence, 1, "m-0123456789ab", "", class_index, 0.8, list(counts), 0.004, 0.002, **values)


def telemetry(second, **changes):
    values = {
        "header": Header(NOW + second * S),
        "model_id": "m-0123456789ab",
        "arm": "live",
        "layer": ["conv", "out"],
        "firing_rate": [0.1, 0.06],
        "dead_neurons": [300, 5],
        "saturated_neurons": [0, 0],
        "input_rate": 0.05,
    }
    return SnnTelemetry(**{**values, **changes})


def play(core, seconds, start=0, moving=True, label=None, **changes):
    """Twenty windows and gestures a second, then telemetry and a report; return the last report."""
    for second in range(start, start + seconds):
        for index in range(20):
            now = NOW + second * S + index * S // 20
            core.receive("spikes", window(second * 20 + index, moving), now)
            core.receive("gesture", gesture(second * 20 + index, counts=(0, 1, 6, 1)), now)
            if label is not None:
                truth = Gesture(Header(now, "cam"), second * 20 + index, 1, class_index=label)
                core.receive("truth", truth, now)
        core.receive("snn/telemetry", telemetry(second + 1, **changes), NOW + (second + 1) * S - 1)
        (output,) = core.tick("report", NOW + (second + 1) * S)
    return output.message


def health(core, name, now=NOW + 60 * S):
    return next(item for item in core.diagnose(now) if item.name == name)


def test_the_report_says_what_is_usual(baseline):
    report = play(core_with(baseline), 15)
    assert (report.baseline_id, list(report.alarms)) == ("m-0123456789ab", [])
    assert list(report.baseline_rate) == pytest.approx([0.1, 0.06], rel=0.15)
    assert (report.moving_share, report.on_share) == (1.0, pytest.approx(0.6))
    assert report.step_time_p99_s == pytest.approx(2e-4, rel=0.0101)
    assert math.isnan(report.accuracy)


def test_an_alarm_comes_with_explanation_and_advice_in_report_and_diagnostics(baseline):
    core = core_with(baseline)
    report = play(core, 20, firing_rate=[0.05, 0.06])
    assert list(report.alarms) == ["spike_rate"]
    assert len(report.explanation) == len(report.advice) == 1
    assert report.reason == report.explanation[0]
    assert report.explanation[0].startswith("layer conv fires")
    item = health(core, "alarms", NOW + 20 * S)
    assert (item.level, item.values["raised"]) == (HealthLevel.WARN, "spike_rate")
    assert item.values["advice_spike_rate"] == report.advice[0]


def test_a_still_scene_under_noise_is_no_evidence(baseline):
    core = core_with(baseline)
    report = play(core, 30, moving=False, firing_rate=[0.001, 0.0], dead_neurons=[990, 11], input_rate=0.03)
    assert (list(report.alarms), report.moving_share) == ([], 0.0)
    assert health(core, "alarms").values["judged_spike_rate"] == 0
    assert health(core, "alarms").values["judged_margin"] == 0


def test_another_version_of_a_model_is_judged_by_the_one_that_was_measured(baseline):
    core = core_with(baseline)
    report = play(core, 1, model_id="m-ffffffffffff")
    assert (report.model_id, report.baseline_id) == ("m-ffffffffffff", "m-0123456789ab")
    assert "another version of m-ffffffffffff" in health(core, "baseline").message
    report = play(core, 20, model_id="other-ffffffffffff", firing_rate=[0.5, 0.5])
    assert (report.baseline_id, list(report.alarms)) == ("", [])
    assert "none for other-ffffffffffff" in health(core, "baseline").message


def test_baselines_come_from_a_folder_and_a_bad_file_is_told(tmp_path, caplog):
    build_baseline("k-0123456789ab", 10).save(tmp_path / "k.baseline.json")
    (tmp_path / "bad.baseline.json").write_text("[]")
    core = core_with(baseline_directory=str(tmp_path))
    assert play(core, 1, model_id="k-0123456789ab").baseline_id == "k-0123456789ab"
    item = health(core, "baseline")
    assert item.level == HealthLevel.WARN
    assert "bad.baseline.json" in item.message
    assert "bad.baseline.json" in caplog.text
    with pytest.raises(BaselineError, match="is no folder"):
        core_with(baseline_directory=str(tmp_path / "missing"))


def test_labels_match_decisions_in_whatever_order_they_come(baseline):
    core = core_with(baseline)
    report = play(core, 2, label=2)
    assert (report.accuracy, report.labelled) == (1.0, 40)
    for index in range(100, 120):
        core.receive("truth", Gesture(Header(NOW, "cam"), index, 1, class_index=1), NOW + 2 * S)
    for index in range(100, 130):
        core.receive("gesture", gesture(index), NOW + 2 * S)
    core.receive("gesture", gesture(200, class_index=-1), NOW + 2 * S)
    core.receive("truth", Gesture(Header(NOW, "cam"), 200, 1, class_index=1), NOW + 2 * S)
    (output,) = core.tick("report", NOW + 3 * S)
    assert (output.message.accuracy, output.message.labelled) == (40 / 60, 60)


def test_clock_and_temperature_reach_the_alarms():
    core = core_with()
    core.receive("clock/model", ClockModel(Header(NOW), "cam", state=ClockModel.LOCKED, sigma_ns=1e4), NOW)
    play(core, 2)
    core.receive(
        "thermal/compensation", ThermalCompensation(Header(NOW), 91.0, "cpu", ThermalCompensation.NOMINAL), NOW
    )
    assert list(play(core, 3, start=2).alarms) == ["thermal"]
    assert list(play(core, 9, start=5).alarms) == ["clock", "thermal"]  # nobody has renewed the clock's model
    core.receive("clock/model", ClockModel(Header(NOW), "cam", state=77, sigma_ns=math.nan), NOW + 14 * S)
    core.receive("thermal/compensation", ThermalCompensation(Header(NOW), 30.0, "cpu", 77), NOW + 14 * S)
    play(core, 2, start=14)


@pytest.mark.parametrize(
    "changes",
    [{"data": b""}, {"data": b"\xff" * 9}, {"bins": 0}, {"height": 1 << 31}, {"encoding": 9}, {"channels": 0}],
)
def test_windows_that_cannot_be_read_are_counted(changes):
    core = core_with()
    broken = {"encoding": ENCODING_BITMAP, **changes}
    core.receive("spikes", window(0, **broken), NOW)
    assert health(core, "gestures").values["unreadable_windows"] == 1
    assert play(core, 2, start=1).moving_share == 1.0


def test_the_answer_of_a_self_test_reaches_its_alarm(baseline):
    usual = SelfTestAnswer(7, (100, 10), (1, 2))
    answered = {
        "self_test_stamp": NOW,
        "self_test_probe": 7,
        "self_test_spikes": [100, 10],
        "self_test_checksum": [1, 2],
    }
    core = core_with(dataclasses.replace(baseline, self_test=usual))
    assert list(play(core, 2, **answered).alarms) == []
    assert health(core, "alarms").values["judged_self_test"] == 1
    answered.update(self_test_stamp=NOW + 1, self_test_checksum=[1, 3])
    report = play(core, 1, start=2, **answered)
    assert list(report.alarms) == ["self_test"]
    assert report.explanation[0].startswith("layer out answers the self-test with 10 spikes as usual, but not")
    answered.update(self_test_stamp=NOW + 2, self_test_checksum=[1])  # no answer at all
    assert list(play(core, 1, start=3, **answered).alarms) == ["self_test"]
    assert "older than the self-test" not in health(core, "baseline").message
    core = core_with(baseline)
    assert list(play(core, 2, **answered).alarms) == []
    assert "it is older than the self-test, which is not judged: measure it again" in health(core, "baseline").message


def test_events_dropped_are_seen_in_the_windows():
    core = core_with()
    for second in range(4):
        for index in range(20):
            core.receive("spikes", window(second * 20 + index, events_dropped=200), NOW + second * S)
        core.receive("snn/telemetry", telemetry(second), NOW + second * S)
        (output,) = core.tick("report", NOW + second * S)
    assert list(output.message.alarms) == ["events_dropped"]
