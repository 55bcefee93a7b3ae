# SPDX-License-Identifier: Apache-2.0
"""The description of the graph: options, parameters of every node, files and command lines."""

import importlib.util
import sys
from pathlib import Path

import pytest

from neuro_ros.bringup.demo import _flight
from neuro_ros.bringup.domain import private_domain, private_environment
from neuro_ros.bringup.graph import (
    MANAGED,
    SERVING,
    Graph,
    GraphOptions,
    NodeSpec,
    core_class,
    describe_graph,
    parse_remaps,
    parse_settings,
)
from neuro_ros.bringup.launching import parse_arguments
from neuro_ros.bringup.processes import default_log_directory, node_environment, parameter_file_text, process_specs
from neuro_ros.bringup.up import check_inputs, run_graph
from neuro_ros.cli.command import main
from neuro_ros.cores.core import Core
from neuro_ros.cores.parameters import ParameterError, node_names, parameter_infos
from neuro_ros.errors import NeuroRosError, UsageError
from neuro_ros.snn import load_model

DATA = Path(__file__).resolve().parents[1] / "data"
MODEL = str(DATA / "replay" / "small.safetensors")
RECORDING = str(DATA / "evlib_sample.aedat4")


def describe(settings=None, remaps=(), **options):
    return describe_graph(GraphOptions(model=MODEL, **options), settings, remaps)


def test_every_node_with_parameters_is_part_of_the_graph():
    assert set(node_names()) == {*MANAGED, *SERVING}
    for name in MANAGED:
        assert issubclass(core_class(name), Core)


def test_simulator_graph_has_the_geometry_of_the_model():
    graph = describe()
    model = load_model(MODEL)
    camera = graph.node("event_camera").parameter_object()
    assert camera.source == "simulator"
    assert (camera.height, camera.width) == model.network.input_shape[1:]
    assert (camera.bins, camera.window_length_ns) == (model.bins, model.window_length_ns)
    assert camera.wait_for_nodes == ("snn_inference",)
    assert [node.name for node in graph.nodes] == [*MANAGED, "lifecycle_manager"]
    assert all(node.respawn and not node.ends_graph for node in graph.nodes)


def test_recording_graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = describe(recording="flight.raw", record="bag", until_finished=True, rate=2.0)
    camera = graph.node("event_camera").parameter_object()
    assert (camera.source, camera.path, camera.rate) == ("file", str(tmp_path / "flight.raw"), 2.0)
    network = graph.node("snn_inference").parameter_object()
    # A number would not do: the canary hears windows and gestures, too, and may be met before the two.
    assert camera.wait_for_nodes == ("snn_inference", "recorder")
    assert network.wait_for_nodes == ("recorder",)
    assert (camera.wait_for_subscribers, network.wait_for_subscribers) == (0, 0)
    recorder = graph.node("recorder")
    assert recorder.ends_graph
    assert not recorder.respawn
    assert recorder.parameter_object().path == str(tmp_path / "bag")
    assert recorder.parameter_object().until_finished


def test_listeners_are_counted_beside_all_of_our_own():
    ours = [name for name in MANAGED if "gesture" in core_class(name).inputs]
    for record, recorders in (("", 0), ("bag", 1)):
        network = describe(gestures=1, listeners=2, record=record).node("snn_inference").parameter_object()
        assert network.wait_for_subscribers == 2 + len(ours) + recorders


def test_topic_graph_waits_for_nobody_and_insists_on_a_thermometer():
    graph = describe(source="topic")
    for name in ("event_camera", "snn_inference"):
        parameters = graph.node(name).parameter_object()
        assert parameters.wait_for_subscribers == 0, "a robot's graph waits for nobody"
        assert not any(parameters.wait_for_nodes)
    assert graph.node("thermal_compensation").parameter_object().sensor_fallback == "none"


def test_manager_knows_the_same_order():
    parameters = describe().node("lifecycle_manager").parameter_object()
    assert dict(parameters.dependencies()) == dict(MANAGED)


def test_settings_win_and_are_typed():
    settings = parse_settings(
        ["event_camera.wake.threshold_events_hz=500", "event_camera.loop=true", "event_camera.frame_id=1e5"]
    )
    camera = describe(settings).node("event_camera").parameter_object()
    assert (camera.wake.threshold_events_hz, camera.loop, camera.frame_id) == (500.0, True, "1e5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "file"}, "needs a recording"),
        ({"source": "simulator", "recording": "x.raw"}, "leave one out"),
        ({"width": 640}, "give both"),
        ({"until_finished": True}, "needs record"),
        ({"until_finished": True, "record": "bag"}, "waits for ever"),
        ({"until_finished": True, "record": "bag", "recording": "x", "loop": True}, "waits for ever"),
        ({"namespace": "a b"}, "not a ROS name"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ParameterError, match=message):
        GraphOptions(**options)


@pytest.mark.parametrize(
    "settings",
    [
        {"event_camera": {"typo": "1"}},
        {"event_camera": {"bins": "many"}},
        {"event_camera": {"bins": "0"}},
        {"event_camera": {"loop": "perhaps"}},
        {"recorder": {"queue_bytes": "1"}},
    ],
)
def test_wrong_settings_name_the_node(settings):
    with pytest.raises(NeuroRosError, match=next(iter(settings))):
        describe(settings)


@pytest.mark.parametrize("text", ["event_camera", "event_camera.x", "nobody.x=1", ".x=1", ""])
def test_malformed_settings(text):
    with pytest.raises(UsageError, match=r"NODE\.PARAMETER=VALUE"):
        parse_settings([text])


@pytest.mark.parametrize("text", ["a", "a:=", ":=b", "a=b"])
def test_malformed_remaps(text):
    with pytest.raises(UsageError, match="FROM:=TO"):
        parse_remaps([text])


def test_graph_refuses_doubles_and_unknown_dependencies():
    with pytest.raises(UsageError, match="two nodes are called a"):
        Graph((NodeSpec("a", "canary"), NodeSpec("a", "canary")))
    with pytest.raises(UsageError, match="a depends on b"):
        Graph((NodeSpec("a", "canary", depends_on=("b",)), NodeSpec("b", "canary")))


def test_canary_looks_for_the_baseline_beside_the_model():
    assert describe().node("canary").parameters["baseline_directory"] == str(Path(MODEL).parent)


def test_missing_model_is_a_clear_error(tmp_path):
    with pytest.raises(NeuroRosError, match=r"missing\.safetensors"):
        describe_graph(GraphOptions(model=str(tmp_path / "missing.safetensors")))


def test_keys_of_the_model_are_asked_for_before_anything_starts():
    with pytest.raises(NeuroRosError, match="NONE is not set"):
        describe(trusted_key="env:NONE")
    with pytest.raises(NeuroRosError, match="is not encrypted although a key was given"):
        describe(model_key="env:NONE")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (1e-05, "1.0e-05"),
        (2.5e-07, "2.5e-07"),
        (1e22, "1.0e+22"),
        (3, "3"),
        (True, "true"),
        ("1", '"1"'),
        ('a "b" # c', '"a \\"b\\" # c"'),
        (["a", "b"], '["a", "b"]'),
    ],
)
def test_parameter_files_keep_types(value, text):
    spec = NodeSpec("n", "canary", {"x": value})
    assert parameter_file_text(spec) == f"/**:\n  ros__parameters:\n    x: {text}\n"
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(parameter_file_text(spec))["/**"]["ros__parameters"]["x"]
    assert found == value
    assert type(found) is type(value)


def test_empty_list_is_refused_and_no_parameters_is_a_valid_file():
    with pytest.raises(ParameterError, match="empty list"):
        parameter_file_text(NodeSpec("n", "canary", {"x": []}))
    assert parameter_file_text(NodeSpec("n", "canary")) == "/**:\n  ros__parameters: {}\n"


def test_processes(tmp_path):
    graph = describe(namespace="drone/left", record=str(tmp_path / "bag"), remaps=[("events", "/cam/events")])
    specs = {spec.name: spec for spec in process_specs(graph, tmp_path / "logs", [tmp_path / "more.yaml"])}
    command = specs["event_camera"].command
    assert command[:4] == (sys.executable, "-m", "neuro_ros.nodes", "event_camera")
    assert "__ns:=/drone/left" in command
    assert "__node:=event_camera" in command
    assert "events:=/cam/events" in command
    assert command[-1] == str(tmp_path / "more.yaml")
    assert (tmp_path / "logs" / "event_camera.yaml").is_file()
    order = {name: spec.stop_order for name, spec in specs.items()}
    assert order["lifecycle_manager"] < order["event_camera"] < order["recorder"]


def test_unwritable_log_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        process_specs(describe(), tmp_path / "file" / "logs")


def test_environment_passes_the_domain_on(tmp_path):
    environment = node_environment(tmp_path, {"ROS_DOMAIN_ID": "7", "PATH": "/bin"})
    assert environment["ROS_DOMAIN_ID"] == "7"
    assert environment["PATH"] == "/bin"
    assert environment["ROS_LOG_DIR"].startswith(str(tmp_path))
    assert default_log_directory({"ROS_LOG_DIR": "/logs"}).parent == Path("/logs")


def test_inputs_are_checked_before_anything_starts(tmp_path):
    check_inputs(GraphOptions(recording=RECORDING, record=str(tmp_path / "new" / "bag")))
    (tmp_path / "bag").mkdir()
    with pytest.raises(UsageError, match="never overwritten"):
        check_inputs(GraphOptions(record=str(tmp_path / "bag")))
    garbage = tmp_path / "garbage.raw"
    garbage.write_bytes(b"\x00garbage" * 100)
    for recording in (str(tmp_path / "missing.raw"), str(garbage), str(tmp_path)):
        with pytest.raises(NeuroRosError):
            check_inputs(GraphOptions(recording=recording))


def test_launch_arguments_are_the_options():
    texts = {"source": "simulator", "gestures": "3", "loop": "false", "rate": "0", "until_finished": "false"}
    options = parse_arguments({**texts, "somebody_elses": "x"})
    assert (options.gestures, options.rate, options.loop) == (3, 0.0, False)
    with pytest.raises(ParameterError, match="gestures: 'many' is not a int"):
        parse_arguments({"gestures": "many"})
    with pytest.raises(ParameterError, match="loop"):
        parse_arguments({"loop": "perhaps"})


def test_every_option_has_a_command_line_argument(capsys):
    assert main(["up", "--help"]) == 0
    printed = capsys.readouterr().out
    for name in parameter_infos(GraphOptions):
        assert f"--{name.replace('_', '-')} " in printed or f"--{name.replace('_', '-')}\n" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recording", "/nonexistent/file.raw"],
        ["--model", "/nonexistent/model.safetensors"],
        ["--source", "file"],
        ["--params-file", "/nonexistent.yaml"],
        ["--until-finished"],
        ["--duration", "0"],
        ["--set", "event_camera.typo=1"],
        ["--remap", "x"],
        ["--namespace", "a b"],
    ],
)
def test_up_says_what_is_wrong_in_one_line(capsys, arguments):
    assert main(["up", "--model", MODEL, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err


def test_nothing_is_written_when_the_arguments_are_wrong(tmp_path):
    with pytest.raises(NeuroRosError):
        run_graph(
            GraphOptions(model=MODEL, recording=str(tmp_path / "missing.raw")),
            log_directory=tmp_path / "logs",
            report=lambda line: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_without_ros_up_says_so(capsys, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "rclpy" else find(name, *a))
    assert main(["up", "--model", MODEL, "--log-dir", str(tmp_path / "logs")]) == 2
    captured = capsys.readouterr()
    assert "rclpy is not importable" in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "logs").exists()


def test_private_domains_differ():
    with private_domain() as first, private_domain() as second:
        assert first != second
        environment = private_environment(first, {})
    assert environment["ROS_DOMAIN_ID"] == str(first)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


# --- heat -------------------------------------------------------------------------------------------------------------
def test_the_compensation_is_for_the_model_that_runs_and_is_remembered_beside_its_state(tmp_path):
    options = GraphOptions(gestures=1, state=str(tmp_path))
    thermal = describe_graph(options).node("thermal_compensation").parameter_object()
    assert thermal.compensation.model == "gesture"
    assert thermal.compensation.memory == str(tmp_path / "thermal.json")
    assert thermal.silicon.profile == "digital"


def test_the_demo_flies_where_everything_is_simulated_and_only_there():
    settings = _flight(GraphOptions(source="simulator", gestures=8))
    graph = describe_graph(GraphOptions(source="simulator", gestures=8), settings)
    thermal = graph.node("thermal_compensation").parameter_object()
    assert (thermal.sensor, thermal.simulated.profile, thermal.simulated.duration_s) == ("simulated", "flight", 24.0)
    emulated = graph.node("snn_inference").parameter_object().emulated_silicon
    assert emulated == thermal.silicon, "what is emulated is what is compensated"
    assert _flight(GraphOptions(source="simulator", gestures=8, backend="lava")) == {}
    assert _flight(GraphOptions(recording="a.raw")) == {}
