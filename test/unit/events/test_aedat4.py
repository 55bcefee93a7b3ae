# SPDX-License-Identifier: Apache-2.0
"""AEDAT4: what is written beside the vendor's reader, field by field; triggers of several lines; damage; the table."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, RecordingError, create_recording, open_recording
from neuro_ros.events.formats import _compression_shim as compression
from neuro_ros.events.formats import _flatbuffers as flatbuffers
from neuro_ros.events.formats import aedat4_writer
from neuro_ros.events.formats._aedat4_table import PacketTable

AEDAT4 = Path(__file__).resolve().parents[2] / "data" / "evlib_sample.aedat4"
FIELDS = {"t": "timestamp", "x": "x", "y": "y", "p": "polarity"}


def read(path, **options):
    """Read a whole recording; return events, triggers and the recording's counters."""
    with open_recording(path) as recording:
        batches = [(b.events.copy(), b.triggers.copy()) for b in recording.batches(**options)]
        counters = recording.counters
    events = [np.empty(0, EVENT_DTYPE), *(item[0] for item in batches)]
    triggers = [np.empty(0, TRIGGER_DTYPE), *(item[1] for item in batches)]
    return np.concatenate(events), np.concatenate(triggers), counters


def make(count, width=1280, height=720, lines=(0,), first_us=1_700_000_000_000_000):
    """Make events and triggers in whole microseconds."""
    rng = np.random.default_rng(11)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = (first_us + np.cumsum(rng.integers(0, 20, count))) * 1000
    events["x"] = rng.integers(0, width, count)
    events["y"] = rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    triggers = np.zeros(3 * len(lines), TRIGGER_DTYPE)
    triggers["t"] = np.sort(rng.choice(events["t"], len(triggers)))
    triggers["id"] = rng.permutation(np.repeat(lines, 3))
    triggers["edge"] = rng.integers(0, 2, len(triggers))
    return events, triggers


def write(path, events, triggers, width=1280, height=720, step=777):
    with create_recording(path, width, height, "aedat4") as writer:
        until = [*events["t"][step::step].tolist(), np.iinfo(np.int64).max]
        for number, last in enumerate(until):
            since = until[number - 1] if number else np.iinfo(np.int64).min
            here = (triggers["t"] >= since) & (triggers["t"] < last)
            writer.write(events[number * step : (number + 1) * step], triggers[here])


def vendors(path):
    dv = pytest.importorskip("dv_processing", reason="dv-processing is not installed")
    return dv, dv.io.MonoCameraRecording(str(path))


def vendors_events(reader):
    parts = []
    while (packet := reader.getNextEventBatch()) is not None:
        parts.append(packet.numpy().copy())
    return np.concatenate(parts)


# --- beside the vendor's reader ---------------------------------------------------------------------------------------
def test_the_vendors_reader_reads_what_is_written(tmp_path):
    path = tmp_path / "out.aedat4"
    events, triggers = make(70_000, lines=(0, 7))
    write(path, events, triggers)
    dv, reader = vendors(path)
    assert reader.getEventResolution() == (1280, 720)
    assert sorted(reader.getStreamNames()) == ["events", "triggers", "triggers_7"]
    theirs = vendors_events(reader)
    assert (theirs["timestamp"] * 1000 == events["t"]).all()
    assert all((theirs[name] == events[ours]).all() for ours, name in FIELDS.items() if ours != "t")
    for line, name in ((0, "triggers"), (7, "triggers_7")):
        found = []
        while (batch := reader.getNextTriggerBatch(name)) is not None:
            found += [(item.timestamp * 1000, item.type) for item in batch]
        kinds = (dv.TriggerType.EXTERNAL_SIGNAL_FALLING_EDGE, dv.TriggerType.EXTERNAL_SIGNAL_RISING_EDGE)
        chosen = triggers[triggers["id"] == line]
        assert found == [(int(t), kinds[edge]) for t, _, edge in chosen.tolist()]


def test_the_vendors_reader_finds_times_by_our_table(tmp_path):
    path = tmp_path / "out.aedat4"
    events, triggers = make(70_000)
    write(path, events, triggers)
    _, reader = vendors(path)
    times_us = events["t"] // 1000
    assert reader.getTimeRange() == (times_us[0], times_us[-1])
    for first in (0, 32_767, 32_768, 60_000):
        begin, end = int(times_us[first]), int(times_us[first + 1000])
        expected = np.count_nonzero((times_us >= begin) & (times_us < end))
        assert reader.getEventsTimeRange(begin, end).size() == expected


def test_nothing_written_is_a_recording_of_nothing_to_the_vendor_too(tmp_path):
    path = tmp_path / "out.aedat4"
    with create_recording(path, 640, 480):
        pass
    _, reader = vendors(path)
    assert reader.getEventResolution() == (640, 480)
    assert reader.getNextEventBatch() is None
    assert len(read(path)[0]) == 0


def test_aedat4_agrees_with_the_vendors_reader():
    _, reader = vendors(AEDAT4)
    theirs = vendors_events(reader)
    ours, _, _ = read(AEDAT4, max_events=100)
    assert (ours["t"] == theirs["timestamp"] * 1000).all()
    assert all((ours[name] == theirs[other]).all() for name, other in FIELDS.items() if name != "t")


# --- what is written --------------------------------------------------------------------------------------------------
def test_triggers_of_every_line_come_back_in_order_of_time(tmp_path):
    path = tmp_path / "out.aedat4"
    events, triggers = make(40_000, lines=range(32))
    write(path, events, triggers)
    got, got_triggers, counters = read(path)
    assert (got == events).all()
    assert (np.diff(got_triggers["t"]) >= 0).all()
    assert sorted(got_triggers.tolist()) == sorted(triggers.tolist())
    assert counters.errors == 0


def test_times_are_cut_to_microseconds_and_marks_are_not_written(tmp_path):
    path = tmp_path / "out.aedat4"
    events = np.array([(1_999, 1, 2, 1), (-1, 3, 4, 0)], EVENT_DTYPE)
    events.view(np.int64).reshape(-1, 2)[:, 1] |= 3 << 40
    with create_recording(path, 640, 480) as writer:
        writer.write(events)
    got, _, counters = read(path)
    assert got.tolist() == [(1_000, 1, 2, 1), (-1_000, 3, 4, 0)]
    assert counters.non_monotonic == 1


def test_many_triggers_without_events(tmp_path):
    path = tmp_path / "out.aedat4"
    triggers = np.zeros(200_000, TRIGGER_DTYPE)
    triggers["t"] = np.arange(len(triggers)) * 1000
    with create_recording(path, 640, 480) as writer:
        for part in np.array_split(triggers, 20):
            writer.write(np.empty(0, EVENT_DTYPE), part)
    assert (read(path)[1] == triggers).all()
    with open_recording(path) as recording:
        assert max(len(batch.triggers) for batch in recording.batches()) < 110_000


def test_what_aedat4_cannot_hold_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="sides up to 32768 px, the sensor is 40000x480"):
        create_recording(tmp_path / "out.aedat4", 40_000, 480)
    writer = create_recording(tmp_path / "out.aedat4", 640, 480)
    with pytest.raises(RecordingError, match="trigger ids below 32, found 32"), writer:
        writer.write(np.empty(0, EVENT_DTYPE), np.array([(0, 32, 1)], TRIGGER_DTYPE))
    assert list(tmp_path.iterdir()) == []


# --- damage -----------------------------------------------------------------------------------------------------------
def test_a_packet_that_was_changed_is_seen(tmp_path, caplog):
    path = tmp_path / "out.aedat4"
    events, triggers = make(70_000)
    write(path, events, triggers)
    data = bytearray(path.read_bytes())
    data[150_000] ^= 1  # within the first packet of events
    path.write_bytes(data)
    with open_recording(path) as recording:
        batches = [(len(b.events), b.complete) for b in recording.batches()]
        assert recording.counters.errors == 1
    assert batches == [(32_768, False), (70_000 - 65_536, True)]


def test_times_centuries_away_are_damage(tmp_path, caplog):
    path = tmp_path / "out.aedat4"
    events = make(5)[0]
    with create_recording(path, 1280, 720) as writer:
        writer.write(events)
    data = path.read_bytes()
    with open_recording(path) as recording:
        start = recording._header.data_start
    _, size = struct.unpack_from("<ii", data, start)
    packet = bytearray(compression.unpack_lz4(data[start + 8 : start + 8 + size], 1000))
    packet[32 + 7] = 0x7F  # the upper byte of the first time
    packed = compression.pack_lz4(bytes(packet))
    path.write_bytes(data[:start] + struct.pack("<ii", 0, len(packed)) + packed)
    got, _, counters = read(path)
    assert (len(got), counters.errors) == (0, 1)


def test_more_triggers_than_there_can_be_are_damage():
    # A million references to one and the same trigger are small when packed.
    count = (1 << 20) + 1
    items = np.zeros(1, aedat4_writer._TRIGGER)
    whole = flatbuffers.pack_tables(b"TRIG", (8, 7), items, 0)
    assert len(flatbuffers.Table.root(whole).tables(0, 1)) == 1
    with pytest.raises(ValueError, match=f"{count} entries"):
        flatbuffers.Table.root(whole[:28] + struct.pack("<I", count) + bytes(4 * count)).tables(0, 1 << 20)
    with pytest.raises(ValueError, match="beyond the packet"):
        flatbuffers.Table.root(whole[:28] + struct.pack("<I", 1 << 31) + whole[32:]).tables(0, 1 << 20)


# --- the table of packets ---------------------------------------------------------------------------------------------
def table_of(path):
    with open_recording(path) as recording:
        header = recording._header
    data = path.read_bytes()
    return header, compression.unpack_lz4(data[header.data_end :], 1 << 20)


def test_the_table_is_believed_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.aedat4"
    events, triggers = make(140_000, lines=(3,))
    write(path, events, triggers)
    header, data = table_of(path)
    table = PacketTable(data, header.data_start, header.data_end)
    assert table.place_of(0, {0, 4}) == header.data_start
    assert table.place_of(1 << 62, {0, 4}) == header.data_end
    places = [table.place_of(int(t) // 1000, {0}) for t in events["t"][::1000]]
    assert (np.diff(places) >= 0).all()
    assert len(set(places)) == 5
    for changed in (
        (data, header.data_start + 1, header.data_end),
        (data, header.data_start, header.data_end - 1),
        (data[:200], header.data_start, header.data_end),
    ):
        with pytest.raises(compression.DAMAGE):
            PacketTable(*changed)
    # As older software writes it: places, but no times.
    header, data = table_of(AEDAT4)
    with pytest.raises(ValueError, match="names no times"):
        PacketTable(data, header.data_start, header.data_end)
    # A file of packets out of order.
    path = tmp_path / "back.aedat4"
    write(path, np.concatenate([events[70_000:], events[:70_000]]), triggers[:0])
    header, data = table_of(path)
    assert PacketTable(data, header.data_start, header.data_end).place_of(0, {0}) is None


def test_a_truncated_aedat4_gives_what_is_there(tmp_path, caplog):
    path = tmp_path / "cut.aedat4"
    path.write_bytes(AEDAT4.read_bytes()[:200_000])
    whole, _, _ = read(AEDAT4)
    events, _, counters = read(path)
    assert 1000 < len(events) < len(whole)
    assert (events == whole[: len(events)]).all()
    assert counters.errors == 1
