# SPDX-License-Identifier: Apache-2.0
"""Reading from a time on: the same as reading all and leaving out what lies before, in every format."""

from __future__ import annotations

import importlib.util
import io
import json
from functools import partial
from pathlib import Path

import event_samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cli.command import main
from neuro_ros.events import (
    ENCODINGS,
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    WRITERS,
    DecodeCounters,
    create_recording,
    open_recording,
)
from neuro_ros.events.formats import _aedat3_packets, _time_index, aedat4_writer, hdf5
from neuro_ros.events.formats.aedat2 import Aedat2Decoder
from neuro_ros.events.formats.dat import DatDecoder
from neuro_ros.events.stream import decode_stream

BAG = Path(__file__).resolve().parents[2] / "data" / "test_events_1"
WIDTH, HEIGHT = 640, 480
COUNT = 6000
DECODERS = {name: item.decoder for name, item in ENCODINGS.items()} | {
    "dat": DatDecoder,
    "dat triggers": partial(DatDecoder, kind=2),
    "davis": Aedat2Decoder,
    "dvs128": partial(Aedat2Decoder, kind=1),
}
SKIPPING = [name for name, item in DECODERS.items() if item(1, 1).skip(np.empty(0, np.uint8)) is not None]
#: By the size of a word: the time word's code, and where its payload lies.
TIME_WORDS = {2: (8 << 12, 12, 0), 4: (8 << 28, 28, 0), 8: (8 << 60, 28, 32)}


#: Formats that are not written and seek.
READ_ONLY = [event_samples.samples()[name] for name in ("dat", "aedat2", "aedat3", "hdf5")]
FORMS = [*WRITERS, *(sample.name for sample in READ_ONLY)]


def make(kind, width=WIDTH, height=HEIGHT):
    """Make events in bursts, and triggers, for longer than EVT3's wrap, with time that runs back or not."""
    rng = np.random.default_rng(7)
    events = np.zeros(COUNT, EVENT_DTYPE)
    bursts_us = np.sort(rng.integers(0, 40_000, COUNT // 10)) * 1000
    if kind == "jitter":
        bursts_us += rng.integers(0, 40, len(bursts_us)) * 5000
    elif kind == "restart":
        bursts_us[len(bursts_us) // 2 :] -= 15_000_000
    times_us = 3_000_000 + np.repeat(bursts_us, 10) + np.tile(np.arange(0, 500, 50), len(bursts_us))
    events["t"] = times_us * 1000
    events["x"] = rng.integers(0, width, COUNT)
    events["y"] = np.repeat(rng.integers(0, height, COUNT // 20), 20)
    events["p"] = rng.integers(0, 2, COUNT)
    triggers = np.zeros(20, TRIGGER_DTYPE)
    triggers["t"] = events["t"][100 :: COUNT // 20]
    triggers["edge"] = np.arange(20) % 2
    return events, triggers


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Write each kind of recording in each format, in pieces so small that a seek has something to pass over."""
    folder = tmp_path_factory.mktemp("recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aedat4_writer, "_PACKET_EVENTS", 250)
        for kind in ("rising", "jitter", "restart"):
            events, triggers = make(kind)
            for form in WRITERS:
                with create_recording(folder / f"{kind}.{form}", WIDTH, HEIGHT, form) as writer:
                    for start in range(0, COUNT, step := COUNT if kind == "jitter" else 300):
                        writer.write(events[start : start + step], triggers[start // 300 :][: step // 300])
            for sample in READ_ONLY:
                if sample.needs is None or importlib.util.find_spec(sample.needs) is not None:
                    sample.write(folder / f"{kind}.{sample.name}", make(kind, sample.width, sample.height)[0])
    return folder


@pytest.fixture
def small_pieces(monkeypatch):
    """Let an index cut a recording into pieces as small as the recordings here ask for."""
    monkeypatch.setattr(_time_index, "_BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(_aedat3_packets, "_PIECE_BYTES", 1 << 13)
    monkeypatch.setattr(hdf5, "_LEAST_EVENTS", 200)


def open_one(path):
    """Open a recording; skip the test where it could not be made."""
    if not path.exists():
        pytest.skip(f"what makes {path.suffix} is not installed")
    return open_recording(path)


def read(recording, **options):
    """Read a pass; return events and triggers."""
    batches = [(batch.events.copy(), batch.triggers.copy()) for batch in recording.batches(**options)]
    events = [np.empty(0, EVENT_DTYPE), *(item[0] for item in batches)]
    triggers = [np.empty(0, TRIGGER_DTYPE), *(item[1] for item in batches)]
    return np.concatenate(events), np.concatenate(triggers)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["rising", "jitter", "restart"])
def test_a_pass_from_a_time_on_is_the_rest_of_the_whole(kind, form, recordings):
    with open_one(recordings / f"{kind}.{form}") as recording:
        events, triggers = read(recording)
        assert (len(events), len(triggers)) == (COUNT, 20 if form in WRITERS else 0)
        times_ns = events["t"]
        first, last = int(times_ns.min()), int(times_ns.max())
        # In no order, so that what one pass found out must not mislead the next.
        starts = [
            last,
            0,
            first,
            int(times_ns[4321]),
            (first + last) // 2 + 7,
            last + 1,
            int(times_ns[3]) + 1,
            1 << 62,
        ]
        for start_ns in starts:
            got_events, got_triggers = read(recording, start_ns=start_ns, max_events=333)
            assert (got_events == events[times_ns >= start_ns]).all()
            assert got_triggers.tolist() == triggers[triggers["t"] >= start_ns].tolist()
            assert recording.counters.errors == 0


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("form", FORMS)
def test_formats_that_seek_leave_much_undecoded(form, recordings):
    with open_one(recordings / f"rising.{form}") as recording:
        assert recording.seekable == (form != "npz")
        if not recording.seekable:
            return
        events, _ = read(recording)
        start_ns = int(events["t"][4500])
        decoded = sum(len(batch.events) for batch in recording._batches(65536, start_ns))
        assert 1500 <= decoded < 2500


def test_a_file_that_ends_within_a_word(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(_time_index, "_BLOCK_BYTES", 1 << 12)
    path = tmp_path / "cut.raw"
    path.write_bytes((recordings / "rising.evt2").read_bytes() + b"\1")
    with open_recording(path) as recording:
        events, _ = read(recording)
        for start_ns in (0, int(events["t"][-1]), 1 << 62):
            assert (read(recording, start_ns=start_ns)[0] == events[events["t"] >= start_ns]).all()
            assert recording.counters.errors == 1


# --- skipping words ---------------------------------------------------------------------------------------------------
def decode(decoder, data):
    """Decode to the end; return events and triggers."""
    events, triggers = [], []
    for batch in decode_stream(io.BytesIO(data).readinto, decoder, DecodeCounters(), 65536):
        events += batch.events.tolist()
        triggers += batch.triggers.tolist()
    return events, triggers


@given(
    data=st.binary(max_size=3000),
    name=st.sampled_from(SKIPPING),
    seed=st.integers(0, 2**32 - 1),
    cut=st.floats(0, 1),
    begin_ns=st.sampled_from([0, 100_000_000_000_000]),
)
def test_skipping_leaves_the_state_of_decoding(data, name, seed, cut, begin_ns):
    make_decoder = DECODERS[name]
    size = make_decoder(1, 1).word_bytes
    words = np.frombuffer(data[: len(data) // size * size], f"<u{size}").copy()
    rng = np.random.default_rng(seed)
    chosen = rng.random(len(words)) < 0.2
    code, bits, shift = TIME_WORDS[size]
    payloads = np.cumsum(rng.integers(0, (1 << bits) // 5, chosen.sum())) % (1 << bits)
    words[chosen] = code + (payloads.astype(np.uint64) << shift).astype(words.dtype)
    parted = int(cut * len(words))
    head, tail = words[:parted].view(np.uint8), words[parted:].tobytes()
    decoding, skipping = make_decoder(700, 500), make_decoder(700, 500)
    for decoder in (decoding, skipping):
        decoder.start_at(begin_ns)
    saved = skipping.state
    events, triggers = decode(decoding, head.tobytes())
    reached_ns = skipping.skip(head)
    assert all(item[0] < reached_ns for item in events + triggers)
    assert decode(skipping, tail) == decode(decoding, tail)
    skipping.state = saved
    assert decode(skipping, head.tobytes()) == (events, triggers)


# --- the command ------------------------------------------------------------------------------------------------------
def info(capsys, path, *options):
    code = main(["info", str(path), "--json", *options])
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


@pytest.mark.parametrize("form", ["bag", "evt3", "aedat4", "npz"])
def test_ranges_on_the_command_line(form, tmp_path, capsys):
    path = BAG
    if form != "bag":
        path = tmp_path / "whole"
        assert main(["convert", str(BAG), str(path), "--to", form]) == 0
        capsys.readouterr()
    with open_recording(path) as recording:
        events, triggers = read(recording)
    since_ns = events["t"] - events["t"][0]
    trigger_since_ns = triggers["t"] - events["t"][0]
    for start, duration in ((None, 0.5), (0.5, 0.25), (2.0, None), (0, 1e-6), (1.0, 100), (9.5, 1)):
        options = [] if start is None else ["--start", str(start)]
        options += [] if duration is None else ["--duration", str(duration)]
        begin = round((start or 0) * 1e9)
        end = begin + (round(duration * 1e9) if duration is not None else 1 << 60)
        result = info(capsys, path, *options)
        chosen = events[(since_ns >= begin) & (since_ns < end)]
        early = trigger_since_ns >= begin if start is not None else True
        assert result["events"] == len(chosen)
        assert result["sum_x"] == chosen["x"].sum(dtype=np.int64)
        assert result["triggers"] == np.count_nonzero(early & (trigger_since_ns < end))
    output = tmp_path / "part.npz"
    assert main(["convert", str(path), str(output), "--start", "0.5", "--duration", "0.25", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["events"] == np.count_nonzero((since_ns >= 500_000_000) & (since_ns < 750_000_000))
    assert main(["window", str(path), "--start", "0.5", "--duration", "0.25", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events_in"] == part["events"]


def test_a_range_is_read_no_further_than_it_must(recordings, capsys):
    path = recordings / "jitter.aedat4"
    with open_recording(path) as recording:
        events, _ = read(recording)
    since_ns = events["t"] - events["t"][0]
    whole = info(capsys, path)
    result = info(capsys, path, "--start", "2", "--duration", "3")
    assert result["events"] == np.count_nonzero((since_ns >= 2e9) & (since_ns < 5e9))
    assert result["non_monotonic"] < whole["non_monotonic"]
    for wrong in ("-1", "nan", "soon"):
        assert "--start" in info(capsys, path, "--start", wrong)


def test_a_range_of_nothing(tmp_path, capsys):
    path = tmp_path / "empty.aedat4"
    with create_recording(path, WIDTH, HEIGHT):
        pass
    assert info(capsys, path, "--start", "1")["events"] == 0
