# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, on sizes that say nothing of speed, and print what they promise; no time is judged here."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest

from neuro_ros.cli import command
from neuro_ros.cli.benchmarks import _measure, engine, events, state
from neuro_ros.cli.verbs import bench

TINY = events.Sizes(
    decoded=3000, decoded_aedat4=500, windowed=(2000,), packets=(1 << 10, 1 << 20), rounds=1, sustained_mev_s=()
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(events, "SIZES", TINY)


def test_events_in_json(tiny, capsys):
    assert command.main(["bench", "events", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {"benchmarks", "machine", "versions", "missing", "left_out"}
    assert {"python", "numpy", "numba"} <= set(result["versions"])
    rows = {row["name"]: row for row in result["benchmarks"]}
    assert len(rows) == len(result["benchmarks"])
    for encoding in ("EVT3", "EVT2"):
        assert {f"decode {encoding}, 3 k {kind} events" for kind in ("clustered", "scattered")} <= set(rows)
    assert {"decode EVT3 from packets of 1 KB, clustered events", "window 2 k scattered events, 10x2x128x128"} <= set(
        rows
    )
    for row in rows.values():
        assert row["area"] == "events"
        assert row["unit"] in ("Mev/s", "ms")
        assert row["ours"] > 0
        assert all(value > 0 for value in row["peers"].values())
        if row["peers"]:
            ratios = [
                row["ours"] / value if row["unit"] == "Mev/s" else value / row["ours"]
                for value in row["peers"].values()
            ]
            assert row["times_best_peer"] == pytest.approx(min(ratios))
        else:
            assert row["times_best_peer"] is None


def test_events_as_a_table(tiny, capsys):
    assert command.main(["bench", "events"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("events ")
    assert sum(line.startswith(("  decode", "  window")) for line in lines) == 8 + _has_dv()
    assert all(len(line) <= 100 for line in lines)


def _has_dv():
    return _measure.Missing().try_import("dv_processing") is not None


def test_a_row_a_peer_the_best_one_first():
    rows = [
        _measure.Benchmark("decode", "Mev/s", 200.0, {"slow": 20.0, "quick": 100.0}, True),
        _measure.Benchmark("window", "ms", 1234.5, {"quicker": 0.4115}),
    ]
    assert [" ".join(line.split()) for line in bench._table("area", rows).splitlines()] == [
        "area figure ours is better by",
        "decode 200 Mev/s",
        "quick 100 Mev/s 2.00 x",
        "slow 20.0 Mev/s 10.0 x",
        "window 1234 ms",
        "quicker 0.411 ms 0.000 x",
    ]


def test_a_reader_that_finds_other_events_is_not_compared():
    missing = _measure.Missing()
    readers = {"ours": lambda: 7, "peer": lambda: 7, "other": lambda: 8}
    row = events._reading("decode", 7, readers, missing, 1)
    assert list(row.peers) == ["peer"]
    assert missing.left_out == ["other (decode: 8 of 7 events)"]
    with pytest.raises(RuntimeError, match="6 of 7"):
        events._reading("decode", 7, {"ours": lambda: 6}, missing, 1)


def test_a_missing_peer_is_named_once():
    missing = _measure.Missing()
    assert missing.try_import("no_such_peer.inside") is None
    assert missing.try_import("no_such_peer.other") is None
    assert missing.names == ["no_such_peer"]


def test_engine_in_json(monkeypatch, capsys):
    tiny = engine.Sizes((0.05,), (0.05, 0.2), rounds=1, lava_rounds=0, densities=3, scaling_rounds=1, starts=1)
    monkeypatch.setattr(engine, "SIZES", tiny)
    assert command.main(["bench", "engine", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in result["benchmarks"]}
    assert len(rows) == len(result["benchmarks"])
    assert all(math.isfinite(row["ours"]) for row in rows.values())
    hand = [row for name, row in rows.items() if name.endswith("torch by hand")]
    assert len(hand) == (2 if importlib.util.find_spec("torch") else 0)
    for row in hand:
        assert len(row["peers"]) == 3
        assert row["times_best_peer"] == pytest.approx(min(row["peers"].values()) / row["ours"])
    for name in ("event-driven: correlation", "constant time: correlation", "start: import", "scaling, fan-out 1024"):
        assert sum(row.startswith(name) for row in rows) == 1


def test_state_in_json(monkeypatch, capsys):
    monkeypatch.setattr(state, "SIZES", state.Sizes(rounds=3, windows=6, period_s=0.0))
    assert command.main(["bench", "state", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["benchmarks"]}
    assert len(rows) == 12
    assert all(row["ours"] > 0 for name, row in rows.items() if not name.startswith("windows lost"))
    assert rows["windows lost beside 6 saves"]["ours"] == 0
    assert "pickle, not durable" in rows["durable write with digest and the state before it"]["peers"]
