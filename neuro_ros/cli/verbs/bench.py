# SPDX-License-Identifier: Apache-2.0
"""Measures speed beside the peers that are installed, in one run, as ratios."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import platform
import sys
from importlib import metadata
from pathlib import Path

from neuro_ros.cli import benchmarks as benchmarks_package
from neuro_ros.cli.arguments import add_json_argument, emit
from neuro_ros.cli.benchmarks._measure import Benchmark, Missing

__all__ = ["SUMMARY", "add_arguments", "main"]

SUMMARY = "measure speed beside the peers that are installed"

_NAMED = (
    "numpy",
    "numba",
    "torch",
    "lava-nc",
    "dv-processing",
    "expelliarmus",
    "faery",
    "aedat",
    "tonic",
    "spikingjelly",
    "snntorch",
    "norse",
    "sinabs",
)


def _areas() -> list[str]:
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks_package.__path__) if not module.name.startswith("_")
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the area."""
    parser.add_argument("area", nargs="?", choices=_areas(), help="what to measure; everything when not given")
    add_json_argument(parser)


def _versions() -> dict[str, str]:
    installed = {distribution.name: distribution.version for distribution in metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in _NAMED if name in installed}}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _figure(value: float) -> str:
    """Write three digits that count, and never an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def _table(area: str, rows: list[Benchmark]) -> str:
    """Write a row for ours and one a peer, the best peer first, with how many times better than it we are."""
    names = [row.name for row in rows] + [f"  {peer}" for row in rows for peer in row.peers]
    width = max((len(name) for name in names), default=0)
    lines = [f"{area}{'':{max(width + 2 - len(area), 1)}}{'figure':>8} {'':5}   ours is better by"]
    for row in rows:
        lines.append(f"  {row.name:<{width}}{_figure(row.ours):>8} {row.unit:<5}")
        for peer, value in sorted(row.peers.items(), key=lambda item: item[1], reverse=row.higher_is_better):
            times = row.ours / value if row.higher_is_better else value / row.ours
            lines.append(f"    {peer:<{width - 2}}{_figure(value):>8} {row.unit:<5}{_figure(times):>8} x")
    return "\n".join(line.rstrip() for line in lines)


def main(args: argparse.Namespace) -> int:
    """Measure and print; always good, because a figure is not a verdict."""
    missing = Missing()
    measured: dict[str, list[Benchmark]] = {}
    for area in [args.area] if args.area else _areas():
        module = importlib.import_module(f"{benchmarks_package.__name__}.{area}")
        measured[area] = []
        for row in module.benchmarks(missing):
            sys.stderr.write(f"{area}: {row.name}\n")
            measured[area].append(row)
    machine = f"{_processor()}, {platform.system()} {platform.machine()}"
    text = "\n\n".join(_table(area, rows) for area, rows in measured.items()) + f"\n\n{machine}"
    if missing.names:
        text += "\nnot installed, so not compared: " + ", ".join(missing.names)
    if missing.left_out:
        text += "\nother work done, so not compared: " + "; ".join(missing.left_out)
    rows = [{"area": area, **row.as_dict()} for area, group in measured.items() for row in group]
    result = {
        "benchmarks": rows,
        "machine": machine,
        "versions": _versions(),
        "missing": missing.names,
        "left_out": missing.left_out,
    }
    emit(args, result, text)
    return 0
