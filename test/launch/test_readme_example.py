# SPDX-License-Identifier: Apache-2.0
"""The README's example of a subscriber, run as it stands there, in a process of its own."""

import re
import sys

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from neuro_ros.msg import Gesture
from neuro_ros.nodes.qos import publisher_qos
from neuro_ros.resources import share_directory

README = share_directory() / "README.md"


@pytest.mark.skipif(not README.is_file(), reason="the README stands in the source tree only")
def test_the_subscriber_of_the_readme_prints_gestures(tmp_path, spawn, eventually):
    block = README.read_text(encoding="utf-8").split("<!-- example: subscribe -->")[1]
    script = tmp_path / "listener.py"
    script.write_text(re.search(r"```python\n(.*?)```", block, re.S)[1], encoding="utf-8")
    context = Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    node = Node("readme_example_test", context=context)
    executor.add_node(node)
    try:
        publisher = node.create_publisher(Gesture, "gesture", publisher_qos("gesture"))
        listener = spawn([sys.executable, str(script)])
        eventually(lambda: publisher.get_subscription_count() == 1, 30.0, executor, "the listener's subscription")
        publisher.publish(Gesture(class_index=-1, confidence=0.2))
        publisher.publish(Gesture(class_index=7, label="arm_roll", confidence=0.75))
        assert listener.wait_for(r".").string == "arm_roll (75%)"
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()
