# SPDX-License-Identifier: Apache-2.0
"""What the tests of the snn_inference node share: a network that counts, a camera that publishes windows, an ear."""

import numpy as np
from rclpy.lifecycle import TransitionCallbackReturn

from neuro_ros.cores.messages import Header
from neuro_ros.cores.messages import SpikeTensor as Window
from neuro_ros.events import encode_tensor
from neuro_ros.msg import Gesture, SpikeTensor
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.snn_inference import SnnInferenceNode
from neuro_ros.snn import (
    Dense,
    Layer,
    Lif,
    Model,
    Network,
    save_model,
)

SUCCESS = TransitionCallbackReturn.SUCCESS
LENGTH_NS = 50_000_000
SHAPE = (10, 2, 8, 8)
CELLS = int(np.prod(SHAPE))


def save_counting_model(path):
    """Write a model that counts: cell x of row 0 feeds class x, two input spikes make one output spike."""
    weight = np.zeros((3, 2 * 8 * 8), np.int16)
    for k in range(3):
        weight[k, k] = 64
    network = Network([Layer("out", Dense(weight), Lif(du=4095, dv=0, vth=100))], SHAPE[1:])
    save_model(Model(network, ["a", "b", "c"], LENGTH_NS, SHAPE[0], "counting"), path)


def make_inference(bed, model_file, **values):
    """Make the node, with parameters."""
    return bed.make(SnnInferenceNode, parameters={"model": model_file, **values})


class Camera:
    """Publishes windows, once the node listens."""

    def __init__(self, bed, epoch=7):
        self.bed, self.epoch, self.sequence = bed, epoch, 0
        self.publisher = bed.tester.create_publisher(SpikeTensor, "spikes", qos.publisher_qos("spikes"))

    def send(self, *cells, **changes):
        self.bed.until(lambda: self.publisher.get_subscription_count() == 1, what="the node's subscription")
        dense = np.zeros(SHAPE, np.uint8)
        for number, x in cells:
            dense[number, 0, 0, x] = 1
        encoding, data = encode_tensor(np.packbits(dense.ravel()), CELLS)
        start_ns = self.sequence * LENGTH_NS
        window = Window(
            header=Header(self.bed.tester.get_clock().now().nanoseconds, "eye"),
            sequence=self.sequence,
            epoch=self.epoch,
            closed_at=self.bed.tester.get_clock().now().nanoseconds,
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
        for name, value in changes.items():
            setattr(window, name, value)
        self.publisher.publish(conversion.to_ros(window))
        self.sequence += 1


ONE = ((0, 0),)
TWO = ((0, 0), (1, 0))


def up(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    return node


def listen(bed, node):
    """Subscribe to gestures and wait until the node knows."""
    gestures = bed.collect(Gesture, "gesture", qos.WINDOWS)
    bed.until(lambda: node.subscription_count("gesture") == 1, what="our subscription")
    return gestures
