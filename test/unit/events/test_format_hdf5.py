# SPDX-License-Identifier: Apache-2.0
"""Events in HDF5: each layout, seeking, damage, and files that mean harm."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest
from reading import read_whole as read

from neuro_ros.events import EVENT_DTYPE, RecordingError, open_recording
from neuro_ros.events.formats import hdf5
from neuro_ros.hdf5 import _guard

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

# As the vendor's software lays them out in memory.
CD = np.dtype({"names": ["x", "y", "p", "t"], "formats": ["<u2", "<u2", "<i2", "<i8"], "offsets": [0, 2, 4, 8]})
TRIGGER = np.dtype({"names": ["p", "t", "id"], "formats": ["<i2", "<i8", "<i2"], "offsets": [0, 8, 16], "itemsize": 24})


def make_events(count=30_000, step_us=100, seed=9):
    """Make random events of 640x480 in order of time, in whole microseconds."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = np.cumsum(rng.integers(0, 2 * step_us, count)) * 1000
    for name, limit in (("x", 640), ("y", 480), ("p", 2)):
        events[name] = rng.integers(0, limit, count)
    return events


def as_table(events):
    """Return events as a table of Metavision."""
    table = np.zeros(len(events), CD)
    for name in ("x", "y", "p"):
        table[name] = events[name]
    table["t"] = events["t"] // 1000
    return table


def write_metavision(path, events, triggers=(), geometry="640x480", **options):
    """Write the layout of Metavision; options are those of h5py's create_dataset."""
    with h5py.File(path, "w") as file:
        if geometry:
            file.attrs["geometry"] = geometry
        limit = {"maxshape": (None,)} if "chunks" in options else {}  # as the vendor's, which grow
        file.create_dataset("CD/events", data=as_table(events), **options, **limit)
        rows = np.zeros(len(triggers), TRIGGER)
        for row, (t_ns, line, edge) in zip(rows, triggers, strict=True):
            row["t"], row["id"], row["p"] = t_ns // 1000, line, edge
        file.create_dataset("EXT_TRIGGER/events", data=rows, **options, **limit)


STORAGES = {
    "contiguous": {},
    "chunked": {"chunks": (1000,)},
    "gzip": {"chunks": (16384,), "compression": "gzip", "compression_opts": 1},
    "shuffle": {"chunks": (777,), "compression": "gzip", "shuffle": True},
    "fletcher": {"chunks": (5000,), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (5000,), "compression": "lzf"},
}
TRIGGERS = [(1_000_000, 0, 1), (2_000_000, 3, 0), (1_500_000_000, 0, 1), (3_600_000_000_000, 1, 0)]


@pytest.mark.parametrize("storage", STORAGES)
def test_metavision(storage, tmp_path):
    path = tmp_path / "recording.h5"
    events = make_events()
    write_metavision(path, events, TRIGGERS, **STORAGES[storage])
    for max_events in (999, 65536):
        got, triggers, counters, complete = read(path, max_events)
        assert got.tolist() == events.tolist()
        assert triggers.tolist() == TRIGGERS
        assert (counters.errors, counters.out_of_area, counters.non_monotonic, all(complete)) == (0, 0, 0, True)
    with open_recording(path) as recording:
        assert (recording.format, recording.width, recording.height, recording.seekable) == ("hdf5", 640, 480, True)


def test_triggers_come_with_the_events_of_their_time(tmp_path):
    path = tmp_path / "recording.h5"
    events = make_events()
    triggers = [(int(t), 0, 1) for t in events["t"][::3]]
    write_metavision(path, events, triggers, chunks=(4096,))
    with open_recording(path) as recording:
        last = 0
        seen = 0
        for batch in recording.batches():
            assert (np.diff(batch.triggers["t"]) >= 0).all()
            if len(batch.events):
                assert (batch.triggers["t"] <= batch.events["t"][-1]).all()
                assert batch.events["t"][0] >= last
                last = batch.events["t"][-1]
            seen += len(batch.triggers)
    assert seen == len(triggers)


@pytest.mark.parametrize("names", ["xypt", ["xs", "ys", "ps", "ts"]])
@pytest.mark.parametrize("offset_us", [None, 1_600_000_000_000_000])
def test_columns(names, offset_us, tmp_path):
    path = tmp_path / "events.h5"
    events = make_events()
    with h5py.File(path, "w") as file:
        for name, part, kind in zip(names, "xypt", ("u2", "u2", "u1", "u4"), strict=True):
            data = events[part] // 1000 if part == "t" else events[part]
            chunks = {"x": 1000, "y": 4096, "p": 30_000, "t": 5000}[part]
            file.create_dataset(f"events/{name}", data=data.astype(kind), chunks=(chunks,), compression="gzip")
        if offset_us is not None:
            file["t_offset"] = np.int64(offset_us)
        file["ms_to_idx"] = np.searchsorted(events["t"], np.arange(0, int(events["t"][-1]), 10**6))
    with pytest.raises(RecordingError, match="names no sensor size; give --width and --height"):
        open_recording(path)
    got, _, counters, _ = read(path, 1111, width=640, height=480)
    events["t"] += 1000 * (offset_us or 0)
    assert got.tolist() == events.tolist()
    assert counters.as_dict() == dict.fromkeys(counters.as_dict(), 0)


def test_columns_in_seconds_with_polarities_of_either_sign(tmp_path):
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file.attrs["sensor_resolution"] = (180, 240)
        file["events/xs"] = np.array([0, 239, 240, 3, 3, 3], np.int16)
        file["events/ys"] = np.array([179, 0, 0, -1, 3, 3], np.int16)
        file["events/ps"] = np.array([-1, 1, 1, 1, 1, 1], np.int8)
        file["events/ts"] = np.array([0.000001, 1.5, 2.0, 2.0, np.nan, -1e300])
    events, _, counters, _ = read(path)
    assert events.tolist() == [(1000, 0, 179, 0), (1_500_000_000, 239, 0, 1)]
    assert (counters.out_of_area, counters.errors) == (2, 2)


@pytest.mark.parametrize("storage", ["contiguous", "gzip", "shuffle"])
def test_a_later_start_gives_what_a_full_pass_gives_from_there_on(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_MOST_EVENTS", 1 << 12)  # so that there is something to pass over
    path = tmp_path / "recording.h5"
    events = make_events(step_us=1000)
    events["x"][0] = 640  # beyond the sensor, so that its counter tells what was read
    rng = np.random.default_rng(2)
    events["t"] -= rng.integers(0, 100_000, len(events)) * 1000 * (events["t"] > 10**9)  # out of order by up to 0.1 s
    write_metavision(path, events, TRIGGERS, **STORAGES[storage])
    for row in (0, 1, 100, 16_384, 20_000, 29_999):
        start_ns = int(events["t"][row])
        late, triggers, counters, _ = read(path, start_ns=start_ns)
        kept = events[1:]
        assert late.tolist() == kept[kept["t"] >= start_ns].tolist()
        assert triggers.tolist() == [trigger for trigger in TRIGGERS if trigger[0] >= start_ns]
        assert counters.out_of_area == (start_ns < 10**9)


def test_a_damaged_chunk_is_left_out_and_told(tmp_path):
    path = tmp_path / "recording.h5"
    events = make_events()
    write_metavision(path, events, chunks=(5000,), compression="gzip")
    with h5py.File(path, "r") as file:
        place = file["CD/events"].id.get_chunk_info(2)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 0x55
    path.write_bytes(data)
    got, _, counters, complete = read(path)
    assert got.tolist() == np.delete(events, np.arange(10_000, 15_000)).tolist()
    assert (counters.errors, complete) == (1, [True, True, False, True, True])


def test_a_length_that_is_not_there(tmp_path):
    path = tmp_path / "recording.h5"
    events = make_events(5000)
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "640x480"
        item = file.create_dataset("CD/events", shape=(2**50,), dtype=CD, chunks=(5000,), maxshape=(None,))
        item[:5000] = as_table(events)
    got, _, counters, complete = read(path)
    assert got.tolist() == events.tolist()
    assert (counters.errors, complete) == (1, [True, False])
    assert len(read(path, start_ns=int(events["t"][-1]))[0]) == np.count_nonzero(events["t"] == events["t"][-1])


def test_a_chunk_that_unpacks_to_more_than_it_should(tmp_path):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "640x480"
        item = file.create_dataset("CD/events", shape=(200,), dtype=CD, chunks=(100,), compression="gzip")
        item[:] = as_table(make_events(200))
        item.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 20)))
    events, _, counters, complete = read(path)
    assert (len(events), counters.errors, complete) == (0, 1, [False])


def write_hostile(path, form):
    """Write one of the files that mean harm."""
    other = path.with_name("other.h5")
    write_metavision(other, make_events(10))
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "640x480"
        if form == "external link":
            file["CD/events"] = h5py.ExternalLink(other.name, "CD/events")
        elif form == "soft link":
            file["CD"] = h5py.SoftLink("/elsewhere")
        elif form == "external data":
            file.create_dataset("CD/events", shape=(10,), dtype=CD, external=[(str(other), 0, 160)])
        elif form == "virtual":
            layout = h5py.VirtualLayout((10,), CD)
            layout[:] = h5py.VirtualSource(other, "CD/events", (10,))
            file.create_virtual_dataset("CD/events", layout)
        elif form == "huge chunk":
            file.create_dataset("CD/events", shape=(2**27,), dtype=CD, chunks=(2**27,))
        elif form == "two dimensions":
            file.create_dataset("CD/events", data=as_table(make_events(10)).reshape(5, 2))
        elif form == "wrong kind":
            file.create_dataset("CD/events", data=np.zeros(3, [("x", "f4"), ("y", "u2"), ("p", "i2"), ("t", "i8")]))
        elif form == "missing field":
            file.create_dataset("CD/events", data=np.zeros(3, [("x", "u2"), ("y", "u2"), ("t", "i8")]))
        elif form == "text":
            file.create_dataset("CD/events", shape=(3,), dtype=[("x", h5py.string_dtype()), ("y", "u2")])
        elif form == "column of text":
            for name in "xypt":
                file[f"events/{name}"] = [b"a", b"b"]
        elif form == "large entries":
            file.create_dataset("CD/events", data=np.zeros(3, [("x", "u2"), ("y", "u2"), ("p", "V99999"), ("t", "i8")]))
        elif form == "unknown filter":
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((100,))
            plist.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL, ())
            group = file.create_group("CD")
            kind, space = h5py.h5t.py_create(CD), h5py.h5s.create_simple((100,))
            h5py.h5d.create(group.id, b"events", kind, space, dcpl=plist)
        elif form == "group":
            file.create_group("CD/events")
        elif form == "huge sensor":
            file.attrs["geometry"] = "999999x1"
            file.create_dataset("CD/events", data=as_table(make_events(10)))


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ("external link", "link to elsewhere"),
        ("soft link", "link to elsewhere"),
        ("external data", "lies in other files"),
        ("virtual", "lies in other files"),
        ("huge chunk", "no more than 16777216 are read"),
        ("two dimensions", "is no column"),
        ("wrong kind", "x holds float32, not whole numbers"),
        ("missing field", "lacks p"),
        ("text", "not plain numbers"),
        ("column of text", "x holds"),
        ("large entries", "not plain numbers"),
        ("unknown filter", "HDF5 filter 36559, Prophesee's codec ECF: install its plugin"),
        ("group", "HDF5 without events; looked for CD/events"),
        ("huge sensor", "999999x1 px cannot be"),
    ],
)
def test_files_that_mean_harm_get_one_line(form, complaint, tmp_path):
    path = tmp_path / "hostile.h5"
    write_hostile(path, form)
    with pytest.raises(RecordingError, match=complaint) as caught:
        open_recording(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_or_read_as_far_as_they_go(tmp_path, counts):
    path = tmp_path / "recording.h5"
    write_metavision(path, make_events(3000), TRIGGERS, chunks=(500,), compression="gzip")
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    complaints = []
    for number in range(counts("damaged hdf5", reduced=12, full=1000)):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 6):
            data[place] ^= 1 << int(rng.integers(0, 8))
        if number % 4 == 0:
            del data[int(rng.integers(0, len(data))) :]
        path.write_bytes(data)
        try:
            events, _, _, _ = read(path, start_ns=10**6 if number % 3 else None)
        except RecordingError as error:
            complaints.append(str(error))
        else:
            assert len(events) <= 3000
    assert not any("\n" in complaint for complaint in complaints)


def test_without_the_library_there_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "recording.h5"
    write_metavision(path, make_events(10))
    _guard.library.cache_clear()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RecordingError, match=r"HDF5 needs the h5py package .*; pip install h5py"):
        open_recording(path)
    _guard.library.cache_clear()


@pytest.mark.parametrize(
    ("program", "complaint"),
    [("while True: pass", "does not end"), ("import os; os.abort()", "ends with signal 6"), ("1 / 0", None)],
    ids=["hangs", "crashes", "raises"],
)
def test_a_file_that_the_library_does_not_come_back_from_is_refused(program, complaint, tmp_path, monkeypatch):
    """Some damaged files send the library round in circles; what it does to another process is tried out first."""
    path = tmp_path / "events.h5"
    write_metavision(path, make_events(100))
    trial = tmp_path / "trial.py"
    trial.write_text(program)
    monkeypatch.setattr(_guard, "_TRIAL", trial)
    monkeypatch.setattr(_guard, "TRIAL_S", 1.0)
    if complaint is None:  # the same is raised, and told, where the file is read
        assert len(read(path)[0]) == 100
        return
    with pytest.raises(RecordingError, match=complaint) as refusal:
        open_recording(path)
    assert "\n" not in str(refusal.value)


def test_the_trial_looks_at_every_chunk_of_a_good_file(tmp_path):
    path = tmp_path / "events.h5"
    write_metavision(path, make_events(5000), chunks=(100,), compression="gzip")
    monitored = subprocess.run([sys.executable, str(_guard._TRIAL), str(path)], capture_output=True, check=False)
    assert (monitored.returncode, monitored.stderr) == (0, b"")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monitored = subprocess.run([sys.executable, str(_guard._TRIAL), str(path)], capture_output=True, check=False)
    assert monitored.returncode == 1
