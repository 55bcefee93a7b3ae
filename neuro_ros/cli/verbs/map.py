# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros map MODEL --chip PROFILE``: whether a network fits a chip, how busy cores get, what it would cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuro_ros.cli.arguments import (
    add_json_argument,
    add_model_key_arguments,
    add_recording_arguments,
    emit,
    non_negative_int,
    positive_float,
    positive_int,
)
from neuro_ros.snn.chips import REMAP_UTILISATION, chip_names

SUMMARY = "map a model to a chip: cores, memory, utilisation, energy estimate, all broken limits at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the chip, where the activity comes from, and what to show."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    parser.add_argument("--chip", required=True, choices=chip_names(), help="what to map to")
    add_recording_arguments(parser, "recording", optional=True)
    parser.add_argument("--topic", help="topic of the events, where a bag holds several")
    parser.add_argument("--windows", type=positive_int, metavar="N", help="run so many windows at most (default: all)")
    group = parser.add_argument_group("without --recording, gestures are simulated")
    group.add_argument("--seconds", type=positive_float, default=0.5, help="length of each gesture (default 0.5)")
    group.add_argument("--seed", type=non_negative_int, default=0, help="of sensor and performances (default 0)")
    parser.add_argument(
        "--step-us", type=positive_float, metavar="US", help="time that a step may take (default: real time, a bin)"
    )
    parser.add_argument(
        "--remap-above",
        type=_share,
        default=REMAP_UTILISATION,
        metavar="SHARE",
        help=f"split layers with a core busier than this share of a step (default {REMAP_UTILISATION})",
    )
    parser.add_argument(
        "--placement-seed",
        type=non_negative_int,
        metavar="SEED",
        help="place cores at random (default: along the rows)",
    )
    parser.add_argument("--limits", action="store_true", help="also print every limit of the chip with its source")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with the tables and plots")
    add_model_key_arguments(parser)
    add_json_argument(parser)


def _share(text: str) -> float:
    value = positive_float(text)
    if value > 1.0:
        raise argparse.ArgumentTypeError(f"{text} is above 1")
    return value


def main(args: argparse.Namespace) -> int:
    """Print the mapping; exit 1 when the network does not fit."""
    from neuro_ros.cli.chip_text import as_dict, as_text, limits_text
    from neuro_ros.cli.model_activity import activity_of_recording, activity_of_simulation
    from neuro_ros.cores.files import model_path
    from neuro_ros.snn import load_model
    from neuro_ros.snn.chips import chip_profile, estimate_energy, map_network, time_multiplexing

    profile = chip_profile(args.chip)
    model = load_model(model_path(args.model), args.key, args.trust)
    activity = (
        activity_of_simulation(model, args.seconds, args.seed, args.windows)
        if args.recording is None
        else activity_of_recording(model, args)
    )
    period_s = args.step_us * 1e-6 if args.step_us else model.window_length_ns * 1e-9 / model.bins
    mapping = map_network(model.network, profile, period_s, activity, args.placement_seed, args.remap_above)
    trades = time_multiplexing(model.network, profile, period_s, activity)
    energy = None
    if activity is not None:
        operations = sum(core.synaptic_operations for core in mapping.cores) * activity.steps
        updates = sum(core.neurons for core in mapping.cores) * activity.steps
        energy = estimate_energy(profile, operations, updates, activity.steps * period_s)
    text = as_text(mapping, model.model_id, trades, energy)
    if args.limits:
        text += "\n\n" + limits_text(profile)
    result = {"model_id": model.model_id, **as_dict(mapping, trades, energy)}
    if args.html is not None:
        from neuro_ros.bringup.chip_page import write_chip_page

        write_chip_page(mapping, trades, model.model_id, text, args.html)
        result["page"] = args.html
        text += f"\n\npage  {args.html}"
    emit(args, result, text)
    return 0 if mapping.fits else 1
