# SPDX-License-Identifier: Apache-2.0
"""An inference core around a network that counts.

The model: cell x of row 0 feeds class x, two input spikes make an output spike, nothing leaks away.
"""

import dataclasses

import numpy as np

from neuro_ros.cores.messages import Header, SpikeTensor
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.events import encode_tensor
from neuro_ros.snn import (
    Dense,
    Layer,
    Lif,
    Model,
    Network,
)

MS = 1_000_000
LENGTH_NS = 40 * MS
BINS, CLASSES, SIDE = 4, 3, 4
SHAPE = (BINS, 2, SIDE, SIDE)
CELLS = int(np.prod(SHAPE))
SECOND = 1_000_000_000


def counting_model(name="counting", vth=100):
    weight = np.zeros((CLASSES, 2 * SIDE * SIDE), np.int16)
    for k in range(CLASSES):
        weight[k, k] = 64
    # du = 4095: the current lives one step; dv = 0: the voltage stays; above 100: two spikes of 64.
    layer = Layer("out", Dense(weight), Lif(du=4095, dv=0, vth=vth))
    return Model(Network([layer], (2, SIDE, SIDE)), ["a", "b", "c"], LENGTH_NS, BINS, name)


def window(sequence=0, cells=(), *, slot=None, stream="cam", epoch=7, **changes):
    """Make a window; `cells` = (bin, x) pairs of row 0, channel 0; `slot` = its place on the grid of sensor time."""
    slot = sequence if slot is None else slot
    dense = np.zeros(SHAPE, np.uint8)
    for number, x in cells:
        dense[number, 0, 0, x] = 1
    encoding, data = encode_tensor(np.packbits(dense.ravel()), CELLS)
    start_ns = slot * LENGTH_NS
    message = SpikeTensor(
        header=Header(10**18 + start_ns + LENGTH_NS, stream),
        sequence=sequence,
        epoch=epoch,
        sensor_start_ns=start_ns,
        sensor_end_ns=start_ns + LENGTH_NS,
        bins=BINS,
        channels=2,
        height=SIDE,
        width=SIDE,
        encoding=encoding,
        active=int(dense.sum()),
        complete=True,
        data=data,
    )
    return dataclasses.replace(message, **changes)


ONE = ((0, 0),)  # one spike into class 0: half of what makes it spike
TWO = ((0, 0), (1, 0))


class Driver:
    """An active core with a clock that stands still, so that nothing is late."""

    def __init__(self, model_file, clocks=None, **parameters):
        parameters = {name.replace("__", "."): value for name, value in parameters.items()}
        self.core = SnnInferenceCore(build(SnnInferenceParameters, {"model": model_file, **parameters}), clocks)
        self.core.activate(10**18)

    def give(self, message, now_ns=10**18):
        outputs = self.core.receive("spikes", message, now_ns)
        counters = self.core.counters
        assert counters.received == counters.processed + counters.skipped
        assert len(outputs) <= 1
        return outputs[0].message if outputs else None

    def telemetry(self, now_ns=10**18):
        (output,) = self.core.tick("telemetry", now_ns)
        assert output.topic == "snn/telemetry"
        return output.message

    def health(self, name, now_ns=10**18):
        (found,) = [item for item in self.core.diagnose(now_ns) if item.name == name]
        return found
