# SPDX-License-Identifier: Apache-2.0
"""What the camera plays by itself: recordings and the simulator, at the pace of sensor time; without ROS."""

import pytest
from camera_driver import BAG, HOST_NS, LENGTH_NS, MS, NO_EVENTS, SECOND, SIDE, events_at

from neuro_ros.cores import sources
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.parameters import ParameterError, build
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sources import open_source
from neuro_ros.cores.sources.base import Slice, slice_length_ns
from neuro_ros.cores.sources.file import FileSource
from neuro_ros.cores.sources.player import Player
from neuro_ros.cores.sources.simulator import SimulatorSource
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import (
    EventBatch,
    RecordingError,
)


class FakeTime:
    """A clock that moves only while somebody waits, and a stop event on it."""

    def __init__(self, stop_after_ns=None):
        self.now_ns = 0
        self.stop_after_ns = stop_after_ns
        self.waits = []

    def clock(self):
        return self.now_ns

    def is_set(self):
        return self.stop_after_ns is not None and self.now_ns >= self.stop_after_ns

    def wait(self, timeout):
        self.waits.append(timeout)
        self.now_ns += round(timeout * SECOND)
        return self.is_set()


class ListSource:
    """A source of given (events, until) pairs."""

    width = height = SIDE
    slice_ns = 5 * MS
    live = False

    def __init__(self, *pieces):
        self.pieces = pieces

    def slices(self):
        for events, until_ns in self.pieces:
            yield Slice(EventBatch(events), until_ns)

    def close(self):
        pass


def play(source, time=None, **values):
    time = time or FakeTime()
    parameters = build(EventCameraParameters, {"source": "simulator", **values})
    player = Player(source, parameters, time.clock)
    return time, player, [(piece, time.now_ns) for piece in player.play(time)]


def test_slices_come_when_they_are_due():
    source = ListSource(*((events_at(k * 5 * MS), (k + 1) * 5 * MS) for k in range(4)))
    for rate, factor in ((1.0, 1.0), (2.0, 0.5), (0.5, 2.0)):
        _, _, played = play(source, rate=rate)
        assert [now_ns for _, now_ns in played] == [round(k * 5 * MS * factor) for k in range(1, 5)]
        assert [piece.until_ns for piece, _ in played] == [5 * MS * k for k in range(1, 5)]


def test_rate_zero_waits_for_nothing():
    time, _, played = play(ListSource((events_at(0), 5 * MS), (NO_EVENTS, 10 * SECOND)), rate=0.0)
    assert len(played) == 2
    assert time.waits == []


def test_a_jump_in_time_is_not_waited_for():
    pieces = ((events_at(0), 5 * MS), (events_at(3600 * SECOND), 3600 * SECOND + 5 * MS), (events_at(0), 5 * MS))
    time, _, played = play(ListSource(*pieces), max_gap_s=10.0)
    assert [now_ns for _, now_ns in played] == [5 * MS, 10 * MS, 15 * MS]
    assert time.now_ns == 15 * MS


def test_a_late_player_catches_up_and_tells_its_lag():
    source = ListSource(*((NO_EVENTS, (k + 1) * 5 * MS) for k in range(5)))
    time = FakeTime()
    player = Player(source, build(EventCameraParameters, {"source": "simulator"}), time.clock)
    played = []
    for piece in player.play(time):
        played.append((piece.until_ns, time.now_ns))
        if piece.until_ns == 10 * MS:
            time.now_ns += 8 * MS  # the consumer took its time
    assert [now_ns for _, now_ns in played] == [5 * MS, 10 * MS, 18 * MS, 20 * MS, 25 * MS]
    assert player.max_lag_s == pytest.approx(0.003)
    assert player.lag_s == 0.0


def test_playing_stops_while_it_waits():
    source = ListSource((NO_EVENTS, 5 * MS), (NO_EVENTS, 9 * SECOND), (NO_EVENTS, 10 * SECOND))
    _, _, played = play(source, FakeTime(stop_after_ns=SECOND))
    assert len(played) == 1
    assert play(source, FakeTime(stop_after_ns=0))[2] == []


def test_a_loop_goes_on_growing_by_whole_windows():
    source = ListSource((events_at(1 * SECOND + 3 * MS), 1 * SECOND + 5 * MS), (NO_EVENTS, 1 * SECOND + 52 * MS))
    time = FakeTime(stop_after_ns=SECOND // 4)
    _, player, played = play(source, time, loop=True)
    firsts = [int(piece.batch.events["t"][0]) for piece, _ in played if len(piece.batch.events)]
    assert firsts[:3] == [SECOND + 3 * MS + k * 2 * LENGTH_NS for k in range(3)]
    assert [piece.until_ns for piece, _ in played] == sorted(piece.until_ns for piece, _ in played)
    assert player.passes >= 2
    assert source.pieces[0][0]["t"][0] == SECOND + 3 * MS, "the source's memory is its own"


def test_a_loop_over_nothing_ends():
    assert play(ListSource(), loop=True)[2] == []


@pytest.mark.parametrize(
    ("length_ns", "bins", "expected"),
    [(50 * MS, 10, 5 * MS), (50 * MS, 3, 25 * MS), (20 * MS, 20, MS), (5 * MS, 10, MS), (MS // 2, 4, MS // 2)],
)
def test_a_slice_is_a_bin_unless_bins_are_short(length_ns, bins, expected):
    assert slice_length_ns(length_ns, bins) == expected
    assert length_ns % expected == 0, "so that windows end with a slice"


def test_a_recording_gives_every_event_and_can_be_played_again():
    source = open_source(build(EventCameraParameters, {"source": "file", "path": BAG}))
    for _ in range(2):
        assert sum(len(piece.batch.events) for piece in source.slices()) == 343474
    assert source.counters().errors == 0
    source.close()
    source.close()


def test_a_recording_can_be_left_in_the_middle():
    source = FileSource(build(EventCameraParameters, {"source": "file", "path": BAG}))
    next(iter(source.slices()))
    source.close()
    assert sum(len(piece.batch.events) for piece in source.slices()) == 343474


@pytest.mark.parametrize("content", [None, b"", b"hello, this is no recording" * 10, b"% evt 3.0\n% end\n"], ids=repr)
def test_a_file_that_cannot_be_played_is_a_clear_error(tmp_path, content):
    path = tmp_path / "some.raw"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"some\.raw") as error:
        open_source(build(EventCameraParameters, {"source": "file", "path": str(path)}))
    assert "\n" not in str(error.value)


def test_the_simulator_labels_what_it_shows():
    parameters = build(
        EventCameraParameters,
        {"source": "simulator", "simulator.gestures": 2, "simulator.gesture_duration_s": 0.3, "rate": 0.0},
    )
    source = open_source(parameters)
    assert isinstance(source, SimulatorSource)
    core = EventCameraCore(parameters)
    core.set_sensor(source.width, source.height)
    core.activate(HOST_NS)
    outputs = []
    for piece in source.slices():
        outputs += core.feed(piece.batch, HOST_NS + piece.until_ns, piece.until_ns, piece.label)
    outputs += core.finish(HOST_NS)
    truth = [item.message for item in outputs if item.topic == "truth"]
    windows = [item.message for item in outputs if item.topic == "spikes"]
    assert len(windows) == len(truth) == 12
    assert len({item.label for item in truth}) == 2
    assert [item.class_index for item in truth[:6]] == [truth[0].class_index] * 6
    assert sum(message.events_in for message in windows) == core.account.events_read > 1000


def test_the_simulator_refuses_a_sensor_that_it_cannot_act_before():
    values = {"source": "simulator", "sensor_width": 4, "sensor_height": 4}
    with pytest.raises(NeuroRosError, match="width"):
        open_source(build(EventCameraParameters, values))


def test_a_new_source_is_one_line_of_the_table(monkeypatch, tmp_path):
    (tmp_path / "my_camera_source.py").write_text("class MySource:\n    def __init__(self, parameters): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sources.SOURCES, "file", "my_camera_source:MySource")
    assert type(open_source(build(EventCameraParameters, {"source": "file", "path": "x"}))).__name__ == "MySource"
    assert open_source(build(EventCameraParameters)) is None
    with pytest.raises(ParameterError, match="simulator"):
        build(EventCameraParameters, {"source": "unheard_of"})
    for place in filter(None, sources.SOURCES.values()):
        assert place.count(":") == 1
