# SPDX-License-Identifier: Apache-2.0
"""The inference core on Lava: the same windows give the same gestures as on the fixed engine, policies included."""

import dataclasses
import importlib.util
import os
import signal

import numpy as np
import pytest

from neuro_ros.cores.core import Clocks
from neuro_ros.cores.messages import Header, SpikeTensor, ThermalCompensation
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.events import encode_tensor
from neuro_ros.snn import Dense, Layer, Lif, Model, Network, save_model

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(
        importlib.util.find_spec("lava") is None, reason="Lava is not installed: make setup installs it"
    ),
]

SHAPE = (5, 2, 4, 4)
CELLS = int(np.prod(SHAPE))
LENGTH_NS = 50_000_000


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    rng = np.random.default_rng(11)

    def layer(name, n_out, n_in):
        return Layer(name, Dense(2 * rng.integers(-40, 90, (n_out, n_in)).astype(np.int16)), Lif(300, 200, 120))

    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    network = Network([layer("hidden", 12, 32), layer("out", 4, 12)], SHAPE[1:])
    save_model(Model(network, list("abcd"), LENGTH_NS, SHAPE[0], "small"), path)
    return str(path)


def windows():
    """Make windows of two streams, with a gap, withheld ones, a repetition and a new epoch."""
    rng = np.random.default_rng(3)
    made = []
    plan = [("a", 0, 0, 0, 1), ("b", 0, 0, 0, 1), ("a", 1, 1, 0, 1), ("a", 2, 5, 3, 1), ("a", 2, 5, 3, 1)]
    plan += [("b", 3, 3, 0, 1), ("a", 3, 6, 0, 1), ("a", 0, 0, 0, 2), ("a", 1, 1, 0, 2)]
    for stream, sequence, slot, withheld, epoch in plan:
        dense = (rng.random(CELLS) < 0.2).astype(np.uint8)
        encoding, data = encode_tensor(np.packbits(dense), CELLS)
        start_ns = slot * LENGTH_NS
        made.append(
            SpikeTensor(
                header=Header(start_ns, stream),
                sequence=sequence,
                epoch=epoch,
                windows_withheld=withheld,
                sensor_start_ns=start_ns,
                sensor_end_ns=start_ns + LENGTH_NS,
                bins=SHAPE[0],
                channels=SHAPE[1],
                height=SHAPE[2],
                width=SHAPE[3],
                encoding=encoding,
                active=int(dense.sum()),
                complete=True,
                data=data,
            )
        )
    return made


def test_lava_and_fixed_agree_through_the_core(model_file):
    results = {}
    for backend in ("fixed", "lava"):
        parameters = build(SnnInferenceParameters, {"model": model_file, "backend": backend})
        core = SnnInferenceCore(parameters, Clocks.replay())
        try:
            core.activate(0)
            gestures = []
            for number, message in enumerate(windows()):
                if number == 2:
                    compensation = ThermalCompensation(
                        compensation_id=1, layer=["hidden"], du=[500], dv=[100], silicon_profile="analog"
                    )
                    core.receive("thermal/compensation", compensation, 0)
                gestures += [output.message for output in core.receive("spikes", message, 0)]
            values = {health.name: health.values for health in core.diagnose(0)}["network"]
            assert values.get("rebuilds") == {"fixed": None, "lava": 1}[backend], "of the compensation"
            assert values.get("rebuild_s", 1.0) > 0.0
            telemetry = core.tick("telemetry", 0)[0].message
            state = core.snapshot("a")
            results[backend] = (
                [repr(gesture) for gesture in gestures],
                repr(dataclasses.replace(telemetry, backend="")),
                repr(core.counters),
                [array.tolist() for layer in state.layers for array in (layer.u, layer.v, layer.a_buff)],
            )
        finally:
            core.close()
    for ours, theirs in zip(*results.values(), strict=True):
        assert ours == theirs
    assert len(results["fixed"][0]) == 8
    assert "confidence=nan" not in results["fixed"][0][2], "the network speaks"


def test_a_killed_worker_costs_one_window_and_the_state_since_the_last_save(model_file):
    parameters = build(SnnInferenceParameters, {"model": model_file, "backend": "lava"})
    core = SnnInferenceCore(parameters, Clocks.replay())
    first, second, third, *_ = (message for message in windows() if message.header.frame_id == "a")
    try:
        core.activate(0)
        core.receive("spikes", first, 0)
        saved = core.snapshot("a")
        os.kill(core._network.engine.worker_pid, signal.SIGKILL)
        assert not core.receive("spikes", second, 0)
        assert core.counters.failed == 1
        after = core.snapshot("a")
        for own, other in zip(after.layers, saved.layers, strict=True):
            for name, array in own.parts.items():
                np.testing.assert_array_equal(array, other.parts[name], err_msg=name)
        assert len(core.receive("spikes", third, 0)) == 1
        values = {health.name: health.values for health in core.diagnose(0)}["network"]
        assert values["restarts"] == 1
    finally:
        core.close()
