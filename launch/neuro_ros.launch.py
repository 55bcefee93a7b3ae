# SPDX-License-Identifier: Apache-2.0
"""The whole graph; every option of `neuro_ros up` is a launch argument of the same name.

ros2 launch neuro_ros neuro_ros.launch.py source:=topic
ros2 launch neuro_ros neuro_ros.launch.py source:=simulator gestures:=8 record:=my_bag until_finished:=true
"""

from launch import LaunchDescription
from neuro_ros.bringup.launching import graph_description


def generate_launch_description() -> LaunchDescription:
    return graph_description()
