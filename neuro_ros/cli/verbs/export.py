# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros export MODEL --format netx|nir --out FILE``: write a model for another library."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuro_ros.cli.arguments import add_json_argument, add_model_key_arguments, emit
from neuro_ros.cores.files import model_path
from neuro_ros.snn import load_model
from neuro_ros.snn.exchange import FORMATS, export_model

SUMMARY = "write a model for another library"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the format, the file and ``--json``."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), required=True, help="; ".join(f"{k}: {v.text}" for k, v in FORMATS.items())
    )
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="file to write")
    add_model_key_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Export, and print the layers that were written."""
    model = load_model(model_path(args.model), args.key, args.trust)
    export_model(model, args.out, args.format)
    layers = [
        {
            "name": layer.name,
            "shape": list(shape),
            "connections": [projection.connection.kind for projection in layer.projections],
        }
        for layer, shape in zip(model.network.layers, model.network.shapes, strict=True)
    ]
    emit(args, {"file": str(args.out), "format": args.format, "model_id": model.model_id, "layers": layers})
    return 0
