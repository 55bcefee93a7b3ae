# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros run MODEL FILE``: a network over a recording, on one back end, with the digest of all its spikes."""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from neuro_ros.cli.arguments import (
    add_json_argument,
    add_model_key_arguments,
    add_recording_arguments,
    emit,
    positive_int,
)
from neuro_ros.cli.model_windows import ModelWindows
from neuro_ros.cores.files import model_path
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.events import open_recording
from neuro_ros.snn import RunDigest, backends, create_engine, load_model
from neuro_ros.snn.decision import Evidence

SUMMARY = "run a network over a recording and print labels, spikes and the digest of all spikes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the recording, the back end and ``--json``."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    add_recording_arguments(parser)
    parser.add_argument("--topic", help="topic of the events, where a bag holds several")
    parser.add_argument("--backend", choices=backends(), default="fixed", help="what runs the network (default: fixed)")
    parser.add_argument("--windows", type=positive_int, metavar="N", help="stop after so many windows (default: all)")
    add_model_key_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Print what the network made of the recording."""
    model = load_model(model_path(args.model), args.key, args.trust)
    names = [layer.name for layer in model.network.layers]
    defaults = SnnInferenceParameters()
    evidence = Evidence(model.network.classes)
    digest = RunDigest()
    spikes = np.zeros(len(names), np.int64)
    operations = np.zeros(len(names), np.int64)
    decisions: list[str | None] = []
    steps = 0
    with open_recording(args.file, args.encoding, args.width, args.height, args.topic) as recording:
        feeds = ModelWindows(model, recording, args.windows)
        engine = create_engine(model, args.backend)
        try:
            for feed in feeds:
                if feed.restart:
                    engine.reset()
                    evidence.reset()
                result = engine.run_window(feed.indices, feed.bins, record=True)
                digest.update(result.steps or [])
                spikes += result.layer_spikes
                operations += result.layer_synaptic_ops
                steps += feed.bins
                if feed.window is not None:
                    evidence.add(result.spike_counts, model.window_length_ns * 1e-9, defaults.evidence_half_life_s)
                    decided, _ = evidence.decide(
                        defaults.confidence_threshold, model.confidence_exponent, defaults.confidence_release
                    )
                    decisions.append(model.labels[decided] if decided >= 0 else None)
        finally:
            engine.close()
        accounting = feeds.accounting()
    result_fields = {
        **accounting,
        "windows": len(decisions),
        "labels": decisions,
        "label_counts": dict(sorted(Counter(label for label in decisions if label is not None).items())),
        "spikes_per_layer": dict(zip(names, spikes.tolist(), strict=True)),
        "synaptic_ops_per_layer": dict(zip(names, operations.tolist(), strict=True)),
        "steps": steps,
        "backend": args.backend,
        "model_id": model.model_id,
        "sha256": digest.hexdigest(),
    }

    def text() -> str:
        shown = {**result_fields, "labels": result_fields["label_counts"]}
        del shown["label_counts"]
        return "\n".join(f"{key:<24}{value}" for key, value in shown.items())

    emit(args, result_fields, text)
    return 0
