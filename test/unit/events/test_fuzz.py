# SPDX-License-Identifier: Apache-2.0
"""Damage of every kind to every encoding, every format and all that is written; nothing but a refusal may come of it.

What is damaged and what must hold lies in ``test/fuzz``. Encodings and formats
that are added are covered from then on, or fail here for want of a sample.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import struct
import sys
import zipfile
from pathlib import Path

import event_checks
import event_samples
import lz4.frame
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import ENCODINGS, WRITERS, PacketDecoder, RecordingError, create_recording, open_recording
from neuro_ros.events.formats import _compression_shim as compression
from neuro_ros.events.formats import _flatbuffers as flatbuffers
from neuro_ros.events.formats import aedat4_writer

SCRIPT = Path(event_samples.__file__).with_name("fuzz_events.py")
SAMPLES = event_samples.samples()
#: After which time the words of a stream begin again; where none is named, they do not.
WRAP_US = {"evt2": 1 << 34, "evt21": 1 << 34, "evt21_legacy": 1 << 34, "evt3": 1 << 24}
#: Formats whose end is marked, so that a file that is cut short cannot pass for a whole one.
MARKED_ENDS = {"npz", "aedat4", "rosbag2", "rosbag2-sqlite3"}
#: Formats that may give less than that: what is cut off lies anywhere in the recording.
SCATTERED = {"rosbag2-sqlite3"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),  # of rosbags, when it refuses a file
]


@pytest.fixture(autouse=True)
def _quiet():
    """Let nobody speak of damage, which is the rule here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Return what makes a sample by name: its path, its bytes, and what is read of it."""
    made = {}

    def make_once(name):
        sample = SAMPLES[name]
        if sample.needs is not None:
            pytest.importorskip(sample.needs, reason=f"{sample.needs} is not installed")
        if name not in made:
            path = sample.make(tmp_path_factory.mktemp("sample"))
            made[name] = path, path.read_bytes(), event_checks.check_recording(path, **sample.options)
        return made[name]

    return make_once


# --- nothing is left out ----------------------------------------------------------------------------------------------
def test_every_encoding_and_every_format_has_a_sample():
    for name in ENCODINGS:
        assert event_samples.encoding_packets(name), name
    covered = set(event_samples.READ_ONLY)
    covered |= {opener for opener, forms in event_samples.WRITTEN.items() if set(forms) & set(WRITERS)}
    missing = event_samples.openers() - covered
    assert not missing, f"no sample in {event_samples.__file__} for what {', '.join(sorted(missing))} reads"


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_hold_the_events_that_they_were_made_of(name, make):
    sample = SAMPLES[name]
    _, _, (events, counters) = make(name)
    expected = event_samples.make_events(width=sample.width, height=sample.height)
    assert len(events) == len(expected)
    assert (np.diff(events["t"]) == np.diff(expected["t"])).all()
    for field in ("x", "y", "p"):  # as they are, or mirrored as in older formats
        size = {"x": sample.width, "y": sample.height, "p": 2}[field]
        assert (events[field] == expected[field]).all() or (events[field] == size - 1 - expected[field]).all()
    assert (counters.errors, counters.out_of_area, counters.non_monotonic) == (0, 0, 0)


# --- encodings --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ENCODINGS)
@given(seed=st.integers(0, 2**32 - 1), base_ns=st.sampled_from([0, 1, 1 << 40, 1 << 62, (1 << 64) - 1]))
def test_damaged_payloads(name, seed, base_ns):
    rng = np.random.default_rng(seed)
    decoder = PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT)
    for payload, _ in event_samples.encoding_packets(name, 100):
        data = event_checks.damage(rng, payload)
        event_checks.check_decoder(name, data, event_samples.WIDTH, event_samples.HEIGHT, base_ns)
        if rng.random() < 0.3:
            decoder.lose(int(rng.integers(0, 3)))
        event_checks.check_batch(decoder.decode(data, base_ns), event_samples.WIDTH, event_samples.HEIGHT)
    event_checks.check_counters(decoder.counters)


def whole_words(rng, name, payload):
    """Damage a payload, and let it end with a word: a byte that is lost from a stream would shift all that follow."""
    size = ENCODINGS[name].decoder(1, 1).word_bytes
    data = event_checks.damage(rng, payload)
    return data[: len(data) // size * size]


def same_but_for_wraps(name, got, expected):
    """Tell whether events are the same, all later or earlier by the same number of wraps."""
    if len(got) != len(expected) or any((got[field] != expected[field]).any() for field in ("x", "y", "p")):
        return False
    shift_us = (got["t"] - expected["t"]) // 1000
    return len(got) == 0 or bool((shift_us == shift_us[0]).all() and int(shift_us[0]) % WRAP_US.get(name, 1 << 63) == 0)


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in event_samples.READ_ONLY_ENCODINGS])
@given(seed=st.integers(0, 2**32 - 1))
def test_after_damage_a_stream_that_begins_anew_is_exact(name, seed):
    rng = np.random.default_rng(seed)
    # Each packet of another encoder, so that it begins with a time word.
    first, _, _, last = (event_samples.encode_alone(name, part) for part in range(4))
    expected = PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT).decode(*last).events.copy()
    for lost in (False, True):
        decoder = PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT)
        decoder.decode(whole_words(rng, name, first[0]), first[1])
        if lost:
            decoder.lose(1)
        got = decoder.decode(*last)
        assert got.complete != lost
        assert same_but_for_wraps(name, got.events, expected)


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in event_samples.READ_ONLY_ENCODINGS])
def test_packets_in_another_order_and_twice(name):
    packets = [event_samples.encode_alone(name, part) for part in range(4)]
    alone = [
        PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT).decode(*item).events.copy() for item in packets
    ]
    decoder = PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT)
    order = [0, 1, 1, 3, 2, 0, 3]
    for number in order:
        assert same_but_for_wraps(name, decoder.decode(*packets[number]).events, alone[number])
    assert decoder.counters.non_monotonic == 3  # 1 again, 2 after 3, 0 after 2
    assert decoder.counters.errors == 0


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in event_samples.READ_ONLY_ENCODINGS])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (160, 240), (320, 100), (17, 33)])
def test_events_outside_the_sensor_are_counted(name, width, height):
    small = PacketDecoder(name, width, height)
    large = PacketDecoder(name, event_samples.WIDTH, event_samples.HEIGHT)
    for packet in event_samples.encoding_packets(name):
        events, whole = small.decode(*packet).events, large.decode(*packet).events
        inside = (whole["x"] < width) & (whole["y"] < height)
        assert (events == whole[inside]).all()
    assert small.counters.out_of_area > 0
    assert large.counters.out_of_area == 0


# --- formats ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SAMPLES)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_recordings(name, make, tmp_path, seed):
    path, data, _ = make(name)
    path = tmp_path / path.name
    path.write_bytes(event_checks.damage(np.random.default_rng(seed), data))
    event_checks.check_recording(path, **SAMPLES[name].options)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_recording_that_is_cut_short_gives_the_events_before_the_cut(name, make, tmp_path, counts):
    path, data, (whole, _) = make(name)
    path = tmp_path / path.name
    for length in np.linspace(0, len(data) - 1, counts("cuts of each format", reduced=12, full=300)).astype(int):
        path.write_bytes(data[:length])
        found = event_checks.check_recording(path, **SAMPLES[name].options)
        if found is not None:
            events, counters = found
            if name in SCATTERED:
                assert set(events.tolist()) <= set(whole.tolist())
            else:
                assert (events == whole[: len(events)]).all()
            if name in MARKED_ENDS and len(events) < len(whole):
                assert counters.errors > 0


@pytest.mark.parametrize("name", SAMPLES)
def test_random_bytes_behind_the_first_ones(name, make, tmp_path, counts):
    path, data, _ = make(name)
    path = tmp_path / path.name
    rng = np.random.default_rng(1)
    for kept in range(0, counts("random bytes in each format", reduced=20, full=400), 1):
        path.write_bytes(data[: kept * 4] + rng.bytes(int(rng.integers(0, 3000))))
        event_checks.check_recording(path, **SAMPLES[name].options)


def aedat4_packets(path):
    """Cut a file into what stands before the packets, with its table forgotten, and the packets."""
    data = bytearray(path.read_bytes())
    with open_recording(path) as recording:
        position, end = recording._header.data_start, recording._header.data_end
    data[54:62] = b"\xff" * 8
    head, packets = bytes(data[:position]), []
    while position < end:
        size = 8 + struct.unpack_from("<i", data, position + 4)[0]
        packets.append(bytes(data[position : position + size]))
        position += size
    return head, packets


def test_packets_of_aedat4_in_another_order_twice_and_with_rubbish_between(tmp_path, monkeypatch):
    monkeypatch.setattr(aedat4_writer, "_PACKET_EVENTS", 100)
    path = tmp_path / "recording.aedat4"
    events = event_samples.make_events(600)
    with create_recording(path, event_samples.WIDTH, event_samples.HEIGHT) as writer:
        writer.write(events)
    head, packets = aedat4_packets(path)
    rng = np.random.default_rng(2)
    for _ in range(20):
        order = rng.integers(0, len(packets), 8).tolist()
        path.write_bytes(head + b"".join(packets[number] + rng.bytes(50) * int(number % 2) for number in order))
        found, counters = event_checks.check_recording(path)
        expected = np.concatenate([events[100 * number : 100 * number + 100] for number in order])
        assert (found == expected).all()
        assert counters.errors == sum(number % 2 for number in order)


# --- files that mean harm ---------------------------------------------------------------------------------------------
def growth_mb(run):
    """Return how much more memory a call ever had [MB], of what Python and NumPy reserve."""
    import tracemalloc

    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def read_through(path):
    """Read a recording and keep nothing of it; return how many events it held, and the counters."""
    with open_recording(path) as recording:
        return sum(len(batch.events) for batch in recording.batches()), recording.counters


def test_packets_of_aedat4_that_grow(tmp_path):
    path = tmp_path / "bomb.aedat4"
    with create_recording(path, 640, 480):
        pass
    head, _ = aedat4_packets(path)
    zeros = (1 << 26) // 16 - 2
    events = flatbuffers.pack_structs(b"EVTS", np.zeros(1, "V16"))
    events = struct.pack("<I", 28 + 16 * zeros) + events[4:28] + struct.pack("<I", zeros) + bytes(16 * zeros)
    packed, beyond = compression.pack_lz4(events), lz4.frame.compress(bytes(1 << 28))
    path.write_bytes(head + b"".join(struct.pack("<ii", 0, len(item)) + item for item in (packed, beyond, packed)))
    assert len(packed) < 1 << 19
    result = []
    assert growth_mb(lambda: result.append(read_through(path))) < 200
    assert (result[0][0], result[0][1].errors) == (2 * zeros, 1)


@pytest.mark.parametrize("compressed", ["lz4", "zstd"])
def test_chunks_of_mcap_that_grow(compressed, make, tmp_path):
    _, data, _ = make("rosbag2")
    if compressed == "lz4":
        packed = lz4.frame.compress(bytes(1 << 28))
    else:
        zstd = pytest.importorskip("backports.zstd", reason="of another version of rosbags")
        packed = zstd.compress(bytes(1 << 28))
    chunk = struct.pack("<QQQII", 0, 1, 1 << 28, 0, len(compressed)) + compressed.encode()
    chunk += struct.pack("<Q", len(packed)) + packed
    start = 8 + 9 + struct.unpack_from("<Q", data, 9)[0]  # behind the header
    records = ((6, chunk), (15, bytes(4)), (2, bytes(20)))
    parts = [bytes([code]) + struct.pack("<Q", len(body)) + body for code, body in records]
    path = tmp_path / "bomb.mcap"
    path.write_bytes(data[:start] + b"".join(parts) + data[:8])

    def read():
        with pytest.raises(RecordingError, match="larger than"):
            open_recording(path)

    assert growth_mb(read) < 200


def write_archive(path, count, method, zeros=0):
    """Write an archive whose columns claim to be so long, and hold as many zero bytes as given."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, kind in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "|u1")):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                shape = {"descr": kind, "fortran_order": False, "shape": (count,)}
                np.lib.format.write_array_header_1_0(stream, shape)
                for _ in range(zeros >> 20):
                    stream.write(bytes(1 << 20))
        for name in ("width", "height"):
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, np.array(640))


def test_archives_that_grow_or_claim_to(tmp_path):
    path = tmp_path / "bomb.npz"
    write_archive(path, 1 << 22, zipfile.ZIP_DEFLATED, zeros=1 << 25)
    result = []
    assert growth_mb(lambda: result.append(read_through(path))) < 20
    assert result[0][0] == 1 << 22
    write_archive(path, 1 << 60, zipfile.ZIP_DEFLATED)
    assert growth_mb(lambda: result.append(read_through(path))) < 20
    assert (result[1][0], result[1][1].errors) == (0, 1)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        write_archive(path, 1, method)
        with pytest.raises(RecordingError, match="neither stored nor deflated"):
            open_recording(path)


def test_a_refusal_is_short_whatever_the_file_says(tmp_path):
    path = tmp_path / "file.npz"
    write_archive(path, 1, zipfile.ZIP_STORED)
    data = path.read_bytes()
    # The length of a name: what follows is taken for the name, and the library says it all.
    place = data.index(b"PK\x03\x04") + 26
    path.write_bytes(data[:place] + b"\xf0\x01" + data[place + 2 :] + b"\x1b[31m")
    with pytest.raises(RecordingError) as refusal:
        open_recording(path)
    assert len(str(refusal.value)) <= len(str(path)) + event_checks.MAX_REFUSAL
    assert str(refusal.value).isprintable()


# --- in a process of its own ------------------------------------------------------------------------------------------
def test_sweep_takes_little_time_and_memory(spawn, counts):
    cases = counts("damaged files in a process", reduced=25, full=1500)
    child = spawn([sys.executable, str(SCRIPT), "sweep", "--cases", str(cases)])
    assert child.wait(120 + 2 * cases) == 0, child.output
    result = json.loads(child.lines[-1])
    assert result["cases"] == cases * len(result["targets"])
    assert len(result["targets"]) >= len(ENCODINGS) + len(WRITERS)
    assert 0 < result["refused"] < result["cases"]
    assert result["slowest_s"] < 15
    # A damaged file may well ask for the largest packet that is allowed.
    assert result["growth_mb"] < 300


def test_atheris_finds_nothing(spawn, counts, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (there are wheels for x86-64 Linux)")
    seconds = counts("seconds of atheris", reduced=4, full=300)
    options = [f"-max_total_time={seconds}", "-seed=1", "-timeout=30", "-rss_limit_mb=1500"]
    child = spawn(
        [sys.executable, str(SCRIPT), "atheris", str(tmp_path / "corpus"), *options, f"-artifact_prefix={tmp_path}/"],
        env={"NUMBA_DISABLE_JIT": "1"},
    )
    assert child.wait(90 + 2 * seconds) == 0, child.output[-5000:]
    assert child.wait_for(r"DONE +cov: (\d+)")
    assert not list(tmp_path.glob("crash-*")) + list(tmp_path.glob("timeout-*")) + list(tmp_path.glob("oom-*"))
