# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros import FILE --format netx|nir --out MODEL``: take a network of another library, with a report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuro_ros.cli.arguments import add_json_argument, emit, non_negative_float, positive_float, positive_int
from neuro_ros.cli.model_windows import ModelWindows
from neuro_ros.events import open_recording
from neuro_ros.snn import Model, save_model
from neuro_ros.snn.exchange import FORMATS, ImportOptions, import_model, random_windows

SUMMARY = "take a network of another library into a model file, with a report of what quantisation changed"

_RANDOM = "random"


def _shape(text: str) -> tuple[int, int, int]:
    """Convert C,H,W."""
    parts = text.split(",")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not channels,height,width")
    return positive_int(parts[0]), positive_int(parts[1]), positive_int(parts[2])


def _rate(text: str) -> float:
    """Convert a probability."""
    value = non_negative_float(text)
    if value > 1.0:
        raise argparse.ArgumentTypeError(f"{text} is above 1")
    return value


def _names(text: str) -> tuple[str, ...]:
    """Convert A,B,C."""
    return tuple(part.strip() for part in text.split(","))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the format, what the file leaves open, the comparison, and ``--json``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="network to read")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), required=True, help="; ".join(f"{k}: {v.text}" for k, v in FORMATS.items())
    )
    parser.add_argument("--out", type=Path, metavar="MODEL", required=True, help="model file to write")
    parser.add_argument("--name", help="of the model (default: what a file of ours keeps, else after the file)")
    parser.add_argument("--labels", type=_names, metavar="A,B,...", help="one an output neuron (default: class0, ...)")
    parser.add_argument("--bins", type=positive_int, metavar="N", help="steps of a window (default: 10)")
    parser.add_argument("--window-ms", type=positive_float, metavar="MS", help="length of a window (default: 50)")
    group = parser.add_argument_group("what the file may leave open")
    group.add_argument(
        "--step",
        type=positive_float,
        metavar="S",
        help="nir: one step of the network, in the file's unit of time: 1e-4 from snntorch and spikingjelly, 1e-6 from "
        "norse 1.1, 1 from sinabs",
    )
    group.add_argument(
        "--discretisation",
        choices=("euler", "exponential"),
        default="euler",
        help="nir: how a time constant becomes a decay (default: euler; exponential for leaky neurons of sinabs)",
    )
    group.add_argument(
        "--synapse-gain",
        choices=("equation", "unit"),
        default="equation",
        help="nir: what a spike adds to the current of a CubaLIF (default: equation; unit for norse)",
    )
    group.add_argument("--merge-decays", action="store_true", help="take the mean where neurons of a layer differ")
    group.add_argument(
        "--input-shape", type=_shape, metavar="C,H,W", help="of the input, where the file has none or has it flattened"
    )
    group = parser.add_argument_group("spike difference to the floating point network")
    group.add_argument(
        "--difference", metavar=f"{_RANDOM}|RECORDING", help="count the spikes that quantisation changes on this input"
    )
    group.add_argument("--windows", type=positive_int, default=20, metavar="N", help="of the comparison (default: 20)")
    group.add_argument("--rate", type=_rate, default=0.05, metavar="P", help="of random input a cell (default: 0.05)")
    group.add_argument("--seed", type=positive_int, default=1, metavar="N", help="of random input (default: 1)")
    add_json_argument(parser)


def _windows(args: argparse.Namespace, model: Model) -> Iterator[tuple[Any, int]]:
    """Yield what both networks run on."""
    if args.difference == _RANDOM:
        shape = model.network.input_shape
        for indices in random_windows(shape, model.bins, args.windows, args.rate, args.seed):
            yield indices, model.bins
        return
    with open_recording(Path(args.difference)) as recording:
        for feed in ModelWindows(model, recording, args.windows):
            yield feed.indices, feed.bins


def main(args: argparse.Namespace) -> int:
    """Import, write the model and print the report."""
    options = ImportOptions(args.step, args.discretisation, args.synapse_gain, args.merge_decays, args.input_shape)
    length_ns = round(args.window_ms * 1e6) if args.window_ms is not None else None
    imported = import_model(args.file, args.format, options, args.labels, length_ns, args.bins, args.name)
    if args.difference is not None:
        imported = imported.compared(_windows(args, imported.model), args.difference)
    save_model(imported.model, args.out)
    report = imported.report
    head = {"model": str(args.out), "model_id": imported.model.model_id}

    def text() -> str:
        lines = [f"{args.out}: {imported.model.model_id}, {len(report.layers)} layers from {report.format}"]
        for layer in report.layers:
            lines += layer.lines()
        lines += [f"note: {note}" for note in report.notes]
        if report.difference is not None:
            lines.append(f"spikes over {report.difference['steps']} steps of {report.difference['source']}:")
            lines += [
                f"  {entry['name']}: {entry['spikes_float']} in floating point, {entry['spikes_integer']} in integers, "
                f"{entry['differing']} differ ({100 * entry['share']:.1f} %)"
                + (f"; current wrapped {entry['wrapped']} times" if entry["wrapped"] else "")
                for entry in report.difference["layers"]
            ]
        return "\n".join(lines)

    emit(args, head | report.as_dict(), text)
    return 0
