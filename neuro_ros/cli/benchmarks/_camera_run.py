# SPDX-License-Identifier: Apache-2.0
"""The whole graph as separate processes behind a camera's driver in another one, at a steady rate of events.

EVT3 of a 1280 x 720 px sensor in a packet a millisecond, clustered along rows as a moving edge makes them. What the
driver sent is compared with what the books of ``event_camera`` say about it; the recorder's bag tells the latencies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.bringup.collect import summarise
from neuro_ros.bringup.domain import private_domain, private_environment
from neuro_ros.bringup.summary import Summary, integer
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing
from neuro_ros.cli.benchmarks._synthetic import clustered_events
from neuro_ros.cores.parameters.recorder import RecorderParameters
from neuro_ros.errors import NeuroRosError
from neuro_ros.events.formats.rosbag2 import BagWriter

__all__ = ["sustained"]

_WIDTH, _HEIGHT = 1280, 720
_PACKET_NS = 1_000_000
_PIECE_NS = 100_000_000
_SECONDS = 10
_START_S = 120.0
#: Two rounds of diagnostics, so that the books are closed.
_TAIL_S = 3.0


def _write_bag(path: Path, rate_mev_s: int) -> int:
    """Write what the driver will send; return the number of events."""
    with BagWriter(path, _WIDTH, _HEIGHT, packet_ns=_PACKET_NS) as writer:
        for piece in range(_SECONDS * 1_000_000_000 // _PIECE_NS):
            count = rate_mev_s * _PIECE_NS // 1000
            events = clustered_events(count, _PIECE_NS, _WIDTH, _HEIGHT, seed=piece)
            events["t"] += piece * _PIECE_NS
            writer.write(events)
    return writer.events


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _nodes(pid: int) -> dict[str, int]:
    """Return the processes of the graph, by node."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"neuro_ros.nodes" in command:
            found[command[command.index(b"neuro_ros.nodes") + 1].decode()] = int(child)
    return found


class _Driver:
    """The publisher process, and what it has printed."""

    def __init__(self, bag: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neuro_ros.nodes.packet_publisher", str(bag)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._news:
                self._lines.append(line)
                self._news.notify_all()

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait for a line that begins so."""
        with self._news:
            if not self._news.wait_for(lambda: any(line.startswith(text) for line in self._lines), timeout_s):
                raise NeuroRosError(f"the camera's driver did not say {text!r} within {timeout_s:g} s")


def _end(process: subprocess.Popen[Any]) -> None:
    """Wait for a process that has been asked to end, and kill it if it does not."""
    try:
        process.wait(30.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(folder: Path, bag: Path) -> tuple[Summary, dict[str, float]]:
    """Run the graph on a bag; return the figures of what it recorded and the load of each process [cores]."""
    recorded = folder / f"{bag.name}_recorded"
    topics = [entry for entry in RecorderParameters().topics if not entry.startswith("events:")]
    command = [sys.executable, "-m", "neuro_ros.cli", "up", "--source", "topic", "--record", str(recorded)]
    command += ["--log-dir", str(folder / "log"), "--set", f"recorder.topics={','.join(topics)}"]
    command += ["--set", "thermal_compensation.sensor_fallback=simulated"]
    with private_domain() as domain:
        environment = private_environment(domain)
        driver = _Driver(bag, environment)
        graph = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        try:
            driver.wait_for("publishing", _START_S)
            nodes = {**_nodes(graph.pid), "driver": driver.process.pid}
            before = {name: _cpu_s(pid) for name, pid in nodes.items()}
            driver.wait_for("published", 3.0 * _SECONDS + _START_S)
            load = {name: (_cpu_s(pid) - before[name]) / _SECONDS for name, pid in nodes.items()}
            threading.Event().wait(_TAIL_S)
        finally:
            graph.send_signal(signal.SIGINT)
            driver.process.send_signal(signal.SIGINT)
            _end(graph)
            _end(driver.process)
    return summarise(recorded), load


def _rows(rate: int, sent: int, summary: Summary, load: dict[str, float]) -> Iterator[Benchmark]:
    books = summary.camera[max(summary.camera)] if summary.camera else {}
    read = integer(books, "events_read")
    dropped = sum(integer(books, name) for name in books if name.startswith("events_dropped_"))
    lost = dropped + integer(books, "events_lost")
    name = f"{rate} Mev/s for {_SECONDS} s"
    yield Benchmark(f"{name}: events that reached a window", "%", 100.0 * (read - lost) / sent)
    yield Benchmark(f"{name}: events dropped by the node and counted", "%", 100.0 * lost / sent)
    # What the middleware drops is counted in packets, by the gap in their numbers.
    packets = integer(books, "packets_lost")
    yield Benchmark(f"{name}: packets lost before the node and counted", "packets", packets)
    unaccounted = 0 if packets else sent - read
    yield Benchmark(f"{name}: events unaccounted for", "events", unaccounted)
    received = summary.received_s()
    if len(received):
        yield Benchmark(
            f"{name}: window closed to gesture received, p99", "ms", 1e3 * float(np.percentile(received, 99))
        )
    yield Benchmark(f"{name}: load of event_camera", "cores", load.get("event_camera", float("nan")))
    beside = sum(value for node, value in load.items() if node not in ("driver", "recorder"))
    yield Benchmark(f"{name}: load of the graph, recorder and driver left out", "cores", beside)


def sustained(rate_mev_s: int, missing: Missing) -> Iterator[Benchmark]:
    """Measure at one rate [million events/s]; several rows."""
    for module in ("rclpy", "neuro_ros.msg", "event_camera_msgs"):
        if util.find_spec(module) is None:
            missing.names.append(module)
            return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag = folder / "camera"
        sent = _write_bag(bag, rate_mev_s)
        summary, load = _run(folder, bag)
        yield from _rows(rate_mev_s, sent, summary, load)
