# SPDX-License-Identifier: Apache-2.0
"""Drives the cores of the graph from a bag, in recorded order and on the bag's clock: equal input, equal output.

What enters the graph from outside is taken from the bag: events (or, without them, spike tensors), clock samples,
temperature, timing messages of other hosts. Everything that follows from these is computed anew and never read. Timers
fire at their due time between two messages. The sha256 covers every output in order, see
`neuro_ros.cores.fields.digest_bytes`; measured times are no part of it.

No ROS, no threads, no wall clock.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro_ros.bringup.bag import Bag, BagTopic
from neuro_ros.bringup.graph import Graph, GraphOptions, core_class, describe_graph
from neuro_ros.cores.bus import Bus, Published
from neuro_ros.cores.core import Clocks, Core
from neuro_ros.cores.fields import digest_bytes
from neuro_ros.cores.messages import ClockSample, EventPacket, Gesture, PtpMessage, SpikeTensor, Temperature
from neuro_ros.documents import write_atomically
from neuro_ros.errors import NeuroRosError, UsageError

__all__ = ["ReplayError", "ReplayResult", "compare", "read_expectation", "replay", "write_expectation"]

EXPECTATION_VERSION = 1
_DIGITS = 8  # hexadecimal digits kept of each output, enough to name the first that differs

#: Relative topic to type, of what may be taken from a bag.
_INPUTS: Mapping[str, type] = {
    "events": EventPacket,
    "spikes": SpikeTensor,
    "clock/sample": ClockSample,
    "temperature": Temperature,
    "ptp": PtpMessage,
}


class ReplayError(NeuroRosError):
    """A bag cannot be replayed: it holds no input, or several that could be meant; or an expectation is unusable."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What the graph made of a bag.

    Parameters
    ----------
    sha256 : str
        Digest of all outputs in order.
    windows, gestures : int
        Spike tensors that the network was given, and gestures that it gave.
    decisions : tuple of (int, int)
        Sequence and class index of every gesture, -1 = no decision.
    labels : mapping of str to int
        How often each label was decided; the empty label = no decision.
    topics : mapping of str to int
        Outputs by relative topic.
    inputs : mapping of str to int
        Messages taken from the bag, by relative topic.
    accounting : mapping of str to int
        Where events and windows went.
    chains : mapping of str to str
        By topic, eight hexadecimal digits of each output, joined; for the first difference.
    outputs : tuple of Published
        Every output in order; empty unless asked for.
    source : str
        ``events`` or ``spikes``.
    model_id : str
        The network that ran.
    """

    sha256: str
    windows: int
    gestures: int
    decisions: tuple[tuple[int, int], ...]
    labels: Mapping[str, int]
    topics: Mapping[str, int]
    inputs: Mapping[str, int]
    accounting: Mapping[str, int]
    chains: Mapping[str, str]
    source: str
    model_id: str
    outputs: tuple[Published, ...] = field(default=(), repr=False)

    def messages(self, topic: str) -> list[Any]:
        """Return the messages on a relative topic, in order; empty unless the outputs were kept."""
        return [item.message for item in self.outputs if item.topic == topic]

    @property
    def losses(self) -> dict[str, int]:
        """What of the accounting is a loss, and is not zero."""
        kinds = ("lost", "dropped", "refused", "failed", "skipped", "incomplete", "unreadable")
        return {name: count for name, count in self.accounting.items() if count and any(k in name for k in kinds)}

    def summary(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "windows": self.windows,
            "gestures": self.gestures,
            "sha256": self.sha256,
            "from": self.source,
            "model_id": self.model_id,
            "labels": dict(self.labels),
            "topics": dict(self.topics),
            "inputs": dict(self.inputs),
            **self.accounting,
        }


def _choose_topics(bag: Bag, source: str, remaps: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Find the bag's topic of each input; return the kind of source and bag topic to relative topic."""
    unknown = set(remaps) - set(_INPUTS)
    if unknown:
        raise UsageError(f"--remap {sorted(unknown)[0]}: no input of the replay; inputs: {', '.join(_INPUTS)}")
    found = {topic: _find_topic(bag, topic, cls, remaps.get(topic)) for topic, cls in _INPUTS.items()}
    if source == "auto":
        source = "events" if found["events"] else "spikes"
    if not found[source]:
        held = ", ".join(f"{topic.name} ({topic.type})" for topic in bag.topics if topic.count) or "no messages"
        wanted = "EventPacket or SpikeTensor" if not (found["events"] or found["spikes"]) else _INPUTS[source].__name__
        raise ReplayError(f"{bag.path}: no {wanted} to replay; it holds {held}")
    found["spikes" if source == "events" else "events"] = None
    return source, {name: topic for topic, name in found.items() if name}


def _find_topic(bag: Bag, topic: str, cls: type, name: str | None) -> str | None:
    candidates: list[BagTopic] = bag.of_type(cls)
    if name is not None:
        wanted = "/" + name.strip("/")
        if wanted not in [candidate.name for candidate in candidates]:
            held = ", ".join(candidate.name for candidate in candidates) or "none"
            raise UsageError(f"--remap {topic}:={name}: {bag.path} has no such {cls.__name__} topic; it has {held}")
        return wanted
    if len(candidates) > 1:
        # A robot has other thermometers; ours is the one of our name.
        candidates = [item for item in candidates if item.name == f"/{topic}" or item.name.endswith(f"/{topic}")]
        if len(candidates) != 1:
            names = ", ".join(item.name for item in bag.of_type(cls))
            raise ReplayError(
                f"{bag.path}: {cls.__name__} on several topics, {names}; choose with --remap {topic}:=NAME"
            )
    return candidates[0].name if candidates else None


def _describe(model: str, backend: str, settings: Mapping[str, Mapping[str, Any]]) -> Graph:
    if settings.get("snn_inference", {}).get("state_directory"):
        raise UsageError("snn_inference.state_directory: a replay starts from rest; what lies on a disk is no input")
    # Readings are taken from the bag; the thermometer of this machine is no part of the recording, nor what it kept.
    thermal = {**settings.get("thermal_compensation", {}), "sensor": "topic", "compensation.memory": ""}
    merged = {**settings, "thermal_compensation": thermal}
    return describe_graph(GraphOptions(source="topic", model=model, backend=backend), merged)


class _Digest:
    """Takes outputs in order and counts, hashes and, if asked, keeps them."""

    def __init__(self, keep: bool) -> None:
        self._sha256 = hashlib.sha256()
        self._kept: list[Published] | None = [] if keep else None
        self.topics: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.decisions: list[tuple[int, int]] = []
        self.chains: dict[str, list[str]] = {}

    def take(self, items: Sequence[Published]) -> None:
        for item in items:
            data = digest_bytes(item.topic, item.message)
            self._sha256.update(data)
            self.chains.setdefault(item.topic, []).append(hashlib.sha256(data).hexdigest()[:_DIGITS])
            self.topics[item.topic] += 1
            if item.topic == "gesture" and isinstance(item.message, Gesture):
                self.labels[item.message.label] += 1
                self.decisions.append((item.message.sequence, item.message.class_index))
        if self._kept is not None:
            self._kept.extend(items)

    @property
    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    @property
    def kept(self) -> tuple[Published, ...]:
        return tuple(self._kept or ())


def replay(
    path: str | os.PathLike[str],
    *,
    source: str = "auto",
    remaps: Mapping[str, str] | None = None,
    model: str = "gesture",
    backend: str = "fixed",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    keep_outputs: bool = True,
) -> ReplayResult:
    """Run the graph's cores over a bag.

    Parameters
    ----------
    path : path
        Bag: a folder or a storage file.
    source : str
        ``events``, ``spikes``, or ``auto``: events if the bag has them.
    remaps : mapping, optional
        Relative input topic to its name in the bag, where the type alone does not tell.
    model : str
        Model file, or the name of a shipped one.
    backend : str
        Back end of the network.
    settings : mapping, optional
        Node to dotted parameter to value, where the run to be replayed differed from the defaults.
    keep_outputs : bool
        Keep every output in the result.

    Returns
    -------
    ReplayResult
        Equal for equal bags and arguments.

    Raises
    ------
    BagError
        The bag cannot be opened.
    ReplayError
        It holds no input, or several that could be meant.
    ParameterError, ModelError
        A parameter or the model is not usable.
    """
    if source not in ("auto", "events", "spikes"):
        raise UsageError(f"source {source!r} is not auto, events or spikes")
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(os.fspath(path)))
        kind, topics = _choose_topics(bag, source, remaps or {})
        graph = _describe(model, backend, settings or {})
        cores: dict[str, Core] = {}
        for node in graph.nodes:
            if node.managed and not (node.name == "event_camera" and kind == "spikes"):
                cores[node.name] = core_class(node.name)(node.parameter_object(), Clocks.replay())
                stack.callback(cores[node.name].close)
        bus = Bus(cores, given=topics.values())
        digest = _Digest(keep_outputs)
        inputs: Counter[str] = Counter()
        now_ns = None
        for topic, message, time_ns in _inputs(bag, topics):
            # A recorder may write two topics a little out of order; the bag's clock does not run backwards for that.
            if now_ns is None:
                bus.activate(time_ns)
            now_ns = time_ns if now_ns is None else max(now_ns, time_ns)
            bus.publish(topic, message, now_ns)
            inputs[topic] += 1
            digest.take(bus.take())
        if now_ns is None:
            raise ReplayError(f"{bag.path}: none of its messages can be read")
        camera = cores.get("event_camera")
        if camera is not None:
            bus.run("event_camera", camera.finish(now_ns))  # type: ignore[attr-defined]
        accounting = _accounting(cores, bag)
        bus.deactivate(now_ns)
        digest.take(bus.take())
        network: Any = cores["snn_inference"]
        windows = inputs["spikes"] if kind == "spikes" else digest.topics["spikes"]
        return ReplayResult(
            sha256=digest.hexdigest,
            windows=windows,
            gestures=digest.topics["gesture"],
            decisions=tuple(digest.decisions),
            labels=dict(sorted(digest.labels.items())),
            topics=dict(sorted(digest.topics.items())),
            inputs=dict(sorted(inputs.items())),
            accounting=accounting,
            chains={topic: "".join(parts) for topic, parts in sorted(digest.chains.items())},
            source=kind,
            model_id=network.model.model_id,
            outputs=digest.kept,
        )


def _inputs(bag: Bag, topics: Mapping[str, str]) -> Iterator[tuple[str, object, int]]:
    for item in bag.messages(list(topics)):
        yield topics[item.topic], item.message, item.time_ns


def _accounting(cores: Mapping[str, Core], bag: Bag) -> dict[str, int]:
    """Say where events and windows went, from the books of the nodes."""
    found: dict[str, int] = {"unreadable_messages": bag.unreadable}
    camera: Any = cores.get("event_camera")
    if camera is not None:
        found |= camera.account.as_dict()
    network: Any = cores["snn_inference"]
    found |= {f"network_{name}": int(value) for name, value in network.counters.as_dict().items()}
    return found


def write_expectation(path: str | os.PathLike[str], result: ReplayResult) -> None:
    """Write what a replay must give from now on, whole or not at all.

    Raises
    ------
    ReplayError
        The file cannot be written.
    """
    content = {
        "neuro_ros_replay": EXPECTATION_VERSION,
        **result.summary(),
        "decisions": [list(item) for item in result.decisions],
        "outputs": dict(result.chains),
    }
    # One entry a line, so that a change shows in a diff as what it is.
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    try:
        write_atomically(Path(path), ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    except OSError as error:
        raise ReplayError(f"{path}: cannot be written: {error.strerror}") from error


def read_expectation(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_expectation` wrote.

    Raises
    ------
    ReplayError
        The file is missing, foreign or of another version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}; write it with --update") from error
    except ValueError as error:
        raise ReplayError(f"{path}: not an expectation of a replay: {error}") from error
    version = content.get("neuro_ros_replay") if isinstance(content, dict) else None
    if version != EXPECTATION_VERSION or not isinstance(content.get("sha256"), str):
        raise ReplayError(f"{path}: not an expectation of version {EXPECTATION_VERSION}; write it again with --update")
    return dict(content)


def compare(expected: Mapping[str, Any], result: ReplayResult) -> str | None:
    """Name the first difference between an expectation and a result; None when there is none."""
    if expected["sha256"] == result.sha256:
        return None
    for key in ("from", "model_id", "inputs"):
        if key in expected and expected[key] != result.summary()[key]:
            return f"{key} was {expected[key]}, is {result.summary()[key]}"
    labels = {number: f"sequence {sequence}" for number, (sequence, _) in enumerate(result.decisions)}
    chains = expected.get("outputs", {})
    # The way of the data: what differs first upstream explains what differs downstream.
    order = ["clock/sample", "clock/model", "thermal/compensation", "spikes", "gesture"]
    topics = sorted({*chains, *result.chains}, key=lambda item: (order.index(item) if item in order else 99, item))
    for topic in topics:
        old, new = chains.get(topic, ""), result.chains.get(topic, "")
        number = _first_difference(old, new)
        if number is None:
            continue
        counts = f"{len(old) // _DIGITS} expected, {len(new) // _DIGITS} found"
        if _DIGITS * number >= min(len(old), len(new)):
            return f"{topic}: {counts}; the first {number} agree"
        detail = f" ({labels[number]})" if topic == "gesture" and number in labels else ""
        decisions = expected.get("decisions", [])
        if topic == "gesture" and number < min(len(decisions), len(result.decisions)):
            old_class, new_class = decisions[number][1], result.decisions[number][1]
            detail += f": class {old_class} expected, {new_class} found" if old_class != new_class else ""
        return f"{topic}: message {number} differs{detail}; {counts}"
    return "the outputs are the same, in another order"


def _first_difference(old: str, new: str) -> int | None:
    """Return the index of the first message that differs between two chains."""
    if old == new:
        return None
    pairs = zip(old, new, strict=False)
    same = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    return same // _DIGITS
