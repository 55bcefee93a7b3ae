# SPDX-License-Identifier: Apache-2.0
"""The whole graph on a recording, at its own pace or another; for the bit-identical replay see `neuro_ros replay`.

ros2 launch neuro_ros replay.launch.py recording:=flight.raw
ros2 launch neuro_ros replay.launch.py recording:=flight.raw rate:=0.5 record:=my_bag until_finished:=true
"""

from launch import LaunchDescription
from neuro_ros.bringup.launching import graph_description


def generate_launch_description() -> LaunchDescription:
    return graph_description(fixed={"source": "file"}, required=["recording"])
