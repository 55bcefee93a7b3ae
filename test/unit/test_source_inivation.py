# SPDX-License-Identifier: Apache-2.0
"""The iniVation source through a real dv-processing server and file; a camera itself was never at hand."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources import open_source
from neuro_ros.cores.sources.inivation import CameraError, InivationSource
from neuro_ros.events import open_recording

pytest.importorskip("dv_processing", reason="dv-processing is not installed: neuro_ros[inivation]")

AEDAT4 = Path(__file__).resolve().parents[1] / "data" / "evlib_sample.aedat4"
SERVER = Path(__file__).with_name("camera_server.py")


def parameters(address):
    return build(EventCameraParameters, {"source": "inivation", "inivation.address": str(address)})


@pytest.fixture(scope="module")
def expected():
    with open_recording(AEDAT4) as recording:
        return np.concatenate([batch.events.copy() for batch in recording.batches()])


class Clock:
    """A clock that the test moves."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


def collect(slices, count, eventually):
    """Read a live source until so many events have come; return copies of its batches."""
    found = []

    def enough():
        piece = next(slices)
        if piece is not None:
            found.append((piece.batch.events.copy(), piece.batch.complete, piece.until_ns))
        return sum(len(events) for events, _, _ in found) >= count

    eventually(enough, what=f"{count} events")
    return found


def test_a_file_gives_what_our_own_reader_gives(expected):
    source = open_source(parameters(AEDAT4))
    assert (source.width, source.height, source.live) == (346, 260, True)
    for _ in range(2):  # each activation opens it again
        pieces = [piece for piece in source.slices() if piece is not None]
        source.close()
        events = [(t, x, y, p) for piece in pieces for t, x, y, p in piece.batch.events.tolist()][-10:]
        assert events == expected[-10:].tolist()
        assert pieces[-1].until_ns == expected["t"][-1]
    source.close()


def start_server(spawn, socket):
    server = spawn([sys.executable, str(SERVER), str(socket), str(AEDAT4)])
    server.wait_for("ready")
    return server


def test_a_server_in_another_process_and_its_return(expected, spawn, tmp_path, eventually):
    socket = tmp_path / "camera.sock"
    server = start_server(spawn, socket)
    clock = Clock()
    source = InivationSource(parameters(socket), clock)
    slices = source.slices()
    found = collect(slices, len(expected), eventually)
    assert (np.concatenate([events for events, _, _ in found]) == expected).all()
    assert all(complete for _, complete, _ in found)

    server.stop(signal.SIGKILL)
    eventually(lambda: next(slices) is None and source.counters().lost_packets == 1, what="the loss to be seen")
    socket.unlink()
    assert next(slices) is None, "it is looked for once a second only"
    clock.now_s += 2.0
    assert next(slices) is None, "it is not back yet"
    start_server(spawn, socket)
    clock.now_s += 2.0
    found = collect(slices, len(expected), eventually)
    assert (np.concatenate([events for events, _, _ in found]) == expected).all()
    assert [complete for _, complete, _ in found][:2] == [False, True], "what came between is known to be lost"
    assert source.connections == 2
    source.close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "USB"),
        ("no-such-serial", "no-such-serial"),
        ("127.0.0.1:1", "refused"),
        ("/no/such/socket", "no such socket"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(address, reason):
    if not address:
        import dv_processing as dv

        if dv.io.camera.discover():
            pytest.skip("there is a camera on this machine")
    with pytest.raises(CameraError, match=reason) as refusal:
        open_source(parameters(address))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dv_processing", None)
    with pytest.raises(CameraError, match="inivation"):
        open_source(parameters(AEDAT4))
