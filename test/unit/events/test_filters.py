# SPDX-License-Identifier: Apache-2.0
"""Filters: each against a plain model of its definition, whatever the cuts; marks, counters, jumps of time."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, EventBatch, Geometry, Windower
from neuro_ros.events.filters import (
    BackgroundActivity,
    Crop,
    Downsample,
    FilterChain,
    HotPixels,
    Polarity,
    RateCap,
    Refractory,
    kept,
)
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED, as_words

WIDTH, HEIGHT = 9, 7
MARKS = MARK_FILTERED | MARK_DROPPED


def events_of(rows):
    events = np.zeros(len(rows), EVENT_DTYPE)
    for name, column in zip(("t", "x", "y", "p"), zip(*rows, strict=True) if rows else [()] * 4, strict=True):
        events[name] = column
    return events


def run(filters, events, width=WIDTH, height=HEIGHT, cuts=()):
    """Filter a stream in pieces; return the words, marks included, and the chain."""
    chain = FilterChain(filters, width, height)
    parts = np.split(events, sorted(min(cut, len(events)) for cut in cuts))
    return np.concatenate([as_words(chain.apply(EventBatch(part)).events).copy() for part in parts]), chain


def marks(words):
    return ((words[:, 1] & MARKS) != 0).tolist()


# --- plain models: True = removed -------------------------------------------------------------------------------------
def model_crop(f, rows):
    return [not (f.x0 <= x < f.x0 + f.width and f.y0 <= y < f.y0 + f.height) for _, x, y, _ in rows]


def model_polarity(f, rows):
    return [f.keep == "off" if p else f.keep == "on" for *_, p in rows]


def model_refractory(f, rows):
    last, out = {}, []
    for t, x, y, p in rows:
        key = (x, y, p if f.per_polarity else 0)
        held = key in last and abs(t - last[key]) < round(f.period_us * 1000)
        if not held:
            last[key] = t
        out.append(held)
    return out


def model_background_activity(f, rows):
    last, out = {}, []
    for t, x, y, _ in rows:
        around = [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        support = sum(key in last and abs(t - last[key]) < round(f.within_us * 1000) for key in around)
        out.append(support < f.neighbours)
        last[x, y] = t
    return out


def model_integrate(f, rows):
    sums, out = defaultdict(int), []
    for _, x, y, p in rows:
        key = (x // f.factor, y // f.factor)
        sums[key] += 1 if p else -1
        keep = abs(sums[key]) >= f.factor**2
        if keep:
            sums[key] = 0
        out.append(not keep)
    return out if f.policy == "integrate" else [False] * len(rows)


def model_rate_cap(f, rows):
    """Follow the two policies that draw nothing."""
    slice_ns, out = f.slice_us * 1000, []
    number = None
    kept_now = offered = total = 0
    expected = f.capacity
    for t, *_ in rows:
        k = t // slice_ns
        if number is None or not number - 2 <= k <= number:
            follows = number is not None and k == number + 1
            expected = max(offered, f.capacity) if follows and f.policy == "decimate" else f.capacity
            number, kept_now, offered, total = k, 0, 0, 0
        offered += 1
        total += f.capacity
        chosen = total >= expected
        total -= expected * chosen
        keep = chosen and kept_now < f.capacity
        kept_now += keep
        out.append(not keep)
    return out


def model_hot_pixels(f, rows):
    learn, relearn, floor = round(f.learn_s * 1e9), round(f.relearn_s * 1e9), int(np.ceil(f.rate_hz * f.learn_s))
    mask, out = set(f.pixels), []
    begin, learning, done, counts = None, True, False, Counter()
    for t, x, y, _ in rows:
        if not done:
            if begin is None:
                begin = t
            elif learning and t >= begin + learn:
                if sum(counts.values()) >= floor:
                    mask = set(f.pixels)
                    for (i, j), count in counts.items():
                        around = sorted(counts[i + a, j + b] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b)
                        if count >= floor and count > f.ratio * around[-3]:
                            mask.add((i, j))
                counts = Counter()
                learning, done = False, relearn == 0
                if relearn and t >= begin + relearn:
                    begin, learning = t, True
            elif t < begin - learn or (not learning and t >= begin + relearn):
                begin, learning, counts = t, True, Counter()
            if learning and not done:
                counts[x, y] += 1
        out.append((x, y) in mask)
    return out


CASES = [
    (Crop(2, 1, 4, 5), model_crop),
    (Polarity("both"), model_polarity),
    (Polarity("on"), model_polarity),
    (Polarity("off"), model_polarity),
    (Downsample(2), model_integrate),
    (Downsample(2, "integrate"), model_integrate),
    (Refractory(0.05), model_refractory),
    (Refractory(0.3, per_polarity=True), model_refractory),
    (BackgroundActivity(0.05), model_background_activity),
    (BackgroundActivity(0.4, neighbours=2), model_background_activity),
    (RateCap(5e6, "drop_newest", slice_us=1), model_rate_cap),
    (RateCap(7e6, "decimate", slice_us=1), model_rate_cap),
    (HotPixels(learn_s=0.001, rate_hz=3000, ratio=1.5, relearn_s=0), model_hot_pixels),
    (HotPixels(learn_s=0.001, rate_hz=2000, ratio=1.0, relearn_s=0.002, pixels=((3, 3),)), model_hot_pixels),
]


@st.composite
def streams(draw):
    """Events in and around a small sensor, dense enough that every filter has something to say."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 300))
    steps = rng.integers(0, draw(st.sampled_from([2, 40, 300, 40_000])), count)
    if draw(st.booleans()):  # out of order, jumps back and gaps
        steps[rng.random(count) < 0.1] *= -1
        steps[rng.random(count) < 0.03] *= draw(st.sampled_from([50, -50, 10_000, -10_000]))
    spread = draw(st.sampled_from([0.5, 2.0, 10.0]))
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = draw(st.sampled_from([0, -777, 1_600_000_000_000_000_000])) + np.cumsum(steps)
    events["x"] = np.clip(rng.normal(4, spread, count), 0, WIDTH + 1)
    events["y"] = np.clip(rng.normal(3, spread, count), 0, HEIGHT + 1)
    events["p"] = rng.integers(0, 2, count)
    return events


@pytest.mark.parametrize(
    ("item", "model"), CASES, ids=[f"{item.name}-{place}" for place, (item, _) in enumerate(CASES)]
)
@settings(max_examples=60)
@given(events=streams(), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_filter_does_what_its_model_does_whatever_the_cuts(item, model, events, cuts):
    words, chain = run([item], events, cuts=cuts)
    inside = (events["x"] < WIDTH) & (events["y"] < HEIGHT)
    expected = np.zeros(len(events), bool)
    expected[inside] = model(item, events[inside].tolist())
    assert marks(words) == expected.tolist()
    counters = chain.counters()[item.name]
    assert counters["seen"] == len(events)
    assert counters.get("filtered", counters.get("dropped")) == expected.sum()
    wanted = MARK_DROPPED if item.name == "rate_cap" else MARK_FILTERED
    assert set((words[expected, 1] & MARKS).tolist()) <= {wanted}
    # Nothing else changes but the coordinates that down-sampling divides.
    factor = item.factor if isinstance(item, Downsample) else 1
    assert (words[:, 0] == events["t"]).all()
    plain = words[:, 1] & ~MARKS
    assert (plain >> 32 == events["p"]).all()
    assert (plain & 0xFFFF == np.where(inside, events["x"] // factor, events["x"])).all()
    assert ((plain >> 16) & 0xFFFF == np.where(inside, events["y"] // factor, events["y"])).all()


@settings(max_examples=60)
@given(events=streams(), cuts=st.lists(st.integers(0, 300), max_size=4), seed=st.integers(0, 2**63 - 1))
def test_random_thinning_is_repeatable_and_never_above_the_cap(events, cuts, seed):
    item = RateCap(4e6, "random", slice_us=1, seed=seed)
    whole, _ = run([item], events)
    cut, _ = run([item], events, cuts=cuts)
    assert (whole == cut).all()
    if (np.diff(events["t"]) >= 0).all():
        through = [mark for mark, x, y in zip(marks(whole), events["x"], events["y"], strict=True)
                   if x < WIDTH and y < HEIGHT]  # fmt: skip
        slices = events["t"][(events["x"] < WIDTH) & (events["y"] < HEIGHT)] // 1000
        assert max(Counter(slices[~np.array(through, bool)].tolist()).values(), default=0) <= 4


ALL = [
    HotPixels(learn_s=0.001, rate_hz=2000, ratio=1.0, relearn_s=0.002),
    Refractory(0.05),
    Downsample(2),
    BackgroundActivity(0.5),
    Crop(1, 1, 3, 2, relative=True),
    Polarity("on"),
    RateCap(5e6, slice_us=1),
    RateCap(3e6, "random", slice_us=1),
]


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5000),
            st.integers(0, 12) | st.integers(0, 65535),
            st.integers(0, 10) | st.integers(0, 65535),
            st.integers(0, 1),
        ),
        max_size=80,
    ),
    cuts=st.lists(st.integers(0, 80), max_size=4),
)
def test_no_event_breaks_a_chain_and_none_is_lost(rows, cuts):
    events = events_of(rows)
    words, chain = run(ALL, events, cuts=cuts)
    assert (words == run(ALL, events)[0]).all()
    counters = chain.counters()
    assert list(counters) == [*(item.name for item in ALL[:-1]), "rate_cap_2"]
    left = len(events)
    for item in counters.values():
        assert item["seen"] == left
        left -= item.get("filtered", 0) + item.get("dropped", 0)
    assert left == len(events) - sum(marks(words))
    # The windower finds each of them in the place that the marks say.
    windower = Windower(10_000, 10, Geometry.fit(chain.width, chain.height, 3, 2), chain.width, chain.height)
    windower.push(EventBatch(words.reshape(-1).view(EVENT_DTYPE), marked=True))
    windower.flush()
    c = windower.counters
    assert c.events_in == len(events) == c.events_binned + c.events_filtered + c.events_lost


def test_what_leaves_a_smaller_sensor_marked_is_filtered_not_lost():
    events = events_of([(1, 8, 6, 1), (2, 0, 0, 1), (3, 2, 2, 1), (4, 9, 0, 1)])
    words, chain = run([Crop(2, 2, 2, 2), Downsample(2), Crop(1, 1, 1, 1, relative=True)], events)
    assert (chain.width, chain.height) == (1, 1)
    windower = Windower(100, 1, Geometry(0, 0, 1, 1, 1, 1), 1, 1)
    windower.push(EventBatch(words.reshape(-1).view(EVENT_DTYPE), marked=True))
    (window,) = windower.flush()
    assert (window.events_binned, window.events_filtered, window.events_dropped) == (1, 2, 1)


def test_a_partial_last_square_is_a_pixel():
    chain = FilterChain([Downsample(2)], WIDTH, HEIGHT)
    assert (chain.width, chain.height) == (5, 4)
    out = chain.apply(EventBatch(events_of([(0, 8, 6, 1), (0, 9, 6, 1)]))).events
    assert out[["x", "y"]].tolist() == [(4, 3), (9, 6)]  # the second is outside and stays so


# --- the batch --------------------------------------------------------------------------------------------------------
def test_a_chain_keeps_what_the_batch_says_and_does_not_touch_it():
    events = events_of([(1, 1, 1, 1), (2, 1, 1, 0)])
    as_words(events)[:, 1] |= -1 << 40  # garbage in the padding, marks among it
    before = events.tobytes()
    batch = EventBatch(events, np.array([(5, 1, 1)], TRIGGER_DTYPE), complete=False, lost_packets=3)
    chain = FilterChain([Polarity("on")], WIDTH, HEIGHT)
    out = chain.apply(batch)
    assert events.tobytes() == before
    assert (out.complete, out.lost_packets, out.marked, len(out.triggers)) == (False, 3, True, 1)
    assert (as_words(out.events)[:, 1] >> 33 << 33).tolist() == [0, MARK_FILTERED]
    left = kept(out)
    assert left.events.tolist() == [(1, 1, 1, 1)]
    assert (left.complete, left.lost_packets, left.marked, len(left.triggers)) == (False, 3, False, 1)


def test_marks_that_came_with_a_batch_stay_and_are_not_looked_at():
    events = events_of([(1, 4, 4, 1), (2, 4, 4, 1), (3, 4, 4, 1)])
    as_words(events)[:2, 1] |= [MARK_DROPPED, MARK_FILTERED]
    chain = FilterChain([Refractory(1), BackgroundActivity()], WIDTH, HEIGHT)
    out = chain.apply(EventBatch(events, marked=True))
    assert (as_words(out.events)[:, 1] & MARKS).tolist() == [MARK_DROPPED, MARK_FILTERED, MARK_FILTERED]
    assert chain.counters() == {
        "refractory": {"seen": 1, "filtered": 0},
        "background_activity": {"seen": 1, "filtered": 1},
    }


def test_a_chain_without_filters_passes_batches_on():
    batch = EventBatch(events_of([(1, 1, 1, 1)]))
    assert FilterChain([], WIDTH, HEIGHT).apply(batch) is batch
    assert kept(batch) is batch


def test_a_long_batch_is_filtered_like_short_ones():
    rng = np.random.default_rng(3)
    events = np.zeros(50_000, EVENT_DTYPE)
    events["t"] = np.cumsum(rng.integers(0, 100, len(events)))
    events["x"], events["y"] = rng.integers(0, WIDTH, len(events)), rng.integers(0, HEIGHT, len(events))
    events["p"] = rng.integers(0, 2, len(events))
    whole, _ = run(ALL, events)
    parts, _ = run(ALL, events, cuts=range(0, 50_000, 997))
    assert (whole == parts).all()
    assert 0 < sum(marks(whole)) < len(events)


def test_reset_forgets_time_and_keeps_the_counters():
    rows = [(1000, 4, 4, 1), (1000, 4, 5, 1)]
    chain = FilterChain([Refractory(100), BackgroundActivity(), RateCap(2e6, slice_us=1)], WIDTH, HEIGHT)
    first = as_words(chain.apply(EventBatch(events_of(rows))).events)[:, 1].tolist()
    assert marks(as_words(chain.apply(EventBatch(events_of(rows))).events)) == [True, True]
    chain.reset()
    assert as_words(chain.apply(EventBatch(events_of(rows))).events)[:, 1].tolist() == first
    assert chain.counters()["refractory"] == {"seen": 6, "filtered": 2}


# --- hot pixels -------------------------------------------------------------------------------------------------------
def scene(seconds, seed=1):
    """Make a busy blob that moves, noise, and three pixels at fault of which two are neighbours; 64x48 px."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(round(6000 * seconds)):
        t = rng.random() * seconds
        rows.append((t, 30 + 10 * np.sin(5 * t) + rng.normal(0, 2), 24 + rng.normal(0, 2)))
    for x, y in ((5, 5), (6, 5), (63, 47)):
        rows += [(t, x, y) for t in np.arange(0, seconds, 0.002)]
    rows += [(rng.random() * seconds, rng.random() * 64, rng.random() * 48) for _ in range(500)]
    rows.sort()
    return events_of([(int(t * 1e9), int(x), int(y), 1) for t, x, y in rows])


def test_pixels_at_fault_are_masked_and_a_busy_scene_is_not():
    events = scene(3.0)
    words, chain = run([HotPixels()], events, 64, 48)
    hot = np.isin(events["x"].astype(int) * 100 + events["y"], [505, 605, 6347])
    learned = events["t"] >= events["t"][0] + 1_000_000_000
    assert marks(words) == (hot & learned).tolist()
    assert chain.counters()["hot_pixels"] | {"seen": 0, "filtered": 0} == {
        "seen": 0, "filtered": 0, "masked": 3, "learned": 1}  # fmt: skip


def test_the_mask_is_learned_again():
    events = scene(1.5)
    later = events_of([(t + 3_000_000_000, 63 - x, y, p) for t, x, y, p in events.tolist()])
    item = HotPixels(relearn_s=2, pixels=((0, 0),))
    words, chain = run([item], np.concatenate([events, later, later]), 64, 48)
    assert chain.counters()["hot_pixels"]["learned"] == 2
    assert chain.counters()["hot_pixels"]["masked"] == 4
    second = later["x"].astype(int) * 100 + later["y"]
    assert marks(words[-len(later) :])[-1] == bool(np.isin(second[-1], [5805, 5705, 47, 0]))
    chain.reset()
    assert chain.counters()["hot_pixels"]["masked"] == 4


# --- rates ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", ["decimate", "random", "drop_newest"])
def test_a_steady_rate_is_cut_to_the_cap(policy):
    events = np.zeros(100_000, EVENT_DTYPE)
    events["t"] = np.arange(len(events)) * 1000  # 1 Mev/s
    words, _ = run([RateCap(250_000, policy)], events)
    through = ~np.array(marks(words))
    slices = np.add.reduceat(through, range(0, len(events), 1000))
    assert slices.max() == 250
    if policy == "random":  # the share is drawn; the bound cuts the half of the slices that had drawn more
        assert 0.23 < through.mean() < 0.25
    else:
        assert (slices == 250).all()
    tenths = through[1000:].reshape(-1, 10, 100).sum(axis=2)  # of a slice, once the rate is known
    if policy == "decimate":
        assert (tenths == 25).all()
    elif policy == "random":
        assert abs(tenths[:, :5].mean() - 25) < 1.5
        assert tenths.std() > 3
    else:
        assert tenths.tolist() == [[100, 100, 50, 0, 0, 0, 0, 0, 0, 0]] * 99
