# SPDX-License-Identifier: Apache-2.0
"""The graph, described once: which nodes, with which parameters, in which order. Read by `up` and by the launch files.

`GraphOptions` is what a person chooses; `describe_graph` turns it into `NodeSpec` objects whose parameters are checked
with the dataclasses of the nodes themselves, and whose tensor geometry comes from the model file. What starts the
processes, and how, is not known here: see `neuro_ros.bringup.processes` and ``launch/``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro_ros.cores.core import Core
from neuro_ros.cores.parameters import (
    ParameterError,
    build,
    flatten,
    parameter,
    parameter_class,
    parameter_infos,
)
from neuro_ros.cores.sources import PLAYED, SOURCES
from neuro_ros.errors import UsageError

__all__ = [
    "MANAGED",
    "SERVING",
    "Graph",
    "GraphOptions",
    "NodeSpec",
    "core_class",
    "describe_graph",
    "parse_remaps",
    "parse_settings",
]

_NAMESPACE = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)*")
_ENCLAVE = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)*")
_SETTING = re.compile(r"(?P<node>\w+)\.(?P<name>[\w.]+)=(?P<value>.*)", re.DOTALL)


#: The lifecycle nodes in the order in which they come up, each with those that must be active before it. The name of
#: a node is also that of its executable, its modules in `neuro_ros.nodes`, `neuro_ros.cores` and its parameters.
MANAGED: Mapping[str, tuple[str, ...]] = {
    "clock_sync": (),
    "thermal_compensation": (),
    "event_camera": ("clock_sync",),
    "snn_inference": ("event_camera", "thermal_compensation"),
    "canary": ("snn_inference",),
}
#: What runs beside them: neither managed nor part of a replay.
SERVING: tuple[str, ...] = ("recorder", "lifecycle_manager")


def core_class(node: str) -> Callable[..., Core]:
    """Import the logic of a lifecycle node: ``clock_sync`` has ``clock_sync.ClockSyncCore``.

    Raises
    ------
    KeyError
        When it is not a lifecycle node of the graph.
    """
    if node not in MANAGED:
        raise KeyError(node)
    module = importlib.import_module(f"neuro_ros.cores.{node}")
    found: Callable[..., Core] = getattr(module, "".join(part.capitalize() for part in node.split("_")) + "Core")
    return found


#: People start what listens by hand [s].
_LISTENERS_TIMEOUT_S = 60.0
#: A network that is restarted goes on with a state at most so old [s], twenty windows; a save is some 100 KB.
_STATE_SAVE_PERIOD_S = 1.0


@dataclass(frozen=True)
class GraphOptions:
    """What can be chosen about the graph; the arguments of `neuro_ros up` and of the launch files."""

    source: str = parameter(
        "auto",
        "where events come from; auto = file when a recording is given, else simulator",
        choices=("auto", *SOURCES),
    )
    recording: str = parameter("", "recording to play, of any format that `neuro_ros info` reads")
    encoding: str = parameter("", "how events are coded in a recording without a header, such as evt3")
    width: int = parameter(0, "columns of the sensor, where the recording does not say", unit="px", minimum=0)
    height: int = parameter(0, "rows of the sensor, where the recording does not say", unit="px", minimum=0)
    rate: float = parameter(
        1.0, "pace against sensor time; 0 = as fast as windows are delivered", minimum=0.0, maximum=1000.0
    )
    loop: bool = parameter(False, "start the recording again at its end")
    gestures: int = parameter(0, "the simulator acts so many gestures and ends; 0 = for ever", minimum=0)
    gesture_duration_s: float = parameter(
        3.0, "how long the simulator acts each gesture", unit="s", minimum=0.005, maximum=3600.0
    )
    seed: int = parameter(1, "seed of the simulator", minimum=0, maximum=2**31 - 1)
    model: str = parameter("gesture", "model file, or the name of a shipped model")
    model_key: str = parameter("", "key of an encrypted model: a file, or env:NAME for an environment variable")
    trusted_key: str = parameter("", "public key (a file, or env:NAME) that must have signed the model; empty = none")
    backend: str = parameter("fixed", "what runs the network", choices=("fixed", "lava", "loihi"))
    record: str = parameter("", "folder to make for a bag with every topic; empty = none")
    listeners: int = parameter(
        0,
        "a recording or performance begins when so many subscribers of gesture are there, besides our own, or after "
        "a minute",
        minimum=0,
        maximum=100,
    )
    state: str = parameter(
        "", "folder in which the network's state is saved once a second, and from which it is taken up; empty = none"
    )
    until_finished: bool = parameter(False, "end when the recording (or the performance) has ended; needs record")
    namespace: str = parameter("", "namespace of all nodes")
    enclave: str = parameter(
        "", "security enclave below which each node has one of its name, such as /neuro_ros; empty = none"
    )

    def __post_init__(self) -> None:
        if self.source == "file" and not self.recording:
            raise ParameterError("source file needs a recording")
        if self.source not in ("auto", "file") and self.recording:
            raise ParameterError(f"source {self.source} does not play the recording {self.recording}; leave one out")
        if (self.width == 0) != (self.height == 0):
            raise ParameterError(f"width {self.width} and height {self.height}: give both, or none")
        if self.until_finished and not self.record:
            raise ParameterError("until_finished needs record: the recorder is what notices the end")
        if self.until_finished and not self.ends:
            raise ParameterError("until_finished waits for ever: give a recording without loop, or gestures above 0")
        if not _NAMESPACE.fullmatch(self.effective_namespace):
            raise ParameterError(
                f"namespace {self.namespace!r} is not a ROS name: letters, digits and _, with / between"
            )
        if not _ENCLAVE.fullmatch(self.enclave):
            raise ParameterError(f"enclave {self.enclave!r} is not a path such as /neuro_ros: / before each name")

    @property
    def effective_source(self) -> str:
        """The source, with ``auto`` resolved."""
        if self.source != "auto":
            return self.source
        return "file" if self.recording else "simulator"

    @property
    def effective_namespace(self) -> str:
        """The namespace with a leading slash, or empty."""
        return "/" + self.namespace.strip("/") if self.namespace.strip("/") else ""

    @property
    def ends(self) -> bool:
        """True when the source comes to an end by itself."""
        if self.effective_source == "file":
            return not self.loop
        return self.effective_source == "simulator" and self.gestures > 0


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node of the graph.

    Parameters
    ----------
    name : str
        Node name, unique in the graph.
    executable : str
        Program in ``lib/neuro_ros`` and module in `neuro_ros.nodes`.
    parameters : mapping
        Dotted name to value, only what differs from the default.
    remaps : tuple of (str, str)
        From, to.
    depends_on : tuple of str
        Nodes that must be active before it.
    respawn : bool
        Start the process again when it ends unexpectedly.
    managed : bool
        A lifecycle node, brought up by the lifecycle manager.
    ends_graph : bool
        When its process ends, everything ends.
    """

    name: str
    executable: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remaps: tuple[tuple[str, str], ...] = ()
    depends_on: tuple[str, ...] = ()
    respawn: bool = True
    managed: bool = True
    ends_graph: bool = False

    def parameter_object(self) -> Any:
        """Return the node's parameter dataclass with these values.

        Raises
        ------
        ParameterError
            A value is unknown or not valid.
        """
        return build(parameter_class(self.executable), self.parameters)


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes of a graph, each after those it depends on.

    Parameters
    ----------
    nodes : tuple of NodeSpec
    namespace : str
        Of all nodes, with a leading slash; empty = none.
    enclave : str
        Security enclave below which each node has one of its name; empty = none.

    Raises
    ------
    UsageError
        A name stands twice, or a dependency is missing or comes later.
    """

    nodes: tuple[NodeSpec, ...]
    namespace: str = ""
    enclave: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise UsageError(f"two nodes are called {node.name}")
            missing = set(node.depends_on) - seen
            if missing:
                raise UsageError(f"{node.name} depends on {', '.join(sorted(missing))}, which does not come before it")
            seen.add(node.name)

    def node(self, name: str) -> NodeSpec:
        """Return a node by its name; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def enclave_of(self, name: str) -> str:
        """Return the security enclave of a node; empty when the graph has none."""
        return f"{self.enclave}/{name}" if self.enclave else ""


def parse_settings(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read ``node.parameter=value`` settings.

    Returns
    -------
    dict
        Node to parameter to text; `describe_graph` converts the text to the parameter's type.

    Raises
    ------
    UsageError
        A setting has another form or names no node of the graph.
    """
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        match = _SETTING.fullmatch(text)
        if match is None or match["node"] not in (*MANAGED, *SERVING):
            raise UsageError(f"setting {text!r} is not NODE.PARAMETER=VALUE; nodes: {', '.join((*MANAGED, *SERVING))}")
        settings.setdefault(match["node"], {})[match["name"]] = match["value"]
    return settings


def parse_remaps(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Read ``from:=to`` remappings.

    Raises
    ------
    UsageError
        One has another form.
    """
    found = []
    for text in texts:
        old, arrow, new = text.partition(":=")
        if not (arrow and old.strip() and new.strip()):
            raise UsageError(f"remapping {text!r} is not FROM:=TO")
        found.append((old.strip(), new.strip()))
    return found


def _typed(executable: str, name: str, value: Any) -> Any:
    """Convert a setting given as text to the type of the parameter."""
    info = parameter_infos(parameter_class(executable)).get(name)
    if info is None or not isinstance(value, str) or info.type is str:
        return value
    try:
        if info.type is bool:
            return {"true": True, "false": False}[value.lower()]
        if info.type is list:
            return [item.strip() for item in value.split(",") if item.strip()]
        return info.type(value)
    except (KeyError, ValueError):
        raise ParameterError(f"{executable}.{name}: {value!r} is not a {info.type.__name__}") from None


def _differing(executable: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the values as a whole and return those that are not the default."""
    cls = parameter_class(executable)
    try:
        given = flatten(build(cls, values))
    except ParameterError as error:
        raise ParameterError(f"{executable}: {error}") from None
    defaults = {info.name: info.default for info in parameter_infos(cls).values()}
    return {name: value for name, value in given.items() if value != defaults[name]}


def _camera_parameters(options: GraphOptions) -> dict[str, Any]:
    from neuro_ros.cores.files import model_path
    from neuro_ros.snn import load_model

    trusted = [options.trusted_key] if options.trusted_key else []
    model = load_model(model_path(options.model), options.model_key or None, trusted)
    _, height, width = model.network.input_shape
    source = options.effective_source
    return {
        "source": source,
        # Absolute, because a process may be started in another folder.
        "path": str(Path(options.recording).expanduser().absolute()) if source == "file" else "",
        "encoding": options.encoding,
        "sensor_width": options.width,
        "sensor_height": options.height,
        "rate": options.rate,
        "loop": options.loop,
        # By name: the canary and whoever else hears windows may be met before the network is.
        "wait_for_nodes": ["snn_inference", *_recorders(options)] if source in PLAYED else [""],
        "window_length_ns": model.window_length_ns,
        "bins": model.bins,
        "width": width,
        "height": height,
        "simulator.seed": options.seed,
        "simulator.gestures": options.gestures,
        "simulator.gesture_duration_s": options.gesture_duration_s,
    }


def _recorders(options: GraphOptions) -> list[str]:
    """Return the node that no window or gesture of a run may escape, if there is one."""
    return ["recorder"] if options.record else []


def _model_argument(model: str) -> str:
    """Return a model name unchanged and a path as an absolute one."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.suffix or len(path.parts) > 1 else model


def _key_argument(key: str) -> str:
    """Return the name of a variable unchanged and a path as an absolute one."""
    return key if key.startswith("env:") else str(Path(key).expanduser().absolute())


def describe_graph(
    options: GraphOptions,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    remaps: Sequence[tuple[str, str]] = (),
) -> Graph:
    """Describe the graph that `options` ask for.

    Parameters
    ----------
    options : GraphOptions
        Validated.
    settings : mapping, optional
        Node to dotted parameter to value (or its text), which win over what the options say.
    remaps : sequence of (str, str)
        Name remappings for all nodes.

    Returns
    -------
    Graph
        Managed nodes in dependency order, then the recorder if there is one, then the lifecycle manager.

    Raises
    ------
    ParameterError
        A parameter is unknown or not valid.
    ModelError
        The model file is missing or not usable.
    UsageError
        Settings for a node that is not part of the graph.
    """
    settings = settings or {}
    parameters: dict[str, dict[str, Any]] = {name: {} for name in MANAGED}
    parameters["event_camera"] = _camera_parameters(options)
    parameters["thermal_compensation"] = _thermal_parameters(options)
    parameters["snn_inference"] = _inference_parameters(options)
    parameters["canary"] = _canary_parameters(options)
    if options.record:
        parameters["recorder"] = _recorder_parameters(options)
    parameters["lifecycle_manager"] = _manager_parameters()
    for name, values in settings.items():
        if name not in parameters:
            raise UsageError(f"there is no {name} in this graph; there are: {', '.join(parameters)}")
        parameters[name].update({key: _typed(name, key, value) for key, value in values.items()})
    return Graph(
        tuple(
            NodeSpec(
                name=name,
                executable=name,
                parameters=_differing(name, values),
                remaps=tuple(remaps),
                depends_on=MANAGED.get(name, ()),
                # A second recorder would find the bag of the first in its way.
                respawn=name != "recorder",
                managed=name in MANAGED,
                ends_graph=name == "recorder",
            )
            for name, values in parameters.items()
        ),
        options.effective_namespace,
        options.enclave,
    )


def _inference_parameters(options: GraphOptions) -> dict[str, Any]:
    values: dict[str, Any] = {"model": _model_argument(options.model), "backend": options.backend}
    if options.effective_source in PLAYED:
        # The camera begins when the network hears it, and the network listens when its answers are heard.
        values["wait_for_nodes"] = _recorders(options) or [""]
        if options.listeners:
            # Theirs are known by their number only, so our own must be in it: the canary, and a recorder.
            values["wait_for_subscribers"] = options.listeners + 1 + len(_recorders(options))
            values["subscriber_timeout_s"] = _LISTENERS_TIMEOUT_S
    if options.model_key:
        values["model_key"] = _key_argument(options.model_key)
    if options.trusted_key:
        values["trusted_keys"] = [_key_argument(options.trusted_key)]
    if options.state:
        values["state_directory"] = str(Path(options.state).expanduser().absolute())
        values["state_save_period_s"] = _STATE_SAVE_PERIOD_S
    return values


def _thermal_parameters(options: GraphOptions) -> dict[str, Any]:
    values: dict[str, Any] = {"compensation.model": _model_argument(options.model)}
    if options.state:
        values["compensation.memory"] = str(Path(options.state).expanduser().absolute() / "thermal.json")
    if options.effective_source in PLAYED:
        # A machine that plays something back may well be a virtual one, without a thermometer; a robot must have one.
        values["sensor_fallback"] = "simulated"
    return values


def _canary_parameters(options: GraphOptions) -> dict[str, Any]:
    """Return where the baseline of a model lies that is not a shipped one: beside it."""
    model = Path(_model_argument(options.model))
    return {"baseline_directory": str(model.parent)} if model.is_absolute() else {}


def _recorder_parameters(options: GraphOptions) -> dict[str, Any]:
    return {
        "path": str(Path(options.record).expanduser().absolute()),
        "until_finished": options.until_finished,
    }


def _manager_parameters() -> dict[str, Any]:
    return {
        # All processes import their libraries at the same time; on a small computer that takes a while.
        "missing_timeout_s": 15.0,
        # The first run compiles at configure, for minutes where the computer is small or busy.
        "configure_timeout_s": 300.0,
        "node_names": list(MANAGED),
        "depends_on": [f"{name}:{','.join(others)}" for name, others in MANAGED.items() if others],
    }
