# SPDX-License-Identifier: Apache-2.0
"""Formats that are a header and one stream of bytes: DAT, AEDAT 2.0, Event Stream, N-MNIST's .bin.

The files are made here, byte by byte after the descriptions of the formats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import read_whole as read

from neuro_ros.events import EVENT_DTYPE, RecordingError, open_recording
from neuro_ros.events.formats import _time_index
from neuro_ros.events.formats.event_stream import EventStreamDecoder
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import DecodeCounters

NS_PER_US = 1000


def same(first, second):
    """Tell whether two arrays of events or triggers are equal in all but the padding."""
    return first.tolist() == second.tolist()


# --- writers ----------------------------------------------------------------------------------------------------------
DAT_HEADER = "% Data file containing CD events\n% Date 2020-09-14 14:18:29\n% Version 2\n% Width {}\n% Height {}\n"
DAVIS_HEADER = b"#!AER-DAT2.0\r\n# a comment\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
DVS128_HEADER = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"


def write_dat(rows, width, height):
    """Make a DAT file of version 2 out of rows (t [us], x, y, p)."""
    data = DAT_HEADER.format(width, height).encode() + b"\x0c\x08"
    return data + b"".join(struct.pack("<II", t % 2**32, x | y << 14 | p << 28) for t, x, y, p in rows)


def write_old_dat(rows, width, height):
    """Make a DAT file of version 1, whose header tells no size."""
    data = b"% Version 1\n\x00\x08"
    return data + b"".join(struct.pack("<II", t % 2**32, x | y << 9 | p << 17) for t, x, y, p in rows)


def write_davis(rows, width, height):
    """Make an AEDAT 2.0 file of a DAVIS."""
    words = (((height - 1 - y) << 22 | (width - 1 - x) % 1024 << 12 | p << 11, t % 2**32) for t, x, y, p in rows)
    return DAVIS_HEADER + b"".join(struct.pack(">II", *word) for word in words)


def write_dvs128(rows, width, height):
    """Make an AEDAT 2.0 file of a DVS128."""
    words = (((127 - y) << 8 | (127 - x) << 1 | (1 - p), t % 2**32) for t, x, y, p in rows)
    return DVS128_HEADER + b"".join(struct.pack(">II", *word) for word in words)


def write_es(rows, width, height):
    """Make an Event Stream file of DVS events."""
    data = bytearray(b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", width, height))
    last = 0
    for t, x, y, p in rows:
        overflows, rest = divmod(t - last, 127)
        data += b"\xff" * overflows + struct.pack("<BHH", rest << 1 | p, x, height - 1 - y)
        last = t
    return bytes(data)


def write_atis_es(rows, width, height):
    """Make an Event Stream file of ATIS events, with a threshold crossing before each of them."""
    data = bytearray(b"Event Stream\x02\x00\x00\x02" + struct.pack("<HH", width, height))
    last = 0
    for t, x, y, p in rows:
        overflows, rest = divmod(t - last, 63)
        data += b"\xff" * (overflows // 3) + b"\xfc"[: overflows % 3] + bytes([0xFC + overflows % 3])
        data += struct.pack("<BHH", rest << 2 | 1, x, height - 1 - y) + struct.pack("<BHH", p << 1, x, height - 1 - y)
        last = t
    return bytes(data)


def write_nmnist(rows, width, height):
    """Make a file of five-byte events."""
    return b"".join(bytes([x, y, p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF]) for t, x, y, p in rows)


@dataclass(frozen=True)
class Case:
    """One format: what writes it, what it is called, and how much a record and the time can hold."""

    name: str
    write: object
    suffix: str
    width: int
    height: int
    record_bytes: int
    wrap_us: int | None = None
    options: tuple = ()


CASES = {
    case.name: case
    for case in (
        Case("dat", write_dat, ".dat", 640, 480, 8, 1 << 32),
        Case("old dat", write_old_dat, ".dat", 304, 240, 8, 1 << 32, (("width", 304), ("height", 240))),
        Case("davis", write_davis, ".aedat", 240, 180, 8, 1 << 32),
        Case("dvs128", write_dvs128, ".aedat", 128, 128, 8, 1 << 32),
        Case("es", write_es, ".es", 320, 240, 5),
        Case("atis es", write_atis_es, ".es", 304, 240, 5),
        Case("nmnist", write_nmnist, ".bin", 34, 34, 5, 1 << 23),
    )
}
FORMS = {"old dat": "dat", "davis": "aedat2", "dvs128": "aedat2", "atis es": "es"}


def make_rows(case, count, step_us, seed=3):
    """Make random rows in order of time, one of them at each corner of the sensor."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(0, 2 * step_us, count))
    x, y, p = (rng.integers(0, limit, count) for limit in (case.width, case.height, 2))
    x[:4], y[:4] = [0, case.width - 1, 0, case.width - 1], [0, 0, case.height - 1, case.height - 1]
    return list(zip(times.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True))


def as_array(rows):
    """Return rows as the events that they stand for."""
    return np.array([(t * NS_PER_US, x, y, p) for t, x, y, p in rows], EVENT_DTYPE)


def put(tmp_path, case, rows):
    """Write rows to a file."""
    path: Path = tmp_path / f"recording{case.suffix}"
    path.write_bytes(case.write(rows, case.width, case.height))
    return path


# --- all of them ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_what_an_independent_writer_wrote(name, tmp_path):
    case = CASES[name]
    rows = make_rows(case, 3000, 40)
    path = put(tmp_path, case, rows)
    with open_recording(path, **dict(case.options)) as recording:
        assert (recording.format, recording.width, recording.height) == (FORMS.get(name, name), case.width, case.height)
    for max_events in (1000, 65536):
        events, triggers, counters, complete = read(path, max_events, **dict(case.options))
        assert same(events, as_array(rows))
        assert (len(triggers), all(complete)) == (0, True)
        assert (counters.errors, counters.out_of_area, counters.non_monotonic, counters.time_wraps) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.wrap_us])
def test_a_recording_longer_than_its_wrap(name, tmp_path):
    case = CASES[name]
    step_us = case.wrap_us // 4000
    rows = make_rows(case, 10_000, step_us)
    rows = [(t + 5 * step_us * (t < 7 * step_us), x, y, p) for t, x, y, p in rows]  # some go back a little
    events, _, counters, _ = read(put(tmp_path, case, rows), **dict(case.options))
    assert same(events, as_array(rows))
    assert counters.time_wraps == rows[-1][0] // case.wrap_us == 2
    assert counters.non_monotonic == int(np.count_nonzero(np.diff([row[0] for row in rows]) < 0)) > 0


@pytest.mark.parametrize("name", CASES)
def test_a_later_start_gives_what_a_full_pass_gives_from_there_on(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_time_index, "_BLOCK_BYTES", 1 << 12)  # so that there is something to pass over
    case = CASES[name]
    rows = make_rows(case, 20_000, case.wrap_us // 8000 if case.wrap_us else 20)
    if case.record_bytes == 8 and name != "dvs128":  # whose address holds nothing beyond the sensor
        rows[0] = (rows[0][0], case.width, 0, 0)
    path = put(tmp_path, case, rows)
    whole, _, counters, _ = read(path, **dict(case.options))
    beyond = counters.out_of_area
    with open_recording(path, **dict(case.options)) as recording:
        assert recording.seekable == (case.record_bytes == 8)
    for row in (0, 1, 4095, 4096, 9000, 15_000, 19_999):
        start_ns = rows[row][0] * NS_PER_US
        late, _, counters, _ = read(path, start_ns=start_ns, **dict(case.options))
        assert same(late, whole[whole["t"] >= start_ns])
        if case.record_bytes == 8 and row >= 9000:
            assert counters.out_of_area == 0 <= beyond  # the beginning was not read
    assert len(read(path, start_ns=2**62, **dict(case.options))[0]) == 0


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_cut_short(name, tmp_path):
    case = CASES[name]
    rows = make_rows(case, 20, 5)
    path = put(tmp_path, case, rows)
    whole = path.read_bytes()
    options = {**dict(case.options), "encoding": "nmnist" if name == "nmnist" else None}
    for missing in range(1, case.record_bytes):
        path.write_bytes(whole[: len(whole) - missing])
        events, _, counters, complete = read(path, **options)
        assert same(events, as_array(rows[:-1]))
        assert (counters.errors, complete) == (1, [True, False])


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_refused_or_read_as_far_as_they_go(name, tmp_path, counts):
    case = CASES[name]
    path = put(tmp_path, case, make_rows(case, 400, 30))
    whole = path.read_bytes()
    rng = np.random.default_rng(11)
    complaints = []
    for number in range(counts("damaged records", reduced=20, full=1000)):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 10):
            data[place] ^= 1 << int(rng.integers(0, 8))
        if number % 2:
            del data[int(rng.integers(0, len(data))) :]
        path.write_bytes(data)
        try:
            events, _, _, _ = read(path, start_ns=0 if number % 3 else None, **dict(case.options))
        except RecordingError as error:
            complaints.append(str(error))
        else:
            assert len(events) <= len(whole) // 5
    assert not any("\n" in complaint for complaint in complaints)


# --- DAT --------------------------------------------------------------------------------------------------------------
def test_dat_by_hand(tmp_path):
    path = tmp_path / "a.bin"  # the signature counts, not the suffix
    header = b"% Data file containing CD events\n% Version 2\n% Date 2020-09-14 14:18:29\n% Width 1280\n% Height 720\n"
    # t = 1000, x = 1279 (4FFh), y = 719 (2CFh), ON: 1 << 28 | 2CFh << 14 | 4FFh = 10B3C4FFh
    path.write_bytes(header + b"\x0c\x08" + bytes.fromhex("e803 0000 ffc4 b310"))
    events, _, _, _ = read(path)
    assert events.tolist() == [(1_000_000, 1279, 719, 1)]


def test_dat_triggers(tmp_path):
    path = tmp_path / "trigger.dat"
    words = struct.pack("<IIII", 7, 1, 2**32 - 1, 5 << 26) + struct.pack("<II", 3, 0)
    path.write_bytes(b"% Version 2\n% Width 640\n% Height 480\n\x0e\x08" + words)
    events, triggers, counters, _ = read(path)
    assert len(events) == 0
    assert triggers.tolist() == [(7000, 0, 1), ((2**32 - 1) * 1000, 5, 0), ((2**32 + 3) * 1000, 0, 0)]
    assert counters.time_wraps == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"% Data file containing CD events.\n% Version 2\n\x00\x08", "--width and --height"),
        (b"% Data file containing CD events.\n% Version 2\n", "cut short"),
        (b"% Data file containing flow.\n% Version 2\n\x28\x20", "type 40 in 32 bytes is not read"),
        (b"% Version 3\n% Width 640\n% Height 480\n\x0c\x08", "version 3 is not read"),
        (b"% Version 2\n% Width 0\n% Height 480\n\x0c\x08", "0x480 px cannot be"),
        (b"% Version 2\n% some text\nand more", "not recognised"),
    ],
)
def test_dat_that_is_not_read(content, complaint, tmp_path):
    path = tmp_path / "file.dat"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=complaint):
        open_recording(path)


def test_dat_and_raw_are_told_apart(tmp_path):
    path = tmp_path / "file"
    # The words of this RAW file begin like the type and the size of DAT's events.
    words = np.array([0x080C, 0x8001, 0x6388, 0x002D, 0x287B], "<u2").tobytes()
    path.write_bytes(b"% Version 2\n% evt 3.0\n% geometry 640x480\n" + words)
    events, _, _, _ = read(path)
    assert events.tolist() == [(5_000_000, 123, 45, 1)]
    path.write_bytes(b"% Version 2\n% plugin_name hal_plugin_gen41\n% Width 9\n% Height 9\n\x0c\x08" + bytes(8))
    assert read(path)[0].tolist() == [(0, 0, 0, 0)]
    with pytest.raises(RecordingError, match="this is dat, not evt3"):
        open_recording(path, encoding="evt3")


def test_dat_agrees_with_an_independent_reader(tmp_path):
    faery = pytest.importorskip("faery", reason="faery is not installed")
    case = CASES["dat"]
    path = put(tmp_path, case, make_rows(case, 5000, 30))
    theirs = np.concatenate(list(faery.events_stream_from_file(path)))
    ours, _, _, _ = read(path)
    assert (ours["t"] == theirs["t"] * NS_PER_US).all()
    assert all((ours[name] == theirs[name]).all() for name in ("x", "y", "p"))


# --- AEDAT 2.0 --------------------------------------------------------------------------------------------------------
def test_davis_by_hand(tmp_path):
    path = tmp_path / "davis.aedat"
    records = [
        (0x00000000, 10),  # the lower right corner, OFF
        (179 << 22 | 239 << 12 | 0x800, 11),  # the upper left one, ON
        (0x80000000 | 5 << 22 | 0x123, 12),  # a sample of a frame
        (0x80000C00 | 7 << 12, 12),  # of the inertial unit
        (0x402, 13), (0x403, 14), (0x404, 15), (0x400, 16),  # external input: falling, rising, pulse, not told
        (0x800 | 240 << 12, 17),  # beyond the sensor
    ]  # fmt: skip
    path.write_bytes(DAVIS_HEADER + b"".join(struct.pack(">II", *record) for record in records))
    events, triggers, counters, _ = read(path)
    assert events.tolist() == [(10_000, 239, 179, 0), (11_000, 0, 0, 1)]
    assert triggers.tolist() == [(13_000, 0, 0), (14_000, 0, 1), (15_000, 0, 1), (16_000, 0, 1)]
    assert (counters.out_of_area, counters.errors) == (1, 0)


def test_dvs128_by_hand(tmp_path):
    path = tmp_path / "dvs128.aedat"
    records = [(0x0001, 1), (0x7FFE, 2), (0x8000, 3), (0x10000, 4)]
    path.write_bytes(DVS128_HEADER + b"".join(struct.pack(">II", *record) for record in records))
    events, triggers, counters, _ = read(path)
    assert events.tolist() == [(1000, 127, 127, 0), (2000, 0, 0, 1)]
    assert (triggers.tolist(), counters.errors) == ([(3000, 0, 1)], 1)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346BaseCamera\r\n", (346, 260)),
        (b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis640\r\n", (640, 480)),
        (b"#!AER-DAT2.0\n# AEChip: eu.seebetter.ini.chips.sbret10.SBret10\n# End Of ASCII Header\r\n", (240, 180)),
        (DVS128_HEADER, (128, 128)),
    ],
)
@pytest.mark.parametrize("start", [b"", b"#abc\x00\x00\x00\x09"], ids=["plain", "like a header"])
def test_aedat2_headers(header, size, start, tmp_path):
    path = tmp_path / "file.aedat"
    path.write_bytes(header + start + struct.pack(">II", 0, 9))
    with open_recording(path) as recording:
        assert (recording.format, recording.width, recording.height) == ("aedat2", *size)
        times = [time for batch in recording.batches() for time in batch.events["t"].tolist()]
        assert times[-1:] == [9000]
        assert recording.counters.errors == 0 or size == (128, 128)  # whose addresses have no such bits


def test_the_end_of_an_aedat2_header_is_believed(tmp_path):
    path = tmp_path / "file.aedat"
    data = b"#ab\n\x00\x00\x00\x09" + struct.pack(">II", 0, 10)
    path.write_bytes(DAVIS_HEADER + b"# End Of ASCII Header\r\n" + data)
    _, _, counters, complete = read(path)
    assert (counters.errors, all(complete)) == (0, True)
    path.write_bytes(DAVIS_HEADER + data)  # the data's first line is taken for one of the header
    assert read(path)[2].errors == 1


def test_aedat2_of_a_chip_that_is_not_known(tmp_path):
    path = tmp_path / "file.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n# AEChip: a.b.CochleaAMS1c\r\n" + struct.pack(">II", 0x1800, 2))
    with pytest.raises(RecordingError, match="the chip cochleaams1c is not known; give --width and --height"):
        open_recording(path)
    assert read(path, width=128, height=128)[0].tolist() == [(2000, 127, 103, 1)]
    assert read(path, width=240, height=180)[0].tolist() == [(2000, 238, 179, 1)]


# --- Event Stream -----------------------------------------------------------------------------------------------------
ES_HEADER = b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", 320, 240)


def test_event_stream_by_hand(tmp_path):
    path = tmp_path / "a.es"
    data = bytes.fromhex("0b 3f01 0000  ff ff 00 0000 ef00  fe fe fe fe fe  fd 0100 0200")
    path.write_bytes(ES_HEADER + data)
    events, _, counters, _ = read(path)
    assert events.tolist() == [(5000, 319, 239, 1), (259_000, 0, 0, 0), (385_000, 1, 237, 1)]
    assert (counters.errors, counters.out_of_area) == (0, 0)


def test_resets_find_the_place_again(tmp_path):
    path = tmp_path / "a.es"
    event = bytes.fromhex("0b 0100 0200")
    path.write_bytes(ES_HEADER + event + event[:2] + b"\xfe" * 5 + event * 2)
    events, _, counters, _ = read(path)
    assert [row[1:] for row in events.tolist()] == [(1, 237, 1)] * 3
    assert counters.out_of_area == 1  # the event that was broken off, made whole with resets


def test_atis_threshold_crossings_are_counted_not_read(tmp_path):
    case = CASES["atis es"]
    rows = make_rows(case, 100, 300)
    _, _, counters, _ = read(put(tmp_path, case, rows))
    assert counters.padding == 100


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"Event Stream\x02\x00\x00\x00\x00", "generic events, with data of any kind, which are not read"),
        (b"Event Stream\x02\x00\x00\x03", "display events"),
        (b"Event Stream\x02\x00\x00\x04" + ES_HEADER[16:], "colour events"),
        (b"Event Stream\x02\x00\x00\x09", "unknown type 9"),
        (b"Event Stream\x01\x02\x03\x01" + ES_HEADER[16:], r"version 1\.2\.3 is not read"),
        (ES_HEADER[:18], "cut short"),
        (b"Event Stream\x02\x00\x00\x01" + bytes(4), "0x0 px cannot be"),
    ],
)
def test_event_streams_that_are_not_read(content, complaint, tmp_path):
    path = tmp_path / "file.es"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=complaint):
        open_recording(path)


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(1, 20), min_size=1), kind=st.sampled_from([1, 2]))
def test_an_event_stream_can_be_cut_anywhere(data, cuts, kind):
    def decode(sizes):
        position = 0
        turn = 0

        def read_into(view):
            nonlocal position, turn
            part = data[position : position + min(sizes[turn % len(sizes)], len(view))]
            view[: len(part)] = part
            position += len(part)
            turn += 1
            return len(part)

        counters = DecodeCounters()
        batches = decode_stream(read_into, EventStreamDecoder(300, 200, kind), counters, 64)
        return [event for batch in batches for event in batch.events.tolist()], counters

    assert decode(cuts) == decode([1000])


def test_event_streams_agree_with_independent_readers(tmp_path):
    faery = pytest.importorskip("faery", reason="faery is not installed")
    event_stream = pytest.importorskip("event_stream", reason="event_stream is not installed")
    case = CASES["es"]
    path = put(tmp_path, case, make_rows(case, 5000, 300))
    ours, _, _, _ = read(path)
    theirs = np.concatenate(list(faery.events_stream_from_file(path)))
    with event_stream.Decoder(str(path)) as decoder:
        raw = np.concatenate(list(decoder))
    assert (ours["t"] == theirs["t"] * NS_PER_US).all()
    assert all((ours[name] == theirs[name]).all() for name in ("x", "y", "p"))
    assert (ours["y"] == 239 - raw["y"].astype(int)).all()


# --- N-MNIST ----------------------------------------------------------------------------------------------------------
def test_nmnist_by_hand(tmp_path):
    path = tmp_path / "a.bs2"
    # 80 02 8e: ON at 28Eh = 654 us; then y = 240, which adds 8192 us from there on.
    path.write_bytes(bytes.fromhex("070f80028e 00f0000290 2121 7fffff 0000800001"))
    events, _, counters, _ = read(path)
    wrapped = (1 << 23) + 1 + 8192
    assert events.tolist() == [
        (654_000, 7, 15, 1), (((1 << 23) - 1 + 8192) * 1000, 33, 33, 0), (wrapped * 1000, 0, 0, 1),
    ]  # fmt: skip
    assert (counters.time_wraps, counters.out_of_area) == (2, 0)


@pytest.mark.parametrize(
    ("x", "y", "size"), [(33, 33, (34, 34)), (34, 0, (240, 180)), (0, 180, (256, 240)), (240, 0, (256, 240))]
)
def test_the_largest_coordinates_choose_the_sensor(x, y, size, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([0, 0, 0, 0, 0, 1, 240, 0, 0, 1, x, y, 0, 0, 2]))
    with open_recording(path) as recording:
        assert (recording.width, recording.height) == size
    with open_recording(path, width=10, height=20) as recording:
        assert (recording.width, recording.height) == (10, 20)


def test_a_bin_file_of_something_else(tmp_path):
    path = tmp_path / "words.bin"
    rng = np.random.default_rng(1)
    path.write_bytes(rng.integers(0, 256, 1001, np.uint8).tobytes())
    with pytest.raises(RecordingError, match=r"1001 bytes are no whole number of events; name what it holds"):
        open_recording(path)
    path.write_bytes(rng.integers(0, 256, 5000, np.uint8).tobytes())
    with pytest.raises(RecordingError, match=r"step back \d+ times in 1000 events"):
        open_recording(path)
    assert read(path, encoding="NMNIST")[2].non_monotonic > 100
    words = np.array([0x8000000F, 0x1A03D82D], "<u4")
    path.write_bytes(words.tobytes())
    assert read(path, encoding="evt2", width=320, height=320)[0].tolist() == [(1_000_000, 123, 45, 1)]
