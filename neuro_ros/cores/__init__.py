# SPDX-License-Identifier: Apache-2.0
"""Node logic without ROS: one `~neuro_ros.cores.core.Core` a node, and the messages they exchange."""
