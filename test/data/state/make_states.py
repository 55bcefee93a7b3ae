# SPDX-License-Identifier: Apache-2.0
"""Write the state files of this folder: each by the release that knew its version, never twice.

    PYTHONPATH=TREE python test/data/state/make_states.py NAME OUT

TREE is a checkout of the commit that PROVENANCE.md names for NAME. Only what all of these releases have is used, but
for the files that the newest format alone can say.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from neuro_ros.snn.engine import create_engine
from neuro_ros.snn.model import load_model

MODELS = Path(__file__).parent.parent / "models"
WINDOWS = 5
EVIDENCE = {"version1": (0.25, 3.5, 0.0, 1.0), "version2": (2.0, 0.5, 0.0)}


def window(model, number):
    """Return the cells and payloads of a window, from a seed that says which one it is."""
    rng = np.random.default_rng([8, number])
    indices = np.flatnonzero(rng.random(model.bins * model.cells) < 0.3).astype(np.uint32)
    bits = getattr(model.network, "input_bits", 0)
    return indices, (rng.integers(1, 1 << bits, indices.size).astype(np.uint8) if bits else None)


def run(engine, windows):
    """Run windows by number and return the spikes of every step and layer."""
    steps = []
    for number in windows:
        indices, values = window(engine.model, number)
        options = {} if values is None else {"values": values}
        steps += engine.run_window(indices, engine.model.bins, record=True, **options).steps
    return steps


def running(name):
    """Return a model of the test data, and its state after some windows with a register changed."""
    model = load_model(MODELS / f"{name}.safetensors")
    engine = create_engine(model, "fixed")
    engine.set_registers(model.network.layers[0].name, du=77)
    run(engine, range(WINDOWS))
    return model, engine.state()


def written_by_old_releases(name, out):
    """Write a state as the release did that runs now."""
    from neuro_ros.snn.state import NetworkState, save_state

    _, state = running("version2" if name == "v2_plain" else "version1")
    label = ("camera_optical", 41, 2_100_000_000)
    if "epoch" in {field.name for field in dataclasses.fields(NetworkState)}:
        label += (7, EVIDENCE["version2" if name == "v2_plain" else "version1"])
    save_state(state.labelled(*label), out)


def written_by_this_release(name, out):
    """Write what only the newest format can say."""
    from neuro_ros.snn import StateClock
    from neuro_ros.snn.state_document import StateDocument
    from neuro_ros.snn.state_file import state_document

    _, state = running("version2")
    state = state.labelled("camera_optical", 41, 2_100_000_000, 7, EVIDENCE["version2"], 0, 12)
    clock = StateClock("imx636", 2_050_000_000, 1_700_000_000_123_456_789, -1250.5, 830.0, "LOCKED")
    document = state_document(dataclasses.replace(state, clock=clock))
    declared, tensors = dict(document.manifest["optional"]), dict(document.tensors)
    extra = {}
    if name == "v2_learning":
        shape = (1, *state.layers[-1].u.shape)
        tensors["trace_post.out"] = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        declared["trace_post"] = {"must_understand": True}
    if name == "v2_future":  # of a release to come: what may be ignored, as manifest entry and as tensor
        extra["battery_v"] = {"now": 14.8}
        tensors["homeostasis.conv"] = np.linspace(0.0, 1.0, 4, dtype=np.float32)
        declared |= {"battery_v": {"must_understand": False}, "homeostasis": {"must_understand": False}}
    if name == "v2_must":  # and what may not
        extra["dendrites"] = [1, 2, 3]
        declared["dendrites"] = {"must_understand": True}
    StateDocument(2, {**document.manifest, **extra, "optional": declared}, tensors).write(out)


if __name__ == "__main__":
    OLD = ("v1_first", "v1", "v2_plain")
    (written_by_old_releases if sys.argv[1] in OLD else written_by_this_release)(sys.argv[1], sys.argv[2])
