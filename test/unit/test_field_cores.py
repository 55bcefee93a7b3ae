# SPDX-License-Identifier: Apache-2.0
"""The cores of clock_sync and canary, driven by hand and on the bus; no ROS, no real time."""

import math

import pytest

from neuro_ros.cores.bus import Bus
from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import (
    CanaryReport,
    ClockModel,
    ClockSample,
    Gesture,
    Header,
    SnnTelemetry,
)
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters

S = 1_000_000_000
NOW = 1_700_000_000 * S


def worst(core, now_ns):
    return max(health.level for health in core.diagnose(now_ns))


def texts(core, now_ns):
    return {health.name: health.message for health in core.diagnose(now_ns)}


# -- clock_sync --------------------------------------------------------------------------------------------------------


def sample(index, clock_id="cam", skew=0.0, rate=1.0, delay_ns=0):
    """Ten a second."""
    sensor_ns = index * S // 10
    host_ns = NOW + round(sensor_ns * (1 + skew) / rate) + delay_ns
    return ClockSample(Header(host_ns, f"{clock_id}_optical"), clock_id, sensor_ns, host_ns, index)


def feed(core, indices, **options):
    outputs = []
    for index in indices:
        message = sample(index, **options)
        outputs += core.receive("clock/sample", message, message.host_arrival_ns)
    return [output.message for output in outputs]


def clock_core(**values):
    core = ClockSyncCore(build(ClockSyncParameters, values))
    assert core.activate(NOW) == []
    return core


def test_models_follow_the_samples():
    core = clock_core()
    models = feed(core, range(200), skew=50e-6)
    assert len(models) == 200  # ten a second, as fast as allowed
    first, last = models[0], models[-1]
    assert (first.state, first.clock_id, first.samples) == (ClockModel.UNLOCKED, "cam", 1)
    assert (first.reference_sensor_ns, first.reference_host_ns) == (0, 0)
    assert math.isnan(first.skew_ppb)
    assert math.isnan(first.sigma_ns)
    assert (last.state, last.header.frame_id) == (ClockModel.LOCKED, "cam_optical")
    assert last.skew_ppb == pytest.approx(50_000.0, abs=1.0)
    assert math.isnan(last.offset_ns)  # two-way only
    assert last.reference_sensor_ns <= 199 * S // 10
    assert worst(core, NOW + 20 * S) == HealthLevel.OK


def test_models_are_decimated_but_changes_of_state_go_out_at_once():
    core = clock_core(publish_period_s=5.0)
    models = feed(core, range(200))
    stamps = [model.header.stamp for model in models]
    states = [model.state for model in models]
    assert len(models) <= 7
    assert states[:3] == [ClockModel.UNLOCKED, ClockModel.TRACKING, ClockModel.LOCKED] or states[:2] == [
        ClockModel.UNLOCKED,
        ClockModel.LOCKED,
    ]
    assert stamps[1] - stamps[0] < 3 * S


def test_holdover_is_published_by_the_timer_and_only_then():
    core = clock_core()
    feed(core, range(200))
    end = NOW + 20 * S
    assert core.tick("silent", end) == []  # samples came since the last tick
    outputs = [core.tick("silent", end + k * S)[0].message for k in range(1, 11)]
    assert outputs[0].state == ClockModel.LOCKED
    assert {model.state for model in outputs[3:]} == {ClockModel.HOLDOVER}
    sigmas = [model.sigma_ns for model in outputs]
    assert sigmas == sorted(sigmas)
    assert sigmas[0] < sigmas[-1]
    assert worst(core, end + 10 * S) == HealthLevel.OK  # a still scene is no fault
    assert "HOLDOVER" in texts(core, end + 10 * S)["clock cam"]
    assert worst(core, end + 1200 * S) == HealthLevel.WARN


def test_clocks_are_kept_apart_and_bounded():
    core = clock_core(max_clocks=2)
    for name in ("a", "b", "c", ""):
        feed(core, range(50), clock_id=name, skew={"a": 10e-6, "b": -10e-6}.get(name, 0.0))
    names = {health.name: health for health in core.diagnose(NOW + 5 * S)}
    assert set(names) == {"clocks", "clock a", "clock b"}
    assert names["clocks"].level == HealthLevel.WARN
    assert names["clocks"].values["refused_samples"] == 100
    assert names["clock a"].values["skew_ppm"] == pytest.approx(10.0, abs=0.1)
    assert names["clock b"].values["skew_ppm"] == pytest.approx(-10.0, abs=0.1)


def test_a_recording_at_half_pace_is_followed_with_a_warning():
    core = clock_core()
    last = feed(core, range(200), rate=0.5)[-1]
    assert last.state == ClockModel.TRACKING
    assert last.skew_ppb == pytest.approx(1e9, rel=1e-6)
    assert worst(core, NOW + 40 * S) == HealthLevel.WARN
    assert "rate 0.5" in texts(core, NOW + 40 * S)["clock cam"]


def test_a_pause_keeps_the_estimate():
    core = clock_core()
    feed(core, range(200))
    assert core.deactivate(NOW + 20 * S) == ()
    assert worst(core, NOW + 25 * S) == HealthLevel.OK
    (again,) = core.activate(NOW + 30 * S)
    assert again.message.state == ClockModel.HOLDOVER
    assert feed(core, range(310, 330))[-1].state in (ClockModel.TRACKING, ClockModel.LOCKED)


def test_sequence_gaps_and_no_sample_at_all_are_told():
    core = clock_core()
    assert texts(core, NOW)["clocks"] == "no clock sample yet"
    assert worst(core, NOW) == HealthLevel.WARN
    feed(core, [0, 1, 5, 6])
    (_, health) = core.diagnose(NOW + S)
    assert health.values["sequence_gaps"] == 3
    assert core.receive("other", Gesture(), NOW) == ()


def test_limits_change_while_it_runs():
    core = clock_core()
    feed(core, range(200))
    core.reconfigure(replace(ClockSyncParameters(), {"lock.sigma_s": 1e-6, "holdover.after_s": 60.0}))
    assert feed(core, range(200, 230))[-1].state == ClockModel.TRACKING


def test_settings_are_checked_as_a_whole():
    with pytest.raises(ParameterError, match="capacity"):
        build(ClockSyncParameters, {"capacity": 16})
    with pytest.raises(ParameterError, match="holdover_limit_s"):
        build(ClockSyncParameters, {"holdover.limit_s": 1e-5})


# -- canary ------------------------------------------------------------------------------------------------------------


def gesture(index, latency_s=0.004, class_index=2, epoch=1):
    header = Header(NOW + index * S // 20, "cam_optical")
    return Gesture(header, index, epoch, "m", "", class_index, 0.8, [1, 0, 8, 1], latency_s, 0.001)


def telemetry(second, **changes):
    values = {
        "header": Header(NOW + second * S),
        "model_id": "m",
        "arm": "live",
        "layer": ["conv", "out"],
        "firing_rate": [0.1, 0.02],
        "dead_neurons": [3, 1],
        "saturated_neurons": [0, 0],
        "input_rate": 0.05,
    }
    return SnnTelemetry(**{**values, **changes})


def canary(seconds, *, latency_s=0.004, class_index=2, core=None, start=0, **changes):
    """Run the canary on the bus with 20 gestures and one telemetry a second; return core and reports."""
    core = core or CanaryCore(CanaryParameters())
    bus = Bus({"canary": core})
    bus.activate(NOW + start * S)
    for second in range(start, start + seconds):
        for index in range(20):
            message = gesture(second * 20 + index, latency_s, class_index)
            bus.publish("gesture", message, message.header.stamp)
        bus.publish("snn/telemetry", telemetry(second, **changes), NOW + second * S + S - 1)
    bus.advance(NOW + (start + seconds) * S)
    return core, [item.message for item in bus.take()]


def test_the_canary_reports_what_it_sees():
    core, reports = canary(12)
    last = reports[-1]
    assert len(reports) == 12
    assert (last.phase, last.model_id, last.header.frame_id) == (CanaryReport.BASELINE, "m", "cam_optical")
    assert (list(last.layer), list(last.alarms), last.reason) == (["conv", "out"], [], "")
    assert list(last.observed_rate) == pytest.approx([0.1, 0.02])
    assert all(math.isnan(rate) for rate in last.baseline_rate)  # nobody has measured this model
    assert last.baseline_id == ""
    assert (last.latency_p50_s, last.latency_p99_s) == pytest.approx((0.004, 0.004), rel=0.0101)
    assert last.windows == 240
    assert (last.decision_margin, last.decided_share) == (pytest.approx(0.7), 1.0)
    assert worst(core, NOW + 12 * S) == HealthLevel.OK
    healths = {health.name: health for health in core.diagnose(NOW + 12 * S)}
    assert healths["layers"].values["rate_conv"] == pytest.approx(0.1)
    assert healths["gestures"].values["latency_p99_ms"] == pytest.approx(4.0, rel=0.0101)


def test_a_still_scene_raises_nothing():
    still = {"input_rate": 0.0, "firing_rate": [0.0, 0.0], "dead_neurons": [512, 11]}
    core, reports = canary(60, class_index=-1, **still)
    assert {tuple(report.alarms) for report in reports} == {()}
    assert all(math.isnan(rate) for rate in reports[-1].observed_rate)
    assert (reports[-1].decided_share, worst(core, NOW + 60 * S)) == (0.0, HealthLevel.OK)
    assert math.isnan(reports[-1].decision_margin)


@pytest.mark.parametrize(
    ("alarm", "options"),
    [
        ("latency", {"latency_s": 0.2}),
        ("dead_neurons", {"firing_rate": [0.1, 0.0]}),
        ("windows_lost", {"windows_lost": 7}),
    ],
)
def test_each_alarm_reaches_report_and_diagnostics(alarm, options):
    core, reports = canary(14, **options)
    named = next(report for report in reports if report.alarms)
    assert list(named.alarms) == [alarm]
    assert named.reason
    assert "\n" not in named.reason
    healths = {health.name: health for health in core.diagnose(NOW + 14 * S)}
    if alarm != "windows_lost":  # a single loss clears in time
        assert healths["alarms"].level == HealthLevel.WARN
        assert healths["alarms"].values["raised"] == alarm


def test_replay_knows_no_latency_and_raises_none():
    _, reports = canary(12, latency_s=math.nan)
    assert math.isnan(reports[-1].latency_p99_s)
    assert list(reports[-1].alarms) == []


def test_silence_of_the_network_is_told_and_gaps_are_counted():
    core, _ = canary(3)
    assert worst(core, NOW + 20 * S) == HealthLevel.WARN
    assert "no telemetry" in texts(core, NOW + 20 * S)["alarms"]
    core.receive("gesture", gesture(100), NOW + 20 * S)
    healths = {health.name: health for health in core.diagnose(NOW + 20 * S)}
    assert healths["gestures"].values["gesture_gaps"] == 40
    core.deactivate(NOW + 21 * S)
    assert worst(core, NOW + 60 * S) == HealthLevel.OK


def test_another_model_or_activation_starts_afresh():
    core, reports = canary(14, firing_rate=[0.1, 0.0])
    assert list(reports[-1].alarms) == ["dead_neurons"]
    core.receive("snn/telemetry", telemetry(14, model_id="n"), NOW + 14 * S)
    (output,) = core.tick("report", NOW + 15 * S)
    assert (output.message.model_id, list(output.message.alarms)) == ("n", [])
    core.activate(NOW + 16 * S)
    assert core.tick("report", NOW + 17 * S)[0].message.windows == 0


def test_the_shadow_arm_is_not_judged():
    core = CanaryCore(CanaryParameters())
    core.activate(NOW)
    core.receive("snn/telemetry", telemetry(0, arm="shadow"), NOW)
    assert core.tick("report", NOW + S)[0].message.model_id == ""


def test_canary_limits_change_while_it_runs():
    core, _ = canary(5)
    core.reconfigure(replace(CanaryParameters(), {"alarm.latency.p99_s": 0.001}))
    core.tick("report", NOW + 6 * S)
    assert list(core.tick("report", NOW + 7 * S)[0].message.alarms) == ["latency"]
    with pytest.raises(ParameterError, match=r"alarm\.dead_neurons\.min_input_rate"):
        build(CanaryParameters, {"alarm.dead_neurons.min_input_rate": math.nan})
