# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros map``: answers, exit codes, and what people see."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from chip_networks import three_limits_network

from neuro_ros.cli.command import main
from neuro_ros.snn import Dense, Layer, Lif, Model, Network, save_model
from neuro_ros.snn.chips import chip_names

AEDAT4 = Path(__file__).resolve().parents[2] / "data" / "evlib_sample.aedat4"
QUICK = ("--seconds", "0.1", "--windows", "3")


@pytest.fixture(scope="module")
def too_large(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "large.safetensors"
    save_model(Model(three_limits_network(), [f"class{k}" for k in range(5)]), path)
    return path


def run(capsys, *arguments, expect=0):
    status = main(["map", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert status == expect, captured.err
    return captured


def run_json(capsys, *arguments, expect=0):
    return json.loads(run(capsys, *arguments, "--json", expect=expect).out)


def test_the_shipped_model_fits_with_activity_of_a_recording(capsys):
    result = run_json(capsys, "gesture", "--chip", "loihi1", "--recording", AEDAT4)
    assert result["fits"] is True
    assert result["violations"] == []
    assert result["cores"] == len(result["per_core"]) == 9
    assert result["activity"] == f"recording {AEDAT4.name}"
    own = json.loads(run_json_of_run(capsys))
    operations = dict.fromkeys(own["synaptic_ops_per_layer"], 0.0)
    for core in result["per_core"]:
        operations[core["layer"]] += core["synaptic_operations"] * result["steps"]
    assert operations == pytest.approx(own["synaptic_ops_per_layer"])
    assert result["steps"] == own["steps"]
    busy = result["utilisation"]
    assert len(busy["per_core"]) == 9
    assert sum(busy["histogram"]) == 9
    assert busy["max"] == max(busy["per_core"])
    energy = result["energy_estimate"]
    assert energy["estimate"] is True
    assert energy["duration_s"] == pytest.approx(result["steps"] * 5e-3)
    expected = sum(own["synaptic_ops_per_layer"].values()) * 23.6e-12
    assert energy["synaptic_j"] == pytest.approx(expected)
    assert energy["total_j"] == pytest.approx(expected + result["steps"] * 7307 * 81e-12 + energy["static_j"])


def run_json_of_run(capsys):
    assert main(["run", "gesture", str(AEDAT4), "--json"]) == 0
    return capsys.readouterr().out


def test_three_broken_limits_are_told_at_once_and_exit_1(capsys, too_large):
    result = run_json(capsys, too_large, "--chip", "loihi1", *QUICK, expect=1)
    assert [(entry["layer"], entry["limit"], entry["excess"]) for entry in result["violations"]] == [
        ("", "cores", result["cores"] - 128),
        ("", "neurons", 25_605),
        ("all", "in_axons_per_core", 5_120),
    ]
    assert all(entry["hint"] for entry in result["violations"])
    text = run(capsys, too_large, "--chip", "loihi1", *QUICK, expect=1).out
    assert "does not fit, 3 limits are broken" in text
    assert text.index("! cores") < text.index("! neurons") < text.index("! in_axons_per_core")


@pytest.mark.parametrize("chip", chip_names())
def test_the_text_is_narrow_enough_and_names_what_was_not_checked(capsys, chip):
    text = run(capsys, "gesture", "--chip", chip, *QUICK, "--limits", expect=int(chip == "speck")).out
    report, limits = text.split(": limits and costs")
    assert max(len(line) for line in text.splitlines()) <= 110
    assert "not checked  " in report
    assert "estimate" in report
    assert "neuro_ros" not in report
    assert limits.count("not published") >= 3
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_short_step_shows_remaps_and_the_trade(capsys):
    text = run(capsys, "gesture", "--chip", "loihi1", "--step-us", "10", "--seconds", "0.1").out
    assert "remapped: conv2 over" in text
    assert "time multiplexing: fewer cores, longer steps" in text
    result = run_json(capsys, "gesture", "--chip", "loihi1", "--step-us", "10", "--seconds", "0.1")
    assert 0.35 < result["utilisation"]["max"] <= 0.7
    assert {remap["layer"] for remap in result["remaps"]} >= {"conv1", "conv2"}
    assert result["step_time_s"] < 10e-6
    assert [row["cores"] for row in result["time_multiplexing"]] == sorted(
        {row["cores"] for row in result["time_multiplexing"]}
    )


def test_placement_seed_changes_places_only(capsys):
    rows, drawn = (
        run_json(capsys, "gesture", "--chip", "loihi1", *QUICK, *more) for more in ((), ("--placement-seed", "7"))
    )
    assert [core["place"] for core in rows["per_core"]] == list(range(9))
    assert [core["place"] for core in drawn["per_core"]] != list(range(9))
    assert [{**core, "place": 0} for core in rows["per_core"]] == [{**core, "place": 0} for core in drawn["per_core"]]


def test_a_model_that_no_camera_feeds_is_mapped_without_activity(capsys, tmp_path):
    weight = np.zeros((2, 12), np.int16)
    network = Network([Layer("one", Dense(weight), Lif(1, 1, 1))], (3, 2, 2))
    save_model(Model(network, ["a", "b"]), tmp_path / "three.safetensors")
    result = run_json(capsys, tmp_path / "three.safetensors", "--chip", "loihi1")
    assert result["fits"] is True
    assert result["activity"] is None
    assert result["utilisation"]["max"] is None
    assert result["energy_estimate"] is None
    text = run(capsys, tmp_path / "three.safetensors", "--chip", "loihi1").out
    assert "none measured: give --recording" in text


def test_the_page_holds_plots_and_the_report(capsys, tmp_path, too_large):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    page = tmp_path / "chip.html"
    result = run_json(capsys, "gesture", "--chip", "loihi1", "--step-us", "10", *QUICK, "--html", page)
    assert result["page"] == str(page)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert "time multiplexing" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S))
    # places and times are not known for what does not fit, and for Speck
    run(capsys, too_large, "--chip", "loihi1", *QUICK, "--html", page, expect=1)
    assert page.read_text(encoding="utf-8").count("<svg") == 1
    run(capsys, "gesture", "--chip", "speck", *QUICK, "--html", page, expect=1)
    text = page.read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "not known: the times of this chip are not published" in text
    with pytest.raises(AssertionError, match="cannot be written"):
        run(capsys, "gesture", "--chip", "loihi1", *QUICK, "--html", tmp_path / "missing" / "chip.html")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("gesture",), "--chip"),
        (("gesture", "--chip", "akida"), "akida"),
        (("missing.safetensors", "--chip", "loihi1"), "No such file"),
        (("gesture", "--chip", "loihi1", "--recording", "missing.raw"), "missing.raw"),
        (("gesture", "--chip", "loihi1", "--recording", __file__), ""),
        (("gesture", "--chip", "loihi1", "--step-us", "nan"), "nan"),
        (("gesture", "--chip", "loihi1", "--step-us", "0"), "above 0"),
        (("gesture", "--chip", "loihi1", "--remap-above", "1.5"), "above 1"),
        (("gesture", "--chip", "loihi1", "--placement-seed", "-1"), "below 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, arguments, text):
    captured = run(capsys, *arguments, expect=2)
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert text in captured.err
