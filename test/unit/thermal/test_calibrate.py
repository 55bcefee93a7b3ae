# SPDX-License-Identifier: Apache-2.0
"""`neuro_ros calibrate-thermal`: measured pairs and sweeps on the emulated chip, to a table that can be used."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cli.command import main
from neuro_ros.thermal import (
    CalibrationTable,
    Compensator,
    Population,
    SiliconOptions,
    ThermalError,
    create_silicon,
    load_table,
)
from neuro_ros.thermal.measurement import fit_curve, measure_chip, read_pairs, write_pairs
from neuro_ros.thermal.silicon import TableSilicon

SWEEP = [float(celsius) for celsius in range(-40, 86, 5)]


def run(capsys, *arguments):
    code = main(["calibrate-thermal", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- measuring ---------------------------------------------------------------------------------------------------------
def test_the_emulated_chip_is_measured_by_what_is_left_of_a_charge():
    silicon = create_silicon("linear", SiliconOptions(0.001, 0.003))
    found = measure_chip(silicon, SWEEP, tau_s=0.02, step_s=0.005)
    for kind, slope in (("synapse", 0.001), ("membrane", 0.003)):
        assert [celsius for celsius, _ in found[kind]] == SWEEP
        wanted = [0.02 * (1.0 - slope * (celsius - 25.0)) for celsius in SWEEP]
        # Half a step of the register at 906, programmed and drifted: 0.06 % each.
        assert [tau_s for _, tau_s in found[kind]] == pytest.approx(wanted, rel=0.002)


def test_a_table_that_was_measured_cancels_what_it_was_measured_on():
    silicon = create_silicon("linear", SiliconOptions(0.004, 0.002))
    fits = {kind: fit_curve(pairs).curve for kind, pairs in measure_chip(silicon, SWEEP).items()}
    table = TableSilicon(CalibrationTable({"*": fits}))
    nominal = [Population("p", 1000, 500, 0.005)]
    ours = Compensator(nominal, table, 0.005)
    for celsius in np.arange(-40.0, 85.1, 2.5):
        ours.jump(celsius)
        truth = silicon.drift("p", celsius)
        requested = ours.requested_s[0]
        shown = requested[0] * truth.synapse, requested[1] * truth.membrane
        assert shown == pytest.approx(nominal[0].tau_s, rel=0.003)


# -- fitting -----------------------------------------------------------------------------------------------------------
def test_unsorted_repeated_noisy_pairs_become_a_curve():
    rng = np.random.default_rng(3)
    pairs = [(c + rng.normal(0, 0.1), (1 - 0.003 * (c - 25)) * rng.normal(1, 0.004)) for c in SWEEP for _ in range(15)]
    rng.shuffle(pairs)
    fit = fit_curve([tuple(pair) for pair in pairs])
    assert len(fit.curve.celsius) == len(SWEEP)
    assert fit.largest_correction < 0.005
    for celsius in SWEEP:
        assert fit.curve.at(celsius) == pytest.approx(1 - 0.003 * (celsius - 25), abs=0.006)


@given(st.lists(st.floats(0.5, 1.5), min_size=3, max_size=30))
def test_levelling_never_turns_round_and_leaves_what_is_in_order(values):
    pairs = [(5.0 * k, value) for k, value in enumerate(values)]
    curve = fit_curve(pairs, tolerance=10.0).curve  # a curve that turned round would be refused by itself
    assert min(values) - 1e-12 <= min(curve.tau_s)
    assert max(curve.tau_s) <= max(values) + 1e-12
    ordered = sorted(values)
    assert fit_curve([(5.0 * k, value) for k, value in enumerate(ordered)]).curve.tau_s == pytest.approx(ordered)


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ([(0.0, 1.0), (50.0, 0.5)], "2 points; a table needs 3"),
        ([(0.0, 1.0), (0.2, 1.0), (0.4, 1.0)], "1 points"),
        ([(0.0, 1.0), (25.0, 0.5), (50.0, 0.9), (75.0, 0.4)], "turns round at 25 degree Celsius by 40.0%"),
        ([(0.0, 1.0), (25.0, 0.5), (50.0, -0.1)], "a time constant of -0.1 s at 50"),
    ],
)
def test_pairs_that_make_no_curve_are_refused(pairs, named):
    with pytest.raises(ThermalError, match=named):
        fit_curve(pairs)


# -- files -------------------------------------------------------------------------------------------------------------
def test_pairs_come_back_from_their_file(tmp_path):
    pairs = {"synapse": [(-40.0, 0.1), (25.0, 0.2)], "membrane": [(-40.0, 0.3), (25.0, 0.1 + 0.2)]}
    write_pairs(tmp_path / "p.csv", pairs, "a comment")
    assert read_pairs(tmp_path / "p.csv") == pairs


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "the first line must name temperature_celsius"),
        ("temperature_celsius,volts\n1,2\n", "one or more of tau_syn_s, tau_mem_s, response"),
        ("tau_mem_s\n1\n", "must name temperature_celsius"),
        ("temperature_celsius,tau_mem_s\n", "no measurement below"),
        ("# why\ntemperature_celsius,tau_mem_s\n1,2\n3,warm\n", "line 4: 'warm' is no finite number"),
        ("temperature_celsius,tau_mem_s\nnan,2\n", "line 2: 'nan' is no finite number"),
        ("temperature_celsius,tau_mem_s\n1,2,3\n", "line 2 has 3 values for 2 columns"),
        ('temperature_celsius,tau_mem_s\n1,"2\n', "not a CSV file"),
    ],
)
def test_files_that_are_no_pairs_are_one_line_and_exit_code_2(tmp_path, capsys, text, named):
    path = tmp_path / "p.csv"
    path.write_text(text)
    code, out, err = run(capsys, "--pairs", path)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1


# -- the verb ----------------------------------------------------------------------------------------------------------
def test_a_sweep_makes_table_pairs_and_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    table, plot, pairs = tmp_path / "a7.json", tmp_path / "a7.svg", tmp_path / "a7.csv"
    code, out, _ = run(
        capsys, "--sweep", "linear", "--out", table, "--plot", plot, "--save-pairs", pairs, "--chip", "A7", "--json"
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["table"] == json.loads(table.read_text())
    assert (result["table"]["chip"], result["points"]) == ("A7", {"membrane": 26, "synapse": 26})
    silicon = create_silicon("table", SiliconOptions(table=str(table), chip="A7"))
    assert silicon.drift("any", -40.0) == pytest.approx((1.195, 1.195), abs=0.002)
    svg = plot.read_text()
    assert "<svg" in svg
    assert "26 measurements" in svg
    # Its own pairs, taken for measured ones, make the same table.
    code, out, _ = run(capsys, "--pairs", pairs, "--out", tmp_path / "b.json")
    assert code == 0
    assert "26 temperatures from -40 to 85" in out
    assert load_table(tmp_path / "b.json").curves == load_table(table).curves
    # And the table can be the silicon of another sweep.
    code, _, _ = run(capsys, "--sweep", "table", "--table", table, "--out", tmp_path / "c.json")
    assert code == 0
    ratio = load_table(tmp_path / "c.json").ratio("any", "membrane", 85.0)
    assert ratio == pytest.approx(0.82, abs=0.002)


def test_a_response_is_of_what_the_caller_says(tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text("temperature_celsius,response\n85,0.7\n25,1.0\n-40,1.3\n")
    _, out, _ = run(capsys, "--pairs", path, "--population", "membrane", "--layer", "out", "--json")
    assert list(json.loads(out)["table"]["populations"]["out"]) == ["membrane"]
    _, out, _ = run(capsys, "--pairs", path, "--json")
    assert sorted(json.loads(out)["table"]["populations"]["*"]) == ["membrane", "synapse"]
    path.write_text("temperature_celsius,response,tau_mem_s\n85,0.7,1\n25,1.0,2\n-40,1.3,3\n")
    code, _, err = run(capsys, "--pairs", path)
    assert code == 2
    assert "choose with --population" in err
    assert run(capsys, "--pairs", path, "--population", "synapse")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "one of the arguments --pairs --sweep is required"),
        (("--sweep", "digital"), "invalid choice"),
        (("--sweep", "linear", "--from", "10", "--to", "0"), "0 temperatures, not 3"),
        (("--sweep", "linear", "--step", "1e-9"), "temperatures, not 3 to 10000"),
        (("--sweep", "linear", "--membrane-per-celsius", "0.05"), "membrane_per_celsius 0.05 makes the time constant"),
        (("--sweep", "linear", "--reference", "100"), "leaves out the reference of 100"),
        (("--sweep", "table"), "needs a calibration file"),
        (("--sweep", "table", "--table", "/none.json"), "No such file"),
        (("--pairs", "/none.csv"), "No such file"),
        (("--sweep", "linear", "--out", "/none/t.json"), "cannot be written"),
        (("--sweep", "linear", "--plot", "t.bmp"), "ends in one of .svg"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(capsys, arguments, named):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1
