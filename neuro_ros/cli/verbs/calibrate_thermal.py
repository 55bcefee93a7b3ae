# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros calibrate-thermal``: a calibration table of a chip, of measured pairs or of a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro_ros.cli.arguments import add_json_argument, emit, non_negative_float, positive_float

if TYPE_CHECKING:
    from neuro_ros.thermal.measurement import Fit, Pairs

SUMMARY = "make and plot a chip's calibration table, of measured pairs or of a sweep on the emulated chip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="measured: columns temperature_celsius and tau_mem_s, tau_syn_s or response; in any order",
    )
    source.add_argument(
        "--sweep", choices=("linear", "table"), help="measure the emulated chip of this silicon profile"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here (JSON)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .svg, .png or .pdf")
    parser.add_argument("--chip", default="", help="name of the chip, kept in the table")
    parser.add_argument("--layer", default="*", help="population that the curves are for (default *, all)")
    parser.add_argument(
        "--population",
        choices=("both", "membrane", "synapse"),
        default="both",
        help="what a column called response is a measurement of (default both)",
    )
    parser.add_argument("--reference", type=float, default=25.0, metavar="CELSIUS", help="default 25")
    parser.add_argument(
        "--bin",
        type=non_negative_float,
        default=1.0,
        metavar="CELSIUS",
        help="temperatures that count as one (default 1)",
    )
    parser.add_argument(
        "--tolerance",
        type=non_negative_float,
        default=0.02,
        help="how far noise may be levelled where the response turns round, relative (default 0.02)",
    )
    sweep = parser.add_argument_group("the emulated chip")
    sweep.add_argument("--synapse-per-celsius", type=float, default=0.003, metavar="PART", help="default 0.003")
    sweep.add_argument("--membrane-per-celsius", type=float, default=0.003, metavar="PART", help="default 0.003")
    sweep.add_argument("--table", type=Path, metavar="FILE", help="of --sweep table: what the chip really does")
    sweep.add_argument("--from", dest="low", type=float, default=-40.0, metavar="CELSIUS", help="default -40")
    sweep.add_argument("--to", dest="high", type=float, default=85.0, metavar="CELSIUS", help="default 85")
    sweep.add_argument("--step", type=positive_float, default=5.0, metavar="CELSIUS", help="default 5")
    sweep.add_argument("--tau", type=positive_float, default=0.02, metavar="S", help="programmed (default 0.02)")
    sweep.add_argument("--save-pairs", type=Path, metavar="CSV", help="write what was measured")
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Measure or read, fit, write, draw and print."""
    from neuro_ros.thermal import CalibrationTable, save_table
    from neuro_ros.thermal.measurement import fit_curve, read_pairs, write_pairs

    if args.pairs is not None:
        pairs, origin = _assign(read_pairs(args.pairs), args.population), f"measured pairs of {args.pairs.name}"
    else:
        pairs, origin = _sweep(args)
        if args.save_pairs is not None:
            write_pairs(args.save_pairs, pairs, origin)
    fits = {kind: fit_curve(points, args.bin, args.tolerance) for kind, points in sorted(pairs.items())}
    curves = {args.layer: {kind: fit.curve for kind, fit in fits.items()}}
    table = CalibrationTable(curves, args.reference, args.chip, origin)
    if args.out is not None:
        save_table(table, args.out)
    if args.plot is not None:
        from neuro_ros.cli.calibration_plot import draw

        draw(args.plot, pairs, fits, args.reference)
    result = {
        "table": table.as_dict(),
        "points": {kind: len(fit.medians) for kind, fit in fits.items()},
        "largest_correction": {kind: fit.largest_correction for kind, fit in fits.items()},
        "out": args.out,
        "plot": args.plot,
    }
    emit(args, result, lambda: _text(table, fits, args))
    return 0


def _assign(pairs: dict[str, Pairs], population: str) -> dict[str, Pairs]:
    """Say what a column called response is of."""
    from neuro_ros.thermal import ThermalError

    response = pairs.pop("response", None)
    if response is None:
        return pairs
    wanted = ("membrane", "synapse") if population == "both" else (population,)
    double = sorted(set(wanted) & set(pairs))
    if double:
        raise ThermalError(f"response and a column of its own for {double[0]}: choose with --population")
    return {**pairs, **dict.fromkeys(wanted, response)}


def _sweep(args: argparse.Namespace) -> tuple[dict[str, Pairs], str]:
    from neuro_ros.thermal import SiliconOptions, ThermalError, create_silicon
    from neuro_ros.thermal.measurement import measure_chip

    count = int((args.high - args.low) / args.step + 1e-9) + 1
    if not 3 <= count <= 10_000:
        raise ThermalError(
            f"{args.low:g} to {args.high:g} by {args.step:g} are {max(count, 0)} temperatures, not 3 to 10000"
        )
    options = SiliconOptions(
        args.synapse_per_celsius,
        args.membrane_per_celsius,
        args.reference,
        table=str(args.table or ""),
        minimum_celsius=args.low,
        maximum_celsius=args.high,
    )
    silicon = create_silicon(args.sweep, options)
    celsius = [args.low + k * args.step for k in range(count)]
    origin = f"sweep on an emulated chip ({args.sweep}), {args.low:g} to {args.high:g} degree Celsius by {args.step:g}"
    return measure_chip(silicon, celsius, args.tau), origin


def _text(table: Any, fits: dict[str, Fit], args: argparse.Namespace) -> str:
    lines = [f"chip {table.chip or '(no name)'}: {table.origin}"]
    for kind, fit in fits.items():
        curve = fit.curve
        span = [
            curve.at(celsius) / curve.at(table.reference_celsius) for celsius in (curve.celsius[0], curve.celsius[-1])
        ]
        lines.append(
            f"  {kind:<9} {len(fit.medians)} temperatures from {curve.celsius[0]:g} to {curve.celsius[-1]:g} degree "
            f"Celsius, x {span[0]:.3f} to x {span[1]:.3f} of that at {table.reference_celsius:g}, "
            f"levelled by {fit.largest_correction:.2%} at most"
        )
    lines += [f"  {name:<9} {path}" for name, path in (("table", args.out), ("plot", args.plot)) if path is not None]
    return "\n".join(lines)
