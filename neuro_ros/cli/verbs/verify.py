# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros verify MODEL FILE``: every back end on the same recording, spike for spike and state for state."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from neuro_ros.cli.arguments import (
    add_json_argument,
    add_model_key_arguments,
    add_recording_arguments,
    emit,
    positive_int,
)
from neuro_ros.cli.model_windows import Feed, ModelWindows
from neuro_ros.cores.files import model_path
from neuro_ros.events import open_recording
from neuro_ros.snn import (
    BackendUnavailableError,
    Engine,
    Model,
    UnsupportedLayerError,
    WindowResult,
    backends,
    create_engine,
    load_model,
)

SUMMARY = "run a recording on all back ends and count where their spikes or states differ"

_REFERENCE = "fixed"
_STATE_PARTS = ("u", "v", "a_buff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the recording and ``--json``."""
    parser.add_argument("model", metavar="MODEL", help="model file, or the name of a shipped model")
    add_recording_arguments(parser)
    parser.add_argument("--topic", help="topic of the events, where a bag holds several")
    parser.add_argument("--windows", type=positive_int, metavar="N", help="stop after so many windows (default: all)")
    add_model_key_arguments(parser)
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Print the mismatches a back end and layer; exit 1 when there is any."""
    model = load_model(model_path(args.model), args.key, args.trust)
    engines: dict[str, Engine] = {}
    refused: list[dict[str, str]] = []
    unavailable: list[dict[str, str]] = []
    windows = steps = 0
    # the recording first: it may be missing, and starting Lava takes seconds
    with open_recording(args.file, args.encoding, args.width, args.height, args.topic) as recording:
        feeds = ModelWindows(model, recording, args.windows)
        reference = create_engine(model, _REFERENCE)
        try:
            for name in backends():
                if name == _REFERENCE:
                    continue
                try:
                    engines[name] = create_engine(model, name)
                except UnsupportedLayerError as error:
                    refused.append({"backend": name, "layer": error.layer, "reason": error.reason})
                except BackendUnavailableError as error:
                    unavailable.append({"backend": name, "reason": str(error)})
            spikes = {name: np.zeros(len(model.network.layers), np.int64) for name in engines}
            for feed in feeds:
                expected = _run(reference, feed)
                for name, engine in engines.items():
                    spikes[name] += _differing_spikes(expected, _run(engine, feed))
                windows += feed.window is not None
                steps += feed.bins
            states = {name: _differing_states(reference, engine) for name, engine in engines.items()}
        finally:
            for engine in engines.values():
                engine.close()
    mismatches = sum(int(counts.sum()) for counts in (*spikes.values(), *states.values()))
    emit(
        args,
        {
            "mismatches": mismatches,
            "compared": [_REFERENCE, *engines],
            "spike_mismatches_per_layer": {name: _by_layer(model, counts) for name, counts in spikes.items()},
            "state_mismatches_per_layer": {name: _by_layer(model, counts) for name, counts in states.items()},
            "refused": refused,
            "unavailable": unavailable,
            "windows": windows,
            "steps": steps,
            "model_id": model.model_id,
        },
    )
    return 1 if mismatches else 0


def _run(engine: Engine, feed: Feed) -> WindowResult:
    if feed.restart:
        engine.reset()
    return engine.run_window(feed.indices, feed.bins, record=True)


def _by_layer(model: Model, counts: np.ndarray) -> dict[str, Any]:
    return {layer.name: int(count) for layer, count in zip(model.network.layers, counts, strict=True)}


def _differing_spikes(expected: WindowResult, got: WindowResult) -> np.ndarray:
    """Return per layer the spikes that only one of the two has."""
    counts = np.zeros(len(expected.layer_spikes), np.int64)
    for ours, theirs in zip(expected.steps or (), got.steps or (), strict=True):
        for layer, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            counts[layer] += np.setxor1d(own, other, assume_unique=True).size
    return counts


def _differing_states(reference: Engine, engine: Engine) -> np.ndarray:
    """Return per layer the values of u, v and a_buff that differ after the last step."""
    return np.array(
        [
            sum(int(np.count_nonzero(getattr(own, part) != getattr(other, part))) for part in _STATE_PARTS)
            for own, other in zip(reference.state().layers, engine.state().layers, strict=True)
        ],
        np.int64,
    )
