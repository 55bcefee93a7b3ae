# SPDX-License-Identifier: Apache-2.0
"""The demo: the whole graph as processes on a domain of its own, recorded to the end, and what came of it.

``python -m neuro_ros.bringup.demo [RECORDING]`` is what ``make demo`` runs. Without a recording the simulator acts a
few gestures, on an emulated chip that drifts and goes through the temperatures of a flight.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuro_ros.bringup.collect import summarise
from neuro_ros.bringup.domain import private_domain, private_environment
from neuro_ros.bringup.graph import GraphOptions
from neuro_ros.bringup.page import write_page
from neuro_ros.bringup.summary import Summary
from neuro_ros.bringup.table import as_text
from neuro_ros.bringup.up import check_source, run_graph
from neuro_ros.errors import NeuroRosError, UsageError

__all__ = ["main", "run_demo"]

_EXIT_BAD = 1
_EXIT_USAGE = 2
_GESTURES = 8
#: A flight in less time than this [s] would be hotter and colder than silicon can follow.
_SHORTEST_FLIGHT_S = 20.0
_LANDED_CELSIUS = 50.0
_STALE_AFTER_S = 2.0


def _say(line: str) -> None:
    sys.stderr.write(f"demo: {line}\n")
    sys.stderr.flush()


def _make_room(folder: Path) -> None:
    """Clear what an earlier demo left, and nothing else.

    Raises
    ------
    UsageError
        Something else lies where the demo writes.
    """
    bag = folder / "bag"
    if bag.is_symlink() or (bag.exists() and not bag.is_dir()):
        raise UsageError(f"{bag} is in the way; remove it or choose another folder with OUT=DIR")
    if bag.is_dir():
        foreign = [item.name for item in bag.iterdir() if item.suffix not in (".mcap", ".yaml")]
        if foreign:
            raise UsageError(f"{bag} holds {foreign[0]}, which is no bag of a demo; choose another folder with OUT=DIR")
        shutil.rmtree(bag)
    (folder / "report.html").unlink(missing_ok=True)
    shutil.rmtree(folder / "logs", ignore_errors=True)


def _flight(options: GraphOptions) -> dict[str, dict[str, Any]]:
    """Return the settings of a simulated flight: everything that is simulated drifts, and is compensated.

    A recording, and a back end that is built anew for every change of a register, run on digital silicon.
    """
    if options.effective_source != "simulator" or options.backend != "fixed":
        return {}
    flight_s = max(_SHORTEST_FLIGHT_S, options.gestures * options.gesture_duration_s)
    return {
        "thermal_compensation": {
            "sensor": "simulated",
            "simulated.profile": "flight",
            "simulated.end_celsius": _LANDED_CELSIUS,
            "simulated.duration_s": flight_s,
            # Up in the cold the sensor does not answer for a while: the temperature is held, goes stale and is back.
            "simulated.dropout_after_s": 0.42 * flight_s,
            "simulated.dropout_s": 0.14 * flight_s,
            "watch.stale_after_s": _STALE_AFTER_S,
            "read_period_s": 0.25,
            "silicon.profile": "linear",
        },
        "snn_inference": {"emulated_silicon.profile": "linear"},
    }


def run_demo(options: GraphOptions, folder: Path) -> int:
    """Run the graph to its end, print the table and leave bag, page and logs in `folder`.

    Parameters
    ----------
    options : GraphOptions
        What to play; where to record is decided here.
    folder : Path
        Made when missing.

    Returns
    -------
    int
        0 when gestures arrived and every event and window is accounted for, 1 otherwise.

    Raises
    ------
    NeuroRosError
        Something given is missing or wrong; nothing was started.
    """
    check_source(options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}; choose another folder with OUT=DIR") from error
    with private_domain() as domain:
        code = run_graph(
            options,
            settings=_flight(options),
            log_directory=folder / "logs",
            environment=private_environment(domain),
            report=_say,
        )
    bag = folder / "bag"
    if not bag.is_dir():
        _say(f"no bag was recorded; the logs are in {folder / 'logs'}")
        return _EXIT_BAD
    summary = summarise(bag)
    page = folder / "report.html"
    write_page(summary, page)
    sys.stdout.write(f"\n{as_text(summary)}\n\n  bag   {bag}\n  page  {page}\n")
    sys.stdout.flush()
    return _judge(summary, code)


def _judge(summary: Summary, code: int) -> int:
    """Say why a demo is no good; return the exit code."""
    reasons = summary.problems()
    if not summary.gestures:
        reasons.insert(0, "no gesture arrived")
    if code:
        reasons.insert(0, "the graph did not end cleanly, see above")
    for reason in reasons:
        _say(f"FAILED: {reason}")
    return _EXIT_BAD if reasons else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 good, 1 the result is bad, 2 wrong usage or unreadable input."""
    parser = argparse.ArgumentParser(prog="demo", description="Play gestures through the whole graph and report.")
    parser.add_argument("recording", nargs="?", default="", help="recording to play (default: the simulator)")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "demo_output"), metavar="DIR")
    parser.add_argument("--encoding", default="", help="of a recording without a header")
    parser.add_argument("--width", type=int, default=0, help="of the sensor, for a recording without a header")
    parser.add_argument("--height", type=int, default=0, help="of the sensor, for a recording without a header")
    parser.add_argument("--model", default="gesture", help="model file, or the name of a shipped one")
    parser.add_argument("--backend", default="fixed", choices=("fixed", "lava", "loihi"))
    parser.add_argument("--gestures", type=int, default=_GESTURES, help="how many the simulator acts")
    args = parser.parse_args(arguments)
    try:
        options = GraphOptions(
            source="file" if args.recording else "simulator",
            recording=args.recording,
            encoding=args.encoding,
            width=args.width,
            height=args.height,
            gestures=0 if args.recording else args.gestures,
            model=args.model,
            backend=args.backend,
            record=str(args.out / "bag"),
            until_finished=True,
        )
        return run_demo(options, args.out)
    except NeuroRosError as error:
        _say(" ".join(str(error).split()))
        return _EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
