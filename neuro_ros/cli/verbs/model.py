# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros model ACTION``: look into a model file, make keys, encrypt and sign."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from neuro_ros.cli.arguments import add_json_argument, add_model_key_arguments, emit
from neuro_ros.cores.files import model_path
from neuro_ros.snn import Network, keys
from neuro_ros.snn.features import layer_features
from neuro_ros.snn.manifest import layout_version
from neuro_ros.snn.model import load_with_signer, protect_model
from neuro_ros.snn.sealing import is_sealed

SUMMARY = "look into a model file, make keys, encrypt or sign it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions with their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser("inspect", help="print what a model file holds", description="print what it holds")
    inspect.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    add_model_key_arguments(inspect)
    keygen = actions.add_parser("keygen", help="make a new key", description="make a new key")
    keygen.add_argument("out", type=Path, metavar="OUT", help="file to be made, readable by its owner only")
    keygen.add_argument(
        "--kind",
        choices=("aes256", "ed25519"),
        required=True,
        help="aes256 encrypts; ed25519 signs, and its public half goes to OUT.pub",
    )
    protect = actions.add_parser("protect", help="encrypt or sign a model", description="encrypt or sign a model")
    protect.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    protect.add_argument("out", type=Path, metavar="OUT", help="file to be written")
    protect.add_argument("--encrypt", metavar="KEY", help="aes256 key to encrypt with: a file, or env:NAME")
    protect.add_argument("--sign", metavar="KEY", help="ed25519 private key to sign with: a file, or env:NAME")
    add_model_key_arguments(protect)
    for action in (inspect, keygen, protect):
        add_json_argument(action)


def main(args: argparse.Namespace) -> int:
    """Do what was asked and print what came of it."""
    result = {"inspect": _inspect, "keygen": _keygen, "protect": _protect}[args.action](args)
    emit(args, result, (lambda: _text(result)) if args.action == "inspect" else None)
    return 0


def _text(result: dict[str, Any]) -> str:
    """Write what `_inspect` found for people: a line an entry, and one a layer; the record is for machines."""
    shown = {**result, "signer": result["signer"] or "none", "labels": ", ".join(result["labels"])}
    lines = [f"{key:<18}{shown[key]}" for key in shown if key not in ("layers", "record")]
    for layer in result["layers"]:
        registers = " ".join(f"{name} {layer[name]}" for name in ("du", "dv", "vth", "refractory"))
        lines.append(
            f"  {layer['name']:<16}{layer['shape']} from {', '.join(layer['sources'])}: "
            f"{layer['weights']} weights, {registers} ({', '.join(layer['features'])})"
        )
    return "\n".join(lines)


def _inspect(args: argparse.Namespace) -> dict[str, Any]:
    path = model_path(args.model)
    model, signer = load_with_signer(path, args.key, args.trust)
    network = model.network
    return {
        "model_id": model.model_id,
        "digest": model.digest,
        "layout": layout_version(network, model.normalisation),
        "encrypted": is_sealed(path),
        "signer": signer,
        "input_shape": network.input_shape,
        "input_bits": network.input_bits,
        "normalisation": model.normalisation,
        "window_length_ns": model.window_length_ns,
        "bins": model.bins,
        "depth_steps": network.depth,
        "labels": model.labels,
        "layers": [_layer(network, index) for index in range(len(network.layers))],
        "record": model.record,
    }


def _layer(network: Network, index: int) -> dict[str, Any]:
    layer = network.layers[index]
    return {
        "name": layer.name,
        "shape": network.shapes[index],
        "sources": [network.layers[source].name if source >= 0 else "input" for source in network.sources[index]],
        "weights": sum(projection.connection.weight.size for projection in layer.projections),
        "features": sorted(layer_features(network, index)),
        **layer.neuron.parameters(),
    }


def _keygen(args: argparse.Namespace) -> dict[str, Any]:
    if args.kind == "aes256":
        key = keys.generate(keys.AES)
        keys.write_key(args.out, keys.AES, key)
        return {"key": args.out, "id": keys.key_id(key).hex()}
    private = keys.generate(keys.PRIVATE)
    public = keys.public_of(private)
    keys.write_key(args.out, keys.PRIVATE, private)
    public_path = args.out.with_name(f"{args.out.name}.pub")
    keys.write_key(public_path, keys.PUBLIC, public)
    return {"key": args.out, "public_key": public_path, "id": public.hex()}


def _protect(args: argparse.Namespace) -> dict[str, Any]:
    model = protect_model(model_path(args.model), args.out, args.key, args.trust, args.encrypt, args.sign)
    return {"path": args.out, "model_id": model.model_id, "encrypted": is_sealed(args.out)}
