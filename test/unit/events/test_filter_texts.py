# SPDX-License-Identifier: Apache-2.0
"""Filters as text, their limits, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cli import command
from neuro_ros.events import EVENT_DTYPE, EventBatch, warm_up
from neuro_ros.events.filters import (
    FILTERS,
    BackgroundActivity,
    Crop,
    Downsample,
    FilterChain,
    FilterError,
    HotPixels,
    Polarity,
    RateCap,
    Refractory,
    parse_filter,
)

WIDTH, HEIGHT = 9, 7
BAG = Path(__file__).resolve().parents[2] / "data" / "test_events_1"


# --- parameters and texts ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refractory:period_us=1000", Refractory(1000)),
        ("refractory:period_us=0.5,per_polarity=true", Refractory(0.5, True)),
        ("background_activity", BackgroundActivity()),
        ("crop:x0=1,y0=2,width=3,height=4,relative=no", Crop(1, 2, 3, 4)),
        ("downsample:factor=4,policy=integrate", Downsample(4, "integrate")),
        ("polarity:keep=on", Polarity("on")),
        ("hot_pixels:pixels=1x2+30x4,relearn_s=0", HotPixels(relearn_s=0, pixels=((1, 2), (30, 4)))),
        ("rate_cap:rate_hz=1e6,policy=random,seed=7", RateCap(1e6, "random", seed=7)),
    ],
)
def test_filters_as_text(text, expected):
    assert parse_filter(text) == expected
    assert FILTERS[expected.name] is type(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no filter ''"),
        ("blur", "there are: crop, downsample"),
        ("refractory", "period_us must be given, as in refractory:period_us=1000"),
        ("refractory:", "'' is not KEY=VALUE with a key of period_us, per_polarity"),
        ("refractory:period=3", "'period=3' is not KEY=VALUE"),
        ("refractory:period_us=soon", "period_us is 'soon', it must be a number"),
        ("refractory:period_us=1,period_us=2", "given twice"),
        ("refractory:period_us=nan", "period_us is nan us, it must be 0.001 to"),
        ("refractory:period_us=1,per_polarity=perhaps", "true or false"),
        ("background_activity:neighbours=9", "neighbours is 9, it must be 1 to 8"),
        ("crop:x0=-1,y0=0,width=1,height=1", "x0 is -1 px"),
        ("crop:x0=0,y0=0,width=1.5,height=1", "whole number"),
        ("downsample:factor=0", "factor is 0"),
        ("downsample:factor=2,policy=some", "one of all, integrate"),
        ("polarity:keep=red", "one of both, on, off"),
        ("hot_pixels:pixels=3,4", "a list of pixels such as 12x40"),
        ("hot_pixels:relearn_s=0.5", "relearn_s is 0.5 s"),
        ("rate_cap:rate_hz=10", "it must be 1000 to"),
        ("rate_cap:rate_hz=1e6,policy=fair", "one of decimate, random, drop_newest"),
    ],
)
def test_a_wrong_text_is_refused_in_one_line(text, words):
    with pytest.raises(FilterError) as refusal:
        parse_filter(text)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_has_an_example_that_fits_any_sensor(name):
    item = parse_filter(FILTERS[name].example)
    assert type(item) is FILTERS[name]
    assert item.name == name
    FilterChain([item], 1, 1).apply(EventBatch(np.zeros(1, EVENT_DTYPE)))


def test_warming_up_takes_any_filters():
    warm_up([Crop(100, 100, 9, 9), Refractory(3), HotPixels(pixels=((999, 999),))])


def test_a_filter_that_does_not_fit_the_sensor_is_refused():
    for item, words in (
        (Crop(0, 0, 10, 1), "reaches to x=10, y=1, the sensor has 9x7 px"),
        (HotPixels(pixels=((9, 0),)), "pixel 9x0 is not on the sensor"),
    ):
        with pytest.raises(FilterError, match=words):
            FilterChain([item], WIDTH, HEIGHT)
    with pytest.raises(FilterError, match="x=6, y=1, the sensor has 5x4"):  # the sensor that the crop sees
        FilterChain([Downsample(2), Crop(0, 0, 6, 1)], WIDTH, HEIGHT)
    with pytest.raises(FilterError, match="65535x65535 px cannot be filtered"):
        FilterChain([Refractory(1)], 65535, 65535)
    with pytest.raises(FilterError, match="0x5"):
        FilterChain([], 0, 5)


# --- on the command line ----------------------------------------------------------------------------------------------
def verb(capsys, *arguments):
    code = command.main([str(item) for item in arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_window_and_convert_agree_about_what_filters_leave(tmp_path, capsys):
    filters = ["--filter", "hot_pixels:learn_s=0.3", "--filter", "background_activity",
               "--filter", "downsample:factor=2", "--filter", "rate_cap:rate_hz=2e5"]  # fmt: skip
    code, windows, _ = verb(capsys, "window", BAG, *filters, "--json")
    assert code == 0
    assert windows["events_in"] == 343474
    assert windows["events_in"] == windows["events_binned"] + windows["events_filtered"] + windows["events_dropped"]
    assert list(windows["filters"]) == ["hot_pixels", "background_activity", "downsample", "rate_cap"]
    assert windows["filters"]["hot_pixels"]["masked"] == 1
    assert windows["events_dropped"] == windows["filters"]["rate_cap"]["dropped"] > 0
    code, converted, _ = verb(capsys, "convert", BAG, tmp_path / "left.raw", *filters, "--json")
    assert code == 0
    assert converted["filters"] == windows["filters"]
    assert converted["events"] == 343474 - sum(
        item.get("filtered", 0) + item.get("dropped", 0) for item in converted["filters"].values()
    )
    _, info, _ = verb(capsys, "info", tmp_path / "left.raw", "--json")
    assert (info["width"], info["height"], info["events"]) == (320, 240, converted["events"])
    _, left, _ = verb(capsys, "window", tmp_path / "left.raw", "--json")
    assert left["sha256"] == windows["sha256"]


def test_a_wrong_filter_is_a_line_and_exit_code_2(capsys):
    for item, words in (
        ("blur", "there is no filter 'blur'; there are: crop"),
        ("crop:x0=600,y0=0,width=100,height=100", "x=700"),
    ):
        code, _, err = verb(capsys, "window", BAG, "--filter", item)
        assert (code, err.count("\n")) == (2, 1)
        assert words in err
