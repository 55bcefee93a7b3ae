# SPDX-License-Identifier: Apache-2.0
"""Sensors of the kernel on a fake tree of files and on this machine's own, several of them, and simulated ones."""

import contextlib
import math
from itertools import pairwise

import pytest

from neuro_ros.thermal import (
    SensorError,
    SensorOptions,
    ThermalError,
    available_sensors,
    open_sensor,
    open_sensors,
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


def test_an_unknown_kind_or_choice_is_refused(tree):
    with pytest.raises(ThermalError, match="'thermometer' is not known"):
        open_sensor("thermometer")
    with pytest.raises(ThermalError, match="'coldest' is not known; known: first, hottest"):
        open_sensors("auto", SensorOptions(sysfs_root=tree), choice="coldest")


def test_hottest_opens_all_that_read_and_first_only_one(tree):
    options = SensorOptions(sysfs_root=tree)
    assert [sensor.source for sensor in open_sensors("auto", options)] == ["thermal_zone/x86_pkg_temp"]
    found = open_sensors("auto", options, choice="hottest")
    assert [sensor.source for sensor in found] == [source for source in sources(tree) if "broken" not in source]


def test_inputs_are_found_by_their_labels_and_namesakes_are_told_apart(tmp_path):
    folder = hwmon(tmp_path, 3, "coretemp", temp1="40000", temp2="41000")
    (folder / "temp1_label").write_text("Package id 0\n")
    zone(tmp_path, 0, "acpitz", "20000")
    zone(tmp_path, 1, "acpitz", "30000")
    assert sources(tmp_path, "hwmon", "package") == ["hwmon/coretemp/temp1/Package_id_0"]
    assert sources(tmp_path, "thermal_zone") == ["thermal_zone/acpitz", "thermal_zone/acpitz#2"]
    assert open_sensor("auto", SensorOptions("acpitz#2", tmp_path)).read(0) == 30.0


def test_a_device_that_comes_back_under_another_number_is_found_again(tmp_path):
    folder = hwmon(tmp_path, 3, "nvme", temp1="41000")
    (sensor,) = available_sensors(SensorOptions(sysfs_root=tmp_path))
    assert sensor.read(0) == 41.0
    (folder / "temp1_input").unlink()
    (folder / "name").unlink()
    with pytest.raises(SensorError, match="No such file"):
        sensor.read(0)
    folder.rmdir()
    hwmon(tmp_path, 7, "nvme", temp1="42000")
    assert sensor.read(0) == 42.0
    assert sensor.source == "hwmon/nvme/temp1"


def test_a_sensor_whose_chip_reports_a_fault_is_not_read(tmp_path):
    folder = hwmon(tmp_path, 0, "nct6775", temp1="127000")
    (folder / "temp1_fault").write_text("1\n")
    (sensor,) = available_sensors(SensorOptions(sysfs_root=tmp_path))
    with pytest.raises(SensorError, match="reports a fault"):
        sensor.read(0)
    (folder / "temp1_fault").write_text("0\n")
    assert sensor.read(0) == 127.0


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


def test_a_flight_goes_from_the_ground_into_the_cold_and_lands_hot():
    settings = {"profile": "flight", "start_celsius": 25.0, "end_celsius": 60.0, "duration_s": 100.0}
    sensor = open_sensor("simulated", SensorOptions(simulated=settings))
    seen = [sensor.read(1000 * S + t * S) for t in range(121)]
    assert seen[0] == seen[10] == 25.0
    assert min(seen) == seen[45] == 10.0, "cruise in the cold"
    assert seen[80] == pytest.approx(42.5), "under load"
    assert max(seen) == seen[100] == seen[120] == 60.0
    assert max(abs(b - a) for a, b in pairwise(seen)) < 3.0, "as silicon can"


def test_a_simulated_sensor_may_drop_out_and_come_back():
    settings = {"start_celsius": 25.0, "dropout_after_s": 2.0, "dropout_s": 3.0}
    sensor = open_sensor("simulated", SensorOptions(simulated=settings))
    for t in (0, 1, 5, 6):
        assert sensor.read(1000 * S + t * S) == 25.0
    for t in (2, 3, 4):
        with pytest.raises(SensorError, match="does not answer"):
            sensor.read(1000 * S + t * S)


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "square"},
        {"start_celsius": math.nan},
        {"end_celsius": math.inf},
        {"duration_s": 0.0},
        {"dropout_s": -1.0},
    ],
)
def test_bad_profiles_are_refused(settings):
    with pytest.raises(ThermalError):
        open_sensor("simulated", SensorOptions(simulated=settings))
