# SPDX-License-Identifier: Apache-2.0
"""Damages recordings and streams without end: ``fuzz_events.py sweep`` or ``fuzz_events.py atheris FOLDER ...``.

``sweep`` damages the samples at random, one after the other, and prints one
JSON object: how many, how slow the slowest, and how much memory it took.
``atheris`` lets libFuzzer look for bytes that reach branches not yet seen; what
follows the folder are its options, such as ``-runs=10000``. It wants
``NUMBA_DISABLE_JIT=1``, as compiled loops have no branches that it could see.
A case that takes longer than a limit ends the process with the place it is at.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

_CASE_LIMIT_S = 20
# Of what atheris changes: beyond, it would hardly ever change what matters. It leaves bags of sqlite3 to the sweep.
_MAX_BYTES = 10_000


def peak_mb() -> float:
    """Return the most memory that this process ever had [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scratch_folder() -> Path:
    """Make a folder, in memory where that is possible."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="neuro_ros_fuzz_", dir=memory if os.access(memory, os.W_OK) else None))


def quiet() -> None:
    """Let nobody speak of damage, which is the rule here."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)  # of rosbags, when it refuses a file


class Targets:
    """Every encoding and every sample of a recording of `count` events, where it has at most `max_bytes`."""

    def __init__(self, folder: Path, count: int, max_bytes: int | None = None) -> None:
        import event_samples

        from neuro_ros.events import ENCODINGS

        self._max_bytes = max_bytes
        self.names: list[str] = []
        self.seeds: list[bytes] = []
        self._checks: list[Any] = []
        self._folder = folder
        for name in sorted(ENCODINGS):
            packets = event_samples.encoding_packets(name, count)
            self._add(f"encoding {name}", b"".join(payload for payload, _ in packets), self._decode(name))
        for name, sample in event_samples.samples().items():
            if sample.needs is not None:
                with contextlib.suppress(ImportError):
                    __import__(sample.needs)
                if sample.needs not in sys.modules:
                    continue
            place = folder / "samples" / sample.suffix.lstrip(".") / name.replace(" ", "_")
            place.mkdir(parents=True, exist_ok=True)
            path = sample.make(place, count)
            self._add(f"format {name}", path.read_bytes(), self._read(path.suffix, sample))

    def _add(self, name: str, seed: bytes, check: Any) -> None:
        if self._max_bytes is not None and len(seed) > self._max_bytes:
            return
        self.names.append(name)
        self.seeds.append(seed)
        self._checks.append(check)

    def _decode(self, name: str) -> Any:
        import event_checks

        return lambda data: event_checks.check_decoder(name, data, 320, 240)

    def _read(self, suffix: str, sample: Any) -> Any:
        import event_checks

        path = self._folder / f"case{suffix}"

        def check(data: bytes) -> Any:
            path.write_bytes(data)
            return event_checks.check_recording(path, **sample.options)

        return check

    def run(self, number: int, data: bytes) -> Any:
        """Check one case."""
        faulthandler.dump_traceback_later(_CASE_LIMIT_S, exit=True)
        try:
            return self._checks[number](data)
        finally:
            faulthandler.cancel_dump_traceback_later()


def sweep(cases: int, seed: int, folder: Path) -> dict[str, Any]:
    """Damage each sample so many times."""
    import event_checks
    import numpy as np

    targets = Targets(folder, 600)
    for number, whole in enumerate(targets.seeds):
        targets.run(number, whole)
    before_mb = peak_mb()
    slowest, largest = (0.0, ""), (0.0, "")
    refused = 0
    for number, name in enumerate(targets.names):
        for case in range(cases):
            rng = np.random.default_rng([seed, number, case])
            data = event_checks.damage(rng, targets.seeds[number])
            (folder / "last_case").write_bytes(data)
            at_mb, start = peak_mb(), time.perf_counter()
            try:
                refused += targets.run(number, data) is None
            except BaseException as error:
                kept = Path(tempfile.gettempdir()) / f"neuro_ros_fuzz_{number}_{case}"
                shutil.copy(folder / "last_case", kept)
                raise RuntimeError(f"{name}, case {case}, kept in {kept}: {type(error).__name__}: {error}") from error
            slowest = max(slowest, (time.perf_counter() - start, f"{name}, case {case}"))
            largest = max(largest, (peak_mb() - at_mb, f"{name}, case {case}"))
    return {
        "targets": targets.names,
        "cases": cases * len(targets.names),
        "refused": refused,
        "slowest_s": slowest[0],
        "slowest": slowest[1],
        "growth_mb": peak_mb() - before_mb,
        "largest": largest[1],
    }


def atheris_main(corpus: Path, options: list[str], folder: Path) -> None:
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["neuro_ros.events"]):
        import neuro_ros.events  # noqa: F401

    from neuro_ros.events.formats import aedat4_writer

    aedat4_writer._XML_BYTES = 2048  # less room in the header, of which most would be empty
    targets = Targets(folder, 40, _MAX_BYTES)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds):
        (corpus / f"seed_{number}").write_bytes(bytes([number]) + seed)

    def one(data: bytes) -> None:
        if data:
            targets.run(data[0] % len(targets.names), data[1:])

    atheris.Setup([sys.argv[0], str(corpus), f"-max_len={_MAX_BYTES + 1}", *options], one)
    atheris.Fuzz()


def main() -> int:
    """Parse, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    sweeping = modes.add_parser("sweep")
    sweeping.add_argument("--cases", type=int, default=100, help="of each sample")
    sweeping.add_argument("--seed", type=int, default=1)
    hunting = modes.add_parser("atheris")
    hunting.add_argument("corpus", type=Path)
    hunting.add_argument("options", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    quiet()
    if args.mode == "atheris":
        # libFuzzer ends the process on the spot, so that the folder must be somebody else's to remove.
        folder = args.corpus.with_name(args.corpus.name + "_scratch")
        folder.mkdir(parents=True, exist_ok=True)
        atheris_main(args.corpus, args.options, folder)
        return 0
    folder = scratch_folder()
    try:
        sys.stdout.write(json.dumps(sweep(args.cases, args.seed, folder)) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
