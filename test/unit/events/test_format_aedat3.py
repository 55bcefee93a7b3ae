# SPDX-License-Identifier: Apache-2.0
"""AEDAT 3.1 and 3.0, made here byte by byte after the vendor's description, as DvsGesture's files are."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from reading import read_whole as read

from neuro_ros.events import RecordingError, open_recording
from neuro_ros.events.formats import _aedat3_packets

HEADER = (
    b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
    b"#Start-Time: 2016-01-01 00:00:00 (TZ+0000)\r\n#!END-HEADER\r\n"
)
WRAP_US = 1 << 31


def packet(kind, records, overflow=0, source=1, size=8, number=None, valid=None):
    """Make a packet of records, bytes each."""
    number = len(records) if number is None else number
    valid = number if valid is None else valid
    return struct.pack("<hhiiiiii", kind, source, size, 4, overflow, number, number, valid) + b"".join(records)


def polarity(t, x, y, p, valid=1):
    """Make a polarity event; t without its upper bits."""
    return struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t)


def special(t, what, valid=1):
    """Make a special event."""
    return struct.pack("<Ii", what << 1 | valid, t)


def make_rows(count, step_us, seed=5):
    """Make random rows (t [us], x, y, p) of a DVS128 in order of time."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(0, 2 * step_us, count))
    parts = (rng.integers(0, limit, count).tolist() for limit in (128, 128, 2))
    return list(zip(times.tolist(), *parts, strict=True))


def make_file(rows, per_packet):
    """Write rows in packets; a packet ends where the upper bits of the time change."""
    parts = [HEADER]
    start = 0
    while start < len(rows):
        overflow = rows[start][0] // WRAP_US
        stop = start
        while stop < min(start + per_packet, len(rows)) and rows[stop][0] // WRAP_US == overflow:
            stop += 1
        parts.append(packet(1, [polarity(t % WRAP_US, x, y, p) for t, x, y, p in rows[start:stop]], overflow))
        start = stop
    return b"".join(parts)


def as_list(rows):
    """Return rows as the events that they stand for."""
    return [(t * 1000, x, y, p) for t, x, y, p in rows]


def test_by_hand(tmp_path):
    path = tmp_path / "user01.aedat"
    # x = 127, y = 5, ON, valid: 127 << 17 | 5 << 2 | 1 << 1 | 1 = 00FE0017h, then t = 2
    first = bytes.fromhex("0100 0100 08000000 04000000 01000000 02000000 02000000 01000000")
    path.write_bytes(
        HEADER
        + first + bytes.fromhex("1700fe00 02000000  1600fe00 02000000")  # the second one is not valid
        + packet(0, [special(3, what) for what in (0, 1, 2, 3, 4, 5, 7, 10, 12)] + [special(4, 2, valid=0)], 1)
        + packet(3, [bytes(36)] * 2, size=36)
        + packet(1, [polarity(9, 128, 0, 0), polarity(8, 0, 127, 0), polarity(6, 1, 1, 0)], 1)
        + packet(1, [polarity(9, 0, 0, 0)], source=2)
    )  # fmt: skip
    events, triggers, counters, complete = read(path)
    upper = WRAP_US * 1000
    assert events.tolist() == [(upper + 2000, 127, 5, 1), (upper + 8000, 0, 127, 0), (upper + 6000, 1, 1, 0)]
    assert triggers.tolist() == [(upper + 3000, *line) for line in ((0, 1), (0, 0), (0, 1), (1, 0), (2, 0))]
    assert (counters.errors, counters.out_of_area, counters.non_monotonic, all(complete)) == (0, 1, 1, True)
    with open_recording(path) as recording:
        assert (recording.format, recording.width, recording.height) == ("aedat3", 128, 128)


def test_version_3_0_counts_rows_from_the_bottom_and_has_no_end_of_header(tmp_path):
    path = tmp_path / "old.aedat"
    path.write_bytes(
        b"#!AER-DAT3.0\r\n#Format: RAW\r\n#Source 0: DAVIS240C\r\n"
        + packet(1, [polarity(1, 0, 0, 1), polarity(2, 239, 179, 0), polarity(3, 0, 180, 0)], source=0)
    )
    events, _, counters, _ = read(path)
    assert events.tolist() == [(1000, 0, 179, 1), (2000, 239, 0, 0)]
    assert counters.out_of_area == 1


@pytest.mark.parametrize("max_events", [1, 100, 65536])
def test_a_recording_longer_than_its_time_field(max_events, tmp_path):
    rows = make_rows(1500, 3_000_000)
    path = tmp_path / "long.aedat"
    path.write_bytes(make_file(rows, 64))
    events, _, counters, _ = read(path, max_events)
    assert events.tolist() == as_list(rows)
    assert counters.time_wraps == rows[-1][0] // WRAP_US == 2
    assert (counters.errors, counters.non_monotonic) == (0, 0)


def test_a_packet_larger_than_the_buffer(tmp_path):
    rows = make_rows(150_000, 2)
    path = tmp_path / "large.aedat"
    path.write_bytes(make_file(rows, 150_000))
    assert read(path)[0].tolist() == as_list(rows)


def test_a_later_start_gives_what_a_full_pass_gives_from_there_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_aedat3_packets, "_PIECE_BYTES", 1 << 14)  # so that there is something to pass over
    rows = make_rows(20_000, 1000)
    rows[0] = (rows[0][0], 128, 0, 0)  # beyond the sensor, so that its counter tells what was read
    path = tmp_path / "a.aedat"
    path.write_bytes(make_file(rows, 500))
    whole, _, _, _ = read(path)
    with open_recording(path) as recording:
        assert recording.seekable
    for row in (0, 1, 499, 500, 10_000, 19_999):
        start_ns = rows[row][0] * 1000
        late, _, counters, _ = read(path, start_ns=start_ns)
        assert late.tolist() == whole[whole["t"] >= start_ns].tolist()
        assert counters.out_of_area == (row < 1000)


@pytest.mark.parametrize("piece_bytes", [1, 300, 3000, 1 << 20])
def test_a_later_start_in_a_damaged_file_with_time_that_runs_back(piece_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(_aedat3_packets, "_PIECE_BYTES", piece_bytes)
    packets = make_file(make_rows(600, 3_000_000), 20)[len(HEADER) :]
    inputs = packet(0, [special(t * 1000, 2 + t % 3) for t in range(40)])
    others = packet(1, [polarity(2**31 - 1, 3, 3, 1)], overflow=9, source=2) + packet(3, [bytes(36)] * 2, 9, size=36)
    path = tmp_path / "a.aedat"
    rng = np.random.default_rng(8)
    for _ in range(10):
        data = bytearray(packets + inputs + others + packets[: len(packets) // 2] + packets + inputs)
        for place in rng.integers(0, len(data), 12):
            data[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(HEADER + data[: len(data) - int(rng.integers(0, 40))])
        with open_recording(path) as recording:

            def rows(start_ns=None):
                batches = [(b.events.tolist(), b.triggers.tolist()) for b in recording.batches(99, start_ns)]
                return [[row for batch in batches for row in batch[part]] for part in (0, 1)]

            whole = rows()
            times_ns = sorted(event[0] for event in whole[0])
            for start_ns in (times_ns[-1], 0, times_ns[700], times_ns[200], times_ns[-3] + 1, 1 << 62):
                assert rows(start_ns) == [[row for row in part if row[0] >= start_ns] for part in whole]


def test_a_file_that_is_cut_short(tmp_path):
    rows = make_rows(40, 10)
    path = tmp_path / "cut.aedat"
    whole = make_file(rows, 20)
    for length in range(len(HEADER) + 1, len(whole)):
        path.write_bytes(whole[:length])
        events, _, counters, complete = read(path)
        place = length - len(HEADER)
        full = max(0, place - 28) // 8 if place < 188 else 20 + max(0, place - 188 - 28) // 8
        assert events.tolist() == as_list(rows[:full])
        assert (counters.errors, complete[-1]) == ((0, True) if place == 188 else (1, False))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, place: data[:place] + b"\xff" * 28 + data[place + 28 :],  # no header
        lambda data, place: data[:place] + data[place + 5 :],  # bytes lost in it
        lambda data, place: data[: place + 20] + struct.pack("<ii", 10**6, 10**6) + data[place + 28 :],
        lambda data, place: data[: place + 16] + struct.pack("<iii", *[10**6] * 3) + data[place + 28 :],
        lambda data, place: data[: place + 4] + struct.pack("<i", 9) + data[place + 8 :],
        lambda data, place: data[: place + 12] + struct.pack("<i", 2**31 - 1) + data[place + 16 :],
    ],
)
def test_after_a_damaged_header_the_next_packet_is_found(damage, tmp_path):
    rows = make_rows(400, 10)
    path = tmp_path / "damaged.aedat"
    whole = make_file(rows, 100)
    path.write_bytes(damage(whole, len(HEADER) + 28 + 800))
    events, _, counters, complete = read(path)
    assert events.tolist() == as_list(rows[:100] + rows[200:])
    assert (counters.errors, complete) == (1, [True, False, True])


def test_damaged_files_are_refused_or_read_as_far_as_they_go(tmp_path, counts):
    path = tmp_path / "recording.aedat"
    inputs = packet(0, [special(t, 2 + t % 3) for t in range(20)])
    whole = HEADER + (inputs + make_file(make_rows(250, 30), 50)[len(HEADER) :]) * 2
    rng = np.random.default_rng(11)
    complaints = []
    for number in range(counts("damaged aedat3", reduced=60, full=3000)):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 10):
            data[place] ^= 1 << int(rng.integers(0, 8))
        if number % 2:
            del data[int(rng.integers(0, len(data))) :]
        path.write_bytes(data)
        try:
            events, _, _, _ = read(path, start_ns=5_000_000 if number % 3 else None)
        except RecordingError as error:
            complaints.append(str(error))
        else:
            assert len(events) <= len(whole) // 8
    assert not any("\n" in complaint for complaint in complaints)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (b"#!AER-DAT3.1\r\n#Format: SerialTS\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n", "format SerialTS is not read"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n", "names no sensor; give --width and --height"),
        (b"#!AER-DAT3.1\r\n#Source 0: DYNAPSE\r\n#!END-HEADER\r\n", "the sensor DYNAPSE is not known"),
        (b"#!AER-DAT3.1", "names no sensor"),
        (
            b"#!AER-DAT3.1\r\n#Source 0: DVS128\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n",
            "2 sources to read, not one; it holds Source 0: DVS128, Source 1: DAVIS240C; name one",
        ),
    ],
)
def test_what_is_not_read(header, complaint, tmp_path):
    path = tmp_path / "file.aedat"
    path.write_bytes(header)
    with pytest.raises(RecordingError, match=complaint):
        open_recording(path)


def test_one_of_several_sources_by_name(tmp_path):
    path = tmp_path / "two.aedat"
    path.write_bytes(
        b"#!AER-DAT3.1\r\n#-Source 0: DVS128\r\n#Source 0: DVS128\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n"
        + packet(1, [polarity(1, 1, 2, 1)], source=0)
        + packet(1, [polarity(2, 239, 3, 1)], source=1)
    )
    assert read(path, topic="0")[0].tolist() == [(1000, 1, 2, 1)]
    assert read(path, topic="DAVIS240C")[0].tolist() == [(2000, 239, 3, 1)]
    with pytest.raises(RecordingError, match="no sources to read"):
        open_recording(path, topic="7")
