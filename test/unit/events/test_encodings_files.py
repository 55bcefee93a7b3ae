# SPDX-License-Identifier: Apache-2.0
"""The encodings in bags and RAW files: recorded bags to the last bit, what is written reads back, headers, refusals."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from reading import make_sample, read, run

from neuro_ros.events import ENCODINGS, EVENT_DTYPE, TRIGGER_DTYPE, RecordingError, create_recording, open_recording
from neuro_ros.events.encodings.evt21 import looks_legacy
from neuro_ros.events.formats import _rosbags_shim as shim
from neuro_ros.events.formats.rosbag2 import PACKET_TYPES, BagWriter

DATA = Path(__file__).resolve().parents[2] / "data"
MONO = DATA / "test_data_mono_cd"
EVT3 = DATA / "test_data_evt3_trigger"
LIBCAER = DATA / "test_data_libcaer_rollover_cut"
LIBCAER_CMP = DATA / "test_events_2_cut"
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)
WITH_TRIGGERS = ["evt2", "evt21", "evt21_legacy", "evt3"]
WRITTEN = sorted(name for name, encoding in ENCODINGS.items() if encoding.encoder)


@pytest.fixture(scope="module")
def sample():
    """Make a second of events on 640x480 in sensor time of today, and triggers."""
    return make_sample(1_700_000_000_000_000_000)


# --- recorded bags ----------------------------------------------------------------------------------------------------
# Of the two whole bags, x, y and ON are those of event_camera_codecs' own decoder_test.cpp, as are the times below.
RECORDED = {
    MONO: {
        "format": "rosbag2/mono", "width": 640, "height": 480, "events": 100, "on": 50, "off": 50,
        "t_first_ns": 0, "t_last_ns": 99_000, "sum_x": 34450, "sum_y": 26450, "triggers": 0,
    },
    EVT3: {
        "format": "rosbag2/evt3", "width": 1280, "height": 720, "events": 82469, "on": 41439, "off": 41030,
        "t_first_ns": 14_224_870_000, "t_last_ns": 15_476_187_000, "sum_x": 42078718, "sum_y": 31656267, "triggers": 2,
    },
    LIBCAER: {
        "format": "rosbag2/libcaer", "width": 640, "height": 480, "events": 31676, "on": 17476, "off": 14200,
        "t_first_ns": 1_702_309_121_662_226_018, "t_last_ns": 1_702_309_121_852_213_018,
        "sum_x": 10586086, "sum_y": 7823394, "triggers": 0,
    },
    LIBCAER_CMP: {
        "format": "rosbag2/libcaer_cmp", "width": 346, "height": 260, "events": 46156, "on": 17432, "off": 28724,
        "t_first_ns": 1_744_227_144_732_712_000, "t_last_ns": 1_744_227_144_812_710_000,
        "sum_x": 9733377, "sum_y": 7589025, "triggers": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_info_gives_exact_sums(path, capsys):
    code, result, _ = run(capsys, "info", path, "--json")
    assert code == 0
    assert {key: result.pop(key) for key in RECORDED[path]} == RECORDED[path]
    assert set(result.values()) == {0}  # nothing wrong, nothing lost, nothing backwards


def test_sums_of_times_as_their_authors_have_them():
    events, _, _ = read(MONO)
    assert int(events["t"].sum()) == 4_950_000
    events, triggers, _ = read(EVT3)
    assert int(events["t"].sum()) == 1_222_326_831_810_000
    assert (int(triggers["t"].sum()), int(triggers["edge"].sum()), int(triggers["id"].sum())) == (29_096_982_000, 1, 0)


def packets(path):
    """Read the messages of a storage file without any of our readers."""
    (storage,) = (item for item in path.iterdir() if item.suffix in (".db3", ".mcap"))
    reader = shim.open_storage(storage, storage.suffix)
    messages = [shim.deserialize(raw) for _, _, raw in reader.messages(reader.connections)]
    reader.close()
    return messages


def test_libcaer_over_the_roll_over_as_numpy_decodes_it():
    messages = packets(LIBCAER)
    bases = [message.time_base for message in messages]
    assert set(np.diff(bases).tolist()) == {0, 2**31 * 1000}  # the driver moves the base on, once
    words = [message.events.copy().view("<u4").reshape(-1, 2).astype(np.int64) for message in messages]
    times = np.concatenate([base + word[:, 1] * 1000 for base, word in zip(bases, words, strict=True)])
    data = np.concatenate(words)[:, 0]
    events, _, _ = read(LIBCAER)
    assert (events["t"] == times).all()
    assert (events["x"] == data >> 17).all()
    assert (events["y"] == (data >> 2) & 0x7FFF).all()
    assert (events["p"] == (data >> 1) & 1).all()


def test_libcaer_cmp_as_a_plain_loop_decodes_it():
    expected = []
    for message in packets(LIBCAER_CMP):
        high = low = 0
        for word in message.events.copy().view("<u2").tolist():
            code, address, polarity = word >> 12, word & 0x7FF, (word >> 11) & 1
            time_ns = message.time_base + (high * 4096 + low) * 1000
            if code == 0:
                high = word
            elif code == 1:
                low = word & 0xFFF
            elif code == 2:
                x = address
            elif code == 3:
                expected.append((time_ns, x, address, polarity))
            elif code == 4:
                base = address, polarity
            else:
                assert code == 5
                expected += [(time_ns, x, base[0] + bit, base[1]) for bit in range(8) if (word >> bit) & 1]
    assert read(LIBCAER_CMP)[0].tolist() == expected


# --- bags -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", WRITTEN)
def test_a_bag_with_any_encoding_reads_back(encoding, sample, tmp_path):
    events, triggers = sample
    path = tmp_path / "bag"
    with BagWriter(path, 640, 480, encoding=encoding, packet_ns=3_000_000) as writer:
        for start in range(0, len(events), 700):
            part = events[start : start + 700]
            some = triggers[(triggers["t"] >= part["t"][0]) & (triggers["t"] <= part["t"][-1])]
            writer.write(part, some if encoding in WITH_TRIGGERS else None)
    got, got_triggers, counters = read(path)
    if encoding in WITH_TRIGGERS:  # their words hold the lower part of a time, and packets have no place for the rest
        wrap_ns = 1000 << (24 if encoding == "evt3" else 34)
        assert (events["t"][0] - got["t"][0]) % wrap_ns == 0
        got["t"] += events["t"][0] - got["t"][0]
        assert got_triggers[["id", "edge"]].tolist() == [(2, 1), (2, 0)]
    assert got.tolist() == events.tolist()
    assert set(counters.as_dict().values()) == {0}


def test_a_bag_without_words_for_triggers_refuses_them_and_leaves_nothing(sample, tmp_path):
    events, triggers = sample
    with (
        pytest.raises(RecordingError, match="libcaer holds no triggers, 1 were given"),
        BagWriter(tmp_path / "bag", 640, 480, encoding="libcaer") as writer,
    ):
        writer.write(events, triggers)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RecordingError, match="packets with trigger are not written"):
        BagWriter(tmp_path / "bag", 640, 480, encoding="trigger")


def write_packets(path, kind, *packets, encoding="mono", big=False):
    """Write ``(sequence, time base, words)`` as messages of a type."""
    storage = shim.create_writer(path.with_name("partial"), path.name, "sqlite3")
    types = shim._types()
    connection = storage.add_connection("/events", kind, typestore=types)
    for sequence, base_ns, words in packets:
        header = types.types["std_msgs/msg/Header"](types.types["builtin_interfaces/msg/Time"](0, 0), "camera")
        payload = np.array(words, "<u8").view(np.uint8)
        message = types.types[kind](header, 480, 640, sequence, base_ns, encoding, big, payload)
        storage.write(connection, sequence, types.serialize_cdr(message, kind))
    storage.close()
    (path.with_name("partial") / path.name).rename(path)


@pytest.mark.parametrize("kind", PACKET_TYPES)
def test_both_names_of_the_type_are_read(kind, tmp_path):
    mono, trigger = tmp_path / "mono", tmp_path / "trigger"
    write_packets(mono, kind, (0, 5_000, [7]), (1, 9_000, [(1 << 63) | (2 << 48) | (1 << 32) | 1]))
    events, _, counters = read(mono)
    assert events.tolist() == [(5007, 0, 0, 0), (9001, 1, 2, 1)]
    write_packets(trigger, kind, (0, 5_000, [(1 << 63) | (4 << 48) | 7]), encoding="trigger")
    events, triggers, counters = read(trigger)
    assert (len(events), triggers.tolist()) == (0, [(5007, 4, 1)])
    assert set(counters.as_dict().values()) == {0}


def test_packets_that_cannot_be_are_counted(tmp_path):
    path = tmp_path / "bag"
    write_packets(path, PACKET_TYPES[0], (0, 0, [1]), (1, 2**63 + 5, [1]), (2, 2**64 - 1, [1]), (3, 10, [1]))
    events, _, counters = read(path)
    assert (events["t"].tolist(), counters.errors) == ([1, 11], 2)


def test_big_endian_packets_are_refused(tmp_path):
    path = tmp_path / "bag"
    write_packets(path, PACKET_TYPES[0], (0, 0, [1]), big=True)
    with pytest.raises(RecordingError, match="on /events are big-endian"):
        open_recording(path)


def test_a_libcaer_bag_that_lost_messages(tmp_path):
    path = tmp_path / "bag"
    shutil.copytree(LIBCAER, path)
    (storage,) = path.glob("*.db3")
    storage.chmod(0o644)
    connection = sqlite3.connect(storage)
    with connection:
        connection.execute("DELETE FROM messages WHERE id IN (10, 11)")  # on both sides of the roll-over
    connection.close()
    whole, _, _ = read(LIBCAER)
    lost = sum(len(message.events) // 8 for message in packets(LIBCAER)[9:11])
    before = sum(len(message.events) // 8 for message in packets(LIBCAER)[:9])
    got, _, counters = read(path)
    assert got.tolist() == np.delete(whole, slice(before, before + lost)).tolist()
    assert (counters.lost_packets, counters.errors, counters.non_monotonic) == (2, 0, 0)


# --- RAW files --------------------------------------------------------------------------------------------------------
def evt21_words(encoding):
    """Encode some events of a 1280x720 sensor."""
    rng = np.random.default_rng(11)
    events = np.zeros(400, EVENT_DTYPE)
    events["t"] = np.sort(rng.integers(0, 100_000, len(events))) * 1000
    events["x"], events["y"] = rng.integers(0, 1280, len(events)), rng.integers(0, 720, len(events))
    return events, ENCODINGS[encoding].encoder().encode(events, NO_TRIGGERS)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("% format EVT21;height=720;width=1280;endianness=legacy\n% end\n", "evt21_legacy"),
        ("% format EVT21;endianness=little;height=720;width=1280\n% endianness legacy\n% end\n", "evt21"),
        ("% format EVT21;height=720;width=1280\n% endianness legacy\n% end\n", "evt21_legacy"),
        ("% evt 2.1\n% endianness little\n% geometry 1280x720\n% end\n", "evt21"),
        ("% evt 2.1\n% geometry 1280x720\n% end\n", "evt21"),
        ("% evt 2.1\n% geometry 1280x720\n% end\n", "evt21_legacy"),
        ("% format EVT21;height=720;width=1280\n", "evt21_legacy"),
    ],
)
def test_raw_tells_the_orders_of_evt21_apart(header, encoding, tmp_path):
    events, words = evt21_words(encoding)
    path = tmp_path / "file.raw"
    path.write_bytes(header.encode() + words)
    with open_recording(path) as recording:
        assert recording.format == encoding
    got, _, counters = read(path)
    assert got.tolist() == events.tolist()
    assert set(counters.as_dict().values()) == {0}
    # What is asked for wins.
    assert len(read(path, encoding=encoding, width=1280, height=720)[0]) == len(events)


def test_the_order_of_evt21_shows_in_few_words():
    for encoding in ("evt21", "evt21_legacy"):
        _, words = evt21_words(encoding)
        assert [looks_legacy(words[: 8 * count]) for count in (100, 400)] == [encoding == "evt21_legacy"] * 2
    assert not looks_legacy(b"")
    assert not looks_legacy(bytes(80))


def test_raw_evt21_in_an_order_that_is_not_read(tmp_path):
    path = tmp_path / "file.raw"
    path.write_bytes(b"% format EVT21;height=720;width=1280;endianness=big\n% end\n" + bytes(8))
    with pytest.raises(RecordingError, match="EVT21 with endianness=big is not read; read are legacy, little"):
        open_recording(path)


@pytest.mark.parametrize("form", ["evt21", "evt21_legacy"])
def test_raw_evt21_is_written_with_its_order_and_triggers(form, sample, tmp_path, capsys):
    events, triggers = sample
    path = tmp_path / "out.raw"
    with create_recording(path, 640, 480, form) as writer:
        writer.write(events, triggers)
    order = form.partition("_")[2] or "little"
    assert f"% format EVT21;height=480;width=640;endianness={order}\n".encode() in path.read_bytes()[:200]
    got, got_triggers, _ = read(path)
    assert (got.tolist(), got_triggers.tolist()) == (events.tolist(), triggers.tolist())
    copy = tmp_path / "copy.raw"
    code, result, _ = run(capsys, "convert", path, copy, "--to", form, "--json")
    assert (code, result["events"], result["triggers"]) == (0, len(events), 2)
    assert copy.read_bytes() == path.read_bytes()


def test_bare_words_of_packets_need_their_packets(tmp_path):
    path = tmp_path / "words"
    event = np.array([(5000, 3, 4, 1)], EVENT_DTYPE)
    path.write_bytes(ENCODINGS["libcaer"].encoder().encode(event, NO_TRIGGERS))
    assert read(path, encoding="libcaer", width=640, height=480)[0].tolist() == event.tolist()
    for encoding in ("libcaer_cmp", "mono", "trigger"):
        with pytest.raises(RecordingError, match=f"{encoding} comes in packets only"):
            open_recording(path, encoding=encoding, width=640, height=480)
    with pytest.raises(RecordingError, match="'evt4' is recognised and not read"):
        open_recording(path, encoding="evt4", width=640, height=480)
