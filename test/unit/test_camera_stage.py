# SPDX-License-Identifier: Apache-2.0
"""Filters, wake on motion, windows by count and the picture, as the camera core uses them; every event in the books."""

import numpy as np
import pytest

from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.parameters import ParameterError, build, replace
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import EVENT_DTYPE, EventBatch
from neuro_ros.events.picture import BACKGROUND_RGB

SIDE = 32
MS = 1_000_000


class Camera:
    """An active core that is fed slices of 5 ms; its books are checked after each."""

    def __init__(self, **values):
        values = {name.replace("__", "."): value for name, value in values.items()}
        defaults = {"source": "simulator", "width": SIDE, "height": SIDE}
        self.parameters = build(EventCameraParameters, {**defaults, **values})
        self.core = EventCameraCore(self.parameters)
        self.core.set_sensor(SIDE, SIDE)
        self.core.activate(1)
        self.outputs = []
        self.until_ns = 0
        self.sent = 0

    def feed(self, *counts, x=3):
        """Show so many events in each of the next windows of 50 ms."""
        for count in counts:
            events = np.zeros(count, EVENT_DTYPE)
            events["t"] = self.until_ns + np.arange(count) * 50 * MS // max(count, 1)
            events["x"] = x
            events["y"] = np.arange(count) % SIDE
            self.until_ns += 50 * MS
            self.sent += count
            self.outputs += self.core.feed(EventBatch(events), self.until_ns, self.until_ns)
            self.check()
        return self

    def check(self):
        account = self.core.account
        assert account.events_read == self.sent
        dropped = sum(account.events_dropped.values())
        assert self.sent == account.events_sent + account.events_withheld + account.events_pending + dropped
        for window in self.windows:
            assert window.events_in == window.events_binned + window.events_filtered + window.events_dropped

    @property
    def windows(self):
        return [item.message for item in self.outputs if item.topic == "spikes"]

    def seen(self):
        """Return sequence, withheld before and events of each window sent."""
        return [(window.sequence, window.windows_withheld, window.events_in) for window in self.windows]


# --- wake on motion ---------------------------------------------------------------------------------------------------
WAKE = {"wake__threshold_events_hz": 200.0, "wake__sleep_ratio": 0.5, "wake__sleep_after_s": 0.1}  # 10 and 5 a window


def test_the_waking_window_and_the_one_before_it_are_sent():
    camera = Camera(**WAKE).feed(1, 2, 3, 10)
    assert camera.seen() == [(0, 2, 3), (1, 0, 10)]
    assert camera.windows[0].sensor_start_ns == 100 * MS
    camera.feed(5, 9, 4, 4)
    assert [item[2] for item in camera.seen()] == [3, 10, 5, 9, 4, 4], "between the thresholds, and within the time"
    camera.feed(4, 4, 4, 0, 11)
    assert camera.seen()[6:] == [(6, 3, 0), (7, 0, 11)], "asleep after 0.1 s of quiet"
    assert camera.core.account.windows_withheld == 5


def test_what_waits_at_the_end_is_withheld_and_counted():
    camera = Camera(**WAKE).feed(1, 1, 1)
    assert camera.core.account.events_pending == 1, "one window waits for what follows"
    camera.outputs += camera.core.finish(camera.until_ns)
    camera.check()
    assert camera.seen() == []
    assert (camera.core.account.events_withheld, camera.core.account.events_pending) == (3, 0)


def test_thresholds_change_while_it_runs():
    camera = Camera().feed(1, 0)
    assert [item[2] for item in camera.seen()] == [1, 0], "a threshold of 0 sends everything"
    camera.core.reconfigure(replace(camera.parameters, {"wake.threshold_events_hz": 200.0, "wake.sleep_after_s": 0.0}))
    camera.feed(0, 0, 0, 10)
    assert camera.seen()[2:] == [(2, 2, 0), (3, 0, 10)]


# --- filters ----------------------------------------------------------------------------------------------------------
def test_filters_count_in_the_window_in_which_the_event_fell_and_wake_nobody():
    camera = Camera(filters="hot_pixels:pixels=3x0 polarity:keep=both", **WAKE)
    camera.feed(100)  # on 32 rows; 4 of them on the masked pixel
    assert camera.seen() == [(0, 0, 100)]
    assert (camera.windows[0].events_filtered, camera.windows[0].events_binned) == (4, 96)
    (health,) = [item for item in camera.core.diagnose(camera.until_ns) if item.name == "windows"]
    assert health.values["filter_hot_pixels_filtered"] == 4
    assert health.values["filter_polarity_seen"] == 96


def test_a_filter_that_shrinks_the_sensor_comes_before_the_crop():
    camera = Camera(filters="downsample:factor=4", crop__x0=0, crop__y0=0, crop__width=8, crop__height=8).feed(64)
    assert camera.windows[0].events_binned == 64
    with pytest.raises(NeuroRosError, match="8x8"):
        Camera(filters="downsample:factor=4", crop__x0=0, crop__y0=0, crop__width=9, crop__height=8)


@pytest.mark.parametrize(
    "text", ["unheard_of", "refractory:period_us=NaN", "refractory:no=1", "refractory", "crop:x0=0 polarity:keep=up"]
)
def test_filters_that_cannot_be_are_refused_with_a_reason(text):
    with pytest.raises(ParameterError, match=r"^filters: \S") as refusal:
        build(EventCameraParameters, {"filters": text})
    assert "\n" not in str(refusal.value)


# --- windows by count -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("windowing", "expected"), [("count", [40, 40, 40]), ("both", [40, 20, 40, 20])])
def test_windows_by_count(windowing, expected):
    camera = Camera(windowing=windowing, window_events=40).feed(60, 60)
    camera.outputs += camera.core.finish(camera.until_ns)
    camera.check()
    assert [window.events_in for window in camera.windows] == expected
    for before, after in zip(camera.windows, camera.windows[1:], strict=False):
        assert before.sensor_end_ns == after.sensor_start_ns


# --- the picture ------------------------------------------------------------------------------------------------------
def test_a_picture_is_made_of_the_latest_window_and_only_while_somebody_looks():
    camera = Camera(image__scale=2).feed(10)
    assert not [item for item in camera.outputs if item.topic == "spikes/image"]
    camera.core.wanted = lambda topic: topic == "spikes/image"
    camera.outputs.clear()
    camera.feed(12)
    (picture,) = [item.message for item in camera.outputs if item.topic == "spikes/image"]
    assert (picture.height, picture.width, picture.encoding, picture.step) == (64, 64, "rgb8", 192)
    assert picture.header == camera.windows[-1].header
    pixels = np.frombuffer(picture.data, np.uint8).reshape(64, 64, 3)
    lit = (pixels != BACKGROUND_RGB).any(axis=2)
    assert lit.sum() == 4 * camera.windows[-1].active
    assert lit[:, 6:8].any()
