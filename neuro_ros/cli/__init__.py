# SPDX-License-Identifier: Apache-2.0
"""The ``neuro_ros`` command: offline tools that work with and without ROS.

One module a verb lies in `neuro_ros.cli.verbs`; dropping a file there adds the
verb. Nothing here imports a verb before it was asked for, so that
``neuro_ros info`` never pays for torch or Lava.
"""
