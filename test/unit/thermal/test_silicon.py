# SPDX-License-Identifier: Apache-2.0
"""Silicon models and the calibration table: what is believed, and what is refused in one line."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.thermal import (
    CalibrationTable,
    Curve,
    Drift,
    SiliconOptions,
    ThermalError,
    create_silicon,
    load_table,
    save_table,
    silicon_profiles,
)
from neuro_ros.thermal.compensation import drifted_registers

CELSIUS = (-40.0, 0.0, 25.0, 85.0)
TAU_S = (0.0239, 0.0215, 0.02, 0.0164)


def table(celsius=CELSIUS, tau_s=TAU_S, **changes):
    return CalibrationTable({"*": {"membrane": Curve(tuple(celsius), tuple(tau_s))}}, **changes)


# -- models ------------------------------------------------------------------------------------------------------------
def test_the_profiles_there_are():
    assert silicon_profiles() == ["digital", "linear", "table"]
    with pytest.raises(ThermalError, match="'analog' is not known"):
        create_silicon("analog")


@given(st.floats(-55.0, 150.0), st.integers(0, 4095), st.integers(0, 4095))
def test_digital_silicon_changes_nothing_at_any_temperature(celsius, du, dv):
    silicon = create_silicon("digital")
    assert not silicon.drifts
    assert silicon.covers(celsius)
    assert drifted_registers(du, dv, silicon.drift("any", celsius), 0.005) == (du, dv)


def test_the_linear_chip_is_the_articles_with_the_right_figures():
    """Errata 21, 23: 0.3 % a degree makes 23.9 / 20 / 16.4 ms of 20 ms, 19.5 % too long and 18 % too short."""
    silicon = create_silicon("linear")
    shown_ms = [20.0 * silicon.drift("any", celsius).membrane for celsius in (-40.0, 25.0, 85.0)]
    assert shown_ms == pytest.approx([23.9, 20.0, 16.4])


def test_synapses_membranes_and_layers_drift_each_in_their_own_way():
    options = SiliconOptions(synapse_per_celsius=-0.001, membrane_per_celsius=0.004, layers={"out": Drift(0.0, 0.002)})
    silicon = create_silicon("linear", options)
    assert silicon.drift("conv", 35.0) == pytest.approx((1.01, 0.96))
    assert silicon.drift("out", 35.0) == pytest.approx((1.0, 0.98))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"membrane_per_celsius": 0.01}, "membrane_per_celsius 0.01 makes the time constant -0.25"),
        ({"synapse_per_celsius": -0.02}, "synapse_per_celsius -0.02"),
        ({"membrane_per_celsius": math.nan}, "membrane_per_celsius nan"),
        ({"layers": {"out": Drift(0.0, 0.02)}}, "of layer 'out'"),
    ],
)
def test_a_coefficient_that_makes_a_time_constant_negative_is_refused(options, named):
    with pytest.raises(ThermalError, match=named) as caught:
        create_silicon("linear", SiliconOptions(**options))
    assert "\n" not in str(caught.value)


# -- the table ---------------------------------------------------------------------------------------------------------
def test_a_table_interpolates_and_holds_its_ends(tmp_path):
    path = tmp_path / "chip.json"
    save_table(table(chip="A7"), path)
    silicon = create_silicon("table", SiliconOptions(table=str(path), chip="A7"))
    at = {celsius: silicon.drift("any", celsius).membrane for celsius in (-60.0, -40.0, -20.0, 25.0, 55.0, 85.0, 120.0)}
    assert at[25.0] == 1.0
    assert at[-20.0] == pytest.approx((0.0239 + 0.0215) / 2 / 0.02)
    assert at[55.0] == pytest.approx((0.02 + 0.0164) / 2 / 0.02)
    assert (at[-60.0], at[120.0]) == (at[-40.0], at[85.0])
    assert silicon.drift("any", 55.0).synapse == 1.0, "nothing was measured of it"
    assert [silicon.covers(celsius) for celsius in (-41.0, -40.0, 85.0, 86.0)] == [False, True, True, False]


def test_layers_may_have_curves_of_their_own():
    curves = {"*": {"membrane": Curve(CELSIUS, TAU_S)}, "out": {"membrane": Curve(CELSIUS, (1.0, 1.0, 1.0, 1.0))}}
    found = CalibrationTable(curves)
    assert found.ratio("out", "membrane", 85.0) == 1.0
    assert found.ratio("conv", "membrane", 85.0) == pytest.approx(0.82)


@given(
    st.lists(st.floats(-50.0, 120.0), min_size=3, max_size=20, unique=True),
    st.lists(st.floats(1e-4, 1.0), min_size=20, max_size=20),
    st.booleans(),
)
def test_a_table_comes_back_from_its_file(tmp_path, celsius, tau_s, rises):
    celsius = sorted({round(value, 6) for value in (*celsius, 25.0)})
    if len(celsius) < 3:
        return
    tau_s = sorted(tau_s, reverse=not rises)[: len(celsius)]
    made = table(celsius[: len(tau_s)], tau_s, reference_celsius=celsius[0], chip="A7", origin="hypothesis")
    save_table(made, tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == made


@pytest.mark.parametrize(
    ("celsius", "tau_s", "named"),
    [
        ((0.0, -40.0, 85.0), (3.0, 2.0, 1.0), "-40 follows 0 degree Celsius; temperatures must ascend"),
        ((0.0, 25.0, 25.0), (3.0, 2.0, 1.0), "25 follows 25"),
        ((0.0, 50.0), (2.0, 1.0), "2 points; a table needs 3"),
        ((), (), "0 points"),
        ((0.0, 25.0, 50.0), (2.0, 1.0), "3 temperatures for 2"),
        ((0.0, 25.0, 50.0, 85.0), (4.0, 3.0, 3.5, 1.0), "turns round between 25 and 50 degree Celsius"),
        ((0.0, 25.0, 50.0), (1.0, 3.0, 1.0), "turns round"),
        ((0.0, 25.0, 50.0), (3.0, 2.0, -1.0), "-1.0 s at 50 degree Celsius; it must be above 0"),
        ((0.0, 25.0, 50.0), (3.0, 2.0, 0.0), "it must be above 0"),
        ((0.0, 25.0, 50.0), (3.0, math.nan, 1.0), "a time constant of nan s"),
        ((0.0, math.inf, 50.0), (3.0, 2.0, 1.0), "a temperature of inf"),
        ((-300.0, 25.0, 50.0), (3.0, 2.0, 1.0), "a temperature of -300"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value[:24],
)
def test_what_is_no_curve_is_refused_in_one_line_also_from_a_file(tmp_path, celsius, tau_s, named):
    with pytest.raises(ThermalError, match=named):
        Curve(celsius, tau_s)
    content = table().as_dict()
    content["populations"]["*"]["membrane"] = {"celsius": list(celsius), "tau_s": list(tau_s)}
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ThermalError, match=named) as caught:
        load_table(path)
    assert str(caught.value).startswith(f"{path}: population '*', membrane: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": "something"}, "is not a neuro_ros.thermal"),
        ({"version": 2}, "version 2, this release reads version 1"),
        ({"populations": {}}, "no curve"),
        ({"populations": {"*": {}}}, "no curve"),
        ({"populations": [1]}, "not a calibration table"),
        ({"populations": {"*": {"axon": {"celsius": list(CELSIUS), "tau_s": list(TAU_S)}}}}, "'axon' is not one of"),
        ({"populations": {"*": {"membrane": {"celsius": "hot", "tau_s": [1]}}}}, "no list of numbers"),
        ({"populations": {"*": {"membrane": {"celsius": [[1]], "tau_s": [1]}}}}, "not a calibration table"),
        ({"reference_celsius": 90.0}, "leaves out the reference of 90"),
        ({"reference_celsius": None}, "not a calibration table"),
    ],
)
def test_other_damage_is_one_line_too(tmp_path, changes, named):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**table().as_dict(), **changes}))
    with pytest.raises(ThermalError, match=named) as caught:
        load_table(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"[" * 100_000, b"{}", b"null", b"1" * 5_000_000])
def test_foreign_files_are_refused(tmp_path, data):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(ThermalError, match=r"neuro_ros\.thermal"):
        load_table(path)


def test_missing_files_wrong_chips_and_unwritable_folders_are_told(tmp_path):
    with pytest.raises(ThermalError, match="No such file"):
        load_table(tmp_path / "none.json")
    with pytest.raises(ThermalError, match="neuro_ros calibrate-thermal"):
        create_silicon("table")
    save_table(table(chip="A7"), tmp_path / "t.json")
    with pytest.raises(ThermalError, match="measured on chip 'A7', not on 'B1'"):
        create_silicon("table", SiliconOptions(table=str(tmp_path / "t.json"), chip="B1"))
    with pytest.raises(ThermalError, match="cannot be written"):
        save_table(table(), tmp_path / "none" / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
