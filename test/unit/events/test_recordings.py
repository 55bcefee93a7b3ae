# SPDX-License-Identifier: Apache-2.0
"""Recordings of every format: exact sums, round trips, headers, refusals, damage; and the three verbs."""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reading import make_sample, read, run

from neuro_ros.events import (
    WRITERS,
    RecordingError,
    create_recording,
    open_recording,
)
from neuro_ros.events.formats import rosbag2
from neuro_ros.events.formats.rosbag2 import BagWriter

DATA = Path(__file__).resolve().parents[2] / "data"
BAG = DATA / "test_events_1"
AEDAT4 = DATA / "evlib_sample.aedat4"
NS_PER_MS = 1_000_000


@pytest.fixture(scope="module")
def sample():
    """Make a second of events on 640x480 that begins beyond the wrap of EVT3, and triggers."""
    return make_sample(100_000_000_000)


# --- bundled recordings -----------------------------------------------------------------------------------------------
BUNDLED = {
    BAG: {
        "format": "rosbag2/evt3", "width": 640, "height": 480, "events": 343474, "on": 125183, "off": 218291,
        "t_first_ns": 7139845000, "t_last_ns": 9218023000, "sum_x": 116731888, "sum_y": 80879209, "triggers": 4157,
    },
    AEDAT4: {
        "format": "aedat4", "width": 346, "height": 260, "events": 6676, "on": 3563, "off": 3113,
        "t_first_ns": 1589163147368868000, "t_last_ns": 1589163147538809000, "sum_x": 721626, "sum_y": 1424056,
        "triggers": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_info_gives_exact_sums(path, capsys):
    code, result, _ = run(capsys, "info", path, "--json")
    assert code == 0
    assert {key: result[key] for key in BUNDLED[path]} == BUNDLED[path]
    assert (result["non_monotonic"], result["errors"], result["lost_packets"], result["out_of_area"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "windows", "active", "digest"),
    [(BAG, 43, 143509, "c8a4d546e1c12825"), (AEDAT4, 4, 4141, "ae41e8128952e09f")],
    ids=lambda value: getattr(value, "name", None),
)
def test_window_accounts_for_every_event(path, windows, active, digest, capsys):
    code, result, _ = run(capsys, "window", path, "--json")
    assert code == 0
    assert result["events_in"] == BUNDLED[path]["events"]
    assert result["events_in"] == result["events_binned"] + result["events_filtered"] + result["events_dropped"]
    assert (result["windows"], result["active"], result["sha256"][:16]) == (windows, active, digest)


def test_a_storage_file_alone_and_under_another_name(tmp_path):
    whole, _, _ = read(BAG)
    storage = BAG / "test_events_1.db3"
    assert (read(storage)[0] == whole).all()
    renamed = tmp_path / "events.bin"
    shutil.copy(storage, renamed)
    assert (read(renamed, max_events=7)[0][:1000] == whole[:1000]).all()


@pytest.mark.parametrize("storage", ["", "unheard_of"])
def test_metadata_without_a_known_storage(storage, tmp_path):
    bag = tmp_path / "bag"
    shutil.copytree(BAG, bag)
    metadata = bag / "metadata.yaml"
    text = metadata.read_text().replace("storage_identifier: sqlite3", f"storage_identifier: '{storage}'")
    metadata.write_text(text)
    assert len(read(bag)[0]) == 343474
    metadata.unlink()
    assert len(read(bag)[0]) == 343474


def test_a_second_pass_gives_the_same():
    with open_recording(BAG) as recording:
        first = [len(batch.events) for batch in recording.batches()]
        assert [len(batch.events) for batch in recording.batches()] == first
        assert recording.counters.errors == 0
    with pytest.raises(RecordingError, match="closed"):
        recording.batches()
    recording.close()


# --- round trips ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_reads_back(form, sample, tmp_path):
    events, triggers = sample
    path = tmp_path / f"recording.{form}"
    with create_recording(path, 640, 480, form) as writer:
        for start in range(0, len(events), 700):
            part = events[start : start + 700]
            first, last = part["t"][0], part["t"][-1]
            writer.write(part, triggers[(triggers["t"] >= first) & (triggers["t"] <= last)])
    got, got_triggers, counters = read(path, max_events=333)
    offset = 0
    if form.startswith("rosbag2"):  # packets have no place for the upper part of an EVT3 time
        offset = events["t"][0] - got["t"][0]
        assert offset % ((1 << 24) * 1000) == 0
    assert (got["t"] + offset == events["t"]).all()
    assert all((got[name] == events[name]).all() for name in ("x", "y", "p"))
    assert (got_triggers["t"] + offset).tolist() == triggers["t"].tolist()
    assert [got_triggers[name].tolist() for name in ("id", "edge")] == [[2, 2], [1, 0]]
    assert (counters.errors, counters.lost_packets, counters.non_monotonic) == (0, 0, 0)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_written_reads_back_as_nothing(form, tmp_path):
    path = tmp_path / "empty"
    with create_recording(path, 640, 480, form):
        pass
    if form.startswith("rosbag2"):
        with pytest.raises(RecordingError, match="no messages"):
            open_recording(path)
    else:
        events, _, counters = read(path)
        assert (len(events), counters.errors) == (0, 0)


@pytest.mark.parametrize("form", WRITERS)
def test_an_abandoned_write_keeps_the_older_file(form, sample, tmp_path):
    events, _ = sample
    path = tmp_path / "recording"
    with create_recording(path, 640, 480, form) as writer:
        writer.write(events)
    writer = create_recording(path, 640, 100, form)
    writer.write(events[events["y"] < 100])
    with pytest.raises(RecordingError, match="beyond the sensor of 640x100"), writer:
        writer.write(events)
    assert len(read(path)[0]) == len(events)
    with create_recording(path, 640, 480, form) as writer:
        writer.write(events[:10])
    assert len(read(path)[0]) == 10
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_convert_keeps_windows_through_every_format(tmp_path, capsys):
    digests = set()
    source = BAG
    for name in ("a.raw", "b_evt2.raw", "bag", "c.npz", "d.aedat4"):
        options = ["--to", "evt2"] if "evt2" in name else []
        code, result, _ = run(capsys, "convert", source, tmp_path / name, "--json", *options)
        assert (code, result["events"], result["triggers"]) == (0, 343474, 4157)
        source = tmp_path / name
        digests.add(run(capsys, "window", source, "--json")[1]["sha256"])
    assert digests == {run(capsys, "window", BAG, "--json")[1]["sha256"]}


# --- bags -------------------------------------------------------------------------------------------------------------
def test_lost_packets_are_seen_and_the_stream_resynchronises(sample, tmp_path):
    events, _ = sample
    path = tmp_path / "bag"
    with BagWriter(path, 640, 480, storage="sqlite3", packet_ns=10 * NS_PER_MS) as writer:
        writer.write(events)
    (storage,) = path.glob("*.db3")
    with sqlite3.connect(storage) as connection:
        connection.execute("DELETE FROM messages WHERE id IN (30, 31, 60)")
        connection.execute("UPDATE messages SET data = x'0001' WHERE id = 80")
    connection.close()
    with open_recording(path) as recording:
        batches = [(len(b.events), b.complete, b.lost_packets) for b in recording.batches()]
        counters = recording.counters
    assert [lost for _, _, lost in batches if lost] == [2, 1, 1]
    assert [complete for _, complete, _ in batches].count(False) == 3
    assert (counters.lost_packets, counters.errors, counters.non_monotonic) == (4, 1, 0)
    assert 0 < len(events) - sum(count for count, *_ in batches) < len(events) // 10


def test_split_bags_are_read_in_the_order_of_their_numbers(sample, tmp_path):
    events, _ = sample
    bag = tmp_path / "bag"
    bag.mkdir()
    for number, part in enumerate(np.array_split(events, 12)):
        with BagWriter(tmp_path / "part", 640, 480) as writer:
            writer.write(part)
        (storage,) = (tmp_path / "part").glob("*.mcap")
        storage.rename(bag / f"bag_{number}.mcap")
        shutil.rmtree(tmp_path / "part")
    got, _, _ = read(bag)
    assert (got["x"] == events["x"]).all()


def test_several_topics_need_a_name(sample, tmp_path):
    events, _ = sample
    bag = tmp_path / "bag"
    bag.mkdir()
    for name in ("left", "right"):
        with BagWriter(tmp_path / name, 640, 480, topic=f"/{name}/events") as writer:
            writer.write(events[:100] if name == "left" else events[:50])
        shutil.copy(tmp_path / name / f"{name}.mcap", bag)
    with pytest.raises(RecordingError, match="/left/events, /right/events; name one"):
        open_recording(bag)
    assert len(read(bag, topic="right/events")[0]) == 50
    with pytest.raises(RecordingError, match=r"no event_camera_msgs/msg/EventPacket on up in this bag"):
        open_recording(bag, topic="up")


# --- RAW headers ------------------------------------------------------------------------------------------------------
WORDS = np.array([0x8001, 0x6388, 0x002D, 0x287B], "<u2").tobytes()


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("% evt 3.0\n% geometry 1280x720\n", (1280, 720)),
        ("% evt 3.0\r\n% geometry 320x320\r\n% end\r\n", (320, 320)),
        ("% date 2024-05-05 10:00:00\n% format EVT3;height=480;width=640\n% end\n", (640, 480)),
        ("% format EVT3;height=720;width=1280\n% geometry 640x480\n", (1280, 720)),
        ("% evt 3.0\n% plugin_name hal_plugin_gen41_evk3\n", (1280, 720)),
        ("% evt 3.0\n% plugin_name hal_plugin_gen31_fx3\n% end\n", (640, 480)),
    ],
)
def test_raw_headers(header, size, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(header.encode() + WORDS)
    with open_recording(path) as recording:
        assert (recording.format, recording.width, recording.height) == ("evt3", *size)
        assert [batch.events.tolist() for batch in recording.batches()] == [[(5_000_000, 123, 45, 1)]]


def test_raw_words_that_look_like_a_header_line(tmp_path):
    path = tmp_path / "file.raw"
    # 2025h is "% " and a column; the words hold no line's end.
    path.write_bytes(b"% evt 3.0\n% geometry 640x480\n" + np.array([0x2025, 0x8001], "<u2").tobytes() + WORDS)
    events, _, counters = read(path)
    assert (len(events), counters.dropped_before_time) == (1, 1)


def test_headerless_words_need_all_that_a_header_tells(tmp_path):
    path = tmp_path / "words"
    path.write_bytes(WORDS)
    with pytest.raises(RecordingError, match="--encoding"):
        open_recording(path)
    with pytest.raises(RecordingError, match="--width and --height"):
        open_recording(path, encoding="evt3")
    events, _, _ = read(path, encoding="EVT3", width=640, height=480)
    assert events.tolist() == [(5_000_000, 123, 45, 1)]


# --- what is not read -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty"),
        (b"Event Stream\x02\x00\x00\x01", "Event Stream is cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"#!AER-DAT1.0\r\n# x\r\n", r"AEDAT 1\.0, which is not read"),
        (b"#!AER-DAT2.0\r\n# x\r\n", "AEDAT 2.0 header names no chip"),
        (b"#ROSBAG V2.0\n", "a ROS 1 bag"),
        (b"% Data file containing CD events.\n% Version 2\n\x00\x08", "DAT"),
        (b"% evt 2.2\n% geometry 1280x720\n", "EVT22 is not read; read are EVT2, EVT21, EVT3"),
        (b"% format EVT4;height=320;width=320\n% end\n", "EVT4 is recognised and not read"),
        (b"% evt 4.0\n% geometry 320x320\n% end\n", "EVT4 is recognised and not read"),
        (b"% evt 3.0\n% end\n", "--width and --height"),
        (b"% plugin_name hal_plugin_gen41\n% end\n", "names no encoding"),
        (b"% evt 3.0\n% geometry 0x720\n", "0x720 px cannot be"),
        (b"#!AER-DAT4.0\r\n", "not readable as AEDAT4"),
        (b"SQLite format 3\x00" + bytes(200), "not a readable bag"),
        (b"\x89MCAP0\r\n" + bytes(200), "not a readable bag"),
        (b"PK\x03\x04" + bytes(100), "not readable as npz"),
        (b"hello, world", "not recognised"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # of rosbags, when it refuses a file
def test_foreign_and_broken_files_get_one_line(content, complaint, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=complaint):
        open_recording(path)
    for verb in ("info", "window"):
        code, result, complaint_line = run(capsys, verb, path, "--json")
        assert (code, result) == (2, None)
        assert complaint_line.count("\n") == 1


def test_missing_directories_devices_and_contradictions(tmp_path, capsys):
    with pytest.raises(RecordingError, match="No such file"):
        open_recording(tmp_path / "missing.raw")
    with pytest.raises(RecordingError, match="no bag"):
        open_recording(tmp_path)
    with pytest.raises(RecordingError, match="not a regular file"):
        open_recording("/dev/null")
    with pytest.raises(RecordingError, match="this is aedat4, not evt3"):
        open_recording(AEDAT4, encoding="evt3")
    with pytest.raises(
        RecordingError, match=r"'out\.xyz' is not written; written are evt2, evt21, evt21_legacy, evt3, npz"
    ):
        create_recording(tmp_path / "out.xyz", 1, 1)
    with pytest.raises(RecordingError, match="No such file"):
        create_recording(tmp_path / "nowhere" / "out.raw", 1, 1)
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(RecordingError, match="not overwritten"):
        create_recording(tmp_path / "kept", 1, 1, "rosbag2")
    assert run(capsys, "window", AEDAT4, "--size", "2000")[0] == 2
    assert run(capsys, "window", AEDAT4, "--crop", "300,0,100,100")[0] == 2


def test_an_archive_is_never_unpickled(tmp_path):
    path = tmp_path / "evil.npz"
    values = {"t": np.array([object()]), "x": [0], "y": [0], "p": [0], "width": 1, "height": 1}
    np.savez(path, **{key: np.asarray(value) for key, value in values.items()}, allow_pickle=True)
    with pytest.raises(RecordingError, match="t holds object"):
        open_recording(path)
    np.savez(path, t=np.array([1.5]), x=[0], y=[0], p=[0], width=1, height=1)
    with pytest.raises(RecordingError, match="not whole numbers"):
        open_recording(path)
    np.savez(path, t=[1, 2, 3], x=[0, 9, 0], y=[0, 0, 0], p=[0, 1, 7], width=4, height=4)
    events, _, counters = read(path)
    assert (events.tolist(), counters.out_of_area) == ([(1, 0, 0, 0), (3, 0, 0, 1)], 1)


# --- damage -----------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # of rosbags, when it refuses a file
@pytest.mark.parametrize("form", [*WRITERS, "a camera's aedat4"])
def test_damaged_files_are_refused_or_read_as_far_as_they_go(form, sample, tmp_path, counts, caplog):
    path = tmp_path / "recording"
    if form not in WRITERS:
        shutil.copy(AEDAT4, path)
    else:
        with create_recording(path, 640, 480, form) as writer:
            writer.write(sample[0][:2000])
        if path.is_dir():
            (path,) = (item for item in path.iterdir() if item.suffix != ".yaml")
    whole = path.read_bytes()
    path.chmod(0o644)
    total = len(read(path)[0])
    rng = np.random.default_rng(3)
    complaints = []
    for number in range(counts(f"damaged {form}", reduced=15, full=300)):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[int(rng.integers(0, len(data))) :]
        elif number % 3 == 1:
            for place in rng.integers(0, len(data), 10):
                data[place] = rng.integers(0, 256)
        else:
            place = int(rng.integers(0, len(data)))
            data[place : place + 500] = rng.integers(0, 256, len(data[place : place + 500]), np.uint8).tobytes()
        path.write_bytes(data)
        try:
            events, _, _ = read(path)
        except RecordingError as error:
            complaints.append(str(error))
        else:
            assert len(events) <= 2 * total
    assert not any("\n" in complaint for complaint in complaints)


def test_a_zip_of_something_else(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RecordingError, match="without t, x, y, p, width, height"):
        open_recording(path)


def test_bags_are_recognised_by_name_or_content(tmp_path):
    assert rosbag2.is_bag_directory(BAG)
    assert not rosbag2.is_bag_directory(tmp_path)
