# SPDX-License-Identifier: Apache-2.0
"""Replay: the same bag gives the same digest, everything is accounted for, differences are named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neuro_ros.bringup.replay import ReplayError, compare, read_expectation, replay, write_expectation
from neuro_ros.cli.command import main
from neuro_ros.cores.messages import Gesture, PtpMessage, Temperature
from neuro_ros.errors import NeuroRosError, UsageError
from neuro_ros.events import open_recording
from neuro_ros.testing import write_bag

DATA = Path(__file__).resolve().parents[1] / "data"
BAG = DATA / "test_events_1"
EXPECTED = DATA / "replay" / "test_events_1.json"
MODEL = str(DATA / "replay" / "small.safetensors")
# Given, so that another default is no difference.
SETTINGS = {"snn_inference": {"confidence_threshold": 0.1, "evidence_half_life_s": 0.2}}


@pytest.fixture(scope="module")
def result():
    return replay(BAG, model=MODEL, settings=SETTINGS)


@pytest.fixture(scope="module")
def spikes_bag(result, tmp_path_factory):
    """Return a bag as a run of the graph leaves it: no packets, but everything downstream."""
    recorded = [("/drone/" + item.topic, item.time_ns, item.message) for item in result.outputs]
    return write_bag(tmp_path_factory.mktemp("bags") / "spikes", recorded)


def test_bundled_bag_replays_as_committed(result):
    assert compare(read_expectation(EXPECTED), result) is None
    assert result.windows == result.gestures == 43


def test_the_fixture_for_tests_of_users(tmp_path):
    (tmp_path / "test_flight.py").write_text(
        f"""
pytest_plugins = ["neuro_ros.testing"]

def test_good(replay_bag):
    result = replay_bag({str(BAG)!r}, expect={str(EXPECTED)!r}, model={MODEL!r}, settings={SETTINGS!r})
    assert result.gestures == len(result.messages("gesture"))

def test_bad(replay_bag):
    replay_bag({str(BAG)!r}, expect={str(EXPECTED)!r}, model={MODEL!r})
"""
    )
    # -c: this project's own settings are not the user's
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "replays differently than" in done.stdout
    assert "gesture: message " in done.stdout


def test_twice_the_same(result):
    again = replay(BAG, model=MODEL, settings=SETTINGS, keep_outputs=False)
    assert again.sha256 == result.sha256
    assert again.outputs == ()
    assert again.chains == result.chains


def test_every_event_of_the_bag_is_accounted_for(result):
    with open_recording(BAG) as recording:
        events = sum(len(batch.events) for batch in recording.batches())
    books = result.accounting
    dropped = sum(count for name, count in books.items() if name.startswith("events_dropped_"))
    assert books["events_read"] == events == books["events_sent"] + books["events_withheld"] + dropped
    assert books["events_pending"] == 0
    windows = result.messages("spikes")
    assert sum(window.events_in for window in windows) == books["events_sent"]
    assert all(w.events_in == w.events_binned + w.events_filtered + w.events_dropped for w in windows)
    assert [window.sequence for window in windows] == list(range(len(windows)))
    assert books["network_processed"] == len(windows)


def test_no_wall_clock_gets_into_the_outputs(result):
    assert all(window.closed_at == 0 for window in result.messages("spikes"))
    assert all(gesture.latency_s != gesture.latency_s for gesture in result.messages("gesture"))
    with_bag_time = {item.time_ns // 10**9 for item in result.outputs}
    assert max(with_bag_time) - min(with_bag_time) < 60


def test_from_spikes_what_was_produced_is_computed_anew(result, spikes_bag):
    first = replay(spikes_bag, model=MODEL, settings=SETTINGS)
    second = replay(spikes_bag, model=MODEL, settings=SETTINGS)
    assert first.source == "spikes"
    assert first.sha256 == second.sha256
    assert first.inputs["spikes"] == result.windows
    assert first.inputs["clock/sample"] == result.topics["clock/sample"]
    assert "spikes" not in first.topics
    assert "clock/sample" not in first.topics
    assert first.decisions == result.decisions
    assert [g.spike_counts for g in first.messages("gesture")] == [g.spike_counts for g in result.messages("gesture")]


def test_downstream_messages_of_the_bag_make_no_difference(result, tmp_path):
    kept = [("/" + i.topic, i.time_ns, i.message) for i in result.outputs if i.topic in ("spikes", "clock/sample")]
    lying = [(topic, time_ns, message) for topic, time_ns, message in kept]
    lying += [("/gesture", time_ns, Gesture(label="a lie", class_index=3)) for _, time_ns, _ in kept]
    lying.sort(key=lambda item: item[1])
    honest = replay(write_bag(tmp_path / "honest", kept), model=MODEL)
    assert replay(write_bag(tmp_path / "lying", lying), model=MODEL).sha256 == honest.sha256


def test_temperature_and_timing_messages_are_inputs(result, tmp_path):
    first_ns = result.outputs[0].time_ns
    extra = [
        *(("/temperature", first_ns + i * 10**8, Temperature(temperature=40.0 + i)) for i in range(5)),
        ("/ptp", first_ns + 1, PtpMessage(type=1)),
    ]
    spikes = [("/spikes", item.time_ns, item.message) for item in result.outputs if item.topic == "spikes"]
    bag = write_bag(tmp_path / "bag", sorted([*spikes, *extra], key=lambda item: item[1]))
    found = replay(bag, model=MODEL)
    assert found.inputs == {"ptp": 1, "spikes": 43, "temperature": 5}
    assert found.messages("thermal/compensation")[-1].source == "topic"


def test_a_two_way_exchange_is_replayed_with_the_hosts_own_messages(result, tmp_path):
    first_ns = result.outputs[0].time_ns
    ahead_ns = 7_000_000_000  # of the master's clock
    recorded = [("/spikes", item.time_ns, item.message) for item in result.outputs if item.topic == "spikes"]

    def heard(time_ns, kind, source, number, **values):
        message = PtpMessage(type=kind, source_port_identity=source, sequence_id=number, **values)
        recorded.append(("/ptp", time_ns, message))

    for k in range(20):
        sync_ns, request_ns = first_ns + k * 10**8, first_ns + k * 10**8 + 5 * 10**7
        heard(sync_ns, PtpMessage.ANNOUNCE, "gm-1", k, grandmaster_identity="gm")
        heard(sync_ns + 1, PtpMessage.SYNC, "gm-1", k)
        heard(sync_ns + 2, PtpMessage.FOLLOW_UP, "gm-1", k, timestamp_ns=sync_ns + 1 - ahead_ns - 300_000)
        heard(request_ns, PtpMessage.DELAY_REQ, "me-1", k)
        answer = {"requesting_port_identity": "me-1", "timestamp_ns": request_ns - ahead_ns + 300_000}
        heard(request_ns + 600_000, PtpMessage.DELAY_RESP, "gm-1", k, **answer)
    bag = write_bag(tmp_path / "bag", sorted(recorded, key=lambda item: item[1]))
    settings = {"clock_sync": {"ptp.role": "follower", "ptp.identity": "me-1"}}
    first, second = replay(bag, model=MODEL, settings=settings), replay(bag, model=MODEL, settings=settings)
    assert first.sha256 == second.sha256
    models = [model for model in first.messages("clock/model") if model.clock_id == "gm"]
    assert models[-1].state >= 1
    assert models[-1].offset_ns == pytest.approx(ahead_ns, abs=10)
    assert models[-1].mean_path_delay_ns == pytest.approx(300_000, abs=10)
    assert "ptp" not in first.topics
    # Without a role the messages are there and make no difference, as ever.
    assert "clock/model" not in replay(bag, model=MODEL).topics


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"settings": {"snn_inference": {"confidence_threshold": 1.0}}}, "gesture: message"),
        (
            {"settings": {"event_camera": {"window_length_ns": 50_000_000, "crop.width": 64, "crop.height": 64}}},
            "spikes",
        ),
        ({"settings": {"clock_sync": {"silent_period_s": 0.2}}}, None),
    ],
)
def test_the_first_difference_is_named(change, expected):
    difference = compare(read_expectation(EXPECTED), replay(BAG, model=MODEL, keep_outputs=False, **change))
    assert difference is not None
    assert expected is None or difference.startswith(expected)


def test_expectations_survive_writing_and_reading(result, tmp_path):
    write_expectation(tmp_path / "golden.json", result)
    content = read_expectation(tmp_path / "golden.json")
    assert compare(content, result) is None
    assert compare({**content, "sha256": "0", "model_id": "other"}, result).startswith("model_id was other")
    shorter = {
        **content,
        "sha256": "0",
        "outputs": {**content["outputs"], "gesture": content["outputs"]["gesture"][:-8]},
    }
    assert compare(shorter, result) == "gesture: 42 expected, 43 found; the first 42 agree"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"neuro_ros_replay": 99, "sha256": "x"}', "\x00"])
def test_unusable_expectations_are_one_clear_line(tmp_path, text):
    (tmp_path / "golden.json").write_text(text)
    with pytest.raises(ReplayError) as caught:
        read_expectation(tmp_path / "golden.json")
    assert "\n" not in str(caught.value)


def test_a_bag_without_input_names_what_it_holds(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/temperature", 1, Temperature(temperature=1.0))])
    with pytest.raises(ReplayError, match=r"no EventPacket or SpikeTensor to replay; it holds /temperature"):
        replay(bag, model=MODEL)


def test_two_cameras_need_a_choice(result, tmp_path):
    spikes = [item for item in result.outputs if item.topic == "spikes"]
    both = [(name, item.time_ns, item.message) for item in spikes for name in ("/left/window", "/right/window")]
    bag = write_bag(tmp_path / "bag", both)
    with pytest.raises(ReplayError, match=r"SpikeTensor on several topics, /left/window, /right/window"):
        replay(bag, model=MODEL)
    assert replay(bag, model=MODEL, remaps={"spikes": "left/window"}).windows == 43
    with pytest.raises(UsageError, match="no such SpikeTensor topic"):
        replay(bag, model=MODEL, remaps={"spikes": "/middle"})
    with pytest.raises(UsageError, match="no input of the replay"):
        replay(bag, model=MODEL, remaps={"gesture": "/left/window"})


@pytest.mark.parametrize(
    "change",
    [
        {"source": "images"},
        {"model": "no_such_model"},
        {"settings": {"snn_inference": {"typo": 1}}},
        {"settings": {"snn_inference": {"state_directory": "/tmp"}}},
        {"settings": {"snn_inference": {"confidence_threshold": float("nan")}}},
        {"settings": {"no_node": {"x": 1}}},
    ],
)
def test_wrong_arguments_are_one_clear_line(change):
    with pytest.raises(NeuroRosError) as caught:
        replay(BAG, **{"model": MODEL, **change})
    assert "\n" not in str(caught.value)


def test_command_line(capsys, tmp_path):
    golden = tmp_path / "golden.json"
    options = [str(BAG), "--model", MODEL, "--expect", str(golden)]
    assert main(["replay", *options, "--update"]) == 0
    assert main(["replay", *options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["windows"], printed["gestures"], printed["difference"]) == (43, 43, None)
    assert len(printed["sha256"]) == 64
    assert main(["replay", *options, "--set", "snn_inference.evidence_half_life_s=0"]) == 1
    assert "differs from" in capsys.readouterr().err


def test_command_line_errors_are_one_line_and_code_2(capsys, tmp_path):
    shutil.copytree(BAG, tmp_path / "cut")
    storage = next((tmp_path / "cut").glob("*.db3"))
    storage.write_bytes(storage.read_bytes()[:1000])
    for arguments in (
        [str(tmp_path / "missing")],
        [str(tmp_path)],
        [str(tmp_path / "cut")],
        [str(BAG), "--model", str(tmp_path / "missing.safetensors")],
        [str(BAG), "--update"],
        [str(BAG), "--model", MODEL, "--expect", str(tmp_path / "missing.json")],
        [str(BAG), "--set", "nonsense"],
        [str(BAG), "--remap", "nonsense"],
    ):
        assert main(["replay", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
