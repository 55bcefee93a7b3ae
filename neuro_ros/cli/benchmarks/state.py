# SPDX-License-Identifier: Apache-2.0
"""Saving and loading the state of the shipped network while it runs: what it delays, how long the disk takes.

Snapshot and load are timed by the processor time that this thread takes, as in the area engine; windows and the disk
by the clock on the wall, so they are worth something on an idle machine only. The stand-in beside ours is what a script
would do: the same arrays by ``pickle`` or ``torch.save``, without a check, a digest or a durable write. The disk is
that of the folder for temporary files (TMPDIR).
"""

from __future__ import annotations

import io
import pickle
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.cli.benchmarks._measure import Benchmark, Missing
from neuro_ros.cores.core import Clocks
from neuro_ros.cores.files import StateDirectory
from neuro_ros.cores.messages import Header, SpikeTensor
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.events import encode_tensor

__all__ = ["benchmarks"]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    rounds : int
        Snapshots, saves and loads, each.
    windows : int
        Windows that run without a save, and with one after each.
    period_s : float
        Time from window to window; 0 = as quick as they run.
    model : str
        What runs.
    """

    rounds: int = 50
    windows: int = 200
    period_s: float = 0.05
    model: str = "gesture"


SIZES = Sizes()
_DENSITY = 0.01  # of the cells of a window; the shipped network is awake then


class _Stream:
    """A core that takes one window after another."""

    def __init__(self, model: str) -> None:
        self.core = SnnInferenceCore(build(SnnInferenceParameters, {"model": model}), Clocks())
        self.core.activate(0)
        self._cells = self.core.model.bins * self.core.model.cells
        self._rng = np.random.default_rng(3)
        self._sequence = 0

    def step(self) -> None:
        """Run one window of random cells."""
        model, number = self.core.model, self._sequence
        cells = (self._rng.random(self._cells) < _DENSITY).astype(np.uint8)
        encoding, data = encode_tensor(np.packbits(cells), self._cells)
        channels, height, width = model.network.input_shape
        length_ns = model.window_length_ns
        message = SpikeTensor(
            header=Header(number * length_ns, "camera"),
            sequence=number,
            epoch=1,
            sensor_start_ns=number * length_ns,
            sensor_end_ns=(number + 1) * length_ns,
            bins=model.bins,
            channels=channels,
            height=height,
            width=width,
            encoding=encoding,
            active=int(cells.sum()),
            complete=True,
            data=data,
        )
        self.core.receive("spikes", message, number * length_ns)
        self._sequence += 1


def _times_ms(run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    samples = []
    for _ in range(rounds):
        begin = clock()
        run()
        samples.append(1e3 * (clock() - begin))
    return sorted(samples)


def _worst(name: str, samples: list[float]) -> Benchmark:
    return Benchmark(f"{name}, p99", "ms", samples[min(int(0.99 * len(samples)), len(samples) - 1)])


def _late_ms(stream: _Stream, windows: int, period_s: float, after: Callable[[], None]) -> list[float]:
    """Return how long each window took from the moment that it was due, saves included."""
    pause, samples = threading.Event(), []
    due = time.perf_counter()
    for _ in range(windows):
        pause.wait(max(due - time.perf_counter(), 0.0))
        begin = max(due, time.perf_counter()) if not period_s else due
        stream.step()
        samples.append(1e3 * (time.perf_counter() - begin))
        after()
        due = (due if period_s else time.perf_counter()) + period_s
    return sorted(samples)


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; rows for the snapshot, the durable write, the load, and windows beside a save of each."""
    torch = missing.try_import("torch")
    stream = _Stream(SIZES.model)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield from _rows(stream, Path(folder), torch)
    finally:
        stream.core.close()


def _rows(stream: _Stream, folder: Path, torch: Any) -> Iterator[Benchmark]:
    core, directory = stream.core, StateDirectory(str(folder), 2, 4)
    path = directory.path("camera")
    for _ in range(5):
        stream.step()

    def snapshot() -> Any:
        return core.snapshots()[0][1]

    def snapshot_after_a_window() -> float:
        stream.step()
        return _times_ms(snapshot, 1, time.thread_time)[0]

    state = snapshot()
    neurons = sum(layer.u.size for layer in state.layers)
    waits = sorted(snapshot_after_a_window() for _ in range(SIZES.rounds))
    yield Benchmark(f"snapshot of {neurons} neurons, inference waits", "ms", statistics.median(waits))
    yield _worst("snapshot, inference waits", waits)

    arrays = {f"{name}.{k}": array for k, layer in enumerate(state.layers) for name, array in layer.parts.items()}
    peers: dict[str, float] = {}

    def stand_in(dump: Callable[[Any, Any], object], content: Any) -> float:
        def write() -> None:
            buffer = io.BytesIO()
            dump(content, buffer)
            (folder / "stand_in").write_bytes(buffer.getvalue())

        return statistics.median(_times_ms(write, SIZES.rounds))

    peers["pickle, not durable"] = stand_in(pickle.dump, arrays)
    if torch is not None:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        peers["torch.save, not durable"] = stand_in(torch.save, tensors)
    writes = _times_ms(lambda: directory.save(state, path), SIZES.rounds)
    yield Benchmark("durable write with digest and the state before it", "ms", statistics.median(writes), peers)
    yield _worst("durable write", writes)
    yield Benchmark("size of the file", "KB", path.stat().st_size / 1e3)

    def load() -> None:
        found, _ = directory.load(path, core.model)
        core.restore(found)

    loads = _times_ms(load, SIZES.rounds, time.thread_time)
    yield Benchmark("load, check and take up", "ms", statistics.median(loads))
    yield _worst("load, check and take up", loads)
    yield from _beside(stream, directory, path)


def _beside(stream: _Stream, directory: StateDirectory, path: Path) -> Iterator[Benchmark]:
    """Compare windows alone with windows after each of which the state is saved by another thread."""
    core = stream.core
    writes: list[Future[str]] = []
    with ThreadPoolExecutor(1) as writer:

        def save() -> None:
            writes.append(writer.submit(directory.save, core.snapshots()[0][1], path))

        processed = core.counters.processed
        alone = _late_ms(stream, SIZES.windows, SIZES.period_s, lambda: None)
        saving = _late_ms(stream, SIZES.windows, SIZES.period_s, save)
        saved = len([write.result() for write in writes])
    lost = processed + 2 * SIZES.windows - core.counters.processed
    for name, samples in (("window alone", alone), ("window, its state saved after it", saving)):
        yield Benchmark(name, "ms", statistics.median(samples))
        yield _worst(name, samples)
    yield Benchmark(f"windows lost beside {saved} saves", "", float(lost))
