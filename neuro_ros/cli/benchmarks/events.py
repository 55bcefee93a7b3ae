# SPDX-License-Identifier: Apache-2.0
"""Decoding of recordings and packets, and windowing, one thread, beside the readers and accumulators at hand.

The events are synthetic, 640 x 480 px, in two kinds: *scattered*, each anywhere; and *clustered*, up to sixteen of one
microsecond along a row, as a moving edge makes them. Recordings are read as streams, to the end, into whatever arrays
the reader makes; they lie in a temporary folder and are read once before the first round, so that the disk does not
count. A reader that finds another number of events is not compared.

What a peer does less, or more, stands with its name. Not compared: evlib, about 40 times slower than the others
(its Python interface gathers a data frame).

At the end a camera's driver in a process of its own sends to the node; nobody else is compared there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.cli.benchmarks._camera_run import sustained
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing, paired_median_s
from neuro_ros.cli.benchmarks._synthetic import clustered_events, scattered_events
from neuro_ros.events import EventBatch, Geometry, PacketDecoder, Windower, open_recording
from neuro_ros.events.encodings import find_encoding
from neuro_ros.events.types import empty_triggers

__all__ = ["SIZES", "Sizes", "benchmarks"]

_WIDTH, _HEIGHT = 640, 480
_WINDOW_NS = 50_000_000
_BINS, _SIDE = 10, 128
_EVENTS_PER_S = 4_000_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    decoded, decoded_aedat4 : int
        Events of a recording.
    windowed : tuple of int
        Events of a window.
    packets : tuple of int
        Bytes of a packet.
    rounds : int
        For recordings and packets; windows get five times as many.
    sustained_mev_s : tuple of int
        Rates at which a camera's driver sends to the node, each for ten seconds.
    """

    decoded: int = 4_000_000
    decoded_aedat4: int = 1_000_000
    windowed: tuple[int, ...] = (50_000, 500_000)
    packets: tuple[int, ...] = (1 << 10, 1 << 15, 1 << 20)
    rounds: int = 9
    sustained_mev_s: tuple[int, ...] = (10,)


SIZES = Sizes()

Reader = Callable[[], int]


_KINDS = {"clustered": clustered_events, "scattered": scattered_events}


# --- recordings and packets -------------------------------------------------------------------------------------------
def _make(kind: str, count: int, duration_ns: int) -> npt.NDArray[np.void]:
    return _KINDS[kind](count, duration_ns, _WIDTH, _HEIGHT, seed=count)


def _words(encoding: str, events: npt.NDArray[np.void]) -> bytes:
    encoder = find_encoding(encoding).encoder
    if encoder is None:
        raise ValueError(f"{encoding} is not written")
    return encoder().encode(events, empty_triggers())


def _write_raw(path: Path, encoding: str, events: npt.NDArray[np.void]) -> None:
    header = f"% evt {encoding[-1]}.0\n% format {encoding.upper()};height={_HEIGHT};width={_WIDTH}\n"
    header += f"% geometry {_WIDTH}x{_HEIGHT}\n% end\n"
    path.write_bytes(header.encode() + _words(encoding, events))


# --- readers ----------------------------------------------------------------------------------------------------------
def _ours(path: Path) -> Reader:
    def run() -> int:
        with open_recording(path) as recording:
            return sum(len(batch.events) for batch in recording.batches())

    return run


def _expelliarmus(module: ModuleType, path: Path, encoding: str) -> dict[str, Reader]:
    def read_chunk() -> int:
        wizard: Any = module.Wizard(encoding=encoding, chunk_size=65536)
        wizard.set_file(path)
        return sum(len(chunk) for chunk in wizard.read_chunk())

    def read() -> int:
        return len(module.Wizard(encoding=encoding).read(path))

    return {"expelliarmus read_chunk": read_chunk, "expelliarmus read, whole file": read}


def _faery(module: ModuleType, path: Path) -> Reader:
    def run() -> int:
        stream: Any = module.events_stream_from_file(path)
        return sum(len(chunk) for chunk in stream)

    return run


def _aedat(module: ModuleType, path: Path) -> Reader:
    return lambda: sum(len(packet["events"]) for packet in module.Decoder(path) if "events" in packet)


def _dv_reader(module: ModuleType, path: Path) -> Reader:
    def run() -> int:
        recording: Any = module.io.MonoCameraRecording(str(path))
        total = 0
        while recording.isRunning() and (store := recording.getNextEventBatch()) is not None:
            total += store.size()
        return total

    return run


def _dv_store(module: ModuleType, events: npt.NDArray[np.void]) -> Any:
    store: Any = module.EventStore()
    for t, x, y, p in events.tolist():
        store.push_back(t // 1000, x, y, bool(p))
    return store


def _reading(name: str, count: int, readers: dict[str, Reader], missing: Missing, rounds: int) -> Benchmark:
    """Measure the readers that find all events; ours is among them."""
    found = {reader: run() for reader, run in readers.items()}
    for reader, number in found.items():
        if number != count:
            if reader == "ours":
                raise RuntimeError(f"{name}: {number} of {count} events were decoded")
            missing.leave_out(f"{reader} ({name}: {number} of {count} events)")
    compared = {reader: run for reader, run in readers.items() if found[reader] == count}
    rates = {reader: count / 1e6 / s for reader, s in paired_median_s(compared, rounds).items()}
    ours = rates.pop("ours")
    return Benchmark(name, "Mev/s", ours, rates, True)


def _decoding(encoding: str, kind: str, folder: Path, missing: Missing, sizes: Sizes) -> Benchmark:
    path = folder / f"{kind}_{encoding}.raw"
    events = _make(kind, sizes.decoded, sizes.decoded * 1_000_000_000 // _EVENTS_PER_S)
    _write_raw(path, encoding, events)
    readers = {"ours": _ours(path)}
    expelliarmus = missing.try_import("expelliarmus")
    if expelliarmus is not None:
        readers |= _expelliarmus(expelliarmus, path, encoding)
    faery = missing.try_import("faery")
    if faery is not None:
        readers["faery stream"] = _faery(faery, path)
    name = f"decode {encoding.upper()}, {_thousands(len(events))} {kind} events"
    benchmark = _reading(name, len(events), readers, missing, sizes.rounds)
    path.unlink()
    return benchmark


def _decoding_aedat4(folder: Path, missing: Missing, sizes: Sizes) -> Iterator[Benchmark]:
    """Measure AEDAT4 with LZ4, which dv-processing writes; without it there is nothing to read."""
    dv = missing.try_import("dv_processing")
    if dv is None:
        return
    path = folder / "clustered.aedat4"
    events = _make("clustered", sizes.decoded_aedat4, sizes.decoded_aedat4 * 1_000_000_000 // _EVENTS_PER_S)
    config = dv.io.MonoCameraWriter.EventOnlyConfig("bench", (_WIDTH, _HEIGHT), dv.CompressionType.LZ4)
    writer: Any = dv.io.MonoCameraWriter(str(path), config)
    writer.writeEvents(_dv_store(dv, events))
    del writer  # closes the file
    readers = {"ours": _ours(path), "dv-processing, its own store, no arrays": _dv_reader(dv, path)}
    aedat = missing.try_import("aedat")
    if aedat is not None:
        readers["aedat"] = _aedat(aedat, path)
    name = f"decode AEDAT4 (LZ4), {_thousands(len(events))} clustered events"
    yield _reading(name, len(events), readers, missing, sizes.rounds)


def _packets(size: int, sizes: Sizes) -> Benchmark:
    """Measure EVT3 payloads of one size, as they come from a driver; nobody else reads them without ROS."""
    events = _make("clustered", sizes.decoded, sizes.decoded * 1_000_000_000 // _EVENTS_PER_S)
    data = memoryview(_words("evt3", events))
    payloads = [data[start : start + size] for start in range(0, len(data), size)]
    decoder = PacketDecoder("evt3", _WIDTH, _HEIGHT)

    def run() -> int:
        decoder.reset()
        return sum(len(decoder.decode(payload).events) for payload in payloads)

    unit = f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"
    name = f"decode EVT3 from packets of {unit}, clustered events"
    return _reading(name, len(events), {"ours": run}, Missing(), sizes.rounds)


# --- windows ----------------------------------------------------------------------------------------------------------
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
    store = _dv_store(module, events)
    accumulator: Any = module.EdgeMapAccumulator((_WIDTH, _HEIGHT))

    def run() -> object:
        accumulator.accept(store)
        return accumulator.generateFrame()

    return run


def _window_tonic(module: ModuleType, events: npt.NDArray[np.void]) -> Callable[[], object]:
    scaled = np.zeros(len(events), [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
    scaled["t"] = events["t"] // 1000
    scaled["x"] = events["x"].astype(np.int64) * _SIDE // _WIDTH
    scaled["y"] = events["y"].astype(np.int64) * _SIDE // _HEIGHT
    scaled["p"] = events["p"]
    to_frame: Any = module.ToFrame(sensor_size=(_SIDE, _SIDE, 2), n_time_bins=_BINS)
    return lambda: to_frame(scaled)


def _window_spikingjelly(module: ModuleType, events: npt.NDArray[np.void]) -> Callable[[], object]:
    columns = {
        "t": events["t"] // 1000,
        "x": events["x"].astype(np.int64) * _SIDE // _WIDTH,
        "y": events["y"].astype(np.int64) * _SIDE // _HEIGHT,
        "p": events["p"].astype(np.int64),
    }
    integrate: Any = module.integrate_events_by_fixed_frames_number
    return lambda: integrate(columns, "time", _BINS, _SIDE, _SIDE)


def _windowing(count: int, kind: str, missing: Missing, sizes: Sizes) -> Benchmark:
    events = _make(kind, count, _WINDOW_NS)
    batch = EventBatch(events, empty_triggers())
    geometry = Geometry.fit(_WIDTH, _HEIGHT, _SIDE, _SIDE)
    windower = Windower(_WINDOW_NS, _BINS, geometry, _WIDTH, _HEIGHT)

    def ours() -> object:
        windower.push(batch)
        return windower.flush()

    contenders: dict[str, Callable[[], object]] = {"ours": ours, "NumPy, flat index": lambda: _window_numpy(events)}
    dv = missing.try_import("dv_processing")
    if dv is not None:
        contenders["dv-processing edge map, 1 channel, no bins"] = _window_dv(dv, events)
    tonic = missing.try_import("tonic.transforms")
    if tonic is not None:
        contenders["tonic ToFrame, scaled beforehand"] = _window_tonic(tonic, events)
    # Its data sets need these two, its frames do not.
    spikingjelly = missing.try_import("spikingjelly.datasets", unused=("torchvision", "torchaudio"))
    if spikingjelly is not None:
        contenders["spikingjelly frames, scaled beforehand"] = _window_spikingjelly(spikingjelly, events)
    times = {name: 1e3 * s for name, s in paired_median_s(contenders, 5 * sizes.rounds).items()}
    mine = times.pop("ours")
    return Benchmark(f"window {_thousands(len(events))} {kind} events, 10x2x128x128", "ms", mine, times)


def _thousands(count: int) -> str:
    return f"{count / 1e6:g} M" if count >= 1_000_000 else f"{count / 1e3:g} k"


def benchmarks(missing: Missing) -> Iterator[Benchmark]:
    """Measure; rows for decoding, then for windowing."""
    sizes = SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for encoding in ("evt3", "evt2"):
            for kind in _KINDS:
                yield _decoding(encoding, kind, folder, missing, sizes)
        yield from _decoding_aedat4(folder, missing, sizes)
    for size in sizes.packets:
        yield _packets(size, sizes)
    for count in sizes.windowed:
        for kind in _KINDS:
            yield _windowing(count, kind, missing, sizes)
    for rate in sizes.sustained_mev_s:
        yield from sustained(rate, missing)
