# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros state inspect|convert FILE``: look into a saved state; make one for another release or model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.cli.arguments import add_json_argument, add_model_key_arguments, emit
from neuro_ros.cores.files import file_digest, model_path
from neuro_ros.snn import StateError, load_model
from neuro_ros.snn.state_convert import convert, without
from neuro_ros.snn.state_document import StateDocument, read_document
from neuro_ros.snn.state_fields import NEWEST, VERSIONS
from neuro_ros.snn.state_file import state_document, state_of
from neuro_ros.snn.state_migrate import CHANGED_POLICIES, migrate

SUMMARY = "look into a saved state, or convert it for another release or model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions with their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser("inspect", help="print what a state file holds", description="print what it holds")
    inspect.add_argument("file", type=Path, metavar="FILE", help="state file")
    inspect.add_argument("--model", metavar="MODEL", help="also say whether this model continues from it")
    change = actions.add_parser("convert", help="write it for another release or model", description="write it anew")
    change.add_argument("file", type=Path, metavar="FILE", help="state file")
    change.add_argument("out", type=Path, metavar="OUT", help="file to be written")
    change.add_argument(
        "--version", type=int, choices=VERSIONS, default=NEWEST, help=f"of the format (default {NEWEST}, the newest)"
    )
    change.add_argument("--to-model", metavar="MODEL", help="take over the layers that are the same in this model")
    change.add_argument(
        "--from-model", metavar="MODEL", help="the model that the state belongs to, where the file has no layer_digests"
    )
    change.add_argument(
        "--changed",
        choices=CHANGED_POLICIES,
        default="rest",
        help="with --to-model, what becomes of layers that are not the same (default: rest)",
    )
    change.add_argument("--drop", action="append", default=[], metavar="FIELD", help="leave an optional field out")
    change.add_argument("--strict", action="store_true", help="write nothing when something cannot be carried")
    for action in (inspect, change):
        add_model_key_arguments(action)
        add_json_argument(action)


def main(args: argparse.Namespace) -> int:
    """Do what was asked; exit 1 when the state is of no use to the model, or loses something that it must not."""
    return _inspect(args) if args.action == "inspect" else _convert(args)


def _inspect(args: argparse.Namespace) -> int:
    document = read_document(args.file)
    result: dict[str, Any] = {
        "version": document.version,
        **{
            name: document.manifest.get(name)
            for name in ("model_id", "stream_id", "sequence", "epoch", "sensor_end_ns")
        },
        "layers": [],
        "optional": document.declared,
        "unknown": document.unknown,
        "lost": [],
        "problem": "",
        "digest": document.digest(),
        "sha256": file_digest(args.file),
    }
    try:
        state, result["lost"] = state_of(document)
        result |= {
            "layers": _layers(document),
            "registers": dict(zip(state.layer_names, state.registers, strict=True)),
            "evidence": state.evidence,
            "decision": state.decision,
            "compensation_id": state.compensation_id,
            "clock": document.manifest.get("clock"),
        }
        if args.model is not None:
            state.check(load_model(model_path(args.model), args.key, args.trust))
    except StateError as error:
        result["problem"] = str(error)
    emit(args, result, lambda: _text(result))
    return 1 if result["problem"] else 0


def _layers(document: StateDocument) -> list[dict[str, Any]]:
    layers = []
    for entry in document.manifest["topology"]["layers"]:
        arrays = {
            full.partition(".")[0]: array
            for full, array in document.tensors.items()
            if full.split(".")[1:2] == [entry["name"]]
        }
        values = {
            name: {"shape": list(array.shape), "nonzero": int(np.count_nonzero(array)), **_span(array)}
            for name, array in sorted(arrays.items())
        }
        layers.append(
            {"name": entry["name"], "shape": entry["shape"], "slots": entry.get("slots", 1), "values": values}
        )
    return layers


def _span(array: Any) -> dict[str, int]:
    return {"min": int(array.min()), "max": int(array.max())} if array.size else {}


def _text(result: dict[str, Any]) -> str:
    """Write what `_inspect` found for people."""
    shown = {
        name: result[name] for name in result if name not in ("layers", "registers", "lost", "problem", "optional")
    }
    lines = [f"{name:<18}{_shown(value)}" for name, value in shown.items()]
    for layer in result["layers"]:
        lines.append(f"  {layer['name']:<16}{layer['shape']}, registers {_shown(result['registers'][layer['name']])}")
        for name, value in layer["values"].items():
            span = f", {value['min']} to {value['max']}" if "min" in value else ""
            lines.append(f"    {name:<14}{value['nonzero']} of {np.prod(value['shape'])} not 0{span}")
    lines += [f"note    {line}" for line in result["lost"]]
    if result["problem"]:
        lines.append(f"refused {result['problem']}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{entry:.4g}" if isinstance(entry, float) else str(entry) for entry in value) or "none"
    return "unknown" if value in (None, "") else str(value)


def _convert(args: argparse.Namespace) -> int:
    if args.to_model is None and args.from_model is not None:
        raise StateError("--from-model is of use with --to-model only")
    document = read_document(args.file)
    try:
        document, lost = without(document, args.drop)
        if args.to_model is not None:
            lost += [f"{name}: a field that this release does not know" for name in document.unknown]
            model = load_model(model_path(args.to_model), args.key, args.trust)
            origin = None
            if args.from_model is not None:
                origin = load_model(model_path(args.from_model), args.key, args.trust)
            state, lines = state_of(document)
            lost += lines
            state, lines = migrate(state, model, args.changed, origin)
            document, lost = state_document(state), lost + lines
        document, lines = convert(document, args.version)
        lost += lines
    except StateError as error:
        raise StateError(f"{args.file}: {error}") from None
    refused = bool(lost) and args.strict
    result = {
        "version": document.version,
        "model_id": document.manifest["model_id"],
        "layers": [entry["name"] for entry in document.manifest["topology"]["layers"]],
        "lost": lost,
        "path": None if refused else args.out,
        "sha256": None,
    }
    if not refused:
        document.write(args.out)
        result["sha256"] = file_digest(args.out)
    text = [f"not carried  {line}" for line in lost]
    text.append("nothing is written (--strict)" if refused else f"{args.out}  version {document.version}")
    emit(args, result, "\n".join(text))
    if refused:
        sys.stderr.write(f"neuro_ros: {len(lost)} things cannot be carried; nothing is written\n")
    return 1 if refused else 0
