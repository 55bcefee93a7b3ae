# SPDX-License-Identifier: Apache-2.0
"""thermal: sensors on a fake tree of kernel files and on this machine's own, plausibility, ageing, silicon."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.thermal import (
    PlausibilityGate,
    RegisterSet,
    SensorError,
    SensorOptions,
    ThermalError,
    ThermalState,
    ThermalWatch,
    available_sensors,
    create_silicon,
    open_sensor,
    silicon_profiles,
)

S = 1_000_000_000


def zone(root, number, kind, text):
    folder = root / "class" / "thermal" / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(kind + "\n")
    (folder / "temp").write_text(text)
    return folder / "temp"


def hwmon(root, number, name, **inputs):
    folder = root / "class" / "hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    for item, text in inputs.items():
        (folder / f"{item}_input").write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path):
    """Make a fake /sys: a battery, a processor and a broken zone; two hwmon chips."""
    zone(tmp_path, 0, "battery", "31000\n")
    zone(tmp_path, 2, "x86_pkg_temp", "-25125\n")
    zone(tmp_path, 10, "broken", "n/a\n")
    hwmon(tmp_path, 0, "nvme", temp1="41850\n")
    hwmon(tmp_path, 1, "coretemp", temp2="52000\n", temp1="51000\n", temp10="50000\n")
    return tmp_path


def sources(root, kind="auto", name=""):
    return [sensor.source for sensor in available_sensors(SensorOptions(name=name, sysfs_root=root), kind=kind)]


def test_sensors_are_found_by_name_processors_first(tree):
    assert sources(tree, "thermal_zone") == [
        "thermal_zone/x86_pkg_temp",
        "thermal_zone/battery",
        "thermal_zone/broken",
    ]
    assert sources(tree, "hwmon") == [
        "hwmon/coretemp/temp1",
        "hwmon/coretemp/temp2",
        "hwmon/coretemp/temp10",
        "hwmon/nvme/temp1",
    ]
    assert sources(tree, name="CORETEMP/temp2") == ["hwmon/coretemp/temp2"]
    assert sources(tree)[0] == "thermal_zone/x86_pkg_temp"


def test_readings_are_signed_thousandths(tree):
    sensor = open_sensor("auto", SensorOptions(sysfs_root=tree))
    assert (sensor.source, sensor.read(0)) == ("thermal_zone/x86_pkg_temp", -25.125)


def test_auto_passes_over_what_gives_no_plausible_reading(tree):
    (tree / "class/thermal/thermal_zone2/temp").write_text("-273200\n")
    (tree / "class/thermal/thermal_zone0/temp").unlink()
    assert open_sensor("auto", SensorOptions(sysfs_root=tree)).source == "hwmon/coretemp/temp1"


def test_no_sensor_is_one_clear_error(tmp_path):
    with pytest.raises(ThermalError) as caught:
        open_sensor("auto", SensorOptions(sysfs_root=tmp_path, name="cpu"))
    text = str(caught.value)
    assert "\n" not in text
    for part in ("thermal_zone*", "hwmon*", str(tmp_path), "'cpu'", "sensor_fallback"):
        assert part in text


def test_refused_sensors_are_named(tree):
    with pytest.raises(ThermalError, match=r"thermal_zone/broken: .*'n/a' is no number"):
        open_sensor("thermal_zone", SensorOptions(sysfs_root=tree, name="broken"))
    with pytest.raises(ThermalError, match=r"battery: 31 degree Celsius is outside \[40, 90\]"):
        open_sensor("thermal_zone", SensorOptions("battery", tree, 40.0, 90.0))


@pytest.mark.parametrize("text", ["", "nan", "1e3", "12.5", "9" * 12, "\0\xff", "--3"])
def test_a_file_without_a_number_is_an_error_and_no_reading(tmp_path, text):
    path = zone(tmp_path, 0, "cpu", text)
    (sensor,) = available_sensors(SensorOptions(sysfs_root=tmp_path))
    with pytest.raises(SensorError):
        sensor.read(0)
    path.unlink()
    with pytest.raises(SensorError, match="No such file"):
        sensor.read(0)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ThermalError, match="'thermometer' is not known"):
        open_sensor("thermometer")


def test_this_machines_own_sensors_read_in_range():
    sensors = available_sensors()
    if not sensors:
        pytest.skip("this machine has neither thermal zones nor hwmon inputs under /sys")
    for sensor in sensors:
        assert sensor.source
        with contextlib.suppress(SensorError):  # a sensor that is asleep says so
            assert -60.0 <= sensor.read(0) <= 200.0


def test_simulated_profiles():
    def play(profile, *times_s):
        settings = {"profile": profile, "start_celsius": 20.0, "end_celsius": 60.0, "duration_s": 10.0}
        sensor = open_sensor("simulated", SensorOptions(simulated=settings))
        assert sensor.source == f"simulated/{profile}"
        return [sensor.read(1000 * S + round(t * S)) for t in times_s]

    assert play("constant", 0, 5, 50) == [20.0, 20.0, 20.0]
    assert play("ramp", 0, 2.5, 10, 50) == [20.0, 30.0, 60.0, 60.0]
    assert play("step", 0, 9.9, 10, 50) == [20.0, 20.0, 60.0, 60.0]


@pytest.mark.parametrize(
    "settings", [{"profile": "square"}, {"start_celsius": math.nan}, {"end_celsius": math.inf}, {"duration_s": 0.0}]
)
def test_bad_profiles_are_refused(settings):
    with pytest.raises(ThermalError):
        open_sensor("simulated", SensorOptions(simulated=settings))


# -- plausibility ------------------------------------------------------------------------------------------------------


def gate(confirmations=3):
    return PlausibilityGate(-55.0, 150.0, 5.0, 2.0, confirmations)


def judge(a_gate, *readings):
    """Give readings half a second apart."""
    judge.now_ns += 1000 * S
    return [a_gate.accept(value, judge.now_ns + index * S // 2) for index, value in enumerate(readings)]


judge.now_ns = 0


def test_the_first_readings_must_agree():
    assert judge(gate(), 40.0, 40.1, 40.2, 40.3) == [False, False, True, True]
    # 0 degrees before the first conversion, 85 degrees after a power-on reset
    assert judge(gate(), 0.0, 40.0, 85.0, 40.0, 40.1, 40.1) == [False, False, False, False, False, True]


def test_one_glitch_changes_nothing_and_a_real_jump_is_believed_after_three():
    assert judge(gate(2), 40.0, 40.0, 85.0, 40.0, -128.0, 40.1) == [False, True, False, True, False, True]
    assert judge(gate(2), 40.0, 40.0, 60.0, 60.2, 60.1) == [False, True, False, True, True]


def test_silicon_may_heat_as_fast_as_allowed():
    assert judge(gate(2), 40.0, 40.0, 44.4, 48.8, 53.4) == [False, True, True, True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -128.0, 150.1])
def test_what_is_out_of_range_is_never_believed(value):
    a_gate = gate()
    assert not any(judge(a_gate, *[value] * 10))
    assert a_gate.counters.out_of_range == 10


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40))
def test_every_reading_is_counted_once_and_only_finite_ones_pass(values):
    a_gate = gate()
    passed = [value for value, good in zip(values, judge(a_gate, *values), strict=True) if good]
    assert all(-55.0 <= value <= 150.0 for value in passed)
    counters = a_gate.counters
    assert counters.accepted + counters.out_of_range + counters.implausible == len(values)


# -- ageing ------------------------------------------------------------------------------------------------------------


def test_hold_then_stale_then_failsafe_and_back():
    watch = ThermalWatch(5.0, 30.0, 0.0)
    watch.start(100 * S)
    assert watch.state(100 * S) is ThermalState.STALE  # nothing measured yet
    watch.update(40.0, 101 * S)
    ages = {1: ThermalState.NOMINAL, 5: ThermalState.NOMINAL, 6: ThermalState.STALE, 31: ThermalState.FAILSAFE}
    for age_s, state in ages.items():
        assert watch.state((101 + age_s) * S) is state
        assert watch.celsius == 40.0  # held
    watch.update(50.0, 200 * S)
    assert (watch.state(200 * S), watch.celsius) == (ThermalState.NOMINAL, 50.0)


def test_never_a_reading_ends_in_failsafe():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.start(100 * S)
    assert watch.state(131 * S) is ThermalState.FAILSAFE
    assert math.isnan(watch.celsius)


def test_the_low_pass_settles_without_overshoot():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.update(20.0, 0)
    seen = []
    for step in range(1, 41):
        watch.update(60.0, step * S // 2)
        seen.append(watch.celsius)
    assert seen == sorted(seen)
    assert seen[3] == pytest.approx(60.0 - 40.0 * 0.8**4)  # dt / (tau + dt) = 0.2 a step
    assert 59.9 < seen[-1] <= 60.0


def test_time_that_runs_back_does_no_harm():
    watch = ThermalWatch(5.0, 30.0, 2.0)
    watch.update(20.0, 100 * S)
    watch.update(30.0, 50 * S)
    assert watch.celsius == 20.0
    assert watch.state(51 * S) is ThermalState.NOMINAL


# -- silicon -----------------------------------------------------------------------------------------------------------


def test_digital_silicon_needs_nothing_at_any_temperature():
    silicon = create_silicon("digital")
    assert "digital" in silicon_profiles()
    assert {silicon.registers(celsius) for celsius in range(-40, 86, 5)} == {RegisterSet()}


def test_an_unknown_silicon_is_refused():
    with pytest.raises(ThermalError, match="'analog' is not known"):
        create_silicon("analog")
