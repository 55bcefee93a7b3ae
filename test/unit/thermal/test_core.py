# SPDX-License-Identifier: Apache-2.0
"""The core of thermal_compensation: sensors, states, throttling, parameters; driven by hand, no ROS, no real time."""

import math

import pytest

from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import Header, Temperature, ThermalCompensation
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.cores.thermal_compensation import ThermalCompensationCore
from neuro_ros.thermal import ThermalError

S = 1_000_000_000
NOW = 1_700_000_000 * S


def worst(core, now_ns):
    return max(health.level for health in core.diagnose(now_ns))


def texts(core, now_ns):
    return {health.name: health.message for health in core.diagnose(now_ns)}


@pytest.fixture
def thermometer(tmp_path):
    folder = tmp_path / "class" / "thermal" / "thermal_zone0"
    folder.mkdir(parents=True)
    (folder / "type").write_text("cpu\n")
    (folder / "temp").write_text("40000\n")
    return folder / "temp"


def thermal_core(root, **values):
    return ThermalCompensationCore(build(ThermalCompensationParameters, {"sysfs_root": str(root), **values}))


def compensations(outputs):
    return [output.message for output in outputs if isinstance(output.message, ThermalCompensation)]


def ticks(core, count, start_s=0.0):
    return [output for k in range(count) for output in core.tick("read", NOW + round((start_s + k / 2) * S))]


def test_readings_and_state_are_published(thermometer, tmp_path):
    core = thermal_core(tmp_path)
    (first,) = core.activate(NOW)
    assert (first.message.state, first.message.source) == (ThermalCompensation.STALE, "thermal_zone/cpu")
    assert math.isnan(first.message.temperature_celsius)
    outputs = ticks(core, 10)
    assert [output.topic for output in outputs[:2]] == ["temperature", "thermal/compensation"]
    assert outputs[0].message == Temperature(Header(NOW, "thermal_zone/cpu"), 40.0)
    last = outputs[-1].message
    assert (last.state, last.temperature_celsius) == (ThermalCompensation.NOMINAL, 40.0)
    assert worst(core, NOW + 5 * S) == HealthLevel.OK


def test_digital_silicon_is_a_no_op_at_any_temperature(thermometer, tmp_path):
    core = thermal_core(tmp_path, **{"plausibility.max_rate_celsius_per_s": 100.0})
    core.activate(NOW)
    seen = []
    for k, celsius in enumerate(range(-40, 86, 5)):
        thermometer.write_text(f"{celsius * 1000}\n")
        seen += compensations(ticks(core, 1, k / 2))
    assert {m.silicon_profile for m in seen} == {"digital"}
    assert {m.compensation_id for m in seen} == {0}
    assert all(not list(getattr(m, name)) for m in seen for name in ("layer", "du", "dv", "clipped", "remaining_error"))
    assert ThermalCompensation.COMPENSATING not in {m.state for m in seen}


def test_hold_stale_failsafe_and_back_without_restart(thermometer, tmp_path):
    core = thermal_core(tmp_path)
    core.activate(NOW)
    ticks(core, 10)
    thermometer.unlink()
    outputs = ticks(core, 100, 5.0)
    # Nothing to read, so only the changes of state are said; the temperature is held.
    assert [(m.state, m.temperature_celsius) for m in compensations(outputs)] == [
        (ThermalCompensation.STALE, 40.0),
        (ThermalCompensation.FAILSAFE, 40.0),
    ]
    assert len(outputs) == 2
    health = core.diagnose(NOW + 55 * S)[0]
    assert health.level == HealthLevel.ERROR
    assert health.values["read_errors"] == 100
    assert "No such file" in health.message
    assert "\n" not in health.message
    thermometer.write_text("41000\n")
    assert compensations(ticks(core, 6, 56.0))[-1].state == ThermalCompensation.NOMINAL
    assert worst(core, NOW + 59 * S) == HealthLevel.OK


def test_a_glitch_is_published_raw_and_changes_nothing(thermometer, tmp_path):
    core = thermal_core(tmp_path)
    core.activate(NOW)
    before = ticks(core, 10)[-1].message
    thermometer.write_text("85000\n")
    raw, after = ticks(core, 1, 5.0)
    assert raw.message.temperature == 85.0
    assert after.message.temperature_celsius == before.temperature_celsius
    assert after.message.compensation_id == before.compensation_id
    assert after.message.state == ThermalCompensation.NOMINAL


def test_heat_is_told(thermometer, tmp_path):
    core = thermal_core(tmp_path, **{"watch.warn_celsius": 39.0})
    core.activate(NOW)
    ticks(core, 5)
    assert worst(core, NOW + 2 * S) == HealthLevel.WARN
    core.reconfigure(replace(core._parameters, {"watch.warn_celsius": 30.0, "watch.error_celsius": 40.0}))
    assert worst(core, NOW + 2 * S) == HealthLevel.ERROR


def test_no_sensor_is_an_error_unless_the_fallback_is_allowed(tmp_path):
    with pytest.raises(ThermalError, match="no temperature sensor"):
        thermal_core(tmp_path)
    with pytest.raises(ThermalError, match="hwmon"):
        thermal_core(tmp_path, sensor="hwmon", sensor_fallback="simulated")  # asked for by name: no substitute
    core = thermal_core(tmp_path, sensor_fallback="simulated")
    core.activate(NOW)
    last = compensations(ticks(core, 10))[-1]
    assert (last.source, last.state) == ("simulated/constant", ThermalCompensation.NOMINAL)
    assert worst(core, NOW + 5 * S) == HealthLevel.WARN
    assert "not measured" in texts(core, NOW + 5 * S)["temperature"]


def test_simulated_is_labelled_and_no_fault_when_asked_for(tmp_path):
    core = thermal_core(tmp_path, sensor="simulated", **{"simulated.profile": "ramp", "simulated.end_celsius": 60.0})
    core.activate(NOW)
    seen = compensations(ticks(core, 200))
    assert {m.source for m in seen} == {"simulated/ramp"}
    assert seen[-1].temperature_celsius == pytest.approx(60.0, abs=0.1)
    assert worst(core, NOW + 100 * S) == HealthLevel.OK


def test_readings_by_topic_take_the_same_path(thermometer, tmp_path):
    live = thermal_core(tmp_path)
    replayed = thermal_core(tmp_path, sensor="topic")
    assert (live.inputs, set(live.outputs)) == ({}, {"temperature", "thermal/compensation"})
    assert (replayed.inputs, set(replayed.outputs)) == ({"temperature": Temperature}, {"thermal/compensation"})
    live.activate(NOW)
    replayed.activate(NOW)
    for k, millidegrees in enumerate([40000, 40100, 40200, 85000, 40300, 44000, 48000, -999999, 47000]):
        thermometer.write_text(f"{millidegrees}\n")
        now_ns = NOW + k * S // 2
        temperature, wanted = live.tick("read", now_ns)
        (got,) = replayed.receive("temperature", temperature.message, now_ns)
        assert got == wanted or math.isnan(wanted.message.temperature_celsius)
        assert replayed.tick("read", now_ns) == []
    assert live.receive("temperature", Temperature(), NOW) == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300])
def test_nonsense_on_the_topic_is_counted(tmp_path, value):
    core = thermal_core(tmp_path, sensor="topic")
    core.activate(NOW)
    for k in range(20):
        (output,) = core.receive("temperature", Temperature(Header(NOW), value), NOW + k * S)
        assert math.isnan(output.message.temperature_celsius)
    assert core.diagnose(NOW + 20 * S)[0].values["out_of_range"] == 20


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sensor": "thermometer"}, "sensor"),
        ({"plausibility.minimum_celsius": 200.0}, "minimum_celsius"),
        ({"watch.stale_after_s": 60.0}, "stale_after_s"),
        ({"watch.warn_celsius": 101.0}, "warn_celsius"),
        ({"read_period_s": 10.0}, "read_period_s"),
        ({"watch.filter_tau_s": math.nan}, "filter_tau_s"),
        ({"silicon.profile": "analog"}, r"silicon\.profile"),
        ({"silicon.profile": "table"}, r"silicon\.table: empty"),
        ({"silicon.profile": "linear", "silicon.membrane_per_celsius": 0.02}, "membrane_per_celsius 0.02 makes"),
        ({"silicon.layers": ["out:1"]}, "layer:synapse:membrane"),
        ({"throttle.level1_celsius": 95.0}, "level1_celsius"),
        ({"i2c.address": 0x47}, r"i2c\.address"),
        ({"sensor_choice": "coldest"}, "sensor_choice"),
        ({"simulated.dropout_s": -1.0}, "dropout_s"),
    ],
)
def test_thermal_parameters_are_checked(values, named):
    with pytest.raises(ParameterError, match=named):
        build(ThermalCompensationParameters, values)


# -- several sensors ---------------------------------------------------------------------------------------------------
def second_zone(thermometer, celsius):
    folder = thermometer.parent.parent / "thermal_zone1"
    folder.mkdir(exist_ok=True)
    (folder / "type").write_text("gpu\n")
    (folder / "temp").write_text(f"{round(celsius * 1000)}\n")
    return folder / "temp"


def test_the_hottest_of_several_sensors_counts_and_every_reading_is_published(thermometer, tmp_path):
    gpu = second_zone(thermometer, 55.0)
    core = thermal_core(tmp_path, sensor_choice="hottest")
    core.activate(NOW)
    outputs = ticks(core, 60)
    raw = [o.message for o in outputs if isinstance(o.message, Temperature)]
    assert {reading.header.frame_id for reading in raw} == {"thermal_zone/cpu", "thermal_zone/gpu"}
    last = compensations(outputs)[-1]
    assert (last.source, last.temperature_celsius) == ("thermal_zone/gpu", pytest.approx(55.0, abs=0.01))
    gpu.unlink()
    last = compensations(ticks(core, 12, 30.0))[-1]
    assert last.source == "thermal_zone/cpu"
    assert last.state == ThermalCompensation.NOMINAL, "one sensor is left"
    assert 40.0 < last.temperature_celsius < 55.0, "the low-pass goes on"


def test_first_reads_one_sensor_and_a_name_says_which(thermometer, tmp_path):
    second_zone(thermometer, 55.0)
    for name, source in (("", "thermal_zone/cpu"), ("GPU", "thermal_zone/gpu")):
        core = thermal_core(tmp_path, sensor_name=name)
        core.activate(NOW)
        assert {o.message.header.frame_id for o in ticks(core, 6)} == {source}


def test_by_topic_the_name_chooses_and_others_are_counted(tmp_path):
    core = thermal_core(tmp_path, sensor="topic", sensor_name="die")
    core.activate(NOW)
    for k in range(6):
        assert core.receive("temperature", Temperature(Header(NOW, "battery"), 20.0), NOW + k * S) == ()
        (output,) = core.receive("temperature", Temperature(Header(NOW, "die0"), 50.0), NOW + k * S)
    assert (output.message.source, output.message.temperature_celsius) == ("die0", 50.0)
    assert core.diagnose(NOW + 6 * S)[0].values["other_sources"] == 6


def test_a_simulated_sensor_drops_out_goes_stale_and_is_back(tmp_path):
    settings = {"simulated.dropout_after_s": 5.0, "simulated.dropout_s": 8.0, "watch.failsafe_after_s": 7.0}
    core = thermal_core(tmp_path, sensor="simulated", **settings)
    core.activate(NOW)
    states = [message.state for message in compensations(ticks(core, 40))]
    changes = [state for k, state in enumerate(states) if k == 0 or state != states[k - 1]]
    stale, failsafe, nominal = ThermalCompensation.STALE, ThermalCompensation.FAILSAFE, ThermalCompensation.NOMINAL
    assert changes == [stale, nominal, stale, failsafe, nominal]


# -- throttling --------------------------------------------------------------------------------------------------------
def at(core, thermometer, celsius, count=40, start_s=0.0):
    thermometer.write_text(f"{round(celsius * 1000)}\n")
    return compensations(ticks(core, count, start_s))[-1]


def test_heat_lowers_the_load_level_by_level_and_cold_restores_it(thermometer, tmp_path):
    core = thermal_core(tmp_path, **{"plausibility.max_rate_celsius_per_s": 100.0})
    core.activate(NOW)
    seen = []
    for k, celsius in enumerate((40.0, 84.0, 86.0, 81.0, 96.0, 91.0, 89.0, 79.0)):
        message = at(core, thermometer, celsius, start_s=20.0 * k)
        (health,) = [h for h in core.diagnose(NOW + 20 * (k + 1) * S) if h.name == "throttle"]
        assert health.values["throttle_level"] == message.throttle_level
        assert health.level == HealthLevel(message.throttle_level)
        seen.append(message.throttle_level)
    assert seen == [0, 0, 1, 1, 2, 2, 1, 0]


def test_without_a_reading_the_level_stays(thermometer, tmp_path):
    core = thermal_core(tmp_path, **{"plausibility.max_rate_celsius_per_s": 100.0})
    core.activate(NOW)
    assert at(core, thermometer, 90.0).throttle_level == 1
    thermometer.unlink()
    last = compensations(ticks(core, 100, 20.0))[-1]
    assert (last.state, last.throttle_level) == (ThermalCompensation.FAILSAFE, 1)


def test_deactivation_releases_the_sensor_and_the_next_reading_opens_it_again(thermometer, tmp_path):
    core = thermal_core(tmp_path)
    closed = []
    core._sensors[0].close = lambda: closed.append(1)
    core.activate(NOW)
    core.deactivate(NOW + S)
    assert closed == [1]
    core.activate(NOW + 2 * S)
    assert compensations(ticks(core, 6, 2.0))[-1].state == ThermalCompensation.NOMINAL
    core.close()
    core.close()
