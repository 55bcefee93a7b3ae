# SPDX-License-Identifier: Apache-2.0
"""Decoding of RAW files and windowing, one thread, beside the readers and accumulators that are installed.

The events are synthetic: 640 x 480 px, several of one microsecond along a row now and then, as a moving edge makes
them. Files lie in a temporary folder and are read once before the first round, so that the disk does not count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.cli.benchmarks._measure import Benchmark, Missing, paired_median_s
from neuro_ros.events import EVENT_DTYPE, EventBatch, Geometry, Windower, open_recording
from neuro_ros.events.encodings import find_encoding
from neuro_ros.events.types import empty_triggers

__all__ = ["benchmarks"]

_WIDTH, _HEIGHT = 640, 480
_DECODED = 4_000_000
_ROUNDS = 7
_WINDOW_NS = 50_000_000
_BINS, _SIDE = 10, 128


def _synthetic(count: int, duration_ns: int, seed: int = 0) -> npt.NDArray[np.void]:
    """Make events in clusters: runs of up to 16 px along a row share a microsecond and a polarity."""
    rng = np.random.default_rng(seed)
    runs = count // 4
    lengths = np.minimum(rng.geometric(0.25, runs), 16)
    run = np.repeat(np.arange(runs), lengths)[:count]
    within = (np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)[: len(run)]).astype(np.int64)
    events = np.zeros(len(run), EVENT_DTYPE)
    times_us = np.sort(rng.integers(0, duration_ns // 1000, runs))
    events["t"] = times_us[run] * 1000
    events["x"] = np.minimum(rng.integers(0, _WIDTH - 16, runs)[run] + within, _WIDTH - 1)
    events["y"] = rng.integers(0, _HEIGHT, runs)[run]
    events["p"] = rng.integers(0, 2, runs)[run]
    return events


def _write_raw(path: Path, encoding: str, events: npt.NDArray[np.void]) -> None:
    header = f"% evt {encoding[-1]}.0\n% format {encoding.upper()};height={_HEIGHT};width={_WIDTH}\n"
    header += f"% geometry {_WIDTH}x{_HEIGHT}\n% end\n"
    encoder = find_encoding(encoding).encoder
    if encoder is None:
        raise ValueError(f"{encoding} is not written")
    path.write_bytes(header.encode() + encoder().encode(events, empty_triggers()))


def _read_ours(path: Path) -> int:
    with open_recording(path) as recording:
        return sum(len(batch.events) for batch in recording.batches())


def _read_expelliarmus(module: ModuleType, path: Path, encoding: str) -> int:
    wizard: Any = module.Wizard(encoding=encoding, chunk_size=65536)
    wizard.set_file(path)
    return sum(len(chunk) for chunk in wizard.read_chunk())


def _read_faery(module: ModuleType, path: Path) -> int:
    stream: Any = module.events_stream_from_file(path)
    return sum(len(chunk) for chunk in stream)


def _decoding(encoding: str, folder: Path, missing: Missing) -> Benchmark:
    path = folder / f"synthetic_{encoding}.raw"
    events = _synthetic(_DECODED, 1_000_000_000)
    _write_raw(path, encoding, events)
    contenders: dict[str, Callable[[], object]] = {"ours": lambda: _read_ours(path)}
    expelliarmus = missing.try_import("expelliarmus")
    if expelliarmus is not None:
        contenders["expelliarmus read_chunk"] = lambda: _read_expelliarmus(expelliarmus, path, encoding)
    faery = missing.try_import("faery")
    if faery is not None:
        contenders["faery stream"] = lambda: _read_faery(faery, path)
    rates = {name: len(events) / 1e6 / s for name, s in paired_median_s(contenders, _ROUNDS).items()}
    ours = rates.pop("ours")
    return Benchmark(f"decode {encoding}, {len(events) / 1e6:.0f} M events", "Mev/s", ours, rates, True)


def _window_numpy(events: npt.NDArray[np.void]) -> object:
    """Window as one would with NumPy: one flat index an event."""
    tensor = np.zeros(_BINS * 2 * _SIDE * _SIDE, np.uint8)
    x0 = (_WIDTH - _HEIGHT) // 2
    inside = (events["x"] >= x0) & (events["x"] < x0 + _HEIGHT)
    kept = events[inside]
    bins = kept["t"] * _BINS // _WINDOW_NS
    x = (kept["x"].astype(np.int64) - x0) * _SIDE // _HEIGHT
    y = kept["y"].astype(np.int64) * _SIDE // _HEIGHT
    tensor[((bins * 2 + kept["p"]) * _SIDE + y) * _SIDE + x] = 1
    return np.packbits(tensor)


def _window_dv(module: ModuleType, events: npt.NDArray[np.void]) -> Callable[[], object]:
    """Accumulate one channel with the quickest accumulator of dv-processing; its events are made beforehand."""
    store: Any = module.EventStore()
    for t, x, y, p in events.tolist():
        store.push_back(t // 1000, x, y, bool(p))
    accumulator: Any = module.EdgeMapAccumulator((_WIDTH, _HEIGHT))

    def run() -> object:
        accumulator.accept(store)
        return accumulator.generateFrame()

    return run


def _windowing(count: int, missing: Missing) -> Benchmark:
    events = _synthetic(count, _WINDOW_NS, seed=count)
    batch = EventBatch(events, empty_triggers())
    geometry = Geometry.fit(_WIDTH, _HEIGHT, _SIDE, _SIDE)
    windower = Windower(_WINDOW_NS, _BINS, geometry, _WIDTH, _HEIGHT)

    def ours() -> object:
        windower.push(batch)
        return windower.flush()

    contenders: dict[str, Callable[[], object]] = {"ours": ours, "numpy flat index": lambda: _window_numpy(events)}
    dv = missing.try_import("dv_processing")
    if dv is not None:
        contenders["dv-processing edge map, 1 channel, no bins"] = _window_dv(dv, events)
    times = {name: 1e3 * s for name, s in paired_median_s(contenders, 5 * _ROUNDS).items()}
    mine = times.pop("ours")
    return Benchmark(f"window {count // 1000} k events into 10 x 2 x 128 x 128", "ms", mine, times)


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; rows for decoding, then for windowing."""
    with tempfile.TemporaryDirectory() as folder:
        for encoding in ("evt3", "evt2"):
            yield _decoding(encoding, Path(folder), missing)
    for count in (50_000, 500_000):
        yield _windowing(count, missing)
