# SPDX-License-Identifier: Apache-2.0
"""Runs a netx file as lava-dl does, on Lava's CPU processes: ``python exchange_lava.py FILE INPUT.npy OUTPUT.npy``.

A process of its own, since Lava changes how processes are started. INPUT is (steps, c, y, x), OUTPUT (neurons, steps).
"""

import sys
import types

import numpy as np

from neuro_ros.snn import lava_shim


def main(file: str, source: str, target: str) -> None:
    """Load, run and save the spikes of the last layer."""
    # slayer's object detection wants OpenCV and torchvision, which nothing here needs
    sys.modules.setdefault("lava.lib.dl.slayer.object_detection", types.ModuleType("object_detection"))
    lava = lava_shim.require_lava()
    with lava_shim._identity_hashes():
        from lava.lib.dl.netx.hdf5 import Network
        from lava.proc.io.sink import RingBuffer as Sink
        from lava.proc.io.source import RingBuffer as Source
    network = Network(net_config=file)
    inputs = np.load(source)
    feed = Source(data=inputs.transpose(3, 2, 1, 0).astype(np.int32))  # x, y, channel, step
    sink = Sink(shape=network.out.shape, buffer=len(inputs))
    feed.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    network.run(condition=lava.RunSteps(num_steps=len(inputs)), run_cfg=lava.Loihi2SimCfg(select_tag="fixed_pt"))
    np.save(target, sink.data.get())
    network.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
