# SPDX-License-Identifier: Apache-2.0
"""Windows: the grid, the bins, every event in exactly one place, and time that jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import (
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    EventBatch,
    Geometry,
    GeometryError,
    Windower,
    WindowError,
    active_indices,
    time_slices,
)
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED, as_words

WIDTH, HEIGHT = 40, 30


def make(length_ns=100, bins=10, out=8, **options):
    geometry = options.pop("geometry", Geometry.fit(WIDTH, HEIGHT, out, out))
    return Windower(length_ns, bins, geometry, WIDTH, HEIGHT, **options)


def batch(*times, x=10, y=10, p=1, complete=True):
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"], events["x"], events["y"], events["p"] = times, x, y, p
    return EventBatch(events, complete=complete)


def balanced(windower):
    c = windower.counters
    return c.events_in == c.events_binned + c.events_filtered + c.events_dropped + sum(c.dropped_outside.values())


def summary(windows):
    return [(w.start_ns, w.events_in, w.active) for w in windows]


# --- an independent reference for streams whose time does not run back ------------------------------------------------
def reference_cells(events, start_ns, length_ns, bins, geometry, polarity):
    """Cells of one window by the formulas of the specification, one event at a time."""
    cells = set()
    for t, x, y, p in events.tolist():
        if polarity != "both" and p != (polarity == "on"):
            continue
        column, row = x - geometry.crop_x0, y - geometry.crop_y0
        if 0 <= column < geometry.crop_width and 0 <= row < geometry.crop_height and x < WIDTH and y < HEIGHT:
            number = (t - start_ns) * bins // length_ns
            y_out = row * geometry.height_out // geometry.crop_height
            x_out = column * geometry.width_out // geometry.crop_width
            cells.add(((number * 2 + p) * geometry.height_out + y_out) * geometry.width_out + x_out)
    return sorted(cells)


@st.composite
def event_streams(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    events = np.zeros(draw(st.integers(1, 400)), EVENT_DTYPE)
    start = draw(st.sampled_from([0, 7, -1000, 1_600_000_000_000_000_000]))
    events["t"] = start + np.cumsum(rng.integers(0, draw(st.sampled_from([1, 5, 60, 400])), len(events)))
    events["x"] = rng.integers(0, WIDTH + 3, len(events))
    events["y"] = rng.integers(0, HEIGHT + 3, len(events))
    events["p"] = rng.integers(0, 2, len(events))
    if draw(st.booleans()):  # out of order within windows of 100 is allowed
        order = np.lexsort((rng.random(len(events)), events["t"] // 100))
        events = events[order]
    return events


@given(
    events=event_streams(),
    bins=st.sampled_from([1, 3, 7, 10]),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    crop=st.sampled_from([None, (3, 2, 17, 23), (0, 0, 40, 30), (39, 29, 1, 1)]),
    size=st.sampled_from([(8, 8), (13, 5), (64, 64)]),
    polarity=st.sampled_from(["both", "on", "off"]),
)
def test_windows_are_what_the_specification_says(events, bins, cuts, crop, size, polarity):
    geometry = Geometry.fit(WIDTH, HEIGHT, *size, crop=crop)
    windower = make(bins=bins, geometry=geometry, polarity=polarity)
    windows = []
    for part in np.split(events, sorted(min(cut, len(events)) for cut in cuts)):
        windows += windower.push(EventBatch(part))
    windows += windower.flush()
    numbers = events["t"] // 100
    assert [w.start_ns for w in windows] == [100 * k for k in range(int(numbers[0]), int(numbers[-1]) + 1)]
    for window in windows:
        assert window.end_ns == window.start_ns + 100
        inside = events[numbers == window.start_ns // 100]
        indices = active_indices(window.bitmap, window.cells, window.active)
        assert indices.tolist() == reference_cells(inside, window.start_ns, 100, bins, geometry, polarity)
        outside = int(((inside["x"] >= WIDTH) | (inside["y"] >= HEIGHT)).sum())
        assert (window.events_in, window.events_dropped) == (len(inside), outside)
        assert window.events_in == window.events_binned + window.events_filtered + window.events_dropped
        assert window.complete
    assert sum(w.events_in for w in windows) == len(events) == windower.counters.events_in
    assert balanced(windower)


class Played:
    """A recording of given batches."""

    def __init__(self, *parts):
        self.parts = parts

    def batches(self, max_events=65536):
        yield from self.parts


@given(
    times=st.lists(st.integers(0, 3000), min_size=1, max_size=100),
    jump=st.sampled_from([0, 5000, 10**9, -2500]),
    slice_ns=st.sampled_from([1, 10, 100, 170, 1000]),
    in_order=st.booleans(),
    cut=st.integers(0, 100),
)
def test_slices_hold_every_event_once_and_change_no_window(times, jump, slice_ns, in_order, cut):
    times = sorted(times) if in_order else times
    times = times + [t + 3000 + jump for t in times]
    parts = [batch(*times[:cut]), batch(*times[cut:])]
    plain = make(max_gap_ns=2000)
    expected = [w for part in parts for w in plain.push(part)] + plain.flush()
    sliced = make(max_gap_ns=2000)
    got, seen = [], []
    for part, until_ns in time_slices(Played(*parts), slice_ns, max_gap_ns=2000):
        seen += part.events["t"].tolist()
        got += sliced.push(part)
        got += sliced.advance(until_ns)
    got += sliced.flush()
    assert seen == times
    assert balanced(plain)
    assert balanced(sliced)
    assert sliced.counters.events_in == len(times)
    if in_order:
        assert summary(got) == summary(expected)


def test_slices_pass_on_triggers_and_losses():
    triggers = np.array([(5, 1, 1)], TRIGGER_DTYPE)
    parts = [EventBatch(np.empty(0, EVENT_DTYPE), triggers), EventBatch(batch(10, 250).events, triggers, False, 3)]
    items = list(time_slices(Played(*parts), 100))
    assert sum(len(item.triggers) for item, _ in items) == 2
    assert [item.lost_packets for item, _ in items if not item.complete] == [3]
    assert [until for _, until in items] == [0, 100, 200, 200, 251]


# --- the grid ---------------------------------------------------------------------------------------------------------
def test_empty_windows_in_between_are_made_and_the_last_one_is_whole():
    windower = make()
    windows = windower.push(batch(250, 290, 610)) + windower.flush()
    assert summary(windows) == [(200, 2, 2), (300, 0, 0), (400, 0, 0), (500, 0, 0), (600, 1, 1)]
    assert windows[-1].end_ns == 700
    assert windower.counters.windows_empty == 3


def test_an_event_at_the_boundary_belongs_to_the_next_window():
    windower = make()
    assert summary(windower.push(batch(0, 99, 100)) + windower.flush()) == [(0, 2, 2), (100, 1, 1)]


def test_bins_split_a_length_that_they_do_not_divide():
    windower = make(length_ns=10, bins=3, out=1)
    (window,) = windower.push(batch(*range(10))) + windower.flush()
    assert [t * 3 // 10 for t in range(10)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (window.active, window.events_binned) == (3, 10)


def test_advance_closes_windows_without_events():
    windower = make()
    assert windower.advance(1000) == []  # nothing before the first event
    assert windower.push(batch(50)) == []
    assert summary(windower.advance(99)) == []
    assert summary(windower.advance(100)) == [(0, 1, 1)]
    assert summary(windower.advance(310)) == [(100, 0, 0), (200, 0, 0)]
    assert windower.flush() == []  # nothing was offered to the open one
    assert balanced(windower)


def test_after_flush_and_reset_a_stream_begins_anew():
    windower = make()
    windower.push(batch(50))
    windower.flush()
    assert summary(windower.push(batch(7)) + windower.flush()) == [(0, 1, 1)]
    windower.push(batch(900))
    windower.reset()
    assert windower.start_ns is None
    assert windower.counters.dropped_outside["reset"] == 1
    assert balanced(windower)
    assert summary(windower.push(batch(100)) + windower.flush()) == [(100, 1, 1)]


# --- time that jumps --------------------------------------------------------------------------------------------------
def test_late_events_are_dropped_and_counted():
    windower = make()
    windows = windower.push(batch(250, 199, 120, 260)) + windower.flush()
    assert summary(windows) == [(200, 2, 2)]
    assert windower.counters.dropped_outside["late"] == 2
    assert windower.counters.resets == 0
    assert balanced(windower)


def test_time_that_runs_back_beyond_the_tolerance_starts_anew():
    windower = make()
    windows = windower.push(batch(1000, 1050, 20, 130)) + windower.flush()
    assert summary(windows) == [(1000, 2, 2), (0, 1, 1), (100, 1, 1)]
    assert windower.counters.resets == 1
    dropping = make(late_policy="drop")
    windows = dropping.push(batch(1000, 1050, 20, 130, 1060)) + dropping.flush()
    assert summary(windows) == [(1000, 3, 3)]
    assert dropping.counters.dropped_outside["late"] == 2
    assert balanced(windower)
    assert balanced(dropping)


def test_a_huge_gap_makes_no_empty_windows():
    windower = make(max_gap_ns=1000)
    windows = windower.push(batch(0, 10**15, 10**15 + 1000)) + windower.flush()
    assert summary(windows)[:2] == [(0, 1, 1), (10**15, 1, 1)]
    assert len(windows) == 12
    assert windower.counters.gaps == 1
    assert windower.advance(10**16) == []
    assert balanced(windower)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60))
def test_no_time_breaks_it(times):
    windower = make(length_ns=1_000_000, max_gap_ns=20_000_000)
    windows = windower.push(batch(*times)) + windower.flush()
    assert len(windows) <= 25 * len(times)
    assert sum(w.events_in for w in windows) + sum(windower.counters.dropped_outside.values()) == len(times)
    assert balanced(windower)


def test_known_losses_mark_every_window_that_they_may_touch():
    windower = make()
    windows = windower.push(batch(50)) + windower.push(batch(350, 450, complete=False)) + windower.flush()
    assert [w.complete for w in windows] == [False, False, False, False, True]
    windower.push(batch(1000))
    windower.note_dropped(7)
    (window,) = windower.flush()
    assert not window.complete
    assert windower.counters.dropped_outside["overload"] == 7
    assert windower.counters.windows_incomplete == 5
    assert balanced(windower)


# --- filters and geometry ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("polarity", "channels"), [("both", {0, 1}), ("on", {1}), ("off", {0})])
def test_polarity(polarity, channels):
    windower = make(polarity=polarity, bins=1)
    windower.push(batch(0, p=0))
    windower.push(batch(1, p=1))
    (window,) = windower.flush()
    plane = window.height * window.width
    assert {int(index) // plane for index in active_indices(window.bitmap, window.cells)} == channels
    assert window.events_filtered == 2 - len(channels)


def test_the_default_crop_is_the_largest_centred_square():
    assert Geometry.fit(640, 480, 128, 128) == Geometry(80, 0, 480, 480, 128, 128)
    assert Geometry.fit(346, 260, 32, 32) == Geometry(43, 0, 260, 260, 32, 32)


def test_a_tensor_that_is_too_large_is_refused_with_one_that_fits():
    with pytest.raises(GeometryError, match=r"1555200 bytes.*limit is 400000; scale down by 2 to 360x432") as refusal:
        make(bins=10, geometry=Geometry(0, 0, WIDTH, HEIGHT, 720, 864))
    assert "\n" not in str(refusal.value)


def test_impossible_settings_are_refused():
    for options in (
        {"bins": 0},
        {"length_ns": 0},
        {"length_ns": 5},
        {"polarity": "red"},
        {"late_policy": "hold"},
        {"max_gap_ns": -1},
        {"late_tolerance_ns": -1},
    ):
        with pytest.raises(WindowError):
            make(**options)
    with pytest.raises(GeometryError, match="41"):
        make(geometry=Geometry(1, 0, 40, 30, 8, 8))
    with pytest.raises(GeometryError, match="crop_x0 is -1"):
        Geometry(-1, 0, 1, 1, 1, 1)
    with pytest.raises(GeometryError, match="height_out is 0"):
        Geometry(0, 0, 1, 1, 1, 0)


def test_windows_are_read_only_and_outlive_the_next_push():
    windower = make()
    first = windower.push(batch(0, 150))[0]
    before = first.bitmap.copy()
    windower.push(batch(180, 260, x=20, y=20))
    assert (first.bitmap == before).all()
    with pytest.raises(ValueError, match="read-only"):
        first.bitmap[0] = 1


def test_marked_events_count_where_they_fell():
    events = batch(1, 2, 3, 160, 161, 162).events
    words = as_words(events)
    words[1, 1] |= MARK_FILTERED
    words[2, 1] |= MARK_DROPPED
    words[4, 1] |= MARK_FILTERED | MARK_DROPPED
    windower = make()
    windows = windower.push(EventBatch(events, marked=True)) + windower.flush()
    assert [(w.events_binned, w.events_filtered, w.events_dropped, w.events_in) for w in windows] == [
        (1, 1, 1, 3),
        (2, 0, 1, 3),
    ]
    assert balanced(windower)
    windower = make()  # the padding of events that are not marked means nothing
    assert [w.events_binned for w in windower.push(EventBatch(events)) + windower.flush()] == [3, 3]
