# SPDX-License-Identifier: Apache-2.0
"""Ways to damage bytes, and what must hold of decoders and recordings whatever the bytes are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, DecodeCounters, EventBatch, PacketDecoder, open_recording
from neuro_ros.events.types import RecordingError

#: Longest refusal beside the file's name, a line that a person can read.
MAX_REFUSAL = 300
#: Events after which reading a recording ends: a few thousand bytes can stand for very many.
MAX_EVENTS = 3_000_000

_EXTREMES = [
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\0" * 7 + b"\x80",
    b"\0" * 8,
    b"\0\0\0\x80\0\0\0\0",
    b"\xff\xff\xff\x7f",
]
_NUMBERS = [b"99999999999999999999", b"65536", b"4294967296", b"0", b"-1", b"1e9", b"", b"999999x999999"]


# --- damage -----------------------------------------------------------------------------------------------------------
def _two_runs(rng: np.random.Generator, size: int) -> tuple[int, int, int, int]:
    """Choose two runs, one behind the other."""
    a, b, c, d = sorted(int(place) for place in rng.integers(0, size + 1, 4))
    return a, b, c, d


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    """Turn over a few bits."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data), int(rng.integers(1, 20))):
        changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: int(rng.integers(0, len(data)))]


def delete_run(rng: np.random.Generator, data: bytes) -> bytes:
    """Leave a run out."""
    a, b, _, _ = _two_runs(rng, len(data))
    return data[:a] + data[b:]


def duplicate_run(rng: np.random.Generator, data: bytes) -> bytes:
    """Give a run twice."""
    a, b, _, _ = _two_runs(rng, len(data))
    return data[:b] + data[a:]


def swap_runs(rng: np.random.Generator, data: bytes) -> bytes:
    """Exchange two runs."""
    a, b, c, d = _two_runs(rng, len(data))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def overwrite_run(rng: np.random.Generator, data: bytes) -> bytes:
    """Put random bytes in place of a run."""
    start = int(rng.integers(0, len(data)))
    length = min(int(rng.integers(1, 1000)), len(data) - start)
    return data[:start] + rng.bytes(length) + data[start + length :]


def write_extremes(rng: np.random.Generator, data: bytes) -> bytes:
    """Put the largest, the smallest and no number at all in place of a few, mostly near the start."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        number = _EXTREMES[rng.integers(0, len(_EXTREMES))][: int(rng.choice([1, 2, 4, 8]))]
        place = int(len(data) * rng.random() ** 3)
        changed[place : place + len(number)] = number
    return bytes(changed[: len(data)])


def write_numbers(rng: np.random.Generator, data: bytes) -> bytes:
    """Put absurd numbers in place of some of a text header."""
    head, tail = data[: 1 << 14], data[1 << 14 :]
    return re.sub(rb"\d+", lambda found: rng.choice(_NUMBERS) if rng.random() < 0.2 else found[0], head) + tail


def keep_start(rng: np.random.Generator, data: bytes) -> bytes:
    """Keep what a format is recognised by, and go on with random bytes."""
    return data[: int(rng.integers(0, 200))] + rng.bytes(int(rng.integers(0, 2000)))


def append(rng: np.random.Generator, data: bytes) -> bytes:
    """Go on after the end."""
    return data + rng.choice([rng.bytes(200), bytes(200), data[: len(data) // 2]])


DAMAGES: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    flip_bits, truncate, delete_run, duplicate_run, swap_runs, overwrite_run, write_extremes, write_numbers,
    keep_start, append,
)  # fmt: skip


def damage(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage bytes in one or two ways."""
    for _ in range(int(rng.integers(1, 3))):
        if data:
            data = DAMAGES[rng.integers(0, len(DAMAGES))](rng, data)
    return data


# --- what must hold ---------------------------------------------------------------------------------------------------
def check(condition: bool, text: str, *what: Any) -> None:
    """Fail with a text; ``assert`` would not be there under ``-O``."""
    if not condition:
        raise AssertionError(" ".join([text, *(repr(item)[:300] for item in what)]))


def check_batch(batch: EventBatch, width: int, height: int) -> None:
    """Check that nothing lies beyond the sensor, and that all is of the types that were promised."""
    events, triggers = batch.events, batch.triggers
    check(events.dtype == EVENT_DTYPE and triggers.dtype == TRIGGER_DTYPE, "types", events.dtype, triggers.dtype)
    if len(events):
        check(int(events["x"].max()) < width, "x beyond the sensor", int(events["x"].max()), width)
        check(int(events["y"].max()) < height, "y beyond the sensor", int(events["y"].max()), height)
        check(int(events["p"].max()) <= 1, "polarity", int(events["p"].max()))
    if len(triggers):
        check(int(triggers["edge"].max()) <= 1, "edge", int(triggers["edge"].max()))


def check_counters(counters: DecodeCounters) -> None:
    """Check that nothing was counted down."""
    check(min(counters.as_dict().values()) >= 0, "a counter below zero", counters)


def check_decoder(name: str, payload: bytes, width: int, height: int, time_base_ns: int = 0) -> EventBatch:
    """Decode a payload; return the batch."""
    decoder = PacketDecoder(name, width, height)
    batch = decoder.decode(payload, time_base_ns)
    check_batch(batch, width, height)
    check_counters(decoder.counters)
    # A word makes 32 events at most.
    check(len(batch.events) <= 32 * len(payload), "more events than there can be", len(batch.events), len(payload))
    return batch


def check_refusal(error: RecordingError, path: Path) -> None:
    """Check that a refusal is one short line."""
    text = str(error)
    check("\n" not in text and len(text) <= MAX_REFUSAL + len(str(path)), "a long refusal", len(text), text)


def read_some(path: Path, start_ns: int | None = None, **options: Any) -> tuple[np.ndarray, DecodeCounters] | None:
    """Read a recording, and check it all the while; None when it was refused, as it should be."""
    try:
        recording = open_recording(path, **options)
    except RecordingError as error:
        check_refusal(error, path)
        return None
    with recording:
        events = [np.empty(0, EVENT_DTYPE)]
        count = 0
        for batch in recording.batches(4096, start_ns):
            check(len(batch.events) <= 4096, "a batch that is too large", len(batch.events))
            check_batch(batch, recording.width, recording.height)
            events.append(batch.events.copy())
            count += len(batch.events)
            if count > MAX_EVENTS:
                break
        check_counters(recording.counters)
        return np.concatenate(events), recording.counters


def check_recording(path: Path, **options: Any) -> tuple[np.ndarray, DecodeCounters] | None:
    """Read a recording as `read_some`; also from the middle of its times on, which must give that rest."""
    found = read_some(path, **options)
    if found is None or not 0 < len(found[0]) < MAX_EVENTS:
        return found
    times_ns = found[0]["t"]
    start_ns = int(np.partition(times_ns, len(times_ns) // 2)[len(times_ns) // 2])
    late = read_some(path, start_ns, **options)
    check(late is not None, "refused the second time")
    if late is not None:
        expected = found[0][times_ns >= start_ns]
        check(late[0].tolist() == expected.tolist(), "a seek gives others", len(late[0]), len(expected), start_ns)
    return found
