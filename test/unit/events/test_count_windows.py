# SPDX-License-Identifier: Apache-2.0
"""Windows by count, and by count or time: against a plain model and against the windower by time, whatever the cuts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cli import command
from neuro_ros.events import EVENT_DTYPE, EventBatch, Geometry, GeometryError, Windower, WindowError, active_indices
from neuro_ros.events.count_windows import MAX_COUNT, CountWindower
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED, as_words

WIDTH, HEIGHT = 40, 30
BAG = Path(__file__).resolve().parents[2] / "data" / "test_events_1"


def make(count, bins=10, out=8, **options):
    geometry = options.pop("geometry", Geometry.fit(WIDTH, HEIGHT, out, out))
    return CountWindower(count, bins, geometry, WIDTH, HEIGHT, **options)


def batch(*times, x=10, y=10, p=1, complete=True):
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"], events["x"], events["y"], events["p"] = times, x, y, p
    return EventBatch(events, complete=complete)


def balanced(windower):
    c = windower.counters
    return c.events_in == c.events_binned + c.events_filtered + c.events_dropped + sum(c.dropped_outside.values())


def spans(windows):
    return [(w.start_ns, w.end_ns, w.events_in) for w in windows]


def everything(window):
    return (
        *(getattr(window, name) for name in ("start_ns", "end_ns", "active", "events_in", "events_binned",
                                             "events_filtered", "events_dropped", "complete")),
        window.bitmap.tobytes(),
    )  # fmt: skip


@st.composite
def streams(draw):
    """Events in and around a small sensor, of which some are marked."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    events = np.zeros(draw(st.integers(1, 300)), EVENT_DTYPE)
    steps = rng.integers(0, draw(st.sampled_from([1, 2, 5, 60, 400])), len(events))
    if draw(st.booleans()):
        steps *= rng.integers(0, 3, len(events)) == 0  # bursts of one time
    if draw(st.booleans()):  # out of order, jumps and gaps
        steps[rng.random(len(events)) < 0.1] *= -1
        steps[rng.random(len(events)) < 0.03] *= draw(st.sampled_from([50, -50, 10_000]))
    events["t"] = draw(st.sampled_from([0, 7, -1000, 1_600_000_000_000_000_000])) + np.cumsum(steps)
    events["x"] = rng.integers(0, WIDTH + 2, len(events))
    events["y"] = rng.integers(0, HEIGHT + 2, len(events))
    events["p"] = rng.integers(0, 2, len(events))
    words = as_words(events)
    words[rng.random(len(events)) < 0.2, 1] |= MARK_FILTERED
    words[rng.random(len(events)) < 0.1, 1] |= MARK_DROPPED
    return events


def push_all(windower, events, cuts=()):
    windows = []
    for part in np.split(events, sorted(min(cut, len(events)) for cut in cuts)):
        windows += windower.push(EventBatch(part, marked=True))
        assert balanced(windower)
    return windows + windower.flush()


# --- a plain model: where each event goes, one at a time --------------------------------------------------------------
class Model:
    """Follows the module's text with lists; `length` None = by count alone."""

    def __init__(self, count, bins, geometry, length, max_gap, tolerance):
        self.count, self.bins, self.geometry = count, bins, geometry
        self.length, self.max_gap, self.tolerance = length, max_gap, tolerance
        self.windows, self.late, self.gaps, self.resets = [], 0, 0, 0
        self.start, self.inside = None, []

    def open(self, t):
        self.start = t if self.length is None else t // self.length * self.length
        self.floor, self.known, self.inside = self.start, t, []

    def slot_end(self):
        return (self.start // self.length + 1) * self.length if self.length else 10**30

    def fate(self, x, y, word):
        if word & MARK_DROPPED or x >= WIDTH or y >= HEIGHT:
            return "dropped"
        g = self.geometry
        in_crop = g.crop_x0 <= x < g.crop_x0 + g.crop_width and g.crop_y0 <= y < g.crop_y0 + g.crop_height
        return "binned" if in_crop and not word & MARK_FILTERED else "filtered"

    def close(self, end):
        g, cells, fates = self.geometry, set(), [fate for *_, fate in self.inside]
        for t, x, y, p, fate in self.inside:
            if fate == "binned":
                number = (max(t, self.start) - self.start) * self.bins // (end - self.start)
                row = (y - g.crop_y0) * g.height_out // g.crop_height
                column = (x - g.crop_x0) * g.width_out // g.crop_width
                cells.add(((number * 2 + p) * g.height_out + row) * g.width_out + column)
        self.windows.append((self.start, end, *map(fates.count, ("binned", "filtered", "dropped")), sorted(cells)))
        self.start, self.inside = end, []

    def end(self):
        return max([self.start, *(t for t, *_ in self.inside)]) + 1

    def close_if_begun(self):
        if self.inside:
            self.close(self.slot_end() if self.length else self.end())

    def take(self, t, x, y, p, word):
        if self.start is None:
            self.open(t)
        if (t >= self.slot_end() or self.length is None) and t - self.known > self.max_gap:
            self.close_if_begun()
            self.gaps += 1
            self.open(t)
        while t >= self.slot_end():
            self.close(self.slot_end())
            self.floor = self.start
        if t < self.floor - self.tolerance:
            self.close_if_begun()
            self.resets += 1
            self.open(t)
        self.known = max(self.known, t + 1)
        if t < self.floor:
            self.late += 1
            return
        self.inside.append((t, x, y, p, self.fate(x, y, word)))
        if sum(fate == "binned" for *_, fate in self.inside) == self.count:
            self.floor = max(self.floor, *(t for t, *_ in self.inside))
            self.close(self.end())


@given(
    events=streams(),
    count=st.sampled_from([1, 2, 7, 50, 1000]),
    bins=st.sampled_from([1, 3, 10]),
    length_ns=st.sampled_from([None, 10, 100, 3000]),
    crop=st.sampled_from([None, (3, 2, 17, 23), (0, 0, 40, 30)]),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
def test_windows_are_what_the_model_says_whatever_the_cuts(events, count, bins, length_ns, crop, cuts):
    geometry = Geometry.fit(WIDTH, HEIGHT, 13, 5, crop=crop)
    windower = make(count, bins, geometry=geometry, length_ns=length_ns, late_tolerance_ns=200, max_gap_ns=2000)
    windows = push_all(windower, events, cuts)
    model = Model(count, bins, geometry, length_ns, 2000, 200)
    for event, word in zip(events.tolist(), as_words(events)[:, 1].tolist(), strict=True):
        model.take(*event, word)
    model.close_if_begun()
    assert [
        (w.start_ns, w.end_ns, w.events_binned, w.events_filtered, w.events_dropped,
         active_indices(w.bitmap, w.cells, w.active).tolist())
        for w in windows
    ] == model.windows  # fmt: skip
    c = windower.counters
    assert (c.dropped_outside["late"], c.gaps, c.resets) == (model.late, model.gaps, model.resets)
    assert sum(w.events_in for w in windows) + model.late == len(events) == c.events_in
    assert max(w.events_binned for w in windows) <= count if windows else not c.events_binned
    assert all(w.start_ns < w.end_ns for w in windows)
    if not model.gaps and not model.resets:
        assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(windows))


@given(events=streams(), cuts=st.lists(st.integers(0, 300), max_size=6), late=st.sampled_from(["reset", "drop"]))
def test_with_a_count_that_is_never_reached_slots_are_the_windows_by_time(events, cuts, late):
    options = {"late_policy": late, "max_gap_ns": 2000}
    geometry = Geometry.fit(WIDTH, HEIGHT, 8, 8)
    by_time = Windower(100, 10, geometry, WIDTH, HEIGHT, **options)
    either = make(1000, length_ns=100, **options)
    for part in np.split(events, sorted(min(cut, len(events)) for cut in cuts)):
        item = EventBatch(part, complete=len(part) % 3 != 0, marked=True)
        assert [everything(w) for w in either.push(item)] == [everything(w) for w in by_time.push(item)]
        assert either.start_ns == by_time.start_ns
        until_ns = int(part["t"][-1]) + len(part) if len(part) else 0
        assert [everything(w) for w in either.advance(until_ns)] == [everything(w) for w in by_time.advance(until_ns)]
    assert [everything(w) for w in either.flush()] == [everything(w) for w in by_time.flush()]
    assert either.counters.as_dict() == by_time.counters.as_dict()


@pytest.mark.parametrize("length_ns", [None, 1_000_000])
@given(times=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**7), max_size=60))
def test_no_time_breaks_it(length_ns, times):
    windower = make(3, length_ns=length_ns, max_gap_ns=20_000_000)
    windows = windower.push(batch(*times)) + windower.flush()
    assert len(windows) <= 25 * len(times)
    assert sum(w.events_in for w in windows) + sum(windower.counters.dropped_outside.values()) == len(times)
    assert balanced(windower)


# --- by hand ----------------------------------------------------------------------------------------------------------
def test_a_window_closes_with_its_last_event():
    windower = make(3)
    assert windower.push(batch(100, 150)) == []
    assert windower.start_ns == 100
    assert spans(windower.push(batch(160))) == [(100, 161, 3)]
    assert windower.start_ns == 161
    assert windower.push(batch(900)) == []
    assert spans(windower.flush()) == [(161, 901, 1)]
    assert windower.start_ns is None


def test_what_reaches_no_cell_does_not_count_towards_n():
    windower = make(2)
    windows = windower.push(batch(1, 2)) + windower.push(batch(3, 4, x=0)) + windower.push(batch(5, x=40))
    windows += windower.push(batch(6, 7))
    assert [(w.events_binned, w.events_filtered, w.events_dropped) for w in windows] == [(2, 0, 0), (2, 2, 1)]


def test_events_of_one_time_are_cut_where_the_count_says():
    windower = make(2, bins=2, out=1)
    windows = windower.push(batch(5, 5, 5, 5, 5, 9)) + windower.flush()
    assert spans(windows) == [(5, 6, 2), (6, 7, 2), (7, 10, 2)]
    assert windower.counters.dropped_outside["late"] == 0
    # Those that came after the cut lie in the first bin of the window that they belong to.
    assert active_indices(windows[-1].bitmap, windows[-1].cells).tolist() == [1, 3]


def test_slots_end_windows_and_busy_slots_have_several():
    windower = make(2, length_ns=100)
    windows = windower.push(batch(30, 40, 50, 310)) + windower.advance(400) + windower.flush()
    assert spans(windows) == [(0, 41, 2), (41, 100, 1), (100, 200, 0), (200, 300, 0), (300, 400, 1)]
    assert windower.counters.windows_empty == 2


def test_a_gap_ends_a_window_by_count():
    windower = make(5, max_gap_ns=1000)
    assert spans(windower.push(batch(0, 10, 2000))) == [(0, 11, 2)]
    assert windower.start_ns == 2000
    assert windower.advance(2900) == []
    assert spans(windower.advance(5000)) == [(2000, 2001, 1)]
    assert (windower.start_ns, windower.counters.gaps) == (5000, 2)
    assert windower.flush() == []
    assert balanced(windower)


def test_an_hour_ends_a_window_by_count():
    windower = make(5, max_gap_ns=10**13)
    hour = 3_600_000_000_000
    assert spans(windower.push(batch(7, hour + 8))) == [(7, hour + 7, 1)]
    assert spans(windower.flush()) == [(hour + 7, hour + 9, 1)]


def test_known_losses_mark_the_windows_that_they_may_touch():
    windower = make(2)
    windows = windower.push(batch(1)) + windower.push(batch(2, 3, 4, complete=False)) + windower.flush()
    assert [w.complete for w in windows] == [False, True]
    windower.push(batch(10))
    windower.note_dropped(7)
    (window,) = windower.flush()
    assert not window.complete
    assert windower.counters.dropped_outside["overload"] == 7
    assert balanced(windower)
    windower.push(batch(20))
    windower.reset()
    assert windower.counters.dropped_outside["reset"] == 1
    assert balanced(windower)


def test_impossible_settings_are_refused():
    for options in (
        {"count": 0},
        {"count": MAX_COUNT + 1},
        {"bins": 0},
        {"length_ns": 5},
        {"polarity": "red"},
        {"late_policy": "hold"},
        {"max_gap_ns": -1},
        {"late_tolerance_ns": -1},
    ):
        with pytest.raises(WindowError):
            make(options.pop("count", 5), **options)
    with pytest.raises(GeometryError, match="limit is 400000"):
        make(5, geometry=Geometry(0, 0, WIDTH, HEIGHT, 720, 864))
    with pytest.raises(ValueError, match="-1 events"):
        make(5).note_dropped(-1)


# --- on the command line ----------------------------------------------------------------------------------------------
def test_the_window_verb_counts(capsys):
    results = []
    for options in (["--count", "5000"], ["--count", "5000", "--length-ms", "50"], ["--length-ms", "50"],
                    ["--count", "4000000", "--length-ms", "50"]):  # fmt: skip
        assert command.main(["window", str(BAG), "--size", "64", *options, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    for result in results:
        assert result["events_in"] == 343474
        assert result["events_in"] == result["events_binned"] + result["events_filtered"] + result["events_dropped"]
    by_count, either, by_time, never = results
    assert by_count["windows"] == -(-by_count["events_binned"] // 5000)
    assert either["windows"] > max(by_count["windows"], by_time["windows"])
    assert never["sha256"] == by_time["sha256"]
