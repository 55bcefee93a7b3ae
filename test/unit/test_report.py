# SPDX-License-Identifier: Apache-2.0
"""The report of a run: figures, what does not add up, table and page."""

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from neuro_ros.bringup.bag import BagError, graph_typestore
from neuro_ros.bringup.collect import summarise
from neuro_ros.bringup.page import page_text
from neuro_ros.bringup.summary import Summary
from neuro_ros.bringup.table import as_dict, as_text, rows
from neuro_ros.cli.command import main
from neuro_ros.cores.fields import to_ros
from neuro_ros.cores.messages import (
    ROS_TYPES,
    CanaryReport,
    ClockModel,
    Gesture,
    Header,
    SnnTelemetry,
    SpikeTensor,
    Temperature,
    ThermalCompensation,
)

pytest.importorskip("matplotlib", reason="the page needs matplotlib")
WINDOW_NS = 50_000_000
START_NS = 1_700_000_000_000_000_000
LABELS = ("clap", "wave", "roll")


def window(number, *, epoch=1, events=100, dropped=0, filtered=10, complete=True, withheld=0):
    return SpikeTensor(
        header=Header(START_NS + number * WINDOW_NS, "cam"),
        sequence=number,
        epoch=epoch,
        windows_withheld=withheld,
        closed_at=START_NS + (number + 1) * WINDOW_NS - 1_000_000,
        sensor_start_ns=number * WINDOW_NS,
        sensor_end_ns=(number + 1) * WINDOW_NS,
        bins=10,
        events_in=events,
        events_binned=events - filtered - dropped,
        events_filtered=filtered,
        events_dropped=dropped,
        complete=complete,
    )


def gesture(number, index, *, epoch=1, latency_s=0.002, confidence=0.9):
    label = LABELS[index] if index >= 0 else ""
    return Gesture(Header(0, "cam"), number, epoch, "net-1", label, index, confidence, [1, 2, 3], latency_s, 0.001)


def truth(number, index, *, epoch=1):
    label = LABELS[index] if index >= 0 else ""
    return Gesture(Header(0, "cam"), number, epoch, "", label, index)


def write(path, messages):
    """Write messages of the graph, and (node: name, values) pairs as diagnostics."""
    store = graph_typestore()
    connections = {}
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, time_ns, message in messages:
            if topic == "/diagnostics":
                kind, ros = "diagnostic_msgs/msg/DiagnosticArray", diagnostics(store, message)
            else:
                kind = ROS_TYPES[type(message)]
                ros = to_ros(message, store.types.__getitem__, lambda v, code: np.array(list(v), np.dtype(code)))
                if isinstance(message, ThermalCompensation):
                    ros.clipped = np.zeros(0, bool)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time_ns, store.serialize_cdr(ros, kind))
    return path


def diagnostics(store, statuses):
    types = store.types
    header = types["std_msgs/msg/Header"](stamp=types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="")
    pair, status = types["diagnostic_msgs/msg/KeyValue"], types["diagnostic_msgs/msg/DiagnosticStatus"]
    return types["diagnostic_msgs/msg/DiagnosticArray"](
        header=header,
        status=[
            status(
                level=0,
                name=name,
                message="",
                hardware_id="",
                values=[pair(key=k, value=str(v)) for k, v in values.items()],
            )
            for name, values in statuses
        ],
    )


def books(read, **more):
    return [
        ("event_camera: source", {"epoch": 1, "state": "finished", "source": "simulator", **more}),
        ("event_camera: windows", {"events_read": read, "events_withheld": 0, "events_pending": 0}),
    ]


def run(count=40, **changes):
    """Return the messages of a run: the first half shows clap, the second wave; the last quarter is taken for roll."""
    messages = []
    for number in range(count):
        shown = 0 if number < count // 2 else 1
        read = shown if number < 3 * count // 4 + 1 else 2
        time_ns = START_NS + (number + 1) * WINDOW_NS
        messages.append(("/spikes", time_ns, changes.get("windows", {}).get(number) or window(number)))
        messages.append(("/truth", time_ns, truth(number, shown)))
        if number not in changes.get("silent", ()):
            messages.append(("/gesture", time_ns + 2_000_000, gesture(number, -1 if number == 0 else read)))
    end_ns = START_NS + (count + 2) * WINDOW_NS
    clock = ClockModel(clock_id="cam", skew_ppb=1500.0, sigma_ns=25_000.0, samples=30, state=2)
    messages += [
        ("/snn/telemetry", end_ns, SnnTelemetry(model_id="net-1", backend="fixed", layer=["a"], firing_rate=[0.25])),
        ("/clock/model", end_ns, clock),
        ("/temperature", end_ns, Temperature(temperature=41.5)),
        ("/temperature", end_ns + 1, Temperature(temperature=43.0)),
        ("/thermal/compensation", end_ns, ThermalCompensation(source="zone0", state=0)),
        ("/canary/report", end_ns, CanaryReport(alarms=list(changes.get("alarms", ())))),
        ("/diagnostics", end_ns, changes.get("books") or books(100 * count)),
    ]
    return messages


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "bag", run())


def test_figures_of_a_good_run(good):
    summary = summarise(good)
    assert summary.problems() == []
    assert (len(summary.windows), summary.gestures, summary.epochs) == (40, 40, 1)
    # 40 windows: number 0 is not decided, 31 to 39 are taken for roll
    assert summary.window_accuracy == pytest.approx(30 / 40)
    assert [(segment.truth, segment.decided) for segment in summary.segments] == [(0, 0), (1, 1)]
    assert summary.segment_accuracy == 1.0
    assert summary.total("events_in") == 4000
    # number 0 is not decided; of the other 39, 9 of the second half are wrong
    assert summary.decided_accuracy == pytest.approx(30 / 39)
    assert np.median(summary.latency_s()) == pytest.approx(0.002)
    # closed 1 ms before the window reached the bag, 2 ms before its gesture did
    assert summary.received_s() == pytest.approx(np.full(40, 0.003))
    assert summary.temperature_celsius == (41.5, 43.0)
    assert summary.firing_rates == {"a": [0.25]}
    assert summary.time_is_sensor
    assert summary.windows[-1].time_s == pytest.approx(40 * 0.05)


def test_table_reads_well(good):
    text = as_text(summarise(good))
    lines = {line[2:].split("  ")[0].strip(): line for line in text.splitlines()}
    assert "75.0 % of 40 windows" in lines["accuracy"]
    assert "2 of 2 gestures" in lines["accuracy"]
    assert "p50 2.00 ms, p99 2.00 ms" in lines["latency"]
    assert "p50 3.00 ms, p99 3.00 ms" in lines["received"]
    assert "76.9 % of the windows that decided" in lines["accuracy"]
    assert "LOCKED 100 %, sigma 25 us" in lines["clock"]
    assert "skew +1.50 ppm" in lines["clock"]
    assert "NOMINAL, 41.5 to 43.0 degC" in lines["thermal"]
    assert "exact" in lines["accounting"]
    assert not any(line.startswith("!") for line in text.splitlines())
    assert all(line == line.rstrip() and len(line) < 160 for line in text.splitlines())


def problem_of(tmp_path, **changes):
    summary = summarise(write(tmp_path / "bag", run(**changes)))
    return summary, " ".join(summary.problems())


def test_events_that_vanish_are_found(tmp_path):
    summary, problems = problem_of(tmp_path, books=books(4007))
    assert "7 unexplained" in problems
    assert any(row.name == "accounting" and not row.good for row in rows(summary))


def test_events_dropped_outside_windows_are_explained(tmp_path):
    statuses = books(4007)
    statuses[1][1]["events_dropped_late"] = 7
    summary, problems = problem_of(tmp_path, books=statuses)
    assert problems == ""
    assert summary.events_outside == 7


def test_a_window_whose_events_do_not_add_up(tmp_path):
    broken = window(5)
    broken.events_binned += 1
    _, problems = problem_of(tmp_path, windows={5: broken})
    assert "1 windows whose events do not add up" in problems


def test_losses_show_but_are_accounted_for(tmp_path):
    lossy = {3: window(3, dropped=20, complete=False), 4: window(4, withheld=2)}
    summary, problems = problem_of(tmp_path, windows=lossy, alarms=["latency"])
    assert problems == ""
    figures = as_dict(summary)
    assert (figures["events_dropped"], figures["windows_incomplete"], figures["windows_withheld"]) == (20, 1, 2)
    bad = {row.name for row in rows(summary) if not row.good}
    assert {"events", "losses", "nodes"} <= bad


def test_windows_without_a_gesture_need_an_explanation(tmp_path):
    _, problems = problem_of(tmp_path, silent=(7, 8))
    assert "2 windows without a gesture, of which the network counted 0" in problems


def test_windows_under_way_when_a_run_is_stopped_are_no_loss(tmp_path):
    statuses = books(4000)
    statuses[0][1]["state"] = "running"
    _, problems = problem_of(tmp_path, silent=(38, 39), books=statuses)
    assert problems == ""


def test_missing_windows_are_found(tmp_path):
    messages = [item for item in run() if getattr(item[2], "sequence", None) not in (10, 11, 20)]
    summary = summarise(write(tmp_path / "bag", messages))
    assert (summary.windows_missing, summary.sequence_gaps) == (3, 2)
    assert any("3 windows are missing" in problem for problem in summary.problems())


def test_epochs_and_counters_that_start_anew(tmp_path):
    messages = [
        ("/spikes", START_NS, window(0)),
        ("/gesture", START_NS + 1, gesture(0, 1)),
        ("/snn/telemetry", START_NS + 2, SnnTelemetry(windows_in=5, windows_lost=2)),
        ("/snn/telemetry", START_NS + 3, SnnTelemetry(windows_in=1, windows_lost=1)),
        ("/spikes", START_NS + 4, window(0, epoch=2)),
        ("/gesture", START_NS + 5, gesture(0, 1, epoch=2)),
    ]
    summary = summarise(write(tmp_path / "bag", messages))
    assert summary.epochs == 2
    assert not summary.time_is_sensor
    assert summary.telemetry_total("windows_lost") == 3
    assert math.isnan(summary.window_accuracy)


def test_page_is_one_sound_file(good):
    page = page_text(summarise(good))
    assert page.count("<svg") == 3
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert not re.search(r"""@import|<script|<link""", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert "sensor time [s]" in page
    assert "latency [ms]" in page


def test_names_are_escaped(tmp_path):
    page = page_text(summarise(write(tmp_path / "<b>&bag", run(count=4))))
    assert "<b>&bag" not in page
    assert "&lt;b&gt;&amp;bag" in page


def test_sparse_bags_make_a_page_too(tmp_path):
    for number, messages in enumerate(
        ([("/gesture", 1, gesture(0, 1, latency_s=math.nan))], [("/spikes", 1, window(0, events=20))])
    ):
        summary = summarise(write(tmp_path / f"bag{number}", messages))
        assert "<svg" in page_text(summary)
        assert as_text(summary)


def test_command_line(good, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(good), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"] == str(out)
    assert printed["problems"] == []
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert main(["report", str(good)]) == 0
    assert (tmp_path / "report.html").is_file()


def test_command_line_tells_bad_from_unreadable(tmp_path, capsys):
    bad = write(tmp_path / "bad", run(silent=(1,)))
    assert main(["report", str(bad)]) == 1
    capsys.readouterr()
    empty = write(tmp_path / "empty", [("/temperature", 1, Temperature(temperature=1.0))])
    for arguments in (
        [str(empty)],
        [str(tmp_path / "missing")],
        [str(bad), "--out", str(tmp_path / "no" / "page.html")],
    ):
        assert main(["report", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1


def test_foreign_bag_names_what_it_holds(tmp_path):
    path = write(tmp_path / "bag", [("/temperature", 1, Temperature(temperature=1.0))])
    with pytest.raises(BagError, match=r"neither spike tensors nor gestures.*it holds /temperature"):
        summarise(path)


def test_the_thermal_line_tells_the_way_and_what_remains():
    last = ThermalCompensation(
        source="simulated/flight",
        state=ThermalCompensation.COMPENSATING,
        silicon_profile="linear",
        compensation_id=57,
        compensation_id_applied=56,
        layer=["a", "b"],
        remaining_error=[0.001, 0.004],
    )
    summary = Summary("bag", temperature_celsius=(10.0, 50.0), thermal=last, thermal_states=[0, 1, 2, 1])
    (line,) = [row for row in rows(summary) if row.name == "thermal"]
    assert line.value == "COMPENSATING, 10.0 to 50.0 degC"
    assert line.note == (
        "simulated/flight, linear silicon, 56 of 57 updates applied, 0.4 % error left, "
        "NOMINAL > COMPENSATING > STALE > COMPENSATING"
    )
    assert line.good
    summary.thermal_states = [0, 1] * 10
    (line,) = [row for row in rows(summary) if row.name == "thermal"]
    assert line.note.count(">") == 6
    assert "(14 more)" in line.note
    assert as_dict(summary)["thermal_states"][:2] == ["NOMINAL", "COMPENSATING"]
