# SPDX-License-Identifier: Apache-2.0
"""What is done in blocks gives what is done one by one: odd words and odd events anywhere between ordinary ones."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import (
    ENCODINGS,
    EVENT_DTYPE,
    DecodeCounters,
    EventBatch,
    Geometry,
    PacketDecoder,
    Windower,
    active_indices,
)
from neuro_ros.events import _binning as binning
from neuro_ros.events.encodings import _blocks as blocks
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED, as_words

from .test_decoders import REFERENCE


# --- decoders ---------------------------------------------------------------------------------------------------------
def evt2_words(rng, count, odd):
    """Make events in order of time, then put odd words over a share of them."""
    low = np.sort(rng.integers(0, 64, count))
    words = (
        rng.integers(0, 2, count) << 28 | low << 22 | rng.integers(0, 640, count) << 11 | rng.integers(0, 480, count)
    )
    others = rng.integers(0, 1 << 32, count)
    times = 0x80000000 | rng.integers(0, 5, count)
    anywhere = rng.integers(0, 2, count) << 28 | rng.integers(0, 1 << 28, count)  # outside, or back in time
    return _mixed(rng, odd, words, [others, times, anywhere]).astype("<u4"), [0x80000000]


def evt3_words(rng, count, odd):
    """Make rows, columns and lower times as a sensor sends them, or vectors too, and put odd words over a share."""
    kinds = rng.choice([0, 2, 6], count) if rng.random() < 0.5 else rng.choice([0, 2, 3, 4, 4, 4, 5, 6], count)
    payload = np.select(
        [kinds == 0, kinds == 2, kinds == 3, kinds == 6],
        [
            rng.integers(0, 480, count),
            rng.integers(0, 2, count) << 11 | rng.integers(0, 640, count),
            rng.integers(0, 2, count) << 11 | rng.integers(0, 2048, count),
            np.sort(rng.integers(0, 4096, count)),
        ],
        rng.integers(0, 4096, count),
    )
    others = rng.integers(0, 1 << 16, count)
    times = 0x8000 | rng.integers(0, 3, count)
    return _mixed(rng, odd, kinds << 12 | payload, [others, times, np.full(count, 0x9999)]).astype("<u2"), [0x8000]


def _mixed(rng, odd, words, others):
    chosen = rng.random(len(words)) < odd
    return np.where(chosen, np.choose(rng.integers(0, len(others), len(words)), others), words)


WORDS = {"evt2": evt2_words, "evt3": evt3_words}


@given(
    encoding=st.sampled_from(["evt2", "evt3"]),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 3000),
    odd=st.sampled_from([0.0, 0.002, 0.02, 0.3]),
    sensor=st.sampled_from([(640, 480), (500, 300), (2048, 2048), (1, 1)]),
    timed=st.booleans(),
    piece=st.sampled_from([3, 8, 249, 250, 100_000]),
)
def test_odd_words_between_ordinary_ones(encoding, seed, count, odd, sensor, timed, piece):
    words, time = WORDS[encoding](np.random.default_rng(seed), count, odd)
    if timed:
        words = np.concatenate([np.array(time, words.dtype), words])
    expected_events, expected_triggers, lost = REFERENCE[encoding](words, *sensor)
    decoder = PacketDecoder(encoding, *sensor)
    events, triggers = [], []
    for start in range(0, len(words), piece):
        batch = decoder.decode(words[start : start + piece].tobytes())
        events += batch.events.tolist()
        triggers += batch.triggers.tolist()
    assert events == expected_events
    assert triggers == expected_triggers
    assert {name: getattr(decoder.counters, name) for name in lost} == lost
    assert decoder.counters.non_monotonic == sum(b < a for (a, *_), (b, *_) in itertools.pairwise(events))


@pytest.mark.parametrize("max_events", [1, 12, 13, 300, 65536])
def test_a_stream_fills_batches_of_any_size(max_events):
    for encoding in ("evt2", "evt3"):
        words, time = WORDS[encoding](np.random.default_rng(5), 2000, 0.02)
        words = np.concatenate([np.array(time, words.dtype), words])
        counters = DecodeCounters()
        batches = decode_stream(
            io.BytesIO(words.tobytes()).readinto, ENCODINGS[encoding].decoder(640, 480), counters, max_events
        )
        events = []
        for batch in batches:
            assert len(batch.events) <= max_events
            events += batch.events.tolist()
        assert events == REFERENCE[encoding](words, 640, 480)[0]
        assert counters.non_monotonic == sum(b < a for (a, *_), (b, *_) in itertools.pairwise(events))


def test_vectors_that_leave_the_sensor_far_behind_never_come_back():
    # More vectors after one base than a lane of 16 bits could count columns for.
    words = np.concatenate([[0x8000, 0x6001, 0x0005, 0x3800 | 630], np.full(9000, 0x4FFF), [0x2003]]).astype("<u2")
    decoder = PacketDecoder("evt3", 640, 480)
    batch = decoder.decode(words.tobytes())
    assert batch.events.tolist() == [*((1000, x, 5, 1) for x in range(630, 640)), (1000, 3, 5, 0)]
    assert decoder.counters.out_of_area == 9000 * 12 - 10


@pytest.mark.parametrize("encoding", ["evt2", "evt3"])
def test_a_sensor_of_any_size_takes_all_coordinates(encoding):
    words, time = WORDS[encoding](np.random.default_rng(2), 500, 0.1)
    words = np.concatenate([np.array(time, words.dtype), words])
    expected = REFERENCE[encoding](words, 1 << 80, 1 << 80)[0]
    assert PacketDecoder(encoding, 1 << 80, 1 << 80).decode(words.tobytes()).events.tolist() == expected


def test_payloads_that_begin_anywhere_in_memory():
    words, time = evt3_words(np.random.default_rng(1), 400, 0.0)
    payload = np.array(time, "<u2").tobytes() + words.tobytes()
    expected = PacketDecoder("evt3", 640, 480).decode(payload).events.tolist()
    shifted = memoryview(b"\0" + payload)[1:]
    assert PacketDecoder("evt3", 640, 480).decode(shifted).events.tolist() == expected
    writable = np.frombuffer(payload, np.uint8).copy()
    assert PacketDecoder("evt3", 640, 480).decode(writable).events.tolist() == expected
    assert writable.flags.writeable


# --- the plain functions that stand in where nothing is compiled ------------------------------------------------------
@numba.njit
def _compiled(words, records, high_word, width, height, events):
    return (
        blocks.convert_evt2(words, 1, 5_000, width, height, events[0], 1),
        blocks.convert_columns(records, 1, 5_000, width, height, events[1], 1),
        blocks.count_plain_evt3(words.view(np.uint16), 1, high_word),
        blocks.write_vector(records[0] >> 8, 7, 9, events[2], 1),
    )


@given(seed=st.integers(0, 2**32 - 1), odd=st.sampled_from([0.0, 0.1, 0.5]))
def test_the_plain_functions_do_what_the_instructions_do(seed, odd):
    rng = np.random.default_rng(seed)
    words = evt2_words(rng, 9, odd)[0]
    low = np.sort(rng.integers(0, 4096, 9))
    records = _mixed(rng, odd, low << 32 | rng.integers(0, 480, 9) << 16 | 0x2000 | rng.integers(0, 640, 9), [low])
    high_word = int(rng.choice(words.view(np.uint16)))
    got = np.zeros((3, 9, 2), np.int64)
    expected = np.zeros((3, 9, 2), np.int64)
    numbers = _compiled(words, records, high_word, 600, 400, got)
    assert numbers == (
        blocks._convert_evt2(words, 1, 5_000, 600, 400, expected[0], 1),
        blocks._convert_columns(records, 1, 5_000, 600, 400, expected[1], 1),
        blocks._count_plain_evt3(words.view(np.uint16), 1, high_word),
        blocks._write_vector(records[0] >> 8, 7, 9, expected[2], 1),
    )
    for kind, good in enumerate((numbers[0], numbers[1], blocks.COLUMNS)):
        assert (got[kind, 1 : 1 + good] == expected[kind, 1 : 1 + good]).all()


_INTERPRETED = """
import json, sys
import numpy as np
from neuro_ros.events import EVENT_DTYPE, EventBatch, Geometry, PacketDecoder, Windower
from neuro_ros.events.types import as_words
payloads = json.load(sys.stdin)
sums = []
windower = Windower(20_000, 3, Geometry.fit(640, 480, 5, 7), 640, 480)
for encoding, payload in payloads.items():
    decoder = PacketDecoder(encoding, 640, 480)
    batch = decoder.decode(bytes.fromhex(payload))
    sums.append([len(batch.events), int(as_words(batch.events).sum()), decoder.counters.as_dict()])
    windows = windower.push(batch) + windower.flush()
    sums.append([[int(w.start_ns), w.active, w.events_filtered, w.bitmap.tobytes().hex()] for w in windows])
print(json.dumps(sums, default=int))
"""


def test_without_compiling_everything_is_the_same():
    payloads = {}
    for encoding in ("evt2", "evt3"):
        words, time = WORDS[encoding](np.random.default_rng(3), 300, 0.05)
        payloads[encoding] = (np.array(time, words.dtype).tobytes() + words.tobytes()).hex()
    results = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", _INTERPRETED],
                input=json.dumps(payloads),
                env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            ).stdout
        )
        for disabled in ("0", "1")
    ]
    assert results[0] == results[1]
    assert results[0][0][0] > 100


# --- windows ----------------------------------------------------------------------------------------------------------
def windowed_by_numpy(events, marks, bins, length_ns, geometry, sensor, polarity):
    """Bin the events of one window that begins at 0; return the cells, and how many were filtered and dropped."""
    x, y, p = (events[name].astype(np.int64) for name in ("x", "y", "p"))
    column, row = x - geometry.crop_x0, y - geometry.crop_y0
    dropped = (x >= sensor[0]) | (y >= sensor[1]) | (marks & MARK_DROPPED != 0)
    kept = (column >= 0) & (column < geometry.crop_width) & (row >= 0) & (row < geometry.crop_height)
    kept &= ~dropped & (marks & MARK_FILTERED == 0)
    if polarity != "both":
        kept &= p == (polarity == "on")
    number = events["t"] * bins // length_ns
    x_out = column * geometry.width_out // geometry.crop_width
    y_out = row * geometry.height_out // geometry.crop_height
    cells = ((number * 2 + p) * geometry.height_out + y_out) * geometry.width_out + x_out
    return np.unique(cells[kept]), int((~kept & ~dropped).sum()), int(dropped.sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 3000),
    bins=st.sampled_from([1, 3, 10]),
    length_ns=st.sampled_from([10, 1000, 999_983]),
    sensor=st.sampled_from([(640, 480), (346, 260), (33, 47)]),
    size=st.sampled_from([(1, 1), (5, 7), (32, 32), (70, 50)]),
    cropped=st.booleans(),
    polarity=st.sampled_from(["both", "both", "on", "off"]),
    marked=st.booleans(),
    order=st.sampled_from(["sorted", "nearly", "random"]),
)
def test_a_window_of_any_events(seed, count, bins, length_ns, sensor, size, cropped, polarity, marked, order):
    rng = np.random.default_rng(seed)
    crop = None
    if cropped:
        x0, y0 = int(rng.integers(0, sensor[0])), int(rng.integers(0, sensor[1]))
        crop = (x0, y0, int(rng.integers(1, sensor[0] - x0 + 1)), int(rng.integers(1, sensor[1] - y0 + 1)))
    geometry = Geometry.fit(*sensor, *size, crop=crop)
    events = np.zeros(count, EVENT_DTYPE)
    times = np.sort(rng.integers(0, length_ns, count))
    if order == "nearly":
        times[1::7] = times[::7][: len(times[1::7])]
        times[::50] = times[::50][::-1]
    events["t"] = rng.permutation(times) if order == "random" else times
    events["x"] = rng.integers(0, sensor[0], count)
    events["y"] = rng.integers(0, sensor[1], count)
    far = rng.random(count) < 0.02
    events["x"][far] = rng.integers(0, 1 << 16, far.sum())
    events["y"][far] = rng.integers(0, 1 << 16, far.sum())
    events["p"] = rng.integers(0, 2, count)
    marks = rng.choice([0, 0, 0, MARK_FILTERED, MARK_DROPPED, MARK_FILTERED | MARK_DROPPED], count)
    as_words(events)[:, 1] |= marks  # padding that means nothing where they do not count
    windower = Windower(length_ns, bins, geometry, *sensor, polarity=polarity)
    cut = int(rng.integers(0, count + 1))
    windows = windower.push(EventBatch(events[:cut], marked=marked))
    windows += windower.push(EventBatch(events[cut:], marked=marked))
    (window,) = windows + windower.flush()
    cells, filtered, dropped = windowed_by_numpy(
        events, marks if marked else np.zeros_like(marks), bins, length_ns, geometry, sensor, polarity
    )
    assert active_indices(window.bitmap, window.cells, window.active).tolist() == cells.tolist()
    assert (window.events_filtered, window.events_dropped) == (filtered, dropped)
    assert window.events_in == count


def test_late_events_among_ordinary_ones():
    events = np.zeros(1000, EVENT_DTYPE)
    events["t"] = np.arange(5000, 6000)
    events["t"][17::100] = 4990
    windower = Windower(1000, 4, Geometry.fit(8, 8, 8, 8), 8, 8)
    (window,) = windower.push(EventBatch(events)) + windower.flush()
    assert (window.start_ns, window.events_in, window.active) == (5000, 990, 4)
    assert windower.counters.dropped_outside["late"] == 10


def test_a_sensor_beyond_all_coordinates_costs_no_more_memory():
    sensor = (1 << 40, 1 << 36)
    events = np.zeros(100, EVENT_DTYPE)
    events["x"], events["y"] = np.arange(100), 65535
    windower = Windower(1000, 2, Geometry.fit(*sensor, 4, 4, crop=(50, 65000, 1 << 39, 1 << 35)), *sensor)
    (window,) = windower.push(EventBatch(events)) + windower.flush()
    assert (window.events_binned, window.events_filtered, window.active) == (50, 50, 1)


@pytest.mark.parametrize(("pixels", "cells"), [(720, 128), (480, 128), (260, 128), (320, 64), (128, 32), (34, 34)])
def test_usual_sensors_are_scaled_in_blocks(pixels, cells):
    geometry = Geometry.fit(pixels, pixels, cells, cells)
    assert all(scale > 0 for scale in binning.make_grid(geometry, pixels, pixels, "both")[1])


@given(pixels=st.integers(1, 2048), cells=st.integers(1, 2048))
def test_a_scale_is_exact_or_not_used(pixels, cells):
    scale = binning._exact_scale(pixels, cells)
    assert scale == 0 or [int(np.float32(n) * scale) for n in range(pixels)] == [
        n * cells // pixels for n in range(pixels)
    ]
