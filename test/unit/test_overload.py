# SPDX-License-Identifier: Apache-2.0
"""Overload: what gives way, that all of it is counted, and where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import EventPacket, Header
from neuro_ros.cores.overload import Overload
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.events import EVENT_DTYPE, EventBatch, Geometry, Windower
from neuro_ros.events.encodings.evt3 import Evt3Encoder
from neuro_ros.events.types import as_words, empty_triggers

SIDE = 32
MS = 1_000_000


def events_between(start_ns, stop_ns, count):
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.linspace(start_ns, stop_ns, count, endpoint=False).astype(np.int64) // 1000 * 1000
    events["x"] = events["y"] = np.arange(count) % SIDE
    return events


def make_windower():
    return Windower(50 * MS, 10, Geometry.fit(SIDE, SIDE, SIDE, SIDE), SIDE, SIDE)


@pytest.mark.parametrize("policy", ["drop_oldest", "subsample"])
def test_below_the_limit_nothing_is_touched(policy):
    batch = EventBatch(events_between(0, MS, 10))
    overload = Overload(policy, 4)
    assert overload.relieve(batch, 4, make_windower()) is batch
    assert (overload.packets, overload.events) == (0, 0)


def test_drop_oldest_counts_outside_the_windows_and_marks_them():
    windower = make_windower()
    overload = Overload("drop_oldest", 4)
    windows = windower.push(EventBatch(events_between(0, 10 * MS, 10)))
    left = overload.relieve(EventBatch(events_between(10 * MS, 20 * MS, 7)), 5, windower)
    assert len(left.events) == 0
    windows += windower.push(left) + windower.push(EventBatch(events_between(60 * MS, 70 * MS, 3))) + windower.flush()
    assert [(w.events_in, w.events_dropped, w.complete) for w in windows] == [(10, 0, False), (3, 0, False)]
    assert windower.counters.dropped_outside["overload"] == overload.events == 7


@pytest.mark.parametrize(("waiting", "stride"), [(5, 2), (7, 2), (8, 4), (17, 8), (40, 32), (10_000, 64)])
def test_subsample_keeps_an_even_share_the_smaller_the_more_waits(waiting, stride):
    windower = make_windower()
    overload = Overload("subsample", 4)
    kept = 0
    for start in range(0, 640, 10):  # across packets of a length that the stride does not divide
        batch = overload.relieve(EventBatch(events_between(start * 1000, (start + 10) * 1000, 10)), waiting, windower)
        assert batch.marked
        assert not windower.push(batch)
        kept += int(np.count_nonzero(as_words(batch.events)[:, 1] >> 40 == 0))
    (window,) = windower.flush()
    assert kept == 640 // stride
    assert (window.events_in, window.events_binned, window.events_dropped) == (640, kept, 640 - kept)
    assert overload.events == 640 - kept


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), max_size=20),
    st.sampled_from(["drop_oldest", "subsample"]),
)
def test_a_core_under_any_load_accounts_for_every_event(load, policy):
    """`load` = for each packet of 5 ms: events in it, and packets that wait behind it."""
    values = {"source": "topic", "width": SIDE, "height": SIDE, "overload.policy": policy, "overload.packets": 8}
    core = EventCameraCore(build(EventCameraParameters, values))
    core.activate(1)
    encoder = Evt3Encoder()
    tensors = []
    for number, (count, waiting) in enumerate(load):
        core.waiting = lambda waiting=waiting: waiting
        events = events_between(number * 5 * MS, (number + 1) * 5 * MS, count)
        payload = encoder.encode(events, empty_triggers())
        packet = EventPacket(Header(1, "eye"), SIDE, SIDE, number, 0, "evt3", False, payload)
        tensors += [item.message for item in core.receive("events", packet, number + 2) if item.topic == "spikes"]
    account = core.account
    assert account.events_read == sum(count for count, _ in load)
    assert account.events_read == account.events_sent + account.events_pending + sum(account.events_dropped.values())
    for tensor in tensors:
        assert tensor.events_in == tensor.events_binned + tensor.events_filtered + tensor.events_dropped
    lost = account.events_dropped.get("overload", 0)
    if policy == "drop_oldest":
        assert lost == sum(count for count, waiting in load if waiting > 8)
        assert all(tensor.events_dropped == 0 for tensor in tensors)
    else:
        assert lost == 0
        assert all(tensor.complete for tensor in tensors)


def test_a_stalled_computer_does_not_close_windows_early():
    """The timer fires before the packets that have arrived meanwhile are handed out."""
    core = EventCameraCore(build(EventCameraParameters, {"source": "topic", "width": SIDE, "height": SIDE}))
    core.activate(0)
    encoder = Evt3Encoder()

    def packet(number):
        payload = encoder.encode(events_between(number * 10 * MS, (number + 1) * 10 * MS, 5), empty_triggers())
        return EventPacket(Header(1, "eye"), SIDE, SIDE, number, 0, "evt3", False, payload)

    core.receive("events", packet(0), 10 * MS)
    assert core.tick("idle", 500 * MS) == (), "the executor has just come back"
    for number in range(1, 4):
        assert core.receive("events", packet(number), 10 * MS * (number + 1)) == []
    assert core.account.events_dropped["late"] == 0
    assert core.tick("idle", 600 * MS) == ()
    core.waiting = lambda: 1
    assert core.tick("idle", 625 * MS) == (), "a packet waits"
    core.waiting = lambda: 0
    closed = core.tick("idle", 650 * MS)
    assert [item.message.sensor_start_ns for item in closed][:2] == [0, 50 * MS], "the camera is silent"


@pytest.mark.parametrize("late_policy", ["keep", "flush"])
def test_events_that_have_waited_for_twice_a_window_are_reported_and_given_up_by_policy_alone(late_policy):
    values = {"source": "topic", "width": SIDE, "height": SIDE, "overload.late_policy": late_policy}
    core = EventCameraCore(build(EventCameraParameters, values))
    core.activate(0)
    encoder = Evt3Encoder()

    def packet(number):
        payload = encoder.encode(events_between(number * 10 * MS, (number + 1) * 10 * MS, 5), empty_triggers())
        return EventPacket(Header(1, "eye"), SIDE, SIDE, number, 0, "evt3", False, payload)

    core.receive("events", packet(0), 10 * MS)
    core.oldest_ns, core.waiting = (lambda: 20 * MS), (lambda: 2)
    core.tick("idle", 120 * MS)
    (health,) = [item for item in core.diagnose(120 * MS) if item.name == "windows"]
    assert (health.level, health.values["late_episodes"]) == (0, 0), "just twice the window"
    core.tick("idle", 121 * MS)
    (health,) = [item for item in core.diagnose(121 * MS) if item.name == "windows"]
    assert health.level == 1
    assert "wait for 0.101 s" in health.message
    for number in range(1, 5):
        core.receive("events", packet(number), 130 * MS)
    core.oldest_ns, core.waiting = (lambda: None), (lambda: 0)
    core.tick("idle", 131 * MS)
    account = core.account
    dropped = 10 if late_policy == "flush" else 0
    assert account.events_dropped.get("flush", 0) == dropped
    assert account.events_read == 25 == account.events_pending + dropped
    (health,) = [item for item in core.diagnose(131 * MS) if item.name == "windows"]
    assert (health.values["flushes"], health.values["events_flushed"]) == (dropped // 10, dropped)
